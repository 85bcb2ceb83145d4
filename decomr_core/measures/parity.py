"""Parity of an engine with PyTorch: test images, measures and limits.

The images are rendered here from the built-in body, so that all machines measure the same. They
are only as realistic as needed to exercise the whole network.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import torch

from decomr_core.body_models import NUM_JOINTS, NUM_SHAPES, BodyModel, load_body
from decomr_core.body_models.frames import in_root_frame
from decomr_core.geometry.rasterizer import rasterize
from decomr_core.uv.warp import FOREGROUND_THRESHOLD

__all__ = [
    'LIMITS_MM',
    'NUM_PARITY_CROPS',
    'ROUNDED_TEXEL_MM',
    'Parity',
    'measure_parity',
    'parity_crops',
    'vertex_error_mm',
]

LIMITS_MM = {'f32': 0.05, 'bf16': 1.0, 'fp16': 1.0}
"""Largest accepted vertex error against PyTorch by precision, mm, for the median image and for
the mean over all images. float32 differs by rounding only. Mantissas of 8 and 11 bits may cost
1 mm, a fiftieth of the error of the best methods on real people."""

ROUNDED_TEXEL_MM = 1.0
"""Lower bound of the limit of the mean. The warp rounds u and v to texels. For a pixel between two
texels the last bit decides, and that mesh may move by up to a centimetre without a fault."""

NUM_PARITY_CROPS = 32
NOISE_PERIOD = 4
"""Every fourth image is noise, which reaches values that images of people do not."""

# Standard deviation of the rotations of all joints except the root, radians.
POSE_DEVIATION = 0.25
# Left and right shoulder, and their rotation about z from the T-pose, which lowers the arms.
ARM_JOINTS, ARM_ANGLE = (16, 17), 1.0
# Ambient share of the light.
AMBIENT = 0.35


@dataclass(frozen=True)
class Parity:
    """Errors of an engine against PyTorch on a batch of crops.

    Attributes:
        vertices_median_mm: mean over the vertices, median over the images (`vertex_error_mm`).
        vertices_mean_mm: mean over the vertices of all images.
        vertices_max_mm: largest vertex error of all images.
        joints_mean_mm: mean over the joints of all images.
        foreground_iou: intersection over union of the foreground over the pixels of all images.
    """

    vertices_median_mm: float
    vertices_mean_mm: float
    vertices_max_mm: float
    joints_mean_mm: float
    foreground_iou: float

    def passes(self, precision: str) -> bool:
        """Whether the errors are within the limits of a precision; False for NaN."""
        limit = LIMITS_MM[precision]
        return self.vertices_median_mm <= limit and self.vertices_mean_mm <= max(
            limit, ROUNDED_TEXEL_MM
        )

    def to_dict(self) -> dict[str, float]:
        """The values by name, for JSON."""
        return asdict(self)


def measure_parity(outputs: Mapping[str, Any], expected: Mapping[str, Any]) -> Parity:
    """Compares an engine's outputs with PyTorch's.

    Args:
        outputs: `vertices` (B, V, 3) and `joints` (B, J, 3) metres, `iuv` (B, 3, h, w).
        expected: the same from PyTorch.
    """
    distances = _distances_mm(outputs['vertices'], expected['vertices'])
    one, other = (
        np.asarray(each['iuv'])[:, 0] > FOREGROUND_THRESHOLD for each in (outputs, expected)
    )
    union = (one | other).sum()
    return Parity(
        vertices_median_mm=vertex_error_mm(outputs['vertices'], expected['vertices']),
        vertices_mean_mm=float(distances.mean()),
        vertices_max_mm=float(distances.max()),
        joints_mean_mm=float(_distances_mm(outputs['joints'], expected['joints']).mean()),
        foreground_iou=float((one & other).sum() / union) if union else 1.0,
    )


def vertex_error_mm(vertices: np.ndarray, others: np.ndarray) -> float:
    """Distance of two batches of meshes: mean over the vertices, median over the batch.

    The median is insensitive to the outliers described at `ROUNDED_TEXEL_MM`.

    Args:
        vertices: (B, V, 3) metres.
        others: (B, V, 3) metres.

    Returns:
        The distance, mm.
    """
    return float(np.median(_distances_mm(vertices, others).mean(axis=1)))


def parity_crops(size: int, count: int = NUM_PARITY_CROPS) -> np.ndarray:
    """Crops that exercise the whole network: people before random backgrounds, and noise.

    Args:
        size: S, px.
        count: B.

    Returns:
        (B, S, S, 3) uint8 RGB, the same on every call.
    """
    return _parity_crops(size, count).copy()


@functools.lru_cache(maxsize=4)
def _parity_crops(size: int, count: int) -> np.ndarray:
    random = np.random.default_rng(0)
    crops = np.stack([_random_image(random, size, 9) for _ in range(count)])
    is_noise = np.arange(count) % NOISE_PERIOD == NOISE_PERIOD - 1
    for index in np.flatnonzero(is_noise).tolist():
        crops[index] = _random_image(random, size, size >> index // NOISE_PERIOD % 3)
    people, is_person = _render_people(random, size, int((~is_noise).sum()))
    crops[~is_noise] = np.where(is_person[..., None], people, crops[~is_noise])
    return crops


def _random_image(random: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """(S, S, 3) uint8: `cells` x `cells` random colours, interpolated."""
    coarse = random.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)


@torch.no_grad()
def _render_people(
    random: np.random.Generator, size: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Images (B, S, S, 3) uint8 RGB of people without background, and masks (B, S, S) bool."""
    body = load_body()
    vertices = _posed_vertices(random, body, count)
    low, high = vertices.amin(dim=1, keepdim=True), vertices.amax(dim=1, keepdim=True)
    fill = torch.from_numpy(random.uniform(1.3, 1.8, (count, 1, 1)).astype(np.float32))
    in_crop = (vertices - (low + high) / 2) * (fill / (high - low).amax(dim=2, keepdim=True))
    fragments = rasterize(in_crop, body.faces, size, cull_backfaces=True)
    is_person = (fragments.face_index >= 0).numpy()
    image, row, column = is_person.nonzero()
    face = fragments.face_index.numpy()[is_person]
    corners = vertices.numpy()[image[:, None], body.faces.numpy()[face]]  # (N, 3, 3)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
    lights = random.normal(size=(count, 3)) - [0, 0, 1.5]  # on the camera's side
    lights /= np.linalg.norm(lights, axis=1, keepdims=True)
    light = AMBIENT + (1 - AMBIENT) * np.clip((normals * lights[image]).sum(axis=1), 0, 1)
    colors = random.uniform(40, 255, (count, NUM_JOINTS, 3))  # one per body part
    part = body.vertex_parts.numpy()[body.faces.numpy()[face, 0]]
    people = np.zeros((count, size, size, 3), np.uint8)
    people[image, row, column] = colors[image, part] * light[:, None]
    return people, is_person


def _posed_vertices(random: np.random.Generator, body: BodyModel, count: int) -> torch.Tensor:
    """(B, V, 3) metres, root frame: standing people with random orientations."""
    pose = random.normal(0, POSE_DEVIATION, (count, NUM_JOINTS, 3))
    pose[:, ARM_JOINTS, 2] += np.array([-ARM_ANGLE, ARM_ANGLE])
    pose[:, 0] = np.array([0, 1, 0]) * random.uniform(-np.pi, np.pi, (count, 1))
    shape = random.normal(size=(count, NUM_SHAPES))
    vertices, _ = body(torch.from_numpy(pose).float(), torch.from_numpy(shape).float())
    return in_root_frame(vertices)


def _distances_mm(vertices: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(B, V) distances of points (B, V, 3), in mm from metres."""
    return np.linalg.norm(np.asarray(vertices) - np.asarray(others), axis=-1) * 1e3
