"""Summaries of rendered people, and the heads that learn from them."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest
import torch

from decomr_core.base.config import network_config
from decomr_core.body_models import BodyModel
from decomr_core.body_models.joints import MIRRORED_JOINTS
from decomr_core.networks.decomr import DecoMR
from decomr_core.uv.uv_map import UVMap
from training.pose_heads import PoseHeadOptions, PoseHeads, posed_error_mm, train_pose_heads
from training.posed_surface import texel_edge_loss
from training.summaries import Summaries, encoder_hash, mirrored, read_summaries, write_summaries
from training.synthetic import shards
from training.synthetic.people import SyntheticPeople
from training.synthetic.synthetic_config import SyntheticConfig

PEOPLE_IN_FILE = 4


@pytest.fixture
def network(tiny_body: BodyModel, tiny_uv_map: UVMap) -> DecoMR:
    torch.manual_seed(0)
    config = dataclasses.replace(
        network_config('small'), uv_resolution=16, location_map_resolution=16, pose_components=8
    )
    return DecoMR(config, tiny_body, tiny_uv_map).eval()


@pytest.fixture
def people(tiny_body: BodyModel, tiny_uv_map: UVMap) -> SyntheticPeople:
    return SyntheticPeople(SyntheticConfig(size=256, batch_size=2), tiny_body, tiny_uv_map, 5)


@pytest.fixture
def folder(
    network: DecoMR, people: SyntheticPeople, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    monkeypatch.setattr(shards, 'SHARD_PEOPLE', PEOPLE_IN_FILE)
    write_summaries(network, people, 2 * PEOPLE_IN_FILE, tmp_path / 'kept')
    return tmp_path / 'kept'


def test_a_mirror_turns_left_into_right(people: SyntheticPeople, tiny_body: BodyModel) -> None:
    batch = people.batch(0)
    seen = mirrored(batch, tiny_body)
    flip = torch.tensor([-1.0, 1.0, 1.0])
    order = list(MIRRORED_JOINTS)
    torch.testing.assert_close(seen.joints, batch.joints[:, order] * flip, atol=1e-4, rtol=0)
    distances = torch.cdist(seen.vertices, batch.vertices * flip)
    assert distances.min(dim=2).values.max() < 2e-3
    torch.testing.assert_close(seen.joints_2d[:, order, 0], -batch.joints_2d[..., 0])
    assert torch.equal(seen.images[:, :, 0], batch.images[:, :, -1])


def test_everybody_is_stored_twice_with_the_ground_truth(
    network: DecoMR, people: SyntheticPeople, folder: Path
) -> None:
    kept = read_summaries([folder], encoder_hash(network))
    assert len(kept) == 4 * PEOPLE_IN_FILE
    batch = people.batch(3)  # the second one of the second file
    first = 2 * PEOPLE_IN_FILE + 4
    torch.testing.assert_close(kept.joints[first : first + 2], batch.joints)
    maps = network.location_mapper.location_map_from_vertices(batch.vertices)
    torch.testing.assert_close(
        kept.location_maps[first : first + 2].float(), maps, atol=2e-3, rtol=1e-3
    )


def test_a_second_call_keeps_existing_summaries_and_adds_missing_ones(
    network: DecoMR, people: SyntheticPeople, folder: Path
) -> None:
    paths = sorted(folder.iterdir())
    content = paths[1].read_bytes()
    paths[1].unlink()
    before = paths[0].stat().st_mtime_ns
    write_summaries(network, people, 2 * PEOPLE_IN_FILE, folder)
    assert paths[0].stat().st_mtime_ns == before
    assert paths[1].read_bytes() == content


def test_damaged_and_foreign_summaries_are_rejected(
    network: DecoMR, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match=r'training\.summaries'):
        read_summaries([tmp_path / 'none'], 'x')
    with pytest.raises(ValueError, match='another encoder'):
        read_summaries([folder], 'x')
    path = sorted(folder.iterdir())[0]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match='is damaged'):
        read_summaries([folder], encoder_hash(network))


def test_joints_of_a_location_map_are_those_of_the_network(
    network: DecoMR, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    network = copy.deepcopy(network)
    reference = network.lnet.reference_location_map
    last = network.lnet.posed_head.last
    with torch.no_grad():  # everybody is a quarter larger than the template, and elsewhere
        last.weight.zero_()
        shift = torch.tensor([0.3, -0.2, 0.1])[:, None, None]
        last.bias.copy_((0.25 * reference + shift).flatten())
    heads = PoseHeads(network, tiny_body, tiny_uv_map)
    with torch.inference_mode():
        posed, _ = heads(torch.randn(3, network.cnet.global_head[0].num_features))
        exact = network.read_surface(posed.location_map)[1]
        moved = network.read_surface(reference)[1] - exact
    # The tiny body has details of centimetres on its template, which move with the surface.
    assert (posed.joints - exact).norm(dim=-1).mean() < 0.1 * moved.norm(dim=-1).mean()


def test_the_texel_edge_loss_measures_stretching_but_not_rotation() -> None:
    grid = torch.stack(torch.meshgrid(torch.arange(5.0), torch.arange(5.0), indexing='ij'))
    flat = torch.cat([grid, torch.zeros(1, 5, 5)])[None]
    rotation = torch.linalg.qr(torch.randn(3, 3))[0]
    rotated = torch.einsum('ij,bjuv->biuv', rotation, flat) + 3
    everywhere = torch.ones(5, 5, dtype=torch.bool)
    assert texel_edge_loss(rotated, flat, everywhere) < 1e-5
    assert texel_edge_loss(2 * flat, flat, everywhere) == pytest.approx(1)
    torn, inside = flat.clone(), everywhere.clone()
    torn[..., 2, 2], inside[2, 2] = 100, False
    assert texel_edge_loss(torn, flat, everywhere) > 10
    assert texel_edge_loss(torn, flat, inside) == 0


@pytest.mark.full_size
def test_training_learns_the_people_and_keeps_the_other_outputs(
    network: DecoMR, tiny_body: BodyModel, tiny_uv_map: UVMap, folder: Path
) -> None:
    people = read_summaries([folder], encoder_hash(network))
    # As of a network that has been trained: inputs of unit variance.
    norm = network.cnet.global_head[0]
    norm.running_mean.copy_(people.summaries.float().mean(dim=0))
    norm.running_var.copy_(people.summaries.float().var(dim=0))
    heads = PoseHeads(network, tiny_body, tiny_uv_map)
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.inference_mode():
        said = heads.other_outputs(heads(people.summaries.float())[1])
    before = posed_error_mm(network, tiny_body, tiny_uv_map, people)
    train_pose_heads(
        network, tiny_body, tiny_uv_map, people, PoseHeadOptions(epochs=200, batch_size=8)
    )
    after = posed_error_mm(network, tiny_body, tiny_uv_map, people)
    assert after < 0.9 * before  # random components hold no more
    with torch.inference_mode():
        says = heads.other_outputs(heads(people.summaries.float())[1])
    for then, now in zip(said, says, strict=True):
        assert (now - then).abs().mean() < 0.5 * then.std(dim=0).mean()
    changed = {
        name for name, value in network.state_dict().items() if not torch.equal(value, kept[name])
    }
    assert changed
    assert all(
        name.startswith(
            (
                'cnet.global_head',
                'cnet.decoder.of_crop',
                'lnet.global_head',
                'lnet.camera_head',
                'lnet.posed_head',
            )
        )
        for name in changed
    )


def test_too_few_people_and_invalid_options_are_rejected(
    network: DecoMR, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    nobody = Summaries(*(torch.zeros(0, *shape) for shape in ((5,), (3, 8, 8), (24, 3), (24, 3))))
    with pytest.raises(ValueError, match='fewer than a batch'):
        train_pose_heads(network, tiny_body, tiny_uv_map, nobody, PoseHeadOptions())
    for wrong in ({'epochs': 0}, {'dropout': 1.0}, {'weight_decay': -1.0}):
        with pytest.raises(ValueError, match='must be'):
            PoseHeadOptions(**wrong)
