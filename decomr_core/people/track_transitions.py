"""State transitions of a track: what a detection, a miss or a mesh makes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from decomr_core.people.detection import Detections, box_overlaps, clip_boxes
from decomr_core.people.matching import CLEAR_OVERLAP
from decomr_core.people.motion import MESH_NOISE, BoxMotion, detector_noise
from decomr_core.people.track import MeshObservations, Track, TrackerConfig

__all__ = ['TrackTransitions']

DESCRIPTOR_GAIN = 0.15
"""Weight of the newest observation in the descriptor of a track."""

OCCLUDED_OVERLAP = 0.5
"""From this overlap with a detected person on, a person without a detection counts as occluded,
not as missed."""


@dataclass(frozen=True)
class TrackTransitions:
    """The transitions in one image. They return new tracks and change nothing.

    Attributes:
        config: the limits.
        now_s: time of the image on the tracker's clock.
        image_size: width and height of the image, px.
    """

    config: TrackerConfig
    now_s: float
    image_size: tuple[int, int]

    def detected(
        self, track: Track, before: np.ndarray, detections: Detections, index: int
    ) -> Track:
        """The track with an associated detection.

        Args:
            track: the track.
            before: (4,) its box at the time of the detections, image px. Where they are of an
                earlier image, the motion since then is added to the detected box.
            detections: people in the image.
            index: index of the associated one.
        """
        count = track.num_detections + 1
        return replace(
            self.detected_doubtfully(track, before, detections, index),
            num_detections=count,
            sure_s=self.now_s,
            is_tentative=count < self.config.min_detections,
            score=float(detections.scores[index]),
        )

    def detected_doubtfully(
        self, track: Track, before: np.ndarray, detections: Detections, index: int
    ) -> Track:
        """The same for a doubtful detection, which updates the motion but confirms nothing."""
        moved = track.box - before
        shift = (moved[:2] + moved[2:]) / 2
        present = detections.boxes[index] + np.tile(shift, 2).astype(np.float32)
        motion = track.motion.updated(present, detector_noise(detections.height_noise))
        return replace(track, motion=motion, missed=0, detected_s=self.now_s, hidden_since_s=None)

    def missed(self, track: Track, occluders: np.ndarray, allowed: int) -> Track | None:
        """The track without a detection; None where it ends.

        Args:
            track: the track.
            occluders: (N, 4) boxes of the detected people, image px.
            allowed: consecutive misses after which the track ends at the next one.
        """
        if track.is_hidden:
            return None if track.is_tentative else track
        overlaps = box_overlaps(track.box[None], occluders)
        if (overlaps[0] > self.config.same_person).any():
            return self.hidden(track)
        if not track.is_tentative and (overlaps[1] > OCCLUDED_OVERLAP).any():
            return track
        if track.missed >= allowed:
            return None
        return replace(track, missed=track.missed + 1)

    def new(self, detections: Detections, index: int, before: np.ndarray) -> Track:
        """A new track, with the id -1, for a detection that no track is associated with.

        Args:
            detections: people in the image.
            index: index of the new one.
            before: (T, 4) boxes of the tracks at the time of the detections, image px.
        """
        box = detections.boxes[index]
        others = np.concatenate([before, np.delete(detections.boxes, index, axis=0)])
        is_clear = (box_overlaps(box[None], others)[1] < CLEAR_OVERLAP).all()
        descriptor = (
            detections.descriptors[index]
            if detections.descriptors is not None and is_clear
            else None
        )
        motion = BoxMotion.from_box(box, detector_noise(detections.height_noise))
        return Track(
            -1,
            float(detections.scores[index]),
            motion,
            descriptor=descriptor,
            detected_s=self.now_s,
            sure_s=self.now_s,
            is_tentative=self.config.min_detections > 1,
        )

    def observed(self, track: Track, meshes: MeshObservations, index: int) -> Track:
        """The track whose mesh shows its person, which updates motion and descriptor.

        Args:
            track: the track.
            meshes: the meshes of the image.
            index: index of its own.
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

    def unobserved(self, track: Track, is_duplicate: bool) -> Track | None:
        """The track whose mesh does not show its person; None where it ends.

        Args:
            track: the track.
            is_duplicate: its mesh shows the person of another track.
        """
        is_inside = clip_boxes(track.box[None], *self.image_size)[1][0]
        was_detected = track.detected_s == self.now_s
        if not is_inside:
            return None
        if (track.missed == 0 and not is_duplicate and not track.is_hidden) or was_detected:
            return track
        return self.hidden(track)

    def hidden(self, track: Track) -> Track | None:
        """The track as hidden; None where it has been hidden for more than `max_hidden_s`."""
        since_s = self.now_s if track.hidden_since_s is None else track.hidden_since_s
        if self.now_s - since_s > self.config.max_hidden_s:
            return None
        return replace(track, hidden_since_s=since_s)
