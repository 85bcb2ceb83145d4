"""The clip that the demo plays, and the walks in it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from decomr_core.base.assets import DATA_FOLDER
from decomr_core.body_models import load_body
from decomr_core.estimation.detectors import load_detector
from tools.demo_walk import passing_by, round_with_a_stop, walk

CLIP = DATA_FOLDER / 'demo_clip.mp4'


SHOWN = [*range(0, 250, 10), 248, 249]
"""The frames that are looked at."""


@pytest.fixture(scope='module')
def frames():
    video = cv2.VideoCapture(str(CLIP))
    assert video.get(cv2.CAP_PROP_FPS) == 25
    read, count = {}, 0
    while video.grab():
        if count in SHOWN:
            read[count] = video.retrieve()[1]
        count += 1
    assert count == 250
    return read


def changed_share(one, other):
    """Share of the pixels that differ by more than the compression error."""
    return (np.abs(one.astype(float) - other).mean(-1) > 25).mean()


def test_the_clip_is_small_in_pixels_and_bytes(frames):
    assert {frame.shape for frame in frames.values()} == {(480, 640, 3)}
    assert CLIP.stat().st_size < 2e6


def test_people_move_in_front_of_a_static_room(frames):
    shares = [changed_share(frames[index], frames[index + 10]) for index in range(0, 240, 10)]
    assert min(shares) > 0.002
    assert max(shares) < 0.2


def test_the_last_frame_leads_to_the_first(frames):
    step, usual = changed_share(frames[249], frames[0]), changed_share(frames[248], frames[249])
    assert 0 < usual / 2 < step < 2 * usual


def test_the_detector_finds_a_person_in_every_frame(frames):
    detector = load_detector()
    found = [
        len(detector(np.ascontiguousarray(frames[index][..., ::-1])).boxes)
        for index in range(10, 250, 40)
    ]
    assert min(found) > 0


@pytest.mark.parametrize(
    'course',
    [
        round_with_a_stop((0.15, -4.75), (1.3, 0.95), strides=9),
        passing_by([(2.0, -5.0), (0.0, -5.5), (-2.0, -4.0)], speed=1.1, start_s=0),
    ],
)
def test_feet_on_the_ground_do_not_slide(course):
    body = load_body('builtin')
    vertices, rest = body(torch.zeros(1, 24, 3), torch.zeros(1, 10))
    rest, sole = rest[0].double().numpy(), float(vertices[0, :, 1].min())
    motion = walk(course, rest, sole, np.arange(1.5, 3.0, 0.04))
    _, joints = body(torch.from_numpy(motion.pose).float(), torch.zeros(len(motion.pose), 10))
    joints = joints.numpy() + (motion.root - rest[0])[:, None]
    for side in range(2):
        ankle, stands = joints[:, 7 + side], motion.stands[side]
        assert np.linalg.norm(ankle - motion.ankles[side], axis=1).max() < 0.02
        both = stands[1:] & stands[:-1]
        assert both.any()
        assert np.linalg.norm(np.diff(ankle, axis=0)[both], axis=1).max() < 0.004
    travelled = np.linalg.norm(motion.root[-1] - motion.root[0])
    assert travelled > 0.5
