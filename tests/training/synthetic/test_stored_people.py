"""Rendered people in files: what is stored, drawn, mirrored, recoloured and refused."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decomr_core.body_models import BodyModel
from decomr_core.uv.uv_map import UVMap
from training.records.recolouring import recolour
from training.synthetic import shards
from training.synthetic.people import SyntheticPeople
from training.synthetic.stored_people import StoredBatches, write_people
from training.synthetic.synthetic_config import SyntheticConfig

SIZE, PEOPLE = 32, 24
CONFIG = SyntheticConfig(size=SIZE, batch_size=4)


@pytest.fixture(scope='module')
def folder(
    tiny_body: BodyModel, tiny_uv_map: UVMap, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp('people')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, 'SHARD_PEOPLE', 8)
        write_people(SyntheticPeople(CONFIG, tiny_body, tiny_uv_map, seed=5), PEOPLE, out)
    return out


@pytest.fixture
def batches(folder: Path, tiny_body: BodyModel, tiny_uv_map: UVMap) -> StoredBatches:
    return StoredBatches(folder, tiny_body, tiny_uv_map, SIZE, batch_size=6, seed=1)


def _rendered(tiny_body: BodyModel, tiny_uv_map: UVMap) -> torch.Tensor:
    """Joints (N, 24, 3) of the stored people, in the order of the files."""
    people = SyntheticPeople(CONFIG, tiny_body, tiny_uv_map, seed=5)
    return torch.cat([people.batch(number).joints for number in range(PEOPLE // 4)])


def test_an_epoch_has_every_person_once_and_the_next_one_in_another_order(
    batches, tiny_body, tiny_uv_map
):
    batches.mirrored_share = 0.0
    truth = _rendered(tiny_body, tiny_uv_map)
    orders = []
    for first in (0, 4):
        joints = torch.cat([batches[number].joints for number in range(first, first + 4)])
        orders.append(torch.cdist(joints.flatten(1), truth.flatten(1)).argmin(dim=1).tolist())
        torch.testing.assert_close(joints, truth[orders[-1]])
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(PEOPLE))
    assert orders[0] != orders[1]


def test_processes_share_the_people_of_an_epoch(folder, tiny_body, tiny_uv_map):
    seen = []
    for rank in (0, 1):
        part = StoredBatches(folder, tiny_body, tiny_uv_map, SIZE, 6, rank=rank, num_ranks=2)
        part.mirrored_share = 0.0
        seen += [part[number].joints for number in range(2)]
    distances = torch.cdist(
        torch.cat(seen).flatten(1), _rendered(tiny_body, tiny_uv_map).flatten(1)
    )
    assert sorted(distances.argmin(dim=1).tolist()) == list(range(PEOPLE))


@pytest.mark.parametrize('num_workers', [0, 2])
def test_a_resumed_stream_is_the_uninterrupted_one(folder, tiny_body, tiny_uv_map, num_workers):
    batches = StoredBatches(folder, tiny_body, tiny_uv_map, SIZE, batch_size=5, seed=3)

    def images(first: int, count: int) -> list[torch.Tensor]:
        stream = batches.loader(num_workers, first)
        return [batch.images for batch in itertools.islice(stream, count)]

    for resumed, uninterrupted in zip(images(3, 4), images(0, 7)[3:], strict=True):
        assert torch.equal(resumed, uninterrupted)


def test_labels_of_mirrored_people_fit_their_images(batches):
    """Image, IUV image, mesh and joints of a mirrored person agree as those of the person do."""
    batches.mirrored_share = 0.0
    plain = batches[0]
    batches.mirrored_share = 1.0
    mirrored = batches[0]
    torch.testing.assert_close(mirrored.iuv[:, 0], plain.iuv[:, 0].flip(2))
    torch.testing.assert_close(mirrored.iuv[:, 2], plain.iuv[:, 2].flip(2))
    is_shown = plain.iuv[:, 0].flip(2) > 0
    torch.testing.assert_close(
        mirrored.iuv[:, 1][is_shown], 1 - plain.iuv[:, 1].flip(2)[is_shown], rtol=0, atol=1e-3
    )
    flip = torch.tensor([-1.0, 1.0, 1.0])
    # Left and right change their names: the left hip (1) is where the right hip (2) was.
    torch.testing.assert_close(mirrored.joints[:, 1], plain.joints[:, 2] * flip)
    torch.testing.assert_close(mirrored.joints_2d[:, 1], plain.joints_2d[:, 2] * flip)
    # The same surface, with other vertex numbers.
    distances = torch.cdist(mirrored.vertices, plain.vertices * flip)
    assert distances.amin(dim=2).max() < 1e-3
    assert (mirrored.vertices - plain.vertices * flip).norm(dim=2).max() > 0.05


def test_people_are_not_mirrored_on_a_map_without_symmetry(
    folder, tiny_body, tiny_uv_map, tmp_path
):
    uv = tiny_uv_map.uv * np.float32([0.7, 1])
    turned = dataclasses.replace(tiny_uv_map, uv=uv)
    people = SyntheticPeople(CONFIG, tiny_body, turned, seed=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, 'SHARD_PEOPLE', 4)
        write_people(people, 4, tmp_path)
    assert StoredBatches(tmp_path, tiny_body, turned, SIZE, 2).mirrored_share == 0
    assert StoredBatches(folder, tiny_body, tiny_uv_map, SIZE, 2).mirrored_share == 0.5


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 5), side=st.integers(4, 24))
def test_recolouring_keeps_size_and_black_and_changes_the_rest(seed, count, side):
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.integers(1, 256, (count, side, side, 3), np.uint8))
    images[:, : side // 2] = 0
    changed = recolour(images, rng)
    assert changed.dtype == torch.uint8 and changed.shape == images.shape
    assert not changed[:, : side // 2].any()
    assert (changed != images)[:, side // 2 :].any()
    assert torch.equal(
        recolour(images, np.random.default_rng(7)), recolour(images, np.random.default_rng(7))
    )


@pytest.mark.parametrize(
    ('changes', 'error', 'words'),
    [
        ({'folder': 'nowhere'}, FileNotFoundError, 'has no files of training.render'),
        ({'crop_size': 64}, ValueError, 'images of 32 px'),
        ({'batch_size': PEOPLE + 1}, ValueError, 'fewer than'),
        ({'uv_map': None}, ValueError, 'another body and UV map'),
    ],
)
def test_folders_that_do_not_fit_are_refused(
    folder, tiny_body, tiny_uv_map, tiny_two_chart_map, changes, error, words
):
    values = {
        'folder': folder,
        'body': tiny_body,
        'uv_map': tiny_uv_map,
        'crop_size': SIZE,
        'batch_size': 4,
    } | changes
    values['folder'] = Path(values['folder'])
    values['uv_map'] = values['uv_map'] or tiny_two_chart_map
    with pytest.raises(error, match=words):
        StoredBatches(**values)


def test_a_damaged_file_is_named(folder, tiny_body, tiny_uv_map, tmp_path):
    (tmp_path / 'seed5_00000.safetensors').write_bytes(
        (folder / 'seed5_00000.safetensors').read_bytes()[:1000]
    )
    with pytest.raises(ValueError, match='seed5_00000.safetensors is damaged'):
        StoredBatches(tmp_path, tiny_body, tiny_uv_map, SIZE, 2)
