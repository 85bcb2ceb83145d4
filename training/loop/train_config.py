"""What a training run is made of; the YAML files in `config/` have the same tree."""

from __future__ import annotations

from dataclasses import dataclass, field

from training.records.augmentation import AugmentationConfig
from training.synthetic.people import SyntheticConfig

__all__ = ['INIT_PARTS', 'PACE', 'DatasetConfig', 'LossWeights', 'OptimizerConfig', 'StageConfig',
           'TrainConfig']

# What a run can take from the weights it starts from, and how those tensors' names begin.
INIT_PARTS = {'all': '', 'cnet': 'cnet.', 'encoder': 'cnet.encoder.'}
# Fields that set the pace of a run and not its result; a resumed run may change them.
PACE = ('threads', 'num_workers', 'save_every', 'validate_every', 'validation_images',
        'tensorboard')
TRUST = ('by_error', 'fully', 'never')


# Of a pretrained encoder: the stem, and four stages that begin with a step to half the size.
ENCODER_STAGES = 5


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
        edges: l1 of the lengths of the mesh's edges; not in the paper, off by default.
        normals: how far edges leave the true faces' planes; not in the paper, off by default.
        posed: of location map, joints and projected joints once more, for the map that the
            global feature poses by itself, in both stages; nothing without pose components.
    """

    mask: float = 0.2
    uv: float = 1.0
    location_map: float = 1.0
    vertices: float = 0.0
    joints_3d: float = 1.0
    joints_2d: float = 1.0
    consistency: float = 1.0
    total_variation: float = 0.0
    edges: float = 0.0
    normals: float = 0.0
    posed: float = 1.0

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
        encoder_share: share of the rate that a pretrained encoder learns with; 0 keeps it as it
            is, which saves its backward pass.
        encoder_stages: so many of its last stages learn with it, of `ENCODER_STAGES`, with all
            that is behind them; the early ones, on fine grids, take most of the backward pass.
    """

    learning_rate: float = 2.5e-4
    warmup_steps: int = 0
    final_share: float = 1.0
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    ema_decay: float = 0.0
    encoder_share: float = 0.0
    encoder_stages: int = ENCODER_STAGES

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise ValueError(f'learning_rate is {self.learning_rate}; it must be above 0')
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f'ema_decay is {self.ema_decay}; take 0 to below 1')
        if not 1 <= self.encoder_stages <= ENCODER_STAGES:
            raise ValueError(f'encoder_stages is {self.encoder_stages}; take 1 to '
                             f'{ENCODER_STAGES}')
        for name in ('warmup_steps', 'final_share', 'weight_decay', 'clip_norm',
                     'encoder_share'):
            if getattr(self, name) < 0:
                raise ValueError(f'{name} is {getattr(self, name)}; it must be 0 or more')


@dataclass(frozen=True)
class StageConfig:
    """How long each of the two stages lasts, in optimiser steps or in epochs.

    Attributes:
        cnet_steps: stage 1, CNet alone on the IUV losses.
        end_to_end_steps: stage 2, everything on all losses.
        cnet_epochs: stage 1 in epochs, in place of its steps; 5 in the paper. An epoch shows as
            many photographs as all the data sets have people.
        end_to_end_epochs: stage 2 in epochs, in place of its steps; 30 in the paper.
    """

    cnet_steps: int = 1000
    end_to_end_steps: int = 6000
    cnet_epochs: float = 0.0
    end_to_end_epochs: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 0:
                raise ValueError(f'stages.{name} is {value}; take 0 or more')

    def in_steps(self, steps_per_epoch: float) -> StageConfig:
        """The same stages, in steps alone.

        Args:
            steps_per_epoch: 0 where there are no epochs.

        Raises:
            ValueError: they are in epochs, and there are none.
        """
        if not (self.cnet_epochs or self.end_to_end_epochs):
            return self
        if not steps_per_epoch:
            raise ValueError('stages are in epochs, but rendered people have none; give '
                             'cnet_steps and end_to_end_steps, or datasets')
        steps = [round(epochs * steps_per_epoch) if epochs else steps
                 for epochs, steps in ((self.cnet_epochs, self.cnet_steps),
                                       (self.end_to_end_epochs, self.end_to_end_steps))]
        return StageConfig(*steps)

    @property
    def total_steps(self) -> int:
        """Steps of both stages."""
        return self.cnet_steps + self.end_to_end_steps


