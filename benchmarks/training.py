"""Profile of a training step: python benchmarks/training.py [--preset paper] [--batch 8].

It runs steps of the end-to-end stage, including losses and optimiser, on people rendered by
another process, and prints one JSON object; `--out` also writes it to a file. The forward pass is
broken down by part of the network, and the rendering by stage, measured in this process (clothed
people: `--wardrobe`, `--panoramas`, `--poses-file`).
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from decomr_core.base.config import PRESETS
from decomr_core.base.hardware import cpu_name
from training.loop.train_config import ENCODER_STAGES, OptimizerConfig, StageConfig, TrainConfig
from training.loop.trainer import Trainer
from training.synthetic.people import SyntheticPeople
from training.synthetic.preview import add_asset_options, asset_values
from training.synthetic.synthetic_config import SyntheticConfig

WARM_UP = 2


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description='Profile of a training step.')
    parser.add_argument('--preset', default='paper', choices=sorted(PRESETS))
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--steps', type=int, default=12)
    parser.add_argument('--precision', default='fp32', choices=('fp32', 'bf16'))
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument(
        '--reuse', type=int, default=1, help='number of times that each image is used (1)'
    )
    parser.add_argument(
        '--encoder-share',
        type=float,
        default=1.0,
        help="factor of the encoder's learning rate; 0: the encoder is frozen",
    )
    parser.add_argument(
        '--encoder-stages',
        type=int,
        default=ENCODER_STAGES,
        help=f'number of trainable last stages of the encoder, 1 to {ENCODER_STAGES} (all)',
    )
    add_asset_options(parser)
    parser.add_argument('--out', type=Path, help='also write the JSON object to this file')
    options = parser.parse_args()
    report = measure(options)
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + '\n', encoding='utf-8')
    print(json.dumps(report))


def measure(options: argparse.Namespace) -> dict:
    """Times the parts of a step; medians over the steps, in seconds."""
    assets = asset_values(options)
    config = TrainConfig(
        preset=options.preset,
        batch_size=options.batch,
        precision=options.precision,
        threads=options.threads,
        num_workers=1,
        validate_every=0,
        pool_images=4 * options.batch,
        reuse=options.reuse,
        stages=StageConfig(cnet_steps=0, end_to_end_steps=options.steps + WARM_UP),
        optimizer=OptimizerConfig(
            encoder_share=options.encoder_share, encoder_stages=options.encoder_stages
        ),
        data=SyntheticConfig(size=PRESETS[options.preset].crop_size, **assets),
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, Path(folder))
        parts = trainer.data.batches(trainer.fabric.device)
        clocks = _part_clocks(trainer)
        rows = [_timed_step(trainer, parts, clocks) for _ in range(options.steps + WARM_UP)][
            WARM_UP:
        ]
        rendering = _rendering(trainer, config.data, options.steps)
    forward = {name: statistics.median(row.pop(name) for row in rows) for name in clocks}
    forward['warp, losses and the rest'] = statistics.median(row['forward'] for row in rows) - sum(
        forward.values()
    )
    medians = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    total = sum(medians.values())
    return {
        'what': 'training step, end-to-end stage',
        'preset': options.preset,
        'batch': options.batch,
        'precision': options.precision,
        'threads': options.threads,
        'images_per_s': round(options.batch / total, 2),
        'seconds': {name: round(value, 4) for name, value in medians.items()},
        'shares': {name: round(value / total, 3) for name, value in medians.items()},
        'forward_seconds': {name: round(value, 4) for name, value in forward.items()},
        'reuse': options.reuse,
        'rendering': rendering,
        'machine': _machine(),
        'torch': torch.__version__,
        'python': platform.python_version(),
        'date': datetime.date.today().isoformat(),
    }


def _part_clocks(trainer: Trainer) -> dict[str, list[float]]:
    """Seconds of each part of the network in the forward pass, refilled at every step."""
    network = trainer.network
    cnet = network.cnet
    parts = {
        'encoder': (cnet.encoder,),
        'decoder': (cnet.decoder,),
        'dense_heads': (cnet.uv_head, cnet.mask_head, cnet.joint_head),
        'lnet': (network.lnet,),
        'alignment': (network.alignment,),
    }
    clocks: dict[str, list[float]] = {}
    for name, modules in parts.items():
        clocks[name] = []
        for module in filter(None, modules):
            started: list[float] = []
            module.register_forward_pre_hook(
                lambda *_, started=started: started.append(_now(trainer))
            )
            module.register_forward_hook(
                lambda *_, started=started, clock=clocks[name]: clock.append(
                    _now(trainer) - started.pop()
                )
            )
    return clocks


def _rendering(trainer: Trainer, config: SyntheticConfig, batches: int) -> dict:
    """Images per second of the renderer in one process, and the share of each stage."""
    people = SyntheticPeople(config, trainer.body, trainer.uv_map, seed=1)
    stages = {
        'pose': (people, '_sample_bodies'),
        'draw': (people._painter, 'draw'),
        'compose': (people._compositor, 'compose'),
    }
    spent = dict.fromkeys(stages, 0.0)
    for name, (owner, method) in stages.items():
        object.__setattr__(owner, method, _timed(getattr(owner, method), spent, name))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    people.batch(0)
    spent.update(dict.fromkeys(stages, 0.0))
    started = time.perf_counter()
    for number in range(1, batches + 1):
        people.batch(number)
    seconds = time.perf_counter() - started
    torch.set_num_threads(threads)
    shares = {name: round(value / seconds, 3) for name, value in spent.items()}
    return {
        'images_per_s_one_core': round(batches * config.batch_size / seconds, 1),
        'is_dressed': bool(config.wardrobe),
        'has_panoramas': bool(config.panoramas),
        'shares': {**shares, 'labels and the rest': round(1 - sum(shares.values()), 3)},
    }


def _timed(function: Callable, spent: dict[str, float], name: str) -> Callable:
    """Wraps a function to add its seconds to `spent`."""

    def call(*arguments: object) -> object:
        started = time.perf_counter()
        result = function(*arguments)
        spent[name] += time.perf_counter() - started
        return result

    return call


def _timed_step(
    trainer: Trainer, parts: Iterator[Any], clocks: dict[str, list[float]]
) -> dict[str, float]:
    """Seconds of data, forward with losses, backward, optimiser; forward only of each part."""
    marks = [time.perf_counter()]
    batch = next(parts)
    marks.append(_now(trainer))
    trainer.network.train()
    terms = trainer.training_losses(batch, False)
    marks.append(_now(trainer))
    trainer.optimizer.zero_grad(set_to_none=True)
    trainer.fabric.backward(sum(terms.values()))
    marks.append(_now(trainer))
    trainer.optimizer.step()
    marks.append(_now(trainer))
    names = ('data', 'forward', 'backward', 'optimizer')
    row = {name: end - start for name, start, end in zip(names, marks, marks[1:], strict=False)}
    row |= {name: sum(clock) for name, clock in clocks.items()}
    for clock in clocks.values():
        clock.clear()
    return row


def _now(trainer: Trainer) -> float:
    if trainer.fabric.device.type == 'cuda':
        torch.cuda.synchronize()
    return time.perf_counter()


def _machine() -> str:
    """The model name of the GPU, otherwise of the processor."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f'{len(os.sched_getaffinity(0))} x {cpu_name()}'


if __name__ == '__main__':
    main()
