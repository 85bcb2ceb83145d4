"""Weights between two networks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from decomr_core.body_models import BodyModel
from decomr_core.networks import checkpoint
from decomr_core.networks.decomr import DecoMR
from decomr_core.uv.uv_map import UVMap
from tests.core.small_networks import small_config
from training import interpolate
from training.interpolate import main


@pytest.fixture
def networks(tiny_body: BodyModel, tiny_uv_map: UVMap) -> tuple[DecoMR, DecoMR]:
    made = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        made.append(DecoMR(small_config('rt'), tiny_body, tiny_uv_map).eval())
    return made[0], made[1]


def test_shares_of_0_and_1_are_the_inputs_and_a_half_is_between(
    networks: tuple[DecoMR, DecoMR],
) -> None:
    before, after = (
        {name: value.clone() for name, value in network.state_dict().items()}
        for network in networks
    )
    name = 'lnet.uv_conv.conv2.weight'
    for share, expected in ((1.0, after[name]), (0.5, (before[name] + after[name]) / 2)):
        mixed = interpolate.interpolate(*networks, share).state_dict()
        torch.testing.assert_close(mixed[name], expected)
    networks[1].load_state_dict(after)
    mixed = interpolate.interpolate(*networks, 0.0).state_dict()
    for name, value in before.items():
        torch.testing.assert_close(mixed[name], value)


def test_other_sizes_and_shares_out_of_range_are_rejected(
    networks: tuple[DecoMR, DecoMR], tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    larger = DecoMR(
        dataclasses.replace(small_config('rt'), hidden_features=24), tiny_body, tiny_uv_map
    )
    with pytest.raises(ValueError, match='different sizes'):
        interpolate.interpolate(larger, networks[1], 0.5)
    with pytest.raises(ValueError, match='share is 1.5'):
        interpolate.interpolate(*networks, 1.5)


def test_the_command_writes_a_file_that_records_its_sources(
    networks: tuple[DecoMR, DecoMR],
    tiny_body: BodyModel,
    tiny_uv_map: UVMap,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paths = [str(tmp_path / f'{number}.safetensors') for number in range(2)]
    for number, (path, network) in enumerate(zip(paths, networks, strict=True)):
        checkpoint.save_checkpoint(path, network, {'training': {'steps': number}})
    monkeypatch.setattr(checkpoint, 'load_body', lambda: tiny_body)
    monkeypatch.setattr(checkpoint, 'load_uv_map', lambda: tiny_uv_map)
    out = tmp_path / 'mixed.safetensors'
    assert main([*paths, '--share', '0.25', '--out', str(out)]) == 0
    said = checkpoint.read_metadata(out)
    assert said['training'] == {'steps': 1}
    assert said['interpolated'] == {'before': {'steps': 0}, 'share_of_after': 0.25}


def test_a_missing_file_is_a_one_line_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / 'mixed.safetensors'
    assert (
        main([str(tmp_path / 'none.safetensors'), 'rt', '--share', '0.5', '--out', str(out)]) == 2
    )
    assert capsys.readouterr().err.startswith('error: ') and not out.exists()
