"""The ablation of the paper's Table 5: UV map x LNet input, each cell with the same budget.

    python -m training.ablation --config config/training/ablation.yaml --out runs/ablation
    torchrun --nproc-per-node 2 -m training.ablation --config config/training/ablation.yaml ...

Each cell of the grid is trained once with each seed, in a folder of its own, and scored on the
same held-out images. Stage 1 does not involve LNet and is run once for each UV map and seed. To
continue after an interruption, run the same command again: finished runs are skipped, and an
interrupted one resumes. The folder gets `results.json`, `ablation.md` and `ablation.png`, which
are rewritten after every run. Commands with different `--cells` may share a folder at the same
time if no two of them run the same UV map.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from decomr_core.base.config import LNET_INPUTS
from decomr_core.geometry.crop import network_input
from decomr_core.networks.decomr import DecoMR
from training.ablations.report import write_report
from training.ablations.results import AblationResults, Run, hardware, versions
from training.evaluation.synthetic_scores import constant_scores, score_held_out
from training.loop.command_line import config_parser, error_line, stopping_on_signals
from training.loop.run_folder import CHECKPOINT
from training.loop.train_config import TrainConfig
from training.loop.trainer import Trainer
from training.loop.training_losses import NonFiniteLossError
from training.synthetic.held_out import held_out_set
from training.synthetic.synthetic_batch import SyntheticBatch

__all__ = ['Ablation', 'AblationConfig', 'main']

CNET = 'cnet'
STAGE_2_SEED = 1000
"""Added to the seed in stage 2, which has other people than stage 1 of any seed."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AblationConfig:
    """The grid, and the settings that all its cells share.

    Attributes:
        uv_maps: UV map by label (a shipped one by name, or an npz); the report compares the last
            with the first.
        lnet_inputs: inputs of LNet, some of `decomr_core.base.config.LNET_INPUTS`.
        images: number of held-out images that every cell is scored on.
        seeds: seeds of the training; each cell is trained once with each.
        train: the training run; each run replaces its `uv_map`, `lnet_input` and `seed`.
    """

    uv_maps: dict[str, str] = field(
        default_factory=lambda: {'conventional': 'makehuman', 'continuous': 'builtin'}
    )
    lnet_inputs: tuple[str, ...] = LNET_INPUTS
    images: int = 500
    seeds: tuple[int, ...] = (0,)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        unknown = [name for name in self.lnet_inputs if name not in LNET_INPUTS]
        if unknown or not self.lnet_inputs:
            raise ValueError(
                f'lnet_inputs is {list(self.lnet_inputs)}; take some of {list(LNET_INPUTS)}'
            )
        if not self.uv_maps:
            raise ValueError('uv_maps is empty; give at least one label and UV map')
        bad = [label for label in self.uv_maps if not re.fullmatch(r'[\w-]+', label)]
        if bad:
            raise ValueError(
                f'uv_maps has the labels {bad}, which cannot be folder names; use '
                'letters, digits, - and _'
            )
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f'seeds is {list(self.seeds)}; take one or more different numbers')
        if not all(0 <= seed < STAGE_2_SEED for seed in self.seeds):
            raise ValueError(f'seeds is {list(self.seeds)}; take 0 to {STAGE_2_SEED - 1}')
        if self.images < 1:
            raise ValueError(f'images is {self.images}; take 1 or more')


