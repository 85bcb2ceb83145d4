"""Which sight belongs to whom: costs of pairs, the best assignment, and who claims whose mesh."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from decomr_core.people.appearance import look_distances
from decomr_core.people.detection import Detections, box_overlaps
from decomr_core.people.motion import detector_noise

if TYPE_CHECKING:
    from decomr_core.people.track import Track

__all__ = ['CLEAR', 'MAX_LOOK', 'are_covered', 'best_pairs', 'claim_costs', 'mesh_fits', 'rivals']

MAX_SURPRISE = 18.0
"""A detection that is more surprising for a track (`BoxMotion.surprises`) is somebody else: some
five standard deviations where a person is known well."""

LOOK_WEIGHT = 20.0
"""Of the look's distance, against the surprise."""

MAX_LOOK = 0.75
"""People who look more different than this are not the same."""

CLAIM_LOOK_WEIGHT = 2.0
"""Of the look's distance, against centre and size of a mesh, in body heights."""

NEVER = 1e6
"""Cost of a pair that is out of the question."""

SAME_PLACE = 0.07
"""Two meshes whose points are nearer on average, in body heights, are one person."""

CLEAR = 0.15
"""Who is covered by no more than this share of the box is seen well."""

MESH_REACH, MESH_RESIZE = 0.25, 0.35
"""How far from the expected box, in body heights, and by which logarithm of the size's ratio
another, the box around a person's mesh may be."""

COVERED_REACH, COVERED_RESIZE = 0.10, 0.15
"""Likewise of somebody who is covered: the mesh often shows whoever is in front."""


def best_pairs(tracks: Sequence[Track], boxes: np.ndarray,
               detections: Detections) -> dict[int, int]:
    """Index of the detection that continues each track, by index of the track.

    The Hungarian method on surprise and look.

    Args:
        tracks: T people.
        boxes: (T, 4) where they were in the image of the detections, image px.
        detections: N people.
    """
    if len(tracks) == 0 or len(detections.boxes) == 0:
        return {}
    from scipy.optimize import linear_sum_assignment  # 0.3 s to import, not used by predict

    look = np.full((len(tracks), len(detections.boxes)), 0.5)
    if detections.looks is not None:
        looks = [track.look if track.look is not None else np.zeros_like(detections.looks[0])
                 for track in tracks]
        look = look_distances(np.stack(looks), detections.looks)
    noise = detector_noise(detections.height_noise)
    surprise = np.stack([track.motion.surprises(box, detections.boxes, noise)
                         for track, box in zip(tracks, boxes, strict=True)])
    cost = np.where(surprise <= MAX_SURPRISE, surprise + LOOK_WEIGHT * look, NEVER)
    rows, columns = linear_sum_assignment(cost)
    return {int(row): int(column) for row, column in zip(rows, columns, strict=True)
            if cost[row, column] < NEVER}


def are_covered(boxes: np.ndarray, is_near: np.ndarray) -> np.ndarray:
    """Who is partly behind somebody else, (T,) bool; whose feet are lower is in front.

    Args:
        boxes: (T, 4) of people, image px.
        is_near: (T, T) bool, whose boxes overlap by `CLEAR` or more.
    """
    is_before = boxes[:, None, 3] < boxes[None, :, 3]
    return (is_before & is_near).any(1)


def mesh_fits(expected: np.ndarray, boxes: np.ndarray, is_covered: np.ndarray) -> np.ndarray:
    """Whose mesh is where the person is expected, (T,) bool.

    Args:
        expected: (T, 4) image px.
        boxes: (T, 4) around the meshes, image px.
        is_covered: (T,) bool.
    """
    distance, resize = _differences(expected, boxes)
    return ((distance < np.where(is_covered, COVERED_REACH, MESH_REACH))
            & (resize < np.where(is_covered, COVERED_RESIZE, MESH_RESIZE)))


def claim_costs(tracks: Sequence[Track], boxes: np.ndarray,
                looks: np.ndarray | None) -> np.ndarray:
    """How little each mesh fits the person of its track, (T,).

    Args:
        tracks: T people.
        boxes: (T, 4) around their meshes, image px.
        looks: (T, K) what is seen there; None: not known.
    """
    expected = np.stack([track.box for track in tracks])
    distance, resize = _differences(expected, boxes)
    cost = distance + resize
    if looks is not None:
        cost = cost + CLAIM_LOOK_WEIGHT * np.array([
            0.5 if track.look is None else look_distances(track.look[None], look[None])[0, 0]
            for track, look in zip(tracks, looks, strict=True)])
    # Who is new or hidden already has to fit much better.
    doubtful = [0.3 * (track.is_new or track.is_hidden) + 0.05 * track.missed
                + 0.5 / track.sights**0.5 for track in tracks]
    return cost + np.array(doubtful)


def rivals(boxes: np.ndarray, points: np.ndarray | None, same_person: float,
           ) -> list[tuple[int, int]]:
    """Pairs of meshes that show the same person.

    Args:
        boxes: (T, 4) around the meshes, image px.
        points: (T, J, 2) the joints in the image, px; None: the boxes decide alone.
        same_person: intersection over union from which two boxes are one person.
    """
    if len(boxes) < 2:
        return []
    same = box_overlaps(boxes, boxes)[0] > same_person
    if points is not None:
        heights = np.maximum(boxes[:, 3] - boxes[:, 1], 1.0)
        apart = np.abs(points[:, None] - points[None]).sum(-1).mean(-1)
        same |= apart < SAME_PLACE * np.minimum(heights[:, None], heights[None])
    return [(int(first), int(second)) for first, second in np.argwhere(np.triu(same, 1))]


def _differences(boxes: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance of the centres in heights of the first, and logarithm of the heights' ratio, (T,).

    Args:
        boxes: (T, 4) image px.
        others: (T, 4) image px, one for each.
    """
    heights, other_heights = (np.maximum(b[:, 3] - b[:, 1], 1.0) for b in (boxes, others))
    centers, other_centers = ((b[:, :2] + b[:, 2:]) / 2 for b in (boxes, others))
    apart = np.linalg.norm(centers - other_centers, axis=-1)
    return apart / heights, np.abs(np.log(heights / other_heights))
