"""Scores on photographs with 2D ground truth, in COCO's layout.

There are two measurements: each person in the annotated box, one at a time, and whole images with
the person detector. Scores are reported for three groups of people: all; `tall_` with boxes of
100 px or more; and `whole_`, the tall ones with at least 10 of the 12 limb joints annotated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
from tqdm import tqdm

from decomr_core.base.structures import HumanMesh
from decomr_core.body_models.joints import JOINT_NAMES
from decomr_core.estimator import HumanMeshEstimator
from decomr_core.geometry.camera import project_weak_perspective
from decomr_core.measures.metrics import (
    bootstrap_interval,
    folded_share,
    neighbor_faces,
    stretched_share,
)
from decomr_core.people.detection import box_overlaps
from decomr_core.uv.warp import FOREGROUND_THRESHOLD
from training.datasets.coco_photographs import Photograph, PhotographedPerson, outline_mask
from training.datasets.readers.coco import COCO_JOINTS
from training.evaluation.report import DIGITS
from training.records.image_files import read_rgb

__all__ = [
    'LIMB_JOINTS',
    'PhotographScores',
    'match_detections',
    'measure_photographs',
    'photograph_report',
]

LIMB_JOINTS = tuple(
    f'{side}_{joint}'
    for joint in ('shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle')
    for side in ('left', 'right')
)
IN_COCO = [COCO_JOINTS.index(name) for name in LIMB_JOINTS]
IN_BODY = [JOINT_NAMES.index(name) for name in LIMB_JOINTS]
LEFT_SHOULDER, RIGHT_SHOULDER = (
    LIMB_JOINTS.index(f'{side}_shoulder') for side in ('left', 'right')
)
LIMITS = {'pck_10': 0.1, 'pck_20': 0.2}
"""Largest error of a correct joint, as a share of the longer side of the annotated box."""
TALL_PX, WHOLE_JOINTS = 100, 10
CLEAR_FACING = 0.08
"""Smallest horizontal distance of the shoulders, in sides of the box, that determines whether a
person faces the camera."""
SHIFT = 4
SUBPIXELS, MAX_COORDINATE = 2**SHIFT, 2.0**20
"""Meshes are filled in units of 1/16 px; OpenCV accepts coordinates up to `MAX_COORDINATE`."""
FOUND_OVERLAP, IGNORED_OVERLAP = 0.5, 0.5
"""Smallest intersection over union of a detection with its person; smallest share of a
detection's area inside the box of a crowd that makes it ignored."""


@dataclass
class PhotographScores:
    """Measurements of N people and M images; NaN if unknown.

    Attributes:
        people: (N,) columns by name.
        images: (M,) columns of counts by name.
        unreadable: paths of unreadable images.
    """

    people: dict[str, np.ndarray]
    images: dict[str, np.ndarray]
    unreadable: list[str] = field(default_factory=list)


class MeshMeasure:
    """Silhouettes and surface quality of meshes of an estimator's body."""

    def __init__(self, estimator: HumanMeshEstimator) -> None:
        topology = estimator.topology
        faces = np.asarray(topology.faces)
        self._faces = torch.as_tensor(faces)
        self._neighbors = neighbor_faces(self._faces)
        self._template = torch.as_tensor(np.asarray(topology.v_template)).float()[None]

    def silhouette(self, mesh: HumanMesh, width: int, height: int) -> np.ndarray:
        """The silhouette (height, width) bool of a mesh."""
        mask = np.zeros((height, width), np.uint8)
        corners = np.clip(
            in_image(mesh.vertices, mesh) * SUBPIXELS, -MAX_COORDINATE, MAX_COORDINATE
        )
        for face in np.round(corners).astype(np.int32)[self._faces.numpy()]:
            cv2.fillConvexPoly(mask, face, 1, cv2.LINE_8, SHIFT)
        return mask.astype(bool)

    def quality(self, mesh: HumanMesh) -> dict[str, float]:
        """Shares of stretched and of folded faces, relative to the template."""
        vertices = torch.as_tensor(mesh.vertices).float()[None]
        return {
            'stretched_faces': float(
                stretched_share(vertices, self._template, self._faces, is_scaled=True)
            ),
            'folded_faces': float(
                folded_share(vertices, self._template, self._faces, self._neighbors)
            ),
        }


