"""The pretrained encoders, and a network that is built on one."""

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
from decomr_core.body_models.joints import JOINT_NAMES, NUM_JOINTS
from decomr_core.networks import DecoMR
from decomr_core.networks.alignment import PixelAlignment
from decomr_core.networks.checkpoint import load_network, save_checkpoint
from decomr_core.networks.encoders import PRETRAINED
from decomr_core.networks.encoders.blazepose import NUM_LANDMARKS, BlazePoseEncoder
from decomr_core.networks.encoders.movenet import NUM_KEYPOINTS, MoveNetEncoder
from decomr_core.networks.pretrained import load_pose_network
from decomr_core.runtimes.torch.precision import arithmetic, mixed_network
from decomr_core.uv.uv_map import UVMap
from training.datasets.readers.coco import COCO_JOINTS

DATA = Path(__file__).parents[2] / 'data'
PRESET_OF = {'movenet': 'rt', 'blazepose': 'small'}
# The published networks compute in another order: of values up to 112, the sixth digit differs.
TOLERANCE = 2e-4


def make_network(body: BodyModel, uv_map: UVMap, preset: str = 'rt') -> DecoMR:
    torch.manual_seed(0)
    return DecoMR(network_config(preset), body, uv_map)


@pytest.fixture(scope='module')
def network(tiny_body: BodyModel, tiny_uv_map: UVMap) -> DecoMR:
    network = make_network(tiny_body, tiny_uv_map)
    load_pose_network(network)
    return network.eval()


def images(name: str) -> torch.Tensor:
    """(1, 3, 256, 256) RGB in [0, 1]."""
    if name == 'noise':
        image = np.random.default_rng(0).random((1, 256, 256, 3), np.float32)
        return torch.from_numpy(image).permute(0, 3, 1, 2)
    ramp = torch.linspace(0, 1, 256)
    down, right = torch.meshgrid(ramp, ramp, indexing='ij')
    return torch.stack([down, right, (down + right) / 2])[None]


