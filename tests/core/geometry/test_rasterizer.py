"""The rasterizer against a slow reference that tests every pixel with every face."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decomr_core.geometry import rasterizer
from decomr_core.geometry.rasterizer import rasterize


def rasterize_naive(
    vertices: np.ndarray, faces: np.ndarray, size: int, cull: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Face index, depth and depth of the runner-up of one image, in float64, pixel by pixel."""
    index = np.full((size, size), -1)
    depth, second = np.full((size, size), np.inf), np.full((size, size), np.inf)
    for row in range(size):
        for column in range(size):
            point = np.array([(2 * column + 1) / size - 1, (2 * row + 1) / size - 1])
            for number, face in enumerate(faces):
                a, b, c = vertices[face].astype(np.float64)
                matrix = np.array([[a[0], b[0], c[0]], [a[1], b[1], c[1]], [1, 1, 1]])
                area = np.linalg.det(matrix)
                if area == 0 or (cull and area > 0):
                    continue
                weights = np.linalg.solve(matrix, [*point, 1])
                if weights.min() < 0:
                    continue
                here = weights @ [a[2], b[2], c[2]]
                if here < depth[row, column]:
                    second[row, column] = depth[row, column]
                    index[row, column], depth[row, column] = number, here
                else:
                    second[row, column] = min(second[row, column], here)
    return index, depth, second


def random_scene(seed: int, count: int, extent: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Loose triangles of about that extent, some beyond the crop, depths of both signs."""
    generator = torch.Generator().manual_seed(seed)
    centers = torch.rand(count, 1, 3, generator=generator) * 2.6 - 1.3
    corners = centers + (torch.rand(count, 3, 3, generator=generator) - 0.5) * extent
    return corners.reshape(1, -1, 3), torch.arange(3 * count).view(-1, 3)


@pytest.mark.parametrize('cull', [False, True])
@pytest.mark.parametrize(
    ('count', 'extent', 'size'), [(60, 0.15, 24), (25, 1.5, 20), (8, 6.0, 16)]
)
def test_the_fast_rasterizer_equals_the_naive_one(
    count: int, extent: float, size: int, cull: bool
) -> None:
    vertices, faces = random_scene(count, count, extent)
    found = rasterize(vertices, faces, size, cull_backfaces=cull)
    index, depth, second = rasterize_naive(vertices[0].numpy(), faces.numpy(), size, cull)
    assert (index >= 0).any()
    clear = (index < 0) | (second > depth + 1e-4)
    found_index = found.face_index[0].numpy()
    assert (index[clear] == found_index[clear]).mean() > 0.995
    shown = (index >= 0) & (found_index >= 0)
    assert np.abs(found.depth[0].numpy()[shown] - depth[shown]).max() < 1e-3


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 40), extent=st.floats(0.01, 4))
def test_weights_reproduce_the_pixel_centre_and_the_depth(
    seed: int, size: int, extent: float
) -> None:
    vertices, faces = random_scene(seed, 30, extent)
    found = rasterize(vertices, faces, size)
    shown = found.face_index[0] >= 0
    corners = vertices[0][faces[found.face_index[0][shown]]]
    points = (corners * found.barycentric[0][shown][..., None]).sum(1)
    row, column = shown.nonzero(as_tuple=True)
    centers = (2 * torch.stack([column, row], dim=1) + 1) / size - 1
    assert torch.allclose(points[:, :2], centers, atol=2e-4)
    assert torch.allclose(points[:, 2], found.depth[0][shown], atol=1e-3)
    assert (found.barycentric[0][shown] > -1e-3).all()
    assert not found.barycentric[0][~shown].any()
    assert torch.isinf(found.depth[0][~shown]).all()


def test_the_nearest_surface_wins_whatever_the_order_and_the_sign_of_depth() -> None:
    square = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    for near, far in ((1.0, 2.0), (-2.0, -1.0), (-1.0, 1.0)):
        for first, second in ((near, far), (far, near)):
            vertices = torch.cat(
                [
                    torch.cat([square, torch.full((4, 1), depth)], dim=1)
                    for depth in (first, second)
                ]
            )[None]
            faces = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
            found = rasterize(vertices, faces, 8)
            wanted = 0 if first == near else 1
            assert (found.face_index[0] // 2 == wanted).all()
            assert (found.depth == near).all()


def test_a_closed_surface_has_no_holes() -> None:
    steps = torch.linspace(-1, 1, 41)
    grid = torch.stack(torch.meshgrid(steps, steps, indexing='ij'), dim=-1).reshape(-1, 2)
    grid = grid + torch.where(grid.abs() < 0.99, 0.01 * torch.sin(97 * grid.flip(1)), 0.0)
    vertices = torch.cat([grid, torch.ones(len(grid), 1)], dim=1)[None]
    corner = (torch.arange(40)[:, None] * 41 + torch.arange(40)[None]).flatten()
    faces = torch.cat(
        [
            torch.stack([corner, corner + 1, corner + 42], dim=1),
            torch.stack([corner, corner + 42, corner + 41], dim=1),
        ]
    )
    for size in (7, 32, 64, 129):
        assert (rasterize(vertices, faces, size).face_index >= 0).all()


def test_a_batch_equals_its_images_one_by_one() -> None:
    vertices = torch.cat([random_scene(seed, 40, 0.6)[0] for seed in range(3)])
    faces = random_scene(0, 40, 0.6)[1]
    together = rasterize(vertices, faces, 32)
    for number in range(3):
        alone = rasterize(vertices[number : number + 1], faces, 32)
        assert torch.equal(alone.face_index[0], together.face_index[number])
        assert torch.equal(alone.barycentric[0], together.barycentric[number])


def test_testing_in_small_portions_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    vertices, faces = random_scene(5, 50, 0.8)
    whole = rasterize(vertices, faces, 32)
    monkeypatch.setattr(rasterizer, 'CANDIDATES_PER_CHUNK', 37)
    assert torch.equal(rasterize(vertices, faces, 32).face_index, whole.face_index)


def test_culling_keeps_the_side_of_a_body_that_faces_the_camera() -> None:
    # One face of a body whose normal is (0, 0, -1): towards the camera in the root frame.
    vertices = torch.tensor([[[-1.0, -1, 1], [-1, 1, 1], [1, -1, 1]]])
    normal = torch.linalg.cross(vertices[0, 1] - vertices[0, 0], vertices[0, 2] - vertices[0, 0])
    assert normal[2] < 0
    towards = torch.tensor([[0, 1, 2]])
    assert (rasterize(vertices, towards, 8, cull_backfaces=True).face_index >= 0).any()
    assert (rasterize(vertices, towards.flip(1), 8, cull_backfaces=True).face_index < 0).all()


def test_an_empty_view_is_all_background() -> None:
    vertices, faces = random_scene(1, 5, 0.2)
    found = rasterize(vertices + torch.tensor([9.0, 0, 0]), faces, 16)
    assert (found.face_index == -1).all() and not found.barycentric.any()


def test_a_wrong_shape_is_named() -> None:
    with pytest.raises(ValueError, match='vertices has shape'):
        rasterize(torch.zeros(4, 3), torch.zeros(1, 3, dtype=torch.int64), 8)