def measure_photographs(
    in_true_boxes: HumanMeshEstimator,
    detecting: HumanMeshEstimator,
    photographs: Sequence[Photograph],
) -> PhotographScores:
    """Measures people in their annotated boxes, and on whole images.

    Args:
        in_true_boxes: estimator for people in annotated boxes, without a tracker.
        detecting: estimator with a detector, without a tracker.
        photographs: M photographs.

    Raises:
        ValueError: no image could be read.
    """
    measure = MeshMeasure(in_true_boxes)
    people: list[dict[str, float]] = []
    images: list[dict[str, float]] = []
    unreadable = []
    for photograph in tqdm(photographs, unit='image', disable=None):
        image = read_rgb(photograph.path)
        if image is None:
            unreadable.append(str(photograph.path))
            continue
        for person in photograph.people:
            meshes, _ = in_true_boxes.estimate(image, person.box[None].astype(np.float32))
            people.append(
                score_person(
                    meshes[0] if meshes else None,
                    person,
                    measure,
                    (image.shape[1], image.shape[0]),
                )
            )
        images.append(count_found(detecting.estimate(image)[0], photograph))
    if not images:
        raise ValueError(
            f'none of {len(photographs)} images could be read; the first: '
            f'{unreadable[0] if unreadable else "none"}'
        )
    return PhotographScores(_columns(people), _columns(images), unreadable)


def score_person(
    mesh: HumanMesh | None, person: PhotographedPerson, measure: MeshMeasure, size: tuple[int, int]
) -> dict[str, float]:
    """Scores of one person; without a mesh all joints are wrong and the silhouette is empty.

    Args:
        mesh: the estimate in the annotated box.
        person: the truth.
        measure: measures meshes of this body.
        size: width and height of the image, px.
    """
    labels = person.joints[IN_COCO]
    is_known = labels[:, 2] > 0
    side = max(person.box[2:] - person.box[:2])
    errors = np.full(len(labels), np.inf)
    scores = {
        'height_px': person.box[3] - person.box[1],
        'joints': float(is_known.sum()),
        'has_mesh': float(mesh is not None),
    }
    joints = None
    if mesh is not None:
        joints = in_image(mesh.joints[IN_BODY], mesh)
        errors = np.linalg.norm(joints - labels[:, :2], axis=1) / side
        scores |= measure.quality(mesh)
    scores |= {
        f'{name}_right': float((errors[is_known] < limit).sum()) for name, limit in LIMITS.items()
    }
    across = (labels[LEFT_SHOULDER, 0] - labels[RIGHT_SHOULDER, 0]) / side
    if is_known[[LEFT_SHOULDER, RIGHT_SHOULDER]].all() and abs(across) >= CLEAR_FACING:
        is_right = joints is not None and (
            (joints[LEFT_SHOULDER, 0] > joints[RIGHT_SHOULDER, 0]) == (across > 0)
        )
        scores['facing'] = float(is_right)
        if across < 0:
            scores['facing_from_behind'] = float(is_right)
    if person.outline is not None:
        truth = outline_mask(person.outline, *size)
        scores['mask_iou'] = scores['iuv_iou'] = 0.0
        if mesh is not None:
            scores['mask_iou'] = _mask_iou(measure.silhouette(mesh, *size), truth)
            scores['iuv_iou'] = _mask_iou(iuv_foreground(mesh, *size), truth)
    return scores


def count_found(meshes: Sequence[HumanMesh], photograph: Photograph) -> dict[str, float]:
    """Counts the people detected on a whole image: all of them, and the tall ones.

    Detections are matched to people by descending score. A detection mostly inside a crowd's box
    counts neither as correct nor as false.
    """
    people = photograph.people
    is_tall = np.array([person.box[3] - person.box[1] >= TALL_PX for person in people], bool)
    best_first = sorted(meshes, key=lambda mesh: -mesh.score)
    rows, wrong_rows = match_detections([mesh.box for mesh in best_first], photograph)
    found = {number: best_first[row] for number, row in rows.items()}
    wrong = [best_first[row].box[3] - best_first[row].box[1] >= TALL_PX for row in wrong_rows]
    right = known = 0
    for number, person in enumerate(people):
        if is_tall[number]:
            labels = person.joints[IN_COCO]
            is_known = labels[:, 2] > 0
            known += int(is_known.sum())
            if number in found:
                mesh, side = found[number], max(person.box[2:] - person.box[:2])
                errors = (
                    np.linalg.norm(in_image(mesh.joints[IN_BODY], mesh) - labels[:, :2], axis=1)
                    / side
                )
                right += int((errors[is_known] < LIMITS['pck_20']).sum())
    return {
        'people': len(people),
        'found': len(found),
        'wrong': len(wrong),
        'tall_people': int(is_tall.sum()),
        'tall_found': int(is_tall[list(found)].sum()),
        'tall_wrong': int(sum(wrong)),
        'tall_joints': known,
        'tall_joints_right': right,
    }


