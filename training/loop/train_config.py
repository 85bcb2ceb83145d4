"""Configuration of a training run; the YAML files in `config/` have the same tree."""

from __future__ import annotations

from dataclasses import dataclass, field

from training.records.augmentation import AugmentationConfig
from training.synthetic.synthetic_config import SyntheticConfig

__all__ = [
    'INIT_PARTS',
    'PACE',
    'DatasetConfig',
    'LossWeights',
    'OptimizerConfig',
    'StageConfig',
    'TrainConfig',
]

# Parts of the initial weights that a run can load, and the prefix of their tensors' names.
INIT_PARTS = {'all': '', 'cnet': 'cnet.', 'encoder': 'cnet.encoder.'}
# Fields that affect the pace of a run but not its result; a resumed run may change them.
PACE = (
    'threads',
    'num_workers',
    'save_every',
    'validate_every',
    'validation_images',
    'tensorboard',
)
TRUST = ('by_error', 'fully', 'never')
# Stages of a pretrained encoder: the stem, and four stages that each halve the resolution.
ENCODER_STAGES = 5


@dataclass(frozen=True)
class LossWeights:
    """Factor of each loss; the defaults are the paper's if it gives one (section 4.1).

    Attributes:
        mask: foreground cross entropy.
        mask_overlap: one minus the overlap of the foreground; not in the paper, off by default.
        uv: l1 of u and v.
        location_map: weighted l1 of the location map.
        vertices: l1 of the vertices; not in the paper, off by default.
        joints_3d: l1 of the pelvis-aligned joints.
        joints_2d: squared distance of the projected joints.
        consistency: agreement of location map, camera and true IUV.
        total_variation: smoothness of the location map; the paper's variant uses 1e-4.
        edges: l1 of the edge lengths of the mesh; not in the paper, off by default.
        normals: deviation of edges from the planes of the true faces; not in the paper, off by
            default.
        joint_locations: likelihood of the joints under CNet's joint heatmaps, in both stages; not
            in the paper, ignored without joint heatmaps.
        posed: losses of location map, joints and projected joints for the reference map as posed
            by the global feature, in both stages; ignored without pose components.
    """

    mask: float = 0.2
    mask_overlap: float = 0.0
    uv: float = 1.0
    location_map: float = 1.0
    vertices: float = 0.0
    joints_3d: float = 1.0
    joints_2d: float = 1.0
    consistency: float = 1.0
    total_variation: float = 0.0
    edges: float = 0.0
    normals: float = 0.0
    joint_locations: float = 0.02
    posed: float = 1.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 0:
                raise ValueError(f'loss weight {name} is {value}; it must be 0 (off) or above')


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW and its learning rate schedule.

    Attributes:
        learning_rate: peak rate; 2.5e-4 in the paper.
        warmup_steps: steps of each stage over which the rate rises from zero.
        final_share: final rate of a stage's cosine as a share of the peak; 1 keeps the rate
            constant, as in the paper.
        weight_decay: decoupled weight decay (AdamW).
        clip_norm: maximum norm of the gradients; 0 turns clipping off.
        ema_decay: decay of the moving average of the weights, which is evaluated and written; 0
            turns it off.
        encoder_share: rate of a pretrained encoder's weights as a factor of `learning_rate`,
            relative to their size (`learning_rate.parameter_groups`); 0 freezes the encoder and
            saves its backward pass.
        encoder_stages: number of last stages of the pretrained encoder that are trained, of
            `ENCODER_STAGES`; the early stages, at high resolution, take most of the backward pass.
        pose_share: factor of the rate for the layers that compute the global feature, the posed
            reference map and the camera (`DecoMR.pose_layers`); 0 freezes them. After
            `training.pose_heads`, small batches would make them worse.
    """

    learning_rate: float = 2.5e-4
    warmup_steps: int = 0
    final_share: float = 1.0
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    ema_decay: float = 0.0
    encoder_share: float = 0.0
    encoder_stages: int = ENCODER_STAGES
    pose_share: float = 1.0

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise ValueError(f'learning_rate is {self.learning_rate}; it must be above 0')
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f'ema_decay is {self.ema_decay}; take 0 to below 1')
        if not 1 <= self.encoder_stages <= ENCODER_STAGES:
            raise ValueError(
                f'encoder_stages is {self.encoder_stages}; take 1 to {ENCODER_STAGES}'
            )
        for name in (
            'warmup_steps',
            'final_share',
            'weight_decay',
            'clip_norm',
            'encoder_share',
            'pose_share',
        ):
            if getattr(self, name) < 0:
                raise ValueError(f'{name} is {getattr(self, name)}; it must be 0 or more')


@dataclass(frozen=True)
class StageConfig:
    """Length of the two stages, in optimiser steps or in epochs.

    Attributes:
        cnet_steps: length of stage 1, which trains CNet alone on the IUV losses.
        end_to_end_steps: length of stage 2, which trains everything on all losses.
        cnet_epochs: length of stage 1 in epochs, replaces its steps; 5 in the paper. An epoch has
            as many photographs as the data sets have people in total.
        end_to_end_epochs: length of stage 2 in epochs, replaces its steps; 30 in the paper.
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
        """Converts epochs to steps.

        Args:
            steps_per_epoch: 0 without photographs, which leaves epochs undefined.

        Raises:
            ValueError: the stages are in epochs, and epochs are undefined.
        """
        if not (self.cnet_epochs or self.end_to_end_epochs):
            return self
        if not steps_per_epoch:
            raise ValueError(
                'stages are in epochs, but rendered people have none; give '
                'cnet_steps and end_to_end_steps, or datasets'
            )
        cnet, end_to_end = (
            round(epochs * steps_per_epoch) if epochs else steps
            for epochs, steps in (
                (self.cnet_epochs, self.cnet_steps),
                (self.end_to_end_epochs, self.end_to_end_steps),
            )
        )
        return StageConfig(cnet, end_to_end)

    @property
    def total_steps(self) -> int:
        """Number of steps of both stages."""
        return self.cnet_steps + self.end_to_end_steps


