from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from decomr_core.estimation.loading import load_runtime
from decomr_core.export import export, onnx_graph
from decomr_core.measures import parity
from decomr_core.runtimes import Runtime
from decomr_core.runtimes.exported_model import EXPORT_VERSION, ExportedModel
from decomr_core.runtimes.openvino_runtime import convert_onnx

pytest.importorskip('openvino')
onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from decomr_core.runtimes import onnxruntime_runtime, openvino_runtime  # noqa: E402

pytestmark = pytest.mark.usefixtures('cache')


@pytest.fixture(scope='module')
def model(cpu_export: ExportedModel) -> ExportedModel:
    return cpu_export


@pytest.fixture
def own_model(
    model: ExportedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ExportedModel:
    """A copy in its own cache, which a test may damage."""
    monkeypatch.setenv('DECOMR_CACHE', str(tmp_path / 'cache'))
    folder = tmp_path / 'cache' / 'exports' / model.folder.name
    shutil.copytree(model.folder, folder, ignore=shutil.ignore_patterns('compiled'))
    return ExportedModel.load(folder)


def distance_mm(one: Runtime, other: Runtime, count: int = 4) -> float:
    crops = parity.parity_crops(one.crop_size, count)
    assert np.ptp(one.run(crops).vertices, axis=0).max() > 1e-3, 'each crop has its own mesh'
    return parity.vertex_error_mm(one.run(crops).vertices, other.run(crops).vertices)


# float32 in another order of additions: far below a tenth of a millimetre.
@pytest.mark.parametrize(
    ('name', 'options'), [('openvino', {'precision': 'f32'}), ('onnxruntime', {})]
)
def test_every_runtime_gives_the_outputs_of_pytorch(
    trained: dict[str, str], torch_runtime: Runtime, name: str, options: dict[str, str]
) -> None:
    runtime = load_runtime(name, **trained, **options)
    assert distance_mm(torch_runtime, runtime) < parity.LIMITS_MM['f32']
    crops = parity.parity_crops(64)
    expected, seen = torch_runtime.run(crops), runtime.run(crops)
    for field in dataclasses.fields(expected):
        one, other = getattr(expected, field.name), getattr(seen, field.name)
        assert one.shape == other.shape and other.dtype == np.float32
        assert np.abs(one - other).max() < 1e-3, field.name
    assert runtime.topology.hash == torch_runtime.topology.hash
    assert np.array_equal(runtime.topology.uv_map.uv, torch_runtime.topology.uv_map.uv)


@pytest.mark.parametrize('name', ['torch', 'openvino', 'onnxruntime'])
def test_a_batch_of_three_equals_three_singles(trained: dict[str, str], name: str) -> None:
    runtime = load_runtime(name, **trained)
    crops = parity.parity_crops(64, 3)
    together = runtime.run(crops).vertices
    single = np.concatenate([runtime.run(crop[None]).vertices for crop in crops])
    # PyTorch picks other kernels for other batch sizes, so the rounding differs.
    assert parity.vertex_error_mm(together, single) < parity.LIMITS_MM['f32']


def test_the_onnx_graph_takes_any_number_of_uint8_crops(model: ExportedModel) -> None:
    graph = onnx.load(model.onnx_path)
    (crops,) = graph.graph.input
    sizes = crops.type.tensor_type.shape.dim
    assert crops.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert sizes[0].dim_param and [size.dim_value for size in sizes[1:]] == [64, 64, 3]
    assert [output.name for output in graph.graph.output] == [
        'iuv',
        'vertices',
        'joints',
        'camera',
        'location_map',
    ]
    assert graph.opset_import[0].version == export.OPSET
    assert 'ScatterElements' in {node.op_type for node in graph.graph.node}
    onnx.checker.check_model(graph)


def test_starting_from_the_cache_needs_no_pytorch_and_sends_no_telemetry(
    trained: dict[str, str], model: ExportedModel, cache: Path
) -> None:
    code = (
        'import sys, numpy as np; from decomr_core.estimation.loading import load_runtime;'
        f'runtime = load_runtime("openvino", **{trained!r});'
        'runtime.run(np.zeros((1, 64, 64, 3), np.uint8));'
        'print([name for name in ("torch", "onnx", "smplx", "openvino_telemetry.main")'
        ' if name in sys.modules])'
    )
    done = subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        env={**os.environ, 'DECOMR_CACHE': str(cache), 'PYTHONPATH': os.pathsep.join(sys.path)},
    )
    assert done.stdout.strip() == '[]', done.stderr


@pytest.mark.parametrize('name', ['openvino', 'onnxruntime', 'torch'])
@pytest.mark.parametrize(
    ('option', 'wrong', 'error', 'said', 'said_by_torch'),
    [
        ('body', 'builtin', ValueError, 'trained for the body with hash', 'made for the body'),
        ('uv_map', 'makehuman', ValueError, 'trained for .--uv', 'made for the body'),
        ('uv_map', '/nowhere.npz', FileNotFoundError, 'no UV map at', 'no UV map at'),
    ],
)
def test_an_export_in_the_cache_is_rejected_for_another_body_or_uv_map(
    trained: dict[str, str],
    model: ExportedModel,
    name: str,
    option: str,
    wrong: str,
    error: type[Exception],
    said: str,
    said_by_torch: str,
) -> None:
    with pytest.raises(error, match=said_by_torch if name == 'torch' else said):
        load_runtime(name, **{**trained, option: wrong})


