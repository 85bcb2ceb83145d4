"""Scores on photographs with 2D ground truth: COCO's own layout, so that anybody gets the same.

Two measurements: each person in the annotated box, one at a time; and whole images, in which the
detector looks for people. Groups: everybody; `tall_`: boxes of 100 px or more; `whole_`: of these,
who has 10 or more of the 12 limb joints annotated.
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
from decomr_core.geometry.camera import project_weak
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

__all__ = ['LIMB_JOINTS', 'PhotographScores', 'match_detections', 'measure_photographs',
           'photograph_report']

LIMB_JOINTS = tuple(f'{side}_{joint}' for joint in (
    'shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle') for side in ('left', 'right'))
IN_COCO = [COCO_JOINTS.index(name) for name in LIMB_JOINTS]
IN_BODY = [JOINT_NAMES.index(name) for name in LIMB_JOINTS]
LEFT_SHOULDER, RIGHT_SHOULDER = (LIMB_JOINTS.index(f'{side}_shoulder')
                                 for side in ('left', 'right'))
LIMITS = {'pck_10': 0.1, 'pck_20': 0.2}
"""A joint is right within this share of the longer side of the annotated box."""
TALL_PX, WHOLE_JOINTS = 100, 10
CLEAR_FACING = 0.08
"""Whose shoulders are nearer to each other, across, in sides of the box, faces neither way."""
SHIFT = 4
SUBPIXELS, FARTHEST = 2 ** SHIFT, 2.0 ** 20
"""Outlines are filled in sixteenths of a pixel; OpenCV takes coordinates up to this."""
FOUND_OVERLAP, IGNORED_OVERLAP = 0.5, 0.5
"""Of a detection with a person (intersection over union); of its area with a crowd's box."""


@dataclass
class PhotographScores:
    """What was measured, a row for each of N people or M images; NaN: not known of this one.

    Attributes:
        people: (N,) columns by name.
        images: (M,) columns of counts by name.
        unreadable: paths of images that could not be read.
    """

    people: dict[str, np.ndarray]
    images: dict[str, np.ndarray]
    unreadable: list[str] = field(default_factory=list)


class MeshMeasure:
    """The shapes that are compared, for the body of an estimator."""

    def __init__(self, estimator: HumanMeshEstimator) -> None:
        topology = estimator.topology
        faces = np.asarray(topology.faces)
        self._faces = torch.as_tensor(faces)
        self._neighbors = neighbor_faces(self._faces)
        self._template = torch.as_tensor(np.asarray(topology.v_template)).float()[None]

    def silhouette(self, mesh: HumanMesh, width: int, height: int) -> np.ndarray:
        """The pixels (height, width) bool that any face of a mesh touches."""
        mask = np.zeros((height, width), np.uint8)
        corners = np.clip(in_image(mesh.vertices, mesh) * SUBPIXELS, -FARTHEST, FARTHEST)
        for face in np.round(corners).astype(np.int32)[self._faces.numpy()]:
            cv2.fillConvexPoly(mask, face, 1, cv2.LINE_8, SHIFT)
        return mask.astype(bool)

    def quality(self, mesh: HumanMesh) -> dict[str, float]:
        """How far the surface is torn and crumpled, against the template."""
        vertices = torch.as_tensor(mesh.vertices).float()[None]
        return {'stretched_faces': float(stretched_share(
                    vertices, self._template, self._faces, is_scaled=True)),
                'folded_faces': float(folded_share(
                    vertices, self._template, self._faces, self._neighbors))}


def measure_photographs(given: HumanMeshEstimator, own: HumanMeshEstimator,
                        photographs: Sequence[Photograph]) -> PhotographScores:
    """Measures people in given boxes, and on whole images.

    Args:
        given: estimates people in boxes; without a tracker.
        own: finds people itself; without a tracker.
        photographs: M of them.

    Raises:
        ValueError: no image could be read.
    """
    measure = MeshMeasure(given)
    people: list[dict[str, float]] = []
    images: list[dict[str, float]] = []
    unreadable = []
    for photograph in tqdm(photographs, unit='image', disable=None):
        image = read_rgb(photograph.path)
        if image is None:
            unreadable.append(str(photograph.path))
            continue
        for person in photograph.people:
            meshes, _ = given.estimate(image, person.box[None].astype(np.float32))
            people.append(score_person(meshes[0] if meshes else None, person, measure,
                                       image.shape[1::-1]))
        images.append(count_found(own.estimate(image)[0], photograph))
    if not images:
        raise ValueError(f'none of {len(photographs)} images could be read, the first: '
                         f'{unreadable[0] if unreadable else "there is none"}')
    return PhotographScores(_columns(people), _columns(images), unreadable)


