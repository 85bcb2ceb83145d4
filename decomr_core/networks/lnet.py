"""LNet, the localisation network (paper section 3.3): UV features to location map and camera."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from decomr_core.base.config import NetworkConfig
from decomr_core.networks.blocks import (
    BottleneckBlock,
    OutputHead,
    UpsamplingBlock,
    make_norm,
    make_vector_norm,
)
from decomr_core.uv.warp import WARP_CHANNELS, reprojection_error

__all__ = ['Hourglass', 'LNet', 'Pose', 'TexelProjection']

# Channels of the reference map: x, y, z in metres.
POINT_CHANNELS = 3
# Channels of the reprojection error of a posed reference map: crop x and y.
ERROR_CHANNELS = 2
LEAKY_SLOPE = 0.2


class Pose(NamedTuple):
    """What is known of B people before LNet.

    Attributes:
        coefficients: (B, K) of the pose components; None if the preset has none.
        camera: (B, 3) weak perspective (s, tx, ty), float32.
    """

    coefficients: Tensor | None
    camera: Tensor


class LNet(nn.Module):
    """Per-texel layers, an hourglass and an upsampling decoder in UV space, and a camera head.

    Attributes:
        squeeze: (B, C, h, w) local features to those that are warped (B, c, h, w).
        reference_map: (1, 3, r, r) location map of the template, root frame, metres.
        reference_location_map: (1, 3, R, R) the same at full resolution. A residual network adds
            it to its output; for other networks it is zero.
        default_camera: (3,) the camera for an output of zero.
    """

    reference_map: Tensor
    reference_location_map: Tensor
    default_camera: Tensor

    def __init__(
        self, config: NetworkConfig, reference_map: Tensor, reference_location_map: Tensor
    ) -> None:
        """Makes the layers, randomly initialised."""
        super().__init__()
        self.register_buffer('reference_map', reference_map, persistent=False)
        self.register_buffer(
            'reference_location_map',
            reference_location_map * float(config.is_residual),
            persistent=False,
        )
        self.register_buffer(
            'default_camera', torch.tensor(config.default_camera), persistent=False
        )
        self.global_head = _make_global_head(config)
        self.camera_head = _make_camera_head(config)
        self.posed_head = _make_posed_head(config)
        self.correction_head = _make_correction_head(config)
        self.squeeze = _make_squeeze(config)
        self.projection = TexelProjection(config)
        self.hourglass = Hourglass(config.hourglass_channels, config.norm)
        self.uv_conv = BottleneckBlock(
            config.hourglass_channels[0], config.uv_channels[0], config.norm
        )
        self.decoder = nn.Sequential(
            *(
                UpsamplingBlock(coarse, fine, config.norm, mode='bilinear')
                for coarse, fine in zip(config.uv_channels, config.uv_channels[1:], strict=False)
            )
        )
        self.location_head = OutputHead(
            BottleneckBlock(config.uv_channels[-1], config.head_channels, config.norm),
            nn.Conv2d(config.head_channels, POINT_CHANNELS, kernel_size=1),
        )
        if config.is_residual:
            corrections = [] if self.correction_head is None else [self.correction_head.last]
            for last in (self.location_head.last, self.camera_head.last, *corrections):
                if last.bias is not None:
                    nn.init.zeros_(last.bias)
                nn.init.normal_(last.weight, std=1e-3)

    def forward(self, uv_features: Tensor | None, global_features: Tensor, pose: Pose) -> Tensor:
        """Predicts the surface.

        Args:
            uv_features: (B, C + 3, r, r) from the warp; None if `lnet_input` has none.
            global_features: (B, G) from CNet; not used if `lnet_input` does not name them.
            pose: from `pose` of the global features, or a better one.

        Returns:
            (B, 3, R, R) location maps, float32, metres, root frame.
        """
        code = None if self.global_head is None else self.global_head(global_features)
        reference_map, location_map = self.reference_map, self.reference_location_map
        if pose.coefficients is not None and uv_features is not None:
            # A posed network has UV features.
            change = self.posed_change(pose.coefficients)
            reference_map, location_map = reference_map + change, location_map + change
            error = reprojection_error(uv_features, reference_map, pose.camera)
            uv_features = torch.cat([uv_features, error], dim=1)
        features, coarsest = self.hourglass(self.projection(uv_features, code, reference_map))
        if self.correction_head is not None:
            location_map = location_map + self._map_change(self.correction_head(coarsest))
        features = self.decoder(self.uv_conv(features))
        return self.location_head(features) + location_map

    @property
    def pose_components(self) -> Tensor | None:
        """(3 r r, K) change of the reference map per unit of each pose component, metres.

        They are the weights of the last layer of the head that poses the reference map. None if
        the preset has no pose components.
        """
        return None if self.posed_head is None else self.posed_head.last.weight

    def pose(self, global_features: Tensor) -> Pose:
        """Pose and camera from the global features (B, G) alone."""
        camera = self.camera_head(global_features) + self.default_camera
        if self.posed_head is None:
            return Pose(None, camera)
        return Pose(self.posed_head.before_last(global_features), camera)

    def posed_change(self, coefficients: Tensor) -> Tensor:
        """Coefficients (B, K) of a pose to the change of the reference map (B, 3, r, r), metres.

        Raises:
            ValueError: the preset has no pose components.
        """
        if self.posed_head is None:
            raise ValueError('the network has no pose components; its config has none')
        change = self.posed_head.read(coefficients)
        return change.reshape(-1, *self.reference_map.shape[1:])

    def posed_map(self, coefficients: Tensor) -> Tensor:
        """Coefficients (B, K) of a pose to the posed location map (B, 3, R, R), metres."""
        return self.reference_location_map + self.posed_change(coefficients)

    def _map_change(self, coefficients: Tensor) -> Tensor:
        """Coefficients (B, K) of the pose components to a change of the map (B, 3, r, r)."""
        components = self.pose_components
        assert components is not None  # a network that corrects its pose has components
        with torch.autocast(coefficients.device.type, enabled=False):
            change = functional.linear(coefficients, components)
        return change.reshape(-1, *self.reference_map.shape[1:])


class TexelProjection(nn.Sequential):
    """1x1 convolutions over [UV features, global code, reference map] of every texel.

    The code is the same at every texel, so its part of the first convolution is one small matrix
    product instead of a convolution over copies. UV features or code, with their weights, are
    absent if `lnet_input` does not name them.
    """

    def __init__(self, config: NetworkConfig) -> None:
        """Makes the layers, randomly initialised."""
        has_warp = config.warped_channels > 0
        self.num_uv_features = config.warped_channels + WARP_CHANNELS if has_warp else 0
        self.num_uv_features += ERROR_CHANNELS * config.is_posed
        self.num_code = config.broadcast_features if config.has_global_code else 0
        sizes = (
            self.num_uv_features + self.num_code + POINT_CHANNELS,
            *config.projection_channels,
            config.hourglass_channels[0],
        )
        layers: list[nn.Module] = []
        for position, (before, after) in enumerate(zip(sizes, sizes[1:], strict=False)):
            if position > 0:
                layers.append(nn.ReLU(inplace=True))
            layers.append(nn.Conv2d(before, after, kernel_size=1))
        super().__init__(*layers)

    def forward(  # type: ignore[override]  # three inputs
        self, uv_features: Tensor | None, code: Tensor | None, reference_map: Tensor
    ) -> Tensor:
        """(B, C + 3, r, r), (B, code) and (1, 3, r, r) to (B, first hourglass size, r, r)."""
        first = cast(nn.Conv2d, self[0])
        # Slices, not split: the ONNX exporter folds slices into separate weights.
        code_at = self.num_uv_features
        reference_at = code_at + self.num_code
        uv_weight, code_weight, reference_weight = (
            first.weight[:, :code_at],
            first.weight[:, code_at:reference_at],
            first.weight[:, reference_at:],
        )
        features = functional.conv2d(reference_map, reference_weight, first.bias)
        if uv_features is not None:
            features = functional.conv2d(uv_features, uv_weight) + features
        if code is not None:
            features = features + functional.conv2d(code[..., None, None], code_weight)
        for layer in list(self)[1:]:
            features = layer(features)
        return features


class Hourglass(nn.Module):
    """Downsampling to coarser UV grids and upsampling with skips from each level."""

    def __init__(self, channels: tuple[int, ...], norm: str) -> None:
        """Makes one level per entry after the first of `channels`."""
        super().__init__()
        self.norm = make_norm(norm, channels[0])
        pairs = list(zip(channels, channels[1:], strict=False))
        self.down_layers = nn.ModuleList(
            nn.Sequential(BottleneckBlock(fine, coarse, norm), nn.MaxPool2d(2))
            for fine, coarse in pairs
        )
        self.up_layers = nn.ModuleList(
            UpsamplingBlock(coarse, fine, norm) for fine, coarse in pairs
        )

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, c, r, r) to features of the same shape and the features of the coarsest level."""
        skips = []
        for down in self.down_layers:
            skips.append(features)
            features = down(features)
        coarsest = features
        for up, skip in zip(reversed(self.up_layers), reversed(skips), strict=True):
            features = up(features) + skip
        return self.norm(features), coarsest


