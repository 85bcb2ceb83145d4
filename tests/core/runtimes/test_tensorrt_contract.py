"""The used interface of TensorRT and CUDA against NVIDIA's bindings, oldest and newest.

The bindings load without a GPU and without TensorRT's libraries if something else defines what
they link to. They then cannot build or run anything; but every class, method, argument and enum
member is there, as in the real thing.
"""

from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from decomr_core.runtimes.tensorrt.plan import PRECISIONS
from tests.core.fake_tensorrt import FakeGpu
from tests.core.tensorrt_contract import Checker
from tests.test_import_rule import ROOT

MAJORS = (10, 11)
BINDINGS = ROOT / '.venv' / 'tensorrt-bindings'
LIBRARIES = ('nvinfer', 'nvinfer_plugin', 'nvonnxparser')
SYMBOLS = (
    'getInferLibVersion',
    'getNvOnnxParserVersion',
    'createInferBuilder_INTERNAL',
    'createInferRefitter_INTERNAL',
    'createInferRuntime_INTERNAL',
    'createNvOnnxParser_INTERNAL',
    'createNvOnnxParserRefitter_INTERNAL',
    'getBuilderPluginRegistry',
    'getPluginRegistry',
)
FILES = {
    'tensorrt': ('tensorrt/bindings.py', 'tensorrt/building.py', 'tensorrt/engine.py'),
    'cudart': ('cuda_device.py',),
}
# A few that must be among what was checked: else the check has lost its way.
ESSENTIAL = {
    'tensorrt': {
        'Builder.build_serialized_network',
        'OnnxParser.parse_from_file',
        'ParserError.desc',
        'BuilderFlag.TF32',
        'IOptimizationProfile.set_shape',
        'ITimingCache.serialize',
        'IBuilderConfig.progress_monitor',
        'Runtime.deserialize_cuda_engine',
        'ICudaEngine.device_memory_size_v2',
        'ICudaEngine.create_execution_context',
        'DataType.FLOAT',
        'IExecutionContext.get_tensor_shape',
        'IExecutionContext.set_input_shape',
        'IExecutionContext.set_tensor_address',
        'IExecutionContext.execute_async_v3',
        'INetworkDefinition.num_outputs',
        'INetworkDefinition.get_input',
        'ITensor.name',
        'ILogger.log',
        'ILogger.Severity.VERBOSE',
        'IProgressMonitor.step_complete',
    },
    'cudart': {
        'cudaMalloc',
        'cudaMemcpyAsync',
        'cudaGraphInstantiate',
        'cudaDeviceProp.major',
        'cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal',
        'cudaError_t.cudaErrorMemoryAllocation',
    },
}


@pytest.fixture(scope='module', params=MAJORS)
def environment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Environment variables under which NVIDIA's bindings of one major version load."""
    folder = BINDINGS / str(request.param)
    if not (folder / 'tensorrt_bindings').is_dir():
        pytest.skip(
            f"needs NVIDIA's bindings: {sys.executable} -m pip install --no-deps --target "
            f'{folder} -r requirements/tensorrt-bindings-{request.param}.txt'
        )
    if shutil.which('c++') is None:
        pytest.skip('needs a C++ compiler: sudo apt-get install g++')
    stand_ins = tmp_path_factory.mktemp(f'libraries-{request.param}')
    functions = ''.join(f'void* {symbol}() {{ return nullptr; }}\n' for symbol in SYMBOLS)
    source = stand_ins / 'nothing.cpp'
    source.write_text(
        f'extern "C" {{\n{functions}bool initLibNvInferPlugins() {{ return true; }}\n}}\n'
    )
    first, *others = (stand_ins / f'lib{name}.so.{request.param}' for name in LIBRARIES)
    subprocess.run(['c++', '-shared', '-fPIC', '-o', first, source], check=True)
    for other in others:
        shutil.copy(first, other)
    return {
        **os.environ,
        'LD_LIBRARY_PATH': str(stand_ins),
        'PYTHONPATH': f'{folder}:{ROOT}',
        'MAJOR': str(request.param),
    }


