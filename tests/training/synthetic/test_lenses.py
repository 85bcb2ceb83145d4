"""Wide-angle lenses: image, labels, background and furniture are bent by the same lens."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from decomr_core.body_models import load_body
from decomr_core.uv.uv_map import load_uv_map
from training.synthetic import people as synthetic
from training.synthetic.people import SyntheticPeople
from training.synthetic.scenes import compositing
from training.synthetic.scenes.backgrounds import Scene
from training.synthetic.scenes.compositing import Compositor
from training.synthetic.scenes.layers import Layers
from training.synthetic.scenes.lenses import bent, straightened
from training.synthetic.scenes.textures import shared_textures
from training.synthetic.scenes.viewpoints import Framing, Viewpoints, crop_points, pixel_rays
from training.synthetic.synthetic_batch import SyntheticBatch
from training.synthetic.synthetic_config import SyntheticConfig

SIZE = 128
CLEAR = SyntheticConfig(size=SIZE, batch_size=16, occluder_share=0.0, passer_by_share=0.0)
FRAMING = Framing(
    np.array([[1.5, 0.4, 3.0]]),
    np.array([[0.42, 0.12]]),
    np.array([0.25]),
    np.array([[-9.0, -9, 9, 9]]),
    np.array([1.0]),
)


@given(st.floats(0.1, 1.3), st.floats(0, 1.5), st.floats(0, 6.3))
def test_straightening_undoes_bending(strength, radius, angle):
    points = radius * np.array([[np.cos(angle), np.sin(angle)]])
    shown = bent(points, strength)
    np.testing.assert_allclose(straightened(shown, strength), points, atol=1e-6)
    assert np.linalg.norm(shown) <= radius + 1e-9  # a barrel: never farther from the middle
    np.testing.assert_allclose(bent(points, 1e-4), points, atol=1e-6)


def test_a_fisheye_lens_is_linear_in_the_angle():
    angle = np.linspace(0.1, 1.4, 9)
    shown = bent(np.stack([np.tan(angle), np.zeros(9)], axis=1), 1.0)
    np.testing.assert_allclose(shown[:, 0], angle, atol=1e-9)


def crop_of(points: np.ndarray) -> np.ndarray:
    """Where an image of FRAMING shows points (N, 3) of the camera's frame, px (N, 2)."""
    own = torch.tensor(points - FRAMING.translation_m, dtype=torch.float32)[None]
    return (crop_points(own, FRAMING)[0, :, :2].numpy() + 1) * SIZE / 2 - 0.5


def test_rays_of_pixels_meet_the_points_that_labels_put_there():
    rng = np.random.default_rng(0)
    points = np.array([1.5, 0.4, 3.0]) + rng.normal(0, 0.25, (40, 3))
    rays = pixel_rays(FRAMING, 0, SIZE)
    pixels = crop_of(points)
    inside = ((pixels > 0) & (pixels < SIZE - 1)).all(1)
    assert inside.sum() > 20
    column, row = pixels[inside].round().astype(int).T
    step = 2 * 0.25 / SIZE
    for axis, values in enumerate((rays.x, rays.y)):
        wanted = points[inside, axis] / points[inside, 2]
        # Half a pixel of the crop is up to 1 / cos^2 of the angle more on the pinhole plane.
        assert np.abs(values[row, column] - wanted).max() < 0.5 * step * 1.6


def test_the_background_shows_points_where_labels_put_them(monkeypatch):
    point = np.zeros(3)

    def spot(rng: np.random.Generator, bank: object, scene: Scene, size: int) -> np.ndarray:
        """A background with a bright spot where a scene has the point."""
        column, row = scene.project(point, size)
        rows, columns = np.mgrid[:size, :size]
        image = 200 * np.exp(-((columns - column) ** 2 + (rows - row) ** 2) / 8)
        return np.repeat(image[..., None], 3, 2).astype(np.float32)

    monkeypatch.setattr(compositing, 'draw_background', spot)
    monkeypatch.setattr(compositing, 'draw_shadow', lambda *_: None)
    monkeypatch.setattr(compositing, 'degrade', lambda rng, image: image)
    compositor = Compositor(shared_textures(), [-1] * 24, 0.0, 0.0)
    views = Viewpoints(
        np.diag([1.0, -1, -1])[None], np.ones(1), np.full(1, 3.0), np.zeros(1), np.ones((1, 2))
    )
    nobody = Layers.without_furniture(
        np.zeros((1, SIZE, SIZE, 3), np.float32), np.zeros((1, SIZE, SIZE), np.uint8)
    )
    for point in np.array([[1.2, 0.3, 3.2], [1.6, 0.55, 3.0], [1.5, 0.2, 2.8], [1.0, 0.45, 2.9]]):
        images, _ = compositor.compose(
            np.random.default_rng(0),
            nobody,
            np.zeros((1, 24, 3)),
            views,
            FRAMING,
            [{'to_light': np.zeros(3)}],
            [None],
        )
        seen = images[0, ..., 0].astype(float)
        rows, columns = np.mgrid[:SIZE, :SIZE]
        middle = np.array([(seen * columns).sum(), (seen * rows).sum()]) / seen.sum()
        assert np.abs(middle - crop_of(point[None])[0]).max() < 0.4


