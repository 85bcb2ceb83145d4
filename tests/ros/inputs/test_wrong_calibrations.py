"""A wrong camera_info is named until a right one comes."""

from __future__ import annotations

import array

import numpy as np
import pytest
from sensor_msgs.msg import RegionOfInterest

from decomr_ros.node import standing_warnings
from tests.ros.inputs.test_inputs import Notes, gray, header, info, node, start
from tests.ros.inputs.wrong_inputs import change, see, warnings_of

__all__ = ['node']  # the fixture

BARREL = array.array('d', [-0.3, 0.1, 0.0, 0.0, 0.0])
FISHEYE = array.array('d', [0.1, 0.01, 0.0, 0.0])
K = info().k.tolist()
FOCAL, MIDDLE = K[0], K[2]
INFOS = {
    'another size': (change(width=128, height=128), 'is for 128x128 px'),
    'another aspect': (change(width=64, height=36), 'is for 64x36 px'),
    'no size': (change(width=0, height=0), 'has no size'),
    'a lens by another name': (change(distortion_model='radtan', d=BARREL), "'radtan'"),
    'a fisheye by another name': (
        change(distortion_model='fisheye', d=FISHEYE),
        'read as equidistant',
    ),
    'a rational lens called plumb_bob': (
        change(d=array.array('d', [-0.3] + [0.1] * 7)),
        'read as rational_polynomial',
    ),
    'a lens without a name': (change(distortion_model='', d=BARREL), 'read as plumb_bob'),
    'four numbers without a name': (
        change(distortion_model='', d=FISHEYE),
        "distortion model is ''",
    ),
    'an unknown lens': (change(distortion_model='division', d=BARREL), "'division', expected"),
    'too few numbers': (change(d=array.array('d', [-0.3, 0.1])), 'expected 4 or 5'),
    'no numbers': (change(d=array.array('d', [np.nan] * 5)), 'finite'),
    'a strong lens': (change(d=BARREL), 'Set undistort:=true'),
    'no calibration': (change(k=np.zeros(9)), 'not calibrated'),
    'NaN': (change(k=np.array([np.nan, *K[1:]])), 'intrinsics are'),
    'a mirrored matrix': (change(k=np.array([-FOCAL, *K[1:]])), 'intrinsics are'),
    'a transposed matrix': (
        change(k=np.array(K).reshape(3, 3).T.ravel()),
        'driver transposes the matrix',
    ),
    'a skew': (change(k=np.array([K[0], 3.0, *K[2:]])), 'skew'),
    'a scaled matrix': (change(k=np.array([*K[:8], 2.0])), 'as its last element'),
    'the matrix of another resolution': (
        change(k=np.array([FOCAL, 0, 60, 0, FOCAL, 60, 0, 0, 1.0])),
        'another resolution',
    ),
    'a matrix in metres': (
        change(k=np.array([0.02, 0, MIDDLE, 0, 0.02, MIDDLE, 0, 0, 1])),
        'field of view',
    ),
    'oblong pixels': (
        change(k=np.array([FOCAL, 0, MIDDLE, 0, 2 * FOCAL, MIDDLE, 0, 0, 1])),
        'not square',
    ),
    'binning that is not done': (change(binning_x=2, binning_y=2), 'is for 32x32 px'),
    'a region that is not cut': (
        change(roi=RegionOfInterest(width=20, height=20)),
        'is for 20x20 px',
    ),
    'a region outside': (
        change(roi=RegionOfInterest(x_offset=30, width=64, height=64)),
        'which exceeds its',
    ),
    'an offset without a region': (change(roi=RegionOfInterest(x_offset=8)), 'without a size'),
    'another clock': (change(header__stamp=header(4000).stamp), '3999.0 s after the images'),
    'no clock': (change(header__stamp=header(0).stamp), 'camera_info is stamped'),
}
RECTIFIED = {
    'no P': (change(p=np.zeros(12)), 'not calibrated'),
    'the second camera': (
        lambda message: change(p=np.array([*message.p[:3], -0.1 * message.p[0], *message.p[4:]]))(
            message
        ),
        '0.100 m from the first',
    ),
    'a region to rectify': (
        change(roi=RegionOfInterest(width=64, height=64, do_rectify=True)),
        'do_rectify',
    ),
}


