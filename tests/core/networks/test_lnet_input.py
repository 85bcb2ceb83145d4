"""The inputs of LNet: each variant uses its own inputs and no others."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from small_networks import resnet_config

from decomr_core.base.config import LNET_INPUTS, NetworkConfig, network_config
from decomr_core.body_models import BodyModel
from decomr_core.networks import DecoMR
from decomr_core.networks.checkpoint import load_network, save_checkpoint
from decomr_core.networks.lnet import POINT_CHANNELS
from decomr_core.uv.uv_map import UVMap
from decomr_core.uv.warp import WARP_CHANNELS

# Below this a float32 difference is rounding; what an input does is far above.
UNCHANGED_M, CHANGED_M = 1e-7, 1e-4
# Layers of a few channels: what reaches where does not depend on how many there are.
THIN = {'encoder_width': 8, 'global_features': 32, 'head_channels': 8, 'hidden_features': 16}


def awake(lnet_input: str, body: BodyModel, uv_map: UVMap) -> DecoMR:
    """An untrained `rt` variant that does not start as the template."""
    torch.manual_seed(0)
    config = resnet_config(lnet_input=lnet_input, **THIN)
    network = DecoMR(config, body, uv_map).eval()
    with torch.no_grad():
        network.lnet.location_head[-1].weight.normal_(std=0.3)
        network.lnet.camera_head[-1].weight.normal_(std=0.3)
    return network


@pytest.fixture(scope='module', params=LNET_INPUTS)
def network(request: pytest.FixtureRequest, tiny_body: BodyModel, tiny_uv_map: UVMap) -> DecoMR:
    return awake(request.param, tiny_body, tiny_uv_map)


@pytest.fixture(scope='module')
def images() -> torch.Tensor:
    return torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope='module')
def guide() -> torch.Tensor:
    """An IUV image with a person in the middle of the crop, alone."""
    generator = torch.Generator().manual_seed(2)
    iuv = torch.rand(2, 3, 32, 32, generator=generator)
    iuv[:, 0] = 0
    iuv[:, 0, 8:24, 8:24] = 1
    return iuv


def run(
    network: DecoMR,
    images: torch.Tensor,
    guide: torch.Tensor,
    local_shift: float = 0.0,
    global_shift: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Location map and camera, with the outputs of CNet moved by the shifts."""
    said = network.predict_iuv(images)
    local, crop = said.local_features, said.global_features
    network.predict_iuv = lambda _: said._replace(
        local_features=local + local_shift * torch.randn_like(local),
        global_features=crop + global_shift * torch.randn_like(crop),
    )
    try:
        with torch.inference_mode():
            output = network(images, guide_iuv=guide)
    finally:
        del network.predict_iuv
    return output.location_map, output.camera


def difference(first: torch.Tensor, second: torch.Tensor) -> float:
    return float((first - second).abs().max())


def test_every_variant_gives_the_shapes_of_the_contract(
    network: DecoMR, images: torch.Tensor, tiny_body: BodyModel
) -> None:
    output = network(images)
    assert output.location_map.shape == (2, 3, 64, 64)
    assert output.vertices.shape == (2, tiny_body.num_vertices, 3)
    assert output.camera.shape == (2, 3)
    assert output.iuv.shape == (2, 3, 32, 32)


def test_the_local_features_move_the_location_map_where_they_are_an_input(
    network: DecoMR, images: torch.Tensor, guide: torch.Tensor
) -> None:
    change = difference(run(network, images, guide)[0], run(network, images, guide, 1.0)[0])
    if network.config.lnet_input in ('local', 'global+local'):
        assert change > CHANGED_M
    else:
        assert change < UNCHANGED_M


def test_the_global_feature_moves_the_location_map_where_it_is_an_input(
    network: DecoMR, images: torch.Tensor, guide: torch.Tensor
) -> None:
    change = difference(
        run(network, images, guide)[0], run(network, images, guide, global_shift=1.0)[0]
    )
    if network.config.lnet_input == 'local':
        assert change < UNCHANGED_M
    else:
        assert change > CHANGED_M


def test_the_iuv_image_moves_the_location_map_where_something_is_warped(
    network: DecoMR, images: torch.Tensor, guide: torch.Tensor
) -> None:
    change = difference(run(network, images, guide)[0], run(network, images, guide.flip(3))[0])
    if network.config.lnet_input == 'global':
        assert change < UNCHANGED_M
    else:
        assert change > CHANGED_M


def test_raw_pixels_reach_the_location_map_without_the_encoder(
    images: torch.Tensor, guide: torch.Tensor, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    """CNet's outputs are fixed while pixels change: inside the person, then outside."""
    for lnet_input, is_used in (('raw+global', True), ('global+local', False)):
        network = awake(lnet_input, tiny_body, tiny_uv_map)
        said = network.predict_iuv(images)
        network.predict_iuv = lambda _, said=said: said
        with torch.inference_mode():
            before = network(images, guide_iuv=guide).location_map
            inside, outside = images.clone(), images.clone()
            inside[:, :, 40:80, 40:80] += 1
            outside[:, :, :24] += 1
            assert difference(network(outside, guide_iuv=guide).location_map, before) == 0
            change = difference(network(inside, guide_iuv=guide).location_map, before)
        assert (change > CHANGED_M) if is_used else (change == 0)


def test_the_camera_comes_from_the_global_feature_in_every_variant(
    network: DecoMR, images: torch.Tensor, guide: torch.Tensor
) -> None:
    camera = run(network, images, guide)[1]
    assert difference(camera, run(network, images, guide, global_shift=1.0)[1]) > CHANGED_M
    assert difference(camera, run(network, images, guide, local_shift=1.0)[1]) == 0


def test_a_variant_has_no_weights_for_inputs_that_it_lacks(network: DecoMR) -> None:
    config = network.config
    keys = network.lnet.state_dict()
    has_global = any(key.startswith('global_head') for key in keys)
    assert has_global == (config.lnet_input != 'local')
    warped = {'global': 0, 'raw+global': 3 + WARP_CHANNELS}.get(
        config.lnet_input, config.encoder_channels[0] + WARP_CHANNELS
    )
    code = config.broadcast_features if has_global else 0
    assert keys['projection.0.weight'].shape[1] == warped + code + POINT_CHANNELS


def test_every_parameter_of_a_variant_learns(
    network: DecoMR, images: torch.Tensor, guide: torch.Tensor
) -> None:
    network.zero_grad()
    output = network.train()(images, guide_iuv=guide)
    (
        output.vertices.square().mean()
        + output.iuv.square().mean()
        + output.camera.square().mean()
    ).backward()
    network.eval()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


def test_a_config_without_the_field_means_the_whole_input() -> None:
    for preset in ('paper', 'rt'):
        values = network_config(preset).to_dict()
        del values['lnet_input']
        assert NetworkConfig.from_dict(values) == network_config(preset)
    assert network_config('rt').lnet_input == 'global+local'


def test_a_variant_is_saved_and_loaded(
    network: DecoMR, images: torch.Tensor, tmp_path, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    save_checkpoint(tmp_path / 'network.safetensors', network, {})
    loaded = load_network(tmp_path / 'network.safetensors', tiny_body, tiny_uv_map)
    assert loaded.config == network.config
    with torch.inference_mode():
        assert torch.equal(loaded(images).location_map, network(images).location_map)


def test_an_unknown_input_is_rejected_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"lnet_input is 'raw', expected one of: global, local,"):
        dataclasses.replace(network_config('rt'), lnet_input='raw')
