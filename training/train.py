"""Trains a network: CNet first, then everything end to end (paper, sections 3.4 and 4.1).

    python -m training.train --config config/training/train_rt.yaml --out runs/rt
    torchrun --nproc-per-node 2 -m training.train --config config/training/train_rt.yaml --out ...

The second command splits each batch between two processes (one per GPU; `--nnodes` for several
machines). The run folder holds the resolved config, `checkpoint.pt` (`--resume` continues exactly
from it), `log.jsonl` (one line per logged step and per validation) and `network.safetensors`,
written at each validation and at the end.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from training.loop.command_line import config_parser, error_line, stopping_on_signals
from training.loop.train_config import TrainConfig
from training.loop.trainer import Trainer
from training.loop.training_losses import NonFiniteLossError

__all__ = ['main']


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    parser = config_parser(TrainConfig, 'train', 'training.train', __doc__)
    parser.add_argument('--out', type=Path, default=Path('runs/rt'), help='run folder')
    parser.add_argument(
        '--resume', action='store_true', help='continue from the checkpoint in the run folder'
    )
    given = parser.parse_args(arguments)
    try:
        parsed = parser.instantiate(given)
        trainer = Trainer(parsed.train, parsed.out, parsed.resume)
        with stopping_on_signals(trainer):
            path = trainer.run()
    except (NonFiniteLossError, ImportError, OSError, ValueError, RuntimeError) as error:
        # One write: all training processes share the stream.
        sys.stderr.write(f'error: {error_line(error)}\n')
        return 2
    print(f'wrote {path}')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
