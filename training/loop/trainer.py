"""A training run: network, data and optimizer, stepped to the end, resumed exactly."""

from __future__ import annotations

import copy
import logging
import os
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy

from decomr_core.base.config import network_config
from decomr_core.networks import checkpoint
from decomr_core.networks.decomr import DecoMR
from decomr_core.uv.uv_map import load_uv_map
from training.evaluation.synthetic_scores import evaluate_network
from training.loop.learning_rate import learning_rate_at, parameter_groups
from training.loop.plots import training_picture
from training.loop.pose_components import init_pose_components
from training.loop.run_folder import RunFolder, without_folders
from training.loop.train_config import INIT_PARTS, PACE, TrainConfig
from training.loop.train_progress import TrainProgress
from training.loop.train_step import TrainStep
from training.loop.training_data import TrainingData, load_bodies
from training.records.person_batch import PersonBatch
from training.synthetic.people import (
    SyntheticBatch,
    SyntheticPeople,
    held_out_set,
    missing_assets,
)

__all__ = ['Trainer', 'make_fabric']

LOG_EVERY = 20
# Files of torchvision, which hold an encoder; ours end in .safetensors.
CLASSIFIER_SUFFIXES = ('.pth', '.pt')
# People in the pictures that a validation adds to TensorBoard.
NUM_SHOWN = 8
logger = logging.getLogger(__name__)


def make_fabric() -> Fabric:
    """The processes that train together: those that torchrun started, or this one alone."""
    size = int(os.environ.get('WORLD_SIZE', '1'))
    local_size = int(os.environ.get('LOCAL_WORLD_SIZE', '1'))
    accelerator = 'cuda' if torch.cuda.is_available() else 'cpu'
    # LNet has no gradients in stage 1. Running statistics stay each process's own.
    shared = DDPStrategy(find_unused_parameters=True, broadcast_buffers=False)
    fabric = Fabric(accelerator=accelerator, devices=local_size, num_nodes=size // local_size,
                    strategy=shared if size > 1 else 'auto')
    fabric.launch()
    return fabric


