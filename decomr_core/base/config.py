"""Network configuration: one architecture and its presets.

`paper` is the published network (Zeng et al., CVPR 2020, section 4 and supplement): ResNet-50,
224 px crops, group normalisation, a location map of 128 texels. `rt`, which is shipped, has the
same parts after an encoder pretrained on photographs of people, and runs in real time on two CPU
cores. `small` is for experiments that train many networks, such as the ablation: a smaller
pretrained encoder, smaller parts after it, and nothing of what `rt` adds to the paper (pose
components, alignment, joint heatmaps).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

__all__ = ['LNET_INPUTS', 'PRESETS', 'NetworkConfig', 'network_config']

PRETRAINED_ENCODERS = ('blazepose', 'movenet')
PRETRAINED_CROP_PX = 256
ENCODER_STRIDE = 32
LOCAL_STRIDE = 4
RGB_CHANNELS = 3
# Image features that LNet can take, in the order of the paper's Table 5.
LNET_INPUTS = ('global', 'local', 'raw+global', 'global+local')


def _check_name(field: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f'{field} is {value!r}, expected one of: {", ".join(known)}')


@dataclass(frozen=True)
class NetworkConfig:
    """The sizes of one DecoMR network.

    Attributes:
        preset: name of this configuration.
        crop_size: S, side of the square input, px; a multiple of 32, or 256 for a
            pretrained encoder.
        norm: `group` or `batch` normalisation outside of the encoder, which always uses batch.
        global_features: G, length of the global feature.
        head_channels: channels before the last convolution of each dense output.
        hidden_features: width of the hidden layers after the global feature.
        broadcast_features: length of the global code, which is the same for every texel.
        uv_resolution: r, side of the UV grid to which features are warped, texels.
        projection_channels: hidden channels of the per-texel layers before the hourglass.
        hourglass_channels: channels of the UV features, then of each coarser level.
        uv_channels: channels after the hourglass, then after each doubling of the resolution.
        location_map_resolution: R, side of the location map, texels.
        is_residual: whether the location map is predicted as a difference from the template's.
        is_detailed: whether the template's detail is added to the location map (`SurfaceDetail`);
            otherwise the map must hold all detail, for which it needs many texels.
        default_camera: (s, tx, ty) for an output of zero.
        pose_components: number of linear components of the surface. The global feature poses the
            reference map with them before LNet, and LNet's coarsest features correct the pose.
            0 keeps the template. Needs a location map of the UV grid's resolution.
        joint_heatmaps: whether CNet also predicts where the body's joints are in the image.
            The alignment moves the surface's joints there. Ignored without pose components.
        keypoint_weight: weight of the pretrained encoder's own keypoints in the joint heatmaps:
            the logarithms of their scores, times this, are added. Ignored without joint heatmaps
            and with encoders that give no such scores; `movenet` does.
        lifting_features: width of the layers that improve the pose by the joints in the image
            (`LiftingHead`); 0 for no such step. Ignored without joint heatmaps.
        rigidity: how much the last step keeps the template's distances on the surface
            (`RigidSurface`), relative to the predicted places; 0 for no such step.
        squeezed_channels: number of channels to which a linear layer reduces the local features
            before they are warped to UV space. If it is 0, or C or more, they are warped as they
            are.
        lnet_input: inputs of LNet besides the reference map (section 4.4, Table 5): `global`, the
            code of the global feature; `local`, the decoder's features, warped; `raw+global`,
            warped pixels and the code; `global+local`, warped features and the code. The camera
            always comes from the global feature.
        box_margin: the crops are black outside of the person box, except for a border around it
            of this width, over the longer side of the box. None: they show everything.
        encoder: `resnet`, as in the paper, or the encoder of a pose network with weights
            pretrained on photographs: `movenet` or `blazepose`.
        encoder_block: ResNet only: `bottleneck` (ResNet-50) or `basic` (ResNet-18).
        encoder_width: ResNet only: channels of the stem and of the first stage; each stage
            doubles it.
        encoder_depths: ResNet only: residual blocks in each of the four stages.
        stem_kernel: ResNet only: side of the first convolution, px.
        global_pool: ResNet only: `mean` over the last feature map, or `spatial`: squeezed,
            flattened and projected, which keeps spatial information.
        summary_blocks: pretrained only: residual linear blocks after the layer that computes the
            global feature from the encoder's summary of the crop.
        decoder_channels: pretrained only: channels of the decoder at 1/4, 1/8, 1/16 and 1/32 of
            the crop; the first is C, of the local features. The channels of a ResNet's decoder
            are those of its stages.
    """

    preset: str
    crop_size: int
    norm: str
    global_features: int
    head_channels: int
    hidden_features: int
    broadcast_features: int
    uv_resolution: int
    projection_channels: tuple[int, ...]
    hourglass_channels: tuple[int, ...]
    uv_channels: tuple[int, ...]
    location_map_resolution: int
    is_residual: bool
    default_camera: tuple[float, float, float]
    lnet_input: str = 'global+local'
    encoder: str = 'resnet'
    encoder_block: str = 'basic'
    encoder_width: int = 40
    encoder_depths: tuple[int, int, int, int] = (2, 2, 2, 2)
    stem_kernel: int = 3
    global_pool: str = 'spatial'
    decoder_channels: tuple[int, int, int, int] = (64, 96, 128, 160)
    is_detailed: bool = False
    pose_components: int = 0
    joint_heatmaps: bool = False
    keypoint_weight: float = 0.0
    lifting_features: int = 0
    rigidity: float = 0.0
    squeezed_channels: int = 0
    box_margin: float | None = None
    summary_blocks: int = 0

    def __post_init__(self) -> None:
        """Checks that the sizes fit together.

        Raises:
            ValueError: a name is unknown, or the sizes do not fit together.
        """
        _check_name('encoder', self.encoder, ('resnet', *PRETRAINED_ENCODERS))
        _check_name('encoder_block', self.encoder_block, ('bottleneck', 'basic'))
        _check_name('norm', self.norm, ('group', 'batch'))
        _check_name('global_pool', self.global_pool, ('mean', 'spatial'))
        _check_name('lnet_input', self.lnet_input, LNET_INPUTS)
        for field in (
            'encoder_depths',
            'projection_channels',
            'hourglass_channels',
            'uv_channels',
            'default_camera',
            'decoder_channels',
        ):
            object.__setattr__(self, field, tuple(getattr(self, field)))
        if self.crop_size < ENCODER_STRIDE or self.crop_size % ENCODER_STRIDE:
            raise ValueError(
                f'crop_size is {self.crop_size}, expected a multiple of {ENCODER_STRIDE}'
            )
        if self.is_pretrained and self.crop_size != PRETRAINED_CROP_PX:
            raise ValueError(
                f'crop_size is {self.crop_size}, but the encoder {self.encoder} takes '
                f'{PRETRAINED_CROP_PX} px'
            )
        self._check_resolutions()
        if self.squeezed_channels < 0:
            raise ValueError(f'squeezed_channels is {self.squeezed_channels}, expected 0 or more')
        if self.box_margin is not None and not 0 <= self.box_margin < math.inf:
            raise ValueError(f'box_margin is {self.box_margin}, expected None, 0 or more')
        if not 0 <= self.keypoint_weight < math.inf:
            raise ValueError(f'keypoint_weight is {self.keypoint_weight}, expected 0 or more')
        if not 0 <= self.rigidity < math.inf or (self.rigidity and not self.is_detailed):
            raise ValueError(
                f'rigidity is {self.rigidity}, expected 0 or more, and 0 unless is_detailed, '
                'because the step needs texels that are surface points'
            )

    def _check_resolutions(self) -> None:
        """Checks that UV grid, hourglass and location map fit together."""
        coarsest = 2 ** (len(self.hourglass_channels) - 1)
        if self.uv_resolution % coarsest:
            raise ValueError(
                f'uv_resolution is {self.uv_resolution}, expected a multiple of '
                f'{coarsest} for {len(self.hourglass_channels)} hourglass levels'
            )
        if self.uv_resolution * 2 ** (len(self.uv_channels) - 1) != self.location_map_resolution:
            raise ValueError(
                f'location_map_resolution is {self.location_map_resolution}, but uv_resolution '
                f'{self.uv_resolution} doubled {len(self.uv_channels) - 1} times is '
                f'{self.uv_resolution * 2 ** (len(self.uv_channels) - 1)}; uv_channels needs '
                'one entry, and one more for each doubling'
            )
        if self.pose_components and self.location_map_resolution != self.uv_resolution:
            raise ValueError(
                f'pose_components is {self.pose_components}, which needs '
                f'location_map_resolution = uv_resolution = {self.uv_resolution}, but '
                f'location_map_resolution is {self.location_map_resolution}'
            )

    @property
    def is_pretrained(self) -> bool:
        """Whether the encoder is that of a pose network, with pretrained weights."""
        return self.encoder in PRETRAINED_ENCODERS

    @property
    def vector_norm(self) -> str:
        """`layer` or `batch` normalisation of vectors, of which there is one per person.

        Batch statistics of a dozen people, as in training on a CPU, are too noisy for regression.
        """
        return 'layer' if self.is_pretrained else 'batch'

    @property
    def local_channels(self) -> int:
        """C, channels of the local features."""
        channels = self.decoder_channels if self.is_pretrained else self.encoder_channels
        return channels[0]

    @property
    def encoder_channels(self) -> tuple[int, int, int, int]:
        """Channels of a ResNet's features at 1/4, 1/8, 1/16 and 1/32 of the crop."""
        expansion = 4 if self.encoder_block == 'bottleneck' else 1
        first = self.encoder_width * expansion
        return first, 2 * first, 4 * first, 8 * first

    @property
    def has_global_code(self) -> bool:
        """Whether LNet takes the global feature as input."""
        return 'global' in self.lnet_input.split('+')

    @property
    def has_local_features(self) -> bool:
        """Whether LNet takes the decoder's features as input."""
        return 'local' in self.lnet_input.split('+')

    @property
    def is_posed(self) -> bool:
        """Whether the global feature poses LNet's reference map."""
        return self.pose_components > 0 and self.has_global_code and self.warped_channels > 0

    @property
    def locates_joints(self) -> bool:
        """Whether CNet predicts where the joints are in the image."""
        return self.joint_heatmaps and self.is_posed

    @property
    def lifts(self) -> bool:
        """Whether the joints in the image improve the pose."""
        return self.lifting_features > 0 and self.locates_joints

    @property
    def squeezes(self) -> bool:
        """Whether the local features are reduced to fewer channels before the warp."""
        return self.has_local_features and 0 < self.squeezed_channels < self.local_channels

    @property
    def warped_channels(self) -> int:
        """Channels that are warped to UV space for LNet; 0 for none."""
        if self.has_local_features:
            return self.squeezed_channels if self.squeezes else self.local_channels
        return 0 if self.lnet_input == 'global' else RGB_CHANNELS

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NetworkConfig:
        """A config from the result of `to_dict`; fields with a default may be missing.

        Raises:
            ValueError: a field is unknown or missing.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        required = {
            field.name for field in dataclasses.fields(cls) if field.default is dataclasses.MISSING
        }
        unknown, missing = set(values) - known, required - set(values)
        if unknown or missing:
            raise ValueError(
                f'network config does not fit: unknown {sorted(unknown)}, missing '
                f'{sorted(missing)}; known: {sorted(known)}'
            )
        return cls(**values)


PRESETS = {
    'paper': NetworkConfig(
        preset='paper',
        crop_size=224,
        encoder_block='bottleneck',
        encoder_width=64,
        encoder_depths=(3, 4, 6, 3),
        stem_kernel=7,
        norm='group',
        global_pool='mean',
        global_features=2048,
        head_channels=32,
        hidden_features=512,
        broadcast_features=256,
        uv_resolution=64,
        projection_channels=(512, 512),
        hourglass_channels=(256, 512, 1024, 2048),
        uv_channels=(128, 64),
        location_map_resolution=128,
        is_residual=False,
        default_camera=(0.0, 0.0, 0.0),
    ),
    'rt': NetworkConfig(
        preset='rt',
        crop_size=256,
        encoder='movenet',
        decoder_channels=(64, 96, 128, 160),
        norm='batch',
        global_features=512,
        summary_blocks=2,
        head_channels=32,
        hidden_features=256,
        broadcast_features=64,
        uv_resolution=32,
        projection_channels=(96,),
        hourglass_channels=(64, 96, 128, 128),
        uv_channels=(64,),
        location_map_resolution=32,
        is_residual=True,
        is_detailed=True,
        pose_components=128,
        joint_heatmaps=True,
        keypoint_weight=2.0,
        lifting_features=384,
        rigidity=300.0,
        squeezed_channels=16,
        box_margin=0.05,
        default_camera=(0.9, 0.0, 0.0),
    ),
    'small': NetworkConfig(
        preset='small',
        crop_size=256,
        encoder='blazepose',
        decoder_channels=(32, 48, 64, 96),
        norm='batch',
        global_features=256,
        head_channels=16,
        hidden_features=128,
        broadcast_features=64,
        uv_resolution=32,
        projection_channels=(64,),
        hourglass_channels=(32, 48, 64, 96),
        uv_channels=(32,),
        location_map_resolution=32,
        is_residual=True,
        is_detailed=True,
        default_camera=(0.9, 0.0, 0.0),
    ),
}


def network_config(preset: str = 'rt') -> NetworkConfig:
    """The config of a preset, one of `PRESETS`.

    Raises:
        ValueError: there is no such preset.
    """
    _check_name('preset', preset, tuple(PRESETS))
    return PRESETS[preset]
