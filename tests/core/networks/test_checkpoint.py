"""Saving and loading of networks, strictly."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_networks import resnet_config, small_config

from decomr_core.body_models import BodyModel
from decomr_core.networks import DecoMR
from decomr_core.networks.checkpoint import load_network, load_part, read_metadata, save_checkpoint
from decomr_core.networks.pretrained import load_classifier
from decomr_core.uv.uv_map import UVMap


@pytest.fixture(scope='module')
def network(tiny_body: BodyModel, tiny_uv_map: UVMap) -> DecoMR:
    torch.manual_seed(3)
    return DecoMR(small_config('rt'), tiny_body, tiny_uv_map).eval()


@pytest.fixture
def saved(network: DecoMR, tmp_path: Path) -> Path:
    path = tmp_path / 'network.safetensors'
    save_checkpoint(path, network, {'training': {'steps': 7}})
    return path


def rewrite(path: Path, **changes: str) -> None:
    """Changes metadata values (JSON text) of a weights file; an empty text removes the key."""
    metadata = {key: json.dumps(value) for key, value in read_metadata(path).items()}
    metadata.update(changes)
    save_file(load_file(path), path, {key: value for key, value in metadata.items() if value})


def test_a_saved_network_comes_back_bit_for_bit(
    network: DecoMR, saved: Path, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    state_before = torch.get_rng_state()
    loaded = load_network(saved, tiny_body, tiny_uv_map)
    assert torch.equal(torch.get_rng_state(), state_before)
    assert not loaded.training
    assert loaded.config == network.config
    for key, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor), key


def test_a_saved_network_has_the_permissions_of_the_umask(saved: Path) -> None:
    plain = saved.with_name('plain')
    plain.write_bytes(b'')
    assert saved.stat().st_mode == plain.stat().st_mode


def test_half_the_size_changes_the_mesh_by_less_than_a_millimetre(
    tiny_body: BodyModel, tiny_uv_map: UVMap, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    network = DecoMR(resnet_config(), tiny_body, tiny_uv_map).eval()
    saved, half = tmp_path / 'whole.safetensors', tmp_path / 'half.safetensors'
    save_checkpoint(saved, network, {'training': {'steps': 7}})
    save_checkpoint(half, network, {}, half=True)
    assert half.stat().st_size < 0.52 * saved.stat().st_size
    assert half.stat().st_size <= 16 * 2**20
    images = torch.rand(2, 3, 128, 128)
    loaded = load_network(half, tiny_body, tiny_uv_map)
    assert {tensor.dtype for tensor in loaded.parameters()} == {torch.float32}
    with torch.inference_mode():
        coarse, exact = loaded(images).vertices, network(images).vertices
    assert (coarse - exact).abs().max() < 1e-3
    # An untrained network says nearly the same of every image, whatever its weights are.
    assert (coarse - exact).abs().max() < 0.1 * (exact[1] - exact[0]).abs().max()


def test_the_file_records_its_sources(network: DecoMR, saved: Path) -> None:
    metadata = read_metadata(saved)
    assert metadata['training'] == {'steps': 7}
    assert metadata['body_hash'] == network.body_hash
    assert metadata['uv_hash'] == network.uv_hash
    assert metadata['config']['preset'] == 'rt'


def test_another_body_is_rejected_with_both_hashes(
    saved: Path, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    data = dataclasses.replace(tiny_body.data, v_template=tiny_body.data.v_template * 1.01)
    other = BodyModel(data)
    with pytest.raises(ValueError) as caught:
        load_network(saved, other, tiny_uv_map)
    assert tiny_body.hash[:16] in str(caught.value)
    assert other.hash[:16] in str(caught.value)
    assert 'body=' in str(caught.value)


def test_another_uv_map_is_rejected_with_both_hashes(
    saved: Path, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    other = dataclasses.replace(tiny_uv_map, uv=1 - tiny_uv_map.uv)
    with pytest.raises(ValueError) as caught:
        load_network(saved, tiny_body, other)
    assert tiny_uv_map.hash[:16] in str(caught.value)
    assert other.hash[:16] in str(caught.value)


@pytest.mark.parametrize('size', [0, 5, 3000, -100])
def test_a_truncated_file_is_rejected_with_the_remedy(saved: Path, size: int) -> None:
    saved.write_bytes(saved.read_bytes()[:size])
    with pytest.raises(ValueError, match=r'is damaged.*python -m training\.train --config'):
        load_network(saved)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='nowhere.safetensors'):
        load_network(tmp_path / 'nowhere.safetensors')


def test_a_foreign_safetensors_file_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / 'foreign.safetensors'
    save_file({'weight': torch.zeros(2)}, path)
    with pytest.raises(ValueError, match='not a DecoMR weights file: its metadata lacks'):
        load_network(path)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'format_version': '99'}, 'format version 99'),
        ({'format_version': '0'}, 'format version 0'),
        ({'config': '{"preset": "paper"}'}, 'another version of this package'),
        ({'uv_hash': ''}, 'its metadata lacks'),
    ],
)
def test_files_of_other_versions_are_rejected(
    changes: dict[str, str], message: str, saved: Path, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    rewrite(saved, **changes)
    with pytest.raises(ValueError, match=message):
        load_network(saved, tiny_body, tiny_uv_map)


def test_leftover_and_missing_tensors_are_listed(
    saved: Path, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    tensors = load_file(saved)
    metadata = {key: json.dumps(value) for key, value in read_metadata(saved).items()}
    tensors['lnet.surprise'] = tensors.pop('cnet.encoder.conv1.weight')
    tensors['cnet.encoder.bn1.weight'] = torch.zeros(3)
    save_file(tensors, saved, metadata)
    with pytest.raises(ValueError) as caught:
        load_network(saved, tiny_body, tiny_uv_map)
    for part in (
        '1 missing (cnet.encoder.conv1.weight)',
        '1 unknown (lnet.surprise)',
        '1 of another shape (cnet.encoder.bn1.weight)',
    ):
        assert part in str(caught.value)


def test_metadata_that_cannot_be_stored_is_rejected_and_the_old_file_stays(
    saved: Path, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    before = saved.read_bytes()
    broken = load_network(saved, tiny_body, tiny_uv_map)
    broken.cnet.encoder.conv1.weight.data[0, 0, 0, 0] = 1e6
    with pytest.raises(ValueError, match=r'conv1.weight holds values up to 1e\+06'):
        save_checkpoint(saved, broken, {}, half=True)
    with pytest.raises(ValueError, match='keys of the file format'):
        save_checkpoint(saved, broken, {'config': 1})
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_the_encoder_begins_with_torchvisions_classifier(tmp_path, tiny_body, tiny_uv_map):
    network = DecoMR(small_config('paper'), tiny_body, tiny_uv_map)
    encoder = {
        key.removeprefix('cnet.encoder.'): torch.randn_like(value.float()).to(value)
        for key, value in network.state_dict().items()
        if key.startswith('cnet.encoder.')
    }
    before = {key: value.clone() for key, value in network.state_dict().items()}
    torch.save(
        {**encoder, 'fc.weight': torch.zeros(1000, 2048), 'fc.bias': torch.zeros(1000)},
        tmp_path / 'resnet50.pth',
    )
    load_classifier(network, tmp_path / 'resnet50.pth')
    for key, value in network.state_dict().items():
        inside = key.startswith('cnet.encoder.')
        wanted = encoder[key.removeprefix('cnet.encoder.')] if inside else before[key]
        assert torch.equal(value, wanted), key


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'conv1.weight': torch.zeros(64, 3, 7, 7)}, "fit the encoder of the 'paper'.*missing"),
        ([1, 2], 'is not a state dict'),
        (b'text', 'not a PyTorch checkpoint'),
    ],
)
def test_other_files_are_rejected_as_initial_weights(
    tmp_path, tiny_body, tiny_uv_map, content, message
):
    network = DecoMR(small_config('paper'), tiny_body, tiny_uv_map)
    path = tmp_path / 'start.pth'
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(ValueError, match=message):
        load_classifier(network, path)


def test_a_part_of_a_trained_network_is_taken_where_it_fits(
    tmp_path, tiny_body, tiny_uv_map, tiny_two_chart_map
):
    given = DecoMR(resnet_config(preset='small', head_channels=16), tiny_body, tiny_uv_map)
    save_checkpoint(tmp_path / 'given.safetensors', given, {})
    taker = DecoMR(resnet_config(), tiny_body, tiny_two_chart_map)
    before = {key: value.clone() for key, value in taker.state_dict().items()}
    load_part(taker, tmp_path / 'given.safetensors', 'cnet.encoder.')
    for key, value in taker.state_dict().items():
        wanted = given.state_dict()[key] if key.startswith('cnet.encoder.') else before[key]
        assert torch.equal(value, wanted), key
    with pytest.raises(ValueError, match='trained for the uv_map with hash'):
        load_part(taker, tmp_path / 'given.safetensors', 'cnet.')
    same_map = DecoMR(resnet_config(), tiny_body, tiny_uv_map)
    with pytest.raises(ValueError, match="cnet in .* has other sizes than the 'rt' network"):
        load_part(same_map, tmp_path / 'given.safetensors', 'cnet.')


def test_rt_weights_of_an_earlier_version_are_rejected_with_the_remedy(
    saved: Path, tmp_path: Path, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    earlier = tmp_path / 'earlier.safetensors'
    with safe_open(saved, 'pt') as file:
        metadata = dict(file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    config = json.loads(metadata['config'])
    del config['encoder']  # as files were written before there was a choice
    metadata['config'] = json.dumps(config)
    save_file(tensors, earlier, metadata)
    with pytest.raises(ValueError, match='of an earlier version .*take the shipped weights'):
        load_network(earlier, tiny_body, tiny_uv_map)
