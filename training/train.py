"""Trains a network: CNet first, then everything end to end (paper, section 3.4 and 4.1).

    python -m training.train --config config/train_rt.yaml --out runs/rt
    torchrun --nproc-per-node 2 -m training.train --config config/train_rt.yaml --out runs/rt

The second form shares each batch between two processes. The run folder holds the resolved
config, `checkpoint.pt` (what `--resume` continues from), `log.jsonl` (a line per logged step and
per validation) and `network.safetensors`, written at each validation and at the end.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import os
import signal
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
import torch.distributed
from jsonargparse import ArgumentParser
from torch import nn
from tqdm import tqdm

from decomr_core import checkpoint
from decomr_core.body_models import load_body
from decomr_core.config import network_config
from decomr_core.networks.decomr import DecoMR
from decomr_core.uv.uv_map import load_uv_map
from training.datasets.producer import synthetic_loader
from training.datasets.synthetic import held_out_set
from training.evaluate import evaluate_network
from training.train_config import OptimizerConfig, StageConfig, TrainConfig
from training.train_step import NonFiniteLossError, TrainStep

__all__ = ['Trainer', 'learning_rate_at', 'main']

LOG_EVERY = 20
SEED_STEP = 1_000_003
NETWORK_FILE = 'network.safetensors'
PACE = ('threads', 'num_workers', 'save_every', 'validate_every', 'validation_images')
logger = logging.getLogger(__name__)


def learning_rate_at(step: int, stages: StageConfig, optimizer: OptimizerConfig) -> float:
    """The rate of a step: each stage warms up and then follows its own half cosine.

    Args:
        step: counted from the start of the run.
        stages: length of the two stages.
        optimizer: highest rate, warm-up and the share left at the end.
    """
    first = step < stages.cnet_steps
    done = step if first else step - stages.cnet_steps
    length = stages.cnet_steps if first else stages.end_to_end_steps
    if done < optimizer.warmup_steps:
        return optimizer.learning_rate * (done + 1) / optimizer.warmup_steps
    rest = max(length - optimizer.warmup_steps, 1)
    falling = 0.5 + 0.5 * math.cos(math.pi * (done - optimizer.warmup_steps) / rest)
    # Stage 2 starts anew at the top, so stage 1 need not fall to the bottom.
    share = optimizer.final_share if not first else max(optimizer.final_share, 0.5)
    return optimizer.learning_rate * (share + (1 - share) * falling)


class Team:
    """The processes that train together, started by torchrun; alone it does nothing.

    Attributes:
        size: number of processes.
        rank: number of this one; the first leads: it averages, validates, logs and saves.
        share: images of each batch that fall to this process.

    Raises:
        ValueError: the batch cannot be shared evenly.
    """

    def __init__(self, batch_size: int) -> None:
        self.size = int(os.environ.get('WORLD_SIZE', '1'))
        self.rank = int(os.environ.get('RANK', '0'))
        if batch_size % self.size:
            raise ValueError(
                f'batch_size is {batch_size}; it must be a multiple of the {self.size} processes'
            )
        self.share = batch_size // self.size
        if self.size > 1 and not torch.distributed.is_initialized():
            backend = 'nccl' if torch.cuda.is_available() else 'gloo'
            torch.distributed.init_process_group(backend)

    @property
    def is_leader(self) -> bool:
        """Whether this is the first process."""
        return self.rank == 0

    def seed(self, seed: int) -> int:
        """The seed of this process's own images."""
        return seed + SEED_STEP * self.rank

    def average_gradients(self, network: nn.Module, stop_asked: bool) -> bool:
        """Gives all processes the mean gradient.

        Args:
            network: its gradients are replaced.
            stop_asked: whether this process was asked to stop.

        Returns:
            Whether any process was: all leave after the same step.
        """
        if self.size == 1:
            return stop_asked
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        flag = gradients[0].new_tensor([float(stop_asked)])
        flat = torch.cat([flag, *(gradient.flatten() for gradient in gradients)])
        torch.distributed.all_reduce(flat)
        flat /= self.size
        parts = flat[1:].split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
        return bool(flat[0] > 0)


