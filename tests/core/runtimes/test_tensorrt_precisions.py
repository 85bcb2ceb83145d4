"""Engines in half precision, and errors while an engine is built or loaded."""

from __future__ import annotations

import gc
import json
import logging
import shlex
import shutil
from types import SimpleNamespace

import pytest

from decomr_core.base.assets import file_hash
from decomr_core.cli import main
from decomr_core.estimation.loading import load_runtime
from decomr_core.measures.parity import LIMITS_MM
from decomr_core.runtimes.exported_model import ExportedModel
from decomr_core.runtimes.tensorrt.plan import PRECISIONS, plan_path
from tests.core.fake_tensorrt import ONNX_FILE, ONNX_HALF_FILE, FakeGpu


def key_of(model: ExportedModel) -> dict[str, object]:
    return json.loads(plan_path(model.folder).with_suffix('.json').read_text())


def is_built(model: ExportedModel) -> bool:
    path = plan_path(model.folder)
    return path.exists() or path.with_suffix('.json').exists()


@pytest.mark.parametrize(
    ('precision', 'content', 'cleared'),
    [('f32', ONNX_FILE, ['TF32']), ('tf32', ONNX_FILE, []), ('fp16', ONNX_HALF_FILE, ['TF32'])],
)
def test_each_precision_is_built_from_its_file_and_recorded_in_the_key(
    gpu: FakeGpu,
    half: ExportedModel,
    build: SimpleNamespace,
    precision: str,
    content: bytes,
    cleared: list[str],
) -> None:
    report = build.build_engine('w', precision=precision)
    (record,) = gpu.builds
    assert record.onnx == content
    assert record.cleared == cleared, 'what is float32 in the file stays float32, but in tf32'
    assert record.flags == 2, 'strongly typed'
    path = half.half_path if precision == 'fp16' else half.onnx_path
    key = key_of(half)
    assert (key['onnx_sha256'], key['precision']) == (file_hash(path), precision)
    assert report['precision'] == load_runtime('tensorrt', 'w').precision == precision


def test_every_precision_has_a_parity_limit(build: SimpleNamespace) -> None:
    assert tuple(build.GATE_OF) == PRECISIONS
    assert set(build.GATE_OF.values()) <= set(LIMITS_MM)


@pytest.mark.parametrize('passes', [True, False])
def test_an_engine_is_half_precision_by_default_where_the_export_passed_in_it(
    half: ExportedModel, build: SimpleNamespace, capsys: pytest.CaptureFixture, passes: bool
) -> None:
    half.info['passes_fp16'] = passes
    expected = 'fp16' if passes else 'f32'
    assert main(['export', '--tensorrt', '--weights', 'w', '--json']) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])['precision'] == expected
    assert load_runtime('tensorrt', 'w').precision == expected
    shutil.rmtree(plan_path(half.folder).parent)
    assert load_runtime('tensorrt', 'w', build_if_missing=True).precision == expected


@pytest.mark.parametrize(
    ('parity', 'seen'),
    [
        ({}, 'it could not be exported'),
        ({'onnxruntime fp16': {'vertices_mean_mm': 2.345}}, r'its vertices are 2\.35 mm off'),
    ],
)
def test_half_precision_is_rejected_where_the_export_did_not_pass_in_it(
    model: ExportedModel,
    build: SimpleNamespace,
    capsys: pytest.CaptureFixture,
    parity: dict,
    seen: str,
) -> None:
    model.info['parity'] = parity
    told = f'did not pass in fp16: {seen}; use f32 or tf32'
    for load in (
        lambda: load_runtime('tensorrt', 'w', precision='fp16', build_if_missing=True),
        lambda: build.build_engine('w', precision='fp16'),
    ):
        with pytest.raises(ValueError, match=told):
            load()
    assert main(['export', '--tensorrt', '--weights', 'w', '--precision', 'fp16']) == 2
    assert capsys.readouterr().err.count('\n') == 1
    assert not is_built(model)


def test_an_engine_in_another_precision_than_requested_is_rejected(
    half: ExportedModel, build: SimpleNamespace
) -> None:
    build.build_engine('w', precision='f32')
    with pytest.raises(ValueError, match='precision: built for f32, here fp16') as error:
        load_runtime('tensorrt', 'w', precision='fp16')
    command = str(error.value).partition('Build it again: ')[2]
    assert main(shlex.split(command)[1:]) == 0
    assert load_runtime('tensorrt', 'w', precision='fp16').precision == 'fp16'


