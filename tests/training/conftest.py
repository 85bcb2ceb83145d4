"""What tests share: people, the files a user brings, an oracle, a stand-in of h5py."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from fabricated_sets import OracleRuntime, render_people, write_bodies, write_regressor

from decomr_core.body_models import BodyModel
from decomr_core.checkpoint import save_checkpoint
from decomr_core.config import network_config
from decomr_core.networks import DecoMR
from decomr_core.topology import Topology
from decomr_core.uv.uv_map import UVMap
from training import evaluate


@pytest.fixture(scope='session')
def people(tiny_body: BodyModel, tiny_uv_map: UVMap):
    return render_people(tiny_body, tiny_uv_map)


@pytest.fixture(scope='session')
def files(tiny_body: BodyModel, tiny_uv_map: UVMap, tmp_path_factory) -> dict[str, Path]:
    """What the user brings: body, UV map, weights, the bodies of the truth, the regressor."""
    folder = tmp_path_factory.mktemp('files')
    tiny_body.save(folder / 'body.npz')
    tiny_uv_map.save(folder / 'uv.npz')
    torch.manual_seed(0)
    save_checkpoint(folder / 'weights.safetensors',
                    DecoMR(network_config('rt'), tiny_body, tiny_uv_map).eval(), {})
    return {'body': folder / 'body.npz', 'uv': folder / 'uv.npz',
            'weights': folder / 'weights.safetensors',
            'body-folder': write_bodies(tiny_body, folder / 'smpl'),
            'joint-regressor': write_regressor(tiny_body, folder / 'J_regressor_h36m.npy')}


@pytest.fixture
def oracle(people, tiny_body: BodyModel, tiny_uv_map: UVMap, monkeypatch) -> OracleRuntime:
    """A network that knows the answers, whatever runtime is asked for."""
    runtime = OracleRuntime(people, Topology.from_body(tiny_body, tiny_uv_map))
    monkeypatch.setattr(evaluate, 'load_runtime', lambda *_, **__: runtime)
    return runtime


@pytest.fixture
def hdf5(monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """What a stand-in of h5py finds in every file; the real package need not be installed."""
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
