"""Random colours, filters and noise, so that one rendered image serves as many.

A network learns the colours and the sharpness of a renderer, which photographs do not share. A
random linear filter of the colours (Lee et al., "Network Randomization", ICLR 2020) changes both
and keeps shapes.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

__all__ = ['recolour']

CONTRAST = 0.25
"""Largest difference from 1 of the factor on the contrast."""
CHANNEL_GAIN, GAIN = 0.25, 0.2
"""Largest difference from 1 of the factor on each channel, and on all."""
SHIFT = 15.0
"""Largest change of the brightness, grey levels."""
GRAY_SHARE = 0.07
FILTER_SHARE, BLUR_SHARE, NOISE_SHARE = 0.3, 0.15, 0.15
"""An image gets at most one of the three."""
FILTER_OPACITY = (0.2, 0.8)
FILTER_LEVELS = 55.0
"""Standard deviation of a filtered image, grey levels; its mean is 128."""
BLUR_PX = (0.4, 1.4)
BLUR_RADIUS_PX = 3
NOISE_LEVELS = (2.0, 14.0)


def recolour(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Changes the colours of images; black pixels stay black.

    Args:
        images: (B, S, S, 3) uint8 RGB.
        rng: source of the random numbers.

    Returns:
        (B, S, S, 3) uint8 RGB.
    """
    is_black = (images == 0).all(dim=3, keepdim=True)
    changed = _in_other_light(images.float(), rng)
    for image, kind in zip(changed, rng.random(len(images)).tolist(), strict=True):
        if kind < FILTER_SHARE:
            opacity = rng.uniform(*FILTER_OPACITY)
            image.mul_(1 - opacity).add_(opacity * _filtered(image, rng))
        elif kind < FILTER_SHARE + BLUR_SHARE:
            image.copy_(_blurred(image, rng.uniform(*BLUR_PX)))
        elif kind < FILTER_SHARE + BLUR_SHARE + NOISE_SHARE:
            noise = rng.standard_normal(image.shape, np.float32) * rng.uniform(*NOISE_LEVELS)
            image.add_(torch.from_numpy(noise.astype(np.float32)))
    return changed.clamp(0, 255).round().to(torch.uint8).masked_fill(is_black, 0)


def _in_other_light(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Changes contrast, brightness and the balance of the channels (B, S, S, 3), float32."""
    count = len(images)

    def draw(limit: float, channels: int = 1) -> Tensor:
        values = rng.uniform(-limit, limit, (count, 1, 1, channels))
        return torch.from_numpy(values.astype(np.float32))

    mean = images.mean(dim=(1, 2), keepdim=True)
    gain = (1 + draw(CHANNEL_GAIN, 3)) * (1 + draw(GAIN))
    images = ((images - mean) * (1 + draw(CONTRAST)) + mean) * gain + draw(SHIFT)
    is_gray = torch.from_numpy(rng.random((count, 1, 1, 1)) < GRAY_SHARE)
    return torch.where(is_gray, images.mean(dim=3, keepdim=True), images)


def _filtered(image: Tensor, rng: np.random.Generator) -> Tensor:
    """A random 3x3 filter of the channels of an image (S, S, 3), float32."""
    weights = rng.normal(0, 1 / math.sqrt(27), (3, 3, 3, 3)).astype(np.float32)
    planes = image.permute(2, 0, 1)[None] - 128
    planes = functional.conv2d(planes, torch.from_numpy(weights), padding=1)
    planes = planes / (planes.std() + 1e-3) * FILTER_LEVELS + 128
    return planes[0].permute(1, 2, 0)


def _blurred(image: Tensor, sigma_px: float) -> Tensor:
    """An image (S, S, 3), float32, under a Gaussian filter."""
    places = torch.arange(-BLUR_RADIUS_PX, BLUR_RADIUS_PX + 1.0)
    weights = torch.exp(-places.square() / (2 * sigma_px**2))
    weights = weights / weights.sum()
    planes = image.permute(2, 0, 1)[:, None]
    planes = functional.conv2d(planes, weights.view(1, 1, -1, 1), padding=(BLUR_RADIUS_PX, 0))
    planes = functional.conv2d(planes, weights.view(1, 1, 1, -1), padding=(0, BLUR_RADIUS_PX))
    return planes[:, 0].permute(1, 2, 0)
