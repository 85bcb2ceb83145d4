"""Runs of `decomr` in this process, with a network that computes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from fake_people import FakeRuntime

from decomr_core import cli, runtimes
from decomr_core.body_models import BodyModel
from decomr_core.estimation import loading
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap

__all__ = ['fake_network', 'last_json', 'picture', 'run']


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / 'picture.png'
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8))
    return path


@pytest.fixture(autouse=True)
def fake_network(
    monkeypatch: pytest.MonkeyPatch, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> list[tuple]:
    """No weights are needed here; what the runtime was asked for is kept."""
    asked = []
    topology = Topology.from_body(tiny_body, tiny_uv_map)

    def load_runtime(*args: object, **options: object) -> FakeRuntime:
        asked.append((args, options))
        return FakeRuntime(topology, (0.9, 0.0, -0.1))

    monkeypatch.setattr(loading, 'load_runtime', load_runtime)
    monkeypatch.setitem(runtimes.RUNTIMES, 'fake', ('numpy', ''))
    return asked


def run(*words: object) -> int:
    return cli.main([str(word) for word in words])


def last_json(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])