def test_another_half_precision_file_invalidates_only_half_precision_engines(
    half: ExportedModel, build: SimpleNamespace
) -> None:
    for precision in ('f32', 'fp16'):
        half.half_path.write_bytes(ONNX_HALF_FILE)
        build.build_engine('w', precision=precision)
        half.half_path.write_bytes(b'<another network>')
        if precision == 'f32':
            load_runtime('tensorrt', 'w')
            continue
        with pytest.raises(ValueError, match=r'does not fit: network \(sha256 of the ONNX\)'):
            load_runtime('tensorrt', 'w')


def test_a_half_precision_engine_beyond_its_limit_is_removed_and_float32_advised(
    gpu: FakeGpu, half: ExportedModel, build: SimpleNamespace
) -> None:
    gpu.offset = 0.01
    with pytest.raises(
        RuntimeError,
        match='the limit in fp16 is 1.0 mm; nothing was kept. Build '
        r'it in float32 \(--precision f32\)',
    ):
        build.build_engine('w')
    assert not is_built(half)


@pytest.mark.parametrize('error', [KeyboardInterrupt(), RuntimeError('out of memory')])
def test_an_engine_that_could_not_be_measured_is_not_found_later(
    half: ExportedModel,
    build: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(build, '_gate', fail)
    with pytest.raises(type(error)) as raised:
        build.build_engine('w')
    assert raised.value is error
    assert not is_built(half)


@pytest.mark.parametrize(
    ('precision', 'name'), [('f32', 'model.onnx'), ('fp16', 'model_fp16.onnx')]
)
def test_a_damaged_network_is_reported_with_the_folder_to_delete(
    half: ExportedModel, build: SimpleNamespace, precision: str, name: str
) -> None:
    path = half.folder / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f'{name}: failed to parse.* delete .*recreated') as one:
        build.build_engine('w', precision=precision)
    assert str(half.folder) in str(one.value) and '\n' not in str(one.value)
    path.unlink()
    with pytest.raises(ValueError, match=f'{name} is missing.*delete this folder, it is recrea'):
        build.build_engine('w', precision=precision)
    assert not is_built(half)


@pytest.mark.parametrize(
    ('what', 'names', 'told'),
    [
        ('inputs', ['input'], 'the inputs of .* are input, expected images; delete'),
        (
            'outputs',
            ['iuv', 'mesh'],
            'the outputs of .* are iuv, mesh, expected camera, iuv, joints',
        ),
        ('outputs', [], 'the outputs of .* are none, expected'),
    ],
)
def test_a_network_with_other_names_is_rejected_before_the_build(
    gpu: FakeGpu,
    model: ExportedModel,
    build: SimpleNamespace,
    what: str,
    names: list[str],
    told: str,
) -> None:
    setattr(gpu, what, names)
    with pytest.raises(ValueError, match=told):
        build.build_engine('w')
    assert gpu.builds == []


def test_insufficient_page_locked_memory_is_reported_with_purpose_and_size(
    gpu: FakeGpu, build: SimpleNamespace
) -> None:
    build.build_engine('w')
    gpu.pinned_bytes = 100
    with pytest.raises(
        RuntimeError,
        match='no page-locked memory .*: the input of the network needs 1 MiB; .*--people',
    ):
        load_runtime('tensorrt', 'w')
    gc.collect()
    assert not gpu.device_memory and not gpu.pinned_memory


def test_outputs_beyond_memory_are_reported_with_needed_and_free_memory(
    gpu: FakeGpu, build: SimpleNamespace
) -> None:
    build.build_engine('w')
    gpu.total_bytes = gpu.scratch_bytes + 4 * 16 * 16 * 3 + 100
    with pytest.raises(
        RuntimeError, match='out of memory: the output iuv needs 1 MiB, 1 MiB of 4 MiB are free'
    ):
        load_runtime('tensorrt', 'w')
    gc.collect()
    assert not gpu.device_memory and not gpu.pinned_memory


def test_too_little_memory_for_a_context_is_reported_with_the_free_memory(
    gpu: FakeGpu, build: SimpleNamespace
) -> None:
    build.build_engine('w')
    gpu.context_error = 'Cuda Runtime (out of memory)'
    with pytest.raises(
        RuntimeError,
        match='context for a batch of 1 people .1021 MiB of 1024 MiB '
        r'are free\): Cuda Runtime \(out of',
    ):
        load_runtime('tensorrt', 'w')
    gc.collect()
    assert not gpu.device_memory and not gpu.pinned_memory


def test_the_log_names_the_built_precision(
    half: ExportedModel, build: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        build.build_engine('w')
    assert 'building the TensorRT engine for Pretended GPU in fp16' in caplog.text
