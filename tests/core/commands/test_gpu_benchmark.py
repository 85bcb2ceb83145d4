"""The GPU benchmark, run on the CPU, and the official structure that it compares with."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pretended_queue import PretendedQueue
from small_networks import POSED, small_config

from benchmarks import gpu
from benchmarks.official_structure import OfficialStructure, warp_image_by_image
from decomr_core.body_models import BodyModel
from decomr_core.measures.parity import measure_parity, parity_crops
from decomr_core.networks.decomr import DecoMR
from decomr_core.runtimes.exported_model import OUTPUT_NAMES
from decomr_core.uv.uv_map import UVMap
from decomr_core.uv.warp import warp_to_uv

CPU = torch.device('cpu')


@pytest.fixture(scope='module')
def network(small_network: Callable[..., DecoMR]) -> DecoMR:
    return small_network('rt')


@pytest.fixture(scope='module')
def report(network: DecoMR) -> dict[str, Any]:
    with few_images():
        return gpu.measure({'tiny': lambda: network}, CPU, (1, 3), repeats=2)


@contextmanager
def few_images() -> Iterator[None]:
    """The benchmark compares on 8 images and hardly warms up: half precision is slow on CPUs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu, 'parity_crops', lambda size: parity_crops(size)[:8])
        patch.setattr(gpu, 'WARM_UP', 1)
        yield


@pytest.mark.parametrize(('preset', 'changes'), [('rt', {}), ('paper', {}), ('rt', POSED)])
def test_the_official_structure_gives_the_same_outputs(
    small_network: Callable[..., DecoMR], preset: str, changes: dict[str, Any]
) -> None:
    ours = copy.deepcopy(small_network(preset, **changes))
    if ours.alignment is not None:  # random networks see nobody, who would be aligned to nothing
        torch.nn.init.constant_(ours.cnet.mask_head[-1].bias, 1.0)
    official = OfficialStructure(ours)
    crops = parity_crops(64, 8)
    with torch.inference_mode():
        seen = official(torch.from_numpy(crops))
    seen = {name: getattr(seen, name).numpy() for name in OUTPUT_NAMES}
    expected = gpu._runner(gpu.REFERENCE, ours, CPU, (8,))(crops)
    assert measure_parity(seen, expected).passes('f32')
    assert ours.lnet.projection is not official.network.lnet.projection, 'ours stays as it is'


def test_the_warp_image_by_image_is_the_warp_also_of_an_image_without_a_person() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(3, 5, 12, 12, generator=generator)
    iuv = torch.rand(3, 3, 12, 12, generator=generator)
    iuv[1, 0] = 0
    seen = warp_image_by_image(features, iuv, 8)
    assert torch.allclose(seen, warp_to_uv(features, iuv, 8), atol=1e-6)
    assert not seen[1].any() and seen[0].any()


def test_the_official_structure_requires_the_published_inputs(
    tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    other = DecoMR(small_config('rt', lnet_input='local'), tiny_body, tiny_uv_map)
    with pytest.raises(ValueError, match="lnet_input is 'local'"):
        OfficialStructure(other)


def test_every_variant_and_batch_size_is_measured(report: dict[str, Any]) -> None:
    rows = report['results']
    assert [(row['structure'], row['precision'], row['batch']) for row in rows] == [
        (structure, precision, batch)
        for structure, precision in (
            ('official', 'f32'),
            ('ours', 'f32'),
            ('ours', 'bf16'),
            ('ours', 'fp16'),
        )
        for batch in (1, 3)
    ]
    official = {row['batch']: row['median_ms'] for row in rows[:2]}
    for row in rows:
        assert 0 < row['median_ms'] <= row['p90_ms'] <= row['p99_ms']
        assert row['ratio_to_official'] == pytest.approx(
            official[row['batch']] / row['median_ms'], abs=0.01
        )
        assert row['memory_mib'] is None, 'a CPU has no GPU memory'
    assert [row['passes'] for row in rows[:4]] == [True] * 4
    assert 0 < rows[-1]['parity']['vertices_mean_mm'] < rows[-3]['parity']['vertices_mean_mm']
    assert report['hardware']['cpu'] and report['versions']['torch'] and report['date']
    assert 'without graphs' in report['device']['name']


def test_the_table_has_one_row_per_measurement(report: dict[str, Any]) -> None:
    lines = gpu.table(report).splitlines()
    assert len(lines) == 2 + 8 + 2
    assert len({line.count('|') for line in lines[:10]}) == 1
    assert '2 runs each' in lines[-1]


@pytest.mark.parametrize('case', [case for case in gpu.GPU_CASES if case.is_graph], ids=str)
def test_the_gpu_variants_run_on_a_fake_gpu(
    network: DecoMR, case: gpu.Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = PretendedQueue()
    monkeypatch.setattr(gpu, 'CudaQueue', lambda _: queue)
    crops = parity_crops(64, 6)
    run = gpu._runner(case, network, CPU, (1, 4))
    seen = gpu._all_outputs(run, crops, (1, 4))
    expected = gpu._all_outputs(gpu._runner(gpu.REFERENCE, network, CPU, (1, 4)), crops, (1, 4))
    assert (queue.recorded, queue.launched) == (3, 2)
    far = {'fp16': 8.0, 'bf16': 60.0}.get(case.precision, 1.0)
    # The median: with random weights a single vertex can be metres off after rounding, and how
    # half precision rounds depends on the CPU.
    assert measure_parity(seen, expected).vertices_median_mm < far
    assert all(np.isfinite(values).all() for values in seen.values())


def test_variants_that_a_gpu_does_not_support_are_skipped_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda _: (7, 5))
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda _: 'Old GPU')
    found = {case.precision for case in gpu._cases(torch.device('cuda', 0))}
    assert found == {'f32', 'fp16'}
    assert capsys.readouterr().err.count('left out: precision is') == 2


def test_without_a_gpu_the_command_ends_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert gpu.main(['--out', str(tmp_path / 'gpu.json')]) == 2
    told = capsys.readouterr().err
    assert told.startswith('benchmarks.gpu: ') and told.count('\n') == 1 and 'no GPU' in told
    assert not (tmp_path / 'gpu.json').exists()


def test_the_command_measures_a_file_and_writes_json(
    tmp_path: Path, trained: dict[str, str], capsys: pytest.CaptureFixture
) -> None:
    with few_images():
        assert (
            gpu.main(
                [
                    '--device',
                    'cpu',
                    '--out',
                    str(tmp_path / 'gpu.json'),
                    '--repeats',
                    '1',
                    '--batch',
                    '1',
                    '--weights',
                    trained['weights'],
                    '--body',
                    trained['body'],
                    '--uv',
                    trained['uv_map'],
                ]
            )
            == 0
        )
    written = json.loads((tmp_path / 'gpu.json').read_text())
    assert {row['network'] for row in written['results']} == {'tiny.safetensors'}
    assert '| `tiny.safetensors` | official | f32 |' in capsys.readouterr().out