@pytest.fixture(scope='module')
def interface(environment: dict[str, str]) -> dict[str, Any]:
    """What the bindings of one major version offer."""
    done = subprocess.run(
        [sys.executable, '-m', 'tests.core.tensorrt_contract'],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found['version'].startswith(f'{environment["MAJOR"]}.')
    return found


def source_of(module: str) -> str:
    """Our files that use a module of NVIDIA's, one after the other."""
    folder = ROOT / 'decomr_core' / 'runtimes'
    return '\n'.join((folder / name).read_text() for name in FILES[module])


@pytest.mark.parametrize('module', sorted(FILES))
def test_every_used_name_exists_with_these_arguments(
    interface: dict[str, Any], module: str
) -> None:
    checker = Checker(source_of(module), module, interface[module])
    assert checker.problems == []
    assert ESSENTIAL[module] - checker.uses == set()
    assert lost(checker, interface[module]) == set(), 'annotate what these belong to'


def lost(checker: Checker, real: dict[str, Any]) -> set[str]:
    """Attributes named like one of NVIDIA's whose owner the check could not tell."""
    known = {
        name for members in real['classes'].values() for name in members if '_' in name.strip('_')
    }
    return {use for use in checker.unfollowed if use.split('.')[-1] in known}


def test_a_use_that_the_check_cannot_follow_is_detected(interface: dict[str, Any]) -> None:
    source = source_of('tensorrt').replace('context: tensorrt.IExecutionContext)', 'context)')
    checker = Checker(source, 'tensorrt', interface['tensorrt'])
    assert lost(checker, interface['tensorrt']) == {
        f'self._context.{name}'
        for name in ('execute_async_v3', 'get_tensor_shape', 'set_tensor_address')
    }


@pytest.mark.parametrize(
    ('module', 'ours', 'wrong', 'told'),
    [
        (
            'tensorrt',
            '.execute_async_v3(',
            '.execute_async_v4(',
            'no IExecutionContext.execute_async',
        ),
        ('tensorrt', '.build_serialized_network(', '.build_cuda_engine(', 'no Builder.build_cuda'),
        ('tensorrt', 'BuilderFlag.TF32', 'BuilderFlag.TF31', 'no BuilderFlag.TF31'),
        ('tensorrt', 'Severity.VERBOSE', 'Severity.CHATTY', 'no ILogger.Severity.CHATTY'),
        ('tensorrt', '.device_memory_size_v2', '.device_memory_size_v3', 'device_memory_size_v3'),
        ('tensorrt', '.init_libnvinfer_plugins(log,', '.init_plugins(log,', 'no init_plugins'),
        ('tensorrt', 'set_timing_cache(cache, False)', 'set_timing_cache(cache)', 'does not fit'),
        (
            'tensorrt',
            'set_timing_cache(cache, False)',
            'set_timing_cache(cache, ignore=False)',
            'does not fit',
        ),
        ('tensorrt', 'Builder(log)', 'Builder(log, 1)', 'does not fit Builder'),
        (
            'tensorrt',
            'network.num_inputs',
            'network.input_count',
            'no INetworkDefinition.input_co',
        ),
        ('tensorrt', 'network.get_output(index)', 'network.get_output()', 'does not fit INetwork'),
        ('tensorrt', 'tensor.name', 'tensor.title', 'no ITensor.title'),
        ('tensorrt', 'problem.desc()', 'problem.desc(1)', 'does not fit ParserError.desc'),
        ('tensorrt', 'severity: tensorrt', 'level: tensorrt', '_Log.log has the arguments'),
        ('tensorrt', 'def step_complete(', 'def step_completed(', '_Progress.step_complete has'),
        ('tensorrt', 'config.progress_monitor =', 'config.monitor =', 'no IBuilderConfig.monitor'),
        (
            'cudart',
            'cudaGraphInstantiate(graph, 0)',
            'cudaGraphInstantiate(graph)',
            'does not fit',
        ),
        ('cudart', '.cudaMalloc(', '.cudaAlloc(', 'no cudaAlloc'),
        ('cudart', 'properties.major', 'properties.mayor', 'no cudaDeviceProp.mayor'),
        ('cudart', 'ModeThreadLocal', 'ModeMine', 'cudaStreamCaptureModeMine'),
    ],
)
def test_a_wrong_use_is_detected(
    interface: dict[str, Any], module: str, ours: str, wrong: str, told: str
) -> None:
    source = source_of(module)
    assert ours in source
    checker = Checker(source.replace(ours, wrong), module, interface[module])
    assert any(told in problem for problem in checker.problems), checker.problems


def test_precisions_that_only_the_older_release_offers_are_detected(
    interface: dict[str, Any],
) -> None:
    source = source_of('tensorrt').replace('BuilderFlag.TF32', 'BuilderFlag.FP16')
    problems = Checker(source, 'tensorrt', interface['tensorrt']).problems
    assert bool(problems) == (not interface['version'].startswith('10.'))


def test_the_fakes_offer_nothing_that_the_real_bindings_lack(interface: dict[str, Any]) -> None:
    modules = FakeGpu().modules()
    for name, module in (
        ('tensorrt', modules['tensorrt']),
        ('cudart', modules['cuda.bindings.runtime']),
    ):
        assert surplus(module, interface[name]) == set()


def test_a_surplus_name_of_a_fake_is_detected(interface: dict[str, Any]) -> None:
    module = FakeGpu().modules()['tensorrt']
    module.IBuilderConfig.set_fast = lambda self: None
    module.Builder.create_network = lambda self, flag: None
    module.shortcut = None
    assert surplus(module, interface['tensorrt']) == {
        'IBuilderConfig.set_fast',
        'Builder.create_network',
        'shortcut',
    }


def surplus(module: ModuleType, real: dict[str, Any]) -> set[str]:
    """What a fake has and the real module lacks or has with other arguments."""
    found = set()
    for name, value in vars(module).items():
        if name.startswith('__') and name != '__version__':
            continue
        if not any(name in part for part in real.values()):
            found.add(name)
        elif name in real['enums']:
            found |= {
                f'{name}.{member}'
                for member in value.__members__
                if member not in real['enums'][name]
            } - {'NetworkDefinitionCreationFlag.EXPLICIT_BATCH'}  # gone in 11, and not used by us
        elif name in real['classes']:
            found |= {
                f'{name}.{member}'
                for member, function in inspect.getmembers(value)
                if not member.startswith('_') and differs(function, real['classes'][name], member)
            }
        elif name in real['functions'] and not fits(value, real['functions'][name], False):
            found.add(name)
    return found


def differs(member: object, real: dict[str, Any], name: str) -> bool:
    return name not in real or (inspect.isfunction(member) and not fits(member, real[name], True))


def fits(function: Any, overloads: list[dict[str, Any]], by_name: bool) -> bool:
    names = list(inspect.signature(function).parameters)
    return any(
        names == overload['names'] if by_name else len(names) == len(overload['names'])
        for overload in overloads
    )


SCRIPT = """
import sys
from pathlib import Path
import tensorrt_bindings
sys.modules['tensorrt'] = tensorrt_bindings
from decomr_core.runtimes import cuda_device
from decomr_core.runtimes.tensorrt import bindings, building, engine
from decomr_core.runtimes.tensorrt import runtime as tensorrt_runtime
from decomr_core.runtimes.tensorrt.plan import PRECISIONS, PlanKey
assert 'torch' not in sys.modules

log = bindings.tensorrt_log()
log.log(tensorrt_bindings.ILogger.Severity.ERROR, 'no driver')
assert log.take_errors() == 'no driver' and log.take_errors() == ''
assert building._Progress().step_complete('Building', 0)
assert building._network_flags() == 1 << int(
    tensorrt_bindings.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
folder = Path(sys.argv[1])
(folder / 'model.plan').write_bytes(b'plan')
keys = [PlanKey('0', bindings.tensorrt_version(), '8.7', 'none', 128, 4, precision)
        for precision in PRECISIONS]
for attempt in (*(lambda key=key: building.build_plan(
                    folder / 'model.onnx', folder / 'model.plan', key) for key in keys),
                lambda: engine.Engine(folder / 'model.plan', 'COMMAND', lambda: 'none is free')):
    try:
        attempt()
    except RuntimeError as error:
        print(error)
try:
    print(cuda_device.find_gpu().name)
except RuntimeError as error:
    print(error)
"""


def test_the_code_runs_on_the_real_bindings_until_it_needs_a_gpu(
    environment: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT, str(tmp_path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    *builders, runtime, gpu = done.stdout.splitlines()
    assert len(builders) == len(PRECISIONS)
    for told, what in (*((builder, 'builder') for builder in builders), (runtime, 'runtime')):
        assert told.startswith(f'TensorRT {environment["MAJOR"]}.')
        assert f'gives no {what} on this machine' in told
    assert 'needs an NVIDIA GPU with its driver' in gpu or shutil.which('nvidia-smi')
    assert (tmp_path / 'model.plan').read_bytes() == b'plan', 'a failed build leaves it alone'


CUDA_SCRIPT = """
import sys
from decomr_core.runtimes import cuda_device

def refused(attempt):
    try:
        attempt()
    except cuda_device.CudaError as error:
        assert 'cudaErrorInsufficientDriver' in str(error) or 'NoDevice' in str(error), error
        return
    raise AssertionError('no error')

stream = object.__new__(cuda_device.Stream)
stream.handle = 77
graph = object.__new__(cuda_device.Graph)
graph.handle = cuda_device.cudart.cudaGraphExec_t(5)
buffer = object.__new__(cuda_device.Buffer)
buffer.address, buffer._pinned, buffer._row_size = 4096, 8192, 16
for attempt in (
        cuda_device.Stream, lambda: cuda_device.DeviceMemory(16, 'this'),
        lambda: cuda_device.use_gpu(0), cuda_device.free_memory_text, stream.synchronize,
        lambda: stream.launch(graph), lambda: stream.capture(lambda: None),
        lambda: cuda_device.Graph(cuda_device.cudart.cudaGraph_t(3)),
        lambda: buffer.upload(stream, 2), lambda: buffer.download(stream, 2)):
    refused(attempt)
for free in ('cudaFree', 'cudaFreeHost', 'cudaStreamDestroy', 'cudaGraphExecDestroy'):
    getattr(cuda_device.cudart, free)(5)
"""


@pytest.mark.skipif(
    shutil.which('nvidia-smi') is not None,
    reason='gives CUDA wrong addresses, for machines without a driver',
)
def test_the_cuda_bindings_accept_the_arguments_and_report_a_missing_driver(
    environment: dict[str, str],
) -> None:
    done = subprocess.run(
        [sys.executable, '-c', CUDA_SCRIPT],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
