"""The pretrained encoder, and a network that is built on it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from small_networks import resnet_config

from decomr_core.base import assets
from decomr_core.base.config import network_config
from decomr_core.body_models import BodyModel
from decomr_core.networks import DecoMR
from decomr_core.networks.blazepose import NUM_LANDMARKS, SIZES, BlazePoseEncoder
from decomr_core.networks.checkpoint import load_network, save_checkpoint
from decomr_core.networks.pretrained import load_blazepose
from decomr_core.runtimes.torch.precision import arithmetic, mixed_network
from decomr_core.uv.uv_map import UVMap

# What OpenVINO computes of the published file in float32, heatmaps at every eighth pixel.
REFERENCE = Path(__file__).parents[2] / 'data' / 'blazepose_outputs.npz'


def make_network(body: BodyModel, uv_map: UVMap, preset: str = 'rt') -> DecoMR:
    torch.manual_seed(0)
    return DecoMR(network_config(preset), body, uv_map)


@pytest.fixture(scope='module')
def network(tiny_body: BodyModel, tiny_uv_map: UVMap) -> DecoMR:
    network = make_network(tiny_body, tiny_uv_map)
    load_blazepose(network)
    return network.eval()


def images(name: str) -> torch.Tensor:
    """(1, 3, 256, 256) RGB in [0, 1]."""
    if name == 'noise':
        image = np.random.default_rng(0).random((1, 256, 256, 3), np.float32)
        return torch.from_numpy(image).permute(0, 3, 1, 2)
    ramp = torch.linspace(0, 1, 256)
    down, right = torch.meshgrid(ramp, ramp, indexing='ij')
    return torch.stack([down, right, (down + right) / 2])[None]


@pytest.mark.parametrize('name', ['noise', 'ramp'])
def test_the_encoder_equals_the_published_network(network: DecoMR, name: str) -> None:
    _compare_with_the_published_network(network.cnet.encoder, name, name)


@pytest.mark.parametrize('name', ['noise', 'ramp'])
def test_the_heavy_encoder_equals_the_published_network_where_it_was_baked(
    tiny_body: BodyModel, tiny_uv_map: UVMap, name: str
) -> None:
    network = make_network(tiny_body, tiny_uv_map, 'heavy')
    try:
        load_blazepose(network)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    _compare_with_the_published_network(network.cnet.encoder, name, f'heavy_{name}')


def _compare_with_the_published_network(
    encoder: BlazePoseEncoder, name: str, reference: str
) -> None:
    with torch.inference_mode():
        seen = encoder(images(name))
    with np.load(REFERENCE) as expected:
        for what, values in (
            ('landmarks', seen.landmarks[0]),
            ('world', seen.world[0]),
            ('heatmaps', seen.heatmaps[0, :, ::8, ::8]),
        ):
            known = expected[f'{reference}_{what}']
            assert values.shape == known.shape
            assert np.abs(values.numpy() - known).max() < 1e-4 * np.abs(known).max(), what


@pytest.mark.parametrize(
    ('name', 'level_channels'),
    [('blazepose', (24, 32, 88, 864)), ('blazepose_heavy', (32, 56, 160, 1632))],
)
def test_the_features_have_the_shapes_of_the_contract(
    name: str, level_channels: tuple[int, ...]
) -> None:
    size = SIZES[name]
    with torch.inference_mode():
        seen = BlazePoseEncoder(size)(images('noise').expand(2, -1, -1, -1))
        grids, summary = seen.for_decoder()
    assert seen.heatmaps.shape == (2, NUM_LANDMARKS, 64, 64)
    assert seen.mask.shape == (2, 8, 128, 128)
    first, second, third, fourth = level_channels
    assert [tuple(grid.shape) for grid in grids] == [
        (2, first + 48 + 39 + 8, 64, 64),
        (2, second, 32, 32),
        (2, third, 16, 16),
        (2, fourth, 8, 8),
    ]
    assert summary.shape == (2, 4 * 288 + 195 + 117 + 39 * (48 + first))
    assert (tuple(grid.shape[1] for grid in grids), summary.shape[1]) == (size.grids, size.summary)


def test_a_network_with_it_depends_on_the_image_and_learns_behind_the_encoder(
    tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    network = make_network(tiny_body, tiny_uv_map)
    load_blazepose(network)
    network.cnet.encoder.requires_grad_(False)
    images = torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(1))
    output = network(images)
    assert output.iuv.shape == (2, 3, 64, 64)
    assert output.location_map.shape == (2, 3, 32, 32)
    (output.vertices.square().sum() + output.iuv.sum()).backward()
    assert all(parameter.grad is None for parameter in network.cnet.encoder.parameters())
    for part in (network.cnet.decoder, network.cnet.global_head, network.lnet.hourglass):
        assert any(parameter.grad.abs().sum() > 0 for parameter in part.parameters())


def test_a_network_with_it_computes_in_one_precision_and_creates_no_constants_at_run_time(
    network: DecoMR, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CUDA graph cannot record copies from the host, nor half precision mixed kinds."""
    half = mixed_network(network, 'bf16').cnet
    monkeypatch.setattr(torch, 'tensor', lambda *_, **__: pytest.fail('a constant is made'))
    with arithmetic(torch.device('cpu'), 'bf16'):
        _, local_features, global_features = half(torch.zeros(1, 3, 256, 256))
    assert local_features.dtype == global_features.dtype == torch.bfloat16


