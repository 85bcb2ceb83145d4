"""The path of an image, with parts that only record."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from std_msgs.msg import Header

from decomr_ros.image_path import ImagePath
from decomr_ros.inputs.stamp_checks import StampChecks
from decomr_ros.node.standing_warnings import StandingWarnings
from tests.ros.robot.scene import stamp_of


@pytest.mark.parametrize('has_transforms', [True, False])
def test_tracks_and_transforms_begin_anew_if_the_stamps_jump_back(has_transforms: bool) -> None:
    calls: list[str] = []
    transforms = SimpleNamespace(clear=lambda: calls.append('clear'))
    parts = SimpleNamespace(
        pipeline=SimpleNamespace(reset=lambda: calls.append('reset')),
        transforms=transforms if has_transforms else None,
    )
    clock = SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=0))
    node, warnings = SimpleNamespace(get_clock=lambda: clock), StandingWarnings(lambda _: None)
    path = ImagePath(node, parts, None, None, StampChecks(node, warnings), warnings)
    for time_s in (50.0, 50.1, 20.0, 20.1):
        path._advance_to(Header(stamp=stamp_of(time_s), frame_id='camera'))
        if time_s == 50.1:
            assert calls == []
    assert calls == ['reset', 'clear'][: 1 + has_transforms]
