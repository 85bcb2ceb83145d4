"""Shapes of rendered people."""

from __future__ import annotations

import numpy as np
import torch

from decomr_core.body_models import load_body
from training.synthetic.bodies.body_shapes import sample_shapes


def heights(shapes: np.ndarray) -> np.ndarray:
    vertices = load_body().rest_body(torch.from_numpy(shapes))[0]
    return (vertices[..., 1].amax(1) - vertices[..., 1].amin(1)).numpy()


def test_adults_are_between_a_metre_and_a_half_and_two_metres_tall():
    found = heights(sample_shapes(np.random.default_rng(0), 200))
    assert 1.5 < found.min() < found.max() < 2.0


def test_children_and_old_people_have_the_requested_share():
    shapes = sample_shapes(np.random.default_rng(0), 400, ages_share=1.0)
    found = heights(shapes)
    assert 0.9 < found.min() < 1.2
    assert found.max() < 2.1
    assert 0.45 < (found < 1.62).mean() < 0.75
    few = heights(sample_shapes(np.random.default_rng(0), 400, ages_share=0.1))
    assert 0.02 < (few < 1.45).mean() < 0.1


def test_a_childs_head_is_larger_for_its_height():
    body = load_body()
    shapes = np.stack(
        [
            sample_shapes(np.random.default_rng(1), 1, std=0.0)[0],
            *sample_shapes(np.random.default_rng(3), 8, std=0.0, ages_share=1.0),
        ]
    )
    vertices, joints = body.rest_body(torch.from_numpy(shapes))
    head = vertices[..., 1].amax(1) - joints[:, 15, 1]
    tall = vertices[..., 1].amax(1) - vertices[..., 1].amin(1)
    share = head / tall
    children = tall < 1.5
    assert children.sum() >= 2
    assert (share[children] > share[0] * 1.1).all()
