"""Multi-person tracking: a stable track id per person, and where to crop between two detections.

Each track predicts its person's box with a motion filter (`motion.py`). Detections update the
tracks they are associated with (`matching.py`), by motion and by appearance (`appearance.py`).
Between two detections, the boxes around the meshes update them. Where people cross, the mesh of
an occluded person often shows the person in front. Such a mesh does not update its track, and it
is shown only where it fits the prediction. If two meshes show the same person, the worse one is
hidden, and its track continues on the prediction alone.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import cache

import numpy as np

from decomr_core.people.appearance import descriptor_distances
from decomr_core.people.detection import Detections, box_overlaps, clip_boxes
from decomr_core.people.matching import (
    CLEAR_OVERLAP,
    MAX_DESCRIPTOR_DISTANCE,
    are_occluded,
    associate,
    duplicate_pairs,
    meshes_in_gate,
    ownership_costs,
)
from decomr_core.people.motion import SteadyBoxes
from decomr_core.people.track import ExpectedPeople, MeshObservations, Track, TrackerConfig
from decomr_core.people.track_transitions import TrackTransitions

__all__ = ['Tracker', 'TrackerConfig']

logger = logging.getLogger(__name__)

NOMINAL_PERIOD_S = 1 / 30
"""Assumed time between two images without time stamps."""

HISTORY_IMAGES = 64
"""Number of images whose boxes are kept for late detections: two seconds of a camera."""

EARLY_SHARE = 0.95
"""A detection is due after this share of its period: the intervals of cameras vary."""


class Tracker:
    """Tracks the people in a video, with two calls per image.

    `predict` gives the boxes to crop. `update` takes the meshes of these crops and says which of
    them to show. `is_detection_due` tells beforehand whether the detector should search the image,
    for `predict` to take its detections.

    Attributes:
        config: see `TrackerConfig`; changed by `reconfigure`.
        people_left_out: number of detected people, since the start, for whom `max_tracks` had no
            room.
        now_s: time of the present image on the tracker's own clock, which never jumps.
    """

    def __init__(
        self, config: TrackerConfig | None = None, *, defers_updates: bool = False
    ) -> None:
        """Starts without tracks.

        Args:
            config: None: the defaults.
            defers_updates: `update` returns as soon as it knows which meshes to show. The tracks
                are updated by `flush`, or by the next call that needs them.
        """
        self.config = config or TrackerConfig()
        self.people_left_out = 0
        self.now_s = 0.0
        self._defers_updates = defers_updates
        self._pending: MeshObservations | None = None
        self._tracks: list[Track] = []
        self._next_id = 0
        self._step_s = NOMINAL_PERIOD_S
        self._images_since_detection = 0
        self._searched_s = 0.0
        self._image_size: tuple[int, int] | None = None
        self._stamp_s: float | None = None
        self._history: deque[tuple[float, dict[int, np.ndarray]]] = deque(maxlen=HISTORY_IMAGES)
        self._steady_boxes = SteadyBoxes()

    @property
    def tracks(self) -> list[Track]:
        """All tracks, hidden ones included, in the order of their ids."""
        self.flush()
        return self._tracks

    def is_detection_due(self, image_size: tuple[int, int], time_s: float | None = None) -> bool:
        """Whether the detector should search the next image. Does not change the tracker.

        Args:
            image_size: width and height of the next image, px.
            time_s: see `predict`.
        """
        step_s = self._step_to(image_size, time_s)
        return step_s is None or self._is_due(
            self.now_s + step_s, self._images_since_detection + 1
        )

    @property
    def is_detection_due_now(self) -> bool:
        """Whether a detection is due in the present image, which was not searched."""
        return self._searched_s != self.now_s and self._is_due(
            self.now_s, self._images_since_detection
        )

    def record_detection(self) -> None:
        """Restarts the count of `detect_every`: a search of the present image has started."""
        self._images_since_detection = 0

    def predict(
        self,
        image_size: tuple[int, int],
        time_s: float | None = None,
        detections: Detections | None = None,
    ) -> ExpectedPeople:
        """Begins the next image and predicts where the people are.

        Args:
            image_size: width and height, px. A change ends all tracks.
            time_s: time of the image; None: a thirtieth of a second after the one before. A jump
                back, or ahead by more than `max_gap_s`, ends all tracks.
            detections: people in this image, or in an earlier one where their `time_s` says so;
                None: the detector has not searched.

        Returns:
            The people to crop, in the order in which `update` takes their meshes.
        """
        self._advance(image_size, time_s)
        if detections is not None:
            self._update_with_detections(detections)
        boxes = {track.track_id: track.box for track in self._tracks}
        return ExpectedPeople(
            list(boxes),
            [track.score for track in self._tracks],
            np.array(list(boxes.values()), np.float32).reshape(-1, 4),
            self._steady_boxes.update(boxes),
        )

    def update(
        self,
        boxes: np.ndarray,
        foregrounds: np.ndarray,
        joints: np.ndarray | None = None,
        describe: Callable[[], np.ndarray] | None = None,
    ) -> np.ndarray:
        """Updates the tracks with the meshes of the image, and selects the meshes to show.

        Args:
            boxes: (T, 4) boxes around the meshes of the expected people, in their order, image px.
            foregrounds: (T,) share of each person box that the IUV image calls foreground.
            joints: (T, J, 2) projected joints of the meshes, image px; None: unknown.
            describe: returns the descriptors (T, K) of the people in `boxes`; None: unknown. It is
                called where they are needed to tell people apart, otherwise by `flush`.

        Returns:
            (T,) bool, whether each mesh shows the person of its track.
        """
        tracks = self._tracks
        if not tracks or self._image_size is None:
            return np.zeros(0, bool)
        clipped, inside = clip_boxes(boxes, *self._image_size)
        is_body = np.asarray(foregrounds) >= self.config.min_foreground
        expected = np.stack([track.box for track in tracks])
        near = (
            box_overlaps(expected, expected)[1] - np.eye(len(tracks)) >= CLEAR_OVERLAP
            if len(tracks) > 1
            else np.zeros((1, 1), bool)
        )
        occluded = are_occluded(expected, near)
        fits = meshes_in_gate(expected, clipped, occluded) | (not self.config.follows_mesh)
        meshes = MeshObservations(
            clipped, np.any(near, axis=1), occluded, None if describe is None else cache(describe)
        )
        duplicates = self._worse_duplicates(meshes, is_body & inside, joints)
        shown = np.zeros(len(tracks), bool)
        for index, track in enumerate(tracks):
            if is_body[index] and not inside[index]:
                meshes.unobserved[index] = None
            elif (
                is_body[index]
                and fits[index]
                and not duplicates[index]
                and _is_same_appearance(track, meshes, index)
            ):
                shown[index] = True
            else:
                after = meshes.unobserved[index] = self._transitions.unobserved(
                    track, duplicates[index]
                )
                # A person whom the detector has just detected and nobody occludes is shown
                # wherever the mesh lies.
                shown[index] = (
                    after is not None
                    and not after.is_hidden
                    and foregrounds[index] >= self.config.min_shown_foreground
                    and not duplicates[index]
                    and not occluded[index]
                )
        self._pending = meshes
        if not self._defers_updates:
            self.flush()
        return shown

    def flush(self) -> None:
        """Applies a deferred update of the tracks now; without one, does nothing."""
        meshes, self._pending = self._pending, None
        if meshes is None:
            return
        updated = [
            meshes.unobserved[index]
            if index in meshes.unobserved
            else self._transitions.observed(track, meshes, index)
            for index, track in enumerate(self._tracks)
        ]
        self._tracks = [track for track in updated if track is not None]
        self._history.append((self.now_s, {track.track_id: track.box for track in self._tracks}))

    def reconfigure(self, config: TrackerConfig, min_score: float = 0.0) -> None:
        """Replaces the configuration between two images.

        Args:
            config: the new one. Tracks in excess of its `max_tracks` end.
            min_score: tracks with a lower score end.
        """
        kept = [track for track in self.tracks if track.score >= min_score]
        self.config = config
        self._tracks = kept[: config.max_tracks]

    def reset(self) -> None:
        """Ends all tracks. Their ids are not reused."""
        self._tracks = []
        self._pending = None
        self._images_since_detection = 0
        self._stamp_s = None
        self._history.clear()

    def _step_to(self, image_size: tuple[int, int], time_s: float | None) -> float | None:
        """Time from the present to the next image, s; None: tracks cannot continue there."""
        if image_size != self._image_size:
            return None
        if time_s is None or self._stamp_s is None or time_s == self._stamp_s:
            return NOMINAL_PERIOD_S
        step_s = time_s - self._stamp_s
        return step_s if 0 < step_s <= self.config.max_gap_s else None

    def _is_due(self, now_s: float, images_since_detection: int) -> bool:
        """Whether a detection is due at this time of the tracker's clock."""
        period_s = self.config.detect_period_s
        return (
            all(track.is_hidden for track in self.tracks)
            or images_since_detection >= self.config.detect_every
            or bool(period_s)
            and now_s - self._searched_s >= EARLY_SHARE * period_s
        )

    def _advance(self, image_size: tuple[int, int], time_s: float | None) -> None:
        """Moves the clock and all tracks to the next image."""
        self.flush()
        step_s = self._step_to(image_size, time_s)
        if step_s is None:
            self.reset()
            step_s = NOMINAL_PERIOD_S
        self._image_size, self._stamp_s, self._step_s = image_size, time_s, step_s
        self.now_s += step_s
        self._tracks = [track.predicted(step_s) for track in self._tracks]
        self._images_since_detection += 1

    @property
    def _transitions(self) -> TrackTransitions:
        assert self._image_size is not None  # `predict` has set it
        return TrackTransitions(self.config, self.now_s, self._image_size)

    def _update_with_detections(self, detections: Detections) -> None:
        """Continues, begins and ends tracks according to the people whom the detector found."""
        self._images_since_detection = 0
        self._searched_s = self.now_s if detections.time_s is None else detections.time_s
        before = self._boxes_at(detections.time_s)
        to = self._transitions
        pairs = associate(self._tracks, before, detections)
        updated = {
            index: to.detected(self._tracks[index], before[index], detections, number)
            for index, number in pairs.items()
        }
        allowed = self.config.max_missed
        if detections.doubtful is not None:
            updated |= self._detected_doubtfully(updated, before, detections.doubtful)
            allowed = self.config.max_missed_by_all
        occluders = np.array([track.box for track in updated.values()]).reshape(-1, 4)
        continued = [
            updated.get(index) or to.missed(track, occluders, allowed)
            for index, track in enumerate(self._tracks)
        ]
        associated = set(pairs.values())
        new = [
            to.new(detections, index, before)
            for index in range(len(detections.boxes))
            if index not in associated
        ]
        self._keep([track for track in continued if track is not None], new)

    def _detected_doubtfully(
        self, updated: Collection[int], before: np.ndarray, doubtful: Detections
    ) -> dict[int, Track]:
        """Tracks that only doubtful detections continue, by index.

        They do so for at most `max_doubtful_s`: an object that never gets a confident detection
        is not a person.

        Args:
            updated: indices of the tracks that confident detections continue.
            before: (T, 4) boxes of all tracks at the time of the detections, image px.
            doubtful: detections below the score threshold.
        """
        left = [
            index
            for index, track in enumerate(self._tracks)
            if index not in updated
            and not track.is_hidden
            and self.now_s - track.sure_s <= self.config.max_doubtful_s
        ]
        pairs = associate([self._tracks[index] for index in left], before[left], doubtful)
        return {
            left[place]: self._transitions.detected_doubtfully(
                self._tracks[left[place]], before[left[place]], doubtful, number
            )
            for place, number in pairs.items()
        }

    def _boxes_at(self, time_s: float | None) -> np.ndarray:
        """Boxes (T, 4) of the tracks at a time of the tracker's clock; present ones if unknown."""
        known: dict[int, np.ndarray] = next(
            (
                boxes
                for when, boxes in reversed(self._history)
                if time_s is not None and abs(when - time_s) < 1e-6
            ),
            {},
        )
        return np.array(
            [known.get(track.track_id, track.box) for track in self._tracks], np.float32
        ).reshape(-1, 4)

    def _keep(self, known: list[Track], new: list[Track]) -> None:
        """Keeps at most `max_tracks` tracks; counts the others and logs the first time."""
        known = sorted(known, key=lambda track: (track.is_hidden, track.missed, -track.score))
        new = sorted(new, key=lambda track: -track.score)
        # Observed people take precedence over hidden ones.
        observed = sum(not track.is_hidden for track in known)
        chosen = (known[:observed] + new + known[observed:])[: self.config.max_tracks]
        lost = len(known) + len(new) - len(chosen)
        if lost and not self.people_left_out:
            logger.warning(
                '%d people are left out: there is room for %d; give a larger max_people',
                lost,
                self.config.max_tracks,
            )
        self.people_left_out += lost
        tracks = []
        for track in chosen:
            if track.track_id < 0:
                track = replace(track, track_id=self._next_id)
                self._next_id += 1
            tracks.append(track)
        self._tracks = sorted(tracks, key=lambda track: track.track_id)

    def _worse_duplicates(
        self, meshes: MeshObservations, is_person: np.ndarray, joints: np.ndarray | None
    ) -> np.ndarray:
        """Which meshes show a person whom another mesh fits better, (T,) bool."""
        boxes = meshes.boxes
        duplicates = np.zeros(len(boxes), bool)
        pairs = [
            pair
            for pair in duplicate_pairs(boxes, joints, self.config.same_person)
            if is_person[list(pair)].all()
        ]
        if pairs:
            costs = ownership_costs(self._tracks, boxes, meshes.describe and meshes.describe())
            for first, second in sorted(pairs, key=lambda pair: min(costs[list(pair)])):
                if not duplicates[first] and not duplicates[second]:
                    duplicates[second if costs[first] <= costs[second] else first] = True
        return duplicates


def _is_same_appearance(track: Track, meshes: MeshObservations, index: int) -> bool:
    """Whether a mesh may show the person; only hidden tracks are compared by appearance."""
    if not track.is_hidden or meshes.describe is None or track.descriptor is None:
        return True
    descriptor = meshes.describe()[index]
    distance = float(descriptor_distances(track.descriptor[None], descriptor[None])[0, 0])
    return distance < MAX_DESCRIPTOR_DISTANCE
