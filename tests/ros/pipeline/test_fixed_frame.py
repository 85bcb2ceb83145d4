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

from decomr_ros.pipeline.fixed_frame import FixedFrame

HEADER = Header(stamp=Time(sec=10, nanosec=50_000_000), frame_id='camera')


class _Logger:
    """Records log lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, text: str, **options: float) -> None:
        self.lines.append(text)


class _Node:
    def __init__(self) -> None:
        self.logger = _Logger()

    def get_logger(self) -> _Logger:
        return self.logger


class _NotKnown(Exception):
    """What tf2 raises."""


class _Buffer:
    """Knows the pose at the newest stamp only."""

    newest_s = 10.0

    def lookup_transform(self, target: str, source: str, time: object) -> TransformStamped:
        if isinstance(time, Time):
            raise _NotKnown('extrapolation into the future')
        found = TransformStamped()
        found.header.stamp = Time(sec=int(self.newest_s))
        found.transform.translation.x = 2.0
        half = math.radians(90) / 2
        found.transform.rotation.z, found.transform.rotation.w = math.sin(half), math.cos(half)
        return found


class _Listener:
    is_ended = False

    def __init__(self, buffer: _Buffer, node: _Node) -> None:
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


def test_the_newest_pose_is_used_if_tf_is_slightly_older_than_the_image(with_tf2: None) -> None:
    node = _Node()
    frame = FixedFrame(node, 'odom')
    np.testing.assert_allclose(
        frame.from_camera(HEADER),
        [[0, -1, 0, 2], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
        atol=1e-12,
    )
    assert node.logger.lines == []
    frame.destroy()
    assert _Listener.is_ended and frame.from_camera(HEADER) is None


def test_an_old_pose_is_not_used_and_the_reason_is_logged(
    with_tf2: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Buffer, 'newest_s', 8.0)
    node = _Node()
    assert FixedFrame(node, 'odom').from_camera(HEADER) is None
    assert 'odom from camera is not known: extrapolation' in node.logger.lines[0]


def test_without_tf2_the_remedy_is_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'tf2_ros', None)
    node = _Node()
    frame = FixedFrame(node, 'odom')
    assert frame.from_camera(HEADER) is None and frame.from_camera(HEADER) is None
    assert len(node.logger.lines) == 1 and 'sudo apt install ros-' in node.logger.lines[0]


def test_without_a_frame_nothing_is_looked_up(with_tf2: None) -> None:
    assert FixedFrame(_Node(), '').from_camera(HEADER) is None
