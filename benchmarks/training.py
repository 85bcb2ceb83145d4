"""Where a training step's time goes: python benchmarks/training.py [--preset paper] [--batch 8].

Runs real steps of the end-to-end stage (losses and optimiser included) on rendered people that
another process makes, and prints one JSON object; `--out` also writes it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from decomr_core.config import PRESETS
from decomr_core.hardware import cpu_name
from training.datasets.synthetic import SyntheticConfig
from training.train import Trainer
from training.train_config import StageConfig, TrainConfig

WARM_UP = 2


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description='Where a training step spends its time.')
    parser.add_argument('--preset', default='paper', choices=sorted(PRESETS))
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--steps', type=int, default=12)
    parser.add_argument('--precision', default='fp32', choices=('fp32', 'bf16'))
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--out', type=Path, help='also write the JSON object to this file')
    options = parser.parse_args()
    report = measure(options)
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + '\n', encoding='utf-8')
    print(json.dumps(report))


def measure(options: argparse.Namespace) -> dict:
    """Times steps; all of a step's parts are medians over the steps, in seconds."""
    config = TrainConfig(
        preset=options.preset, batch_size=options.batch, precision=options.precision,
        threads=options.threads, num_workers=1, validate_every=0, pool_images=4 * options.batch,
        stages=StageConfig(cnet_steps=0, end_to_end_steps=options.steps + WARM_UP),
        data=SyntheticConfig(size=PRESETS[options.preset].crop_size))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, Path(folder))
        parts = trainer.data.batches(trainer.fabric.device)
        rows = [_timed_step(trainer, parts) for _ in range(options.steps + WARM_UP)][WARM_UP:]
    medians = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    total = sum(medians.values())
    return {
        'what': 'training step, end-to-end stage', 'preset': options.preset,
        'batch': options.batch, 'precision': options.precision, 'threads': options.threads,
        'images_per_s': round(options.batch / total, 2),
        'seconds': {name: round(value, 4) for name, value in medians.items()},
        'shares': {name: round(value / total, 3) for name, value in medians.items()},
        'machine': _machine(), 'torch': torch.__version__, 'python': platform.python_version(),
        'date': datetime.date.today().isoformat()}


def _timed_step(trainer: Trainer, parts: object) -> dict[str, float]:
    """Seconds of waiting for data, forward with losses, backward, and optimiser."""
    marks = [time.perf_counter()]
    batch = next(parts)
    marks.append(_now(trainer))
    trainer.network.train()
    terms = trainer.train_step(batch, False)
    marks.append(_now(trainer))
    trainer.optimizer.zero_grad(set_to_none=True)
    trainer.fabric.backward(sum(terms.values()))
    marks.append(_now(trainer))
    trainer.optimizer.step()
    marks.append(_now(trainer))
    names = ('data', 'forward', 'backward', 'optimizer')
    return {name: end - start for name, start, end in zip(names, marks, marks[1:], strict=False)}


def _now(trainer: Trainer) -> float:
    if trainer.fabric.device.type == 'cuda':
        torch.cuda.synchronize()
    return time.perf_counter()


def _machine() -> str:
    """The GPU, or the processor by its model name where the system tells it."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f'{len(os.sched_getaffinity(0))} x {cpu_name()}'


if __name__ == '__main__':
    main()
