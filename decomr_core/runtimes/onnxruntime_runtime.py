"""The network in ONNX Runtime, on the CPU or on an NVIDIA GPU. No PyTorch, no network.

ONNX Runtime itself goes on with the CPU where a GPU does not work; here that is an error.
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
from decomr_core.runtimes.exported_model import (
    INPUT_NAME,
    OUTPUT_NAMES,
    ExportedModel,
)

__all__ = ['PRECISIONS', 'PROVIDERS', 'OnnxRuntime', 'check_options', 'open_model', 'run_onnx']

PROVIDERS = {'cpu': 'CPUExecutionProvider', 'cuda': 'CUDAExecutionProvider',
             'tensorrt': 'TensorrtExecutionProvider'}
"""By name: what ONNX Runtime calls it."""

PRECISIONS = {'cpu': ('f32',), 'cuda': ('f32', 'tf32', 'fp16'), 'tensorrt': ('tf32',)}
"""Of each provider, the first unless it is said. In TensorRT, as ONNX Runtime builds it, tf32
cannot be switched off, and half precision would reach what must stay float32."""

INSTALL = {'cpu': 'pip install onnxruntime',
           'cuda': 'pip uninstall onnxruntime, then pip install onnxruntime-gpu',
           'tensorrt': 'pip uninstall onnxruntime, then pip install onnxruntime-gpu tensorrt'}

DAMAGE = ('InvalidGraph', 'InvalidProtobuf', 'NoSuchFile')
"""What ONNX Runtime calls errors that are in the file."""

CPU_BATCH = 8
"""People that run at once on a CPU: a batch takes 0.6 to 0.8 of the time of as many single
people (rt, 2 cores, ONNX Runtime 1.31), and the memory of a crowd stays small."""


class OnnxRuntime:
    """Runs on the CPU or on one NVIDIA GPU.

    On a GPU it takes the export for TensorRT: its dense warp needs nothing but products. Batches
    are filled up to a few sizes there, all of which run once at start-up.

    Attributes:
        name, precision, crop_size, topology: see `Runtime`; precision also `tf32` and `fp16`.
        provider: a name of `PROVIDERS`.
    """

    name = 'onnxruntime'

    def __init__(self, model: ExportedModel, num_threads: int = 0, *, provider: str = 'cpu',
                 precision: str = 'auto', device: int = 0,
                 max_people: int = DEFAULT_MAX_PEOPLE) -> None:
        """Loads an exported network.

        Args:
            model: the export for the CPU; for the other providers that for TensorRT.
            num_threads: CPU threads; 0: all cores.
            provider: `cpu`, `cuda` or `tensorrt`.
            precision: one of `PRECISIONS` of the provider, or `auto`: the first of them.
            device: the GPU, as CUDA counts them; 0 on the CPU.
            max_people: of one batch on a GPU; more of them run in several batches.

        Raises:
            ValueError: a file is damaged, or an option is none of those.
            RuntimeError: this ONNX Runtime has no such provider, or it does not work here.
        """
        self.precision = check_options(provider, precision, device)
        self.provider = provider
        is_on_gpu = provider != 'cpu'
        self.crop_size, self.topology = model.crop_size, model.topology
        self._sizes = batch_sizes(max_people) if is_on_gpu else list(range(1, CPU_BATCH + 1))
        self._load(model, num_threads, device)

    def run(self, images: np.ndarray) -> NetworkOutput:
        """Runs the network on images (B, S, S, 3) uint8 RGB; numpy arrays come back."""
        check_crops(images, self.crop_size)
        parts = [[output[:len(part)] for output in self._run_batch(part, size)]
                 for part, size in batches(images, self._sizes)]
        return NetworkOutput(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    def _load(self, model: ExportedModel, num_threads: int, device: int) -> None:
        """Makes the session; on a GPU every batch size runs once."""
        is_on_gpu = self.provider != 'cpu'
        path = _model_path(model, self.precision)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        settings = _provider_settings(self.provider, self.precision, device, model,
                                      self._sizes[-1])
        try:
            self._session = _session(path, options, settings)
            _check_used(self._session, self.provider)
            if is_on_gpu:
                self._prepare()
        except Exception as error:  # its errors have no base of their own
            if not is_on_gpu or type(error).__name__ in DAMAGE:
                raise ValueError(model.damage(str(error).splitlines()[0])) from error
            raise RuntimeError(_does_not_work(self.provider, error, device, path)) from error
        model.check_names((node.name for node in self._session.get_inputs()),
                          (node.name for node in self._session.get_outputs()))

    def _run_batch(self, images: np.ndarray, size: int) -> list[np.ndarray]:
        """The outputs for images filled up with black ones to a size."""
        if len(images) < size:
            images = np.concatenate([images, np.zeros_like(
                images, shape=(size - len(images), *images.shape[1:]))])
        return self._session.run(list(OUTPUT_NAMES), {INPUT_NAME: images})

    def _prepare(self) -> None:
        """Runs every size once, the largest first: kernels are chosen and memory is taken now."""
        crop = (self.crop_size, self.crop_size, 3)
        for size in reversed(self._sizes):
            self._run_batch(np.zeros((size, *crop), np.uint8), size)


def check_options(provider: str, precision: str, device: int) -> str:
    """Refuses options that no network can run with; before a network is exported.

    Args:
        provider: `cpu`, `cuda` or `tensorrt`.
        precision: one of `PRECISIONS` of the provider, or `auto`.
        device: the GPU, as CUDA counts them; 0 on the CPU.

    Returns:
        The precision, for `auto` the first of the provider's.

    Raises:
        ValueError: an option is none of those.
        RuntimeError: this ONNX Runtime has no such provider.
    """
    chosen = _choose_precision(provider, precision)
    if provider == 'cpu' and device:
        raise ValueError(f"device is {device}, but the provider is cpu; use provider='cuda'")
    _check_available(provider)
    return chosen


def run_onnx(path: str | Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """Runs a model file once, as it is: for checks, not for video.

    Args:
        path: of the .onnx file.
        images: (B, S, S, 3) uint8 RGB.

    Returns:
        The outputs by name.
    """
    session = _session(path, onnxruntime.SessionOptions(), [(PROVIDERS['cpu'], {})])
    names = [node.name for node in session.get_outputs()]
    results = [session.run(names, {INPUT_NAME: image[None]}) for image in images]
    return {name: np.concatenate(parts)
            for name, parts in zip(names, zip(*results, strict=True), strict=True)}


def open_model(path: Path, provider: str = 'cpu', num_threads: int = 0
               ) -> onnxruntime.InferenceSession:
    """A session for a model file that is no export of our network, float32 on a GPU.

    Args:
        path: of the .onnx file.
        provider: `cpu` or `cuda`.
        num_threads: CPU threads; 0: all cores.

    Raises:
        ValueError: the file is damaged, or the provider is none of these.
        RuntimeError: this ONNX Runtime has no such provider, or it does not work here.
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
    except Exception as error:  # its errors have no base of their own
        if provider == 'cpu' or type(error).__name__ in DAMAGE:
            raise ValueError(str(error).splitlines()[0]) from error
        raise RuntimeError(_does_not_work(provider, error, 0, path)) from error
    return session


