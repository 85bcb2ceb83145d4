"""The camera in a fixed frame, with a small fake of tf2_ros."""

from __future__ import annotations

import math
import sys
import types

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from std_msgs.msg import Header

from decomr_ros.node.standing_warnings import StandingWarnings
from decomr_ros.pipeline.fixed_frame import FixedFrame
from decomr_ros.pipeline.transforms import Transforms, TransformUnknown

HEADER = Header(stamp=Time(sec=10, nanosec=50_000_000), frame_id='camera')


class _NotKnown(Exception):
    """What tf2 raises."""


class _Buffer:
    """Knows the pose at the newest stamp only."""

    newest_s = 10.0
    is_cleared = False

    def lookup_transform(self, target: str, source: str, time: object) -> TransformStamped:
        if '\0' in target:
            raise ValueError('embedded null character')
        if isinstance(time, Time) and time != Time():
            raise _NotKnown('extrapolation into the future')
        found = TransformStamped()
        if target != 'static':
            found.header.stamp = Time(sec=int(self.newest_s))
        found.transform.translation.x = 2.0
        half = math.radians(90) / 2
        found.transform.rotation.z, found.transform.rotation.w = math.sin(half), math.cos(half)
        return found

    def clear(self) -> None:
        self.is_cleared = True


class _Listener:
    is_ended = False

    def __init__(self, buffer: _Buffer, node: object) -> None:
        pass

    def unregister(self) -> None:
        _Listener.is_ended = True


@pytest.fixture
def with_tf2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Listener, 'is_ended', False)
    monkeypatch.setitem(
        sys.modules,
        'tf2_ros',
        types.SimpleNamespace(
            Buffer=_Buffer, TransformListener=_Listener, TransformException=_NotKnown
        ),
    )


@pytest.fixture
def log() -> list[str]:
    return []


def _fixed_frame(log: list[str], frame_id: str = 'odom') -> FixedFrame:
    return FixedFrame(Transforms(object()), frame_id, StandingWarnings(log.append))


def test_the_newest_pose_is_used_if_tf_is_slightly_older_than_the_image(
    with_tf2: None, log: list[str]
) -> None:
    transforms = Transforms(object())
    frame = FixedFrame(transforms, 'odom', StandingWarnings(log.append))
    np.testing.assert_allclose(
        frame.from_camera(HEADER),
        [[0, -1, 0, 2], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
        atol=1e-12,
    )
    assert log == []
    transforms.destroy()
    assert _Listener.is_ended and frame.from_camera(HEADER) is None


def test_an_old_pose_is_not_used_and_the_reason_is_logged(
    with_tf2: None, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Buffer, 'newest_s', 8.0)
    assert _fixed_frame(log).from_camera(HEADER) is None
    assert 'odom from camera is not known: extrapolation' in log[0]


def test_an_image_without_a_stamp_has_only_static_transforms(with_tf2: None) -> None:
    transforms, header = Transforms(object()), Header(frame_id='camera')
    with pytest.raises(TransformUnknown, match='no stamp'):
        transforms.lookup('odom', 'camera', header)
    assert transforms.lookup('static', 'camera', header).age_s == 0


def test_a_frame_name_that_tf2_cannot_read_is_unknown(with_tf2: None, log: list[str]) -> None:
    assert _fixed_frame(log, 'a\0b').from_camera(HEADER) is None
    assert 'embedded null character' in log[0]


def test_transforms_can_be_cleared_also_after_their_end(with_tf2: None) -> None:
    transforms = Transforms(object())
    buffer = transforms._buffer
    transforms.clear()
    assert buffer.is_cleared
    transforms.destroy()
    transforms.clear()


def test_without_tf2_the_remedy_is_logged_once(
    log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, 'tf2_ros', None)
    frame = _fixed_frame(log)
    assert frame.from_camera(HEADER) is None and frame.from_camera(HEADER) is None
    assert len(log) == 1 and 'sudo apt install ros-' in log[0]


def test_without_a_frame_nothing_is_looked_up(with_tf2: None, log: list[str]) -> None:
    assert _fixed_frame(log, '').from_camera(HEADER) is None and log == []
