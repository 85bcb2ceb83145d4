"""A picture of the people with the largest errors: image, prediction, truth, and the error."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from decomr_core.base.structures import HumanMesh
from decomr_core.body_models.joint_sets import EVALUATED_JOINTS
from decomr_core.drawing import color_of_track, draw_meshes
from decomr_core.geometry.camera import project_weak_perspective
from decomr_core.geometry.crop import crop_from_image_xy

__all__ = [
    'TILE_PX',
    'WORST',
    'WorstCase',
    'case_title',
    'draw_labels',
    'draw_mesh',
    'draw_skeleton',
    'worst_cases_picture',
    'write_picture',
]

WORST = 16
COLUMNS = 4
TILE_PX = 160
TITLE_PX = 20
MARGIN_PX = 6
PREDICTED, TRUE = 1, 2
"""Track ids whose colours are used for predictions and for the truth."""
LIMBS = (
    ('right_ankle', 'right_knee'),
    ('right_knee', 'right_hip'),
    ('right_hip', 'left_hip'),
    ('left_hip', 'left_knee'),
    ('left_knee', 'left_ankle'),
    ('right_wrist', 'right_elbow'),
    ('right_elbow', 'right_shoulder'),
    ('right_shoulder', 'neck'),
    ('neck', 'left_shoulder'),
    ('left_shoulder', 'left_elbow'),
    ('left_elbow', 'left_wrist'),
    ('neck', 'head'),
)
HIPS = ('right_hip', 'left_hip')
NUM_COLORS = 256
ERROR_WORDS = {
    'pa_mpjpe_mm': 'mm MPJPE-PA',
    'surface_error_mm': 'mm surface error',
    'segment_error': '% of pixels in a wrong segment',
}
"""Unit and name of the error, by the score that sorts the people."""


@dataclass(frozen=True)
class WorstCase:
    """One person of the picture.

    Attributes:
        title: the error and the name of the image.
        image: (T, T, 3) uint8 RGB, the crop.
        prediction: (T, T, 3) uint8 RGB, the crop with the prediction.
        truth: (T, T, 3) uint8 RGB, the crop with the truth; None if it is unknown.
    """

    title: str
    image: np.ndarray
    prediction: np.ndarray
    truth: np.ndarray | None


def worst_cases_picture(cases: list[WorstCase], heading: str) -> np.ndarray:
    """Draws cases in rows of four.

    Args:
        cases: at least one, the worst first.
        heading: heading of the picture.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    blocks = [_block(case) for case in cases]
    blocks += [np.full_like(blocks[0], 255)] * (-len(blocks) % COLUMNS)
    rows = [np.hstack(blocks[first : first + COLUMNS]) for first in range(0, len(blocks), COLUMNS)]
    return np.vstack([_line(heading, rows[0].shape[1]), *rows])


def case_title(error: float, score: str, name: str) -> str:
    """The title of a case: error and name.

    Args:
        error: error of the person, in the score's unit.
        score: a name of `ERROR_WORDS`.
        name: name of the person or image.
    """
    amount = error if score.endswith('_mm') else 100 * error
    return f'{amount:.0f} {ERROR_WORDS[score]}, {name}'


def draw_mesh(
    crop: np.ndarray,
    vertices: np.ndarray,
    camera: np.ndarray,
    faces: np.ndarray,
    is_true: bool = False,
) -> np.ndarray:
    """Draws a mesh over a crop.

    Args:
        crop: (T, T, 3) uint8 RGB.
        vertices: (V, 3) m, root frame.
        camera: (3,) weak perspective (s, tx, ty).
        faces: (F, 3).
        is_true: whether to use the colour of the truth.
    """
    size = len(crop)
    mesh = HumanMesh(
        track_id=TRUE if is_true else PREDICTED,
        score=1.0,
        box=np.zeros(4),
        vertices=np.asarray(vertices, np.float32),
        joints=np.zeros((0, 3)),
        translation=np.zeros(3),
        is_metric=False,
        visibility=np.zeros(0, bool),
        weak_camera=np.asarray(camera),
        crop_center=np.full(2, (size - 1) / 2),
        crop_side=float(size),
        iuv=np.zeros((3, 1, 1), np.float32),
    )
    return draw_meshes(crop, [mesh], faces)


def draw_skeleton(crop: np.ndarray, joints: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """Draws a skeleton over a crop: joints (J, 3) of `EVALUATED_JOINTS`, m, and a weak camera."""
    drawn, size = crop.copy(), len(crop)
    middle = np.full(2, (size - 1) / 2)
    points = np.rint(project_weak_perspective(joints, camera, middle, float(size))).astype(int)
    place = {name: point for name, point in zip(EVALUATED_JOINTS, points, strict=False)}
    lines = [(place[one], place[other]) for one, other in LIMBS]
    lines.append((place['neck'], sum(place[hip] for hip in HIPS) // 2))
    for one, other in lines:
        cv2.line(drawn, one.tolist(), other.tolist(), color_of_track(TRUE), 2, cv2.LINE_AA)
    return drawn


def draw_labels(
    crop: np.ndarray, labels: np.ndarray, center: np.ndarray, side: float
) -> np.ndarray:
    """Draws label classes over a crop, each in its colour.

    Args:
        crop: (T, T, 3) uint8 RGB.
        labels: (H, W) uint8, in the pixels of the original image; 0 and 255 are not drawn.
        center: (2,) centre of the crop, image px.
        side: side of the crop, image px.
    """
    size = len(crop)
    first = crop_from_image_xy(np.zeros(2), center, side)  # the first pixel of the image
    crop_from_image = np.array(
        [
            [size / side, 0, (first[0] + 1) * size / 2 - 0.5],
            [0, size / side, (first[1] + 1) * size / 2 - 0.5],
        ]
    )
    crop_labels = cv2.warpAffine(
        labels.astype(np.uint8), crop_from_image, (size, size), flags=cv2.INTER_NEAREST
    )
    colors = np.array([color_of_track(label) for label in range(NUM_COLORS)], np.uint8)
    is_clear = (crop_labels == 0) | (crop_labels == NUM_COLORS - 1)
    return np.where(is_clear[..., None], crop, colors[crop_labels])


def write_picture(path: str | Path, picture: np.ndarray) -> None:
    """Writes a picture (H, W, 3) uint8 RGB; the suffix of the path determines the format.

    Raises:
        OSError: the file cannot be written.
    """
    is_written, data = cv2.imencode(
        Path(path).suffix or '.png', np.ascontiguousarray(picture[..., ::-1])
    )
    if not is_written:
        raise OSError(f'cannot encode {path} as a picture; end its name in .png or .jpg')
    Path(path).write_bytes(data.tobytes())


def _block(case: WorstCase) -> np.ndarray:
    tiles = [case.image, case.prediction]
    tiles.append(np.full_like(case.image, 230) if case.truth is None else case.truth)
    block = np.vstack([_line(case.title, 3 * TILE_PX), np.hstack(tiles)])
    return cv2.copyMakeBorder(
        block, 0, MARGIN_PX, 0, MARGIN_PX, cv2.BORDER_CONSTANT, value=(255, 255, 255)
    )


def _line(text: str, width: int) -> np.ndarray:
    """A white strip (TITLE_PX, width, 3) with text, clipped at the width."""
    strip = np.full((TITLE_PX, width, 3), 255, np.uint8)
    printable = text.encode('ascii', 'replace').decode()
    return cv2.putText(
        strip,
        printable,
        (3, TITLE_PX - 6),
        cv2.FONT_HERSHEY_SIMPLEX,
        0.42,
        (0, 0, 0),
        1,
        cv2.LINE_AA,
    )