def _session(path: str | Path, options: onnxruntime.SessionOptions,
             settings: list[tuple[str, dict[str, Any]]]) -> onnxruntime.InferenceSession:
    session = onnxruntime.InferenceSession(str(path), options, providers=settings,
                                           enable_fallback=0)
    session.disable_fallback()  # nor later, when a run fails
    return session


def _choose_precision(provider: str, asked: str) -> str:
    if provider not in PROVIDERS:
        raise ValueError(f'provider is {provider!r}, expected one of: {", ".join(PROVIDERS)}')
    known = PRECISIONS[provider]
    if asked != 'auto' and asked not in known:
        raise ValueError(f'precision is {asked!r}, but the provider {provider} has: auto, '
                         f'{", ".join(known)}')
    return known[0] if asked == 'auto' else asked


def _check_available(provider: str) -> None:
    """Raises a RuntimeError if this build of ONNX Runtime has no such provider."""
    available = onnxruntime.get_available_providers()
    if PROVIDERS[provider] not in available:
        raise RuntimeError(
            f'the provider {provider} was asked for, but ONNX Runtime {onnxruntime.__version__} '
            f'has only: {_known_names(available)}; {INSTALL[provider]}')


def _check_used(session: onnxruntime.InferenceSession, provider: str) -> None:
    """Raises a RuntimeError if a session goes without its provider."""
    used = session.get_providers()
    if PROVIDERS[provider] not in used:
        raise RuntimeError('its libraries do not load, ONNX Runtime took '
                           f'{_known_names(used)} instead')


