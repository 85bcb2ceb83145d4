"""The picture of the worst cases shows its labels correctly."""

from __future__ import annotations

import numpy as np
import pytest

from decomr_core.body_models.joint_sets import evaluated_regressor
from decomr_core.geometry.crop import crop_pixels
from training.evaluation.worst_cases import (
    TILE_PX,
    WorstCase,
    case_title,
    draw_labels,
    draw_mesh,
    draw_skeleton,
    worst_cases_picture,
    write_picture,
)

GREY = np.full((TILE_PX, TILE_PX, 3), 128, np.uint8)
CAMERA = np.array([0.9, 0.0, 0.1])


@pytest.mark.parametrize('side', [40.0, 90.0, 333.0])
def test_labels_are_drawn_at_their_pixels(side):
    labels = np.zeros((120, 100), np.uint8)
    labels[30:80, 45:60] = 3
    labels[70:80, 50:55] = 255
    image = np.repeat(((labels == 3) * np.uint8(255))[..., None], 3, axis=2)
    center = np.array([50.0, 60.0])
    crop = crop_pixels(image, center, side, TILE_PX)
    drawn = draw_labels(crop, labels, center, side)
    is_bright = crop[..., 0] > 127
    changed = (drawn != crop).any(axis=-1)
    # A class is one hue; its rim may differ from the bilinear crop by a pixel of the image.
    assert (changed & ~is_bright).mean() < 0.03 and is_bright.any()
    assert (is_bright & ~changed).sum() < 0.15 * is_bright.sum() + 60


def test_a_skeleton_lies_inside_its_mesh(tiny_body):
    vertices = tiny_body.data.v_template * (1, -1, -1)
    joints = evaluated_regressor(tiny_body)[:14] @ vertices
    mesh = (draw_mesh(GREY, vertices, CAMERA, tiny_body.data.faces) != GREY).any(-1)
    bones = (draw_skeleton(GREY, joints, CAMERA) != GREY).any(-1)
    assert bones.sum() > 100 and (bones & mesh).sum() > 0.8 * bones.sum()


def test_truth_and_prediction_have_different_colours(tiny_body):
    vertices = tiny_body.data.v_template * (1, -1, -1)
    drawn = [
        draw_mesh(GREY, vertices, CAMERA, tiny_body.data.faces, is_true=is_true)
        for is_true in (False, True)
    ]
    inside = (drawn[0] != GREY).any(-1)
    assert np.abs(drawn[0][inside].mean(0) - drawn[1][inside].mean(0)).max() > 60


def test_sixteen_cases_make_four_rows_and_one_fewer_leaves_a_gap(tmp_path):
    case = WorstCase('3 mm', GREY, GREY, None)
    full = worst_cases_picture([case] * 16, 'heading')
    assert worst_cases_picture([case] * 15, 'heading').shape == full.shape
    assert worst_cases_picture([case] * 12, 'heading').shape[0] < full.shape[0]
    assert full.shape[1] >= 12 * TILE_PX
    write_picture(tmp_path / 'picture.png', full)
    assert (tmp_path / 'picture.png').stat().st_size > 1000


def test_titles_name_score_and_value():
    assert case_title(123.4, 'pa_mpjpe_mm', 'a.jpg') == '123 mm MPJPE-PA, a.jpg'
    assert case_title(0.25, 'segment_error', 'b') == '25 % of pixels in a wrong segment, b'
