"""What a training run is made of; the YAML files in `config/` have the same tree."""

from __future__ import annotations

from dataclasses import dataclass, field

from training.datasets.synthetic import SyntheticConfig

__all__ = ['INIT_PARTS', 'LossWeights', 'OptimizerConfig', 'StageConfig', 'TrainConfig']

# What a run can take from the weights it starts from, and how those tensors' names begin.
INIT_PARTS = {'all': '', 'cnet': 'cnet.', 'encoder': 'cnet.encoder.'}


@dataclass(frozen=True)
class LossWeights:
    """Factor of each loss; the defaults are the paper's where it names one (section 4.1).

    Attributes:
        mask: foreground cross entropy.
        uv: l1 of u and v.
        location_map: weighted l1 of the location map.
        vertices: l1 of the vertices; not in the paper, off by default.
        joints_3d: l1 of the pelvis-aligned joints.
        joints_2d: squared distance of the projected joints.
        consistency: agreement of location map, camera and true IUV.
        total_variation: smoothness of the location map; the paper's variant uses 1e-4.
    """

    mask: float = 0.2
    uv: float = 1.0
    location_map: float = 1.0
    vertices: float = 0.0
    joints_3d: float = 1.0
    joints_2d: float = 1.0
    consistency: float = 1.0
    total_variation: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 0:
                raise ValueError(f'loss weight {name} is {value}; it must be 0 (off) or above')


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam and the way its rate goes.

    Attributes:
        learning_rate: the highest rate; 2.5e-4 in the paper.
        warmup_steps: steps of each stage over which the rate rises from zero.
        final_share: share of the highest rate that is left at the end of a stage's cosine; 1
            keeps the rate constant, as the paper does.
        weight_decay: decoupled weight decay (AdamW).
        clip_norm: gradients are scaled down to this norm; 0 leaves them.
        ema_decay: decay of the averaged weights that are evaluated and shipped; 0 for none.
    """

    learning_rate: float = 2.5e-4
    warmup_steps: int = 0
    final_share: float = 1.0
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    ema_decay: float = 0.0


@dataclass(frozen=True)
class StageConfig:
    """How long each of the two stages lasts, in optimiser steps.

    Attributes:
        cnet_steps: stage 1, CNet alone on the IUV losses.
        end_to_end_steps: stage 2, everything on all losses.
    """

    cnet_steps: int = 1000
    end_to_end_steps: int = 6000

    @property
    def total_steps(self) -> int:
        """Steps of both stages."""
        return self.cnet_steps + self.end_to_end_steps


@dataclass(frozen=True)
class TrainConfig:
    """One training run.

    Attributes:
        preset: the network's preset, one of `decomr_core.config.PRESETS`.
        lnet_input: what LNet sees of the image, one of `decomr_core.config.LNET_INPUTS`.
        uv_map: the UV map: a shipped one by name, or its npz.
        init: weights to start from: a shipped network by name or a weights file of the same
            preset, body and UV map; empty starts from random ones.
        init_part: what is taken from `init`: `all`, `cnet` alone, or CNet's `encoder` alone; a
            part may come from another preset, and the encoder from another body or UV map.
        batch_size: images in an optimiser step; 128 in the paper.
        seed: of the weights and of the data.
        accumulate: parts that each batch is computed in, one after the other, so that a large
            batch fits a small GPU; batch normalisation sees the parts.
        precision: `fp32` or `bf16` (autocast of the network; losses stay in fp32).
        compile: whether torch.compile makes the network faster; minutes at the start.
        threads: CPU threads of each process; the image generators have processes of their own.
        num_workers: image generator processes of each training process.
        reuse: how many times each rendered image is given to the network.
        pool_images: rendered images that batches are drawn from, in each process.
        tensorboard: whether to write curves and pictures for TensorBoard.
        validate_every: steps between validations, 0 for none.
        validation_images: held-out images in a validation.
        save_every: steps between checkpoints.
        stages: length of the two stages.
        optimizer: Adam and its rate.
        losses: factor of each loss.
        data: the synthetic images.
    """

    preset: str = 'rt'
    lnet_input: str = 'global+local'
    uv_map: str = 'builtin'
    init: str = ''
    init_part: str = 'all'
    batch_size: int = 32
    seed: int = 0
    accumulate: int = 1
    precision: str = 'fp32'
    compile: bool = False
    threads: int = 2
    num_workers: int = 1
    reuse: int = 1
    pool_images: int = 256
    tensorboard: bool = False
    validate_every: int = 500
    validation_images: int = 128
    save_every: int = 250
    stages: StageConfig = field(default_factory=StageConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    losses: LossWeights = field(default_factory=LossWeights)
    data: SyntheticConfig = field(default_factory=SyntheticConfig)

    def __post_init__(self) -> None:
        if self.precision not in ('fp32', 'bf16'):
            raise ValueError(f"precision is {self.precision!r}; it must be 'fp32' or 'bf16'")
        if self.init_part not in INIT_PARTS:
            raise ValueError(f'init_part is {self.init_part!r}; it must be one of '
                             f'{", ".join(INIT_PARTS)}')
        for name in ('batch_size', 'accumulate', 'reuse', 'threads', 'save_every'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} is {getattr(self, name)}; it must be at least 1')
        if self.batch_size % self.accumulate:
            raise ValueError(f'batch_size is {self.batch_size}; it must be a multiple of '
                             f'accumulate, which is {self.accumulate}')