def test_a_network_with_it_is_saved_and_loaded(
    network: DecoMR, tiny_body: BodyModel, tiny_uv_map: UVMap, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / 'mine.safetensors', network, {}, half=True)
    assert (tmp_path / 'mine.safetensors').stat().st_size <= 16 * 2**20
    again = load_network(tmp_path / 'mine.safetensors', tiny_body, tiny_uv_map)
    assert again.config == network.config
    weight = network.cnet.encoder.stem[0][0].weight
    torch.testing.assert_close(again.cnet.encoder.stem[0][0].weight, weight, atol=0, rtol=0)


@pytest.mark.parametrize('size', [0, 100, 100_000])
def test_a_truncated_asset_is_a_one_line_error_with_the_command(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny_body: BodyModel,
    tiny_uv_map: UVMap,
    size: int,
) -> None:
    whole = assets.find_encoder().read_bytes()
    (tmp_path / 'blazepose.safetensors').write_bytes(whole[:size])
    monkeypatch.setattr(assets, 'DATA_FOLDER', tmp_path)
    with pytest.raises(ValueError, match=r'is damaged .*tools\.bake_blazepose') as raised:
        load_blazepose(make_network(tiny_body, tiny_uv_map))
    assert '\n' not in str(raised.value)


@pytest.mark.parametrize(
    ('preset', 'file'),
    [('rt', 'full.tflite'), ('heavy', 'heavy.tflite --encoder blazepose_heavy')],
)
def test_a_missing_asset_is_reported_with_the_command(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny_body: BodyModel,
    tiny_uv_map: UVMap,
    preset: str,
    file: str,
) -> None:
    monkeypatch.setattr(assets, 'DATA_FOLDER', tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r'no encoder at .*tools\.bake_blazepose'
    ) as raised:
        load_blazepose(make_network(tiny_body, tiny_uv_map, preset))
    assert file in str(raised.value)


def test_the_asset_does_not_fit_a_network_without_such_an_encoder(
    tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    network = DecoMR(resnet_config(), tiny_body, tiny_uv_map)
    with pytest.raises(ValueError, match="do not fit the encoder 'resnet'"):
        load_blazepose(network)


def test_another_size_of_crop_is_rejected() -> None:
    with pytest.raises(ValueError, match='the encoder blazepose takes 256 px'):
        dataclasses.replace(network_config('rt'), crop_size=128)


def test_the_shipped_network_carries_the_notice_of_the_asset() -> None:
    network = load_network('rt')
    trained = {name: value.clone() for name, value in network.cnet.encoder.state_dict().items()}
    load_blazepose(network)
    for name, value in network.cnet.encoder.state_dict().items():
        is_filter = value.ndim == 4 and value.shape[1] == 1
        if is_filter or name.startswith(('stem.', 'stages.0.', 'stages.1.')):
            assert torch.equal(value, trained[name]), name
        else:  # trained further, not from nothing, which would be sqrt(2) away
            away = (trained[name] - value).norm() / value.norm().clamp_min(1e-6)
            assert away < 0.8, name