@pytest.fixture(scope='module')
def batches() -> tuple[SyntheticBatch, SyntheticBatch]:
    """The same people through pinholes, and half of them through lenses."""
    return tuple(
        SyntheticPeople(
            dataclasses.replace(CLEAR, distorted_share=share), load_body(), load_uv_map(), seed=6
        ).batch(0)
        for share in (0.0, 0.5)
    )


def test_people_without_a_lens_are_rendered_unchanged(batches):
    pinhole, mixed = batches
    same = (pinhole.joints_2d == mixed.joints_2d).flatten(1).all(1)
    assert 3 <= same.sum() <= 13
    assert pinhole.mask[same].equal(mixed.mask[same])
    assert pinhole.iuv[same].equal(mixed.iuv[same])
    for name in ('vertices', 'joints', 'pose', 'shape'):
        assert getattr(pinhole, name).equal(getattr(mixed, name)), name


def test_the_iuv_image_of_a_lens_shows_vertices_where_the_lens_puts_them(monkeypatch):
    framings = []
    draw = synthetic.frame_people
    monkeypatch.setattr(
        synthetic, 'frame_people', lambda *given: framings.append(draw(*given)) or framings[-1]
    )
    body, uv_map = load_body(), load_uv_map()
    people = SyntheticPeople(
        dataclasses.replace(CLEAR, batch_size=8, distorted_share=1.0), body, uv_map, seed=6
    )
    batch, framing = people.batch(0), framings[0]
    uv = np.zeros((body.num_vertices, 2), np.float32)
    uv[body.faces.numpy().ravel()] = uv_map.uv[uv_map.faces.ravel()]
    with_lens, without = (
        crop_points(batch.vertices, one)[..., :2]
        for one in (framing, dataclasses.replace(framing, lens=None))
    )
    off, off_without = [], []
    for index in range(8):
        share, u, v = batch.iuv[index]
        rows, columns = (share == 1).nonzero(as_tuple=True)
        place = (torch.stack([columns, rows], 1) * 4 + 2) * (2 / SIZE) - 1
        seen = torch.stack([u[rows, columns], v[rows, columns]], 1)
        nearest = torch.cdist(seen, torch.from_numpy(uv)).argmin(1)
        for found, points in ((off, with_lens), (off_without, without)):
            found.append(float((points[index, nearest] - place).norm(dim=1).median()) * SIZE / 2)
    assert max(off) < 2  # px; clothes stand off, and vertices are a centimetre apart
    assert np.mean(off_without) > 4 * np.mean(off)
    torch.testing.assert_close(
        batch.joints_2d[..., :2], crop_points(batch.joints, framing)[..., :2]
    )


def test_the_camera_label_is_about_as_near_through_lenses_as_through_pinholes():
    body, uv_map = load_body(), load_uv_map()
    errors = []
    for share in (0.0, 1.0):
        people = SyntheticPeople(
            dataclasses.replace(CLEAR, size=32, batch_size=64, distorted_share=share),
            body,
            uv_map,
            7,
        )
        batch = people.batch(0)
        weak = batch.camera[:, None, :1] * (batch.joints[..., :2] + batch.camera[:, None, 1:])
        off = (weak - batch.joints_2d[..., :2]).norm(dim=2).square().mean(1).sqrt()
        errors.append(float(off.median()) * 128)
    assert errors[1] - errors[0] < 3  # px of 256
    assert errors[1] != errors[0]
