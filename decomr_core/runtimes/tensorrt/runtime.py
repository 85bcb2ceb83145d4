"""The TensorRT runtime, on an NVIDIA GPU. Imports no PyTorch.

Batches are padded to a few sizes. The execution context and the CUDA graph of each size are
created at start-up, so a change of the number of people in a video causes no delay.
"""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass

import numpy as np

from decomr_core.base.structures import NetworkOutput
from decomr_core.runtimes import check_crops
from decomr_core.runtimes.batches import batch_sizes
from decomr_core.runtimes.cuda_device import (
    Buffer,
    CudaError,
    DeviceMemory,
    Gpu,
    Graph,
    Stream,
    free_memory_text,
    use_gpu,
)
from decomr_core.runtimes.exported_model import INPUT_NAME, OUTPUT_NAMES, ExportedModel
from decomr_core.runtimes.tensorrt.engine import Context, Engine
from decomr_core.runtimes.tensorrt.plan import PlanKey, plan_path

__all__ = ['TensorRtRuntime']

logger = logging.getLogger(__name__)


class TensorRtRuntime:
    """Runs on one NVIDIA GPU.

    Attributes:
        name, precision, crop_size, box_margin, topology: see `Runtime`.
        max_people: largest batch; more people run in several batches.
        gpu: the GPU.
    """

    name = 'tensorrt'

    def __init__(self, model: ExportedModel, key: PlanKey, gpu: Gpu, command: str) -> None:
        """Loads the engine that was built for this network on this machine.

        Args:
            model: the network, exported for TensorRT, with its engine in the same folder.
            key: the key of the engine from `checked_key`.
            gpu: the GPU.
            command: the build command, for errors.

        Raises:
            ValueError: the engine or its key is damaged.
            RuntimeError: the GPU has too little memory.
        """
        if key.max_people is None:  # only expected keys leave it open
            raise ValueError(
                f'the key of the TensorRT engine {plan_path(model.folder)} lacks '
                f'max_people; build the engine again: {command}'
            )
        self.gpu = gpu
        self.precision, self.max_people = key.precision, key.max_people
        self.crop_size, self.box_margin = model.crop_size, model.box_margin
        self.topology = model.topology
        self._engine = Engine(plan_path(model.folder), command, free_memory_text)
        self._stream = Stream()
        self._scratch = DeviceMemory(
            self._engine.scratch_bytes, f'a batch of {self.max_people} people'
        )
        contexts = {size: self._context(size) for size in batch_sizes(self.max_people)}
        self._input = Buffer(
            (self.max_people, self.crop_size, self.crop_size, 3),
            np.uint8,
            'the input of the network',
        )
        self._outputs = [
            Buffer(shape, np.float32, f'the output {name}')
            for name, shape in contexts[self.max_people].output_shapes().items()
        ]
        self._runs = {size: self._prepare(size, context) for size, context in contexts.items()}

    def run(self, images: np.ndarray) -> NetworkOutput:
        """Runs the network on images (B, S, S, 3) uint8 RGB; returns NumPy arrays."""
        check_crops(images, self.crop_size)
        use_gpu(self.gpu.index)  # the current GPU is thread-local
        parts = [
            self._run_batch(images[start : start + self.max_people])
            for start in range(0, len(images), self.max_people)
        ]
        return NetworkOutput(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    def _run_batch(self, images: np.ndarray) -> list[np.ndarray]:
        """The outputs for up to `max_people` images."""
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
        return self._engine.context(
            (size, self.crop_size, self.crop_size, 3), self._scratch.address, self._stream.handle
        )

    def _prepare(self, size: int, context: Context) -> _Run:
        """Sets up one batch size and runs it once."""
        context.set_addresses(
            {
                INPUT_NAME: self._input.address,
                **{
                    name: output.address
                    for name, output in zip(OUTPUT_NAMES, self._outputs, strict=True)
                },
            }
        )
        work = functools.partial(self._enqueue, context, size)
        self._input.host[:size] = 0
        work()  # the first run of a context includes work that cannot be recorded
        self._stream.synchronize()
        try:
            return _Run(context, self._stream.capture(work))
        except (CudaError, RuntimeError) as error:
            logger.warning(
                'no CUDA graph for %d people, kernels are launched one by one: %s', size, error
            )
            return _Run(context, None)

    def _enqueue(self, context: Context, size: int) -> None:
        self._input.upload(self._stream, size)
        context.enqueue(self._stream.handle)
        for output in self._outputs:
            output.download(self._stream, size)


@dataclass(frozen=True)
class _Run:
    """One batch size: its context, which must not change anymore, and its CUDA graph."""

    context: Context
    graph: Graph | None