class Ablation:
    """Trains and scores the cells of a grid one after the other.

    Args:
        config: the grid and the shared settings.
        out: folder of the results, with a run folder per cell.

    Raises:
        ValueError: the results in the folder are damaged or were made with another config.
    """

    def __init__(self, config: AblationConfig, out: Path) -> None:
        self.config, self.out = config, out
        self.results = AblationResults(out, json.loads(json.dumps(asdict(config))))
        self.is_leader = os.environ.get('RANK', '0') == '0'
        self.stop_asked = False
        self._trainer: Trainer | None = None
        self._held_out: tuple[str, SyntheticBatch] | None = None

    def run(self, names: list[str] | None = None) -> bool:
        """Does the unfinished runs.

        Args:
            names: cells to run; None for all.

        Returns:
            Whether all of them are finished; False after a stop request.

        Raises:
            ValueError: there is no cell with one of the names.
        """
        known = [cell.name for cell in self.results.grid]
        unknown = [name for name in names or [] if name not in known]
        if unknown:
            raise ValueError(f'no cells {", ".join(unknown)}; known: {", ".join(known)}')
        # Chosen before any result is added, so that all processes do the same runs.
        chosen = [
            run
            for run in self.results.runs
            if run.cell.name in (names or known) and not self.results.is_finished(run)
        ]
        for run in chosen:
            if self._is_stop_requested_anywhere():
                return False
            stages = self._train(run)
            if any(trainer.step < trainer.config.stages.total_steps for trainer in stages):
                return False
            if self.is_leader:
                self._score(run, stages)
        return True

    def request_stop(self, *_: object) -> None:
        """Stops after the current step and saves; a handler of SIGTERM and SIGINT."""
        self.stop_asked = True
        if self._trainer is not None:
            self._trainer.request_stop()

    def _train(self, run: Run) -> list[Trainer]:
        """Trains a cell until its end or a stop request; returns the stages that were started."""
        cell = run.cell
        both = replace(self.config.train, uv_map=self.config.uv_maps[cell.uv_map], seed=run.seed)
        first = replace(both, stages=replace(both.stages, end_to_end_steps=0))
        second = replace(
            both,
            stages=replace(both.stages, cnet_steps=0),
            lnet_input=cell.lnet_input,
            seed=run.seed + STAGE_2_SEED,
        )
        done = []
        if both.stages.cnet_steps:
            done.append(self._run(f'{cell.uv_map}_{CNET}_seed{run.seed}', first))
            if done[0].step < both.stages.cnet_steps:
                return done
            second = replace(second, init=str(done[0].folder.network_path), init_part=CNET)
        return [*done, self._run(run.name, second)]

    def _run(self, name: str, config: TrainConfig) -> Trainer:
        """Starts or resumes a training run, until its end or a stop request."""
        logger.info('run %s', name)
        folder = self.out / name
        self._trainer = trainer = Trainer(config, folder, (folder / CHECKPOINT).is_file())
        if self.stop_asked:  # requested while the trainer was constructed
            trainer.request_stop()
        if trainer.step < config.stages.total_steps:
            trainer.run()
        self._trainer = None
        return trainer

    def _score(self, run: Run, stages: list[Trainer]) -> None:
        """Scores a trained cell, and writes the results and the report."""
        cell, trainer = run.cell, stages[-1]
        if self._held_out is None or self._held_out[0] != cell.uv_map:
            # The people are the same for every UV map; only the true IUV images differ.
            self._held_out = (
                cell.uv_map,
                held_out_set(
                    trainer.config.data, trainer.body, trainer.uv_map, self.config.images
                ),
            )
        held_out = self._held_out[1]
        if not self.results.values['best_constant']:
            self.results.values['best_constant'] = constant_scores(held_out.joints)
        network = trainer.best_network
        self.results.add(
            run,
            _score_each(network, held_out),
            {
                'parameters': sum(parameter.numel() for parameter in network.parameters()),
                'uv_hash': network.uv_hash,
                'steps': sum(stage.step for stage in stages),
                'train_s': round(sum(stage.trained_s for stage in stages), 1),
                'hardware': hardware(),
                'versions': versions(),
            },
        )
        write_report(self.results)

    def _is_stop_requested_anywhere(self) -> bool:
        """Whether any process was asked to stop; all processes then stop before the same run."""
        if not torch.distributed.is_initialized():
            return self.stop_asked
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        flag = torch.tensor(float(self.stop_asked), device=device)
        torch.distributed.all_reduce(flag)
        return bool(flag > 0)


@torch.no_grad()
def _score_each(network: DecoMR, held_out: SyntheticBatch) -> dict[str, np.ndarray]:
    """Scores (K,) of K images, by name."""
    network.eval()
    device = next(network.parameters()).device
    return score_held_out(
        lambda images: network(network_input(images.to(device))),
        held_out.in_boxes(network.config.box_margin),
    )[0]


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    parser = config_parser(AblationConfig, 'ablation', 'training.ablation', __doc__)
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('runs/ablation'),
        help='folder of the results and of the runs',
    )
    parser.add_argument(
        '--cells',
        nargs='+',
        metavar='CELL',
        help='run only these cells (LABEL_INPUT, for example continuous_local)',
    )
    parser.add_argument(
        '--report',
        action='store_true',
        help='run nothing; rewrite the table and the picture of the results',
    )
    given = parser.parse_args(arguments)
    try:
        parsed = parser.instantiate(given)
        if parsed.report:
            return _report(parsed.out)
        ablation = Ablation(parsed.ablation, parsed.out)
        with stopping_on_signals(ablation):
            is_finished = ablation.run(parsed.cells)
    except (NonFiniteLossError, ImportError, OSError, ValueError, RuntimeError) as error:
        print(f'error: {error_line(error)}', file=sys.stderr)
        return 2
    if not is_finished:
        print('stopped; run the same command to continue')
    elif ablation.is_leader:
        return _report(parsed.out)
    return 0


def _report(out: Path) -> int:
    paths = write_report(AblationResults(out))
    print(paths[0].read_text(encoding='utf-8'))
    print(f'wrote {", ".join(map(str, paths))}')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