@dataclass(frozen=True)
class DatasetConfig:
    """One data set of photographs; `docs/training.md` says what each expects.

    Attributes:
        root: its folder, where the paths of its images start.
        annotations: npz in the exchange format, or from `training.preprocess`; empty reads the
            data set's own files.
        dataset: which it is, a name of `training.datasets.registry`; empty takes the name it has
            in the mixture.
        split: part of it, where its own files are read; empty for the usual one.
        ratio: its share of the photographs; only the proportion counts.
        fits: SPIN's fits for the people of `annotations`.
        trust: how far fitted bodies are believed: `by_error` (the supplementary's Ours-B),
            `fully`, or `never`, which leaves 2D keypoints alone (Ours-A).
        use_openpose: whether joints that OpenPose found stand in where none are annotated.
    """

    root: str
    annotations: str = ''
    dataset: str = ''
    split: str = ''
    ratio: float = 1.0
    fits: str = ''
    trust: str = 'by_error'
    use_openpose: bool = False

    def __post_init__(self) -> None:
        if self.trust not in TRUST:
            raise ValueError(f'trust is {self.trust!r}; it must be one of {", ".join(TRUST)}')


@dataclass(frozen=True)
class TrainConfig:
    """One training run.

    Attributes:
        preset: the network's preset, one of `decomr_core.base.config.PRESETS`.
        lnet_input: what LNet sees of the image, one of `decomr_core.base.config.LNET_INPUTS`.
        body: the body: the built-in one by name, or an npz from `decomr body import`. Poses and
            shapes of public data sets are SMPL's and need SMPL.
        male_body, female_body: npz of the bodies of those genders; empty takes `body`.
        uv_map: the UV map: a shipped one by name, or its npz.
        init: weights to start from: a shipped network by name or a weights file of the same
            preset, body and UV map; empty starts from random ones.
        init_part: what is taken from `init`: `all`, `cnet` alone, or CNet's `encoder` alone; a
            part may come from another preset, and the encoder from another body or UV map. A
            .pth file of torchvision's ResNet-50 is an encoder of the preset `paper`.
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
        datasets: photographs, by name.
        synthetic_share: share of rendered people in each batch; the rest are photographs.
        augmentation: of the photographs.
        iuv_cache: folder that keeps the photographs' IUV images; empty draws them every time.
    """

    preset: str = 'rt'
    lnet_input: str = 'global+local'
    body: str = 'builtin'
    male_body: str = ''
    female_body: str = ''
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
    datasets: dict[str, DatasetConfig] = field(default_factory=dict)
    synthetic_share: float = 1.0
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    iuv_cache: str = ''

    def __post_init__(self) -> None:
        if self.precision not in ('fp32', 'bf16'):
            raise ValueError(f"precision is {self.precision!r}; it must be 'fp32' or 'bf16'")
        if self.init_part not in INIT_PARTS:
            raise ValueError(f'init_part is {self.init_part!r}; it must be one of '
                             f'{", ".join(INIT_PARTS)}')
        for name in ('batch_size', 'accumulate', 'reuse', 'threads', 'save_every', 'pool_images',
                     'validation_images'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} is {getattr(self, name)}; it must be at least 1')
        for name in ('num_workers', 'validate_every'):
            if getattr(self, name) < 0:
                raise ValueError(f'{name} is {getattr(self, name)}; it must be 0 or more')
        if self.batch_size % self.accumulate:
            raise ValueError(f'batch_size is {self.batch_size}; it must be a multiple of '
                             f'accumulate, which is {self.accumulate}')
        if self.init.endswith(('.pth', '.pt')) and self.init_part != 'encoder':
            raise ValueError(f'{self.init} is a PyTorch file, which is taken for an image '
                             'classifier: set init_part to encoder; an official DecoMR '
                             'checkpoint is converted first: decomr convert')
        if not 0 <= self.synthetic_share <= 1:
            raise ValueError(f'synthetic_share is {self.synthetic_share}; take 0 to 1')
        if self.synthetic_share == 1 and self.datasets:
            raise ValueError(f'synthetic_share is 1, which leaves nothing to '
                             f'{", ".join(self.datasets)}; lower it, to 0 for photographs alone')
        if self.synthetic_share < 1 and not self.datasets:
            raise ValueError(f'synthetic_share is {self.synthetic_share}, but there are no '
                             'datasets for the rest; name some, or set it to 1')
