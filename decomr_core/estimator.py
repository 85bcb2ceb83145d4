"""HumanMeshEstimator: image + boxes + intrinsics -> a list of `HumanMesh`, with times per stage.

The stages, in this order: `detect` (detect people or predict tracked ones), `crop`, `network`,
`place` (camera frame, visibility), `track` (update the tracks, select the meshes to show).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

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
from decomr_core.people.appearance import box_descriptors
from decomr_core.people.detection import Detections, Detector, clip_boxes
from decomr_core.people.track import ExpectedPeople
from decomr_core.people.tracking import Tracker, TrackerConfig
from decomr_core.runtimes import DEFAULT_RUNTIME, Runtime
from decomr_core.uv.topology import Topology

__all__ = ['EstimatorConfig', 'HumanMeshEstimator', 'load_estimator']

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EstimatorConfig:
    """Crop size, and the limits on detections.

    Attributes:
        crop_scale: side of the square crop divided by the longer side of the person box.
        min_score: detections with a lower confidence are dropped.
        max_people: maximum number of detections per image, best first, without a tracker. With
            one, `TrackerConfig.max_tracks` applies.
    """

    crop_scale: float = CROP_SCALE
    min_score: float = 0.0
    max_people: int = 30

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            ValueError: a value is out of its range.
        """
        if not self.crop_scale > 0 or self.max_people < 1:
            raise ValueError(f'{self}: crop_scale must be above 0, max_people at least 1')


