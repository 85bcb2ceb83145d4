"""Folds and wrinkles: their position and shading, and that labels do not change."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from decomr_core.body_models import BodyModel, load_body
from decomr_core.body_models.body_model import skin
from tests.training.fabricated_wardrobe import make_wardrobe
from training.synthetic.clothes import dressing
from training.synthetic.clothes.folds import hang_in_folds, turned_by_heights, wrinkle_heights
from training.synthetic.clothes.loose_garments import CUTS, loose_garments
from training.synthetic.people import SyntheticPeople
from training.synthetic.synthetic_batch import SyntheticBatch
from training.synthetic.synthetic_config import SyntheticConfig

COLUMNS = 96


@pytest.mark.parametrize('name', CUTS)
def test_folds_grow_towards_the_hem_and_stay_off_the_body(name):
    garment = next(item for item in loose_garments(load_body(), 0, COLUMNS) if item.name == name)
    depth_m = CUTS[name][3]
    axis = garment.template.view(-1, COLUMNS, 3).mean(1, keepdim=True)

    def radius(points: torch.Tensor) -> torch.Tensor:
        return (points.view(-1, COLUMNS, 3) - axis)[..., [0, 2]].norm(dim=2)

    shapes = []
    for seed in range(5):
        folded = hang_in_folds(np.random.default_rng(seed), garment, COLUMNS, 0.3, depth_m)
        out = radius(folded.template) - radius(garment.template)
        swing = out.amax(1) - out.amin(1)
        assert swing[:4].max() < 1e-6
        assert (swing[6:].diff() > 0).all()
        assert 0.2 * depth_m < swing[-1] < 2 * depth_m
        assert out.min() > -0.55 * depth_m  # the cloth stands off by more
        assert (folded.template[:, 1] == garment.template[:, 1]).all()
        middle = out[-1] - out[-1].mean()
        crossings = ((middle > 0) != (middle.roll(1) > 0)).sum()
        assert 6 <= crossings <= 40
        shapes.append(out[-1])
    assert not torch.allclose(shapes[0], shapes[1], atol=1e-3)


def test_a_long_skirt_hangs_down_from_the_knees_of_a_sitting_person():
    body = load_body()
    pose = torch.zeros(1, 24, 3)
    pose[0, [1, 2], 0] = -np.pi / 2
    pose[0, [4, 5], 0] = np.pi / 2
    transforms = body.joint_transforms(pose, torch.zeros(1, 10))
    knee = body(pose, torch.zeros(1, 10))[1][0, 4]
    below = []
    for bends in (False, True):
        skirt = next(
            item for item in loose_garments(body, 0, COLUMNS, bends) if item.name == 'long skirt'
        )
        torch.testing.assert_close(skirt.weights.sum(1), torch.ones(len(skirt.weights)))
        hem = skin(skirt.template[None], skirt.weights, transforms)[0, -COLUMNS:]
        below.append(float(knee[1] - hem[:, 1].mean()))
    assert below[0] < 0.15  # m: the hem stands out in front of the knees
    assert below[1] > 0.25


def test_normals_equal_those_of_a_displaced_surface():
    generator = torch.Generator().manual_seed(0)
    corners = torch.randn(200, 3, 3, generator=generator, dtype=torch.float64)
    flat = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    heights = 1e-5 * torch.randn(200, 3, generator=generator, dtype=torch.float64)
    moved = corners + heights[..., None] * torch.nn.functional.normalize(flat, dim=1)[:, None]
    real = torch.linalg.cross(moved[:, 1] - moved[:, 0], moved[:, 2] - moved[:, 0])
    torch.testing.assert_close(
        turned_by_heights(flat, corners, heights) - flat, real - flat, atol=1e-8, rtol=1e-4
    )


def test_wrinkles_are_millimetres_and_differ_between_people(tiny_body: BodyModel):
    outfit = make_wardrobe(tiny_body).of_kind('outfit')[0]
    heights = [wrinkle_heights(np.random.default_rng(seed), outfit) for seed in range(20)]
    spread = torch.stack(heights).std(1)
    assert 0.0003 < spread.median() < 0.02
    assert not torch.allclose(heights[0], heights[1])
    assert heights[0].equal(wrinkle_heights(np.random.default_rng(0), outfit))


@pytest.fixture(scope='module')
def wardrobe_file(tiny_body: BodyModel, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('wardrobe') / 'wardrobe.npz'
    make_wardrobe(tiny_body).save(path)
    return path


def two_batches(
    wardrobe_file: Path, body: BodyModel, uv_map: object
) -> tuple[SyntheticBatch, SyntheticBatch]:
    """The same people in smooth and in wrinkled clothes, with nothing in front."""
    config = SyntheticConfig(
        size=64,
        batch_size=8,
        wardrobe=str(wardrobe_file),
        dressed_share=1.0,
        occluder_share=0.0,
        passer_by_share=0.0,
    )
    return tuple(
        SyntheticPeople(dataclasses.replace(config, has_folds=has), body, uv_map, seed=2).batch(0)
        for has in (False, True)
    )


def test_wrinkles_change_the_shading_but_no_label(
    wardrobe_file, tiny_body, tiny_uv_map, monkeypatch
):
    monkeypatch.setattr(dressing, 'LOOSE_SHARE', 0)
    smooth, wrinkled = two_batches(wardrobe_file, tiny_body, tiny_uv_map)
    for field in dataclasses.fields(SyntheticBatch):
        if field.name != 'images':
            assert getattr(smooth, field.name).equal(getattr(wrinkled, field.name)), field.name
    changed = (smooth.images != wrinkled.images).any(-1)
    assert changed.flatten(1).any(1).all()
    inside = changed & (smooth.mask > 0)
    assert inside.sum() > 0.6 * changed.sum()  # lenses and compression spread the rest


def test_folds_change_the_outline_but_not_the_surface_under_it(
    wardrobe_file, tiny_body, tiny_uv_map, monkeypatch
):
    monkeypatch.setattr(dressing, 'LOOSE_SHARE', 1)
    smooth, folded = two_batches(wardrobe_file, tiny_body, tiny_uv_map)
    for name in ('vertices', 'joints', 'joints_2d', 'camera', 'pose', 'shape'):
        assert getattr(smooth, name).equal(getattr(folded, name)), name
    both = (smooth.mask & folded.mask).sum().item()
    assert 0.8 * smooth.mask.sum() < both < max(smooth.mask.sum(), folded.mask.sum())
    whole = (smooth.iuv[:, 0] == 1) & (folded.iuv[:, 0] == 1)
    same = (smooth.iuv == folded.iuv).all(1)[whole]
    assert same.float().mean() > 0.9
    assert (folded.iuv[:, 1:].sum(1)[folded.iuv[:, 0] > 0] > 0).all()
