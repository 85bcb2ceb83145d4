"""Two processes train one network, as torchrun starts them."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from decomr_core.body_models import BodyModel
from decomr_core.networks.checkpoint import load_network
from decomr_core.uv.uv_map import UVMap
from training.train import main

ROOT = Path(__file__).parents[3]
OPTIONS = {
    'preset': 'small',
    'batch_size': 4,
    'threads': 1,
    'num_workers': 0,
    'pool_images': 4,
    'data.size': 256,
    'data.batch_size': 2,
    'validate_every': 0,
    'stages.cnet_steps': 1,
    'optimizer.learning_rate': 1e-3,
}


def arguments(out: Path, steps: int, *more: str) -> list[str]:
    """The command line of a short run."""
    options = [f'--train.{name}={value}' for name, value in OPTIONS.items()]
    return [*options, f'--train.stages.end_to_end_steps={steps}', '--out', str(out), *more]


def start(words: list[str]) -> subprocess.Popen:
    """Two processes that train, and torchrun's own."""
    return subprocess.Popen(
        [
            sys.executable,
            '-m',
            'torch.distributed.run',
            '--nproc-per-node',
            '2',
            '--standalone',
            '-m',
            'training.train',
            *words,
        ],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen) -> str:
    """Their output until they end."""
    try:
        return process.communicate(timeout=240)[0]
    finally:
        process.kill()


@pytest.mark.full_size
def test_two_processes_share_each_batch_stop_together_and_resume(
    tmp_path: Path, tiny_body: BodyModel, tiny_uv_map: UVMap
):
    tiny_body.save(tmp_path / 'body.npz')
    tiny_uv_map.save(tmp_path / 'uv.npz')
    team = start(
        arguments(
            tmp_path,
            4000,
            '--train.save_every=1',
            f'--train.body={tmp_path / "body.npz"}',
            f'--train.uv_map={tmp_path / "uv.npz"}',
        )
    )
    deadline = time.monotonic() + 240
    while not (tmp_path / 'checkpoint.pt').is_file() and time.monotonic() < deadline:
        assert team.poll() is None, team.stdout.read()
        time.sleep(0.05)
    team.send_signal(signal.SIGTERM)
    output = finish(team)
    assert 'continue with --resume' in output, output
    config = json.loads((tmp_path / 'config.json').read_text())
    assert config['train']['batch_size'] == 4
    load_network(tmp_path / 'network.safetensors', tiny_body, tiny_uv_map)
    state = torch.load(tmp_path / 'checkpoint.pt', weights_only=True)
    assert state['processes'] == 2 and state['step'] >= 1


def member(rank: int, port: int, words: list[str]) -> None:
    """One of two processes, with the environment that torchrun sets."""
    os.environ.update(
        {
            'RANK': str(rank),
            'LOCAL_RANK': str(rank),
            'GROUP_RANK': '0',
            'WORLD_SIZE': '2',
            'LOCAL_WORLD_SIZE': '2',
            'MASTER_ADDR': '127.0.0.1',
            'MASTER_PORT': str(port),
            'TORCHELASTIC_RUN_ID': 'test',
            'TORCHELASTIC_USE_AGENT_STORE': 'True',
        }
    )
    sys.exit(main(words))


def test_a_batch_that_two_processes_cannot_share_is_one_clear_error(tmp_path, monkeypatch, capfd):
    # Forked, as each of the two would need seconds to import PyTorch otherwise; a GPU that this
    # process has used is nothing that the forked ones could use.
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    store = torch.distributed.TCPStore('127.0.0.1', 0, is_master=True, wait_for_workers=False)
    context = multiprocessing.get_context('fork')
    words = arguments(tmp_path, 1, '--train.batch_size=3')
    team = [context.Process(target=member, args=(rank, store.port, words)) for rank in range(2)]
    try:
        for process in team:
            process.start()
        for process in team:
            process.join(timeout=120)
        assert [process.exitcode for process in team] == [2, 2]
    finally:
        for process in team:
            process.kill()
    errors = [line for line in capfd.readouterr().err.splitlines() if 'error' in line.lower()]
    assert len(errors) == 2 and all(
        line.startswith('error: batch_size is 3; it must be a multiple of 2: 2 processes')
        for line in errors
    )
    assert not (tmp_path / 'checkpoint.pt').exists()