class Trainer:
    """Everything a run needs between two steps; `run` goes on until the last one.

    Args:
        config: the run.
        out: the run's folder.
        resume: whether to continue from the folder's checkpoint.

    Raises:
        FileNotFoundError: asked to resume where there is no checkpoint, or no weights at `init`.
        ValueError: the checkpoint comes from another config, or the weights from another preset,
            body or UV map.
    """

    def __init__(self, config: TrainConfig, out: Path, resume: bool = False) -> None:
        self.config, self.out = config, out
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(config.seed)
        torch.set_num_threads(config.threads)
        self.device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
        self.team = Team(config.batch_size)
        self.body = load_body()
        self.uv_map = load_uv_map(config.uv_map, self.body)
        network = self._first_network()
        self.network = network.to(self.device, memory_format=torch.channels_last)
        self.train_step = TrainStep(
            self.network, self.body, self.uv_map, config.losses, config.precision
        ).to(self.device)
        self.averaged = copy.deepcopy(network).eval() if config.optimizer.ema_decay else None
        self.optimizer = torch.optim.AdamW(
            network.parameters(),
            lr=config.optimizer.learning_rate,
            weight_decay=config.optimizer.weight_decay,
            fused=True,
        )
        self.step = 0
        self.trained_s = 0.0
        self.stop_asked = self.has_stopped = False
        if resume:
            self._load()

    def run(self) -> Path:
        """Trains to the last step and writes `network.safetensors`; returns its path."""
        config = self.config
        held_out = None
        if self.team.is_leader:
            self._write_config()
            if config.validate_every:
                held_out = held_out_set(
                    config.data, self.body, self.uv_map, config.validation_images
                )
        loader = synthetic_loader(
            config.data, self.body, self.uv_map, batch_size=self.team.share,
            num_workers=config.num_workers, seed=self.team.seed(config.seed), reuse=config.reuse,
            pool_images=config.pool_images, first_chunk=self._chunks_used(),
        )
        total = config.stages.total_steps
        quiet = None if self.team.is_leader else True
        progress = tqdm(total=total, initial=self.step, unit='step', disable=quiet)
        started = time.monotonic() - self.trained_s
        for batch in loader:
            if self.step >= total or self.has_stopped:
                break
            terms = self._optimize(batch.to(self.device))
            self.trained_s = time.monotonic() - started
            progress.update()
            if self.team.is_leader:
                self._report(terms, progress, held_out)
        if not self.team.is_leader:
            return self.out / NETWORK_FILE
        self._save()
        if self.has_stopped:
            logger.warning('stopped at step %d; continue with --resume', self.step)
        return self._write_network()

    def ask_to_stop(self, *_: object) -> None:
        """Lets the current step end everywhere, saves and leaves; handles SIGTERM and SIGINT."""
        self.stop_asked = True

    @property
    def best_network(self) -> DecoMR:
        """The averaged network where there is one, else the trained one."""
        return self.averaged if self.averaged is not None else self.network

    def _first_network(self) -> DecoMR:
        wanted = replace(network_config(self.config.preset), lnet_input=self.config.lnet_input)
        if not self.config.init:
            return DecoMR(wanted, self.body, self.uv_map)
        network = checkpoint.load_network(self.config.init, self.body, self.uv_map)
        if network.config != wanted:
            raise ValueError(
                f'{self.config.init} holds a {network.config.preset!r} network with lnet_input '
                f'{network.config.lnet_input!r}, the run is to train {wanted.preset!r} with '
                f'{wanted.lnet_input!r}; set preset and lnet_input to those, or init to other '
                'weights'
            )
        return network.train()

    def _optimize(self, batch: object) -> dict[str, float]:
        config = self.config
        self.network.train()
        first = self.step < config.stages.cnet_steps
        step = self.train_step
        terms = step.cnet_losses(batch) if first else step.end_to_end_losses(batch)
        for group in self.optimizer.param_groups:
            group['lr'] = learning_rate_at(self.step, config.stages, config.optimizer)
        self.optimizer.zero_grad(set_to_none=True)
        sum(terms.values()).backward()
        self.has_stopped = self.team.average_gradients(self.network, self.stop_asked)
        if config.optimizer.clip_norm:
            nn.utils.clip_grad_norm_(self.network.parameters(), config.optimizer.clip_norm)
        self.optimizer.step()
        self.step += 1
        self._average()
        return {name: value.item() for name, value in terms.items()}

    @torch.no_grad()
    def _average(self) -> None:
        if self.averaged is None or not self.team.is_leader:
            return
        # Early on the average follows closely, or it would remember the random start.
        decay = min(self.config.optimizer.ema_decay, (1 + self.step) / (10 + self.step))
        kept, trained = self.averaged.state_dict(), self.network.state_dict()
        moving = [name for name, value in kept.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [kept[name] for name in moving], [trained[name] for name in moving], 1 - decay
        )
        for name in kept.keys() - set(moving):
            kept[name].copy_(trained[name])

    def _report(self, terms: dict[str, float], progress: tqdm, held_out: object) -> None:
        """Logs, validates and saves where it is time to."""
        config = self.config
        if self.step % LOG_EVERY == 0:
            self._log(terms, progress)
        if config.validate_every and self.step % config.validate_every == 0:
            self._validate(held_out)
            self._write_network()
        if self.step % config.save_every == 0:
            self._save()

    def _chunks_used(self) -> int:
        """Rendered chunks that the steps so far were made of; a resumed run goes on after them."""
        images = self.step * self.team.share
        return images // (self.config.reuse * self.config.data.batch_size)

    def _log(self, terms: dict[str, float], progress: tqdm) -> None:
        rate = self.step * self.config.batch_size / max(self.trained_s, 1e-9)
        progress.set_postfix_str(f'loss {sum(terms.values()):.4f}, {rate:.0f} images/s')
        self._append({'losses': terms, 'images_per_s': round(rate, 1)})

    def _validate(self, held_out: object) -> None:
        scores = evaluate_network(self.best_network, held_out)
        self._append({'validation': scores})
        logger.info('step %d: %s', self.step, scores)

    def _append(self, entry: dict) -> None:
        with (self.out / 'log.jsonl').open('a', encoding='utf-8') as handle:
            row = {'step': self.step, 'seconds': round(self.trained_s, 1), **entry}
            handle.write(json.dumps(row) + '\n')

    def _write_config(self) -> None:
        text = json.dumps(asdict(self.config), indent=2)
        (self.out / 'config.json').write_text(text, encoding='utf-8')

    def _save(self) -> None:
        averaged = self.averaged.state_dict() if self.averaged is not None else None
        state = {
            'config': asdict(self.config),
            'network': self.network.state_dict(),
            'averaged': averaged,
            'optimizer': self.optimizer.state_dict(),
            'step': self.step,
            'trained_s': self.trained_s,
            'random': torch.get_rng_state(),
        }
        path = self.out / 'checkpoint.pt'
        partial = path.with_suffix('.partial')
        torch.save(state, partial)
        os.replace(partial, path)

    def _load(self) -> None:
        path = self.out / 'checkpoint.pt'
        if not path.is_file():
            raise FileNotFoundError(f'no checkpoint at {path}; start the run without --resume')
        state = torch.load(path, map_location=self.device, weights_only=True)
        if _what_is_trained(state['config']) != _what_is_trained(asdict(self.config)):
            raise ValueError(
                f'{path} was made with another config than the one given; use the config in '
                f'{self.out / "config.json"}, or start without --resume in another folder'
            )
        self.network.load_state_dict(state['network'])
        if self.averaged is not None:
            self.averaged.load_state_dict(state['averaged'])
        self.optimizer.load_state_dict(state['optimizer'])
        torch.set_rng_state(state['random'].cpu())
        self.step, self.trained_s = state['step'], state['trained_s']

    def _write_network(self) -> Path:
        path = self.out / NETWORK_FILE
        training = {
            'config': asdict(self.config),
            'steps': self.step,
            'images': self.step * self.config.batch_size,
            'seconds': round(self.trained_s),
            'torch': torch.__version__,
        }
        checkpoint.save_checkpoint(path, self.best_network, {'training': training}, half=True)
        return path


def _what_is_trained(config: dict) -> dict:
    """The config without what only sets the pace, which a resumed run may change."""
    whole = {**asdict(TrainConfig()), **config}
    return {name: value for name, value in whole.items() if name not in PACE}


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    parser = ArgumentParser(prog='python -m training.train', description=__doc__)
    parser.add_argument('--config', action='config', help='YAML file with the tree of TrainConfig')
    parser.add_class_arguments(TrainConfig, 'train', as_group=True)
    parser.add_argument('--out', type=Path, default=Path('runs/rt'), help='folder of the run')
    parser.add_argument('--resume', action='store_true', help='continue from its checkpoint')
    parsed = parser.instantiate(parser.parse_args(arguments))
    try:
        trainer = Trainer(parsed.train, parsed.out, parsed.resume)
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, trainer.ask_to_stop)
        path = trainer.run()
    except (NonFiniteLossError, FileNotFoundError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(f'wrote {path}')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
