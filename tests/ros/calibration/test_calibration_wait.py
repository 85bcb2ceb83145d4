"""A calibration shortly after the first image causes no warning."""

from __future__ import annotations

import pytest

from decomr_ros.calibration import calibration_wait
from decomr_ros.inputs.frame import Frame
from tests.ros.inputs.test_inputs import Notes, gray, info, node, start

__all__ = ['node']  # the fixture


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which the test sets; the wait is that of the program."""
    now = [100.0]
    monkeypatch.setattr(calibration_wait, 'WAIT_S', 2.0)
    monkeypatch.setattr(calibration_wait.time, 'monotonic', lambda: now[0])
    return now


def look(node: Notes, frames: list[Frame], stamp_s: int) -> bool:
    """Shows an image; whether it has a calibration."""
    node.callbacks['/image'](gray(stamp_s))
    return frames[-1].intrinsics is not None


def test_a_calibration_within_two_seconds_causes_no_warning(
    node: Notes, clock: list[float]
) -> None:
    inputs, frames = start(node)
    assert not look(node, frames, 1)
    clock[0] += 1.9
    assert not look(node, frames, 2)
    node.callbacks['/camera_info'](info())
    clock[0] += 0.2
    assert look(node, frames, 3)
    assert not [text for text in node.log if 'camera_info' in text]
    assert 'warning_camera_info' not in inputs.warnings.values()


def test_a_missing_calibration_is_a_warning_that_also_counts_the_first_images(
    node: Notes, clock: list[float]
) -> None:
    inputs, frames = start(node)
    look(node, frames, 1)
    clock[0] += 2.1
    look(node, frames, 2)
    assert len([text for text in node.log if 'no camera_info on /camera_info yet' in text]) == 1
    assert inputs.warnings.values()['warning_camera_info_count'] == '2'
    node.callbacks['/camera_info'](info())
    assert look(node, frames, 3)
    assert node.log[-1] == (
        'camera_info has come on /camera_info: people have positions from now on'
    )
    assert 'warning_camera_info' not in inputs.warnings.values()
