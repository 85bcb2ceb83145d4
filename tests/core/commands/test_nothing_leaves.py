"""No data leaves the machine, and HOME contains only the cache of decomr."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from decomr_core.base.cache import cache_folder
from tests.outside import watched

pytest.importorskip('openvino')
pytest.importorskip('onnxruntime')

OURS = {'.cache', '.cache/decomr'}
LOADS_BOTH = (
    'import decomr_core.runtimes.openvino_runtime as o, '
    'decomr_core.runtimes.onnxruntime_runtime as r; '
    'from decomr_core.base.assets import *; '
    'o._core(); r.open_model(find_detector("int8"), "cpu", 1); '
    'o.openvino.convert_model(str(find_detector("int8")))'
)


def test_the_runtimes_send_no_telemetry(tmp_path: Path) -> None:
    seen = watched([sys.executable, '-c', LOADS_BOTH], tmp_path)
    assert seen.done.returncode == 0, seen.done.stderr
    assert seen.outside == set()
    assert seen.home <= OURS


@pytest.mark.full_size
def test_predict_and_its_export_send_no_telemetry(tmp_path: Path, trained: dict[str, str]) -> None:
    image = tmp_path / 'image.png'
    cv2.imwrite(str(image), np.zeros((64, 64, 3), np.uint8))
    seen = watched(
        [
            sys.executable,
            '-m',
            'decomr_core.cli',
            'predict',
            str(image),
            '--out',
            str(tmp_path / 'out'),
            '--weights',
            trained['weights'],
            '--body',
            trained['body'],
            '--uv',
            trained['uv_map'],
        ],
        tmp_path,
    )
    assert seen.done.returncode == 0, seen.done.stderr
    assert 'step 3 of 3' in seen.done.stderr  # it has exported, with every engine
    assert seen.outside == set()
    assert seen.home <= OURS


@pytest.mark.full_size
def test_doctor_sends_no_telemetry(tmp_path: Path) -> None:
    # With the user's cache: the export, which the test above has, is not to be made once more.
    seen = watched(
        [sys.executable, '-m', 'decomr_core.cli', 'doctor'],
        tmp_path,
        DECOMR_CACHE=str(cache_folder()),
    )
    assert 'openvino' in seen.done.stdout, seen.done.stderr
    assert seen.outside == set()
    assert seen.home <= OURS


@pytest.mark.parametrize(
    ('code', 'said'),
    [
        ('import socket; socket.getaddrinfo("example.org", 80)', 'looks up example.org'),
        (
            'import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto('
            'b"", ("192.0.2.1", 9))',
            'sends to 192.0.2.1',
        ),
    ],
)
def test_the_guard_detects_name_lookups_and_connections(
    tmp_path: Path, code: str, said: str
) -> None:
    assert said in watched([sys.executable, '-c', code], tmp_path).outside


@pytest.mark.skipif(not shutil.which('strace'), reason='strace is not installed')
def test_the_guard_detects_connections_of_a_library(tmp_path: Path) -> None:
    can_trace = subprocess.run(['strace', '-qq', '-o', '/dev/null', 'true'], capture_output=True)
    if can_trace.returncode:
        pytest.skip('strace may not trace here')
    code = (
        'import socket; sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n'
        'import ctypes, struct\n'
        'address = struct.pack("=H", 2) + struct.pack("!H4s8x", 9, bytes([192, 0, 2, 7]))\n'
        'ctypes.CDLL(None).connect(sock.fileno(), address, len(address))'
    )
    assert 'sends to 192.0.2.7' in watched([sys.executable, '-c', code], tmp_path).outside
