"""HumanMeshEstimator: image + boxes + intrinsics -> a list of `HumanMesh`, with times per stage.

The stages of an image, in this order:

* `detect` finds the people: by given boxes, the detector, or the prediction of their tracks.
* `crop` cuts a square around each of them.
* `network` predicts a mesh, an IUV image and a weak-perspective camera for each crop.
* `place` moves the meshes to the camera frame and finds their visible vertices.
* `track` updates the tracks, and drops meshes that do not show the person of their track.

`base/structures.py` defines the frames and the shape letters.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from decomr_core.base.assets import BUILTIN
from decomr_core.base.structures import Crops, HumanMesh, NetworkOutput, StageTimes, check_shape
from decomr_core.estimation.detectors import load_detector
from decomr_core.estimation.iuv_agreement import covered_share, foreground_share
from decomr_core.estimation.loading import device_options, load_runtime
from decomr_core.estimation.mesh_placement import MeshPlacer, PlacedMesh, projected_joints
from decomr_core.geometry.camera import check_intrinsics
from decomr_core.geometry.crop import CROP_SCALE, check_boxes, check_image, crop_image
from decomr_core.people.appearance import box_descriptors
from decomr_core.people.detection import Detections, Detector, clip_boxes
from decomr_core.people.track import ExpectedPeople
from decomr_core.people.tracking import Tracker, TrackerConfig
from decomr_core.runtimes import DEFAULT_RUNTIME, Runtime
from decomr_core.uv.topology import Topology

__all__ = ['EstimatorConfig', 'HumanMeshEstimator', 'load_estimator']


@dataclass(frozen=True)
class EstimatorConfig:
    """Crop size, and the limits on detections.

    Attributes:
        crop_scale: side of the square crop divided by the longer side of the person box.
        extra_margin: added to the network's `NetworkConfig.box_margin`, for boxes that cut people
            off; no effect on a network that sees everything in the crop.
        min_score: the detector's people with a lower confidence are dropped; in [0, 1].
        max_people: the best so many of the detector's people are kept in each image. Applies
            without a tracker; a tracker has its own limit, `TrackerConfig.max_tracks`.

    Given boxes are not limited, neither by `min_score` nor by `max_people`.
    """

    crop_scale: float = CROP_SCALE
    min_score: float = 0.0
    max_people: int = 30
    extra_margin: float = 0.0

    def __post_init__(self) -> None:
        """Checks crop scale, margin and number of people.

        Raises:
            ValueError: a value is out of its range.
        """
        if self.max_people < 1 or not (self.crop_scale > 0 and 0 <= self.extra_margin < np.inf):
            raise ValueError(
                f'{self}: crop_scale must be above 0, max_people at least 1, extra_margin at '
                'least 0 and finite'
            )


class HumanMeshEstimator:
    """Estimates the meshes of the people in images, with or without tracking.

    Attributes:
        runtime: the network.
        topology: faces, parts and UV map of the meshes.
        config: see `EstimatorConfig`; may be replaced between two images.
        boxes_without_foreground: reveals a network that recognises nobody: the number of person
            boxes so far, if the IUV images have shown foreground in none of them. As soon as one
            box has foreground, it is None for good. Counts only with a tracker.
    """

    def __init__(
        self,
        runtime: Runtime,
        detector: Detector | None = None,
        tracker: Tracker | None = None,
        config: EstimatorConfig | None = None,
    ) -> None:
        """Assembles the parts and runs the network once on a black crop.

        Args:
            runtime: a loaded network.
            detector: finds people in images without given boxes; None: boxes are always given.
            tracker: for video: tracks people, so that not every image needs the detector. None:
                the images are independent, and `track_id` is -1.
            config: None: the defaults.

        Raises:
            RuntimeError: the runtime cannot run the network, for example for lack of memory.
        """
        self.runtime = runtime
        self.topology: Topology = runtime.topology
        self.config = config or EstimatorConfig()
        self._detector = detector
        self._tracker = tracker
        self.boxes_without_foreground: int | None = 0
        self._left_out = 0
        self._placer = MeshPlacer(self.topology)
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
            image: (H, W, 3) uint8 RGB. A tracker with `defers_updates` reads it until its `flush`
                or the next image; it must not change before.
            boxes: (B, 4) x_min, y_min, x_max, y_max, image px; None: the detector finds the
                people. Boxes are clipped to the image; those entirely outside are dropped.
            scores: (B,) confidences in [0, 1] of the boxes; None: all 1.
            intrinsics: (3, 3) camera matrix, px. None, or a matrix with fx = 0, for a camera that
                is not calibrated: the meshes stay in the root frame (not `is_metric`).
            time_s: time of the image, seconds on any clock, for the tracker; a jump ends the
                tracks (see `Tracker.predict`). None: a thirtieth of a second after the previous
                image.

        Returns:
            The meshes, and the duration of each stage. A person is without a mesh if the
            predicted camera is invalid, or if the tracker finds that the mesh does not show the
            person. Without people in the image the stages end with `crop`.

        Raises:
            ValueError: an argument is not as described, or there are neither boxes nor a
                detector.
            RuntimeError: the network's output is not finite.
        """
        check_image(image)
        intrinsics = check_intrinsics(intrinsics)
        clock = _StageClock()
        people = self._expected_people(image, boxes, scores, time_s)
        clock.end('detect')
        crops = self._crop(image, people.crop_boxes)
        clock.end('crop')
        if len(people.boxes) == 0:  # then there are no tracks to update either
            return [], clock.times
        output = self.runtime.run(crops.images)
        _check_finite(output)
        clock.end('network')
        image_size = image.shape[1], image.shape[0]
        placed = self._placer.place(people, crops, output, image_size, intrinsics)
        clock.end('place')
        shown = self._update_tracks(image, placed)
        clock.end('track')
        return shown, clock.times

    @property
    def people_left_out(self) -> int:
        """Number of detected people, since the start, above the maximum number of people.

        The maximum is `max_people`, or `TrackerConfig.max_tracks` with a tracker.
        """
        return self._left_out + (0 if self._tracker is None else self._tracker.people_left_out)

    def _crop(self, image: np.ndarray, boxes: np.ndarray) -> Crops:
        """The network's crops of the people in boxes (B, 4), image px."""
        margin = self.runtime.box_margin
        if margin is not None:
            margin += self.config.extra_margin
        return crop_image(image, boxes, self.runtime.crop_size, self.config.crop_scale, margin)

    def _expected_people(
        self,
        image: np.ndarray,
        boxes: np.ndarray | None,
        scores: np.ndarray | None,
        time_s: float | None,
    ) -> ExpectedPeople:
        """The people to crop in this image: those of the tracks, or without a tracker all found.

        Args:
            image: see `estimate`.
            boxes: see `estimate`.
            scores: see `estimate`.
            time_s: see `estimate`.

        Raises:
            ValueError: boxes or scores are malformed, or there are neither boxes nor a detector.
        """
        image_size = image.shape[1], image.shape[0]
        if boxes is None:
            detections = self._detect(image, time_s)
        else:
            detections = _given_detections(boxes, scores, image_size)
        if self._tracker is None:
            assert detections is not None  # without a tracker, a detection is always due
            return ExpectedPeople(
                track_ids=np.full(len(detections.boxes), -1),
                scores=detections.scores,
                boxes=detections.boxes,
                crop_boxes=detections.boxes,
            )
        if detections is not None and detections.descriptors is None:
            detections = replace(detections, descriptors=box_descriptors(image, detections.boxes))
        return self._tracker.predict(image_size, time_s, detections)

    def _detect(self, image: np.ndarray, time_s: float | None) -> Detections | None:
        """Runs the detector; None if the tracker does not need it for this image.

        Args:
            image: see `estimate`.
            time_s: see `estimate`.

        Raises:
            ValueError: there is no detector.
        """
        if self._detector is None:
            raise ValueError(
                'neither boxes nor a detector; give boxes=, or a detector such as load_detector()'
            )
        image_size = image.shape[1], image.shape[0]
        if self._tracker is not None and not self._tracker.is_detection_due(image_size, time_s):
            return None
        detections = self._detector(image).with_min_score(self.config.min_score)
        if self._tracker is not None:
            return detections  # the tracker limits the number of people
        limit, count = self.config.max_people, len(detections.boxes)
        self._left_out += max(count - limit, 0)
        return detections.select(np.arange(min(count, limit)))

    def _update_tracks(
        self, image: np.ndarray, placed: list[PlacedMesh | None]
    ) -> list[HumanMesh]:
        """Updates the tracks, and drops the meshes that do not show the person of their track.

        Where people cross, a mesh may show another person; where somebody left, it shows nobody.
        Without a tracker no mesh is dropped.

        Args:
            image: (H, W, 3) uint8 RGB.
            placed: the meshes of all expected people, in their order.

        Returns:
            The meshes to show.
        """
        meshes = [None if person is None else person.mesh for person in placed]
        if self._tracker is None:
            return [mesh for mesh in meshes if mesh is not None]
        boxes = np.array(
            [[0.0] * 4 if person is None else person.mesh_box for person in placed], np.float32
        )
        # The joints reveal two meshes of the same person, so one mesh needs none.
        joints = projected_joints(meshes) if len(meshes) > 1 else None
        foregrounds = np.array(
            [0.0 if mesh is None else foreground_share(mesh) for mesh in meshes]
        )
        self._count_boxes_without_foreground(foregrounds)
        shows_own_person = self._tracker.update(
            boxes, foregrounds, joints, lambda: box_descriptors(image, boxes)
        )
        # A crumpled or misplaced mesh is not shown either, but its track continues.
        min_covered = self._tracker.config.min_covered
        return [
            mesh
            for mesh, is_shown in zip(meshes, shows_own_person, strict=True)
            if is_shown and mesh is not None and covered_share(mesh) >= min_covered
        ]

    def _count_boxes_without_foreground(self, foregrounds: np.ndarray) -> None:
        """Updates `boxes_without_foreground` with the foreground shares (T,) of an image."""
        if self._tracker is None or self.boxes_without_foreground is None:
            return
        if (foregrounds >= self._tracker.config.min_foreground).any():
            self.boxes_without_foreground = None
        else:
            self.boxes_without_foreground += len(foregrounds)


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
    device: str = '',
) -> HumanMeshEstimator:
    """Loads runtime, detector and tracker, and makes an estimator of them.

    Args:
        weights: name of a shipped network (`rt`), or path of a safetensors file.
        runtime: `openvino`, `torch`, `onnxruntime` or `tensorrt`.
        detector: `person` or `whole-frame`; None: boxes are always given.
        detect_every: in a video the detector searches every n-th image, and every image while
            nobody is tracked.
        is_video: whether consecutive images show the same people, who are then tracked.
            Otherwise the detector searches every image.
        num_threads: CPU threads of the runtime; 0: the runtime decides.
        detect_period_s: in a video the detector searches the next image when this time has
            passed since the last one that it searched, s, although `detect_every` is not yet
            reached; 0: no such limit.
        body: the body that the network was trained for, by name or path.
        uv_map: its UV map, by name or path.
        crop_scale: see `EstimatorConfig`.
        min_score: see `EstimatorConfig`.
        max_people: maximum number of people: of tracks in a video, otherwise of detections.
        device: `cpu`, `cuda`, `cuda:N`, or empty for the runtime's own: `tensorrt` the first GPU,
            the others the CPU. The detector always runs on the CPU.

    Raises:
        FileNotFoundError: the weights do not exist.
        ValueError: a name or a value is wrong, or the weights are damaged.
        RuntimeError: the runtime is not installed, or does not work on this machine.
    """
    config = EstimatorConfig(crop_scale, min_score, max_people)
    tracker = (
        Tracker(
            TrackerConfig.for_detector(detector or '', detect_every, max_people, detect_period_s)
        )
        if is_video
        else None
    )
    where = device_options(runtime, device)
    loaded_detector = None if detector is None else load_detector(detector)
    loaded_runtime = load_runtime(
        runtime, weights, num_threads=num_threads, body=body, uv_map=uv_map, **where
    )
    return HumanMeshEstimator(loaded_runtime, loaded_detector, tracker, config)


