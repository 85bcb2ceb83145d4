"""OpenVINO and signals: a network freed in one thread must not break the others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('openvino')
ROOT = Path(__file__).resolve().parents[3]

LOAD_HERE_FREE_ELSEWHERE = """
import gc, os, signal, threading
import numpy as np, openvino, openvino.opset13 as ops
from decomr_core.runtimes.openvino_runtime import _core

node = ops.parameter([8, 64], np.float32)
model = openvino.Model([ops.matmul(node, np.ones((64, 64), np.float32), False, False)], [node])
networks = [_core().compile_model(model, 'CPU', {})]
networks[0](np.ones((8, 64), np.float32))
freeing = threading.Thread(target=lambda: (networks.clear(), gc.collect()))
freeing.start()
freeing.join()
signal.signal(signal.SIGUSR1, lambda *_: print('handled'))
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_a_signal_after_a_network_was_freed_in_another_thread_is_handled() -> None:
    done = subprocess.run(
        [sys.executable, '-c', LOAD_HERE_FREE_ELSEWHERE], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, 'handled\n'), done.stderr
