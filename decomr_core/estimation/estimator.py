"""HumanMeshEstimator: image + boxes + intrinsics -> a list of `HumanMesh`, with times per stage.

Stages, in this order: `detect` (find or follow people), `crop`, `network`, `place` (camera frame,
visibility), `track` (identities, boxes for the next image).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from decomr_core.base.assets import BUILTIN
from decomr_core.base.structures import Crops, HumanMesh, NetworkOutput, StageTimes, check_shape
from decomr_core.estimation.agreement import covered_share, foreground_share
from decomr_core.estimation.detectors import load_detector
from decomr_core.estimation.loading import load_runtime
from decomr_core.geometry.camera import body_translations, box_weak, check_intrinsics, project_weak
from decomr_core.geometry.crop import CROP_SCALE, check_boxes, check_image, crop_image
from decomr_core.geometry.visibility import VisibilityTest
from decomr_core.people.appearance import looks_of_boxes
from decomr_core.people.detection import Detections, Detector, clip_boxes
from decomr_core.people.tracking import Tracker, TrackerConfig
from decomr_core.runtimes import DEFAULT_RUNTIME, Runtime
from decomr_core.uv.topology import Topology

__all__ = ['EstimatorConfig', 'HumanMeshEstimator', 'load_estimator']

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EstimatorConfig:
    """What is estimated, and for whom.

    Attributes:
        crop_scale: side of the square crop over the longer side of the person box.
        min_score: detections with a lower confidence are dropped.
        max_people: the best detections only, where people are not tracked; else see
            `TrackerConfig.max_tracks`.
    """

    crop_scale: float = CROP_SCALE
    min_score: float = 0.0
    max_people: int = 30

    def __post_init__(self) -> None:
        """Refuses values that make no sense.

        Raises:
            ValueError: a value is out of its range.
        """
        if not self.crop_scale > 0 or self.max_people < 1:
            raise ValueError(f'{self}: crop_scale must be above 0, max_people at least 1')


class HumanMeshEstimator:
    """Sees people in images and says where each point of their surface is.

    Attributes:
        runtime: the network.
        topology: faces, parts and UV map of the meshes.
        config: see `EstimatorConfig`.
        boxes_without_foreground: of the people tracked since the start, how many boxes, counted in
            every image, the IUV images called empty, as long as they did so of all; None once one
            was not.
    """

    def __init__(self, runtime: Runtime, detector: Detector | None = None,
                 tracker: Tracker | None = None, config: EstimatorConfig | None = None) -> None:
        """Puts the parts together.

        Args:
            runtime: a loaded network.
            detector: finds people where no boxes are given.
            tracker: keeps identities and spares detections, for video; None: every image stands
                for itself and `track_id` is -1.
            config: None: the defaults.
        """
        self.runtime = runtime
        self.topology: Topology = runtime.topology
        self.config = config or EstimatorConfig()
        self._detector = detector
        self._tracker = tracker
        self.boxes_without_foreground: int | None = 0
        self._left_out = 0
        self._visibility = VisibilityTest(self.topology.faces, len(self.topology.v_template))
        # The first run of a runtime takes longer: not in the first image.
        size = runtime.crop_size
        runtime.run(np.zeros((1, size, size, 3), np.uint8))

    def reset(self) -> None:
        """Forgets everybody: another video begins."""
        if self._tracker is not None:
            self._tracker.reset()

    def learn(self) -> None:
        """Brings the tracks to where the last meshes are, where `estimate` has left that out."""
        if self._tracker is not None:
            self._tracker.learn()

    def estimate(self, image: np.ndarray, boxes: np.ndarray | None = None,
                 scores: np.ndarray | None = None,
                 intrinsics: np.ndarray | None = None, time_s: float | None = None,
                 *, learns_at_once: bool = True) -> tuple[list[HumanMesh], StageTimes]:
        """The people in an image.

        Args:
            image: (H, W, 3) uint8 RGB.
            boxes: (B, 4) x_min, y_min, x_max, y_max, image px; None asks the detector. What lies
                outside the image is cut off; boxes wholly outside are left out.
            scores: (B,) confidences in [0, 1] of the boxes; None: all 1.
            intrinsics: (3, 3) px; None or k[0] = 0 (not calibrated) gives relative meshes.
            time_s: when the image was taken; None: a thirtieth of a second after the one before.
            learns_at_once: False where somebody waits for the meshes: the image must then not
                change before `learn`, which may be called when they are on their way.

        Returns:
            One mesh per person, none if nobody is there, and the times.

        Raises:
            ValueError: an argument is not as said above, or there are neither boxes nor a
                detector.
            RuntimeError: the network's output is not finite.
        """
        check_image(image)
        intrinsics = check_intrinsics(intrinsics)
        watch = _Stopwatch()
        people = self._find_people(image, boxes, scores, time_s)
        watch.stop('detect')
        crops = crop_image(image, people.cropped, self.runtime.crop_size, self.config.crop_scale)
        watch.stop('crop')
        if len(people.boxes) == 0:
            return [], watch.times
        output = self.runtime.run(crops.images)
        _check_finite(output)
        watch.stop('network')
        bounds = np.zeros((len(people.boxes), 4), np.float32)
        translations = _translations(output, crops, intrinsics)
        meshes = [self._mesh(index, people, crops, output, image, translations, bounds[index])
                  for index in range(len(people.boxes))]
        watch.stop('place')
        shown = self._follow(image, meshes, bounds)
        if learns_at_once:
            self.learn()
        watch.stop('track')
        return shown, watch.times

    @property
    def people_left_out(self) -> int:
        """How often, since the start, a person was found for whom `max_people` had no room."""
        return self._left_out + (0 if self._tracker is None else self._tracker.people_left_out)

    def _find_people(self, image: np.ndarray, boxes: np.ndarray | None,
                     scores: np.ndarray | None, time_s: float | None) -> _People:
        """Where to look in this image, and who is there."""
        height, width = image.shape[:2]
        tracker = self._tracker
        if boxes is not None:
            detections = _given(boxes, scores, width, height)
        elif self._detector is None:
            raise ValueError('neither boxes nor a detector; give boxes=, or a detector such as '
                             'load_detector()')
        else:
            if tracker is not None and not tracker.needs_detection(width, height, time_s):
                return _People.from_tracks(tracker)
            detections = self._detector(image).surer_than(self.config.min_score)
        if tracker is None:
            return self._untracked(detections, boxes is None)
        if boxes is not None:
            tracker.needs_detection(width, height, time_s)
        if detections.looks is None:
            detections = replace(detections, looks=looks_of_boxes(image, detections.boxes))
        tracker.match(detections)
        return _People.from_tracks(tracker)

    def _untracked(self, detections: Detections, is_limited: bool) -> _People:
        """Everybody in one image that stands for itself; the best, if limited."""
        if is_limited:
            self._left_out += max(len(detections.boxes) - self.config.max_people, 0)
            detections = detections.at(np.arange(len(detections.boxes))[:self.config.max_people])
        return _People(detections.boxes, detections.boxes, detections.scores,
                       np.full(len(detections.boxes), -1))

    def _mesh(self, index: int, people: _People, crops: Crops, output: NetworkOutput,
              image: np.ndarray, translations: np.ndarray | None, bounds: np.ndarray
              ) -> HumanMesh | None:
        """One person's mesh; None where the network says that nobody can be there.

        `translations` (B, 3) are where everybody's root is; None: not known, for a relative mesh.
        Writes into `bounds` (4,) the box around it, image px.
        """
        weak_camera = output.camera[index]
        if not weak_camera[0] > 0:
            logger.warning('a person is left out: the network says a scale of %g', weak_camera[0])
            return None
        center, side = crops.centers[index], float(crops.sides[index])
        vertices, joints = output.vertices[index], output.joints[index]
        # NumPy is several times as fast on three long rows as on many short ones.
        columns = np.array(vertices.T, np.float32, order='C')
        visibility = self._visibility.of_columns(columns)
        bounds[:] = box = box_weak(columns, weak_camera, center, side)
        # Most meshes lie inside the image altogether, which their boxes tell.
        height, width = image.shape[:2]
        x_min, y_min, x_max, y_max = box
        if not (min(x_min, y_min) >= -0.5 and x_max <= width - 0.5 and y_max <= height - 0.5):
            image_xy = project_weak(vertices, weak_camera, center, side)
            visibility &= _is_inside(image_xy, (width, height))
        translation = np.zeros(3, np.float32)
        if translations is not None:
            translation = translations[index]
            columns += translation[:, None]
            vertices = cv2.merge(list(columns)).reshape(-1, 3)
        return HumanMesh(
            track_id=int(people.track_ids[index]), score=float(people.scores[index]),
            box=people.boxes[index], vertices=vertices,
            joints=joints + translation, translation=translation,
            is_metric=translations is not None, visibility=visibility, weak_camera=weak_camera,
            crop_center=center, crop_side=side, iuv=output.iuv[index])

    def _follow(self, image: np.ndarray, meshes: list[HumanMesh | None], bounds: np.ndarray
                ) -> list[HumanMesh]:
        """The meshes that show the people of the tracker, who is told where they are now.

        Args:
            image: (H, W, 3) uint8 RGB.
            meshes: of everybody who is tracked.
            bounds: (T, 4) the boxes around them, image px; zeros where there is no mesh.
        """
        if self._tracker is None:
            return [mesh for mesh in meshes if mesh is not None]
        points = _joints_in_image(meshes) if len(meshes) > 1 else None
        foregrounds = np.array([0.0 if mesh is None else foreground_share(mesh)
                                for mesh in meshes])
        if self.boxes_without_foreground is not None:
            is_any = (foregrounds >= self._tracker.config.min_foreground).any()
            self.boxes_without_foreground = None if is_any else (
                self.boxes_without_foreground + len(meshes))
        is_shown = self._tracker.judge(bounds, foregrounds, points,
                                       lambda: looks_of_boxes(image, bounds))
        least = self._tracker.config.min_covered
        return [mesh for mesh, is_own in zip(meshes, is_shown, strict=True)
                if is_own and mesh is not None and covered_share(mesh) >= least]


def load_estimator(weights: str | Path = 'rt', *, runtime: str = DEFAULT_RUNTIME,
                   detector: str | None = 'person', detect_every: int = 5, is_video: bool = True,
                   num_threads: int = 0, detect_period_s: float = 0.5, body: str | Path = BUILTIN,
                   uv_map: str | Path = BUILTIN, crop_scale: float = CROP_SCALE,
                   min_score: float = 0.0, max_people: int = 30) -> HumanMeshEstimator:
    """An estimator from the names of its parts.

    Args:
        weights: a shipped network by name or a safetensors file by path.
        runtime: `openvino`, `torch`, `onnxruntime` or `tensorrt`.
        detector: `person` or `whole-frame`; None: boxes are always given.
        detect_every: the detector looks at every n-th image.
        detect_period_s: and at the latest after so long, s; 0: no such limit.
        is_video: whether consecutive images show the same people, who are then tracked.
        num_threads: CPU threads of the runtime; 0 leaves it to the runtime.
        body: the body that the network was trained for, by name or path.
        uv_map: its UV map, by name or path.
        crop_scale: see `EstimatorConfig`.
        min_score: likewise.
        max_people: likewise.

    Raises:
        FileNotFoundError: there are no such weights.
        ValueError: a name or a value is wrong, or the weights are damaged.
        RuntimeError: the runtime is not installed.
    """
    config = EstimatorConfig(crop_scale, min_score, max_people)
    tracker = Tracker(TrackerConfig.for_detector(
        detector or '', detect_every, max_people, detect_period_s)) if is_video else None
    loaded_detector = None if detector is None else load_detector(detector)
    loaded_runtime = load_runtime(runtime, weights, num_threads=num_threads, body=body,
                                  uv_map=uv_map)
    return HumanMeshEstimator(loaded_runtime, loaded_detector, tracker, config)


@dataclass(frozen=True)
class _People:
    """The people to estimate: boxes (B, 4) and what is cropped for them (B, 4), image px."""

    boxes: np.ndarray
    cropped: np.ndarray
    scores: Sequence[float]
    track_ids: Sequence[int]

    @classmethod
    def from_tracks(cls, tracker: Tracker) -> _People:
        """Everybody that is tracked, in the tracker's order."""
        tracks = tracker.tracks
        boxes = np.array([track.box for track in tracks], np.float32).reshape(-1, 4)
        return cls(boxes, tracker.held_boxes(), [track.score for track in tracks],
                   [track.track_id for track in tracks])