@pytest.mark.full_size
def test_a_second_process_keeps_the_export_of_the_first(
    trained: dict[str, str], model: ExportedModel, tmp_path: Path, small_gate: None
) -> None:
    folder = tmp_path / 'exports' / 'tiny'
    files = (trained['weights'], folder, trained['body'], trained['uv_map'])
    shutil.copytree(model.folder, folder)  # another process was quicker
    (folder / 'the first').touch()
    export.export_weights(*files)
    assert [path.name for path in folder.parent.iterdir()] == ['tiny']
    assert (folder / 'the first').exists()
    assert ExportedModel.load(folder).crop_size == 64


def test_an_export_that_differs_is_rejected_and_nothing_is_kept(
    trained: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_gate: None
) -> None:
    monkeypatch.setitem(parity.LIMITS_MM, 'f32', -1.0)
    with pytest.raises(RuntimeError, match='Use the torch runtime'):
        export.export_weights(
            trained['weights'], tmp_path / 'exports' / 'tiny', trained['body'], trained['uv_map']
        )
    assert list((tmp_path / 'exports').iterdir()) == []


def test_without_openvino_the_parity_check_uses_onnx_runtime_alone(
    trained: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_gate: None
) -> None:
    monkeypatch.setattr(export, 'available_runtimes', lambda: ['torch', 'onnxruntime'])
    files = (trained['weights'], tmp_path / 'tiny', trained['body'], trained['uv_map'])
    export.export_weights(*files)
    exported = ExportedModel.load(tmp_path / 'tiny')
    assert list(exported.info['parity']) == ['onnxruntime f32']
    assert not exported.info['passes_bf16'] and not exported.openvino_path.exists()


@pytest.mark.parametrize('target', ['cpu', 'tensorrt'])
def test_without_a_runtime_for_the_parity_check_nothing_is_exported(
    trained: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_gate: None,
    target: str,
) -> None:
    monkeypatch.setattr(export, 'available_runtimes', lambda: ['torch'])
    with pytest.raises(RuntimeError, match='no engine .*nothing was kept: pip install onnxrunt'):
        export.export_weights(
            trained['weights'],
            tmp_path / 'exports' / 'tiny',
            trained['body'],
            trained['uv_map'],
            target,
        )
    assert list((tmp_path / 'exports').iterdir()) == []


@pytest.mark.parametrize('engine', ['openvino f32', 'onnxruntime f32'])
def test_each_runtime_alone_can_reject_an_export(
    trained: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_gate: None,
    engine: str,
) -> None:
    module, name = {
        'openvino f32': (openvino_runtime, 'run_model'),
        'onnxruntime f32': (onnxruntime_runtime, 'run_onnx'),
    }[engine]
    run = getattr(module, name)

    def move(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {**outputs, 'vertices': outputs['vertices'] + np.float32(1e-4)}

    def wrong(*inputs: Any) -> Any:
        made = run(*inputs)
        if name == 'run_onnx':
            return move(made)
        return {precision: (move(outputs), ms) for precision, (outputs, ms) in made.items()}

    monkeypatch.setattr(module, name, wrong)
    with pytest.raises(RuntimeError, match=f'in {engine} is 0.173 mm off PyTorch, the limit is'):
        export.export_weights(
            trained['weights'], tmp_path / 'exports' / 'tiny', trained['body'], trained['uv_map']
        )
    assert list((tmp_path / 'exports').iterdir()) == []


def test_the_export_describes_itself(model: ExportedModel) -> None:
    info = json.loads((model.folder / 'info.json').read_text())
    assert info['crop_size'] == 64 and info['config']['uv_resolution'] == 16
    assert {'openvino f32', 'onnxruntime f32'} <= set(info['parity'])
    for engine in ('openvino f32', 'onnxruntime f32'):
        measured = info['parity'][engine]
        assert 0 < measured['vertices_mean_mm'] <= parity.LIMITS_MM['f32']
        assert measured['vertices_mean_mm'] < measured['vertices_max_mm']
        assert 0 < measured['joints_mean_mm'] <= parity.LIMITS_MM['f32']
        assert 0.999 < measured['foreground_iou'] <= 1
    notes = onnx_graph.read_notes(model.onnx_path)
    assert json.loads(notes['parity']) == info['parity']
    for name in ('weights_hash', 'body_hash', 'uv_hash'):
        assert notes[name] == info[name] and len(info[name]) == 64
    assert int(notes['export_version']) == info['export_version'] == EXPORT_VERSION


TOLD = r'is damaged .*delete this folder, it is recreated at the next start$'


def one_error(*loading: Any, **files: str) -> str:
    """The text of the ValueError of loading a runtime: one line, with the remedy."""
    with pytest.raises(ValueError, match=TOLD) as raised:
        load_runtime(*loading, **files)
    assert '\n' not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize('share', [0.0, 0.5])
@pytest.mark.parametrize(
    ('runtime', 'name'),
    [
        ('openvino', 'info.json'),
        ('openvino', 'topology.npz'),
        ('openvino', 'model.xml'),
        ('openvino', 'model.bin'),
        ('onnxruntime', 'info.json'),
        ('onnxruntime', 'model.onnx'),
    ],
)
def test_a_truncated_export_is_reported_with_the_folder_to_delete(
    trained: dict[str, str], own_model: ExportedModel, runtime: str, name: str, share: float
) -> None:
    content = (own_model.folder / name).read_bytes()
    (own_model.folder / name).write_bytes(content[: int(len(content) * share)])
    assert str(own_model.folder) in one_error(runtime, **trained)


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        ('[1, 2]', 'info.json holds a list, expected an object'),
        ('{"crop_size": 64}', 'info.json lacks config, body_name, body_hash'),
        ('{"crop_size": "large"}', 'info.json lacks crop_size'),
    ],
)
@pytest.mark.parametrize('runtime', ['openvino', 'onnxruntime'])
def test_an_info_file_of_another_format_is_reported(
    trained: dict[str, str], own_model: ExportedModel, runtime: str, content: str, said: str
) -> None:
    (own_model.folder / 'info.json').write_text(content)
    assert said in one_error(runtime, **trained)


