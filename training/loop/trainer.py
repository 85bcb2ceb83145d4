"""A training run: network, data and optimiser, with exact resume from a checkpoint."""

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
from decomr_core.networks.pretrained import load_classifier, load_pose_network
from decomr_core.uv.uv_map import load_uv_map
from training.evaluation.synthetic_scores import evaluate_network
from training.loop.bfloat16 import EMULATED_TEXT, has_bfloat16
from training.loop.learning_rate import learning_rate_at, parameter_groups
from training.loop.plots import training_image
from training.loop.pose_components import init_pose_components
from training.loop.run_folder import RunFolder, without_folders
from training.loop.train_config import INIT_PARTS, PACE, TrainConfig
from training.loop.train_progress import TrainProgress
from training.loop.training_data import TrainingData, load_bodies
from training.loop.training_losses import TrainingLosses
from training.records.person_batch import PersonBatch
from training.synthetic.held_out import held_out_set
from training.synthetic.people import SyntheticPeople
from training.synthetic.synthetic_batch import SyntheticBatch
from training.synthetic.synthetic_config import missing_assets

__all__ = ['Trainer', 'make_fabric']

# Steps between log entries.
LOG_EVERY = 20
# Suffixes of torchvision's classifiers, which contain an encoder; ours end in .safetensors.
CLASSIFIER_SUFFIXES = ('.pth', '.pt')
# Number of differences between two networks that an error names; the preset comes first.
SHOWN_DIFFERENCES = 3
# Number of people in the images for TensorBoard.
NUM_SHOWN = 8
logger = logging.getLogger(__name__)


def _compile(network: DecoMR) -> None:
    """Compiles the modules that the losses call; they never call the whole network."""
    for part in (network.cnet, network.lnet, network.alignment):
        if part is not None:
            part.compile()


def make_fabric() -> Fabric:
    """Joins the processes that torchrun started, or sets up this process alone."""
    size = int(os.environ.get('WORLD_SIZE', '1'))
    local_size = int(os.environ.get('LOCAL_WORLD_SIZE', '1'))
    accelerator = 'cuda' if torch.cuda.is_available() else 'cpu'
    # LNet has no gradients in stage 1. Running statistics are not synchronised.
    shared = DDPStrategy(find_unused_parameters=True, broadcast_buffers=False)
    fabric = Fabric(
        accelerator=accelerator,
        devices=local_size,
        num_nodes=size // local_size,
        strategy=shared if size > 1 else 'auto',
    )
    fabric.launch()
    return fabric


def _part_size(config: TrainConfig, num_processes: int) -> int:
    """Number of people that a process computes at once.

    Raises:
        ValueError: the batch cannot be split evenly.
    """
    parts = num_processes * config.accumulate
    if config.batch_size % parts:
        raise ValueError(
            f'batch_size is {config.batch_size}; it must be a multiple of '
            f'{parts}: {num_processes} processes, each computing '
            f'{config.accumulate} parts'
        )
    return config.batch_size // parts


