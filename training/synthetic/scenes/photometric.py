"""Degradations of real cameras: exposure, colour cast, blur, noise, compression."""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ['degrade', 'soft_composite']


def soft_composite(
    under: np.ndarray, above: np.ndarray, mask: np.ndarray, softness_px: float
) -> np.ndarray:
    """Composites one image over another with a soft edge, like that of a lens.

    Args:
        under: (S, S, 3) float32.
        above: (S, S, 3) float32, black outside the mask.
        mask: (S, S) uint8, 0 or 1.
        softness_px: standard deviation of the edge.
    """
    share = cv2.GaussianBlur(mask.astype(np.float32), (5, 5), softness_px)[..., None]
    # `above` is black outside the mask, so its blur is already weighted by the share.
    return under - under * share + cv2.GaussianBlur(above, (5, 5), softness_px)


def degrade(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Degrades an image like the camera of a robot.

    Args:
        rng: source of the random numbers.
        image: (S, S, 3) float32, 0 to 255, may exceed it.

    Returns:
        (S, S, 3) uint8.
    """
    size = len(image)
    image = _blur(rng, image)
    if rng.random() < 0.3:  # low resolution of distant people
        small = int(size * rng.uniform(0.35, 0.95))
        image = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
    cast = 1 + rng.normal(0, 0.06, 3).astype(np.float32)
    image = image * (cast * np.float32(np.exp(rng.normal(0, 0.22))))
    gamma, contrast = np.exp(rng.normal(0, 0.18)), np.exp(rng.normal(0, 0.15))
    level = np.arange(256) / 255
    curve = np.clip(0.5 + contrast * (level**gamma - 0.5), 0, 1) * 255
    image = cv2.LUT(np.clip(image, 0, 255).astype(np.uint8), curve.astype(np.uint8))
    if rng.random() < 0.05:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < 0.5:
        strength = rng.gamma(1.5, 2.2)
        noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(strength)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        quality = int(rng.uniform(25, 95))
        _, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert decoded is not None  # encoded above
        return decoded
    return image


def _blur(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    kind = rng.random()
    if kind < 0.35:
        return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.3))
    if kind < 0.43:
        length = int(rng.integers(3, 8))
        kernel = np.zeros((length, length), np.float32)
        angle, middle = rng.uniform(0, np.pi), (length - 1) / 2
        step = np.array([np.cos(angle), np.sin(angle)]) * middle
        start, end = middle - step, middle + step
        cv2.line(kernel, (round(start[0]), round(start[1])), (round(end[0]), round(end[1])), 1.0)
        return cv2.filter2D(image, -1, kernel / max(kernel.sum(), 1))
    return image
