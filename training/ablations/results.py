"""The results of an ablation: one JSON file, and the scores of every image of each run."""

from __future__ import annotations

import dataclasses
import datetime
import fcntl
import itertools
import json
import logging
import os
import platform
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from decomr_core import __version__
from decomr_core.base.files import replacing
from decomr_core.base.hardware import cpu_name
from decomr_core.measures.metrics import bootstrap_interval
from training.evaluation.report import MAY_BE_UNKNOWN
from training.loop.train_config import PACE, TrainConfig

__all__ = ['AblationResults', 'Cell', 'Run', 'hardware', 'mean_with_interval', 'versions']

RESULTS, SCORES, LOCK = 'results.json', 'scores.npz', 'results.lock'
FORMAT_VERSION = 2
NEEDED = ('format_version', 'config', 'budget', 'images', 'runs', 'cells', 'comparisons')
NEEDED_OF_CELL = ('uv_map', 'lnet_input', 'scores')
# Joint errors for which differences between cells are reported.
COMPARED = ('pa_mpjpe_mm', 'mpjpe_mm')
DECIMALS = 4
logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One entry of the table.

    Attributes:
        uv_map: the label of the UV map.
        lnet_input: one of `decomr_core.base.config.LNET_INPUTS`.
    """

    uv_map: str
    lnet_input: str

    @property
    def name(self) -> str:
        """The name of the cell on the command line."""
        return f'{self.uv_map}_{self.lnet_input}'


class Run(NamedTuple):
    """One training of a cell.

    Attributes:
        cell: the cell.
        seed: seed of the training.
    """

    cell: Cell
    seed: int

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return f'{self.cell.name}_seed{self.seed}'


class AblationResults:
    """The results file of a folder, which is replaced atomically.

    Args:
        folder: folder of `results.json`.
        config: the config as plain values; None for that of an existing file.

    Raises:
        FileNotFoundError: there is no file, and no config is given.
        ValueError: the file is damaged, of another kind, or made with another config.
    """

    def __init__(self, folder: Path, config: dict[str, Any] | None = None) -> None:
        self.folder = folder
        self.path = folder / RESULTS
        if self.path.is_file():
            self.values = _read(self.path)
            if config is not None:
                _check_same_run(self.path, self.values['config'], config)
                self.values['config'] = config
        elif config is None:
            raise FileNotFoundError(
                f'no {RESULTS} in {folder}; run the ablation first: python '
                f'-m training.ablation --config FILE --out {folder}'
            )
        else:
            self.values = _empty_results(config)

    @property
    def grid(self) -> list[Cell]:
        """All cells of the config, in the order of the table."""
        config = self.values['config']
        return [
            Cell(label, lnet_input)
            for label in config['uv_maps']
            for lnet_input in config['lnet_inputs']
        ]

    @property
    def runs(self) -> list[Run]:
        """All runs of the config: the whole grid with the first seed, then with the next one."""
        return [Run(cell, seed) for seed in self.values['config']['seeds'] for cell in self.grid]

    def is_finished(self, run: Run) -> bool:
        """Whether the run has scores."""
        return run.name in self.values['runs']

    def add(self, run: Run, scores: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
        """Adds the scores of a run, compares its cell with the others, and writes the file.

        Args:
            run: the run.
            scores: (K,) scores of each image, by name.
            facts: further entries of the run, such as the hardware.
        """
        arrays: dict[str, Any] = {**scores}
        with replacing(self.folder / run.name / SCORES) as part:
            np.savez_compressed(part, **arrays)
        with (self.folder / LOCK).open('w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.path.is_file():  # another process may have added runs
                saved = _read(self.path)
                for key in ('runs', 'cells'):
                    self.values[key] = {**saved[key], **self.values[key]}
            self.values['runs'][run.name] = {
                **dataclasses.asdict(run.cell),
                'seed': run.seed,
                **facts,
            }
            read = {cell: found for cell in self.grid if (found := self._scores(cell))}
            for cell, of_seeds in read.items():
                self.values['cells'][cell.name] = {
                    **dataclasses.asdict(cell),
                    'seeds': sorted(of_seeds),
                    'scores': {
                        name: _mean_over_seeds(
                            name, [of_seeds[seed][name] for seed in sorted(of_seeds)]
                        )
                        for name in next(iter(of_seeds.values()))
                    },
                }
            self.values['comparisons'] = _comparisons(read)
            self.write()

    def _scores(self, cell: Cell) -> dict[int, dict[str, np.ndarray]]:
        """The scores of each image of a cell by seed, as far as its runs are finished."""
        return {
            run.seed: scores
            for run in self.runs
            if run.cell == cell
            and self.is_finished(run)
            and (scores := _read_scores(self.folder / run.name / SCORES)) is not None
        }

    def write(self) -> None:
        """Replaces the file atomically."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.values['date'] = datetime.datetime.now(datetime.timezone.utc).isoformat(
            timespec='seconds'
        )
        with replacing(self.path) as part:
            part.write_text(json.dumps(self.values, indent=2) + '\n', encoding='utf-8')


def mean_with_interval(values: np.ndarray) -> dict[str, float | None]:
    """The mean of (K,) values and its 95 % bootstrap interval over the images; None for K = 0.

    The interval covers the choice of the images, but not the seed of the training.
    """
    if not len(values):
        return dict.fromkeys(('mean', 'low', 'high'))
    low, high = bootstrap_interval(values)
    return {
        name: round(float(value), DECIMALS)
        for name, value in (('mean', values.mean()), ('low', low), ('high', high))
    }


