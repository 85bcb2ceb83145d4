"""The TensorRT runtime on a fake GPU; the names that it uses are checked elsewhere."""

from __future__ import annotations

import dataclasses
import gc
import json
import logging
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from decomr_core.base.structures import NetworkOutput
from decomr_core.cli import main
from decomr_core.estimation.loading import load_runtime
from decomr_core.runtimes.exported_model import ExportedModel
from decomr_core.runtimes.tensorrt.plan import NAMES, PlanKey, plan_path
from tests.core.fake_tensorrt import CROP_SIZE, FakeGpu, network_outputs


def crops(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(
        0, 256, (count, CROP_SIZE, CROP_SIZE, 3), dtype=np.uint8
    )


def assert_right(output: NetworkOutput, images: np.ndarray) -> None:
    for name, expected in network_outputs(images).items():
        np.testing.assert_array_equal(getattr(output, name), expected)


@pytest.mark.parametrize(
    ('count', 'sizes'),
    [(1, [1]), (2, [2]), (3, [4]), (5, [6]), (6, [6]), (8, [6, 2]), (13, [6, 6, 1])],
)
def test_a_batch_is_padded_and_one_beyond_the_profile_runs_in_parts(
    gpu: FakeGpu, build: SimpleNamespace, count: int, sizes: list[int]
) -> None:
    build.build_engine('w', max_people=6)
    runtime = load_runtime('tensorrt', 'w')
    gpu.runs.clear()
    gpu.launches = 0
    output = runtime.run(crops(count))
    assert gpu.runs == sizes
    assert gpu.launches == len(sizes), 'each batch is one launch of a graph'
    assert_right(output, crops(count))


def test_returned_outputs_are_not_overwritten_by_the_next_images(build: SimpleNamespace) -> None:
    build.build_engine('w')
    runtime = load_runtime('tensorrt', 'w')
    first = runtime.run(crops(2)[:1])
    runtime.run(crops(2)[1:])
    assert_right(first, crops(2)[:1])


def test_a_network_that_cannot_be_captured_runs_step_by_step_with_a_warning(
    gpu: FakeGpu, build: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    gpu.can_capture = False
    with caplog.at_level(logging.WARNING):
        build.build_engine('w')
        runtime = load_runtime('tensorrt', 'w')
    assert 'no CUDA graph for 4 people' in caplog.text
    assert_right(runtime.run(crops(3)), crops(3))
    assert gpu.launches == 0


def test_all_memory_is_freed_with_the_runtime(gpu: FakeGpu, build: SimpleNamespace) -> None:
    build.build_engine('w', max_people=8)
    runtime = load_runtime('tensorrt', 'w')
    assert gpu.device_memory and gpu.pinned_memory
    assert gpu.alive == {'stream': 1, 'graph': 0, 'graph_exec': 4}
    del runtime
    gc.collect()
    assert not gpu.device_memory and not gpu.pinned_memory
    assert set(gpu.alive.values()) == {0}


def test_without_an_engine_the_error_names_the_command_that_builds_it(
    model: ExportedModel,
) -> None:
    with pytest.raises(FileNotFoundError, match='no TensorRT engine') as error:
        load_runtime('tensorrt', 'my weights.safetensors', max_people=3, body='b.npz')
    command = str(error.value).partition('(some minutes): ')[2]
    assert shlex.split(command)[:3] == ['decomr', 'export', '--tensorrt']
    assert main(shlex.split(command)[1:]) == 0
    runtime = load_runtime('tensorrt', 'my weights.safetensors', max_people=3, body='b.npz')
    assert (runtime.max_people, runtime.precision) == (3, 'f32')


@pytest.mark.parametrize(
    ('field', 'other'),
    [
        ('onnx_sha256', '0' * 64),
        ('tensorrt', '10.16.1.11'),
        ('compute_capability', '9.0'),
        ('gpu', 'Another GPU'),
        ('crop_size', 32),
        ('max_people', 2),
        ('precision', 'tf32'),
        ('build_version', 0),
    ],
)
def test_an_engine_with_another_key_is_rejected_with_the_differences(
    model: ExportedModel, build: SimpleNamespace, field: str, other: object
) -> None:
    build.build_engine('w')
    key_path = plan_path(model.folder).with_suffix('.json')
    key = json.loads(key_path.read_text())
    here, key[field] = key[field], other
    key_path.write_text(json.dumps(key))
    with pytest.raises(ValueError, match='does not fit') as error:
        load_runtime('tensorrt', 'w', max_people=4, precision='f32')
    assert f'{NAMES[field]}: built for {other}, here {here}' in str(error.value)
    assert str(error.value).count('built for') == 1
    command = str(error.value).partition('Build it again: ')[2]
    assert main(shlex.split(command)[1:]) == 0
    load_runtime('tensorrt', 'w', max_people=4, precision='f32')


def test_every_field_of_the_key_has_a_name_for_the_error() -> None:
    assert set(NAMES) == {field.name for field in dataclasses.fields(PlanKey)}


def test_people_and_precision_default_to_those_of_the_engine(build: SimpleNamespace) -> None:
    build.build_engine('w', max_people=7, precision='tf32')
    runtime = load_runtime('tensorrt', 'w')
    assert (runtime.max_people, runtime.precision) == (7, 'tf32')


@pytest.mark.parametrize('damage', [lambda plan: plan[:9], lambda plan: b'', lambda plan: b'x'])
def test_a_damaged_engine_is_an_error_with_the_command(
    model: ExportedModel, build: SimpleNamespace, damage: object
) -> None:
    build.build_engine('w')
    path = plan_path(model.folder)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match='damaged.*Build it again: decomr export --tensorrt'):
        load_runtime('tensorrt', 'w')


def test_a_damaged_or_missing_key_is_an_error_with_the_command(
    model: ExportedModel, build: SimpleNamespace
) -> None:
    build.build_engine('w')
    key_path = plan_path(model.folder).with_suffix('.json')
    key_path.write_text('{"gpu": 1}')
    with pytest.raises(ValueError, match='damaged.*decomr export --tensorrt'):
        load_runtime('tensorrt', 'w')
    key_path.unlink()
    with pytest.raises(FileNotFoundError, match='decomr export --tensorrt'):
        load_runtime('tensorrt', 'w')


def test_an_engine_of_another_network_is_rejected(
    model: ExportedModel, build: SimpleNamespace
) -> None:
    build.build_engine('w')
    path = plan_path(model.folder)
    path.write_bytes(path.read_bytes().replace(b'"camera"', b'"lens"'))
    with pytest.raises(ValueError, match='lens.*expected images, iuv'):
        load_runtime('tensorrt', 'w')


def test_an_engine_whose_outputs_are_not_float32_is_rejected(
    model: ExportedModel, build: SimpleNamespace
) -> None:
    build.build_engine('w')
    path = plan_path(model.folder)
    path.write_bytes(path.read_bytes().replace(b'{', b'{"output_type": "HALF", '))
    with pytest.raises(ValueError, match='outputs iuv, .* are not float32. Build it again'):
        load_runtime('tensorrt', 'w')


def test_too_little_memory_is_reported_with_needed_and_free_memory(
    gpu: FakeGpu, build: SimpleNamespace
) -> None:
    build.build_engine('w')
    gpu.total_bytes, gpu.scratch_bytes = 5 * 2**20, 40 * 2**20
    with pytest.raises(RuntimeError) as error:
        load_runtime('tensorrt', 'w')
    assert 'a batch of 4 people needs 40 MiB, 5 MiB of 5 MiB are free' in str(error.value)
    assert '--people' in str(error.value)
    del error  # holds the frames that hold the memory
    gc.collect()
    assert not gpu.device_memory, 'what was allocated before is given back'


def test_weights_that_do_not_fit_into_memory_are_not_called_damaged(
    gpu: FakeGpu, build: SimpleNamespace
) -> None:
    build.build_engine('w')
    gpu.load_error = 'Cuda Runtime (out of memory)'
    with pytest.raises(
        RuntimeError,
        match='MiB of GPU memory for its weights, 1024 MiB of 1024 MiB are free.*out of memory',
    ):
        load_runtime('tensorrt', 'w')


def test_without_a_gpu_the_error_names_the_runtime_for_a_cpu(
    gpu: FakeGpu, model: ExportedModel
) -> None:
    gpu.devices = 0
    with pytest.raises(RuntimeError, match='needs an NVIDIA GPU.*cudaErrorNoDevice.*openvino'):
        load_runtime('tensorrt', 'w')
    gpu.driver_error = 'Failed to dlopen libcuda.so.1'
    with pytest.raises(RuntimeError, match='needs an NVIDIA GPU.*dlopen libcuda.*openvino'):
        load_runtime('tensorrt', 'w')


def test_a_missing_gpu_is_rejected(model: ExportedModel) -> None:
    with pytest.raises(ValueError, match='GPU 1 was requested, but CUDA finds 1'):
        load_runtime('tensorrt', 'w', device=1)


def test_cpu_threads_and_unknown_precisions_are_rejected(model: ExportedModel) -> None:
    with pytest.raises(ValueError, match='num_threads is 2'):
        load_runtime('tensorrt', 'w', num_threads=2)
    with pytest.raises(ValueError, match="'f16', expected one of: f32, tf32, fp16"):
        load_runtime('tensorrt', 'w', precision='f16')


@pytest.mark.parametrize('is_there', [False, True])
def test_build_if_missing_builds_an_engine_that_fits(
    gpu: FakeGpu, build: SimpleNamespace, is_there: bool
) -> None:
    if is_there:
        build.build_engine('w', max_people=1)
    runtime = load_runtime('tensorrt', 'w', max_people=2, build_if_missing=True)
    assert runtime.max_people == 2
    assert len(gpu.builds) == 1 + is_there
    load_runtime('tensorrt', 'w', max_people=2, build_if_missing=True)
    assert len(gpu.builds) == 1 + is_there, 'once'


@pytest.mark.parametrize(('precision', 'cleared'), [('f32', ['TF32']), ('tf32', [])])
def test_the_build_is_strongly_typed_with_one_profile(
    gpu: FakeGpu,
    build: SimpleNamespace,
    precision: str,
    cleared: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        build.build_engine('w', max_people=5, precision=precision)
    (record,) = gpu.builds
    assert record.flags == 2  # 1 << STRONGLY_TYPED
    assert record.cleared == cleared
    assert record.pools == {'WORKSPACE': 2**30}
    size = (CROP_SIZE, CROP_SIZE, 3)
    assert record.profiles == [('images', (1, *size), (5, *size), (5, *size))]
    assert 'Building: done in' in caplog.text


def test_strong_typing_is_omitted_where_unsupported(
    gpu: FakeGpu, build: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = SimpleNamespace(__members__={})
    monkeypatch.setattr(sys.modules['tensorrt'], 'NetworkDefinitionCreationFlag', flags)
    build.build_engine('w')
    assert gpu.builds[0].flags == 0


def test_the_timing_cache_is_reused_and_a_damaged_one_is_replaced(
    gpu: FakeGpu, build: SimpleNamespace, tmp_path: Path
) -> None:
    build.build_engine('w')
    (path,) = (tmp_path / 'cache' / 'tensorrt').iterdir()
    assert path.name == 'timing-10.3.0-8.7.cache'
    assert path.read_bytes() == b'measured'
    build.build_engine('w')
    path.write_bytes(b'rubbish')
    build.build_engine('w')
    assert [record.timing for record in gpu.builds] == [b'', b'measured', b'']
    assert path.read_bytes() == b'measured'


def test_all_parser_errors_are_in_one_message(
    gpu: FakeGpu, build: SimpleNamespace, model: ExportedModel
) -> None:
    gpu.parser_errors = [('ScatterND', 'node_7', 'no reduction'), ('', '', 'no plug-in')]
    with pytest.raises(
        ValueError,
        match=r'ScatterND node_7: no reduction; no plug-in. If the '
        'file is damaged, delete',
    ):
        build.build_engine('w')
    assert not plan_path(model.folder).exists()


def test_a_failed_build_reports_the_reason_and_keeps_the_old_engine(
    gpu: FakeGpu, build: SimpleNamespace, capsys: pytest.CaptureFixture
) -> None:
    build.build_engine('w')
    gpu.build_error = 'could not find any implementation'
    assert main(['export', '--tensorrt', '--weights', 'w', '--people', '9']) == 2
    told = capsys.readouterr().err
    assert told.count('\n') == 1 and 'could not find any implementation' in told
    assert load_runtime('tensorrt', 'w').max_people == 4


def test_an_engine_with_wrong_outputs_is_removed(
    gpu: FakeGpu, build: SimpleNamespace, model: ExportedModel
) -> None:
    gpu.offset = 0.01
    with pytest.raises(RuntimeError, match='mm in the mean, the limit in f32 is 0.05 mm'):
        build.build_engine('w')
    assert list(plan_path(model.folder).parent.iterdir()) == []


def test_the_command_reports_the_built_engine(
    model: ExportedModel, capsys: pytest.CaptureFixture
) -> None:
    assert main(['export', '--tensorrt', '--weights', 'w', '--people', '2', '--json']) == 0
    *text, report = capsys.readouterr().out.splitlines()
    assert 'TensorRT 10.3.0 engine for Pretended GPU, up to 2 people at once, f32' in text[0]
    assert text[1] == 'vertex error against PyTorch in the median image: 0.0000 mm'
    assert json.loads(report)['vertices_median_mm'] == 0
    assert json.loads(report)['size_bytes'] == plan_path(model.folder).stat().st_size


def test_options_of_the_engine_are_rejected_for_other_exports(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(['export', '--out', str(tmp_path / 'new'), '--people', '2']) == 2
    assert 'give --tensorrt, not --out' in capsys.readouterr().err
