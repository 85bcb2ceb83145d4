"""Runs TensorRT plans, after a check that a plan fits the network and this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from decomr_core.runtimes.exported_model import INPUT_NAME, OUTPUT_NAMES, ExportedModel
from decomr_core.runtimes.tensorrt.bindings import (
    created,
    tensorrt,
    tensorrt_log,
    tensorrt_version,
)
from decomr_core.runtimes.tensorrt.plan import PlanKey, check_key, onnx_of, read_key

if TYPE_CHECKING:
    from decomr_core.runtimes.cuda_device import Gpu

__all__ = ['Context', 'Engine', 'checked_key', 'expected_key']


def expected_key(
    model: ExportedModel, gpu: Gpu, max_people: int | None, precision: str
) -> PlanKey:
    """The key of an engine that fits a network and this machine.

    Args:
        model: the network.
        gpu: the GPU.
        max_people: largest batch; None: any.
        precision: one of `PRECISIONS`.

    Raises:
        ValueError: the network is too inaccurate in this precision (see `onnx_of`), or an
            argument is invalid.
    """
    return PlanKey.of_files(
        onnx_of(model, precision),
        tensorrt=tensorrt_version(),
        gpu=gpu.name,
        compute_capability=gpu.compute_capability,
        crop_size=model.crop_size,
        max_people=max_people,
        precision=precision,
    )


def checked_key(
    path: Path,
    model: ExportedModel,
    gpu: Gpu,
    max_people: int | None,
    precision: str | None,
    command: str,
) -> PlanKey:
    """Reads the key of an existing engine and checks that it fits.

    Args:
        path: the plan.
        model: the network.
        gpu: the GPU.
        max_people: largest batch; None: any.
        precision: one of `PRECISIONS`; None: that of the engine.
        command: the build command, for the error.

    Raises:
        FileNotFoundError: there is no engine.
        ValueError: it does not fit; the message lists the differences.
    """
    key = read_key(path, command)
    expected = expected_key(model, gpu, max_people, precision or key.precision)
    check_key(path, key, expected, command)
    return key


class Engine:
    """A plan loaded on the GPU."""

    def __init__(self, path: Path, command: str, free_memory: Callable[[], str]) -> None:
        """Loads a plan.

        Args:
            path: the plan.
            command: the build command, for errors.
            free_memory: returns the free GPU memory as text, for errors.

        Raises:
            ValueError: the plan is damaged, or belongs to another network.
            RuntimeError: the GPU has too little memory.
        """
        log = tensorrt_log()
        log.take_errors()
        tensorrt.init_libnvinfer_plugins(log, '')
        plan = path.read_bytes()
        self._runtime: tensorrt.Runtime = created(lambda: tensorrt.Runtime(log), 'runtime')
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            errors = log.take_errors()
            if 'memory' in errors.lower():
                raise RuntimeError(
                    f'the TensorRT engine {path} needs {len(plan) / 2**20:.0f} MiB of GPU memory '
                    f'for its weights, {free_memory()}; TensorRT reports: {errors}'
                )
            raise ValueError(
                f'TensorRT cannot load the engine {path} ({len(plan)} bytes, '
                f'damaged?): {errors or "no reason given"}. Build it again: '
                f'{command}'
            )
        self._engine: tensorrt.ICudaEngine = engine
        self._free_memory = free_memory
        names = {engine.get_tensor_name(index) for index in range(engine.num_io_tensors)}
        if names != {INPUT_NAME, *OUTPUT_NAMES}:
            raise ValueError(
                f'the TensorRT engine {path} has the tensors '
                f'{", ".join(sorted(names))}, expected {INPUT_NAME}, '
                f'{", ".join(OUTPUT_NAMES)}. Build it again: {command}'
            )
        other = [
            name
            for name in OUTPUT_NAMES
            if engine.get_tensor_dtype(name) != tensorrt.DataType.FLOAT
        ]
        if other:
            raise ValueError(
                f'the outputs {", ".join(other)} of the TensorRT engine {path} are '
                f'not float32. Build it again: {command}'
            )

    @property
    def scratch_bytes(self) -> int:
        """GPU memory of one run in addition to the weights, bytes."""
        return self._engine.device_memory_size_v2

    def context(
        self, input_shape: tuple[int, ...], scratch_address: int, stream_handle: int
    ) -> Context:
        """An execution context for one batch size; the addresses of its tensors must be set.

        Args:
            input_shape: (B, S, S, 3), within the profile.
            scratch_address: address of `scratch_bytes` on the GPU; contexts on one stream may
                share them.
            stream_handle: handle of the stream.

        Raises:
            RuntimeError: TensorRT fails; the message has TensorRT's errors.
        """
        log = tensorrt_log()
        log.take_errors()
        context = self._engine.create_execution_context(
            tensorrt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        if context is None:
            raise RuntimeError(
                'TensorRT could not create an execution context for a batch of '
                f'{input_shape[0]} people ({self._free_memory()}): '
                f'{log.take_errors() or "it gave no reason"}'
            )
        context.set_device_memory(scratch_address, self.scratch_bytes)
        if not (
            context.set_optimization_profile_async(0, stream_handle)
            and context.set_input_shape(INPUT_NAME, input_shape)
        ):
            raise RuntimeError(
                f'TensorRT rejects a batch of shape {input_shape}: '
                f'{log.take_errors() or "it gave no reason"}'
            )
        return Context(context)


class Context:
    """Runs one batch size with tensors at fixed addresses."""

    def __init__(self, context: tensorrt.IExecutionContext) -> None:
        """Takes a context whose input shape is set."""
        self._context = context

    def output_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each output, with the batch size instead of the engine's -1."""
        return {name: tuple(self._context.get_tensor_shape(name)) for name in OUTPUT_NAMES}

    def set_addresses(self, addresses: Mapping[str, int]) -> None:
        """Sets the GPU addresses of all tensors.

        Raises:
            RuntimeError: TensorRT rejects one; the message has TensorRT's errors.
        """
        for name, address in addresses.items():
            if not self._context.set_tensor_address(name, address):
                raise RuntimeError(
                    f'TensorRT rejects the address of {name}: '
                    f'{tensorrt_log().take_errors() or "it gave no reason"}'
                )

    def enqueue(self, stream_handle: int) -> None:
        """Enqueues one run on a stream.

        Raises:
            RuntimeError: TensorRT fails; the message has TensorRT's errors.
        """
        if not self._context.execute_async_v3(stream_handle):
            raise RuntimeError(
                f'TensorRT could not run: {tensorrt_log().take_errors() or "it gave no reason"}'
            )