class Trainer:
    """The state of a training run between two steps; `run` trains until the last step.

    Args:
        config: the run.
        out: the run folder.
        resume: whether to continue from the checkpoint in the run folder.

    Raises:
        FileNotFoundError: there is no checkpoint to resume from, or no file at `init`.
        ValueError: the checkpoint comes from another config, the weights from another preset,
            body or UV map, or the batch cannot be split evenly.
    """

    def __init__(self, config: TrainConfig, out: Path, resume: bool = False) -> None:
        self.config, self.out = config, out
        torch.set_num_threads(config.threads)
        self.fabric = make_fabric()
        self.part_size = _part_size(config, self.fabric.world_size)
        self.folder = RunFolder(out, self.fabric.is_global_zero, config.tensorboard)
        if self.folder.has_checkpoint and not resume:
            raise ValueError(
                f'{out} already contains a run; continue it with --resume, or use another --out'
            )
        torch.manual_seed(config.seed)
        bodies = load_bodies(config)
        self.body = bodies['neutral']
        self.uv_map = load_uv_map(config.uv_map, self.body)
        # Before the network, which takes much longer: a data set may be missing or not fit.
        self.data = TrainingData(
            config,
            bodies,
            self.uv_map,
            network_config(config.preset).crop_size,
            self.part_size,
            self.fabric.global_rank,
            self.fabric.world_size,
        )
        self.network = self._first_network(resume)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs
        # From here on the stages are in steps only.
        self.config = config = replace(
            config, stages=config.stages.in_steps(self.data.steps_per_epoch)
        )
        training_losses = TrainingLosses(
            self.network, self.body, self.uv_map, config.losses, config.precision
        )
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.network, config.optimizer),
            lr=config.optimizer.learning_rate,
            weight_decay=config.optimizer.weight_decay,
            fused=True,
        )
        # One wrapper for both stages; it averages gradients over the processes.
        self.training_losses, self.optimizer = self.fabric.setup(training_losses, self.optimizer)
        self.averaged = copy.deepcopy(self.network).eval() if config.optimizer.ema_decay else None
        if config.compile:
            _compile(self.network)
        self.step, self.trained_s = 0, 0.0
        self.stop_asked = False
        if resume:
            self._load()

    def run(self) -> Path:
        """Trains until the last step and writes `network.safetensors`; returns its path."""
        config = self.config
        held_out = None
        self.folder.open({'train': asdict(config)})
        is_rendering = self.data.num_synthetic > 0 and self.data.stored is None
        if self.fabric.is_global_zero and is_rendering:
            for line in missing_assets(config.data):
                logger.info('%s', line)
        is_bfloat16 = config.precision == 'bf16' and self.fabric.is_global_zero
        if is_bfloat16 and not has_bfloat16(self.fabric.device.type):
            logger.warning('%s', EMULATED_TEXT)
        if self.fabric.is_global_zero and config.validate_every:
            held_out = held_out_set(config.data, self.body, self.uv_map, config.validation_images)
        total = config.stages.total_steps
        if self.step == total:
            logger.info(
                'all %d steps are already finished; to train further, start a new run '
                'with --train.init %s',
                total,
                self.folder.network_path,
            )
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
                logger.warning(
                    '%d times an image could not be read and was replaced by another',
                    self.data.num_unreadable,
                )
            if self.step < total:
                logger.warning('stopped at step %d; continue with --resume', self.step)
            self._write_network()
            self.folder.close()
        self.fabric.barrier()  # other processes may read the files afterwards
        return self.folder.network_path

    def request_stop(self, *_: object) -> None:
        """Stops all processes after the current step and saves; handles SIGTERM and SIGINT."""
        self.stop_asked = True

    @property
    def best_network(self) -> DecoMR:
        """The averaged network if there is one, otherwise the trained one."""
        return self.averaged if self.averaged is not None else self.network

    def _first_network(self, is_overwritten: bool) -> DecoMR:
        """The initial network; on a resume the checkpoint overwrites its weights."""
        expected = replace(network_config(self.config.preset), lnet_input=self.config.lnet_input)
        if not self.config.init or self.config.init_part != 'all':
            network = DecoMR(expected, self.body, self.uv_map)
            if expected.is_pretrained:
                load_pose_network(network)
            if expected.is_posed and not is_overwritten:
                # Only the bodies are used; clothes and backgrounds need not be loaded.
                bodies_only = replace(self.config.data, wardrobe='', panoramas='')
                init_pose_components(
                    network, SyntheticPeople(bodies_only, self.body, self.uv_map, self.config.seed)
                )
            if self.config.init.endswith(CLASSIFIER_SUFFIXES):
                load_classifier(network, self.config.init)
            elif self.config.init:
                prefix = INIT_PARTS[self.config.init_part]
                checkpoint.load_part(network, self.config.init, prefix)
            return network
        network = checkpoint.load_network(self.config.init, self.body, self.uv_map)
        if network.config != expected:
            found, wanted = asdict(network.config), asdict(expected)
            differences = [
                f'{name} {found[name]!r} instead of {wanted[name]!r}'
                for name in wanted
                if found[name] != wanted[name]
            ]
            raise ValueError(
                f'the network in {self.config.init} is not that of the config: it has '
                f'{", ".join(differences[:SHOWN_DIFFERENCES])}; change preset and lnet_input to '
                'those of the file, or init to other weights'
            )
        return network.train()

    def _optimize(self, parts: list[PersonBatch]) -> dict[str, float]:
        """Takes one optimiser step on the parts of a batch; returns their mean losses by name."""
        config = self.config
        self.network.train()
        if not config.optimizer.pose_share:  # frozen layers keep their running statistics too
            for layer in self.network.pose_layers:
                layer.eval()
        is_first_stage = self.step < config.stages.cnet_steps
        for group in self.optimizer.param_groups:
            group['lr'] = group['share'] * learning_rate_at(
                self.step, config.stages, config.optimizer
            )
        self.optimizer.zero_grad(set_to_none=True)
        means: dict[str, float] = {}
        for number, part in enumerate(parts, start=1):
            with self.fabric.no_backward_sync(self.training_losses, enabled=number < len(parts)):
                terms = self.training_losses(part, is_first_stage)
                self.fabric.backward(sum(terms.values()) / len(parts))
            for name, value in terms.items():
                means[name] = means.get(name, 0.0) + value.item() / len(parts)
        if config.optimizer.clip_norm:
            self.fabric.clip_gradients(
                self.training_losses, self.optimizer, max_norm=config.optimizer.clip_norm
            )
        self.optimizer.step()
        self.step += 1
        self._average()
        return means

    def _is_stopped(self) -> bool:
        """Whether any process was asked to stop; all processes then stop after the same step."""
        if self.fabric.world_size == 1:
            return self.stop_asked
        flag = torch.tensor(float(self.stop_asked), device=self.fabric.device)
        total = self.fabric.all_reduce(flag, reduce_op='sum')
        assert isinstance(total, torch.Tensor)  # as flag; the stub allows nested types
        return bool(total > 0)

    @torch.no_grad()
    def _average(self) -> None:
        """Updates the moving average of the weights."""
        if self.averaged is None or not self.fabric.is_global_zero:
            return
        # A lower decay at the start lets the average forget the random initial weights.
        decay = min(self.config.optimizer.ema_decay, (1 + self.step) / (10 + self.step))
        averaged, trained = self.averaged.state_dict(), self.network.state_dict()
        moving = [name for name, value in averaged.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [averaged[name] for name in moving], [trained[name] for name in moving], 1 - decay
        )
        for name in averaged.keys() - set(moving):
            averaged[name].copy_(trained[name])

    def _report(
        self, terms: dict[str, float], progress: TrainProgress, held_out: SyntheticBatch | None
    ) -> None:
        """Logs, validates and saves if the step is due for it."""
        config = self.config
        if self.step % LOG_EVERY == 0:
            rate = self.step * config.batch_size / max(self.trained_s, 1e-9)
            progress.entry(sum(terms.values()), rate)
            self.folder.log(
                self.step, self.trained_s, {'losses': terms, 'images_per_s': round(rate, 1)}
            )
        if held_out is not None and self.step % config.validate_every == 0:
            self._validate(held_out)
            self._write_network()
        if self.step % config.save_every == 0:
            self._save()

    def _validate(self, held_out: SyntheticBatch) -> None:
        scores = evaluate_network(self.best_network, held_out, self.body.data.faces)
        self.folder.log(self.step, self.trained_s, {'validation': scores})
        logger.info('step %d: %s', self.step, scores)
        if self.config.tensorboard:
            shown = held_out.part(slice(NUM_SHOWN)).in_boxes(self.network.config.box_margin)
            self.folder.log_image(
                self.step,
                'held-out',
                training_image(
                    self.best_network,
                    shown.as_person_batch().to(self.fabric.device),
                    self.body.faces,
                ),
            )

    def _save(self) -> None:
        averaged = self.averaged.state_dict() if self.averaged is not None else None
        self.folder.save_checkpoint(
            {
                'config': asdict(self.config),
                'processes': self.fabric.world_size,
                'network': self.network.state_dict(),
                'averaged': averaged,
                'optimizer': self.optimizer.state_dict(),
                'step': self.step,
                'trained_s': self.trained_s,
                'random': torch.get_rng_state(),
            }
        )

    def _load(self) -> None:
        state = self.folder.load_checkpoint(self.fabric.device)
        before, now = (
            _what_is_trained(config) for config in (state['config'], asdict(self.config))
        )
        differing = [name for name in now if before.get(name) != now[name]]
        if differing == ['optimizer']:
            logger.warning('the run continues with a different optimizer config')
        elif forbidden := [name for name in differing if name != 'optimizer']:
            raise ValueError(
                f'the run in {self.out} has a different {", ".join(forbidden)} than the config; '
                f'continue with --config {self.out / "config.json"}, or start a run in another '
                'folder (init can load these weights)'
            )
        if state['processes'] != self.fabric.world_size:
            logger.warning(
                'the run was started with %d processes and continues with %d: it '
                'will see other images',
                state['processes'],
                self.fabric.world_size,
            )
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
        checkpoint.save_checkpoint(
            self.folder.network_path, self.best_network, {'training': training}, half=True
        )


def _what_is_trained(config: dict) -> dict:
    """The config without the fields that affect only the pace of a run."""
    complete = _with_defaults(config, asdict(TrainConfig()))
    return {name: value for name, value in complete.items() if name not in PACE}


def _with_defaults(config: dict, defaults: dict) -> dict:
    """A stored config, with the defaults of fields that it does not have yet, at every level."""
    return defaults | {
        name: _with_defaults(value, defaults[name])
        if isinstance(value, dict) and isinstance(defaults.get(name), dict)
        else value
        for name, value in config.items()
    }
