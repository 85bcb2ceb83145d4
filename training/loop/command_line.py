"""Command lines of the programs that train: a config from a YAML file, errors in one line."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

from jsonargparse import ArgumentParser

__all__ = ['config_parser', 'error_line', 'stopping_on_signals']


def config_parser(config: type, group: str, module: str, description: str) -> ArgumentParser:
    """A command line that takes a config from a YAML file, and its fields as options.

    Args:
        config: the dataclass.
        group: its key in the file, and what its options start with.
        module: what is run with python -m.
        description: of the command.
    """
    parser = ArgumentParser(prog=f'python -m {module}', description=description)
    parser.add_argument('--config', action='config',
                        help=f'YAML file with the tree of {config.__name__}')
    parser.add_class_arguments(config, group, as_group=True)
    return parser


def error_line(error: Exception) -> str:
    """What an error says, in a line: of a loader's process, what it said there."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    is_from_loader = 'DataLoader worker process' in lines[0]
    return lines[-1].partition(': ')[2] if is_from_loader else ' '.join(lines)


@contextlib.contextmanager
def stopping_on_signals(work: Any) -> Iterator[None]:
    """Lets SIGTERM and SIGINT call `work.ask_to_stop`, which ends it in order."""
    before = {number: signal.signal(number, work.ask_to_stop)
              for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