def _make_squeeze(config: NetworkConfig) -> nn.Module:
    """(B, C, h, w) local features to fewer channels, or the identity.

    The layer is linear, and the warp averages features: it gives the same before the warp as it
    would behind it, and with it the warp is faster.
    """
    if not config.squeezes:
        return nn.Identity()
    return nn.Conv2d(config.local_channels, config.squeezed_channels, 1, bias=False)


def _make_global_head(config: NetworkConfig) -> nn.Sequential | None:
    """(B, G) to the code that each texel gets (B, C); None if `lnet_input` has no such code."""
    if not config.has_global_code:
        return None
    return nn.Sequential(
        nn.Linear(config.global_features, config.hidden_features),
        make_vector_norm(config.vector_norm, config.hidden_features),
        nn.ReLU(inplace=True),
        nn.Linear(config.hidden_features, config.broadcast_features),
    )


def _make_camera_head(config: NetworkConfig) -> OutputHead:
    """(B, G) to a change of the default camera (B, 3)."""
    hidden, norm = config.hidden_features, config.vector_norm
    return OutputHead(
        nn.Linear(config.global_features, hidden),
        make_vector_norm(norm, hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, hidden // 2),
        make_vector_norm(norm, hidden // 2),
        nn.LeakyReLU(LEAKY_SLOPE, inplace=True),
        nn.Linear(hidden // 2, 3),
    )


def _make_posed_head(config: NetworkConfig) -> OutputHead | None:
    """(B, G) to a change of the reference map (B, 3 r r); None without pose components."""
    if not config.is_posed:
        return None
    return OutputHead(
        nn.Linear(config.global_features, config.hidden_features),
        make_vector_norm(config.vector_norm, config.hidden_features),
        nn.ReLU(inplace=True),
        nn.Linear(config.hidden_features, config.pose_components),
        nn.Linear(config.pose_components, POINT_CHANNELS * config.uv_resolution**2),
    )


def _make_correction_head(config: NetworkConfig) -> OutputHead | None:
    """The hourglass's coarsest features to coefficients of the pose components (B, K)."""
    if not config.is_posed:
        return None
    side = config.uv_resolution // 2 ** (len(config.hourglass_channels) - 1)
    return OutputHead(
        nn.Flatten(),
        nn.Linear(config.hourglass_channels[-1] * side**2, config.hidden_features),
        make_vector_norm(config.vector_norm, config.hidden_features),
        nn.ReLU(inplace=True),
        nn.Linear(config.hidden_features, config.pose_components),
    )
