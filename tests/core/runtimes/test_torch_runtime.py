"""The PyTorch runtime: half precision, and the GPU path on a fake queue.

These tests do not show that CUDA accepts the capture.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pretended_queue import PretendedQueue

from decomr_core.cli import main
from decomr_core.estimation.loading import load_runtime
from decomr_core.measures import parity
from decomr_core.measures.parity import Parity, measure_parity, parity_crops, vertex_error_mm
from decomr_core.networks.decomr import DecoMR
from decomr_core.networks.folding import fold_normalisation
from decomr_core.runtimes import Runtime
from decomr_core.runtimes.torch import precision as torch_precision
from decomr_core.runtimes.torch import runtime as torch_runtime
from decomr_core.runtimes.torch.cuda import (
    WARM_UP,
    BatchRunner,
    explaining_memory_errors,
    find_device,
)
from decomr_core.runtimes.torch.precision import (
    arithmetic,
    cached_parity,
    check_precision,
    mixed_network,
)
from decomr_core.runtimes.torch.runtime import PackedNetwork

CPU, GPU = torch.device('cpu'), torch.device('cuda', 0)
MIB = 2**20


class Counted:
    """Row sums of crops; remembers the sizes of the batches."""

    def __init__(self) -> None:
        self.sizes = []

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(images))
        return images.float().sum(dim=(2, 3))


def crops(count: int, size: int = 5) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def sums(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32).sum(axis=(2, 3))


def test_every_size_is_warmed_up_and_captured_the_largest_first() -> None:
    queue, function = PretendedQueue(), Counted()
    BatchRunner(function, 5, 6, queue)
    assert function.sizes == [1, *(size for size in (6, 4, 2, 1) for _ in range(WARM_UP))]
    assert queue.recorded == 4 and queue.launched == 0


@pytest.mark.parametrize(
    ('count', 'sizes'),
    [(1, [1]), (2, [2]), (3, [4]), (5, [6]), (6, [6]), (8, [6, 2]), (13, [6, 6, 1])],
)
def test_a_batch_is_padded_and_a_crowd_runs_in_parts(count: int, sizes: list[int]) -> None:
    queue, function = PretendedQueue(), Counted()
    runner = BatchRunner(function, 5, 6, queue)
    function.sizes.clear()
    queue.waits = 0
    assert np.array_equal(runner.run(crops(count)), sums(crops(count)))
    assert function.sizes == sizes
    assert queue.launched == len(sizes), 'each batch is one launch of a graph'
    assert queue.waits >= len(sizes)


def test_a_batch_is_padded_with_black_and_not_with_earlier_crops() -> None:
    seen = []
    runner = BatchRunner(
        lambda images: (seen.append(images.clone()), Counted()(images))[1], 5, 4, PretendedQueue()
    )
    runner.run(crops(4))
    runner.run(crops(3))
    assert len(seen[-1]) == 4 and not seen[-1][3].any()


def test_returned_outputs_are_not_overwritten_by_the_next_images() -> None:
    runner = BatchRunner(Counted(), 5, 1, PretendedQueue())
    first = runner.run(crops(2)[:1])
    runner.run(crops(2)[1:])
    assert np.array_equal(first, sums(crops(2)[:1]))


def test_a_network_that_cannot_be_captured_runs_step_by_step_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    queue = PretendedQueue(RuntimeError('operation not permitted when stream is capturing'))
    with caplog.at_level(logging.WARNING):
        runner = BatchRunner(Counted(), 5, 2, queue)
    assert 'no CUDA graph for 2 people' in caplog.text and 'not permitted' in caplog.text
    assert np.array_equal(runner.run(crops(3)), sums(crops(3)))
    assert queue.launched == 0


def test_too_little_memory_for_a_graph_is_an_error() -> None:
    try:
        raise RuntimeError('capture ended badly') from torch.cuda.OutOfMemoryError('CUDA ...')
    except RuntimeError as error:
        chained = error
    with pytest.raises(RuntimeError, match='capture ended badly'):
        BatchRunner(Counted(), 5, 2, PretendedQueue(chained))


@pytest.fixture(scope='module')
def network(small_network: Callable[..., DecoMR]) -> DecoMR:
    return small_network('rt')


@pytest.fixture(scope='module')
def exact(trained: dict[str, str]) -> Runtime:
    return load_runtime('torch', **trained)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> PretendedQueue:
    """The CPU under the name of a GPU with 1 GiB, 512 MiB of it free."""
    queue = PretendedQueue()
    monkeypatch.setenv('DECOMR_CACHE', str(tmp_path / 'cache'))
    for name, value in (
        ('is_available', True),
        ('device_count', 1),
        ('current_device', 0),
        ('get_device_name', 'Pretended GPU'),
        ('get_device_capability', (7, 5)),
        ('mem_get_info', (512 * MIB, 1024 * MIB)),
    ):
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    real, to = PackedNetwork, torch.Tensor.to
    monkeypatch.setattr(
        torch_runtime,
        'PackedNetwork',
        lambda network, _, *more, **named: real(network, CPU, *more, **named),
    )
    monkeypatch.setattr(
        torch.Tensor,
        'to',
        lambda tensor, *args, **more: tensor if args == (GPU,) else to(tensor, *args, **more),
    )
    monkeypatch.setattr(torch_runtime, 'CudaQueue', lambda _: queue)
    return queue


@pytest.mark.parametrize('count', [1, 3, 7])
def test_on_a_gpu_the_output_does_not_depend_on_the_number_of_people(
    trained: dict[str, str], exact: Runtime, gpu: PretendedQueue, count: int
) -> None:
    runtime = load_runtime('torch', **trained, device='cuda', precision='f32', max_people=4)
    images = parity_crops(64, count)
    seen, expected = runtime.run(images), exact.run(images)
    for name, values in vars(expected).items():
        assert getattr(seen, name).shape == values.shape
        assert getattr(seen, name).dtype == values.dtype == np.float32
        assert getattr(seen, name).flags.c_contiguous
    measured = measure_parity(vars(seen), vars(expected))
    assert measured.passes('f32') and measured.joints_mean_mm < parity.LIMITS_MM['f32']
    assert np.allclose(seen.camera, expected.camera, atol=1e-4)
    assert gpu.launched == (2 if count > 4 else 1)


def test_auto_measures_fp16_on_a_gpu_once_and_respects_the_limit(
    trained: dict[str, str], gpu: PretendedQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_precision, 'parity_crops', lambda size: parity_crops(size)[:8])
    monkeypatch.setitem(parity.LIMITS_MM, 'fp16', 100.0)
    assert load_runtime('torch', **trained, device=0).precision == 'fp16'
    monkeypatch.setattr(torch_precision, 'measure_parity', lambda *_: pytest.fail('measured'))
    assert load_runtime('torch', **trained, device='cuda').precision == 'fp16'
    monkeypatch.setitem(parity.LIMITS_MM, 'fp16', 1e-6)
    assert load_runtime('torch', **trained, device='cuda').precision == 'f32'


def test_the_measured_parity_is_cached_per_file_and_gpu_and_replaced_if_damaged(
    trained: dict[str, str], gpu: PretendedQueue, tmp_path: Path
) -> None:
    asked = []

    def measure(precision: str, images: np.ndarray) -> dict[str, np.ndarray]:
        asked.append(precision)
        moved = 0.002 * (precision == 'fp16')
        return {
            'vertices': np.full((32, 4, 3), moved),
            'joints': np.zeros((32, 2, 3)),
            'iuv': np.ones((32, 3, 4, 4)),
        }

    weights = Path(trained['weights'])
    first = cached_parity(weights, 'A', measure, 64)
    assert first.vertices_mean_mm == pytest.approx(2 * 3**0.5)
    assert cached_parity(weights, 'A', measure, 64) == first
    assert asked == ['fp16', 'f32']
    cached_parity(weights, 'B', measure, 64)
    assert len(asked) == 4
    for path in (tmp_path / 'cache' / 'torch').iterdir():
        path.write_text('{"vertices')
    assert cached_parity(weights, 'A', measure, 64) == first
    assert len(asked) == 6
    assert isinstance(first, Parity)


def test_on_a_cpu_auto_is_f32(exact: Runtime) -> None:
    assert exact.precision == 'f32'


@pytest.mark.parametrize(('precision', 'near', 'far'), [('fp16', 1e-4, 8.0), ('bf16', 1e-3, 60.0)])
def test_half_precision_is_near_float32_and_comes_back_as_float32(
    trained: dict[str, str], exact: Runtime, precision: str, near: float, far: float
) -> None:
    """The random network amplifies rounding many times; a trained one stays within its limit."""
    runtime = load_runtime('torch', **trained, precision=precision)
    assert runtime.precision == precision
    images = parity_crops(64, 8)
    seen, expected = runtime.run(images), exact.run(images)
    assert all(values.dtype == np.float32 for values in vars(seen).values())
    assert near < vertex_error_mm(seen.vertices, expected.vertices) < far


@pytest.mark.parametrize('preset', ['rt', 'paper'])
def test_only_convolutions_and_linear_layers_except_the_last_of_each_head_are_half(
    small_network: Callable[..., DecoMR], preset: str
) -> None:
    original = small_network(preset)
    mixed = mixed_network(original, 'fp16')
    assert {value.dtype for value in original.parameters()} == {torch.float32}
    float32 = {name for name, value in mixed.named_parameters() if value.dtype == torch.float32}
    layers = dict(mixed.named_modules())
    kinds = {name: type(layers[name.rpartition('.')[0]]) for name in float32}
    products = {name for name, kind in kinds.items() if kind in (torch.nn.Conv2d, torch.nn.Linear)}
    heads = {'cnet.uv_head', 'cnet.mask_head', 'lnet.location_head', 'lnet.camera_head'}
    heads |= {'lnet.posed_head', 'lnet.correction_head'} if original.config.is_posed else set()
    assert {name.rsplit('.', 2)[0] for name in products} == heads
    assert len(float32) < len(list(mixed.named_parameters()))
    buffers = {value.dtype for value in mixed.buffers() if value.is_floating_point()}
    assert buffers == {torch.float32}


def test_a_weight_beyond_float16_is_rejected_with_the_remedy(network: DecoMR) -> None:
    large = mixed_network(network, 'bf16')  # a copy
    large.cnet.encoder.conv1.float().weight.data[0, 0, 0, 0] = 1e5
    with pytest.raises(
        ValueError, match="cnet.encoder.conv1 are out of the range of fp16; use precision='f32'"
    ):
        mixed_network(large, 'fp16')


@pytest.mark.parametrize(('preset', 'left'), [('rt', 1), ('paper', 0)])
def test_folded_normalisation_computes_the_same_and_leaves_the_network_as_it_was(
    small_network: Callable[..., DecoMR], preset: str, left: int
) -> None:
    original = small_network(preset)
    before = {name: value.clone() for name, value in original.state_dict().items()}
    folded = fold_normalisation(original)
    assert all(torch.equal(value, before[name]) for name, value in original.state_dict().items())
    kinds = [type(part) for part in folded.modules()]
    norms = kinds.count(torch.nn.BatchNorm2d) + kinds.count(torch.nn.BatchNorm1d)
    assert norms == left, 'of the sum at the end of the hourglass alone'
    groups = [type(part) for part in original.modules()].count(torch.nn.GroupNorm)
    assert kinds.count(torch.nn.GroupNorm) == groups
    images = parity_crops(64, 8)
    seen, expected = (
        vars(packed.unpack(packed(torch.from_numpy(images)).numpy()))
        for packed in (PackedNetwork(folded, CPU), PackedNetwork(original, CPU))
    )
    assert measure_parity(seen, expected).passes('f32')
    assert np.allclose(seen['camera'], expected['camera'], atol=1e-4)


def test_on_a_gpu_the_network_is_folded_and_on_a_cpu_it_is_not(
    trained: dict[str, str], exact: Runtime, gpu: PretendedQueue
) -> None:
    on_gpu = load_runtime('torch', **trained, device='cuda', precision='f32')
    assert isinstance(on_gpu.network.cnet.encoder.bn1, torch.nn.Identity)
    assert isinstance(exact.network.cnet.encoder.bn1, torch.nn.BatchNorm2d)


def test_channels_last_computes_the_same(trained: dict[str, str], exact: Runtime) -> None:
    runtime = load_runtime('torch', **trained, channels_last=True)
    weight = runtime.network.cnet.encoder.layer1[0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    images = parity_crops(64, 4)
    error = vertex_error_mm(runtime.run(images).vertices, exact.run(images).vertices)
    assert error < parity.LIMITS_MM['f32']


@pytest.mark.parametrize('precision', ['f32', 'tf32', 'fp16'])
def test_tf32_is_used_only_where_requested(precision: str) -> None:
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    with torch_precision._float32_products(GPU, precision == 'tf32'):
        assert torch.backends.cudnn.allow_tf32 == (precision == 'tf32')
        assert torch.backends.cuda.matmul.allow_tf32 == (precision == 'tf32')
    assert before == (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32)


def test_the_settings_of_a_precision_are_restored() -> None:
    with arithmetic(CPU, 'bf16'):
        assert torch.is_autocast_enabled('cpu') and not torch.is_autocast_cache_enabled()
        assert torch.is_inference_mode_enabled()
    assert not torch.is_autocast_enabled('cpu') and torch.is_autocast_cache_enabled()
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        ({'precision': 'half'}, "precision is 'half', expected auto, f32, tf32, bf16, fp16"),
        ({'precision': 'tf32'}, 'a CPU has no such arithmetic; use f32'),
        ({'device': 'tpu'}, "device is 'tpu', expected cpu, cuda or cuda:N"),
        ({'device': 'meta'}, "device is 'meta', expected cpu, cuda or cuda:N"),
        ({'max_people': 0}, 'max_people is 0'),
    ],
)
def test_options_that_do_not_exist_are_rejected(
    trained: dict[str, str], options: dict, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        load_runtime('torch', **trained, **options)


@pytest.mark.parametrize('precision', ['tf32', 'bf16'])
def test_a_gpu_without_arithmetic_for_a_precision_is_named(
    gpu: PretendedQueue, precision: str
) -> None:
    with pytest.raises(
        ValueError,
        match=f'{precision}, but Pretended GPU .compute capability '
        '7.5. has no such arithmetic; use fp16 or f32',
    ):
        check_precision(precision, GPU)
    check_precision('fp16', GPU)


def test_a_missing_gpu_is_rejected(gpu: PretendedQueue) -> None:
    assert find_device('cuda') == find_device(0) == GPU
    with pytest.raises(ValueError, match="'cuda:1', but PyTorch finds 1 GPUs"):
        find_device('cuda:1')


def test_without_a_gpu_the_command_ends_with_a_one_line_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert main(['bench', '--runtime', 'torch', '--device', 'cuda']) == 2
    told = capsys.readouterr().err
    assert told.count('\n') == 1 and "finds no GPU; use device='cpu'" in told


def test_weights_larger_than_the_free_memory_are_reported_before_they_are_moved(
    trained: dict[str, str], gpu: PretendedQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda _: (1000, 1024 * MIB))
    monkeypatch.setattr(torch_runtime, 'PackedNetwork', lambda *_: pytest.fail('moved'))
    with pytest.raises(RuntimeError) as error:
        load_runtime('torch', **trained, device='cuda', max_people=3)
    told = str(error.value)
    assert 'cuda:0 is out of memory: the network needs ' in told
    assert 'to run 3 people at once; 1 MiB of 1024 MiB were free' in told
    assert 'max_people' in told and "precision='fp16'" in told and '\n' not in told


@pytest.mark.parametrize(
    'error',
    [
        torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 9 GiB.\nMore text'),
        RuntimeError('CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate'),
    ],
)
def test_any_lack_of_memory_while_loading_is_reported_with_needed_and_free_memory(
    trained: dict[str, str],
    gpu: PretendedQueue,
    monkeypatch: pytest.MonkeyPatch,
    network: DecoMR,
    error: Exception,
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(torch_runtime, 'CudaQueue', fail)
    needed = sum(value.nbytes for value in (*network.parameters(), *network.buffers()))
    with pytest.raises(RuntimeError, match='512 MiB of 1024 MiB were free') as raised:
        load_runtime('torch', **trained, device='cuda', precision='f32')
    assert f'needs {-(-needed // MIB)} MiB' in str(raised.value)
    assert str(error).splitlines()[0] in str(raised.value)


def test_other_errors_while_loading_are_not_changed(network: DecoMR, gpu: PretendedQueue) -> None:
    with (
        pytest.raises(RuntimeError, match='^no kernel image'),
        explaining_memory_errors(GPU, network, 1),
    ):
        raise RuntimeError('no kernel image is available')


def test_the_gpu_code_uses_names_that_pytorch_has() -> None:
    """torch.cuda has them without a GPU as well."""
    assert {'Stream', 'CUDAGraph', 'graph', 'graph_pool_handle', 'stream', 'synchronize'} <= set(
        dir(torch.cuda)
    )
    assert {'pool', 'stream', 'capture_error_mode'} <= set(
        torch.cuda.graph.__init__.__code__.co_varnames
    )
