"""State transitions of a track: what a detection, a miss or a mesh makes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from decomr_core.people.detection import Detections, box_overlaps, clip_boxes
from decomr_core.people.matching import CLEAR_OVERLAP
from decomr_core.people.mesh_observations import MeshObservations
from decomr_core.people.motion import MESH_NOISE, BoxMotion, detector_noise
from decomr_core.people.track import Track, TrackerConfig

__all__ = ['TrackTransitions']

DESCRIPTOR_GAIN = 0.15
"""Weight of the newest observation in the descriptor of a track."""

OCCLUDED_OVERLAP = 0.5
"""Overlap with a detected person, as a share of the smaller box, above which a person without a
detection counts as occluded instead of missed."""


@dataclass(frozen=True)
class TrackTransitions:
    """The transitions in one image. They return new tracks and change nothing.

    Detections of an earlier image come with the tracks' boxes of that time, `box_then`.

    Attributes:
        config: the limits at which tracks become confirmed, hidden or end.
        now_s: time of the image on the tracker's clock.
        image_size: width and height of the image, px.
    """

    config: TrackerConfig
    now_s: float
    image_size: tuple[int, int]

    def new_track(self, detections: Detections, index: int, boxes_then: np.ndarray) -> Track:
        """A track for a detection that continues none; the tracker replaces its id, which is -1.

        Args:
            detections: the detected people.
            index: index of the one to track.
            boxes_then: (T, 4) boxes of the tracks at the time of the detections, image px.
        """
        box = detections.boxes[index]
        others = np.concatenate([boxes_then, np.delete(detections.boxes, index, axis=0)])
        _, of_smaller = box_overlaps(box[None], others)
        is_clear = (of_smaller < CLEAR_OVERLAP).all()
        descriptor = (
            detections.descriptors[index]
            if detections.descriptors is not None and is_clear
            else None
        )
        return Track(
            track_id=-1,
            score=float(detections.scores[index]),
            motion=BoxMotion.from_box(box, detector_noise(detections.height_noise)),
            descriptor=descriptor,
            last_detected_s=self.now_s,
            last_confident_s=self.now_s,
            is_tentative=self.config.min_detections > 1,
        )

    def after_detection(
        self, track: Track, box_then: np.ndarray, detections: Detections, index: int
    ) -> Track:
        """The track with an associated detection, which updates its motion and confirms it.

        Args:
            track: the track.
            box_then: (4,) its box at the time of the detections, image px.
            detections: the detected people.
            index: index of the associated one.
        """
        count = track.num_detections + 1
        return replace(
            self.after_doubtful_detection(track, box_then, detections, index),
            num_detections=count,
            last_confident_s=self.now_s,
            is_tentative=count < self.config.min_detections,
            score=float(detections.scores[index]),
        )

    def after_doubtful_detection(
        self, track: Track, box_then: np.ndarray, detections: Detections, index: int
    ) -> Track:
        """The track with an associated doubtful detection, which updates its motion only.

        Args:
            track: the track.
            box_then: (4,) its box at the time of the detections, image px.
            detections: the doubtful detections.
            index: index of the associated one.
        """
        # The detected box moves with the centre of the track's box since then.
        moved = track.box - box_then
        shift = (moved[:2] + moved[2:]) / 2
        present = detections.boxes[index] + np.tile(shift, 2).astype(np.float32)
        return replace(
            track,
            motion=track.motion.updated(present, detector_noise(detections.height_noise)),
            missed=0,
            last_detected_s=self.now_s,
            hidden_since_s=None,
        )

    def after_miss(self, track: Track, detected: np.ndarray, max_missed: int) -> Track | None:
        """The track without a detection; None where it ends.

        Args:
            track: the track.
            detected: (N, 4) boxes of the detected people, image px.
            max_missed: number of consecutive misses that the track survives.
        """
        if track.is_hidden:
            return None if track.is_tentative else track
        overlaps, of_smaller = box_overlaps(track.box[None], detected)
        if (overlaps > self.config.same_person).any():
            return self.hidden_or_ended(track)
        if not track.is_tentative and (of_smaller > OCCLUDED_OVERLAP).any():
            return track
        if track.missed >= max_missed:
            return None
        return replace(track, missed=track.missed + 1)

    def after_mesh(self, track: Track, meshes: MeshObservations, index: int) -> Track:
        """The track whose mesh shows its person, which updates motion and descriptor.

        Args:
            track: the track.
            meshes: the meshes of the image.
            index: index of the track and its mesh.
        """
        descriptor = track.descriptor
        if meshes.describe is not None and not meshes.is_near[index]:
            descriptor = meshes.describe()[index]
            if track.descriptor is not None:
                descriptor = track.descriptor + DESCRIPTOR_GAIN * (descriptor - track.descriptor)
                descriptor = descriptor / max(float(np.linalg.norm(descriptor)), 1e-6)
        motion = track.motion
        if self.config.follows_mesh and not meshes.is_occluded[index]:
            motion = motion.updated(meshes.boxes[index], MESH_NOISE)
        return replace(track, motion=motion, hidden_since_s=None, descriptor=descriptor)

    def after_wrong_mesh(self, track: Track, is_duplicate: bool) -> Track | None:
        """The track whose mesh does not show its person; None where it ends.

        It ends where it has left the image. It stays as predicted if the detector has detected the
        person in this image, or in its last run and nothing speaks against it. Otherwise it is
        hidden.

        Args:
            track: the track.
            is_duplicate: its mesh shows the person of another track.
        """
        _, is_inside = clip_boxes(track.box[None], *self.image_size)
        if not is_inside[0]:
            return None
        is_detected_now = track.last_detected_s == self.now_s
        if is_detected_now or (track.missed == 0 and not is_duplicate and not track.is_hidden):
            return track
        return self.hidden_or_ended(track)

    def hidden_or_ended(self, track: Track) -> Track | None:
        """The track as hidden; None where it has been hidden for more than `max_hidden_s`."""
        since_s = self.now_s if track.hidden_since_s is None else track.hidden_since_s
        if self.now_s - since_s > self.config.max_hidden_s:
            return None
        return replace(track, hidden_since_s=since_s)