def hardware() -> dict[str, Any]:
    """The hardware of this machine."""
    has_gpu = torch.cuda.is_available()
    return {
        'cpu': cpu_name(),
        'cpus': len(os.sched_getaffinity(0)),
        'gpu': torch.cuda.get_device_name() if has_gpu else None,
        'processes': int(os.environ.get('WORLD_SIZE', '1')),
    }


def versions() -> dict[str, str]:
    """The versions of this package, Python and the main libraries."""
    return {
        'decomr': __version__,
        'python': platform.python_version(),
        'torch': torch.__version__,
        'numpy': np.__version__,
    }


def _mean_over_seeds(name: str, of_seeds: list[np.ndarray]) -> dict[str, Any]:
    """The mean over seeds and images, its interval over the images, and the mean of each seed.

    Args:
        name: the score.
        of_seeds: (K,) scores of the same images for each seed; NaN if a score that may be
            unknown is.
    """
    values = np.ma.array(of_seeds, np.float64)
    if name in MAY_BE_UNKNOWN:
        values = np.ma.masked_invalid(values)
    means = [own.compressed().mean() if own.count() else None for own in values]
    return {
        **mean_with_interval(values.mean(axis=0).compressed()),
        'by_seed': [None if mean is None else round(float(mean), DECIMALS) for mean in means],
    }


def _comparisons(scores: dict[Cell, dict[int, dict[str, np.ndarray]]]) -> list[dict[str, Any]]:
    """Paired differences between any two cells, of the seeds that both have.

    On the same images, the difference of two networks varies much less than their scores.

    Args:
        scores: (K,) scores by cell, seed and name.
    """
    rows = []
    for first, second in itertools.combinations(scores, 2):
        seeds = sorted(scores[first].keys() & scores[second].keys())
        if not seeds:
            continue
        differences = {
            metric: _mean_over_seeds(
                metric,
                [scores[second][seed][metric] - scores[first][seed][metric] for seed in seeds],
            )
            for metric in COMPARED
        }
        rows.append({'cell': second.name, 'minus': first.name, 'seeds': seeds, **differences})
    return rows


def _empty_results(config: dict[str, Any]) -> dict[str, Any]:
    train = config['train']
    stages = {name: train['stages'][name] for name in ('cnet_steps', 'end_to_end_steps')}
    steps = sum(stages.values())
    return {
        'format_version': FORMAT_VERSION,
        'images': config['images'],
        'budget': {
            **stages,
            'batch_size': train['batch_size'],
            'training_images': steps * train['batch_size'],
            'reuse': train['reuse'],
        },
        'config': config,
        'best_constant': {},
        'runs': {},
        'cells': {},
        'comparisons': [],
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding='utf-8'))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f'{path} is damaged ({error}); {_remedy(path)}') from error
    problem = _problem(values)
    if problem:
        raise ValueError(f'{path} has no results of an ablation: {problem}; {_remedy(path)}')
    if values['format_version'] != FORMAT_VERSION:
        raise ValueError(
            f'{path} has format version {values["format_version"]}, but this package '
            f'reads version {FORMAT_VERSION}; {_remedy(path)}'
        )
    return values


def _problem(values: Any) -> str:
    """The fault in the content of a results file; empty if there is none."""
    if not isinstance(values, dict):
        return f'it contains a {type(values).__name__}, expected an object'
    missing = [key for key in NEEDED if key not in values]
    if missing:
        return f'it lacks {", ".join(missing)}'
    for key in ('runs', 'cells'):
        if not isinstance(values[key], dict):
            return f'its {key} are a {type(values[key]).__name__}, expected an object'
    missing = [
        f'{key} of {name}'
        for name, cell in values['cells'].items()
        for key in NEEDED_OF_CELL
        if key not in cell
    ]
    return f'it lacks {", ".join(missing)}' if missing else ''


def _remedy(path: Path) -> str:
    return (
        f'move it away and run again: finished runs in {path.parent} are not trained again, '
        'only scored'
    )


def _check_same_run(path: Path, saved: dict[str, Any], given: dict[str, Any]) -> None:
    """Raises an error if the configs differ in more than grid, seeds and pace of the runs."""
    labels = saved['uv_maps'].keys() & given['uv_maps'].keys()
    differing = [
        f'uv_maps.{label}'
        for label in sorted(labels)
        if saved['uv_maps'][label] != given['uv_maps'][label]
    ]
    # A field may be newer than the file.
    complete = {**dataclasses.asdict(TrainConfig()), **saved['train']}
    differing += [
        f'train.{name}'
        for name, value in given['train'].items()
        if name not in PACE and complete.get(name) != value
    ]
    differing += ['images'] if saved['images'] != given['images'] else []
    if differing:
        raise ValueError(
            f'{path} was made with another config: {", ".join(differing)} differ; '
            'use the config in this file, or another --out'
        )


def _read_scores(path: Path) -> dict[str, np.ndarray] | None:
    """Reads the scores of each image of a run; logs a warning and returns None on failure."""
    try:
        with np.load(path, allow_pickle=False) as data:
            return {name: data[name] for name in data}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        logger.warning('cannot read %s (%s); the run does not count', path, error)
        return None
