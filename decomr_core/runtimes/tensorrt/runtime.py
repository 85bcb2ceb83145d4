"""The network in TensorRT, on an NVIDIA GPU. Imports neither PyTorch nor the network.

A batch is filled up to one of a few sizes, and each size has its execution context and its CUDA
graph, made at start-up: a new number of people costs nothing in the middle of a video.
"""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from decomr_core.base.assets import BUILTIN
from decomr_core.base.structures import NetworkOutput
from decomr_core.runtimes import check_crops
from decomr_core.runtimes.batches import DEFAULT_MAX_PEOPLE, batch_sizes
from decomr_core.runtimes.cuda_device import (
    Buffer,
    CudaError,
    DeviceMemory,
    Gpu,
    Graph,
    Stream,
    find_gpu,
    free_memory_text,
    use_gpu,
)
from decomr_core.runtimes.exported_model import (
    INPUT_NAME,
    OUTPUT_NAMES,
    ExportedModel,
    exported_model,
)
from decomr_core.runtimes.tensorrt.engine import Context, Engine, tensorrt_version
from decomr_core.runtimes.tensorrt.plan import (
    PlanKey,
    build_command,
    check_key,
    onnx_of,
    plan_path,
    read_key,
)

__all__ = ['TensorRtRuntime', 'wanted_key']

logger = logging.getLogger(__name__)


