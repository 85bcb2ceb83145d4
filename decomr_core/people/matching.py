"""Association: which detection continues which track, and which track a mesh belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from decomr_core.people.appearance import descriptor_distances
from decomr_core.people.detection import Detections, box_overlaps
from decomr_core.people.motion import detector_noise

if TYPE_CHECKING:
    from decomr_core.people.track import Track

__all__ = [
    'CLEAR_OVERLAP',
    'MAX_DESCRIPTOR_DISTANCE',
    'are_occluded',
    'associate',
    'duplicate_pairs',
    'meshes_in_gate',
    'ownership_costs',
]

GATE = 18.0
"""Largest `BoxMotion.detection_costs` of an association: about five standard deviations for a
well-known track."""

DESCRIPTOR_WEIGHT = 20.0
"""Weight of the descriptor distance against the motion cost of a detection."""

MAX_DESCRIPTOR_DISTANCE = 0.75
"""Two observations with a larger descriptor distance are different people."""

MESH_DESCRIPTOR_WEIGHT = 2.0
"""Weight of the descriptor distance against the distance of a mesh, in body heights."""

INFEASIBLE = 1e6
"""Cost of an association outside the gate."""

DUPLICATE_DISTANCE = 0.07
"""Two meshes with a smaller mean joint distance, in body heights, show the same person."""

CLEAR_OVERLAP = 0.15
"""A person whose box overlaps others by less, relative to the smaller box, is in clear view."""

MESH_GATE_DISTANCE, MESH_GATE_LOG_SCALE = 0.25, 0.35
"""Gate of a mesh: largest distance of its box's centre from the expected box, in body heights,
and largest absolute logarithm of the ratio of the two heights."""

OCCLUDED_GATE_DISTANCE, OCCLUDED_GATE_LOG_SCALE = 0.10, 0.15
"""The same gate for an occluded person, whose mesh often shows the person in front."""


def associate(
    tracks: Sequence[Track], boxes: np.ndarray, detections: Detections
) -> dict[int, int]:
    """Associates detections with tracks by motion and appearance, with the Hungarian method.

    Args:
        tracks: T tracks.
        boxes: (T, 4) boxes of the tracks at the time of the detections, image px.
        detections: N people.

    Returns:
        Index of the detection by index of the track that it continues.
    """
    if len(tracks) == 0 or len(detections.boxes) == 0:
        return {}
    from scipy.optimize import linear_sum_assignment  # 0.3 s to import, not used by predict

    distance = np.full((len(tracks), len(detections.boxes)), 0.5)
    if detections.descriptors is not None:
        unknown = np.zeros_like(detections.descriptors[0])
        distance = descriptor_distances(
            np.stack(
                [unknown if track.descriptor is None else track.descriptor for track in tracks]
            ),
            detections.descriptors,
        )
    noise = detector_noise(detections.height_noise)
    motion = np.stack(
        [
            track.motion.detection_costs(box, detections.boxes, noise)
            for track, box in zip(tracks, boxes, strict=True)
        ]
    )
    cost = np.where(motion <= GATE, motion + DESCRIPTOR_WEIGHT * distance, INFEASIBLE)
    rows, columns = linear_sum_assignment(cost)
    return {
        int(row): int(column)
        for row, column in zip(rows, columns, strict=True)
        if cost[row, column] < INFEASIBLE
    }


def are_occluded(boxes: np.ndarray, is_near: np.ndarray) -> np.ndarray:
    """Which people are partly behind another one, (T,) bool.

    Of two people whose boxes overlap, the one whose feet are lower in the image is in front.

    Args:
        boxes: (T, 4) person boxes, image px.
        is_near: (T, T) bool, whether two boxes overlap by `CLEAR_OVERLAP` or more.
    """
    is_behind = boxes[:, None, 3] < boxes[None, :, 3]
    return (is_behind & is_near).any(1)


def meshes_in_gate(expected: np.ndarray, boxes: np.ndarray, is_occluded: np.ndarray) -> np.ndarray:
    """Which meshes are where their person is expected, (T,) bool.

    Args:
        expected: (T, 4) expected boxes, image px.
        boxes: (T, 4) boxes around the meshes, image px.
        is_occluded: (T,) bool.
    """
    distance, log_scale = _differences(expected, boxes)
    return (distance < np.where(is_occluded, OCCLUDED_GATE_DISTANCE, MESH_GATE_DISTANCE)) & (
        log_scale < np.where(is_occluded, OCCLUDED_GATE_LOG_SCALE, MESH_GATE_LOG_SCALE)
    )


def ownership_costs(
    tracks: Sequence[Track], boxes: np.ndarray, descriptors: np.ndarray | None
) -> np.ndarray:
    """How badly each mesh fits the person of its track, (T,).

    Args:
        tracks: T tracks.
        boxes: (T, 4) boxes around their meshes, image px.
        descriptors: (T, K) descriptors of `boxes`; None: unknown.
    """
    expected = np.stack([track.box for track in tracks])
    distance, log_scale = _differences(expected, boxes)
    cost = distance + log_scale
    if descriptors is not None:
        cost = cost + MESH_DESCRIPTOR_WEIGHT * np.array(
            [
                0.5
                if track.descriptor is None
                else descriptor_distances(track.descriptor[None], descriptor[None])[0, 0]
                for track, descriptor in zip(tracks, descriptors, strict=True)
            ]
        )
    # Tentative, hidden and recently missed tracks must fit much better than the others.
    penalty = [
        0.3 * (track.is_tentative or track.is_hidden)
        + 0.05 * track.missed
        + 0.5 / track.num_detections**0.5
        for track in tracks
    ]
    return cost + np.array(penalty)


def duplicate_pairs(
    boxes: np.ndarray, joints: np.ndarray | None, same_person: float
) -> list[tuple[int, int]]:
    """Pairs of meshes that show the same person.

    Args:
        boxes: (T, 4) boxes around the meshes, image px.
        joints: (T, J, 2) projected joints, image px; None: the boxes alone decide.
        same_person: intersection over union above which two boxes show the same person.
    """
    if len(boxes) < 2:
        return []
    same = box_overlaps(boxes, boxes)[0] > same_person
    if joints is not None:
        heights = np.maximum(boxes[:, 3] - boxes[:, 1], 1.0)
        apart = np.abs(joints[:, None] - joints[None]).sum(-1).mean(-1)
        same |= apart < DUPLICATE_DISTANCE * np.minimum(heights[:, None], heights[None])
    return [(int(first), int(second)) for first, second in np.argwhere(np.triu(same, 1))]


def _differences(boxes: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance of the centres in heights of `boxes`, and |log| of the height ratio, both (T,).

    Args:
        boxes: (T, 4) image px.
        others: (T, 4) image px, one for each of `boxes`.
    """
    heights, other_heights = (np.maximum(b[:, 3] - b[:, 1], 1.0) for b in (boxes, others))
    centers, other_centers = ((b[:, :2] + b[:, 2:]) / 2 for b in (boxes, others))
    apart = np.linalg.norm(centers - other_centers, axis=-1)
    return apart / heights, np.abs(np.log(heights / other_heights))
