"""Command lines of the training programs: config from a YAML file, errors in one line."""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from jsonargparse import ArgumentParser

from training.loop.train_config import TrainConfig
from training.synthetic.shards import SHARD_PEOPLE

__all__ = ['Stoppable', 'config_parser', 'error_line', 'rendering_parser', 'stopping_on_signals']


class Stoppable(Protocol):
    """Work that can be asked to stop; the method serves as a signal handler."""

    def request_stop(self, *_: object) -> None:
        """Requests a stop at the next opportunity."""


def config_parser(
    config: type, group: str, module: str, description: str | None
) -> ArgumentParser:
    """A command line that reads a config from a YAML file and offers its fields as options.

    Args:
        config: the dataclass.
        group: its key in the file and the prefix of its options.
        module: the module that python -m runs.
        description: of the program.
    """
    parser = ArgumentParser(prog=f'python -m {module}', description=description)
    parser.add_argument(
        '--config', action='config', help=f'YAML file with the fields of {config.__name__}'
    )
    parser.add_class_arguments(config, group, as_group=True)
    return parser


def error_line(error: Exception) -> str:
    """The message of an error, in one line; for a loader process, its original error."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    is_from_loader = 'DataLoader worker process' in lines[0]
    return lines[-1].partition(': ')[2] if is_from_loader else ' '.join(lines)


def rendering_parser(module: str, description: str | None) -> ArgumentParser:
    """The command line of a program that renders people; it logs to the standard error.

    Args:
        module: the module that python -m runs.
        description: of the program.
    """
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    parser = config_parser(TrainConfig, 'train', module, description)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        '--people',
        type=int,
        default=20000,
        help=f'number of rendered people, rounded up to whole files of {SHARD_PEOPLE} (20000)',
    )
    parser.add_argument(
        '--seed', type=int, required=True, help='seed of the people; another one for each process'
    )
    parser.add_argument('--out', type=Path, required=True, help='folder to write to')
    return parser


@contextlib.contextmanager
def stopping_on_signals(work: Stoppable) -> Iterator[None]:
    """Calls `work.request_stop` on SIGTERM and SIGINT while the context is active."""
    before = {
        number: signal.signal(number, work.request_stop)
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
