"""Who is who from image to image, and where to look between two detections.

Everybody is where a motion filter (`motion.py`) expects them. Detections correct it, assigned by
what it expects and by look (`appearance.py`), see `matching.py`; in between the boxes around the
meshes do. Where people cross, a mesh often shows the one in front: of whoever is covered it
corrects nothing and is shown only where it fits; whom the meshes show twice is hidden once, and
goes on as the filter says.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import cache

import numpy as np

from decomr_core.people.appearance import look_distances
from decomr_core.people.detection import Detections, box_overlaps, clip_boxes
from decomr_core.people.matching import (
    CLEAR,
    MAX_LOOK,
    are_covered,
    best_pairs,
    claim_costs,
    mesh_fits,
    rivals,
)
from decomr_core.people.motion import FROM_MESH, BoxMotion, HeldBoxes, detector_noise
from decomr_core.people.track import Sights, Track, TrackerConfig

__all__ = ['Tracker', 'TrackerConfig']

logger = logging.getLogger(__name__)

NOMINAL_PERIOD_S = 1 / 30
"""Between images without a time of their own."""

HISTORY_IMAGES = 64
"""So many images back it is known where everybody was: two seconds of a camera."""

ON_TIME = 0.95
"""A detection may come early by this share of its period: cameras are not that regular."""

LOOK_GAIN = 0.15
"""Share of the newest sight in what a person looks like."""

COVERED = 0.5
"""From this share on, a detector that does not see a person behind another has missed nobody."""


class Tracker:
    """The people in view.

    For each image: `needs_detection`, then `match` with the detections if so, then estimate the
    meshes of `tracks`, then `judge` the boxes around them, which says whose meshes to show, and
    `learn`; `carry` does both.

    Attributes:
        config: see `TrackerConfig`; may be replaced between two images.
        tracks: everybody, hidden ones too, in the order of their numbers.
        people_left_out: how often, since the start, a detected person found no room.
        now_s: time of the present image on the tracker's own clock, which never jumps.
    """

    def __init__(self, config: TrackerConfig | None = None) -> None:
        """Starts with nobody in view."""
        self.config = config or TrackerConfig()
        self.tracks: list[Track] = []
        self.people_left_out = 0
        self.now_s = 0.0
        self._next_id = 0
        self._images_since_detection = 0
        self._looked_s = 0.0
        self._image_size: tuple[int, int] | None = None
        self._stamp_s: float | None = None
        self._history: deque[tuple[float, dict[int, np.ndarray]]] = deque(maxlen=HISTORY_IMAGES)
        self._held = HeldBoxes()
        self._sights: Sights | None = None

    def reset(self) -> None:
        """Forgets everybody; numbers go on counting."""
        self.tracks = []
        self._sights = None
        self._images_since_detection = 0
        self._stamp_s = None
        self._history.clear()

    def needs_detection(self, width: int, height: int, time_s: float | None = None) -> bool:
        """Begins the next image; whether the detector should look at it.

        Args:
            width: of the image, px; another size than before forgets everybody.
            height: of the image, px.
            time_s: when it was taken; None: a thirtieth of a second after the one before. A time
                that jumps back, or on by more than `max_gap_s`, forgets everybody.
        """
        self.learn()
        if self._image_size != (width, height):
            self.reset()
            self._image_size = (width, height)
        step_s = self._step_s(time_s)
        self.now_s += step_s
        self.tracks = [track.moved(step_s) for track in self.tracks]
        self._images_since_detection += 1
        return self._is_due

    @property
    def _is_due(self) -> bool:
        """Whether it is time to look for people."""
        period_s = self.config.detect_period_s
        return (all(track.is_hidden for track in self.tracks)
                or self._images_since_detection >= self.config.detect_every
                or bool(period_s) and self.now_s - self._looked_s >= ON_TIME * period_s)

    def held_boxes(self) -> np.ndarray:
        """Boxes (T, 4) of `tracks` to crop, which stand still while people hardly move, px."""
        return self._held.of({track.track_id: track.box for track in self.tracks})

    def match(self, detections: Detections) -> None:
        """Brings the tracks up to date with the people detected in the present image.

        Args:
            detections: where `time_s` says so, of an image before the present one.
        """
        self._images_since_detection = 0
        self._looked_s = self.now_s if detections.time_s is None else detections.time_s
        before = self._boxes_at(detections.time_s)
        pairs = best_pairs(self.tracks, before, detections)
        seen = {index: self._seen(self.tracks[index], before[index], detections, number)
                for index, number in pairs.items()}
        allowed = self.config.max_missed
        if detections.doubtful is not None:
            seen |= self._seen_doubtfully(seen, before, detections.doubtful)
            allowed = self.config.max_missed_by_all
        covers = np.array([track.box for track in seen.values()]).reshape(-1, 4)
        continued = [seen.get(index) or self._missed(track, covers, allowed)
                     for index, track in enumerate(self.tracks)]
        taken = set(pairs.values())
        newcomers = [self._newcomer(detections, index, before)
                     for index in range(len(detections.boxes)) if index not in taken]
        self._keep([track for track in continued if track is not None], newcomers)

    def carry(self, boxes: np.ndarray, foregrounds: np.ndarray, points: np.ndarray | None = None,
              looks: Callable[[], np.ndarray] | None = None) -> np.ndarray:
        """Judges the meshes and learns from them at once; arguments and result of `judge`."""
        shown = self.judge(boxes, foregrounds, points, looks)
        self.learn()
        return shown

    def judge(self, boxes: np.ndarray, foregrounds: np.ndarray, points: np.ndarray | None = None,
              looks: Callable[[], np.ndarray] | None = None) -> np.ndarray:
        """Says whose meshes show them.

        Args:
            boxes: (T, 4) around the meshes of `tracks`, in their order, image px.
            foregrounds: (T,) share of each person box that the IUV calls a person.
            points: (T, J, 2) joints of the meshes, image px; None: not known.
            looks: gives (T, K) what the people in `boxes` look like, now if that is needed to
                tell them apart, else while learning; None: not known.

        Returns:
            (T,) bool, whether each mesh shows the person of its track.
        """
        tracks = self.tracks
        clipped, inside = clip_boxes(boxes, *self._image_size)
        if not tracks:
            return np.zeros(0, bool)
        is_body = np.asarray(foregrounds) >= self.config.min_foreground
        expected = np.stack([track.box for track in tracks])
        near = (box_overlaps(expected, expected)[1] - np.eye(len(tracks)) >= CLEAR
                if len(tracks) > 1 else np.zeros((1, 1), bool))
        covered = are_covered(expected, near)
        fits = mesh_fits(expected, clipped, covered) | (not self.config.follows_mesh)
        sights = Sights(clipped, near.any(1), covered, None if looks is None else cache(looks))
        loses = self._losers(sights, is_body & inside, points)
        shown = np.zeros(len(tracks), bool)
        for index, track in enumerate(tracks):
            if is_body[index] and not inside[index]:
                sights.unseen[index] = None
            elif (is_body[index] and fits[index] and not loses[index]
                  and _is_alike(track, sights, index)):
                shown[index] = True
            else:
                after = sights.unseen[index] = self._unseen(track, loses[index])
                # Whom the detector has just seen, and nobody covers, is shown wherever the mesh
                # lies.
                shown[index] = (after is not None and not after.is_hidden
                                and foregrounds[index] >= self.config.min_shown_foreground
                                and not loses[index] and not covered[index])
        self._sights = sights
        return shown

    def learn(self) -> None:
        """Moves the tracks to where their meshes are, hides or ends those that are not seen.

        Nothing that is shown waits for this; it comes before the next image at the latest.
        """
        sights, self._sights = self._sights, None
        if sights is None:
            return
        carried = [sights.unseen[index] if index in sights.unseen
                   else self._carried(track, sights, index)
                   for index, track in enumerate(self.tracks)]
        self.tracks = [track for track in carried if track is not None]
        self._history.append((self.now_s, {track.track_id: track.box for track in self.tracks}))

    def _step_s(self, time_s: float | None) -> float:
        """Time since the image before, s."""
        before, self._stamp_s = self._stamp_s, time_s
        if time_s is None or before is None or time_s == before:
            return NOMINAL_PERIOD_S
        if not 0 < time_s - before <= self.config.max_gap_s:
            self.reset()
            self._stamp_s = time_s
            return NOMINAL_PERIOD_S
        return time_s - before

    def _boxes_at(self, time_s: float | None) -> np.ndarray:
        """Where everybody was at a time on `now_s`'s clock, (T, 4); now, where not known."""
        known = next((boxes for when, boxes in reversed(self._history)
                      if time_s is not None and abs(when - time_s) < 1e-6), {})
        return np.array([known.get(track.track_id, track.box) for track in self.tracks],
                        np.float32).reshape(-1, 4)

    def _seen(self, track: Track, before: np.ndarray, detections: Detections,
              index: int) -> Track:
        """The track with the detection that continues it; it was at `before` (4,) then."""
        sights = track.sights + 1
        return replace(self._corrected(track, before, detections, index), sights=sights,
                       sure_s=self.now_s, is_new=sights < self.config.min_sights,
                       score=float(detections.scores[index]))

    def _seen_doubtfully(self, seen: Collection[int], before: np.ndarray,
                         doubtful: Detections) -> dict[int, Track]:
        """Whom only doubtful detections see, by index: they correct, and prove nothing.

        Only for so long: what is never sure is no person, but a patch of lawn, say. `seen` are the
        indices of the others, `before` (T, 4) is where everybody was then.
        """
        left = [index for index, track in enumerate(self.tracks)
                if index not in seen and not track.is_hidden
                and self.now_s - track.sure_s <= self.config.max_doubtful_s]
        pairs = best_pairs([self.tracks[index] for index in left], before[left], doubtful)
        return {left[place]: self._corrected(
                    self.tracks[left[place]], before[left[place]], doubtful, number)
                for place, number in pairs.items()}

    def _corrected(self, track: Track, before: np.ndarray, detections: Detections,
                   index: int) -> Track:
        """The track where a detection says; it was at `before` (4,) in the detection's image."""
        # What an older image corrects is corrected here too; the way since then stays.
        moved = track.box - before
        shift = (moved[:2] + moved[2:]) / 2
        present = detections.boxes[index] + np.tile(shift, 2).astype(np.float32)
        motion = track.motion.corrected(present, detector_noise(detections.height_noise))
        return replace(track, motion=motion, missed=0, seen_s=self.now_s, hidden_since_s=None)

    def _missed(self, track: Track, covers: np.ndarray, allowed: int) -> Track | None:
        """The track that the detector did not see; `covers` (N, 4) are those it saw.

        It ends after more than `allowed` misses in a row.
        """
        if track.is_hidden:
            return None if track.is_new else track
        covered = box_overlaps(track.box[None], covers)
        if (covered[0] > self.config.same_person).any():
            return self._hidden(track)
        if not track.is_new and (covered[1] > COVERED).any():
            return track
        if track.missed >= allowed:
            return None
        return replace(track, missed=track.missed + 1)

    def _newcomer(self, detections: Detections, index: int, before: np.ndarray) -> Track:
        """Somebody new; `before` (T, 4) is where the others were."""
        box = detections.boxes[index]
        others = np.concatenate([before, np.delete(detections.boxes, index, axis=0)])
        is_clear = (box_overlaps(box[None], others)[1] < CLEAR).all()
        look = detections.looks[index] if detections.looks is not None and is_clear else None
        motion = BoxMotion.from_box(box, detector_noise(detections.height_noise))
        return Track(-1, float(detections.scores[index]), motion, look=look, seen_s=self.now_s,
                     sure_s=self.now_s, is_new=self.config.min_sights > 1)

    def _keep(self, known: list[Track], newcomers: list[Track]) -> None:
        """As many as there is room for; the others are counted and, the first time, told."""
        known = sorted(known, key=lambda track: (track.is_hidden, track.missed, -track.score))
        newcomers = sorted(newcomers, key=lambda track: -track.score)
        # Whoever is seen comes before whoever is not.
        seen = sum(not track.is_hidden for track in known)
        chosen = (known[:seen] + newcomers + known[seen:])[:self.config.max_tracks]
        lost = len(known) + len(newcomers) - len(chosen)
        if lost and not self.people_left_out:
            logger.warning('%d people are left out: there is room for %d; give a larger '
                           'max_people', lost, self.config.max_tracks)
        self.people_left_out += lost
        tracks = []
        for track in chosen:
            if track.track_id < 0:
                track = replace(track, track_id=self._next_id)
                self._next_id += 1
            tracks.append(track)
        self.tracks = sorted(tracks, key=lambda track: track.track_id)

    def _losers(self, sights: Sights, is_sight: np.ndarray, points: np.ndarray | None
                ) -> np.ndarray:
        """Whose mesh shows somebody else, whom it fits better, (T,) bool."""
        boxes = sights.boxes
        loses = np.zeros(len(boxes), bool)
        pairs = [pair for pair in rivals(boxes, points, self.config.same_person)
                 if is_sight[list(pair)].all()]
        if pairs:
            costs = claim_costs(self.tracks, boxes, sights.looks and sights.looks())
            for first, second in sorted(pairs, key=lambda pair: min(costs[list(pair)])):
                if not loses[first] and not loses[second]:
                    loses[second if costs[first] <= costs[second] else first] = True
        return loses

    def _carried(self, track: Track, sights: Sights, index: int) -> Track:
        """The track whose mesh shows it: the mesh corrects, and the look is learned."""
        look = track.look
        if sights.looks is not None and not sights.is_near[index]:
            look = sights.looks()[index]
            if track.look is not None:
                look = track.look + LOOK_GAIN * (look - track.look)
                look = look / max(float(np.linalg.norm(look)), 1e-6)
        motion = track.motion
        if self.config.follows_mesh and not sights.is_covered[index]:
            motion = motion.corrected(sights.boxes[index], FROM_MESH)
        return replace(track, motion=motion, hidden_since_s=None, look=look)

    def _unseen(self, track: Track, loses: bool) -> Track | None:
        """The track whose mesh does not show it; None where it ends."""
        is_inside = clip_boxes(track.box[None], *self._image_size)[1][0]
        was_detected = track.seen_s == self.now_s
        if not is_inside:
            return None
        if (track.missed == 0 and not loses and not track.is_hidden) or was_detected:
            return track
        return self._hidden(track)

    def _hidden(self, track: Track) -> Track | None:
        """The track as hidden; None where that lasts too long."""
        since_s = self.now_s if track.hidden_since_s is None else track.hidden_since_s
        if self.now_s - since_s > self.config.max_hidden_s:
            return None
        return replace(track, hidden_since_s=since_s)


def _is_alike(track: Track, sights: Sights, index: int) -> bool:
    """Whether a mesh shows the person; who is not hidden need not prove it by the look."""
    if not track.is_hidden or sights.looks is None or track.look is None:
        return True
    look = sights.looks()[index]
    return float(look_distances(track.look[None], look[None])[0, 0]) < MAX_LOOK