@pytest.mark.parametrize('case', [*INFOS, *RECTIFIED])
def test_a_wrong_camera_info_is_reported_until_a_correct_one_arrives(
    node: Notes, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong, word = {**INFOS, **RECTIFIED}[case]
    inputs, frames = start(node, image_is_rectified=case in RECTIFIED)
    seconds = 1.0 if case != 'no clock' else 100.0
    message = info(seconds)
    wrong(message)
    for _ in range(3):
        node.callbacks['/camera_info'](message)
        node.callbacks['/image'](gray(seconds))
        see(frames)
    assert sum(word in text for text in node.log) == 1, 'once'
    assert any(word in text for text in warnings_of(inputs).values())
    node.callbacks['/camera_info'](info(seconds))
    node.callbacks['/image'](gray(seconds))
    see(frames)
    monkeypatch.setattr(standing_warnings, 'SHOWN_S', 0.0)
    assert warnings_of(inputs) == {}


def test_a_correct_camera_info_causes_no_warning(node: Notes) -> None:
    for rectified in (False, True):
        inputs, frames = start(node, image_is_rectified=rectified)
        node.callbacks['/camera_info'](info())
        node.callbacks['/image'](gray())
        assert see(frames) == ''
        assert frames[-1].intrinsics is not None
        assert warnings_of(inputs) == {}


@pytest.mark.parametrize(
    ('name', 'coefficients', 'own_name', 'own'),
    [
        ('fisheye', [0.1, 0.01, 0.0, 0.0], 'equidistant', [0.1, 0.01, 0.0, 0.0]),
        ('Kannala-Brandt4', [0.1, 0.01, 0.0, 0.0, 0.0], 'equidistant', [0.1, 0.01, 0.0, 0.0]),
        ('PLUMB_BOB', [-0.3, 0.1, 0.0, 0.0, 0.0], 'plumb_bob', [-0.3, 0.1, 0.0, 0.0, 0.0]),
        (
            'rational',
            [-0.3, 0.1, 0, 0, 0, 0.1, 0, 0],
            'rational_polynomial',
            [-0.3, 0.1, 0, 0, 0, 0.1, 0, 0],
        ),
        (
            'rational_polynomial',
            [-0.3, 0.1, 0.0, 0.0, 0.0],
            'plumb_bob',
            [-0.3, 0.1, 0.0, 0.0, 0.0],
        ),
        ('', [-0.3, 0.1, 0.0, 0.0, 0.0], 'plumb_bob', [-0.3, 0.1, 0.0, 0.0, 0.0]),
    ],
)
def test_a_lens_model_under_another_name_is_undistorted(
    node: Notes, name: str, coefficients: list[float], own_name: str, own: list[float]
) -> None:
    inputs, frames = start(node, undistort=True)
    lenses = []
    for model, numbers_ in ((own_name, own), (name, coefficients)):
        message = info()
        change(distortion_model=model, d=array.array('d', numbers_))(message)
        node.callbacks['/camera_info'](message)
        node.callbacks['/image'](gray())
        lenses.append(frames[-1].calibration.lens)
    assert lenses[0] == lenses[1] is not None


def test_a_lens_of_five_zeros_needs_no_model(node: Notes) -> None:
    inputs, frames = start(node)
    message = info()
    change(distortion_model='', d=array.array('d', [0.0] * 5))(message)
    node.callbacks['/camera_info'](message)
    node.callbacks['/image'](gray())
    assert see(frames) == ''
    assert warnings_of(inputs) == {}
