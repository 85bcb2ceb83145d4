"""Data structures passed between the stages, and the shape letters of all docstrings.

Shape letters:

| letter | meaning |
|---|---|
| B | people (crops) in a batch |
| V, F, J | vertices, faces and joints of the body |
| S | side of the square network input, px |
| h, w | height and width of the IUV image and of the local features, S / 4 px |
| C, G | channels of the local features, length of the global features |
| r | side of the UV grid to which features are warped, texels |
| R | side of the location map, texels |
| N | vertices of the UV map (a vertex on a seam has several) |

Frames (only `camera.py` converts between them):

* **crop**: the square network input, x right, y down, -1 at the left/top edge and 1 at the
  right/bottom edge of the image area; the centre of column i is at (2 i + 1) / S - 1.
* **image**: pixels of the source image; the centre of the top left pixel is (0, 0).
* **root**: metres, origin at the body model's origin (near the pelvis), axes parallel to the
  camera optical frame; the person's global orientation is included.
* **camera**: the camera optical frame of REP-103: x right, y down, z forward, metres.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = [
    'FOREGROUND_THRESHOLD',
    'Crops',
    'HumanMesh',
    'NetworkOutput',
    'StageTimes',
    'check_shape',
    'person_or_people',
]

FOREGROUND_THRESHOLD = 0.5
"""A pixel of the IUV image belongs to the person above this probability."""


@dataclass(frozen=True)
class Crops:
    """Square crops of one image, and their positions in it.

    Attributes:
        images: (B, S, S, 3) uint8 RGB.
        boxes: (B, 4) the given person boxes: x_min, y_min, x_max, y_max in image px.
        centers: (B, 2) centre of each square crop, image px.
        sides: (B,) side of each square crop, image px.
    """

    images: np.ndarray
    boxes: np.ndarray
    centers: np.ndarray
    sides: np.ndarray


@dataclass(frozen=True)
class NetworkOutput:
    """Outputs of the network for a batch of crops, as NumPy arrays or tensors.

    Attributes:
        iuv: (B, 3, h, w) foreground probability, u, v; all in [0, 1].
        vertices: (B, V, 3) metres, root frame.
        joints: (B, J, 3) metres, root frame.
        camera: (B, 3) weak perspective (s, tx, ty): crop_xy = s * (root_xy + t).
        location_map: (B, 3, R, R) metres, root frame; None if the runtime does not return it.
    """

    iuv: Any
    vertices: Any
    joints: Any
    camera: Any
    location_map: Any = None


@dataclass(frozen=True)
class HumanMesh:
    """One person in one image.

    Attributes:
        track_id: identity over images; -1 if not tracked.
        score: confidence of the detection, in [0, 1].
        box: (4,) x_min, y_min, x_max, y_max, image px.
        vertices: (V, 3) metres; camera optical frame, or root frame if not `is_metric`.
        joints: (J, 3) metres, same frame as the vertices.
        translation: (3,) position of the root in the camera optical frame, metres; zeros if not
            `is_metric`.
        is_metric: whether calibrated intrinsics placed the mesh in the camera optical frame.
        visibility: (V,) bool, True for vertices visible to the camera.
        weak_camera: (3,) weak perspective (s, tx, ty) of the crop.
        crop_center: (2,) centre of the square crop, image px.
        crop_side: side of the square crop, image px.
        iuv: (3, h, w) float32 IUV image of the crop, all in [0, 1].
        has_measured_depth: whether a depth image determined the distance from the camera.
        depth_change: natural logarithm of that distance over the one without the depth image; 0
            without measured depth.
    """

    track_id: int
    score: float
    box: np.ndarray
    vertices: np.ndarray
    joints: np.ndarray
    translation: np.ndarray
    is_metric: bool
    visibility: np.ndarray
    weak_camera: np.ndarray
    crop_center: np.ndarray
    crop_side: float
    iuv: np.ndarray
    has_measured_depth: bool = False
    depth_change: float = 0.0


@dataclass
class StageTimes:
    """The duration of each stage of one image: milliseconds by stage name, in order."""

    stages_ms: dict[str, float] = field(default_factory=dict)

    @property
    def total_ms(self) -> float:
        """The sum over all stages, milliseconds."""
        return sum(self.stages_ms.values())


def check_shape(name: str, array: Any, shape: tuple[int | None, ...]) -> None:
    """Checks the shape of an argument.

    Args:
        name: name of the argument.
        array: anything with a `.shape`.
        shape: expected sizes; None accepts any size.

    Raises:
        ValueError: the number of dimensions or a size differs; the message names the argument.
    """
    actual = tuple(array.shape)
    fits = len(actual) == len(shape) and all(
        size is None or size == other for size, other in zip(shape, actual, strict=True)
    )
    if not fits:
        expected = ', '.join('any' if size is None else str(size) for size in shape)
        raise ValueError(f'{name} has shape {actual}, expected ({expected})')


def person_or_people(count: int) -> str:
    """'person' or 'people', to follow a count."""
    return 'person' if count == 1 else 'people'