class Trainer:
    """Everything a run needs between two steps; `run` goes on until the last one.

    Args:
        config: the run.
        out: the run's folder.
        resume: whether to continue from the folder's checkpoint.

    Raises:
        FileNotFoundError: asked to resume where there is no checkpoint, or no weights at `init`.
        ValueError: the checkpoint comes from another config, the weights from another preset,
            body or UV map, or the batch cannot be shared evenly.
    """

    def __init__(self, config: TrainConfig, out: Path, resume: bool = False) -> None:
        self.config, self.out = config, out
        torch.set_num_threads(config.threads)
        self.fabric = make_fabric()
        parts = self.fabric.world_size * config.accumulate
        if config.batch_size % parts:
            raise ValueError(f'batch_size is {config.batch_size}; it must be a multiple of '
                             f'{parts}: {self.fabric.world_size} processes, each computing '
                             f'{config.accumulate} parts')
        self.part_size = config.batch_size // parts
        self.folder = RunFolder(out, self.fabric.is_global_zero, config.tensorboard)
        if self.folder.has_checkpoint and not resume:
            raise ValueError(f'{out} holds a run already; go on with it by --resume, or take '
                             'another --out')
        torch.manual_seed(config.seed)
        bodies = load_bodies(config)
        self.body = bodies['neutral']
        self.uv_map = load_uv_map(config.uv_map, self.body)
        self.network = self._first_network(resume).to(memory_format=torch.channels_last)
        self.data = TrainingData(
            config, bodies, self.uv_map, self.network.config.crop_size, self.part_size,
            self.fabric.global_rank, self.fabric.world_size)
        # Epochs become steps here: nothing behind it knows of them.
        self.config = config = replace(
            config, stages=config.stages.in_steps(self.data.steps_per_epoch))
        step = TrainStep(self.network, self.body, self.uv_map, config.losses, config.precision)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.network, config.optimizer),
            lr=config.optimizer.learning_rate,
            weight_decay=config.optimizer.weight_decay, fused=True,
        )
        # Wrapped for all stages at once: gradients are averaged over the processes.
        self.train_step, self.optimizer = self.fabric.setup(step, self.optimizer)
        self.averaged = (copy.deepcopy(self.network).eval() if config.optimizer.ema_decay
                         else None)
        if config.compile:
            self.network.compile()
        self.step, self.trained_s = 0, 0.0
        self.stop_asked = False
        if resume:
            self._load()

    def run(self) -> Path:
        """Trains to the last step and writes `network.safetensors`; returns its path."""
        config = self.config
        held_out = None
        self.folder.open({'train': asdict(config)})
        if self.fabric.is_global_zero and self.data.num_synthetic:
            for line in missing_assets(config.data):
                logger.info('%s', line)
        if self.fabric.is_global_zero and config.validate_every:
            held_out = held_out_set(
                config.data, self.body, self.uv_map, config.validation_images
            )
        total = config.stages.total_steps
        if self.step == total:
            logger.info('all %d steps were done before; a longer run begins with --train.init %s',
                        total, self.folder.network_path)
        progress = TrainProgress(total, self.step, self.fabric.is_global_zero)
        progress.start(self.folder.log_path, LOG_EVERY)
        parts = self.data.batches(self.fabric.device, self.step * config.accumulate)
        started = time.monotonic() - self.trained_s
        while self.step < total and not self._is_stopped():
            terms = self._optimize([next(parts) for _ in range(config.accumulate)])
            self.trained_s = time.monotonic() - started
            progress.update()
            if self.fabric.is_global_zero:
                self._report(terms, progress, held_out)
        if self.fabric.is_global_zero:
            self._save()
            if self.data.num_unreadable:
                logger.warning('%d times an image could not be read and another took its place',
                               self.data.num_unreadable)
            if self.step < total:
                logger.warning('stopped at step %d; continue with --resume', self.step)
            self._write_network()
            self.folder.close()
        self.fabric.barrier()  # the others may read what this one has written
        return self.folder.network_path

    def ask_to_stop(self, *_: object) -> None:
        """Lets the current step end everywhere, saves and leaves; handles SIGTERM and SIGINT."""
        self.stop_asked = True

    @property
    def best_network(self) -> DecoMR:
        """The averaged network where there is one, else the trained one."""
        return self.averaged if self.averaged is not None else self.network

    def _first_network(self, is_overwritten: bool) -> DecoMR:
        """What the run begins with; a checkpoint overwrites it where the run is resumed."""
        wanted = replace(network_config(self.config.preset), lnet_input=self.config.lnet_input)
        if not self.config.init or self.config.init_part != 'all':
            network = DecoMR(wanted, self.body, self.uv_map)
            if wanted.encoder == 'blazepose':
                checkpoint.load_blazepose(network)
            if wanted.is_posed and not is_overwritten:
                # Only bodies are taken of them: what they wear and where they are is not read.
                naked = replace(self.config.data, wardrobe='', panoramas='')
                init_pose_components(network, SyntheticPeople(
                    naked, self.body, self.uv_map, self.config.seed))
            if self.config.init.endswith(CLASSIFIER_SUFFIXES):
                checkpoint.load_classifier(network, self.config.init)
            elif self.config.init:
                prefix = INIT_PARTS[self.config.init_part]
                checkpoint.load_part(network, self.config.init, prefix)
            return network
        network = checkpoint.load_network(self.config.init, self.body, self.uv_map)
        if network.config != wanted:
            raise ValueError(
                f'{self.config.init} holds a {network.config.preset!r} network with lnet_input '
                f'{network.config.lnet_input!r}, the run is to train {wanted.preset!r} with '
                f'{wanted.lnet_input!r}; set preset and lnet_input to those, or init to other '
                'weights'
            )
        return network.train()

    def _optimize(self, parts: list[PersonBatch]) -> dict[str, float]:
        """One step on the parts of a batch; the mean of their losses by name."""
        config = self.config
        self.network.train()
        is_first_stage = self.step < config.stages.cnet_steps
        for group in self.optimizer.param_groups:
            group['lr'] = group['share'] * learning_rate_at(
                self.step, config.stages, config.optimizer)
        self.optimizer.zero_grad(set_to_none=True)
        means: dict[str, float] = {}
        for number, part in enumerate(parts, start=1):
            with self.fabric.no_backward_sync(self.train_step, enabled=number < len(parts)):
                terms = self.train_step(part, is_first_stage)
                self.fabric.backward(sum(terms.values()) / len(parts))
            for name, value in terms.items():
                means[name] = means.get(name, 0.0) + value.item() / len(parts)
        if config.optimizer.clip_norm:
            self.fabric.clip_gradients(self.train_step, self.optimizer,
                                       max_norm=config.optimizer.clip_norm)
        self.optimizer.step()
        self.step += 1
        self._average()
        return means

    def _is_stopped(self) -> bool:
        """Whether any process was asked to stop: all leave after the same step."""
        if self.fabric.world_size == 1:
            return self.stop_asked
        flag = torch.tensor(float(self.stop_asked), device=self.fabric.device)
        return bool(self.fabric.all_reduce(flag, reduce_op='sum') > 0)

    @torch.no_grad()
    def _average(self) -> None:
        if self.averaged is None or not self.fabric.is_global_zero:
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

    def _report(self, terms: dict[str, float], progress: TrainProgress,
                held_out: SyntheticBatch | None) -> None:
        """Logs, validates and saves where it is time to."""
        config = self.config
        if self.step % LOG_EVERY == 0:
            rate = self.step * config.batch_size / max(self.trained_s, 1e-9)
            progress.entry(sum(terms.values()), rate)
            self.folder.log(self.step, self.trained_s,
                            {'losses': terms, 'images_per_s': round(rate, 1)})
        if config.validate_every and self.step % config.validate_every == 0:
            self._validate(held_out)
            self._write_network()
        if self.step % config.save_every == 0:
            self._save()

    def _validate(self, held_out: SyntheticBatch) -> None:
        scores = evaluate_network(self.best_network, held_out, self.body.data.faces)
        self.folder.log(self.step, self.trained_s, {'validation': scores})
        logger.info('step %d: %s', self.step, scores)
        if self.config.tensorboard:
            shown = held_out.part(slice(NUM_SHOWN)).as_person_batch()
            self.folder.log_picture(self.step, 'held-out', training_picture(
                self.best_network, shown.to(self.fabric.device), self.body.faces))

    def _save(self) -> None:
        averaged = self.averaged.state_dict() if self.averaged is not None else None
        self.folder.save_checkpoint({
            'config': asdict(self.config),
            'processes': self.fabric.world_size,
            'network': self.network.state_dict(),
            'averaged': averaged,
            'optimizer': self.optimizer.state_dict(),
            'step': self.step,
            'trained_s': self.trained_s,
            'random': torch.get_rng_state(),
        })

    def _load(self) -> None:
        state = self.folder.load_checkpoint(self.fabric.device)
        before, now = (_what_is_trained(config)
                       for config in (state['config'], asdict(self.config)))
        differing = [name for name in now if before.get(name) != now[name]]
        if differing == ['optimizer']:
            logger.warning('the run goes on with another optimizer config than before')
        elif forbidden := [name for name in differing if name != 'optimizer']:
            raise ValueError(
                f'{self.out} was made with another {", ".join(forbidden)} than the config says '
                f'now; go on with --config {self.out / "config.json"}, or begin a run in another '
                'folder, from these weights if you like (init)'
            )
        if state['processes'] != self.fabric.world_size:
            logger.warning('the run was made by %d processes and goes on with %d: its images '
                           'will be other ones', state['processes'], self.fabric.world_size)
        self.network.load_state_dict(state['network'])
        if self.averaged is not None:
            self.averaged.load_state_dict(state['averaged'] or state['network'])
        shares = [group['share'] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state['optimizer'])
        for group, share in zip(self.optimizer.param_groups, shares, strict=True):
            group.update(weight_decay=self.config.optimizer.weight_decay, share=share)
        torch.set_rng_state(state['random'].cpu())
        self.step, self.trained_s = state['step'], state['trained_s']

    def _write_network(self) -> None:
        training = {
            'config': without_folders(asdict(self.config)),
            'steps': self.step,
            'images': self.step * self.config.batch_size,
            'seconds': round(self.trained_s),
            'torch': torch.__version__,
        }
        checkpoint.save_checkpoint(self.folder.network_path, self.best_network,
                                   {'training': training}, half=True)


def _what_is_trained(config: dict) -> dict:
    """The config without what only sets the pace, which a resumed run may change."""
    whole = _with_defaults(config, asdict(TrainConfig()))
    return {name: value for name, value in whole.items() if name not in PACE}


def _with_defaults(config: dict, defaults: dict) -> dict:
    """A config as it was written, with the fields that were added since, at every level."""
    return defaults | {
        name: _with_defaults(value, defaults[name]) if isinstance(value, dict)
        and isinstance(defaults.get(name), dict) else value for name, value in config.items()}
