"""Makes what a first start needs: the exported network, and what OpenVINO compiles for this CPU.

`decomr prepare` does it ahead, `make setup` too. A node that finds no export makes it by
`export_apart`: PyTorch and the exporter then use their memory in a process that ends.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from decomr_core.base.assets import find_weights
from decomr_core.base.cache import VARIABLE, cache_folder
from decomr_core.base.child_python import child_environment
from decomr_core.estimation.loading import load_runtime
from decomr_core.estimation.person_detector import PersonDetector
from decomr_core.export.cached_exports import exported_model, find_export
from decomr_core.runtimes import DEFAULT_RUNTIME, available_runtimes

__all__ = ['EXPORTING_RUNTIMES', 'export_apart', 'is_export_missing', 'prepare']

EXPORTING_RUNTIMES = ('openvino', 'onnxruntime')
"""Those that run the export for CPUs. TensorRT's engines are built ahead, `decomr export`."""

LOOK_PERIOD_S = 0.2
PR_SET_PDEATHSIG = 1
READABLE = 0o644
"""OpenVINO writes what it compiles for its user and group alone."""


def prepare(weights: str | Path = 'rt', folder: str | Path | None = None) -> dict[str, Any]:
    """Makes what the runtimes on a CPU would make at their first start.

    Args:
        weights: a shipped network by name or a safetensors file by path.
        folder: of the cache; None: the user's. Every user may read what is in it afterwards.

    Returns:
        `export` and `cache`, folders; `compiled`, whether it was compiled as well.

    Raises:
        FileNotFoundError: there are no such weights.
        ValueError: the weights are damaged.
        RuntimeError: the export does not compute what PyTorch does, or could not be written.
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
    """Whether a runtime would have to export these weights first.

    Raises:
        FileNotFoundError: there are no such weights.
    """
    if runtime not in EXPORTING_RUNTIMES or runtime not in available_runtimes():
        return False
    return find_export(weights) is None


def export_apart(weights: str | Path, say: Callable[[str], None] = print,
                 is_ending: Callable[[], bool] = lambda: False) -> None:
    """Exports weights for CPUs in a process of its own.

    Args:
        weights: a shipped network by name or a safetensors file by path.
        say: called with each step.
        is_ending: whether to give up.

    Raises:
        RuntimeError: the export failed, or was given up.
    """
    command = [sys.executable, '-m', 'decomr_core.estimation.prepare', str(find_weights(weights))]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, errors='replace',
        env=child_environment(**{VARIABLE: str(cache_folder())}))
    lines: list[str] = []
    reader = threading.Thread(target=_pass_on, args=(process, lines, say), daemon=True)
    reader.start()
    while reader.is_alive():
        reader.join(LOOK_PERIOD_S)
        if is_ending():
            # It removes its files and ends by itself, once the library that it is in returns.
            process.send_signal(signal.SIGINT)
            raise RuntimeError('the export was given up')
    if process.wait():
        raise RuntimeError(lines[-1] if lines else f'it ended with code {process.returncode}')


def _pass_on(process: subprocess.Popen[str], lines: list[str], say: Callable[[str], None]
             ) -> None:
    """Says each step of the process, and keeps all of its lines."""
    for line in process.stderr:
        lines.append(line.strip())
        kind, _, text = lines[-1].partition(' ')
        if kind == 'INFO':
            say(text)


def _main(weights: str) -> int:
    """The process of `export_apart`: its last line on standard error says what went wrong."""
    # However the process that asked for it ends, this one does not stay behind.
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
