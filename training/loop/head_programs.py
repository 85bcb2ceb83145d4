"""Common parts of the programs that train small heads on precomputed data of rendered people.

For each head one program renders people and stores what the head reads, and another one trains it.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from decomr_core.base.config import NetworkConfig
from decomr_core.body_models import load_body
from decomr_core.networks import checkpoint
from decomr_core.networks.decomr import DecoMR
from decomr_core.uv.uv_map import load_uv_map
from training.loop.command_line import rendering_parser
from training.loop.train_config import TrainConfig
from training.synthetic.held_out import check_seed
from training.synthetic.people import SyntheticPeople
from training.synthetic.synthetic_config import missing_assets

__all__ = [
    'head_parser',
    'optimise',
    'options_from',
    'people_of',
    'rate_share',
    'run_program',
    'run_rendering',
]

Options = TypeVar('Options')
WARMUP_STEPS = 200
CLIP_NORM = 1.0
logger = logging.getLogger(__name__)


def rate_share(step: int, steps: int) -> float:
    """Learning rate of a step as a share of the peak: warm-up and half cosine."""
    rise = min(1.0, (step + 1) / WARMUP_STEPS)
    return rise * 0.5 * (1 + math.cos(math.pi * step / steps))


def optimise(
    parameters: list[nn.Parameter],
    steps: int,
    learning_rate: float,
    weight_decay: float,
    next_loss: Callable[[], Tensor],
) -> None:
    """Trains parameters by AdamW with the rates of `rate_share`, and shows the progress.

    Args:
        parameters: of the head.
        steps: number of steps.
        learning_rate: peak rate.
        weight_decay: decoupled weight decay.
        next_loss: computes the loss of the next batch, a scalar.
    """
    optimizer = torch.optim.AdamW(parameters, learning_rate, weight_decay=weight_decay)
    progress = tqdm(range(steps), unit='step', mininterval=5)
    for step in progress:
        optimizer.param_groups[0]['lr'] = learning_rate * rate_share(step, steps)
        loss = next_loss()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
        optimizer.step()
        if step % 50 == 0:
            progress.set_postfix_str(f'loss {loss.item():.4f}')


def run_program(work: Callable[[], None]) -> int:
    """Does the work of a program; returns the exit code. Errors are reported in one line."""
    try:
        work()
    except (OSError, ValueError, RuntimeError) as error:
        sys.stderr.write(f'error: {error}\n')
        return 2
    return 0


def head_parser(
    module: str, description: str | None, data_module: str, options: object
) -> argparse.ArgumentParser:
    """The command line of a program that trains a head.

    Args:
        module: the module that python -m runs.
        description: of the program.
        data_module: the module that writes its data.
        options: dataclass of hyperparameters with their defaults.
    """
    parser = argparse.ArgumentParser(
        f'python -m {module}',
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'folders', nargs='+', type=Path, metavar='FOLDER', help=f'folder written by {data_module}'
    )
    parser.add_argument('--weights', default='rt', help='initial weights: path or name')
    parser.add_argument(
        '--held-out',
        type=Path,
        metavar='FOLDER',
        help=f'folder of {data_module} with held-out people to evaluate on',
    )
    for name, value in vars(options).items():
        parser.add_argument(f'--{name.replace("_", "-")}', type=type(value), default=value)
    parser.add_argument('--out', type=Path, required=True, help='safetensors file to write')
    return parser


def options_from(given: argparse.Namespace, defaults: Options) -> Options:
    """The hyperparameters that the command line of `head_parser` gives.

    Raises:
        ValueError: a value is out of its range.
    """
    return type(defaults)(**{name: getattr(given, name) for name in vars(defaults)})


def run_rendering(
    module: str,
    description: str | None,
    check: Callable[[NetworkConfig], str],
    write: Callable[[DecoMR, SyntheticPeople, int, Path], None],
    arguments: list[str] | None,
) -> int:
    """Runs the command line of a program that renders people and stores data of a network.

    Args:
        module: the module that python -m runs.
        description: of the program.
        check: what a network lacks for this program; empty if nothing.
        write: takes the network, the people, their number and the folder to write to.
        arguments: of the command line; None for those of the process.

    Returns:
        The exit code.
    """
    parser = rendering_parser(module, description)
    parser.add_argument('--weights', default='rt', help='network: path or name')
    given = parser.parse_args(arguments)
    return run_program(lambda: _render(parser.instantiate(given), check, write))


def people_of(config: TrainConfig, seed: int) -> SyntheticPeople:
    """The people that a program renders; says which files of assets are not given.

    Raises:
        ValueError: the seed is that of the held-out people, or the body does not fit the UV map.
        OSError: a file of the config cannot be read.
    """
    check_seed(seed)
    torch.set_num_threads(config.threads)
    body = load_body(config.body)
    people = SyntheticPeople(config.data, body, load_uv_map(config.uv_map, body), seed)
    for line in missing_assets(config.data):
        logger.info('%s', line)
    return people


def _render(
    given: Any,
    check: Callable[[NetworkConfig], str],
    write: Callable[[DecoMR, SyntheticPeople, int, Path], None],
) -> None:
    """Loads the network and renders people for it."""
    people = people_of(given.train, given.seed)
    network = checkpoint.load_network(given.weights, people.body, people.uv_map)
    lack = check(network.config)
    if lack:
        raise ValueError(f'{given.weights} {lack}; use weights of the preset rt')
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs
    write(network, people, given.people, given.out)
