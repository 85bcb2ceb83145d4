"""Wrong depth is named until right depth comes."""

from __future__ import annotations

import numpy as np
import pytest
from sensor_msgs.msg import Image

from decomr_ros.node import standing_warnings
from decomr_ros.pipeline.depth_correction import MOST_UNCORRECTED, DepthCorrection
from tests.ros.inputs.test_depth_image import _flat_person
from tests.ros.inputs.test_inputs import Notes, gray, info, node, start
from tests.ros.inputs.wrong_inputs import numbers, see, warnings_of

__all__ = ['node']  # the fixture

DEPTHS = {
    'colours': (lambda: gray(), "'bgr8', expected one of: 16UC1"),
    'mono16': (lambda: numbers('mono16', '<u2', 3000), 'read as 16UC1'),
    'another aspect': (lambda: numbers('16UC1', '<u2', 3000, width=128), 'it is not aligned'),
    'too few data': (lambda: _short(), 'bytes of data'),
    'millimetres in floats': (lambda: numbers('32FC1', '<f4', 3000.0), 'of another unit'),
    'metres in integers': (lambda: numbers('16UC1', '<u2', 3), 'of another unit'),
    'the other order of bytes': (lambda: _turned_round(), 'of another unit'),
    'nothing measured': (lambda: numbers('16UC1', '<u2', 0), 'no pixel is measured'),
    'only NaN': (lambda: numbers('32FC1', '<f4', np.nan), 'no pixel is measured'),
    'another clock': (lambda: numbers('16UC1', '<u2', 3000, seconds=61.0), '60.0 s after it'),
    'no stamp': (lambda: numbers('16UC1', '<u2', 3000, seconds=0.0), '1.0 s before it'),
    'nothing at all': (lambda: None, 'none has arrived so far'),
}


def _short() -> Image:
    message = numbers('16UC1', '<u2', 3000)
    message.data = message.data[:100]
    return message


def _turned_round() -> Image:
    message = numbers('32FC1', '<f4', 3.0)
    message.is_bigendian = 1
    return message


@pytest.mark.parametrize('case', DEPTHS)
def test_wrong_depth_is_reported_until_correct_depth_arrives(
    node: Notes, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, word = DEPTHS[case]
    inputs, frames = start(node, use_depth=True)
    node.callbacks['/camera_info'](info())
    for _ in range(3):
        if (message := make()) is not None:
            node.callbacks['/depth'](message)
        node.callbacks['/image'](gray())
        see(frames)
    assert sum(word in text for text in node.log) == 1, 'once'
    assert any(word in text for text in warnings_of(inputs).values())
    node.callbacks['/depth'](numbers('16UC1', '<u2', 3000))
    node.callbacks['/image'](gray())
    see(frames)
    monkeypatch.setattr(standing_warnings, 'SHOWN_S', 0.0)
    assert warnings_of(inputs) == {}


def test_scaled_depth_is_noted_without_a_warning(node: Notes) -> None:
    inputs, frames = start(node, use_depth=True)
    node.callbacks['/camera_info'](info())
    for _ in range(2):
        node.callbacks['/depth'](numbers('16UC1', '<u2', 3000, size=32))
        node.callbacks['/image'](gray())
        see(frames)
    assert sum('/depth has 32x32 px, the image 64x64' in text for text in node.log) == 1
    assert warnings_of(inputs) == {}


def test_depth_that_never_fits_a_mesh_is_reported_until_it_does(
    node: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, frames = start(node, use_depth=True)
    node.callbacks['/camera_info'](info())
    stage = DepthCorrection('/depth', inputs.warnings, node.info)
    node.callbacks['/depth'](numbers('16UC1', '<u2', 9000))  # the wall, three times as far
    for _ in range(MOST_UNCORRECTED + 5):
        node.callbacks['/image'](gray())
        stage.correct([_flat_person()], frames[-1].depth)
    assert sum('corrected none of the last' in text for text in node.log) == 1
    assert 'warning_depth_fit' in warnings_of(inputs)
    node.callbacks['/depth'](numbers('16UC1', '<u2', 2900))
    node.callbacks['/image'](gray())
    stage.correct([_flat_person()], frames[-1].depth)
    monkeypatch.setattr(standing_warnings, 'SHOWN_S', 0.0)
    assert warnings_of(inputs) == {}
