"""Fixtures: people, files of a user, an oracle network, small runs, a fake of h5py."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from fabricated_sets import OracleRuntime, render_people, write_bodies, write_regressor

from decomr_core.base.config import NetworkConfig, network_config
from decomr_core.body_models import BodyModel
from decomr_core.networks import DecoMR
from decomr_core.networks.checkpoint import save_checkpoint
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap
from tests.core.small_networks import SIZES, resnet_config
from training import evaluate
from training.loop import trainer, training_data


@pytest.fixture(scope='session')
def people(tiny_body: BodyModel, tiny_uv_map: UVMap):
    return render_people(tiny_body, tiny_uv_map)


@pytest.fixture(scope='session')
def files(tiny_body: BodyModel, tiny_uv_map: UVMap, tmp_path_factory) -> dict[str, Path]:
    """The files of a user: body, UV map, weights, ground-truth bodies, regressor."""
    folder = tmp_path_factory.mktemp('files')
    tiny_body.save(folder / 'body.npz')
    tiny_uv_map.save(folder / 'uv.npz')
    torch.manual_seed(0)
    save_checkpoint(
        folder / 'weights.safetensors', DecoMR(resnet_config(), tiny_body, tiny_uv_map).eval(), {}
    )
    return {
        'body': folder / 'body.npz',
        'uv': folder / 'uv.npz',
        'weights': folder / 'weights.safetensors',
        'body-folder': write_bodies(tiny_body, folder / 'smpl'),
        'joint-regressor': write_regressor(tiny_body, folder / 'J_regressor_h36m.npy'),
    }


@pytest.fixture
def oracle(people, tiny_body: BodyModel, tiny_uv_map: UVMap, monkeypatch) -> OracleRuntime:
    """A network that returns the ground truth, for every runtime."""
    runtime = OracleRuntime(people, Topology.from_body(tiny_body, tiny_uv_map))
    monkeypatch.setattr(evaluate, 'load_runtime', lambda *_, **__: runtime)
    return runtime


@pytest.fixture(scope='module')
def small_trainers(tiny_body: BodyModel, tiny_uv_map: UVMap):
    """All trainers of a file use the small body and thin networks, for crops of 64 px.

    A run at full size is in `test_train_full_size.py`.
    """
    with _small_trainers(tiny_body, tiny_uv_map):
        yield


@pytest.fixture
def small_trainer(tiny_body: BodyModel, tiny_uv_map: UVMap):
    """The same for one test."""
    with _small_trainers(tiny_body, tiny_uv_map):
        yield


@contextlib.contextmanager
def _small_trainers(tiny_body: BodyModel, tiny_uv_map: UVMap) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_data, 'load_body', lambda _: tiny_body)
        patch.setattr(trainer, 'load_uv_map', lambda name, body: tiny_uv_map)
        patch.setattr(trainer, 'network_config', _thin_network_config)
        yield


def _thin_network_config(preset: str) -> NetworkConfig:
    """A preset with few layers and channels."""
    return dataclasses.replace(
        network_config(preset),
        **{**SIZES.get(preset, SIZES['rt']), 'encoder_depths': (1, 1, 1, 1)},
    )


@pytest.fixture
def hdf5(monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """Fakes h5py, which returns these data for every file."""
    content: dict[str, np.ndarray] = {}

    class File(dict):
        def __init__(self, path: Path, mode: str) -> None:
            assert mode == 'r'
            assert Path(path).exists()
            super().__init__(content)

        def __enter__(self) -> File:
            return self

        def __exit__(self, *_: object) -> None:
            self.clear()

    module = types.ModuleType('h5py')
    module.File = File
    monkeypatch.setitem(sys.modules, 'h5py', module)
    return content
