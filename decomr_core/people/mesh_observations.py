"""What the meshes of one image say about the tracks: which mesh shows the person of its track."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from decomr_core.people.appearance import descriptor_distances
from decomr_core.people.detection import box_overlaps, clip_boxes
from decomr_core.people.matching import (
    CLEAR_OVERLAP,
    MAX_DESCRIPTOR_DISTANCE,
    are_occluded,
    duplicate_pairs,
    meshes_in_gate,
    ownership_costs,
)
from decomr_core.people.track import Track, TrackerConfig

__all__ = ['MeshObservations']


@dataclass(frozen=True)
class MeshObservations:
    """The meshes of one image, each compared with its track; T of them, in the tracks' order.

    Attributes:
        boxes: (T, 4) boxes around the meshes, clipped to the image, px.
        is_inside: (T,) bool, the mesh lies at least partly inside the image.
        is_foreground: (T,) bool, the person box contains enough foreground for a person.
        is_near: (T,) bool, the expected box overlaps that of another track.
        is_occluded: (T,) bool, another person is partly in front.
        is_in_gate: (T,) bool, the mesh is where its track expects it.
        is_duplicate: (T,) bool, the mesh shows a person whom another mesh fits better.
        describe: returns the descriptors (T, K) of the people in `boxes`; None: unknown.
    """

    boxes: np.ndarray
    is_inside: np.ndarray
    is_foreground: np.ndarray
    is_near: np.ndarray
    is_occluded: np.ndarray
    is_in_gate: np.ndarray
    is_duplicate: np.ndarray
    describe: Callable[[], np.ndarray] | None

    @classmethod
    def of_tracks(
        cls,
        tracks: Sequence[Track],
        config: TrackerConfig,
        image_size: tuple[int, int],
        boxes: np.ndarray,
        foregrounds: np.ndarray,
        joints: np.ndarray | None = None,
        describe: Callable[[], np.ndarray] | None = None,
    ) -> MeshObservations:
        """Compares the meshes with their tracks.

        Args:
            tracks: at least one.
            config: of the tracker.
            image_size: width and height, px.
            boxes: see `Tracker.update`.
            foregrounds: see `Tracker.update`.
            joints: see `Tracker.update`.
            describe: see `Tracker.update`. It is called at most once.
        """
        clipped, is_inside = clip_boxes(boxes, *image_size)
        is_foreground = np.asarray(foregrounds) >= config.min_foreground
        expected = np.stack([track.box for track in tracks])
        are_near = _are_near(expected)
        is_occluded = are_occluded(expected, are_near)
        describe_once = None if describe is None else cache(describe)
        pairs = [
            pair
            for pair in duplicate_pairs(clipped, joints, config.same_person)
            if (is_foreground & is_inside)[list(pair)].all()
        ]
        is_in_gate = meshes_in_gate(expected, clipped, is_occluded) | (not config.follows_mesh)
        return cls(
            boxes=clipped,
            is_inside=is_inside,
            is_foreground=is_foreground,
            is_near=np.any(are_near, axis=1),
            is_occluded=is_occluded,
            is_in_gate=is_in_gate,
            is_duplicate=_worse_of_pairs(pairs, tracks, clipped, describe_once),
            describe=describe_once,
        )

    def shows_person_of(self, track: Track, index: int) -> bool:
        """Whether a mesh shows the person of its track.

        Args:
            track: the track.
            index: index of the track and its mesh.
        """
        return bool(
            self.is_foreground[index]
            and self.is_inside[index]
            and self.is_in_gate[index]
            and not self.is_duplicate[index]
            and self._has_appearance_of(track, index)
        )

    def _has_appearance_of(self, track: Track, index: int) -> bool:
        """Whether a mesh may show the person; only hidden tracks are compared by appearance."""
        if not track.is_hidden or self.describe is None or track.descriptor is None:
            return True
        descriptor = self.describe()[index]
        distance = float(descriptor_distances(track.descriptor[None], descriptor[None])[0, 0])
        return distance < MAX_DESCRIPTOR_DISTANCE


def _are_near(expected: np.ndarray) -> np.ndarray:
    """Which pairs of expected boxes (T, 4) overlap by `CLEAR_OVERLAP` or more, (T, T) bool."""
    if len(expected) == 1:
        return np.zeros((1, 1), bool)
    _, of_smaller = box_overlaps(expected, expected)
    return of_smaller - np.eye(len(expected)) >= CLEAR_OVERLAP


def _worse_of_pairs(
    pairs: Sequence[tuple[int, int]],
    tracks: Sequence[Track],
    boxes: np.ndarray,
    describe: Callable[[], np.ndarray] | None,
) -> np.ndarray:
    """Of each two meshes that show the same person, the one that fits its track worse.

    Args:
        pairs: indices of two meshes that show the same person.
        tracks: T tracks.
        boxes: (T, 4) boxes around their meshes, image px.
        describe: returns the descriptors (T, K) of the people in `boxes`; None: unknown.

    Returns:
        (T,) bool, whether each mesh is the worse one of a pair.
    """
    is_worse = np.zeros(len(boxes), bool)
    if not pairs:
        return is_worse  # without descriptors, which take time
    costs = ownership_costs(tracks, boxes, None if describe is None else describe())
    # The best mesh decides first: one that is worse itself makes no other mesh a duplicate.
    for first, second in sorted(pairs, key=lambda pair: min(costs[list(pair)])):
        if not is_worse[first] and not is_worse[second]:
            is_worse[second if costs[first] <= costs[second] else first] = True
    return is_worse