@dataclass(frozen=True)
class DatasetConfig:
    """One data set of photographs; `docs/training.md` describes the files that each needs.

    Attributes:
        root: its folder; image paths are relative to it.
        annotations: npz in the exchange format or from `training.preprocess`; empty reads the
            data set's original files.
        dataset: its name in `training.datasets.registry`; empty for the key of this entry.
        split: the part of the original files to read; empty for the usual one.
        ratio: weight in the mixture of photographs, relative to the other data sets.
        fits: npz of SPIN's fits for the people of `annotations`.
        trust: use of fitted bodies: `by_error` weights them by their error (Ours-B in the
            supplementary), `fully` uses all, `never` uses 2D keypoints only (Ours-A).
        use_openpose: whether to use joints detected by OpenPose if none are annotated.
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
        lnet_input: image input of LNet, one of `decomr_core.base.config.LNET_INPUTS`.
        body: the built-in body by name, or an npz from `decomr body import`. Public data sets
            have poses and shapes of SMPL and need SMPL.
        male_body, female_body: npz of the bodies of these genders; empty uses `body`.
        uv_map: a shipped UV map by name, or an npz.
        init: initial weights: a shipped network by name, or a weights file of the same preset,
            body and UV map; empty for random weights.
        init_part: part of `init` to load: `all`, `cnet`, or CNet's `encoder`. A part may come
            from another preset, and the encoder from another body or UV map. A .pth file of
            torchvision's ResNet-50 is an encoder for the preset `paper`.
        batch_size: images per optimiser step; 128 in the paper.
        seed: seed of the weights and of the data.
        accumulate: number of parts of a batch, computed one after the other to fit a large batch
            into a small GPU; batch normalisation uses the statistics of each part.
        precision: `fp32` or `bf16` (autocast of the network; losses stay in fp32).
        compile: whether to compile the network with torch.compile, for GPUs. It takes minutes at
            the start of each stage, and on a CPU the training does not become faster.
        threads: CPU threads of each training process; image generators are separate processes.
        num_workers: image generator processes per training process.
        reuse: how many times each rendered image is used.
        pool_images: size of the pool of rendered images from which each process draws batches.
        tensorboard: whether to write curves and images for TensorBoard.
        validate_every: steps between validations; 0 turns validation off.
        validation_images: number of held-out images.
        save_every: steps between checkpoints.
        stages: length of the two stages.
        optimizer: AdamW and its learning rate schedule.
        losses: factor of each loss.
        data: the rendered people.
        rendered: folder of people from `training.render`, who then are not rendered during the
            training; `data`, `reuse` and `pool_images` then have no effect on the training images.
        datasets: data sets of photographs, by name.
        synthetic_share: share of rendered people in each batch; the rest are photographs.
        augmentation: augmentation of the photographs.
        iuv_cache: folder that caches the photographs' IUV images; empty renders them every time.
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
    rendered: str = ''
    datasets: dict[str, DatasetConfig] = field(default_factory=dict)
    synthetic_share: float = 1.0
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    iuv_cache: str = ''

    def __post_init__(self) -> None:
        if self.precision not in ('fp32', 'bf16'):
            raise ValueError(f"precision is {self.precision!r}; it must be 'fp32' or 'bf16'")
        if self.init_part not in INIT_PARTS:
            raise ValueError(
                f'init_part is {self.init_part!r}; it must be one of {", ".join(INIT_PARTS)}'
            )
        for name in (
            'batch_size',
            'accumulate',
            'reuse',
            'threads',
            'save_every',
            'pool_images',
            'validation_images',
        ):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} is {getattr(self, name)}; it must be at least 1')
        for name in ('num_workers', 'validate_every'):
            if getattr(self, name) < 0:
                raise ValueError(f'{name} is {getattr(self, name)}; it must be 0 or more')
        if self.batch_size % self.accumulate:
            raise ValueError(
                f'batch_size is {self.batch_size}; it must be a multiple of '
                f'accumulate, which is {self.accumulate}'
            )
        if self.init.endswith(('.pth', '.pt')) and self.init_part != 'encoder':
            raise ValueError(
                f'{self.init} is a PyTorch file, which is read as an image '
                'classifier; set init_part to encoder, or convert an official '
                'DecoMR checkpoint first: decomr convert'
            )
        if not 0 <= self.synthetic_share <= 1:
            raise ValueError(f'synthetic_share is {self.synthetic_share}; take 0 to 1')
        if self.rendered and not self.synthetic_share:
            raise ValueError(
                f'rendered is {self.rendered}, but synthetic_share is 0, so nobody from there '
                'would be used; raise synthetic_share, or leave rendered empty'
            )
        if self.synthetic_share == 1 and self.datasets:
            raise ValueError(
                f'synthetic_share is 1, which leaves no images for '
                f'{", ".join(self.datasets)}; lower it (0: photographs only), or '
                'remove the datasets'
            )
        if self.synthetic_share < 1 and not self.datasets:
            raise ValueError(
                f'synthetic_share is {self.synthetic_share}, but there are no '
                'datasets; add some, or set synthetic_share to 1'
            )