class _StageClock:
    """Measures the stages of one image; each begins where the one before ends."""

    def __init__(self) -> None:
        self.times = StageTimes()
        self._began_s = time.perf_counter()

    def end(self, stage: str) -> None:
        """Records the duration of the stage that ends now, by its name."""
        now_s = time.perf_counter()
        self.times.stages_ms[stage] = (now_s - self._began_s) * 1e3
        self._began_s = now_s


def _given_detections(
    boxes: np.ndarray, scores: np.ndarray | None, image_size: tuple[int, int]
) -> Detections:
    """Clips given boxes to the image and drops those entirely outside.

    Args:
        boxes: (B, 4) x_min, y_min, x_max, y_max, image px.
        scores: (B,) in [0, 1]; None: all 1.
        image_size: width and height, px.

    Raises:
        ValueError: the boxes are malformed, or the scores have another number.
    """
    boxes = check_boxes(boxes)
    scores = np.ones(len(boxes), np.float32) if scores is None else np.asarray(scores)
    check_shape('scores', scores, (len(boxes),))
    clipped, is_inside = clip_boxes(boxes, *image_size)
    return Detections(clipped[is_inside], scores[is_inside])


def _check_finite(output: NetworkOutput) -> None:
    """Checks that the network's output has neither NaN nor infinity.

    Raises:
        RuntimeError: it has; the message names the output.
    """
    for name in ('vertices', 'joints', 'camera', 'iuv'):
        if not np.isfinite(getattr(output, name)).all():
            raise RuntimeError(
                f'the network gave {name} that are not finite; the weights are '
                'damaged, or the precision is too low: try precision f32'
            )
