"""Who is who from image to image, and where to look between two detections.

People keep their number while their boxes overlap from image to image (intersection over union,
the Hungarian method for the best pairs). Between detections a person's box is the one around the
last mesh, so that a slow detector need not see every image. Motion models and smoothing come on
top of this.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from decomr_core.detection import Detections, box_overlaps, clip_boxes

__all__ = ['Track', 'Tracker', 'TrackerConfig']


@dataclass(frozen=True)
class TrackerConfig:
    """How tracks begin, go on and end.

    Attributes:
        detect_every: the detector runs on every n-th image, and on each image while nobody is
            tracked; 1: on all.
        min_overlap: intersection over union from which two boxes are the same person.
        trusted_overlap: from this overlap with the detection on, the box of the last mesh stays:
            it is tighter than a detector's.
        max_missed: detections in a row that may miss a person before the track ends.
        min_foreground: share of the person box that the mesh's IUV must call a person, or the
            mesh is not trusted to carry the box, nor to keep a track that the detector missed.
        max_growth: the largest change of a box's longer side from image to image, as a ratio.
        max_tracks: so many people at most: those seen last, then those with the best scores.
        same_person: two tracks that overlap more are one person; the one not seen ends.
    """

    detect_every: int = 5
    min_overlap: float = 0.2
    trusted_overlap: float = 0.5
    max_missed: int = 3
    min_foreground: float = 0.1
    max_growth: float = 1.25
    max_tracks: int = 10
    same_person: float = 0.7

    def __post_init__(self) -> None:
        """Refuses values that make no sense.

        Raises:
            ValueError: a value is out of its range.
        """
        if min(self.detect_every, self.max_tracks, self.max_growth) < 1 or self.max_missed < 0:
            raise ValueError(f'{self}: detect_every, max_tracks and max_growth must be at least '
                             '1, max_missed at least 0')
        for name in ('min_overlap', 'trusted_overlap', 'min_foreground', 'same_person'):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f'{name} is {getattr(self, name)}, expected 0 to 1')

    @classmethod
    def for_detector(cls, name: str, detect_every: int, max_tracks: int) -> TrackerConfig:
        """The config that suits a detector.

        Args:
            name: of the detector, as in `decomr_core.detection.DETECTORS`.
            detect_every: see above.
            max_tracks: see above.
        """
        if name == 'whole-frame':
            # One person whose box is always the whole image: a box carried by the mesh is far
            # smaller, and would make every detection a new person.
            return cls(detect_every=1, max_tracks=1, min_overlap=0.0, trusted_overlap=1.0)
        return cls(detect_every=detect_every, max_tracks=max_tracks)


@dataclass(frozen=True)
class Track:
    """One person over time.

    Attributes:
        track_id: counts up from 0 and is never used again.
        box: (4,) where the person is expected: x_min, y_min, x_max, y_max, image px.
        score: confidence in [0, 1] of the last detection.
        missed: detections in a row that did not see the person.
        is_carried: whether the box comes from the last mesh.
    """

    track_id: int
    box: np.ndarray
    score: float
    missed: int = 0
    is_carried: bool = False


class Tracker:
    """The people in view.

    For each image: `needs_detection`, then `match` with the detections if so, then estimate the
    meshes of `tracks`, then `carry` with the boxes around them.
    """

    def __init__(self, config: TrackerConfig | None = None) -> None:
        """Starts with nobody in view."""
        self.config = config or TrackerConfig()
        self.tracks: list[Track] = []
        self._next_id = 0
        self._images_since_detection = 0
        self._image_size: tuple[int, int] | None = None

    def reset(self) -> None:
        """Forgets everybody; numbers go on counting."""
        self.tracks = []
        self._images_since_detection = 0

    def needs_detection(self, width: int, height: int) -> bool:
        """Whether the detector should look at the next image.

        Args:
            width: of the image, px; another size than before forgets everybody.
            height: of the image, px.
        """
        if self._image_size != (width, height):
            self.reset()
            self._image_size = (width, height)
        self._images_since_detection += 1
        return not self.tracks or self._images_since_detection >= self.config.detect_every

    def match(self, detections: Detections) -> None:
        """Brings the tracks up to date with the people detected in the present image."""
        self._images_since_detection = 0
        pairs = self._best_pairs(detections.boxes)
        continued = []
        for index, track in enumerate(self.tracks):
            if index in pairs:
                continued.append(self._seen(track, detections, pairs[index]))
            elif track.missed < self.config.max_missed:
                continued.append(replace(track, missed=track.missed + 1))
        taken = set(pairs.values())
        for index, (box, score) in enumerate(zip(detections.boxes, detections.scores,
                                                 strict=True)):
            if index not in taken:
                continued.append(Track(self._next_id, box, float(score)))
                self._next_id += 1
        self.tracks = self._without_doubles(continued)[:self.config.max_tracks]

    def carry(self, boxes: np.ndarray, foregrounds: np.ndarray) -> None:
        """Moves the tracks to where their meshes are.

        Ends those that left the image, and those that neither the last detection nor the mesh
        sees.

        Args:
            boxes: (T, 4) around the meshes of `tracks`, in their order, image px.
            foregrounds: (T,) share of each person box that the IUV calls a person.
        """
        carried = []
        clipped, inside = clip_boxes(boxes, *self._image_size)
        for track, box, is_inside, foreground in zip(self.tracks, clipped, inside, foregrounds,
                                                     strict=True):
            if foreground < self.config.min_foreground:
                carried += [track] if track.missed == 0 else []
            elif is_inside:
                carried.append(replace(track, box=self._limited(track.box, box),
                                       is_carried=True))
        self.tracks = carried

    def _best_pairs(self, boxes: np.ndarray) -> dict[int, int]:
        """Index of the detection that continues each track, by index of the track."""
        if not self.tracks or len(boxes) == 0:
            return {}
        from scipy.optimize import linear_sum_assignment  # 0.3 s to import, not used by predict

        overlap = box_overlaps(np.stack([track.box for track in self.tracks]), boxes)[0]
        rows, columns = linear_sum_assignment(overlap, maximize=True)
        return {int(row): int(column) for row, column in zip(rows, columns, strict=True)
                if overlap[row, column] >= self.config.min_overlap}

    def _without_doubles(self, tracks: list[Track]) -> list[Track]:
        """The tracks, seen ones and good ones first, without those that share a person."""
        kept: list[Track] = []
        for track in sorted(tracks, key=lambda track: (track.missed, -track.score)):
            others = np.array([other.box for other in kept]).reshape(-1, 4)
            overlap = box_overlaps(track.box[None], others)[0]
            if track.missed == 0 or not (overlap > self.config.same_person).any():
                kept.append(track)
        return kept

    def _seen(self, track: Track, detections: Detections, index: int) -> Track:
        """The track with the detection that continues it."""
        detected = detections.boxes[index]
        overlap = float(box_overlaps(track.box[None], detected[None])[0][0, 0])
        keeps_box = track.is_carried and overlap >= self.config.trusted_overlap
        return replace(track, box=track.box if keeps_box else detected, missed=0,
                       score=float(detections.scores[index]), is_carried=keeps_box)

    def _limited(self, before: np.ndarray, box: np.ndarray) -> np.ndarray:
        """The box about its own centre, its longer side changed by `max_growth` at most."""
        old, new = (before[2:] - before[:2]).max(), (box[2:] - box[:2]).max()
        most = self.config.max_growth
        ratio = np.clip(new, old / most, old * most) / max(float(new), 1e-6)
        center, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * ratio
        return np.concatenate([center - half, center + half]).astype(np.float32)
