"""ONNX Runtime's providers are chosen by name and never replaced silently.

A fake build offers those of a GPU; the computation runs on the CPU.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from decomr_core.cli import main
from decomr_core.estimation.loading import load_runtime
from decomr_core.export.cached_exports import exported_model
from decomr_core.measures import parity
from decomr_core.runtimes import Runtime
from decomr_core.runtimes.exported_model import ExportedModel

pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')

from decomr_core.runtimes import onnxruntime_runtime  # noqa: E402
from decomr_core.runtimes.onnxruntime_runtime import PROVIDERS  # noqa: E402

pytestmark = pytest.mark.usefixtures('cache', 'cpu_export', 'tensorrt_export')

RealSession = onnxruntime.InferenceSession


class PretendedBuild:
    """ONNX Runtime as if it had providers for a GPU."""

    def __init__(self) -> None:
        self.available = [PROVIDERS[name] for name in ('tensorrt', 'cuda', 'cpu')]
        self.broken: set[str] = set()
        self.error: Exception | None = None
        self.run_error: Exception | None = None
        self.paths: list[str] = []
        self.settings: list[list[tuple[str, dict]]] = []
        self.batches: list[int] = []

    def session(
        self, path: str, options: Any, providers: Sequence[tuple[str, dict]], **more: Any
    ) -> Any:
        self.paths.append(Path(path).name)
        self.settings.append(list(providers))
        assert not more.get('enable_fallback', 1), 'or it would go on with the CPU by itself'
        if self.error is not None:
            raise self.error
        build = self

        class Session(RealSession):
            def get_providers(self) -> list[str]:
                names = [name for name, _ in providers if name not in build.broken]
                return [*names, *({PROVIDERS['cpu']} - set(names))]

            def run(self, names: Any, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
                build.batches.append(len(inputs['images']))
                if build.run_error is not None:
                    raise build.run_error
                return super().run(names, inputs)

        return Session(path, options, providers=[PROVIDERS['cpu']])


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> PretendedBuild:
    pretended = PretendedBuild()
    monkeypatch.setattr(onnxruntime, 'get_available_providers', lambda: pretended.available)
    monkeypatch.setattr(onnxruntime, 'InferenceSession', pretended.session)
    return pretended


@pytest.fixture(scope='module')
def on_cpu(trained: dict[str, str], cache: Path, cpu_export: ExportedModel) -> Runtime:
    return load_runtime('onnxruntime', **trained)


def test_a_provider_that_the_build_lacks_is_an_error_with_what_it_has_and_the_remedy(
    trained: dict[str, str], build: PretendedBuild
) -> None:
    build.available = ['AzureExecutionProvider', PROVIDERS['cpu']]
    with pytest.raises(
        RuntimeError, match='has only: AzureExecutionProvider, cpu; .*pip install onnxruntime-gpu'
    ):
        load_runtime('onnxruntime', **trained, provider='cuda')
    assert build.paths == [], 'nothing was loaded instead'


@pytest.mark.parametrize('provider', ['cuda', 'tensorrt'])
def test_a_provider_whose_libraries_do_not_load_is_an_error(
    trained: dict[str, str], build: PretendedBuild, provider: str
) -> None:
    build.broken = {PROVIDERS[provider]}
    with pytest.raises(
        RuntimeError,
        match=f'provider {provider} does not work .*libraries do not '
        "load.*cpu.* use provider='cpu'",
    ):
        load_runtime('onnxruntime', **trained, provider=provider)


def test_a_gpu_error_is_one_line_and_not_reported_as_damage(
    trained: dict[str, str], build: PretendedBuild
) -> None:
    build.error = RuntimeError('CUDA failure 35:\n driver version is insufficient')
    with pytest.raises(RuntimeError, match='CUDA failure 35: driver version .*nvidia-smi'):
        load_runtime('onnxruntime', **trained, provider='cuda')


@pytest.mark.parametrize('has_bindings', [False, True])
def test_a_gpu_out_of_memory_reports_needed_and_free_memory_at_load(
    trained: dict[str, str],
    build: PretendedBuild,
    monkeypatch: pytest.MonkeyPatch,
    has_bindings: bool,
) -> None:
    asked = []
    cuda = SimpleNamespace(
        use_gpu=asked.append, free_memory_text=lambda: '5 MiB of 40 MiB are free'
    )
    monkeypatch.setitem(
        sys.modules, 'decomr_core.runtimes.cuda_device', cuda if has_bindings else None
    )
    build.run_error = RuntimeError('Failed to allocate memory for requested buffer of size 4096')
    with pytest.raises(RuntimeError, match='buffer of size 4096; the network') as error:
        load_runtime('onnxruntime', **trained, provider='cuda', device=2)
    size = exported_model(**trained, target='tensorrt').onnx_path.stat().st_size
    free = '5 MiB of 40 MiB are free' if has_bindings else 'nvidia-smi shows how much is free'
    assert (
        f'needs {-(-size // 2**20)} MiB for its weights and more for people, {free}. End other'
        in str(error.value)
    )
    assert 'max_people' in str(error.value)
    assert asked == [2] * has_bindings


def test_a_damaged_file_is_reported_on_a_gpu_as_well(
    trained: dict[str, str], build: PretendedBuild, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / 'model.onnx'
    path.write_bytes(b'\xff' * 40)
    monkeypatch.setattr(onnxruntime_runtime, '_model_path', lambda *_: path)
    with pytest.raises(ValueError, match='is damaged'):
        load_runtime('onnxruntime', **trained, provider='cuda')


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        ({'provider': 'gpu'}, "provider is 'gpu', expected one of: cpu, cuda, tensorrt"),
        ({'precision': 'fp16'}, "precision is 'fp16', but the provider cpu has: auto, f32"),
        ({'provider': 'tensorrt', 'precision': 'f32'}, 'the provider tensorrt has: auto, tf32'),
        ({'device': 1}, "the provider is cpu; use provider='cuda'"),
        ({'provider': 'cuda', 'max_people': 0}, 'max_people is 0, expected 1 or more'),
    ],
)
def test_options_that_do_not_exist_are_rejected(
    trained: dict[str, str], build: PretendedBuild, options: dict, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        load_runtime('onnxruntime', **trained, **options)


@pytest.mark.parametrize(
    ('precision', 'chosen', 'tf32', 'file'),
    [
        ('auto', 'f32', 0, 'model.onnx'),
        ('f32', 'f32', 0, 'model.onnx'),
        ('tf32', 'tf32', 1, 'model.onnx'),
        ('fp16', 'fp16', 0, 'model_fp16.onnx'),
    ],
)
def test_cuda_runs_the_export_for_tensorrt_in_the_requested_precision(
    trained: dict[str, str],
    build: PretendedBuild,
    on_cpu: Runtime,
    precision: str,
    chosen: str,
    tf32: int,
    file: str,
) -> None:
    runtime = load_runtime(
        'onnxruntime', **trained, provider='cuda', precision=precision, device=1
    )
    assert (runtime.precision, runtime.provider) == (chosen, 'cuda')
    assert build.paths == [file]
    assert build.settings == [[(PROVIDERS['cuda'], {'device_id': 1, 'use_tf32': tf32})]]
    crops = parity.parity_crops(64)
    error = parity.vertex_error_mm(runtime.run(crops).vertices, on_cpu.run(crops).vertices)
    measured = exported_model(**trained, target='tensorrt').info['parity']
    expected = measured['onnxruntime fp16' if precision == 'fp16' else 'onnxruntime f32']
    assert error == pytest.approx(expected['vertices_median_mm'], rel=0.05, abs=1e-2)
    assert (error > 0.05) == (precision == 'fp16')


def test_half_precision_that_failed_its_check_is_rejected(
    trained: dict[str, str], build: PretendedBuild
) -> None:
    model = exported_model(**trained, target='tensorrt')
    model.info['passes_fp16'] = False
    with pytest.raises(ValueError, match='exceeded the limit.*info.json.*use f32 or tf32'):
        onnxruntime_runtime._model_path(model, 'fp16')


def test_tensorrt_gets_one_profile_and_a_cache_and_cuda_for_the_rest(
    trained: dict[str, str], build: PretendedBuild
) -> None:
    runtime = load_runtime('onnxruntime', **trained, provider='tensorrt', max_people=6)
    assert runtime.precision == 'tf32', 'what it cannot switch off it does not call f32'
    ((tensorrt, cuda),) = build.settings
    assert [tensorrt[0], cuda[0]] == [PROVIDERS['tensorrt'], PROVIDERS['cuda']]
    assert tensorrt[1]['trt_profile_min_shapes'] == 'images:1x64x64x3'
    assert tensorrt[1]['trt_profile_max_shapes'] == 'images:6x64x64x3'
    assert Path(tensorrt[1]['trt_engine_cache_path']).is_dir()


def test_on_a_gpu_batches_are_filled_up_to_sizes_that_ran_at_start_up(
    trained: dict[str, str], build: PretendedBuild, on_cpu: Runtime
) -> None:
    runtime = load_runtime('onnxruntime', **trained, provider='cuda', max_people=4)
    assert build.batches == [4, 2, 1]
    build.batches.clear()
    crops = parity.parity_crops(64, 7)
    together, single = runtime.run(crops), on_cpu.run(crops)
    assert build.batches == [4, 4]
    assert len(together.vertices) == 7
    assert parity.vertex_error_mm(together.vertices, single.vertices) < parity.LIMITS_MM['f32']


def test_on_a_cpu_a_crowd_runs_in_batches_without_padding(
    trained: dict[str, str], build: PretendedBuild
) -> None:
    runtime = load_runtime('onnxruntime', **trained)
    crops = parity.parity_crops(64, 11)
    together = runtime.run(crops).vertices
    assert build.batches == [8, 3]
    single = np.concatenate([runtime.run(crop[None]).vertices for crop in crops])
    assert parity.vertex_error_mm(together, single) < parity.LIMITS_MM['f32']


def test_a_missing_provider_is_a_one_line_error_of_the_command(
    trained: dict[str, str], build: PretendedBuild, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    build.available = [PROVIDERS['cpu']]
    assert (
        main(
            [
                'bench',
                '--runtime',
                'onnxruntime',
                '--provider',
                'tensorrt',
                '--weights',
                trained['weights'],
            ]
        )
        == 2
    )
    told = capsys.readouterr().err
    assert told.count('\n') == 1 and 'pip install onnxruntime-gpu' in told
