"""Prepares the first start: the exported network, and OpenVINO's compiled models for this CPU.

`decomr prepare` and `make setup` do this in advance. A node without an export calls
`export_in_subprocess`, so that the memory of PyTorch and the exporter is freed with a child
process.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from decomr_core.base.assets import find_weights
from decomr_core.base.cache import VARIABLE, cache_folder
from decomr_core.base.child_python import PR_SET_PDEATHSIG, child_environment
from decomr_core.estimation.loading import load_runtime
from decomr_core.estimation.person_detector import PersonDetector
from decomr_core.export.cached_exports import exported_model, find_export
from decomr_core.runtimes import DEFAULT_RUNTIME, available_runtimes

__all__ = ['EXPORTING_RUNTIMES', 'export_in_subprocess', 'is_export_missing', 'prepare']

EXPORTING_RUNTIMES = ('openvino', 'onnxruntime')
"""Runtimes that use the export for CPUs. TensorRT engines are built by `decomr export`."""

POLL_PERIOD_S = 0.2
READABLE = 0o644
"""By default only user and group can read OpenVINO's compiled models."""


def prepare(weights: str | Path = 'rt', folder: str | Path | None = None) -> dict[str, Any]:
    """Makes the files that the CPU runtimes would otherwise make at their first start.

    Args:
        weights: a shipped network by name or a safetensors file by path.
        folder: cache folder, made readable for all users; None: the user's cache.

    Returns:
        The folders `export` and `cache`, and `compiled`, whether OpenVINO compiled the models.

    Raises:
        FileNotFoundError: there are no such weights.
        ValueError: the weights are damaged.
        RuntimeError: the export differs from PyTorch, or could not be written.
    """
    if folder is not None:
        os.environ[VARIABLE] = str(Path(folder).absolute())
    model = exported_model(weights)
    is_compiled = DEFAULT_RUNTIME in available_runtimes()
    if is_compiled:
        load_runtime(DEFAULT_RUNTIME, weights)
        PersonDetector()
    cache = cache_folder()
    for path in cache.rglob('*.blob'):
        path.chmod(READABLE)
    return {'export': str(model.folder), 'cache': str(cache), 'compiled': is_compiled}


def is_export_missing(runtime: str, weights: str | Path) -> bool:
    """Whether the runtime needs an export of these weights that does not exist yet.

    Raises:
        FileNotFoundError: there are no such weights.
    """
    if runtime not in EXPORTING_RUNTIMES or runtime not in available_runtimes():
        return False
    return find_export(weights) is None


def export_in_subprocess(
    weights: str | Path,
    report: Callable[[str], None] = print,
    is_ending: Callable[[], bool] = lambda: False,
) -> None:
    """Exports weights for CPUs in a child process.

    Args:
        weights: a shipped network by name or a safetensors file by path.
        report: called with the text of each step.
        is_ending: polled; True cancels the export.

    Raises:
        RuntimeError: the export failed or was cancelled.
    """
    command = [sys.executable, '-m', 'decomr_core.estimation.prepare', str(find_weights(weights))]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors='replace',
        env=child_environment(**{VARIABLE: str(cache_folder())}),
    )
    lines: list[str] = []
    reader = threading.Thread(
        target=_read_lines, args=(process.stderr, lines, report), daemon=True
    )
    reader.start()
    while reader.is_alive():
        reader.join(POLL_PERIOD_S)
        if is_ending():
            # The process removes its files and exits when its current library call returns.
            process.send_signal(signal.SIGINT)
            raise RuntimeError('the export was cancelled')
    if process.wait():
        raise RuntimeError(
            lines[-1] if lines else f'the export exited with code {process.returncode}'
        )


def _read_lines(stderr: Iterable[str], lines: list[str], report: Callable[[str], None]) -> None:
    """Collects the lines of the process and passes each step to `report`."""
    for line in stderr:
        lines.append(line.strip())
        kind, _, text = lines[-1].partition(' ')
        if kind == 'INFO':
            report(text)


def _main(weights: str) -> int:
    """The process that `export_in_subprocess` starts; its last line on stderr is the error."""
    # Ends this process with its parent, however the parent ends.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
    logging.basicConfig(format='%(levelname)s %(message)s')
    logging.getLogger('decomr_core').setLevel(logging.INFO)
    try:
        exported_model(weights)
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        sys.stderr.write(f'{" ".join(str(error).split())}\n')
        return 2
    except KeyboardInterrupt:
        return 2
    return 0


if __name__ == '__main__':
    raise SystemExit(_main(*sys.argv[1:]))
