"""A UV map in several charts goes through everything that a continuous one does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_networks import resnet_config

from decomr_core.body_models import BodyModel
from decomr_core.body_models.parts import GROUP_NAMES
from decomr_core.measures import losses
from decomr_core.networks import DecoMR
from decomr_core.networks.checkpoint import load_network, read_metadata, save_checkpoint
from decomr_core.uv.fitted_map import FittedLocationMap, random_bodies
from decomr_core.uv.location_map import GROUP_WEIGHTS, LocationMapper, weight_map
from decomr_core.uv.uv_map import UVMap
from decomr_core.uv.warp import warp_to_uv
from training.synthetic.people import SyntheticPeople
from training.synthetic.synthetic_batch import SyntheticBatch
from training.synthetic.synthetic_config import SyntheticConfig

RESOLUTION = 64
LEFT_ARM = (16, 18, 20, 22)
# Columns left of this hold the body, those right of it the arm that lies apart.
FIRST_OF_ARM = int(0.7 * (RESOLUTION - 1))


def people_on(body: BodyModel, uv_map: UVMap) -> SyntheticBatch:
    config = SyntheticConfig(batch_size=8, occluder_share=0.0, passer_by_share=0.0)
    return SyntheticPeople(config, body, uv_map, seed=1).batch(0)


@pytest.fixture(scope='module')
def people(tiny_body: BodyModel, tiny_two_chart_map: UVMap) -> SyntheticBatch:
    return people_on(tiny_body, tiny_two_chart_map)


def test_the_same_surface_lies_in_two_charts(
    tiny_body: BodyModel, tiny_uv_map: UVMap, tiny_two_chart_map: UVMap
) -> None:
    assert np.array_equal(tiny_two_chart_map.body_faces, tiny_uv_map.body_faces)
    on_the_right = tiny_two_chart_map.uv[tiny_two_chart_map.faces][..., 0] > 0.7
    is_arm = np.isin(tiny_body.vertex_parts[tiny_uv_map.body_faces], LEFT_ARM).all(axis=1)
    assert np.array_equal(on_the_right.all(axis=1), is_arm) and is_arm.any()
    assert np.array_equal(on_the_right.any(axis=1), is_arm)


def test_vertices_come_back_from_the_location_map_of_many_charts(
    tiny_body: BodyModel, tiny_two_chart_map: UVMap
) -> None:
    vertices = torch.from_numpy(random_bodies(tiny_body, 4, 3)).float()
    fitted = FittedLocationMap(tiny_body, tiny_two_chart_map, RESOLUTION)(vertices)
    mapper = LocationMapper(tiny_two_chart_map, RESOLUTION, tiny_body.num_vertices)
    error_m = (mapper.vertices_from_location_map(fitted) - vertices).norm(dim=-1)
    assert error_m.max() < 1e-3


def test_texels_between_the_charts_are_empty_and_weigh_nothing(
    tiny_body: BodyModel, tiny_two_chart_map: UVMap
) -> None:
    weights = weight_map(tiny_body, tiny_two_chart_map, RESOLUTION)
    mask = LocationMapper(tiny_two_chart_map, RESOLUTION, tiny_body.num_vertices).mask
    assert not mask[:, FIRST_OF_ARM].any() and not weights[:, FIRST_OF_ARM].any()
    assert mask[:, :FIRST_OF_ARM].any() and mask[:, FIRST_OF_ARM:].any()
    assert weights[mask].mean() == pytest.approx(1.0)
    limbs = dict(zip(GROUP_NAMES, GROUP_WEIGHTS, strict=True))
    of_arm = weights[:, FIRST_OF_ARM:][mask[:, FIRST_OF_ARM:]]
    ratio = float(of_arm.max() / of_arm.min())  # hand : arm
    assert ratio == pytest.approx(max(limbs.values()) / sorted(limbs.values())[-2])


def test_pixels_land_in_the_chart_of_their_part(
    people: SyntheticBatch, tiny_body: BodyModel, tiny_two_chart_map: UVMap
) -> None:
    landed = warp_to_uv(torch.ones_like(people.iuv[:, :1]), people.iuv, RESOLUTION)[:, -1] > 0
    mask = LocationMapper(tiny_two_chart_map, RESOLUTION, tiny_body.num_vertices).mask
    assert landed[:, :, FIRST_OF_ARM:].any()
    assert (landed & ~mask).sum() <= 0.01 * landed.sum()  # rounding at a border


def test_the_consistency_loss_does_not_see_the_borders_of_charts(
    people: SyntheticBatch, tiny_body: BodyModel, tiny_uv_map: UVMap, tiny_two_chart_map: UVMap
) -> None:
    """The loss of the true map is as small in two charts as in one."""
    values = []
    for uv_map, batch in (
        (tiny_uv_map, people_on(tiny_body, tiny_uv_map)),
        (tiny_two_chart_map, people),
    ):
        true_map = FittedLocationMap(tiny_body, uv_map, RESOLUTION)(batch.vertices)
        values.append(float(losses.consistency_loss(batch.iuv, true_map, batch.camera)))
    assert values[1] == pytest.approx(values[0], rel=0.1)
    wrong = float(losses.consistency_loss(people.iuv, true_map.flip(3), people.camera))
    assert wrong > 10 * values[1]


def test_weights_are_tied_to_the_charts_they_were_trained_on(
    tmp_path, tiny_body: BodyModel, tiny_uv_map: UVMap, tiny_two_chart_map: UVMap
) -> None:
    path = tmp_path / 'network.safetensors'
    network = DecoMR(resnet_config(), tiny_body, tiny_two_chart_map)
    save_checkpoint(path, network, {})
    assert read_metadata(path)['uv_hash'] == tiny_two_chart_map.hash != tiny_uv_map.hash
    assert load_network(path, tiny_body, tiny_two_chart_map).uv_hash == tiny_two_chart_map.hash
    with pytest.raises(ValueError, match='uv_map with hash'):
        load_network(path, tiny_body, tiny_uv_map)