class TensorRtRuntime:
    """Runs on one NVIDIA GPU.

    Attributes:
        name, precision, crop_size, topology: see `Runtime`; precision `f32`, `tf32` or `fp16`.
        max_people: per batch; more of them run in several batches.
        gpu: that it runs on.
    """

    name = 'tensorrt'

    def __init__(self, weights: str | Path = 'rt', precision: str = 'auto',
                 max_people: int | None = None, device: int = 0, build_if_missing: bool = False,
                 num_threads: int = 0, body: str | Path = BUILTIN,
                 uv_map: str | Path = BUILTIN) -> None:
        """Loads the engine that was built for this network on this machine.

        Args:
            weights: a shipped network by name or a safetensors file by path.
            precision: `f32`, `tf32`, `fp16`, or `auto`: as the engine was built.
            max_people: per batch; None: as the engine was built.
            device: the GPU, as CUDA counts them.
            build_if_missing: builds the engine if there is none that fits; takes minutes.
            num_threads: 0; other runtimes use CPU threads.
            body: the body that the network was trained for, by name or path.
            uv_map: its UV map, by name or path.

        Raises:
            FileNotFoundError: there are no such weights, or no engine was built.
            ValueError: the engine does not fit; says in what, and the command to build it. Or
                the network did not pass in this precision.
            RuntimeError: there is no GPU, or too little memory on it.
        """
        if num_threads:
            raise ValueError(f'num_threads is {num_threads}, expected 0: tensorrt needs no CPU')
        self.gpu = find_gpu(device)  # before an export, which takes long
        model = exported_model(weights, body, uv_map, target='tensorrt')
        key, command = _fitting_key(
            model, self.gpu, max_people, None if precision == 'auto' else precision,
            build_if_missing, (weights, body, uv_map))
        self.precision, self.max_people = key.precision, key.max_people
        self.crop_size, self.topology = model.crop_size, model.topology
        self._engine = Engine(plan_path(model.folder), command, free_memory_text)
        self._stream = Stream()
        self._scratch = DeviceMemory(self._engine.scratch_bytes,
                                     f'a batch of {self.max_people} people')
        contexts = {size: self._context(size) for size in batch_sizes(self.max_people)}
        self._input = Buffer((self.max_people, self.crop_size, self.crop_size, 3), np.uint8,
                             'the input of the network')
        self._outputs = [Buffer(shape, np.float32, f'the output {name}') for name, shape in
                         contexts[self.max_people].output_shapes().items()]
        self._runs = {size: self._prepare(size, context) for size, context in contexts.items()}

    def run(self, images: np.ndarray) -> NetworkOutput:
        """Runs the network on images (B, S, S, 3) uint8 RGB; numpy arrays come back."""
        check_crops(images, self.crop_size)
        use_gpu(self.gpu.index)  # each thread has its own current GPU
        parts = [self._run_batch(images[start:start + self.max_people])
                 for start in range(0, len(images), self.max_people)]
        return NetworkOutput(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    def _run_batch(self, images: np.ndarray) -> list[np.ndarray]:
        """The outputs for at most `max_people` images."""
        count = len(images)
        size = next(size for size in self._runs if size >= count)
        self._input.host[:count] = images
        self._input.host[count:size] = 0
        run = self._runs[size]
        if run.graph is None:
            self._enqueue(run.context, size)
        else:
            self._stream.launch(run.graph)
        self._stream.synchronize()
        return [output.host[:count].copy() for output in self._outputs]

    def _context(self, size: int) -> Context:
        return self._engine.context((size, self.crop_size, self.crop_size, 3),
                                    self._scratch.address, self._stream.handle)

    def _prepare(self, size: int, context: Context) -> _Run:
        """Everything that one batch size needs, run once."""
        context.set_addresses({INPUT_NAME: self._input.address, **{
            name: output.address for name, output in zip(OUTPUT_NAMES, self._outputs,
                                                         strict=True)}})
        work = functools.partial(self._enqueue, context, size)
        self._input.host[:size] = 0
        work()  # the first run of a context does what cannot be recorded
        self._stream.synchronize()
        try:
            return _Run(context, self._stream.capture(work))
        except (CudaError, RuntimeError) as error:
            logger.warning('no CUDA graph for %d people, each run is launched step by step: %s',
                           size, error)
            return _Run(context, None)

    def _enqueue(self, context: Context, size: int) -> None:
        self._input.upload(self._stream, size)
        context.enqueue(self._stream.handle)
        for output in self._outputs:
            output.download(self._stream, size)


@dataclass(frozen=True)
class _Run:
    """One batch size: its context, which must not change any more, and its recorded work."""

    context: Context
    graph: Graph | None


def wanted_key(model: ExportedModel, gpu: Gpu, max_people: int | None,
               precision: str) -> PlanKey:
    """The key of the engine that fits a network on this machine.

    Args:
        model: the network.
        gpu: to run on.
        max_people: per batch; None: any number.
        precision: one of `PRECISIONS`.

    Raises:
        ValueError: the network did not pass in this precision.
    """
    return PlanKey.of_files(
        onnx_of(model, precision), tensorrt=tensorrt_version(), gpu=gpu.name,
        compute_capability=gpu.compute_capability, crop_size=model.crop_size,
        max_people=max_people, precision=precision)


def _fitting_key(model: ExportedModel, gpu: Gpu, max_people: int | None, precision: str | None,
                 build_if_missing: bool, files: tuple[str | Path, ...]) -> tuple[PlanKey, str]:
    """The key of the engine at hand, built now if that was asked for; and what builds it."""
    path = plan_path(model.folder)
    command = build_command(*files, max_people, precision)
    if precision is not None:
        wanted_key(model, gpu, max_people, precision)  # refused whatever was built
    try:
        return _checked_key(path, model, gpu, max_people, precision, command), command
    except (FileNotFoundError, ValueError) as error:
        if not build_if_missing:
            raise
        logger.info('%s', error)
    from decomr_core.export.tensorrt_build import build_engine  # PyTorch: only to build

    build_engine(*files, max_people or DEFAULT_MAX_PEOPLE, precision or 'auto', gpu.index)
    return _checked_key(path, model, gpu, max_people, precision, command), command


def _checked_key(path: Path, model: ExportedModel, gpu: Gpu, max_people: int | None,
                 precision: str | None, command: str) -> PlanKey:
    """The key of the engine at hand, if it is the right one; else an error says in what."""
    key = read_key(path, command)
    wanted = wanted_key(model, gpu, max_people, precision or key.precision)
    check_key(path, key, wanted, command)
    return key