def _known_names(providers: Iterable[str]) -> str:
    """Providers as ONNX Runtime names them, by our names where there are such."""
    ours = {theirs: name for name, theirs in PROVIDERS.items()}
    return ', '.join(ours.get(name, name) for name in providers) or 'none'


def _does_not_work(provider: str, reason: object, device: int, path: Path) -> str:
    """What to tell where a provider is installed and fails."""
    said = ' '.join(str(reason).split())
    if 'memory' in said.lower():
        advice = (f'the network needs {math.ceil(path.stat().st_size / 2**20)} MiB for its '
                  f'weights and more for people, {_free_memory(device)}. End other programs on '
                  'the GPU, or ask for fewer people at once (max_people) or '
                  "precision='fp16'")
    else:
        advice = ('look at nvidia-smi, and at which CUDA this ONNX Runtime '
                  f'({onnxruntime.__version__}) needs')
    return (f'the provider {provider} does not work on this machine: {said}; {advice}. On a CPU '
            "use provider='cpu'")


def _free_memory(device: int) -> str:
    """How much memory of a GPU is free now, or where to look: ONNX Runtime does not know."""
    try:
        from decomr_core.runtimes.cuda_device import free_memory_text, use_gpu

        use_gpu(device)
        return free_memory_text()
    except (ImportError, RuntimeError):  # no bindings of CUDA, or it fails in them as well
        return 'nvidia-smi says how much is free'


def _model_path(model: ExportedModel, precision: str) -> Path:
    """The file of an export that has the types of a precision.

    Raises:
        ValueError: the export kept no half precision.
    """
    if precision != 'fp16':
        return model.onnx_path
    if not model.info['passes_fp16']:
        raise ValueError('precision is fp16, but this network did not pass the gate of half '
                         f'precision when it was exported ({model.folder}/info.json has the '
                         'numbers); use f32 or tf32')
    return model.half_path


def _provider_settings(provider: str, precision: str, device: int, model: ExportedModel,
                       max_people: int) -> list[tuple[str, dict[str, Any]]]:
    """Providers and their settings, in the order of preference."""
    # Without a word ONNX Runtime would round the factors of float32 products to tf32.
    cuda = (PROVIDERS['cuda'], {'device_id': device, 'use_tf32': int(precision == 'tf32')})
    if provider != 'tensorrt':
        return [cuda] if provider == 'cuda' else [(PROVIDERS['cpu'], {})]
    crop = f'{model.crop_size}x{model.crop_size}x3'
    cache = model.folder / 'onnxruntime-tensorrt'
    cache.mkdir(exist_ok=True)
    # A profile, or each new batch size would build the engine anew.
    shapes = {'min': 1, 'opt': max_people, 'max': max_people}
    return [(PROVIDERS['tensorrt'], {
        'device_id': device, 'trt_engine_cache_enable': True, 'trt_engine_cache_path': str(cache),
        **{f'trt_profile_{name}_shapes': f'{INPUT_NAME}:{count}x{crop}'
           for name, count in shapes.items()}}), cuda]
