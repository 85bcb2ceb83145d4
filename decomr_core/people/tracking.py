"""Multi-person tracking: a stable track id per person, and where to crop between two detections.

Each track predicts its person's box with a motion filter (`motion.py`). A detection is associated
with a track by motion and appearance (`matching.py`, `appearance.py`) and updates it. Between two
detections, the boxes around the meshes update the tracks (`mesh_observations.py`). Where people
cross, the mesh of an occluded person often shows the person in front. Such a mesh does not update
the motion of its track, and it is shown only where it fits the prediction. If two meshes show the
same person, the worse one is not shown, and its track continues on the prediction alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np

from decomr_core.people.box_history import BoxHistory
from decomr_core.people.detection import Detections
from decomr_core.people.matching import associate
from decomr_core.people.mesh_observations import MeshObservations
from decomr_core.people.motion import SteadyBoxes
from decomr_core.people.track import ExpectedPeople, Track, TrackerConfig
from decomr_core.people.track_transitions import TrackTransitions

__all__ = ['Tracker', 'TrackerConfig']

logger = logging.getLogger(__name__)

NOMINAL_PERIOD_S = 1 / 30
"""Assumed time between two images without time stamps, s."""

EARLY_SHARE = 0.95
"""A detection is due after this share of `detect_period_s`: the intervals between images vary, and
the next image may come much later."""


@dataclass(frozen=True)
class _MeshUpdate:
    """An update of the tracks that `update` has prepared and `flush` applies.

    Attributes:
        meshes: the meshes of the image.
        unobserved: by index, the next state of each track whose mesh does not show its person;
            None: the track ends. The meshes update the other tracks.
    """

    meshes: MeshObservations
    unobserved: dict[int, Track | None]


class Tracker:
    """Tracks the people in a video.

    These calls follow each other for each image:

    1. `is_detection_due` says whether the detector should search the image.
    2. `predict` takes its detections, if it did, and returns the boxes to crop.
    3. `update` takes the meshes of these crops and says which of them to show.
    4. `flush` applies this update to the tracks, if the tracker defers updates.

    A detector may also search the image after its meshes are shown, and deliver the detections
    with a later image. `should_search_present_image` and `search_started` are for such a detector.

    Attributes:
        config: see `TrackerConfig`; changed by `reconfigure`.
        people_left_out: number of people so far for whom `max_tracks` had no room. A person counts
            at each detection.
        now_s: time of the present image on the tracker's own clock, s. It starts at 0 and only
            advances, also where the time stamps of the images jump.
    """

    def __init__(
        self, config: TrackerConfig | None = None, *, defers_updates: bool = False
    ) -> None:
        """Starts without tracks.

        Args:
            config: None: the defaults.
            defers_updates: `update` returns as soon as it knows which meshes to show. `flush`, or
                the next call that needs the tracks, updates them.
        """
        self.config = config or TrackerConfig()
        self.people_left_out = 0
        self.now_s = 0.0
        self._defers_updates = defers_updates
        self._pending: _MeshUpdate | None = None
        self._tracks: list[Track] = []  # in the order of their ids
        self._next_id = 0
        # The present image: its time as given, and the time since the image before.
        self._image_size: tuple[int, int] | None = None
        self._stamp_s: float | None = None
        self._interval_s = NOMINAL_PERIOD_S
        # Number of images since the last search, from its start and again from its detections on,
        # and the time of the image that it has searched.
        self._images_since_search = 0
        self._last_searched_s = 0.0
        self._history = BoxHistory()
        self._crop_boxes = SteadyBoxes()

    @property
    def tracks(self) -> list[Track]:
        """All tracks, hidden ones included, ordered by id; a pending update is applied first."""
        self.flush()
        return self._tracks

    def is_detection_due(self, image_size: tuple[int, int], time_s: float | None = None) -> bool:
        """Whether the detector should search the next image, before `predict`.

        It changes nothing apart from applying a pending update, and may be called repeatedly.

        Args:
            image_size: width and height of the next image, px.
            time_s: see `predict`.
        """
        interval_s = self._interval_to(image_size, time_s)
        return interval_s is None or self._is_search_due(
            self.now_s + interval_s, self._images_since_search + 1
        )

    @property
    def should_search_present_image(self) -> bool:
        """Whether a detection is due in the present image, after `predict` came without one."""
        is_searched = self._last_searched_s == self.now_s
        return not is_searched and self._is_search_due(self.now_s, self._images_since_search)

    def search_started(self) -> None:
        """Restarts the count of images for `detect_every`; the detections come with a later one.

        The detector calls it when it starts to search the present image.
        """
        self._images_since_search = 0

    def predict(
        self,
        image_size: tuple[int, int],
        time_s: float | None = None,
        detections: Detections | None = None,
    ) -> ExpectedPeople:
        """Begins the next image and predicts where the people are.

        Args:
            image_size: width and height, px. A change ends all tracks.
            time_s: time of the image on any clock, s; None, or the same as of the image before: a
                thirtieth of a second later. A jump back, or ahead by more than `max_gap_s`, ends
                all tracks.
            detections: people in this image, or in the earlier image that their `time_s` names;
                None: the detector has not searched.

        Returns:
            The people to crop, T of them, in the order in which `update` takes their meshes.
        """
        self._advance(image_size, time_s)
        if detections is not None:
            self._update_with_detections(detections)
        boxes = {track.track_id: track.box for track in self._tracks}
        return ExpectedPeople(
            track_ids=list(boxes),
            scores=[track.score for track in self._tracks],
            boxes=np.array(list(boxes.values()), np.float32).reshape(-1, 4),
            crop_boxes=self._crop_boxes.update(boxes),
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
            boxes: (T, 4) boxes around the meshes of the people that `predict` has returned for
                this image, in their order, image px.
            foregrounds: (T,) share of each person box that the IUV image classifies as foreground,
                in [0, 1].
            joints: (T, J, 2) projected joints of the meshes, image px; None: unknown.
            describe: returns the descriptors (T, K) of the people in `boxes`; None: unknown. It
                takes time, so it is called at most once: here if people must be told apart,
                otherwise by `flush`.

        Returns:
            (T,) bool, whether to show each mesh.
        """
        tracks = self._tracks
        if not tracks or self._image_size is None:
            return np.zeros(0, bool)
        meshes = MeshObservations.of_tracks(
            tracks, self.config, self._image_size, boxes, foregrounds, joints, describe
        )
        unobserved: dict[int, Track | None] = {}
        is_shown = np.zeros(len(tracks), bool)
        for index, track in enumerate(tracks):
            if meshes.shows_person_of(track, index):
                is_shown[index] = True
            elif meshes.is_foreground[index] and not meshes.is_inside[index]:
                unobserved[index] = None  # the person has left the image
            else:
                is_duplicate = bool(meshes.is_duplicate[index])
                after = self._transitions.after_wrong_mesh(track, is_duplicate)
                unobserved[index] = after
                # A person whom the detector has just detected and nobody occludes is shown
                # wherever the mesh lies.
                is_shown[index] = (
                    after is not None
                    and not after.is_hidden
                    and foregrounds[index] >= self.config.min_shown_foreground
                    and not is_duplicate
                    and not meshes.is_occluded[index]
                )
        self._pending = _MeshUpdate(meshes, unobserved)
        if not self._defers_updates:
            self.flush()
        return is_shown

    def flush(self) -> None:
        """Applies the pending update of the tracks now; without one, does nothing."""
        pending, self._pending = self._pending, None
        if pending is None:
            return
        updated = [
            pending.unobserved[index]
            if index in pending.unobserved
            else self._transitions.after_mesh(track, pending.meshes, index)
            for index, track in enumerate(self._tracks)
        ]
        self._tracks = [track for track in updated if track is not None]
        self._history.add(self.now_s, self._tracks)

    def reconfigure(self, config: TrackerConfig, min_score: float = 0.0) -> None:
        """Replaces the configuration between two images.

        Args:
            config: the new one. If there are more tracks than its `max_tracks`, the newest end.
            min_score: tracks with a lower score end.
        """
        kept = [track for track in self.tracks if track.score >= min_score]
        self.config = config
        self._tracks = kept[: config.max_tracks]

    def reset(self) -> None:
        """Ends all tracks, before another video. Their ids are not reused; the clock goes on."""
        self._tracks = []
        self._pending = None
        self._images_since_search = 0
        self._stamp_s = None
        self._history.clear()

    def _interval_to(self, image_size: tuple[int, int], time_s: float | None) -> float | None:
        """Time from the present image to the next one, s; None: no track continues there.

        Args:
            image_size: width and height of the next image, px.
            time_s: see `predict`.
        """
        if image_size != self._image_size:
            return None
        if time_s is None or self._stamp_s is None or time_s == self._stamp_s:
            return NOMINAL_PERIOD_S
        interval_s = time_s - self._stamp_s
        return interval_s if 0 < interval_s <= self.config.max_gap_s else None

    def _is_search_due(self, now_s: float, images_since_search: int) -> bool:
        """Whether the detector should search an image.

        Args:
            now_s: time of the image on the tracker's clock.
            images_since_search: number of images since the last search, this one included.
        """
        if all(track.is_hidden for track in self.tracks):
            return True
        if images_since_search >= self.config.detect_every:
            return True
        period_s = self.config.detect_period_s
        return period_s > 0 and now_s - self._last_searched_s >= EARLY_SHARE * period_s

    def _advance(self, image_size: tuple[int, int], time_s: float | None) -> None:
        """Moves the clock and all tracks to the next image."""
        self.flush()
        interval_s = self._interval_to(image_size, time_s)
        if interval_s is None:
            self.reset()
            interval_s = NOMINAL_PERIOD_S
        self._image_size, self._stamp_s, self._interval_s = image_size, time_s, interval_s
        self.now_s += interval_s
        self._tracks = [track.predicted(interval_s) for track in self._tracks]
        self._images_since_search += 1

    @property
    def _transitions(self) -> TrackTransitions:
        assert self._image_size is not None  # `predict` has set it
        return TrackTransitions(self.config, self.now_s, self._image_size)

    def _update_with_detections(self, detections: Detections) -> None:
        """Continues, begins and ends tracks according to the people whom the detector found."""
        self._images_since_search = 0
        self._last_searched_s = self.now_s if detections.time_s is None else detections.time_s
        transitions = self._transitions
        boxes_then = self._history.boxes_then(self._tracks, detections.time_s)
        detection_by_track = associate(self._tracks, boxes_then, detections)
        updated = {
            index: transitions.after_detection(
                self._tracks[index], boxes_then[index], detections, detection
            )
            for index, detection in detection_by_track.items()
        }
        max_missed = self.config.max_missed
        if detections.doubtful is not None:
            updated |= self._after_doubtful_detections(updated, boxes_then, detections.doubtful)
            max_missed = self.config.max_missed_by_all
        detected = np.array([track.box for track in updated.values()]).reshape(-1, 4)
        continued = [
            updated[index]
            if index in updated
            else transitions.after_miss(track, detected, max_missed)
            for index, track in enumerate(self._tracks)
        ]
        associated = set(detection_by_track.values())
        new = [
            transitions.new_track(detections, detection, boxes_then)
            for detection in range(len(detections.boxes))
            if detection not in associated
        ]
        self._replace_tracks([track for track in continued if track is not None], new)

    def _after_doubtful_detections(
        self, updated: Collection[int], boxes_then: np.ndarray, doubtful: Detections
    ) -> dict[int, Track]:
        """The tracks, by index, that only a doubtful detection continues.

        Doubtful detections continue a track for at most `max_doubtful_s`: an object that never
        gets a confident detection is not a person.

        Args:
            updated: indices of the tracks that confident detections continue.
            boxes_then: (T, 4) boxes of all tracks at the time of the detections, image px.
            doubtful: detections below the score threshold.
        """
        candidates = [
            index
            for index, track in enumerate(self._tracks)
            if index not in updated
            and not track.is_hidden
            and self.now_s - track.last_confident_s <= self.config.max_doubtful_s
        ]
        detection_by_candidate = associate(
            [self._tracks[index] for index in candidates], boxes_then[candidates], doubtful
        )
        return {
            candidates[candidate]: self._transitions.after_doubtful_detection(
                self._tracks[candidates[candidate]],
                boxes_then[candidates[candidate]],
                doubtful,
                detection,
            )
            for candidate, detection in detection_by_candidate.items()
        }

    def _replace_tracks(self, continued: list[Track], new: list[Track]) -> None:
        """Replaces the tracks by at most `max_tracks` of these, and gives the new ones their ids.

        The others are counted; the first time, a warning is logged.
        """
        # The most reliable first: observed, seldom missed, with a high score.
        continued = sorted(
            continued, key=lambda track: (track.is_hidden, track.missed, -track.score)
        )
        new = sorted(new, key=lambda track: -track.score)
        # New people take precedence over hidden ones.
        num_observed = sum(not track.is_hidden for track in continued)
        ranked = continued[:num_observed] + new + continued[num_observed:]
        left_out = len(ranked[self.config.max_tracks :])
        if left_out and not self.people_left_out:
            logger.warning(
                '%d people are left out: there is room for %d; give a larger max_people',
                left_out,
                self.config.max_tracks,
            )
        self.people_left_out += left_out
        tracks = []
        for track in ranked[: self.config.max_tracks]:
            if track.track_id < 0:
                track = replace(track, track_id=self._next_id)
                self._next_id += 1
            tracks.append(track)
        self._tracks = sorted(tracks, key=lambda track: track.track_id)