class HumanMeshEstimator:
    """Estimates the meshes of the people in images, with or without tracking.

    Attributes:
        runtime: the network.
        topology: faces, parts and UV map of the meshes.
        config: see `EstimatorConfig`.
        boxes_without_foreground: number of boxes of tracked people so far, summed over the images,
            as long as the IUV images have shown no foreground in any of them; None afterwards.
    """

    def __init__(
        self,
        runtime: Runtime,
        detector: Detector | None = None,
        tracker: Tracker | None = None,
        config: EstimatorConfig | None = None,
    ) -> None:
        """Assembles the parts and runs the network once.

        Args:
            runtime: a loaded network.
            detector: finds people where no boxes are given.
            tracker: keeps identities and saves detector runs, for video; None: images are
                independent and `track_id` is -1.
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
        # The first run of a runtime takes longer. It must not delay the first image.
        size = runtime.crop_size
        runtime.run(np.zeros((1, size, size, 3), np.uint8))

    def reset(self) -> None:
        """Ends all tracks, before another video."""
        if self._tracker is not None:
            self._tracker.reset()

    def estimate(
        self,
        image: np.ndarray,
        boxes: np.ndarray | None = None,
        scores: np.ndarray | None = None,
        intrinsics: np.ndarray | None = None,
        time_s: float | None = None,
    ) -> tuple[list[HumanMesh], StageTimes]:
        """Estimates the people in an image.

        Args:
            image: (H, W, 3) uint8 RGB. It must not change before `Tracker.flush` if the tracker
                defers its updates.
            boxes: (B, 4) x_min, y_min, x_max, y_max, image px; None: the detector finds the
                people. Boxes are clipped to the image; those entirely outside are dropped.
            scores: (B,) confidences in [0, 1] of the boxes; None: all 1.
            intrinsics: (3, 3) px; None or k[0] = 0 (not calibrated): relative meshes.
            time_s: time of the image; None: a thirtieth of a second after the one before.

        Returns:
            One mesh per person, none if there is nobody, and the times.

        Raises:
            ValueError: an argument is not as described, or there are neither boxes nor a
                detector.
            RuntimeError: the network's output is not finite.
        """
        check_image(image)
        intrinsics = check_intrinsics(intrinsics)
        watch = _Stopwatch()
        people = self._expected_people(image, boxes, scores, time_s)
        watch.stop('detect')
        crops = crop_image(
            image, people.crop_boxes, self.runtime.crop_size, self.config.crop_scale
        )
        watch.stop('crop')
        if len(people.boxes) == 0:
            return [], watch.times
        output = self.runtime.run(crops.images)
        _check_finite(output)
        watch.stop('network')
        placed = self._place(people, crops, output, image, intrinsics)
        watch.stop('place')
        shown = self._update_tracks(image, placed)
        watch.stop('track')
        return shown, watch.times

    @property
    def people_left_out(self) -> int:
        """Number of detected people, since the start, for whom `max_people` had no room."""
        return self._left_out + (0 if self._tracker is None else self._tracker.people_left_out)

    def _expected_people(
        self,
        image: np.ndarray,
        boxes: np.ndarray | None,
        scores: np.ndarray | None,
        time_s: float | None,
    ) -> ExpectedPeople:
        """The people to crop in this image."""
        image_size = image.shape[1], image.shape[0]
        detections = self._detections(image, boxes, scores, time_s)
        if self._tracker is None:
            assert detections is not None  # without a tracker, a detection is always due
            return self._untracked(detections, boxes is None)
        if detections is not None and detections.descriptors is None:
            detections = replace(detections, descriptors=box_descriptors(image, detections.boxes))
        return self._tracker.predict(image_size, time_s, detections)

    def _detections(
        self,
        image: np.ndarray,
        boxes: np.ndarray | None,
        scores: np.ndarray | None,
        time_s: float | None,
    ) -> Detections | None:
        """The given boxes or the detector's; None where no detection is due."""
        height, width = image.shape[:2]
        if boxes is not None:
            return _given(boxes, scores, width, height)
        if self._detector is None:
            raise ValueError(
                'neither boxes nor a detector; give boxes=, or a detector such as load_detector()'
            )
        tracker = self._tracker
        if tracker is not None and not tracker.is_detection_due((width, height), time_s):
            return None
        return self._detector(image).with_min_score(self.config.min_score)

    def _untracked(self, detections: Detections, is_limited: bool) -> ExpectedPeople:
        """The people of an independent image; the best `max_people` of them if limited."""
        if is_limited:
            self._left_out += max(len(detections.boxes) - self.config.max_people, 0)
            detections = detections.at(np.arange(len(detections.boxes))[: self.config.max_people])
        return ExpectedPeople(
            np.full(len(detections.boxes), -1),
            detections.scores,
            detections.boxes,
            detections.boxes,
        )

    def _place(
        self,
        people: ExpectedPeople,
        crops: Crops,
        output: NetworkOutput,
        image: np.ndarray,
        intrinsics: np.ndarray | None,
    ) -> list[_Placed | None]:
        """The mesh of each person; None where the network's scale rules out a person."""
        image_size = image.shape[1], image.shape[0]
        translations = _translations(output, crops, intrinsics)
        placed: list[_Placed | None] = []
        for index, scale in enumerate(output.camera[:, 0]):
            if scale > 0:
                translation = None if translations is None else translations[index]
                placed.append(self._mesh(index, people, crops, output, image_size, translation))
            else:
                logger.warning('a person is left out: the network says a scale of %g', scale)
                placed.append(None)
        return placed

    def _mesh(
        self,
        index: int,
        people: ExpectedPeople,
        crops: Crops,
        output: NetworkOutput,
        image_size: tuple[int, int],
        translation: np.ndarray | None,
    ) -> _Placed:
        """The mesh of one person.

        Args:
            index: index of the person in the batch.
            people: the people of the batch.
            crops: their crops.
            output: the network's output for them.
            image_size: width and height, px.
            translation: (3,) position of the root, metres, camera frame; None: unknown, which
                gives a relative mesh.
        """
        weak_camera = output.camera[index]
        center, side = crops.centers[index], float(crops.sides[index])
        vertices, joints = output.vertices[index], output.joints[index]
        # NumPy is several times as fast on three long rows as on many short ones.
        columns = np.array(vertices.T, np.float32, order='C')
        visibility = self._visibility.of_columns(columns)
        box = box_weak(columns, weak_camera, center, side)
        # Most meshes lie entirely inside the image, which their boxes show.
        width, height = image_size
        x_min, y_min, x_max, y_max = box
        if not (min(x_min, y_min) >= -0.5 and x_max <= width - 0.5 and y_max <= height - 0.5):
            image_xy = project_weak(vertices, weak_camera, center, side)
            visibility &= _is_inside(image_xy, image_size)
        is_metric = translation is not None
        if translation is None:
            translation = np.zeros(3, np.float32)
        else:
            columns += translation[:, None]
            vertices = cv2.merge(list(columns)).reshape(-1, 3)
        return _Placed(
            HumanMesh(
                track_id=int(people.track_ids[index]),
                score=float(people.scores[index]),
                box=people.boxes[index],
                vertices=vertices,
                joints=joints + translation,
                translation=translation,
                is_metric=is_metric,
                visibility=visibility,
                weak_camera=weak_camera,
                crop_center=center,
                crop_side=side,
                iuv=output.iuv[index],
            ),
            box,
        )

    def _update_tracks(self, image: np.ndarray, placed: list[_Placed | None]) -> list[HumanMesh]:
        """Updates the tracks with the meshes, and returns the meshes that show their person.

        Args:
            image: (H, W, 3) uint8 RGB.
            placed: the meshes of all expected people.
        """
        meshes = [None if person is None else person.mesh for person in placed]
        if self._tracker is None:
            return [mesh for mesh in meshes if mesh is not None]
        boxes = np.array(
            [[0.0] * 4 if person is None else person.mesh_box for person in placed], np.float32
        )
        joints = _joints_in_image(meshes) if len(meshes) > 1 else None
        foregrounds = np.array(
            [0.0 if mesh is None else foreground_share(mesh) for mesh in meshes]
        )
        if self.boxes_without_foreground is not None:
            is_any = (foregrounds >= self._tracker.config.min_foreground).any()
            self.boxes_without_foreground = (
                None if is_any else (self.boxes_without_foreground + len(meshes))
            )
        is_shown = self._tracker.update(
            boxes, foregrounds, joints, lambda: box_descriptors(image, boxes)
        )
        least = self._tracker.config.min_covered
        return [
            mesh
            for mesh, is_own in zip(meshes, is_shown, strict=True)
            if is_own and mesh is not None and covered_share(mesh) >= least
        ]