@pytest.mark.parametrize(
    ('field', 'said'),
    [
        ('input', 'its inputs are other, expected images'),
        ('output', 'its outputs are camera, iuv, joints, location_map, other, expected camera'),
    ],
)
@pytest.mark.parametrize('runtime', ['openvino', 'onnxruntime'])
def test_a_graph_of_another_network_is_reported(
    trained: dict[str, str], own_model: ExportedModel, runtime: str, field: str, said: str
) -> None:
    graph = onnx.load(own_model.onnx_path)
    (old,) = (
        value.name for value in getattr(graph.graph, field) if value.name in ('images', 'vertices')
    )
    for value in getattr(graph.graph, field):
        value.name = 'other' if value.name == old else value.name
    for node in graph.graph.node:
        for names in (node.input, node.output):
            names[:] = ['other' if name == old else name for name in names]
    onnx.save(graph, own_model.onnx_path)
    if runtime == 'openvino':
        convert_onnx(own_model.onnx_path, own_model.openvino_path)
    assert said in one_error(runtime, **trained)


def test_insufficient_disk_space_is_reported_before_anything_is_written(
    trained: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: usage._replace(free=1 << 20))
    with pytest.raises(
        RuntimeError,
        match=r'no disk space .*exports \(1 MB are free, \d+ MB are '
        r'needed\); nothing was kept. Free some space, or '
        '.*DECOMR_CACHE',
    ):
        export.export_weights(
            trained['weights'], tmp_path / 'exports' / 'tiny', trained['body'], trained['uv_map']
        )
    assert list((tmp_path / 'exports').iterdir()) == []


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """A file size limit ends a write like a full disk, with another errno."""
    resource = pytest.importorskip('resource')
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.skipif(not hasattr(signal, 'SIGXFSZ'), reason='needs limits on the size of files')
def test_a_disk_that_fills_up_during_the_export_is_reported_and_nothing_is_kept(
    trained: dict[str, str], tmp_path: Path
) -> None:
    with no_file_larger_than(300_000), pytest.raises(RuntimeError) as raised:
        export.export_weights(
            trained['weights'], tmp_path / 'exports' / 'tiny', trained['body'], trained['uv_map']
        )
    assert str(raised.value).startswith('no disk space for the exported network in')
    assert list((tmp_path / 'exports').iterdir()) == []


def test_a_missing_runtime_is_named_with_the_installed_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, 'find_spec', lambda name: None if name == 'openvino' else real(name)
    )
    with pytest.raises(RuntimeError, match=r'pip install openvino\); available: torch'):
        load_runtime('openvino')


def test_an_option_unknown_to_a_runtime_is_reported_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match='openvino has no option provider; it has: precision, '):
        load_runtime('openvino', provider='cuda')


def test_crops_of_another_size_type_or_number_are_rejected(torch_runtime: Runtime) -> None:
    for images, words in (
        (np.zeros((1, 32, 32, 3), np.uint8), r'expected \(any, 64, 64, 3\)'),
        (np.zeros((1, 64, 64, 3)), 'float64, expected uint8'),
        (np.zeros((0, 64, 64, 3), np.uint8), 'empty batch'),
    ):
        with pytest.raises(ValueError, match=words):
            torch_runtime.run(images)


def test_an_unknown_precision_is_rejected(
    trained: dict[str, str], model: ExportedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="precision is 'int4', expected one of: auto, f32"):
        load_runtime('openvino', **trained, precision='int4')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(RuntimeError, match="device is 'cuda'"):
        load_runtime('torch', **trained, device='cuda')