def score_person(mesh: HumanMesh | None, person: PhotographedPerson, measure: MeshMeasure,
                 size: tuple[int, int]) -> dict[str, float]:
    """One person's scores; who has no mesh has every joint wrong and covers nothing.

    Args:
        mesh: the estimate in the annotated box.
        person: the truth.
        measure: of the mesh's body.
        size: width and height of the image, px.
    """
    labels = person.joints[IN_COCO]
    is_known = labels[:, 2] > 0
    side = max(person.box[2:] - person.box[:2])
    errors = np.full(len(labels), np.inf)
    scores = {'height_px': person.box[3] - person.box[1], 'joints': float(is_known.sum()),
              'has_mesh': float(mesh is not None)}
    joints = None
    if mesh is not None:
        joints = in_image(mesh.joints[IN_BODY], mesh)
        errors = np.linalg.norm(joints - labels[:, :2], axis=1) / side
        scores |= measure.quality(mesh)
    scores |= {f'{name}_right': float((errors[is_known] < limit).sum())
               for name, limit in LIMITS.items()}
    across = (labels[LEFT_SHOULDER, 0] - labels[RIGHT_SHOULDER, 0]) / side
    if is_known[[LEFT_SHOULDER, RIGHT_SHOULDER]].all() and abs(across) >= CLEAR_FACING:
        is_right = joints is not None and (
            (joints[LEFT_SHOULDER, 0] > joints[RIGHT_SHOULDER, 0]) == (across > 0))
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
    """Who was found on a whole image: counts, of everybody and of the tall ones.

    The best detection of a person counts, best score first; one that lies mostly in a crowd's box
    is neither right nor wrong.
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
                errors = np.linalg.norm(in_image(mesh.joints[IN_BODY], mesh) - labels[:, :2],
                                        axis=1) / side
                right += int((errors[is_known] < LIMITS['pck_20']).sum())
    return {'people': len(people), 'found': len(found), 'wrong': len(wrong),
            'tall_people': int(is_tall.sum()), 'tall_found': int(is_tall[list(found)].sum()),
            'tall_wrong': int(sum(wrong)), 'tall_joints': known, 'tall_joints_right': right}


def match_detections(boxes: Sequence[np.ndarray], photograph: Photograph
                     ) -> tuple[dict[int, int], list[int]]:
    """Who was found by which detection.

    Args:
        boxes: (4,) of each detection, image px, best score first.
        photograph: where they were found.

    Returns:
        the row of the detection by the number of the person, and the rows of those that are of
        nobody; one that lies mostly in a crowd's box is in neither.
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
    """Scores and their 95 % intervals by name, ready for JSON: over people, and over images."""
    report: dict[str, Any] = {
        'images': len(scores.images['people']), 'people': len(scores.people.get('joints', ())),
        'unreadable': len(scores.unreadable), 'unreadable_examples': scores.unreadable[:5],
        'network': {}, 'intervals': {}, 'counts': {}}
    if scores.people:
        is_tall = scores.people['height_px'] >= TALL_PX
        groups = {'': np.ones(len(is_tall), bool), 'tall_': is_tall,
                  'whole_': is_tall & (scores.people['joints'] >= WHOLE_JOINTS)}
        for group, members in groups.items():
            columns = {name: column[members] for name, column in scores.people.items()}
            for name in LIMITS:
                _add_share(report, group + name, columns[f'{name}_right'], columns['joints'])
            for name in ('facing', 'facing_from_behind', 'mask_iou', 'iuv_iou',
                         'stretched_faces', 'folded_faces'):
                known = columns.get(name, np.empty(0))
                known = known[np.isfinite(known)]
                _add_share(report, group + name, known, np.ones(len(known)))
            report['counts'][f'{group}people'] = int(members.sum())
    images = scores.images
    for group in ('', 'tall_'):
        found, wrong = images[f'{group}found'], images[f'{group}wrong']
        _add_share(report, f'{group}recall', found, images[f'{group}people'])
        _add_share(report, f'{group}precision', found, found + wrong)
    _add_share(report, 'tall_pck_20_own_boxes', images['tall_joints_right'],
               images['tall_joints'])
    empty = images['people'] == 0
    report['counts'] |= {'images_without_people': int(empty.sum()),
                         'false_detections_there': int(images['wrong'][empty].sum())}
    return report


def in_image(points: np.ndarray, mesh: HumanMesh) -> np.ndarray:
    """Points (N, 3) of a mesh's frame, m, as the weak camera sees them, (N, 2) image px."""
    return project_weak(points - mesh.translation, mesh.weak_camera, mesh.crop_center,
                        mesh.crop_side)


def iuv_foreground(mesh: HumanMesh, width: int, height: int) -> np.ndarray:
    """The pixels (height, width) bool that the IUV image calls foreground, enlarged smoothly."""
    foreground = np.ascontiguousarray(mesh.iuv[0], np.float32)
    pixel = mesh.crop_side / len(foreground)
    first = np.asarray(mesh.crop_center) - mesh.crop_side / 2 + pixel / 2
    image_from_iuv = np.array([[pixel, 0, first[0]], [0, pixel, first[1]]])
    return cv2.warpAffine(foreground, image_from_iuv, (width, height),
                          flags=cv2.INTER_LINEAR) > FOREGROUND_THRESHOLD


def _add_share(report: dict[str, Any], name: str, parts: np.ndarray, wholes: np.ndarray) -> None:
    """A ratio of sums over people or images, with its interval; left out where nothing counts."""
    if not len(wholes) or not wholes.sum():
        return
    rows = np.stack([parts, wholes], axis=1)
    report['network'][name] = round(float(parts.sum() / wholes.sum()), DIGITS)
    report['intervals'][name] = [round(end, DIGITS) for end in bootstrap_interval(
        rows, statistic=lambda means: means[:, 0] / np.maximum(means[:, 1], 1e-9))]


def _columns(rows: Sequence[dict[str, float]]) -> dict[str, np.ndarray]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: np.array([row.get(name, np.nan) for row in rows]) for name in names}


def _lies_in(box: np.ndarray, regions: np.ndarray) -> bool:
    """Whether half of a box (4,) or more lies in one of the regions (K, 4)."""
    low, high = np.maximum(box[:2], regions[:, :2]), np.minimum(box[2:], regions[:, 2:])
    return bool((np.maximum(high - low, 0).prod(1)
                 >= IGNORED_OVERLAP * (box[2:] - box[:2]).prod()).any())


def _mask_iou(one: np.ndarray, other: np.ndarray) -> float:
    together = (one | other).sum()
    return float((one & other).sum() / together) if together else 0.0