def whole_images(name: str) -> torch.Tensor:
    """(1, 3, 256, 256) RGB in [0, 1] that are whole numbers in [0, 255]."""
    if name == 'noise':
        values = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 3))
        return torch.from_numpy(values).permute(0, 3, 1, 2).float() / 255
    down, right = torch.meshgrid(torch.arange(256), torch.arange(256), indexing='ij')
    return torch.stack([down, right, (down + right) // 2])[None].float() / 255


@pytest.mark.parametrize('name', ['noise', 'ramp'])
def test_blazepose_equals_the_published_network(
    tiny_body: BodyModel, tiny_uv_map: UVMap, name: str
) -> None:
    """The reference is what OpenVINO computes of the published file in float32."""
    network = make_network(tiny_body, tiny_uv_map, 'small')
    load_pose_network(network)
    encoder = network.cnet.encoder
    assert isinstance(encoder, BlazePoseEncoder)
    with torch.inference_mode():
        seen = encoder(images(name))
    _compare(
        'blazepose',
        name,
        {
            'landmarks': seen.landmarks[0],
            'world': seen.world[0],
            'heatmaps': seen.heatmaps[0, :, ::8, ::8],
        },
    )


@pytest.mark.parametrize('name', ['noise', 'ramp'])
def test_movenet_equals_the_published_network(network: DecoMR, name: str) -> None:
    """The reference is what TensorFlow.js computes of the published file, in its own graph."""
    encoder = network.cnet.encoder
    assert isinstance(encoder, MoveNetEncoder)
    with torch.inference_mode():
        seen = encoder(whole_images(name))
        outputs = {
            'heatmaps': seen.heatmaps,
            'regression': encoder.regression_head(seen.pyramid),
            'center': encoder.center_head(seen.pyramid),
        }
    _compare('movenet', name, {key: value[0, :, ::8, ::8] for key, value in outputs.items()})


def _compare(encoder: str, image: str, outputs: dict[str, torch.Tensor]) -> None:
    with np.load(DATA / f'{encoder}_outputs.npz') as expected:
        for what, values in outputs.items():
            known = expected[f'{image}_{what}']
            assert values.shape == known.shape
            assert np.abs(values.numpy() - known).max() < TOLERANCE * np.abs(known).max(), what


def test_the_features_of_blazepose_have_the_shapes_of_the_contract() -> None:
    with torch.inference_mode():
        seen = BlazePoseEncoder()(images('noise').expand(2, -1, -1, -1))
        grids, summary, _ = seen.for_decoder()
    assert seen.heatmaps.shape == (2, NUM_LANDMARKS, 64, 64)
    assert seen.mask.shape == (2, 8, 128, 128)
    assert [tuple(grid.shape) for grid in grids] == [
        (2, 24 + 48 + 39 + 8, 64, 64),
        (2, 32, 32, 32),
        (2, 88, 16, 16),
        (2, 864, 8, 8),
    ]
    assert summary.shape == (2, 4 * 288 + 195 + 117 + 39 * (48 + 24))


def test_the_features_of_movenet_have_the_shapes_of_the_contract(network: DecoMR) -> None:
    with torch.inference_mode():
        seen = network.cnet.encoder(images('noise').expand(2, -1, -1, -1))
        grids, summary, _ = seen.for_decoder()
    assert seen.heatmaps.shape == (2, NUM_KEYPOINTS, 64, 64)
    assert [tuple(grid.shape) for grid in grids] == [
        (2, 40 + 24 + 2 * NUM_KEYPOINTS, 64, 64),
        (2, 56, 32, 32),
        (2, 168, 16, 16),
        (2, 1280, 8, 8),
    ]
    assert summary.shape == (2, NUM_KEYPOINTS * (2 + 2 + 1 + 24 + 40 + 56 + 168) + 1280)


@pytest.mark.parametrize('name', PRETRAINED)
def test_the_sizes_of_the_features_are_those_that_the_class_names(name: str) -> None:
    encoder = PRETRAINED[name]()
    with torch.inference_mode():
        grids, summary, _ = encoder(torch.zeros(1, 3, 256, 256)).for_decoder()
    assert tuple(grid.shape[1] for grid in grids) == encoder.grids
    assert summary.shape == (1, encoder.summary)


def test_a_keypoint_of_somebody_else_counts_less_than_the_one_where_it_is_expected() -> None:
    encoder = MoveNetEncoder()
    seen = encoder(torch.zeros(1, 3, 256, 256))
    heatmaps = torch.full((1, NUM_KEYPOINTS, 64, 64), -20.0)
    heatmaps[0, :, 20, 30] = 2.0  # row 20, column 30
    heatmaps[0, :, 50, 5] = 3.0
    expected = torch.tensor([28.0, 22.0]).expand(1, NUM_KEYPOINTS, 2)
    features = dataclasses.replace(seen, heatmaps=heatmaps, expected=expected)
    grids, summary, _ = features.for_decoder()
    found = summary[0, : 2 * NUM_KEYPOINTS].reshape(NUM_KEYPOINTS, 2)
    where = torch.tensor([(30 + 0.5) / 32 - 1, (20 + 0.5) / 32 - 1])
    torch.testing.assert_close(found, where.expand_as(found), atol=0.02, rtol=0)
    own = grids[0][0, -NUM_KEYPOINTS:]
    assert (own[:, 20, 30] > 3 * own[:, 50, 5]).all()


def test_a_network_with_it_depends_on_the_image_and_learns_behind_the_encoder(
    tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    network = make_network(tiny_body, tiny_uv_map)
    load_pose_network(network)
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
        dense = half(torch.zeros(1, 3, 256, 256))
    assert dense.local_features.dtype == dense.global_features.dtype == torch.bfloat16
    assert dense.iuv.dtype == dense.joint_heatmaps.dtype == torch.float32


def test_the_keypoints_of_the_encoder_are_joints_of_the_same_names() -> None:
    limbs = [place for place in range(NUM_KEYPOINTS) if COCO_JOINTS[place] in JOINT_NAMES]
    assert sorted(MoveNetEncoder.keypoint_of_joint.values()) == limbs
    for joint, place in MoveNetEncoder.keypoint_of_joint.items():
        assert JOINT_NAMES[joint] == COCO_JOINTS[place]


def test_the_keypoints_of_the_encoder_move_the_joints_that_they_name(network: DecoMR) -> None:
    head = network.cnet.joint_head
    assert head is not None
    generator = torch.Generator().manual_seed(2)
    features = torch.rand(1, network.config.local_channels, 64, 64, generator=generator)
    scores = torch.full((1, NUM_KEYPOINTS, 64, 64), -40.0)
    scores[:, COCO_JOINTS.index('left_wrist'), 40, 10] = 40.0  # row 40, column 10
    with torch.inference_mode():
        before = PixelAlignment.locate_joints(head(features, torch.zeros_like(scores)))
        after = PixelAlignment.locate_joints(head(features, scores))
    wrist = JOINT_NAMES.index('left_wrist')
    where = torch.tensor([10, 40]) * 2 / 63 - 1
    torch.testing.assert_close(after[0, wrist, :2], where, atol=1e-3, rtol=0)
    others = [joint for joint in range(NUM_JOINTS) if joint != wrist]
    # The other scores are the same everywhere, which does not change a softmax.
    torch.testing.assert_close(after[0, others], before[0, others], atol=1e-4, rtol=0)


def test_without_a_weight_the_keypoints_of_the_encoder_change_nothing(
    tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    config = dataclasses.replace(network_config(), keypoint_weight=0.0)
    head = DecoMR(config, tiny_body, tiny_uv_map).eval().cnet.joint_head
    assert head is not None
    features = torch.rand(1, config.local_channels, 64, 64)
    scores = torch.randn(1, NUM_KEYPOINTS, 64, 64)
    assert torch.equal(head(features, scores), head(features))


def test_a_network_with_it_is_saved_and_loaded(
    network: DecoMR, tiny_body: BodyModel, tiny_uv_map: UVMap, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / 'mine.safetensors', network, {}, half=True)
    assert (tmp_path / 'mine.safetensors').stat().st_size <= 24 * 2**20
    again = load_network(tmp_path / 'mine.safetensors', tiny_body, tiny_uv_map)
    assert again.config == network.config
    weight = network.cnet.encoder.stem[0][0].weight
    torch.testing.assert_close(again.cnet.encoder.stem[0][0].weight, weight, atol=0, rtol=0)


@pytest.mark.parametrize('size', [0, 100, 100_000])
@pytest.mark.parametrize('name', PRETRAINED)
def test_a_truncated_asset_is_a_one_line_error_with_the_command(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny_body: BodyModel,
    tiny_uv_map: UVMap,
    name: str,
    size: int,
) -> None:
    whole = assets.find_encoder(name).read_bytes()
    (tmp_path / f'{name}.safetensors').write_bytes(whole[:size])
    monkeypatch.setattr(assets, 'DATA_FOLDER', tmp_path)
    with pytest.raises(ValueError, match=rf'is damaged .*tools\.bake_{name}') as raised:
        load_pose_network(make_network(tiny_body, tiny_uv_map, PRESET_OF[name]))
    assert '\n' not in str(raised.value)


@pytest.mark.parametrize('name', PRETRAINED)
def test_a_missing_asset_is_reported_with_the_command(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny_body: BodyModel,
    tiny_uv_map: UVMap,
    name: str,
) -> None:
    monkeypatch.setattr(assets, 'DATA_FOLDER', tmp_path)
    with pytest.raises(FileNotFoundError, match=rf'no encoder at .*tools\.bake_{name}'):
        load_pose_network(make_network(tiny_body, tiny_uv_map, PRESET_OF[name]))


def test_the_asset_does_not_fit_a_network_without_such_an_encoder(
    tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    network = DecoMR(resnet_config(), tiny_body, tiny_uv_map)
    with pytest.raises(ValueError, match="no weights of a pose network for the encoder 'resnet'"):
        load_pose_network(network)


def test_another_size_of_crop_is_rejected() -> None:
    with pytest.raises(ValueError, match='the encoder movenet takes 256 px'):
        dataclasses.replace(network_config('rt'), crop_size=128)


def test_the_shipped_network_has_the_encoder_of_the_asset_with_its_last_half_fine_tuned() -> None:
    network = load_network('rt')
    shipped = {name: value.clone() for name, value in network.cnet.encoder.state_dict().items()}
    load_pose_network(network)
    for name, value in network.cnet.encoder.state_dict().items():
        change = (shipped[name] - value).norm() / value.norm().clamp_min(1e-6)
        is_early = name.startswith(('stem', 'stages.0', 'stages.1'))
        assert (change < 1e-3) if is_early else (0 < change < 0.1), (name, float(change))
