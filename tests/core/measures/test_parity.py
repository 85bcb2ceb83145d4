"""The paper preset computes what the official network computes, and loads its checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from official_network import DATA, NETWORK_TOLERANCE, stage_outputs

from decomr_core.base.config import network_config
from decomr_core.body_models import BodyModel
from decomr_core.networks import DecoMR
from decomr_core.networks.pretrained import load_official, state_dict_from_official
from decomr_core.uv.location_map import LocationMapper
from decomr_core.uv.uv_map import UVMap

UV_TOLERANCE = 1e-4
STAGES = (
    'iuv',
    'local_feature',
    'global_feature',
    'warped_mean',
    'warped_abs_mean',
    'warped_mask',
    'location_map',
    'camera',
)


@pytest.fixture(scope='module')
def outputs(
    stored: dict[str, torch.Tensor],
    official: dict[str, dict[str, torch.Tensor]],
    tiny_body: BodyModel,
    tiny_uv_map: UVMap,
) -> dict[str, torch.Tensor]:
    network = DecoMR(network_config('paper'), tiny_body, tiny_uv_map).eval()
    network.load_state_dict(state_dict_from_official(official))
    network.lnet.reference_map.copy_(stored['ref_map'].permute(0, 3, 1, 2))
    return stage_outputs(network, stored)


@pytest.mark.parametrize('stage', STAGES)
def test_each_stage_of_the_paper_network_equals_the_official_one(
    stage: str, outputs: dict[str, torch.Tensor], stored: dict[str, torch.Tensor]
) -> None:
    expected = stored[stage].float()
    assert outputs[stage].shape == expected.shape
    error = (outputs[stage] - expected).norm() / expected.norm()
    assert error < NETWORK_TOLERANCE


def test_an_official_checkpoint_file_loads(
    official: dict[str, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    path = tmp_path / 'official.pt'
    small = {
        name: {key: tensor.reshape(-1)[:1].clone() for key, tensor in tensors.items()}
        for name, tensors in official.items()
    }
    torch.save(small, path)
    loaded = load_official(path)
    dropped = {key for key in small['CNet'] if key.startswith('resnet.fc.')}
    assert len(dropped) == 2
    assert len(loaded) == len(small['CNet']) + len(small['LNet']) - len(dropped)
    assert torch.equal(loaded['lnet.camera_head.6.bias'], small['LNet']['camera.6.bias'])


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'CNet': {}}, r"lacks \['LNet'\]"),
        ({'CNet': {'surprise.weight': torch.zeros(1)}, 'LNet': {}}, 'surprise.weight'),
        ([1, 2], 'holds a list'),
    ],
)
def test_a_checkpoint_of_another_network_is_rejected_by_name(
    content: object, message: str, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / 'other.pt')
    with pytest.raises(ValueError, match=message):
        load_official(tmp_path / 'other.pt')


def test_a_file_that_is_not_a_checkpoint_is_rejected(tmp_path: Path) -> None:
    (tmp_path / 'text.pt').write_text('not weights')
    with pytest.raises(ValueError, match='read safely.*download it again'):
        load_official(tmp_path / 'text.pt')
    with pytest.raises(FileNotFoundError):
        load_official(tmp_path / 'nowhere.pt')


@pytest.fixture(scope='module')
def uv_fixture() -> tuple[dict[str, np.ndarray], LocationMapper]:
    with np.load(DATA / 'parity_uv.npz') as data:
        stored = dict(data)
    places, faces, body_faces, num_vertices = [], [], [], 0
    for line in str(stored['obj']).splitlines():
        kind, *values = line.split() or ['']
        if kind == 'v':
            num_vertices += 1
        elif kind == 'vt':
            places.append([float(value) for value in values[:2]])
        elif kind == 'f':
            corners = [[int(index) - 1 for index in value.split('/')[:2]] for value in values]
            body_faces.append([vertex for vertex, _ in corners])
            faces.append([place for _, place in corners])
    vertex_index = np.zeros(len(places), dtype=np.int64)
    vertex_index[np.array(faces)] = np.array(body_faces)
    uv_map = UVMap(np.array(places), np.array(faces), vertex_index, 'sphere')
    return stored, LocationMapper(uv_map, int(stored['resolution']), num_vertices)


def test_location_maps_equal_the_official_ones(
    uv_fixture: tuple[dict[str, np.ndarray], LocationMapper],
) -> None:
    stored, mapper = uv_fixture
    made = mapper.location_map_from_vertices(torch.from_numpy(stored['vertices']))
    np.testing.assert_array_equal(mapper.mask.numpy(), stored['mask'])
    np.testing.assert_allclose(
        made.permute(0, 2, 3, 1).numpy(), stored['location_map'], atol=UV_TOLERANCE
    )


@pytest.mark.parametrize(
    ('read', 'expected'),
    [('location_map', 'resampled_vertices'), ('noise_map', 'resampled_noise')],
)
def test_reading_location_maps_equals_the_official_resampling(
    read: str, expected: str, uv_fixture: tuple[dict[str, np.ndarray], LocationMapper]
) -> None:
    stored, mapper = uv_fixture
    location_map = torch.from_numpy(stored[read]).permute(0, 3, 1, 2)
    vertices = mapper.vertices_from_location_map(location_map)
    np.testing.assert_allclose(vertices.numpy(), stored[expected], atol=UV_TOLERANCE)
