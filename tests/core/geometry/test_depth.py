"""A rendered body with known distance in front of a depth camera."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch

from decomr_core.body_models import BodyModel
from decomr_core.geometry.camera import project_perspective
from decomr_core.geometry.depth import translation_from_depth
from decomr_core.geometry.rasterizer import rasterize
from decomr_core.geometry.visibility import VisibilityTest

SIZE = 256
K = np.array([[260.0, 0, 127.5], [0, 260.0, 127.5], [0, 0, 1]])
TRANSLATION = np.array([0.3, 0.1, 3.0])
WALL_M = 4.5


class Scene(NamedTuple):
    """The image of a depth camera, and the vertices that the network would mark as visible."""

    depth: np.ndarray
    points: np.ndarray
    image_xy: np.ndarray


@pytest.fixture(scope='module')
def scene(tiny_body: BodyModel) -> Scene:
    """The tiny body in T-pose at `TRANSLATION`, before a wall."""
    root = np.asarray(tiny_body.data.v_template, float) * (1, -1, -1)  # y down, facing us
    faces = np.asarray(tiny_body.data.faces)
    root, faces = _subdivide(*_subdivide(root, faces))
    camera = root + TRANSLATION
    image_xy = project_perspective(camera, K)
    crop = np.column_stack([(image_xy + 0.5) * 2 / SIZE - 1, camera[:, 2]])
    depth = (
        rasterize(torch.tensor(crop, dtype=torch.float32)[None], torch.tensor(faces), SIZE)
        .depth[0]
        .numpy()
    )
    depth = np.where(np.isfinite(depth), depth, WALL_M).astype(np.float32)
    seen = VisibilityTest(faces, len(root))(root.astype(np.float32))
    return Scene(depth, root[seen], image_xy[seen])


def _subdivide(points: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each triangle in four."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    unique, index = np.unique(edges, axis=0, return_inverse=True)
    ab, bc, ca = index.reshape(3, -1) + len(points)
    a, b, c = faces.T
    fine = np.concatenate(
        [
            np.stack(corners, axis=1)
            for corners in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))
        ]
    )
    return np.concatenate([points, points[unique].mean(1)]), fine


@pytest.mark.parametrize('factor', [0.8, 1.0, 1.2])
@pytest.mark.parametrize('holes', [0.0, 0.3])
def test_a_distance_20_percent_off_is_right_to_2_cm_despite_holes_and_a_wall_behind(
    scene: Scene, factor: float, holes: float
) -> None:
    depth = scene.depth.copy()
    depth[np.random.default_rng(0).random(depth.shape) < holes] = 0
    seen = translation_from_depth(scene.points, scene.image_xy, TRANSLATION * factor, depth)
    np.testing.assert_allclose(seen, TRANSLATION, atol=0.02)


@pytest.mark.parametrize('factor', [0.8, 1.2])
def test_a_mesh_drawn_too_large_or_too_small_still_finds_its_distance(
    scene: Scene, factor: float
) -> None:
    guess = TRANSLATION * factor
    image_xy = project_perspective(scene.points + guess, K)
    seen = translation_from_depth(scene.points, image_xy, guess, scene.depth)
    assert abs(seen[2] - TRANSLATION[2]) < 0.05


def test_millimetres_and_unknown_values_are_understood(scene: Scene) -> None:
    guess = TRANSLATION * 1.2
    millimetres = (scene.depth * 1000).astype(np.uint16)
    seen = translation_from_depth(scene.points, scene.image_xy, guess, millimetres, 0.001)
    np.testing.assert_allclose(seen, TRANSLATION, atol=0.02)
    for unknown in (np.nan, np.inf, -1.0, 0.0):
        broken = scene.depth.copy()
        broken[::2] = unknown
        seen = translation_from_depth(scene.points, scene.image_xy, guess, broken)
        np.testing.assert_allclose(seen, TRANSLATION, atol=0.02)


def test_something_before_a_quarter_of_the_body_does_not_pull_it_nearer(scene: Scene) -> None:
    covered = scene.depth.copy()
    bottom = int(np.quantile(scene.image_xy[:, 1], 0.75))
    covered[bottom:] = 1.5
    seen = translation_from_depth(scene.points, scene.image_xy, TRANSLATION * 1.2, covered)
    np.testing.assert_allclose(seen, TRANSLATION, atol=0.02)


def test_the_root_keeps_its_place_in_the_image(scene: Scene) -> None:
    guess = TRANSLATION * 0.8 + (0.1, 0, 0)
    seen = translation_from_depth(scene.points, scene.image_xy, guess, scene.depth)
    assert seen[2] > guess[2] + 0.5
    np.testing.assert_allclose(project_perspective(seen, K), project_perspective(guess, K))


def test_too_few_pixels_or_several_surfaces_give_no_correction(scene: Scene) -> None:
    empty = np.zeros_like(scene.depth)
    assert translation_from_depth(scene.points, scene.image_xy, TRANSLATION, empty) is None
    noise = np.random.default_rng(0).uniform(0.5, 9, scene.depth.shape)
    assert translation_from_depth(scene.points, scene.image_xy, TRANSLATION, noise) is None
    outside = scene.image_xy + 10 * SIZE
    assert translation_from_depth(scene.points, outside, TRANSLATION, scene.depth) is None
    behind = TRANSLATION * (1, 1, -1)
    assert translation_from_depth(scene.points, scene.image_xy, behind, scene.depth) is None
    nobody = np.zeros((0, 3)), np.zeros((0, 2))
    assert translation_from_depth(*nobody, TRANSLATION, scene.depth) is None


@pytest.mark.parametrize('surface_m', [0.5, 8.0])
def test_a_surface_at_an_implausible_distance_is_ignored(scene: Scene, surface_m: float) -> None:
    other = np.full_like(scene.depth, surface_m)
    assert translation_from_depth(scene.points, scene.image_xy, TRANSLATION, other) is None


def test_fewer_image_positions_than_points_are_rejected(scene: Scene) -> None:
    with pytest.raises(ValueError, match='image_xy has shape'):
        translation_from_depth(scene.points, scene.image_xy[1:], TRANSLATION, scene.depth)
