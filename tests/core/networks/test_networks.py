"""The network as a whole, and its config."""

from __future__ import annotations

import pytest
import torch
from small_networks import POSED, resnet_config, small_config

from decomr_core.base.config import PRESETS, NetworkConfig, network_config
from decomr_core.body_models import BodyModel
from decomr_core.geometry.crop import network_input
from decomr_core.measures.losses import project_to_crop
from decomr_core.networks import DecoMR
from decomr_core.networks.blocks import RunningNorm, UpsamplingBlock
from decomr_core.networks.cnet import IMAGE_MEAN, IMAGE_STD
from decomr_core.networks.lnet import TexelProjection
from decomr_core.uv.uv_map import UVMap
from decomr_core.uv.warp import reprojection_error, warp_to_uv

MAX_RT_PARAMETERS = 12_500_000


@pytest.fixture(scope='module')
def network(tiny_body: BodyModel, tiny_uv_map: UVMap) -> DecoMR:
    torch.manual_seed(1)
    network = DecoMR(resnet_config(), tiny_body, tiny_uv_map)
    with torch.no_grad():  # an untrained network sees nobody and predicts the template: wake it
        network.cnet.mask_head[-1].weight.normal_(std=3)
        network.lnet.location_head[-1].weight.normal_(std=0.3)
        for module in network.cnet.encoder.modules():  # and blocks that start as the identity
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.fill_(0.8)
        noise = torch.rand(8, 3, 128, 128)
        network.train()(noise)
        network.eval()
        half = network.predict_iuv(noise)[0][:, 0].logit().median()  # half of it is a person
        network.cnet.mask_head[-1].bias -= half
    return network


@pytest.fixture(scope='module')
def images() -> torch.Tensor:
    return torch.rand(3, 3, 128, 128, generator=torch.Generator().manual_seed(1))


def test_outputs_have_the_shapes_of_the_contract(
    network: DecoMR, images: torch.Tensor, tiny_body: BodyModel
) -> None:
    output = network(images)
    assert output.iuv.shape == (3, 3, 32, 32)
    assert output.vertices.shape == (3, tiny_body.num_vertices, 3)
    assert output.joints.shape == (3, 24, 3)
    assert output.camera.shape == (3, 3)
    assert output.location_map.shape == (3, 3, 64, 64)
    assert output.iuv.min() >= 0
    assert output.iuv.max() <= 1
    torch.testing.assert_close(output.joints, tiny_body.joint_regressor @ output.vertices)