class _Stopwatch:
    """Notes how long each stage took since the one before."""

    def __init__(self) -> None:
        self.times = StageTimes()
        self._since = time.perf_counter()

    def stop(self, stage: str) -> None:
        """Ends a stage; the next one begins."""
        now = time.perf_counter()
        self.times.stages_ms[stage] = (now - self._since) * 1e3
        self._since = now


def _given(boxes: np.ndarray, scores: np.ndarray | None, width: int, height: int) -> Detections:
    """Boxes from outside (B, 4), those inside the image, with their scores (B,)."""
    boxes = check_boxes(boxes)
    scores = np.ones(len(boxes), np.float32) if scores is None else np.asarray(scores)
    check_shape('scores', scores, (len(boxes),))
    clipped, inside = clip_boxes(boxes, width, height)
    return Detections(clipped[inside], scores[inside])


def _check_finite(output: NetworkOutput) -> None:
    for name in ('vertices', 'joints', 'camera', 'iuv'):
        if not np.isfinite(getattr(output, name)).all():
            raise RuntimeError(f'the network gave {name} that are not finite; the weights are '
                               'damaged, or the precision is too low: try precision f32')


def _translations(output: NetworkOutput, crops: Crops, intrinsics: np.ndarray | None
                  ) -> np.ndarray | None:
    """Where the roots are, (B, 3) float32 metres, camera frame; None without intrinsics.

    Of no meaning where the network's scale is not positive: nobody is there.
    """
    if intrinsics is None:
        return None
    cameras = np.where(output.camera[:, :1] > 0, output.camera, np.float32((1, 0, 0)))
    return body_translations(output.vertices, output.joints, cameras, crops.centers, crops.sides,
                             intrinsics).astype(np.float32)


def _is_inside(image_xy: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Which points (N, 2) lie on the pixels of an image of this width and height, (N,) bool."""
    x, y = image_xy.T
    return (x >= -0.5) & (x <= image_size[0] - 0.5) & (y >= -0.5) & (y <= image_size[1] - 0.5)


def _joints_in_image(meshes: Sequence[HumanMesh | None]) -> np.ndarray:
    """(B, J, 2) image px; zeros where there is no mesh."""
    joints = next((len(mesh.joints) for mesh in meshes if mesh is not None), 0)
    points = np.zeros((len(meshes), joints, 2), np.float32)
    for index, mesh in enumerate(meshes):
        if mesh is not None:
            points[index] = project_weak(mesh.joints - mesh.translation, mesh.weak_camera,
                                         mesh.crop_center, mesh.crop_side)
    return points
