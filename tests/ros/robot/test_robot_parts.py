"""The parameter `robot_parts`, and the velocities of the robot's frames."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decomr_ros.robot.frame_motion import MAX_GAP_S, FrameMotions
from decomr_ros.settings.robot_parts import parse_robot_parts

FPS = 30


def test_an_entry_is_a_sphere_or_a_capsule_in_its_frame() -> None:
    tool, arm = parse_robot_parts('tool0 0.06; /forearm_link 0.07 -0.4 0 0; tool0, 0.1, 0,0,0.2;')
    assert (tool.frame, arm.frame) == ('tool0', 'forearm_link')
    np.testing.assert_allclose(tool.boxes.radii, [0.06, 0.1])
    np.testing.assert_allclose(tool.boxes.half_sizes, [[0, 0, 0], [0.1, 0, 0]])
    np.testing.assert_allclose(arm.boxes.centers, [[-0.2, 0, 0]])
    assert parse_robot_parts('') == parse_robot_parts(' ; ') == []


@pytest.mark.parametrize(
    'text',
    [
        'tool0',
        'tool0 wide',
        'tool0 0.1 0 0',
        'tool0 nan',
        'tool0 -0.1',
        'tool0 60 0 0 400',
        ',',
        '/ 0.1',
    ],
)
def test_an_invalid_entry_is_named_with_the_format(text: str) -> None:
    with pytest.raises(ValueError, match=f'{text}.*expected FRAME RADIUS'):
        parse_robot_parts(f'base 0.2; {text}')


@given(st.integers(0, 10**6))
def test_a_frame_that_turns_and_moves_has_the_velocity_of_its_points(seed: int) -> None:
    rng = np.random.default_rng(seed)
    linear, angular = rng.normal(size=3), rng.normal(size=3)
    motions = FrameMotions()
    point = rng.normal(size=3)  # in the frame
    for image in range(40):
        time_s = image / FPS
        pose = np.eye(4)
        pose[:3, :3] = cv2.Rodrigues(angular * time_s)[0]
        pose[:3, 3] = linear * time_s
        motions.update({'tool': (pose, time_s)})
    velocity = motions.velocity('tool', pose[:3, :3] @ point + pose[:3, 3])
    assert velocity is not None
    np.testing.assert_allclose(
        velocity, linear + np.cross(angular, pose[:3, :3] @ point), atol=1e-6
    )


def _moved(x_m: float) -> np.ndarray:
    pose = np.eye(4)
    pose[0, 3] = x_m
    return pose


def test_a_velocity_is_unknown_at_first_after_a_gap_and_after_a_jump_back() -> None:
    motions = FrameMotions()
    assert motions.velocity('tool', np.zeros(3)) is None
    for time_s, is_known in (
        (1.0, False),
        (1.1, True),
        (1.1 + MAX_GAP_S, True),
        (2.0 + 2 * MAX_GAP_S, False),
        (1.0, False),
        (1.0, False),  # the same image again
        (1.1, True),
    ):
        motions.update({'tool': (_moved(time_s), time_s)})
        velocity = motions.velocity('tool', np.zeros(3))
        assert (velocity is not None) == is_known, time_s
        if velocity is not None:
            np.testing.assert_allclose(velocity, [1, 0, 0], atol=1e-9)
    motions.update({})
    motions.update({'tool': (_moved(0), 1.3)})
    assert motions.velocity('tool', np.zeros(3)) is None, 'it was missing in an image'
