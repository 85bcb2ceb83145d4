"""The ONNX Runtime runtime, on the CPU or an NVIDIA GPU. Imports no PyTorch.

ONNX Runtime itself falls back to the CPU if a GPU does not work; here that is an error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

try:
    import onnxruntime
except ImportError as error:
    raise ImportError('ONNX Runtime is not installed: pip install onnxruntime') from error

from decomr_core.base.structures import NetworkOutput
from decomr_core.runtimes import check_crops
from decomr_core.runtimes.batches import DEFAULT_MAX_PEOPLE, batch_sizes, batches
from decomr_core.runtimes.exported_model import INPUT_NAME, OUTPUT_NAMES, ExportedModel

__all__ = ['PRECISIONS', 'PROVIDERS', 'OnnxRuntime', 'check_options', 'open_model', 'run_onnx']

PROVIDERS = {
    'cpu': 'CPUExecutionProvider',
    'cuda': 'CUDAExecutionProvider',
    'tensorrt': 'TensorrtExecutionProvider',
}
"""ONNX Runtime's name of each provider."""

PRECISIONS = {'cpu': ('f32',), 'cuda': ('f32', 'tf32', 'fp16'), 'tensorrt': ('tf32',)}
"""Precisions of each provider; the first one is the default. In ONNX Runtime's TensorRT, tf32
cannot be switched off, and half precision would include layers that must stay float32."""

INSTALL = {
    'cpu': 'pip install onnxruntime',
    'cuda': 'pip uninstall onnxruntime, then pip install onnxruntime-gpu',
    'tensorrt': 'pip uninstall onnxruntime, then pip install onnxruntime-gpu tensorrt',
}

DAMAGE = ('InvalidGraph', 'InvalidProtobuf', 'NoSuchFile')
"""Types of ONNX Runtime's errors for damaged files."""

CPU_BATCH = 8
"""Largest batch on a CPU. A batch takes 0.6 to 0.8 of the time of single people (rt, 2 cores,
ONNX Runtime 1.31). The limit bounds the memory for crowds."""


