"""The pixels of a person."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from decomr_core.base.structures import HumanMesh
from decomr_core.drawing import compose_iuv, draw_meshes
from decomr_core.estimation.person_mask import person_mask
from decomr_core.geometry.camera import intrinsics_from_fov

SIZE = 320, 240
K = intrinsics_from_fov(*SIZE, 60)
# A pyramid with its tip towards the camera, 2 m away.
VERTICES = np.array(
    [[-0.4, -0.5, 2], [0.4, -0.5, 2], [0.4, 0.5, 2], [-0.4, 0.5, 2], [0, 0, 1.8]], np.float32
)
FACES = np.array([[4, 1, 0], [4, 2, 1], [4, 3, 2], [4, 0, 3]])


def _person(seed: int = 0) -> HumanMesh:
    """A pyramid whose foreground is noise in a crop anywhere in or near the image."""
    rng = np.random.default_rng(seed)
    return HumanMesh(
        track_id=1,
        score=1.0,
        box=np.zeros(4, np.float32),
        vertices=VERTICES,
        joints=np.zeros((24, 3), np.float32),
        translation=np.array([0, 0, 2.0]),
        is_metric=True,
        visibility=np.ones(5, bool),
        weak_camera=np.array([1, 0, 0], np.float32),
        crop_center=rng.uniform((-50, -50), (370, 290)).astype(np.float32),
        crop_side=float(rng.uniform(20, 400)),
        iuv=np.kron(rng.random((3, 4, 4)), np.ones((8, 8))).astype(np.float32),
    )


@given(st.integers(0, 2**32 - 1))
@example(23507812)
def test_the_foreground_is_that_of_the_iuv_image(seed: int) -> None:
    person = _person(seed)
    mask = person_mask(person, SIZE, SIZE)
    drawn = compose_iuv([person], SIZE[1], SIZE[0], '32FC3')[..., 0] > 0
    assert (mask.astype(bool) != drawn).mean() < 0.005  # rounding at the edges of the squares


@pytest.mark.parametrize('factor', [0.25, 0.5, 2])
def test_a_mask_of_another_size_is_the_same_mask_scaled(factor: float) -> None:
    size = int(SIZE[0] * factor), int(SIZE[1] * factor)
    person = dataclasses.replace(
        _person(3), crop_center=np.array([160, 120], np.float32), crop_side=200.0
    )
    corners = FACES.T.copy()
    scaled = person_mask(person, SIZE, size, corners, K)
    whole = person_mask(person, SIZE, SIZE, corners, K)
    assert scaled.shape == size[::-1]
    assert scaled.mean() == pytest.approx(whole.mean(), rel=0.05)
    rows, columns = ((np.arange(n) + 0.5) / factor for n in size[::-1])
    same = whole[rows.astype(int)[:, None], columns.astype(int)]
    assert (same != scaled).mean() < 0.02


def test_the_projected_mesh_is_added() -> None:
    empty = dataclasses.replace(_person(), iuv=np.zeros((3, 8, 8), np.float32))
    mask = person_mask(empty, SIZE, SIZE, FACES.T.copy(), K)
    image = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    drawn = draw_meshes(image, [empty], FACES, K, 1.0).any(-1)
    assert drawn.sum() > 1000
    assert (mask.astype(bool) != drawn).mean() < 0.01
    assert not person_mask(empty, SIZE, SIZE).any()


def test_a_mesh_that_is_not_finite_or_outside_the_image_is_left_out() -> None:
    person = dataclasses.replace(_person(5), crop_center=np.array([160, 120], np.float32))
    foreground = person_mask(person, SIZE, SIZE)
    for vertices in (np.full_like(VERTICES, np.nan), VERTICES + np.float32([9, 0, 0])):
        other = dataclasses.replace(person, vertices=vertices)
        assert np.array_equal(person_mask(other, SIZE, SIZE, FACES.T.copy(), K), foreground)