def match_detections(
    boxes: Sequence[np.ndarray], photograph: Photograph
) -> tuple[dict[int, int], list[int]]:
    """Matches detections to annotated people.

    Args:
        boxes: box (4,) of each detection, image px, by descending score.
        photograph: the annotations of the image.

    Returns:
        the row of the matched detection by the index of the person, and the rows of false
        detections; a detection mostly inside a crowd's box is in neither.
    """
    people = np.array([person.box for person in photograph.people]).reshape(-1, 4)
    found: dict[int, int] = {}
    wrong = []
    for row, box in enumerate(boxes):
        overlaps = box_overlaps(box[None], people)[0][0]
        overlaps[list(found)] = 0
        if len(people) and overlaps.max() >= FOUND_OVERLAP:
            found[int(overlaps.argmax())] = row
        elif not _lies_in(box, photograph.ignored):
            wrong.append(row)
    return found, wrong


def photograph_report(scores: PhotographScores) -> dict[str, Any]:
    """Scores over people and over images with their 95 % intervals, ready for JSON."""
    report: dict[str, Any] = {
        'images': len(scores.images['people']),
        'people': len(scores.people.get('joints', ())),
        'unreadable': len(scores.unreadable),
        'unreadable_examples': scores.unreadable[:5],
        'network': {},
        'intervals': {},
        'counts': {},
    }
    if scores.people:
        is_tall = scores.people['height_px'] >= TALL_PX
        groups = {
            '': np.ones(len(is_tall), bool),
            'tall_': is_tall,
            'whole_': is_tall & (scores.people['joints'] >= WHOLE_JOINTS),
        }
        for group, members in groups.items():
            columns = {name: column[members] for name, column in scores.people.items()}
            for name in LIMITS:
                _add_share(report, group + name, columns[f'{name}_right'], columns['joints'])
            for name in (
                'facing',
                'facing_from_behind',
                'mask_iou',
                'iuv_iou',
                'stretched_faces',
                'folded_faces',
            ):
                known = columns.get(name, np.empty(0))
                known = known[np.isfinite(known)]
                _add_share(report, group + name, known, np.ones(len(known)))
            report['counts'][f'{group}people'] = int(members.sum())
    images = scores.images
    for group in ('', 'tall_'):
        found, wrong = images[f'{group}found'], images[f'{group}wrong']
        _add_share(report, f'{group}recall', found, images[f'{group}people'])
        _add_share(report, f'{group}precision', found, found + wrong)
    _add_share(report, 'tall_pck_20_own_boxes', images['tall_joints_right'], images['tall_joints'])
    empty = images['people'] == 0
    report['counts'] |= {
        'images_without_people': int(empty.sum()),
        'false_detections_there': int(images['wrong'][empty].sum()),
    }
    return report


def in_image(points: np.ndarray, mesh: HumanMesh) -> np.ndarray:
    """Projects points (N, 3) of a mesh's frame, m, with its weak camera to (N, 2) image px."""
    return project_weak_perspective(
        points - mesh.translation, mesh.weak_camera, mesh.crop_center, mesh.crop_side
    )


def iuv_foreground(mesh: HumanMesh, width: int, height: int) -> np.ndarray:
    """The foreground (height, width) bool of the IUV image, scaled up bilinearly."""
    foreground = np.ascontiguousarray(mesh.iuv[0], np.float32)
    pixel = mesh.crop_side / len(foreground)
    first = np.asarray(mesh.crop_center) - mesh.crop_side / 2 + pixel / 2
    image_from_iuv = np.array([[pixel, 0, first[0]], [0, pixel, first[1]]])
    return (
        cv2.warpAffine(foreground, image_from_iuv, (width, height), flags=cv2.INTER_LINEAR)
        > FOREGROUND_THRESHOLD
    )


def _add_share(report: dict[str, Any], name: str, parts: np.ndarray, wholes: np.ndarray) -> None:
    """Adds a ratio of sums and its interval to the report, unless the denominator is 0."""
    if not len(wholes) or not wholes.sum():
        return
    rows = np.stack([parts, wholes], axis=1)
    report['network'][name] = round(float(parts.sum() / wholes.sum()), DIGITS)
    report['intervals'][name] = [
        round(end, DIGITS)
        for end in bootstrap_interval(
            rows, statistic=lambda means: means[:, 0] / np.maximum(means[:, 1], 1e-9)
        )
    ]


def _columns(rows: Sequence[dict[str, float]]) -> dict[str, np.ndarray]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: np.array([row.get(name, np.nan) for row in rows]) for name in names}


def _lies_in(box: np.ndarray, regions: np.ndarray) -> bool:
    """Whether at least half of a box (4,) lies in one of the regions (K, 4)."""
    low, high = np.maximum(box[:2], regions[:, :2]), np.minimum(box[2:], regions[:, 2:])
    return bool(
        (np.maximum(high - low, 0).prod(1) >= IGNORED_OVERLAP * (box[2:] - box[:2]).prod()).any()
    )


def _mask_iou(one: np.ndarray, other: np.ndarray) -> float:
    union = (one | other).sum()
    return float((one & other).sum() / union) if union else 0.0