class OnnxRuntime:
    """Runs on the CPU or on one NVIDIA GPU.

    On a GPU it uses the export for TensorRT, whose dense warp is a matrix product. There, batches
    are padded to a few sizes, each of which runs once at start-up.

    Attributes:
        name, precision, crop_size, box_margin, topology: see `Runtime`.
        provider: a name in `PROVIDERS`.
    """

    name = 'onnxruntime'

    def __init__(
        self,
        model: ExportedModel,
        num_threads: int = 0,
        *,
        provider: str = 'cpu',
        precision: str = 'auto',
        device: int = 0,
        max_people: int = DEFAULT_MAX_PEOPLE,
    ) -> None:
        """Loads an exported network.

        Args:
            model: the export for the CPU; for the other providers the export for TensorRT.
            num_threads: CPU threads; 0: all cores.
            provider: `cpu`, `cuda` or `tensorrt`.
            precision: one of the provider's `PRECISIONS`, or `auto` for the first of them.
            device: CUDA index of the GPU; 0 on the CPU.
            max_people: largest batch on a GPU; more people run in several batches.

        Raises:
            ValueError: a file is damaged, or an option is invalid.
            RuntimeError: this ONNX Runtime lacks the provider, or it does not work here.
        """
        self.precision = check_options(provider, precision, device)
        self.provider = provider
        is_on_gpu = provider != 'cpu'
        self.crop_size, self.box_margin = model.crop_size, model.box_margin
        self.topology = model.topology
        self._sizes = batch_sizes(max_people) if is_on_gpu else list(range(1, CPU_BATCH + 1))
        self._load(model, num_threads, device)

    def run(self, images: np.ndarray) -> NetworkOutput:
        """Runs the network on images (B, S, S, 3) uint8 RGB; returns NumPy arrays."""
        check_crops(images, self.crop_size)
        parts = [
            [output[: len(part)] for output in self._run_batch(part, size)]
            for part, size in batches(images, self._sizes)
        ]
        return NetworkOutput(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    def _load(self, model: ExportedModel, num_threads: int, device: int) -> None:
        """Creates the session; on a GPU, runs every batch size once."""
        is_on_gpu = self.provider != 'cpu'
        path = _model_path(model, self.precision)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        settings = _provider_settings(
            self.provider, self.precision, device, model, self._sizes[-1]
        )
        try:
            self._session = _session(path, options, settings)
            _check_used(self._session, self.provider)
            if is_on_gpu:
                self._prepare()
        except Exception as error:  # ONNX Runtime's errors have no common base class
            if not is_on_gpu or type(error).__name__ in DAMAGE:
                raise ValueError(model.damage(str(error).splitlines()[0])) from error
            raise RuntimeError(_does_not_work(self.provider, error, device, path)) from error
        model.check_names(
            (node.name for node in self._session.get_inputs()),
            (node.name for node in self._session.get_outputs()),
        )

    def _run_batch(self, images: np.ndarray, size: int) -> list[np.ndarray]:
        """The outputs for images padded to a size with black ones."""
        if len(images) < size:
            images = np.concatenate(
                [images, np.zeros_like(images, shape=(size - len(images), *images.shape[1:]))]
            )
        return self._session.run(list(OUTPUT_NAMES), {INPUT_NAME: images})

    def _prepare(self) -> None:
        """Runs every size once, the largest first, to select kernels and allocate memory."""
        crop = (self.crop_size, self.crop_size, 3)
        for size in reversed(self._sizes):
            self._run_batch(np.zeros((size, *crop), np.uint8), size)


def check_options(provider: str, precision: str, device: int) -> str:
    """Checks the options before a network is exported.

    Args:
        provider: `cpu`, `cuda` or `tensorrt`.
        precision: one of the provider's `PRECISIONS`, or `auto`.
        device: CUDA index of the GPU; 0 on the CPU.

    Returns:
        The precision; for `auto` the first one of the provider.

    Raises:
        ValueError: an option is invalid.
        RuntimeError: this ONNX Runtime lacks the provider.
    """
    chosen = _choose_precision(provider, precision)
    if provider == 'cpu' and device:
        raise ValueError(f"device is {device}, but the provider is cpu; use provider='cuda'")
    _check_available(provider)
    return chosen


def run_onnx(path: str | Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """Runs a model file once, without tuning, for checks.

    Args:
        path: the .onnx file.
        images: (B, S, S, 3) uint8 RGB.

    Returns:
        The outputs by name.
    """
    session = _session(path, onnxruntime.SessionOptions(), [(PROVIDERS['cpu'], {})])
    names = [node.name for node in session.get_outputs()]
    results = [session.run(names, {INPUT_NAME: image[None]}) for image in images]
    return {
        name: np.concatenate(parts)
        for name, parts in zip(names, zip(*results, strict=True), strict=True)
    }


def open_model(
    path: Path, provider: str = 'cpu', num_threads: int = 0
) -> onnxruntime.InferenceSession:
    """A session for any other model file; float32 on a GPU.

    Args:
        path: the .onnx file.
        provider: `cpu` or `cuda`.
        num_threads: CPU threads; 0: all cores.

    Raises:
        ValueError: the file is damaged, or the provider is unknown.
        RuntimeError: this ONNX Runtime lacks the provider, or it does not work here.
    """
    if provider not in ('cpu', 'cuda'):
        raise ValueError(f'provider is {provider!r}, expected cpu or cuda')
    _check_available(provider)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    settings = {'device_id': 0, 'use_tf32': 0} if provider == 'cuda' else {}
    try:
        session = _session(path, options, [(PROVIDERS[provider], settings)])
        _check_used(session, provider)
    except Exception as error:  # ONNX Runtime's errors have no common base class
        if provider == 'cpu' or type(error).__name__ in DAMAGE:
            raise ValueError(str(error).splitlines()[0]) from error
        raise RuntimeError(_does_not_work(provider, error, 0, path)) from error
    return session


def _session(
    path: str | Path,
    options: onnxruntime.SessionOptions,
    settings: list[tuple[str, dict[str, Any]]],
) -> onnxruntime.InferenceSession:
    session = onnxruntime.InferenceSession(
        str(path), options, providers=settings, enable_fallback=0
    )
    session.disable_fallback()  # also for errors in later runs
    return session


def _choose_precision(provider: str, requested: str) -> str:
    if provider not in PROVIDERS:
        raise ValueError(f'provider is {provider!r}, expected one of: {", ".join(PROVIDERS)}')
    known = PRECISIONS[provider]
    if requested != 'auto' and requested not in known:
        raise ValueError(
            f'precision is {requested!r}, but the provider {provider} has: auto, '
            f'{", ".join(known)}'
        )
    return known[0] if requested == 'auto' else requested


def _check_available(provider: str) -> None:
    """Raises a RuntimeError if this build of ONNX Runtime lacks the provider."""
    available = onnxruntime.get_available_providers()
    if PROVIDERS[provider] not in available:
        raise RuntimeError(
            f'the provider {provider} was requested, but ONNX Runtime {onnxruntime.__version__} '
            f'has only: {_known_names(available)}; {INSTALL[provider]}'
        )


def _check_used(session: onnxruntime.InferenceSession, provider: str) -> None:
    """Raises a RuntimeError if a session does not use the provider."""
    used = session.get_providers()
    if PROVIDERS[provider] not in used:
        raise RuntimeError(
            f'its libraries do not load, ONNX Runtime uses {_known_names(used)} instead'
        )


def _known_names(providers: Iterable[str]) -> str:
    """ONNX Runtime's provider names, replaced by ours if known."""
    ours = {theirs: name for name, theirs in PROVIDERS.items()}
    return ', '.join(ours.get(name, name) for name in providers) or 'none'


def _does_not_work(provider: str, reason: object, device: int, path: Path) -> str:
    """The error message for an installed provider that fails."""
    text = ' '.join(str(reason).split())
    if 'memory' in text.lower():
        advice = (
            f'the network needs {math.ceil(path.stat().st_size / 2**20)} MiB for its '
            f'weights and more for people, {_free_memory(device)}. End other programs on '
            "the GPU, or use a smaller max_people or precision='fp16'"
        )
    else:
        advice = (
            'check nvidia-smi and the CUDA version that this ONNX Runtime '
            f'({onnxruntime.__version__}) needs'
        )
    return (
        f'the provider {provider} does not work on this machine: {text}; {advice}. On a CPU '
        "use provider='cpu'"
    )


def _free_memory(device: int) -> str:
    """Free memory of a GPU as text; ONNX Runtime cannot report it."""
    try:
        from decomr_core.runtimes.cuda_device import free_memory_text, use_gpu

        use_gpu(device)
        return free_memory_text()
    except (ImportError, RuntimeError):  # the CUDA bindings are missing or fail as well
        return 'nvidia-smi shows how much is free'


def _model_path(model: ExportedModel, precision: str) -> Path:
    """The file of an export for a precision.

    Raises:
        ValueError: the export has no half-precision model.
    """
    if precision != 'fp16':
        return model.onnx_path
    if not model.info['passes_fp16']:
        raise ValueError(
            'precision is fp16, but this network exceeded the limit of half '
            f'precision when it was exported ({model.folder}/info.json has the '
            'numbers); use f32 or tf32'
        )
    return model.half_path


def _provider_settings(
    provider: str, precision: str, device: int, model: ExportedModel, max_people: int
) -> list[tuple[str, dict[str, Any]]]:
    """Providers and their settings, in the order of preference."""
    # By default ONNX Runtime rounds the factors of float32 products to tf32.
    cuda = (PROVIDERS['cuda'], {'device_id': device, 'use_tf32': int(precision == 'tf32')})
    if provider != 'tensorrt':
        return [cuda] if provider == 'cuda' else [(PROVIDERS['cpu'], {})]
    crop = f'{model.crop_size}x{model.crop_size}x3'
    cache = model.folder / 'onnxruntime-tensorrt'
    cache.mkdir(exist_ok=True)
    # Without a profile, each new batch size would rebuild the engine.
    shapes = {'min': 1, 'opt': max_people, 'max': max_people}
    return [
        (
            PROVIDERS['tensorrt'],
            {
                'device_id': device,
                'trt_engine_cache_enable': True,
                'trt_engine_cache_path': str(cache),
                **{
                    f'trt_profile_{name}_shapes': f'{INPUT_NAME}:{count}x{crop}'
                    for name, count in shapes.items()
                },
            },
        ),
        cuda,
    ]
