from __future__ import annotations

import array

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from decomr_core.geometry.camera import intrinsics_from_fov
from decomr_ros.calibration.calibration import MAX_SIZES, Calibration, CalibrationStore
from decomr_ros.messages.bad_input import BadInput
from decomr_ros.messages.meshes import camera_info_message

BARREL = [-0.2, 0.05, 0.0, 0.0, 0.0]


def _info(
    width: int = 640, height: int = 480, fov_deg: float = 60, **fields: object
) -> CameraInfo:
    info = camera_info_message(
        Header(), intrinsics_from_fov(width, height, fov_deg), width, height
    )
    for name, value in fields.items():
        setattr(info, name, value)
    return info


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def store(told: list[str]) -> CalibrationStore:
    return CalibrationStore(told.append)


def test_without_camera_info_there_are_no_intrinsics(store: CalibrationStore) -> None:
    found = store.for_image(640, 480)
    assert found.intrinsics is None
    assert found.problem == ''


def test_an_image_takes_the_newest_calibration_of_its_size(
    store: CalibrationStore, told: list[str]
) -> None:
    for info in (_info(), _info(320, 240), _info(640, 480, 50)):
        store.add(info)
    np.testing.assert_array_equal(
        store.for_image(640, 480).intrinsics, intrinsics_from_fov(640, 480, 50)
    )
    np.testing.assert_array_equal(
        store.for_image(320, 240).intrinsics, intrinsics_from_fov(320, 240, 60)
    )
    assert told == []
    other = store.for_image(800, 600)
    assert other.intrinsics is None
    assert 'camera_info is for 640x480 px, the image has 800x600' in other.problem


def test_a_changed_calibration_is_logged_once_and_an_equal_one_never(
    store: CalibrationStore, told: list[str]
) -> None:
    for _ in range(3):
        store.add(_info())
        first = store.for_image(640, 480)
    assert first is store.for_image(640, 480)  # not worked out again
    store.add(_info(fov_deg=40))
    for _ in range(3):
        assert store.for_image(640, 480).intrinsics[0, 0] > 800
    (text,) = told
    assert 'changed from focal length 554.3 px' in text
    store.add(_info(k=np.zeros(9)))
    assert store.for_image(640, 480).intrinsics is None
    assert 'to no calibration' in told[1]


def test_an_invalid_calibration_is_rejected_and_the_previous_one_remains(
    store: CalibrationStore,
) -> None:
    broken = _info(fov_deg=50)
    broken.k[0] = np.nan
    with pytest.raises(BadInput, match='focal') as caught:
        store.add(broken)
    assert caught.value.cause == 'camera_info'
    assert 'focal' in store.for_image(640, 480).problem
    store.add(_info())
    with pytest.raises(BadInput):
        store.add(broken)
    assert store.for_image(640, 480).intrinsics is not None


def test_an_uncalibrated_camera_is_reported_with_the_remedy(store: CalibrationStore) -> None:
    store.add(CameraInfo(width=640, height=480))
    assert 'camera_calibration' in store.for_image(640, 480).problem


def test_region_and_binning_determine_the_size(store: CalibrationStore) -> None:
    store.add(
        _info(
            binning_x=2,
            binning_y=2,
            roi=RegionOfInterest(x_offset=100, y_offset=40, width=320, height=400),
        )
    )
    seen = store.for_image(160, 200).intrinsics
    full = intrinsics_from_fov(640, 480, 60)
    np.testing.assert_allclose(seen[:2, 2], (full[:2, 2] - (100, 40)) / 2)
    assert store.for_image(640, 480).intrinsics is None


def test_a_strong_lens_is_reported_with_its_shift_or_undistorted(store: CalibrationStore) -> None:
    store.add(_info(d=array.array('d', BARREL)))
    plain = store.for_image(640, 480)
    assert plain.lens is None
    assert 'by up to' in plain.warning
    assert 'undistort:=true' in plain.warning
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    assert plain.undistort_image(picture) is picture
    undone = store.for_image(640, 480, undistort=True)
    assert undone.warning == ''
    assert undone.undistort_image(picture).shape == picture.shape
    assert not np.array_equal(undone.undistort_image(picture), picture)
    stored_as_bgr = np.ascontiguousarray(picture[..., ::-1])[..., ::-1]
    assert np.array_equal(undone.undistort_image(stored_as_bgr), undone.undistort_image(picture))
    points = np.array([[10.0, 10], [600, 400]])
    boxes = undone.undistort_boxes(np.array([[10.0, 10, 600, 400]]))
    back = undone.distort_points(boxes.reshape(2, 2))
    assert np.abs(back - points).max() < 8
    assert np.abs(boxes.reshape(2, 2) - points).max() > 15
    rectified = store.for_image(640, 480, is_rectified=True, undistort=True)
    assert rectified.lens is None


def test_a_weak_lens_is_not_reported_but_an_unknown_one_is(store: CalibrationStore) -> None:
    store.add(_info(d=array.array('d', [1e-4, 0.0, 0.0, 0.0, 0.0])))
    assert store.for_image(640, 480).warning == ''
    store.add(_info(d=array.array('d', BARREL), distortion_model='brown'))
    found = store.for_image(640, 480, undistort=True)
    assert found.lens is None
    assert found.intrinsics is not None
    assert "'brown', expected one of: plumb_bob" in found.warning


def test_ever_new_image_sizes_do_not_fill_the_memory(store: CalibrationStore) -> None:
    for size in range(100, 150):
        store.add(_info(2 * size, size))
        store.for_image(2 * size, size)
    assert (
        1
        <= sum(
            isinstance(store.for_image(2 * size, size).intrinsics, np.ndarray)
            for size in range(100, 150)
        )
        <= 2 * MAX_SIZES
    )
    assert len(store._made) <= MAX_SIZES


numbers = st.floats(allow_nan=True, allow_infinity=True)
# Of any numbers alone, hardly any nine would be a camera's, and hardly any sizes the image's.
K = intrinsics_from_fov(64, 48, 60).ravel().tolist()
FITTING = [64, 48, 1, 1, 0, 0, 0, 0]


@settings(max_examples=150, deadline=None)
@example(k=K, d=BARREL, model='plumb_bob', sizes=FITTING)
@example(k=K, d=[1e9] * 4, model='equidistant', sizes=FITTING)
@given(
    k=st.just(K) | st.lists(numbers, min_size=9, max_size=9),
    d=st.lists(st.floats(-1, 1), min_size=4, max_size=5) | st.lists(numbers, max_size=15),
    model=st.sampled_from(['', 'plumb_bob', 'rational_polynomial', 'equidistant', 'x']),
    sizes=st.just(FITTING) | st.lists(st.integers(0, 2**32 - 1), min_size=8, max_size=8),
)
def test_any_camera_info_gives_a_calibration_or_a_reason(
    k: list[float], d: list[float], model: str, sizes: list[int]
) -> None:
    store = CalibrationStore(lambda text: None)
    info = CameraInfo(
        k=np.array(k),
        d=array.array('d', d),
        distortion_model=model,
        width=sizes[0],
        height=sizes[1],
        binning_x=sizes[2],
        binning_y=sizes[3],
        roi=RegionOfInterest(
            x_offset=sizes[4], y_offset=sizes[5], width=sizes[6], height=sizes[7]
        ),
    )
    try:
        store.add(info)
    except BadInput:
        return
    for undistort in (False, True):
        found = store.for_image(64, 48, undistort=undistort)
        assert isinstance(found, Calibration)
        assert (found.intrinsics is None) == bool(found.problem)