@torch.inference_mode()
def test_a_batch_of_three_equals_three_singles(network: DecoMR, images: torch.Tensor) -> None:
    batch = network(images)
    assert 0 < (batch.iuv[:, 0] > 0.5).float().mean() < 1, 'the warp must have work to do'
    for person in range(3):
        # The same guide: rounding of (u, v) is a step that float noise may cross.
        single = network(images[person : person + 1], guide_iuv=batch.iuv[person : person + 1])
        torch.testing.assert_close(
            single.vertices[0], batch.vertices[person], atol=1e-4, rtol=1e-4
        )
        torch.testing.assert_close(single.camera[0], batch.camera[person], atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_the_guide_replaces_the_predicted_iuv_in_the_warp(
    network: DecoMR, images: torch.Tensor
) -> None:
    own = network(images)
    guided = network(images, guide_iuv=own.iuv)
    torch.testing.assert_close(guided.vertices, own.vertices)
    empty = network(images, guide_iuv=torch.zeros_like(own.iuv))
    assert (empty.vertices - own.vertices).abs().max() > 1e-3
    torch.testing.assert_close(empty.iuv, own.iuv)


@torch.inference_mode()
def test_an_untrained_rt_network_predicts_the_template_in_the_root_frame(
    tiny_body: BodyModel, tiny_uv_map: UVMap, images: torch.Tensor
) -> None:
    output = DecoMR(resnet_config(), tiny_body, tiny_uv_map).eval()(images)
    upside_down = tiny_body.v_template * torch.tensor([1.0, -1.0, -1.0])
    assert (output.vertices - upside_down).norm(dim=-1).mean() < 0.05
    torch.testing.assert_close(
        output.camera, torch.tensor([[0.9, 0.0, 0.0]]).expand(3, -1), atol=0.05, rtol=0
    )


def test_every_parameter_learns_from_the_whole_network(
    network: DecoMR, images: torch.Tensor
) -> None:
    network.zero_grad()
    output = network.train()(images)
    (
        output.vertices.square().mean()
        + output.iuv.square().mean()
        + output.camera.square().mean()
    ).backward()
    network.eval()
    untouched = [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().any()
    ]
    # Biases before batch normalisation cancel out; their gradients are noise around zero.
    assert [name for name in untouched if not name.endswith('bias')] == []


def test_standardised_images_have_imagenets_mean_at_zero(network: DecoMR) -> None:
    mean, std = torch.tensor(IMAGE_MEAN), torch.tensor(IMAGE_STD)
    pixels = (mean * 255).round().to(torch.uint8).expand(2, 8, 8, 3)
    standardized = network.cnet.standardize(network_input(pixels))
    assert standardized.shape == (2, 3, 8, 8)
    assert standardized.abs().max() < 0.5 / 255 / min(IMAGE_STD)
    white = network.cnet.standardize(
        network_input(torch.full((1, 4, 4, 3), 255, dtype=torch.uint8))
    )
    assert torch.allclose(white[0, :, 0, 0], (1 - mean) / std, atol=1e-5)


def test_the_texel_projection_equals_convolutions_over_copies() -> None:
    projection = TexelProjection(network_config('rt')).double()
    size = projection.num_uv_features
    features = torch.randn(2, size, 4, 4, dtype=torch.float64)
    code = torch.randn(2, projection.num_code, dtype=torch.float64)
    reference = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    copies = torch.cat(
        [features, code[..., None, None].expand(-1, -1, 4, 4), reference.expand(2, -1, -1, -1)],
        dim=1,
    )
    expected = torch.nn.Sequential(*projection)(copies)
    torch.testing.assert_close(projection(features, code, reference), expected)


def test_squeezed_features_are_the_same_before_and_behind_the_warp(
    tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    """Then the first layer in UV space can be split without a change of the result."""
    torch.manual_seed(0)
    config = small_config('rt', **POSED, squeezed_channels=3)
    squeeze = DecoMR(config, tiny_body, tiny_uv_map).lnet.squeeze
    assert config.warped_channels == 3 < config.local_channels
    features = torch.randn(2, config.local_channels, 32, 32)
    iuv = torch.rand(2, 3, 32, 32)
    before, behind = warp_to_uv(squeeze(features), iuv, 8), warp_to_uv(features, iuv, 8)
    torch.testing.assert_close(before[:, :3], squeeze(behind[:, :-3]))
    torch.testing.assert_close(before[:, 3:], behind[:, -3:])


def test_only_local_features_are_squeezed(tiny_body: BodyModel, tiny_uv_map: UVMap) -> None:
    config = small_config('rt', lnet_input='global', squeezed_channels=3)
    assert not list(DecoMR(config, tiny_body, tiny_uv_map).lnet.squeeze.parameters())


def test_running_statistics_follow_the_batches_and_normalise_them() -> None:
    torch.manual_seed(0)
    norm = RunningNorm(3)
    mean, deviation = torch.tensor([5.0, -100.0, 0.0]), torch.tensor([1.0, 30.0, 0.01])
    for _ in range(400):
        seen = norm(torch.randn(6, 3) * deviation + mean)
    torch.testing.assert_close(norm.running_mean, mean, rtol=0.05, atol=0.01)
    torch.testing.assert_close(norm.running_var.sqrt(), deviation, rtol=0.15, atol=0.004)
    assert seen.abs().max() < 5
    alone = torch.randn(6, 3) * deviation + mean
    before = norm.running_mean.clone()
    torch.testing.assert_close(norm.eval()(alone)[:1], norm(alone[:1]))
    assert torch.equal(norm.running_mean, before)


def test_the_reprojection_error_is_the_offset_between_a_texel_and_its_pixels() -> None:
    reference = torch.randn(2, 3, 4, 4)
    camera = torch.tensor([[0.8, 0.1, -0.2], [1.1, 0.0, 0.3]])
    projected = (
        project_to_crop(reference.flatten(2).transpose(1, 2), camera)
        .transpose(1, 2)
        .reshape(2, 2, 4, 4)
    )
    is_seen = (torch.rand(2, 1, 4, 4) > 0.5).float()
    places = (projected + 0.25) * is_seen
    warped = torch.cat([torch.randn(2, 5, 4, 4), places, is_seen], dim=1)
    torch.testing.assert_close(
        reprojection_error(warped, reference, camera),
        0.25 * is_seen.expand(-1, 2, -1, -1),
        rtol=0,
        atol=1e-6,
    )


def test_the_global_feature_poses_the_reference_map(
    tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    torch.manual_seed(0)
    config = small_config('rt', **POSED)
    lnet = DecoMR(config, tiny_body, tiny_uv_map).lnet.eval()
    global_features = torch.randn(2, config.global_features)
    warped = torch.zeros(2, lnet.projection.num_uv_features - 2, 16, 16)
    with torch.no_grad():
        for head in (lnet.location_head, lnet.correction_head):
            head[-1].weight.zero_()
        location_map = lnet(warped, global_features, lnet.pose(global_features))
    change = lnet.posed_head(global_features).reshape(2, 3, 16, 16)
    torch.testing.assert_close(location_map, lnet.reference_location_map + change)
    assert change.abs().max() > 1e-3


def test_the_coarsest_features_correct_the_pose_within_its_components(
    tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    torch.manual_seed(0)
    config = small_config('rt', **POSED)
    lnet = DecoMR(config, tiny_body, tiny_uv_map).lnet.eval()
    global_features = torch.randn(1, config.global_features).expand(2, -1)
    warped = torch.randn(2, lnet.projection.num_uv_features - 2, 16, 16)
    with torch.no_grad():
        lnet.location_head[-1].weight.zero_()
        torch.nn.init.normal_(lnet.correction_head[-1].weight)
        location_map = lnet(warped, global_features, lnet.pose(global_features))
    difference = (location_map[0] - location_map[1]).flatten()
    assert difference.abs().max() > 1e-3
    components = lnet.posed_head[-1].weight
    amounts = torch.linalg.lstsq(components, difference[:, None]).solution
    torch.testing.assert_close((components @ amounts)[:, 0], difference, rtol=0, atol=1e-4)


def test_rt_is_small_and_its_state_contains_no_body(
    tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    network = DecoMR(network_config('rt'), tiny_body, tiny_uv_map)
    assert sum(parameter.numel() for parameter in network.parameters()) <= MAX_RT_PARAMETERS
    names = {key.split('.')[0] for key in network.state_dict()}
    assert names == {'cnet', 'lnet', 'lifting', 'alignment'}
    assert not any('reference' in key or 'default' in key for key in network.state_dict())


@pytest.mark.parametrize('preset', sorted(PRESETS))
def test_configs_are_converted_to_plain_values_and_back(preset: str) -> None:
    config = network_config(preset)
    values = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in config.to_dict().items()
    }  # as JSON gives them back
    assert NetworkConfig.from_dict(values) == config


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'crop_size': 100}, 'crop_size is 100'),
        ({'norm': 'layer'}, 'norm is .*expected one of: group, batch'),
        ({'uv_resolution': 36}, 'expected a multiple of 8'),
        ({'location_map_resolution': 128}, 'doubled 1 times is 64'),
        (
            {'pose_components': 8},
            'needs location_map_resolution = uv_resolution = 32, but .* is 64',
        ),
    ],
)
def test_sizes_that_do_not_fit_are_rejected(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resnet_config(**changes)


def test_unknown_presets_and_fields_are_rejected_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match='paper, rt'):
        network_config('huge')
    values = network_config('rt').to_dict()
    del values['norm']
    with pytest.raises(ValueError, match=r"unknown \['width'\], missing \['norm'\]"):
        NetworkConfig.from_dict({**values, 'width': 3})


def test_a_global_length_that_the_mean_cannot_have_is_rejected(
    tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    config = resnet_config(global_pool='mean')
    with pytest.raises(ValueError, match='global_features is 512'):
        DecoMR(config, tiny_body, tiny_uv_map)


@pytest.mark.parametrize('mode', ['nearest', 'bilinear'])
@pytest.mark.parametrize('norm', ['group', 'batch'])
@pytest.mark.parametrize('channels', [(32, 16), (16, 16)])
def test_an_upsampling_block_may_convolve_before_it_upsamples(
    mode: str, norm: str, channels: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    block = UpsamplingBlock(*channels, norm, mode).double()
    with torch.no_grad():
        for values in block.parameters():
            values.normal_(std=0.3)
        block(torch.randn(4, channels[0], 5, 6, dtype=torch.float64))  # statistics of its own
    features = torch.randn(2, channels[0], 5, 6, dtype=torch.float64)
    for is_training in (False, True):
        block.train(is_training)
        found = block(features)
        assert found.shape == (2, channels[1], 10, 12)
        torch.testing.assert_close(found, block._forward_naive(features))
