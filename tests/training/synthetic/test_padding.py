"""Thick and wide clothes, headgear and gloves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from decomr_core.body_models import BodyModel, load_body
from decomr_core.uv.uv_map import UVMap
from tests.training.fabricated_wardrobe import make_wardrobe
from training.synthetic.clothes import padding
from training.synthetic.clothes.padding import ClothPadding
from training.synthetic.clothes.surface import BodySurface
from training.synthetic.people import SyntheticPeople
from training.synthetic.synthetic_config import SyntheticConfig

PEOPLE = 200


@pytest.fixture(scope='module')
def built_in() -> BodyModel:
    return load_body()


def dressed_people(body: BodyModel) -> list[list]:
    garments = list(make_wardrobe(body).garments)
    clothes, rng = ClothPadding(body, texture=0), np.random.default_rng(0)
    return [clothes.padded(rng, garments) for _ in range(PEOPLE)]


def test_outfits_move_outward_within_their_range(built_in):
    original = next(iter(make_wardrobe(built_in).of_kind('outfit')))
    outward = BodySurface(built_in).normals(built_in.v_template[None])[0]
    for garments in dressed_people(built_in):
        moved = garments[0].template - original.template
        distance = (moved * outward).sum(1)
        torch.testing.assert_close(moved, distance[:, None] * outward, atol=1e-6, rtol=0)
        assert distance.min() >= 0
        assert distance.max() < (1 + 2 * padding.UNEVENNESS) * 0.08


def test_headgear_replaces_hats_and_covers_the_head_but_not_the_face(built_in):
    surface = BodySurface(built_in).vertices
    face = (surface.head_front > 0.6) & (surface.head_up > 0.2) & (surface.head_up < 0.5)
    assert face.any()
    worn = [
        garment
        for garments in dressed_people(built_in)
        for garment in garments
        if garment.name in padding.HEADGEAR_M
    ]
    assert {garment.name for garment in worn} == set(padding.HEADGEAR_M)
    assert len(worn) / PEOPLE == pytest.approx(padding.HEADGEAR_SHARE, abs=0.1)
    for garment in worn:
        nearest, farthest = padding.HEADGEAR_M[garment.name]
        distance = (garment.template - built_in.v_template[garment.body_vertex]).norm(dim=1)
        assert nearest - 1e-6 <= distance.min()
        assert distance.max() <= farthest + 1e-6
        assert not face[garment.body_vertex].any()
        assert garment.faces.max() == len(garment.template) - 1


def test_gloves_cover_both_hands_and_nothing_else(built_in):
    gloves = [
        garment
        for garments in dressed_people(built_in)
        for garment in garments
        if garment.name == 'gloves'
    ]
    assert len(gloves) / PEOPLE == pytest.approx(padding.GLOVES_SHARE, abs=0.1)
    x = gloves[0].template[:, 0]
    assert x.abs().min() > 0.5
    assert (x > 0).any()
    assert (x < 0).any()


def test_padded_people_are_wider_and_others_unchanged(
    tiny_body: BodyModel, tiny_uv_map: UVMap, tmp_path: Path
):
    path = tmp_path / 'wardrobe.npz'
    make_wardrobe(tiny_body).save(path)

    def images(share: float):
        config = SyntheticConfig(
            size=64, batch_size=8, wardrobe=str(path), dressed_share=0.5, padded_share=share
        )
        return SyntheticPeople(config, tiny_body, tiny_uv_map, seed=3).batch(0)

    none, again, everybody = images(0.0), images(0.0), images(1.0)
    torch.testing.assert_close(none.images, again.images, atol=0, rtol=0)
    changed = (none.images != everybody.images).flatten(1).any(1)
    assert 0 < changed.sum() < len(changed)  # people in painted clothes stay
    covered = [batch.mask.float().mean((1, 2)) for batch in (none, everybody)]
    assert (covered[1] - covered[0])[changed].mean() > 0
    torch.testing.assert_close(none.vertices, everybody.vertices, atol=0, rtol=0)