def load_estimator(
    weights: str | Path = 'rt',
    *,
    runtime: str = DEFAULT_RUNTIME,
    detector: str | None = 'person',
    detect_every: int = 5,
    is_video: bool = True,
    num_threads: int = 0,
    detect_period_s: float = 0.5,
    body: str | Path = BUILTIN,
    uv_map: str | Path = BUILTIN,
    crop_scale: float = CROP_SCALE,
    min_score: float = 0.0,
    max_people: int = 30,
) -> HumanMeshEstimator:
    """Loads an estimator by the names of its parts.

    Args:
        weights: name of a shipped network, or path of a safetensors file.
        runtime: `openvino`, `torch`, `onnxruntime` or `tensorrt`.
        detector: `person` or `whole-frame`; None: boxes are always given.
        detect_every: the detector searches every n-th image.
        is_video: consecutive images show the same people, who are tracked.
        num_threads: CPU threads of the runtime; 0: the runtime decides.
        detect_period_s: maximum time between two images that the detector searches, s; 0: no
            maximum.
        body: the body that the network was trained for, by name or path.
        uv_map: its UV map, by name or path.
        crop_scale: see `EstimatorConfig`.
        min_score: see `EstimatorConfig`.
        max_people: see `EstimatorConfig`.

    Raises:
        FileNotFoundError: the weights do not exist.
        ValueError: a name or a value is wrong, or the weights are damaged.
        RuntimeError: the runtime is not installed.
    """
    config = EstimatorConfig(crop_scale, min_score, max_people)
    tracker = (
        Tracker(
            TrackerConfig.for_detector(detector or '', detect_every, max_people, detect_period_s)
        )
        if is_video
        else None
    )
    loaded_detector = None if detector is None else load_detector(detector)
    loaded_runtime = load_runtime(
        runtime, weights, num_threads=num_threads, body=body, uv_map=uv_map
    )
    return HumanMeshEstimator(loaded_runtime, loaded_detector, tracker, config)


class _Placed(NamedTuple):
    """The mesh of one person, and the box around it: x_min, y_min, x_max, y_max, image px."""

    mesh: HumanMesh
    mesh_box: Sequence[float]


class _Stopwatch:
    """Measures the stages, which follow each other without a gap."""

    def __init__(self) -> None:
        self.times = StageTimes()
        self._since = time.perf_counter()

    def stop(self, stage: str) -> None:
        """Ends a stage and begins the next one."""
        now = time.perf_counter()
        self.times.stages_ms[stage] = (now - self._since) * 1e3
        self._since = now


def _given(boxes: np.ndarray, scores: np.ndarray | None, width: int, height: int) -> Detections:
    """Given boxes (B, 4), clipped to the image, with their scores (B,)."""
    boxes = check_boxes(boxes)
    scores = np.ones(len(boxes), np.float32) if scores is None else np.asarray(scores)
    check_shape('scores', scores, (len(boxes),))
    clipped, inside = clip_boxes(boxes, width, height)
    return Detections(clipped[inside], scores[inside])


def _check_finite(output: NetworkOutput) -> None:
    for name in ('vertices', 'joints', 'camera', 'iuv'):
        if not np.isfinite(getattr(output, name)).all():
            raise RuntimeError(
                f'the network gave {name} that are not finite; the weights are '
                'damaged, or the precision is too low: try precision f32'
            )


def _translations(
    output: NetworkOutput, crops: Crops, intrinsics: np.ndarray | None
) -> np.ndarray | None:
    """Positions of the roots, (B, 3) float32 metres, camera frame; None without intrinsics.

    A row is meaningless where the network's scale is not positive.
    """
    if intrinsics is None:
        return None
    cameras = np.where(output.camera[:, :1] > 0, output.camera, np.array((1, 0, 0), np.float32))
    return body_translations(
        output.vertices, output.joints, cameras, crops.centers, crops.sides, intrinsics
    ).astype(np.float32)


def _is_inside(image_xy: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Which points (N, 2) lie inside an image of this width and height, px, (N,) bool."""
    x, y = image_xy.T
    return (x >= -0.5) & (x <= image_size[0] - 0.5) & (y >= -0.5) & (y <= image_size[1] - 0.5)


def _joints_in_image(meshes: Sequence[HumanMesh | None]) -> np.ndarray:
    """Projected joints (B, J, 2), image px; zeros where there is no mesh."""
    joints = next((len(mesh.joints) for mesh in meshes if mesh is not None), 0)
    points = np.zeros((len(meshes), joints, 2), np.float32)
    for index, mesh in enumerate(meshes):
        if mesh is not None:
            points[index] = project_weak(
                mesh.joints - mesh.translation, mesh.weak_camera, mesh.crop_center, mesh.crop_side
            )
    return points
