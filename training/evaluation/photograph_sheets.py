"""Contact sheets of photographs: labels, mesh and IUV image of each person."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from decomr_core.drawing import compose_iuv, draw_boxes, draw_meshes
from decomr_core.estimator import HumanMeshEstimator
from decomr_core.geometry.crop import CROP_SCALE, crop_pixels
from training.datasets.coco_photographs import Photograph, PhotographedPerson
from training.datasets.readers.coco import COCO_JOINTS
from training.evaluation.photograph_scores import TALL_PX
from training.evaluation.worst_cases import TILE_PX, WorstCase, worst_cases_picture
from training.records.image_files import read_rgb

__all__ = ['image_sheet', 'people_sheet']

BONES = tuple(
    (COCO_JOINTS.index(f'{side}_{one}'), COCO_JOINTS.index(f'{side}_{other}'))
    for side in ('left', 'right')
    for one, other in (
        ('shoulder', 'elbow'),
        ('elbow', 'wrist'),
        ('hip', 'knee'),
        ('knee', 'ankle'),
    )
)
SIDE_COLORS = ((60, 220, 60), (240, 60, 60))
"""Colours of the left and the right limbs."""
IMAGE_TILE = 320, 240
IMAGE_COLUMNS = 4


def people_sheet(
    in_true_boxes: HumanMeshEstimator, photographs: Sequence[Photograph], count: int
) -> np.ndarray | None:
    """A sheet of people of 100 px or more, evenly spread: labels, mesh, IUV image.

    Args:
        in_true_boxes: estimator for people in annotated boxes, without a tracker.
        photographs: the photographs.
        count: largest number of people.

    Returns:
        (H, W, 3) uint8 RGB, or None if there are no people.
    """
    people = [
        (photograph, person)
        for photograph in photographs
        for person in photograph.people
        if person.box[3] - person.box[1] >= TALL_PX
    ]
    rows = np.linspace(0, len(people) - 1, min(count, len(people))).round().astype(int)
    cases = []
    for row in rows:
        photograph, person = people[row]
        image = read_rgb(photograph.path)
        if image is not None:
            cases.append(_case(in_true_boxes, image, person, photograph.path.name))
    if not cases:
        return None
    return worst_cases_picture(
        cases,
        f'{len(cases)} of {len(people)} people: labels (left green, right red), mesh, IUV image',
    )


def image_sheet(
    detecting: HumanMeshEstimator, photographs: Sequence[Photograph], count: int
) -> np.ndarray:
    """A sheet (H, W, 3) uint8 RGB of whole images, evenly spread, with meshes and boxes.

    Args:
        detecting: estimator with a detector, without a tracker.
        photographs: at least one.
        count: largest number of images.
    """
    rows = np.linspace(0, len(photographs) - 1, min(count, len(photographs))).round().astype(int)
    tiles = []
    for row in rows:
        image = read_rgb(photographs[row].path)
        if image is not None:
            meshes, _ = detecting.estimate(image)
            drawn = draw_meshes(image, meshes, detecting.topology.faces)
            tiles.append(_fitted(draw_boxes(drawn, meshes)))
    tiles += [np.zeros_like(_fitted(np.zeros((1, 1, 3), np.uint8)))] * (
        -len(tiles) % IMAGE_COLUMNS
    )
    return np.vstack(
        [
            np.hstack(tiles[first : first + IMAGE_COLUMNS])
            for first in range(0, len(tiles), IMAGE_COLUMNS)
        ]
    )


def _case(
    estimator: HumanMeshEstimator, image: np.ndarray, person: PhotographedPerson, name: str
) -> WorstCase:
    height, width = image.shape[:2]
    meshes, _ = estimator.estimate(image, person.box[None].astype(np.float32))
    labels = _with_limbs(image, person.joints)
    mesh = draw_meshes(image, meshes, estimator.topology.faces)
    iuv = compose_iuv(meshes, height, width)
    center = (person.box[:2] + person.box[2:]) / 2
    side = float(max(person.box[2:] - person.box[:2])) * CROP_SCALE
    tiles = [crop_pixels(picture, center, side, TILE_PX) for picture in (labels, mesh, iuv)]
    return WorstCase(name, *tiles)


def _with_limbs(image: np.ndarray, joints: np.ndarray) -> np.ndarray:
    drawn = image.copy()
    for number, bone in enumerate(BONES):
        if (joints[list(bone), 2] > 0).all():
            start, end = (np.rint(joints[joint, :2]).astype(int).tolist() for joint in bone)
            cv2.line(drawn, start, end, SIDE_COLORS[number // (len(BONES) // 2)], 3, cv2.LINE_AA)
    return drawn


def _fitted(image: np.ndarray) -> np.ndarray:
    """An image scaled to fit a tile, on black."""
    zoom = min(IMAGE_TILE[0] / image.shape[1], IMAGE_TILE[1] / image.shape[0])
    size = [max(round(length * zoom), 1) for length in image.shape[1::-1]]
    tile = np.zeros((IMAGE_TILE[1], IMAGE_TILE[0], 3), np.uint8)
    tile[: size[1], : size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return tile
