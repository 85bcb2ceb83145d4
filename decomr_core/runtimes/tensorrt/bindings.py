"""TensorRT's Python package, 10.3 to 11, with its log as Python's and its failures as errors.

The other modules of this folder take TensorRT from here. The contract test checks all their uses
of it against NVIDIA's bindings, by following the type annotations.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

try:
    import tensorrt
except ImportError as error:
    raise ImportError(
        f'TensorRT does not load ({error}): pip install tensorrt (beside CUDA 12: '
        'pip install tensorrt-cu12; on a Jetson it is part of JetPack: sudo apt-get '
        'install python3-libnvinfer)'
    ) from error

__all__ = ['created', 'tensorrt', 'tensorrt_log', 'tensorrt_version']

logger = logging.getLogger(__name__)


def tensorrt_version() -> str:
    """The full version of TensorRT; a plan is valid for exactly one version."""
    return tensorrt.__version__


class _Log(tensorrt.ILogger):
    """Forwards TensorRT's messages to Python's log, and collects errors until they are taken."""

    def __init__(self) -> None:
        """Starts without errors."""
        super().__init__()
        self._errors: list[str] = []

    def log(self, severity: tensorrt.ILogger.Severity, msg: str) -> None:
        """Called by TensorRT."""
        levels = {
            tensorrt.ILogger.Severity.INTERNAL_ERROR: logging.ERROR,
            tensorrt.ILogger.Severity.ERROR: logging.ERROR,
            tensorrt.ILogger.Severity.WARNING: logging.WARNING,
            tensorrt.ILogger.Severity.INFO: logging.INFO,
            tensorrt.ILogger.Severity.VERBOSE: logging.DEBUG,
        }
        level = levels.get(severity, logging.DEBUG)
        if level == logging.ERROR:
            self._errors.append(msg.strip())
        logger.log(level, '%s', msg)

    def take_errors(self) -> str:
        """Returns and clears the errors since the last call, the latest one last."""
        text = '; '.join(dict.fromkeys(self._errors))
        self._errors.clear()
        return text


@functools.cache
def tensorrt_log() -> _Log:
    """The only log of this process, because TensorRT keeps the first one that it gets."""
    return _Log()


def created(create: Callable[[], Any], what: str) -> Any:
    """The result of a TensorRT constructor.

    Raises:
        RuntimeError: it fails, as without a driver or with an unsuitable one.
    """
    try:
        return create()
    except TypeError as error:  # the bindings raise it for a null pointer
        raise RuntimeError(
            f'TensorRT {tensorrt.__version__} gives no {what} on this machine: '
            f'{tensorrt_log().take_errors() or error}; check the driver version in '
            'nvidia-smi, and whether this TensorRT supports it'
        ) from error
