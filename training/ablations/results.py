"""The results of an ablation: one JSON file, and the scores of every image of each run.

The JSON file alone has all that the report of several seeds needs. The scores of the images give
the intervals if there is one seed.
"""

from __future__ import annotations

import dataclasses
import datetime
import fcntl
import functools
import itertools
import json
import logging
import os
import platform
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.stats
import torch

from decomr_core import __version__
from decomr_core.base.files import replacing
from decomr_core.base.hardware import cpu_name
from decomr_core.measures.metrics import bootstrap_interval
from training.evaluation.report import MAY_BE_UNKNOWN
from training.loop.train_config import PACE, TrainConfig

__all__ = ['AblationResults', 'Cell', 'Run', 'hardware', 'mean_with_interval', 'versions']

RESULTS, SCORES, LOCK = 'results.json', 'scores.npz', 'results.lock'
FORMAT_VERSION = 3
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
                'scores': {name: _mean(name, values) for name, values in scores.items()},
                **facts,
            }
            self.compare()
            self.write()

    def compare(self) -> None:
        """Computes the cells and their differences from the runs."""
        means = {cell: found for cell in self.grid if (found := self._means(cell))}
        # Only if there is one seed, the interval is that over the images.
        images = functools.cache(lambda run: _read_scores(self.folder / run.name / SCORES))
        for cell, of_seeds in means.items():
            seeds = sorted(of_seeds)
            alone = images(Run(cell, seeds[0])) if len(seeds) == 1 else {}
            if alone is None:
                continue
            self.values['cells'][cell.name] = {
                **dataclasses.asdict(cell),
                'seeds': seeds,
                'scores': {
                    name: _over_seeds(
                        name, [of_seeds[seed][name] for seed in seeds], alone.get(name)
                    )
                    for name in of_seeds[seeds[0]]
                },
            }
        self.values['comparisons'] = _comparisons(means, images)

    def _means(self, cell: Cell) -> dict[int, dict[str, float | None]]:
        """The mean scores of a cell by seed, as far as its runs are finished."""
        return {
            run.seed: self.values['runs'][run.name]['scores']
            for run in self.runs
            if run.cell == cell and self.is_finished(run)
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
    return _rounded(float(values.mean()), *bootstrap_interval(values))


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


def _comparisons(
    means: dict[Cell, dict[int, dict[str, float | None]]],
    images: Callable[[Run], dict[str, np.ndarray] | None],
) -> list[dict[str, Any]]:
    """Differences between any two cells, of the seeds that both have.

    With the same seed and on the same images, the difference of two networks varies much less than
    their scores.

    Args:
        means: mean scores by cell, seed and name.
        images: reads the scores (K,) of the images of a run, by name; None if they are lost.
    """
    rows = []
    for first, second in itertools.combinations(means, 2):
        seeds = sorted(means[first].keys() & means[second].keys())
        if not seeds:
            continue
        alone: dict[str, np.ndarray] = {}
        if len(seeds) == 1:
            before, after = (images(Run(cell, seeds[0])) for cell in (first, second))
            if before is None or after is None:
                continue
            alone = {metric: after[metric] - before[metric] for metric in COMPARED}
        row: dict[str, Any] = {'cell': second.name, 'minus': first.name, 'seeds': seeds}
        for metric in COMPARED:
            gaps = [
                _difference(means[second][seed][metric], means[first][seed][metric])
                for seed in seeds
            ]
            row[metric] = _over_seeds(metric, gaps, alone.get(metric))
        rows.append(row)
    return rows


def _mean(name: str, of_images: np.ndarray) -> float | None:
    """The mean of the scores (K,) of images; None if a score that may be unknown is."""
    values = _known(name, of_images)
    return round(float(values.mean()), DECIMALS) if len(values) else None


def _known(name: str, of_images: np.ndarray) -> np.ndarray:
    return of_images[~np.isnan(of_images)] if name in MAY_BE_UNKNOWN else of_images


def _difference(value: float | None, minus: float | None) -> float | None:
    return None if value is None or minus is None else round(value - minus, DECIMALS)


def _over_seeds(name: str, means: list[float | None], images: np.ndarray | None) -> dict[str, Any]:
    """The mean over the seeds, and its 95 % interval.

    With several seeds it is Student's interval over them: it covers what differs from training to
    training. With one it is the bootstrap interval over the images.

    Args:
        name: the score.
        means: the mean of each seed; None if the score is unknown.
        images: (K,) the scores of the images, if there is one seed.
    """
    known = np.array([mean for mean in means if mean is not None])
    if len(known) > 1:
        half = scipy.stats.t.ppf(0.975, len(known) - 1) * scipy.stats.sem(known)
        found = _rounded(known.mean(), known.mean() - half, known.mean() + half)
    else:
        found = mean_with_interval(np.zeros(0) if images is None else _known(name, images))
    return {**found, 'by_seed': means}


def _rounded(mean: float, low: float, high: float) -> dict[str, float | None]:
    return {
        key: round(float(value), DECIMALS)
        for key, value in (('mean', mean), ('low', low), ('high', high))
    }


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
