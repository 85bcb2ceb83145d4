"""Two processes train one network, as torchrun starts them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from decomr_core.checkpoint import load_network

ROOT = Path(__file__).parents[2]
OPTIONS = {'batch_size': 4, 'threads': 1, 'num_workers': 0, 'pool_images': 4,
           'validate_every': 0, 'stages.cnet_steps': 1, 'optimizer.learning_rate': 1e-3}


def start(out: Path, steps: int, *more: str) -> subprocess.Popen:
    """Two processes that train for some steps."""
    options = [f'--train.{name}={value}' for name, value in OPTIONS.items()]
    return subprocess.Popen(
        [sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node', '2', '--standalone',
         '-m', 'training.train', *options,
         f'--train.stages.end_to_end_steps={steps}', '--out', str(out), *more],
        cwd=ROOT, env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen) -> str:
    """What they print until they end."""
    try:
        return process.communicate(timeout=240)[0]
    finally:
        process.kill()


def test_two_processes_share_each_batch_stop_together_and_go_on(tmp_path):
    team = start(tmp_path, 4000, '--train.save_every=1')
    deadline = time.monotonic() + 240
    while not (tmp_path / 'checkpoint.pt').is_file() and time.monotonic() < deadline:
        assert team.poll() is None, team.stdout.read()
        time.sleep(0.2)
    team.send_signal(signal.SIGTERM)
    output = finish(team)
    assert 'continue with --resume' in output, output
    config = json.loads((tmp_path / 'config.json').read_text())
    assert config['train']['batch_size'] == 4
    load_network(tmp_path / 'network.safetensors')
    state = torch.load(tmp_path / 'checkpoint.pt', weights_only=True)
    assert state['processes'] == 2 and state['step'] >= 1


def test_a_batch_that_two_processes_cannot_share_is_one_clear_error(tmp_path):
    output = finish(start(tmp_path, 1, '--train.batch_size=3'))
    assert 'batch_size is 3; it must be a multiple of 2' in output
    assert not (tmp_path / 'checkpoint.pt').exists()
