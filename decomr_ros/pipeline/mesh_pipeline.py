"""From an image to its meshes: estimates them, corrects them by depth and smooths them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from decomr_core.base.assets import file_hash, find_weights
from decomr_core.estimation.detectors import load_detector
from decomr_core.estimation.loading import device_options, load_runtime
from decomr_core.estimator import EstimatorConfig, HumanMeshEstimator
from decomr_core.people.detection import Detections, Detector
from decomr_core.people.smoothing import MeshSmoother, SmoothingConfig
from decomr_core.people.tracking import Tracker, TrackerConfig
from decomr_core.runtimes.gpu_memory import gpu_memory
from decomr_ros.pipeline.background_detector import BackgroundDetector, BackgroundTracker
from decomr_ros.pipeline.frame_result import FrameResult

if TYPE_CHECKING:
    from decomr_core.base.structures import HumanMesh, StageTimes
    from decomr_core.people.velocity import PersonMotion
    from decomr_core.uv.topology import Topology
    from decomr_ros.inputs.frame import Frame
    from decomr_ros.pipeline.depth_correction import DepthCorrection
    from decomr_ros.pipeline.fixed_frame import FixedFrame
    from decomr_ros.settings.parameters import NodeParameters

__all__ = ['MeshPipeline']

# Detectors that take longer than the interval between images. They search in the background.
SLOW_DETECTORS = ('person',)
# Number of crops in the warm-up. The estimator has already run a single crop, but runtimes prepare
# larger batches separately.
WARM_UP_CROPS = 4
# Number of person boxes without any foreground from which on the weights are at fault; a few boxes
# may contain nobody.
SUSPICIOUS_BOXES = 10
# Number of hexadecimal digits of the hash of the weights on /diagnostics.
HASH_DIGITS = 16


class MeshPipeline:
    """Turns the images of one video into meshes, as the parameters ask.

    For each image, `process` runs these stages: `estimate` finds the people, the depth correction
    moves them to their measured distance, and `smooth` removes jitter. The caller publishes the
    meshes and then calls `finish`. All this happens on the worker thread; `status` may be called
    on any thread.

    Attributes:
        topology: topology of the meshes.
        description: runtime, device, precision, weights and model_sha256, as text by name.
    """

    def __init__(self, parameters: NodeParameters, depth: DepthCorrection | None = None) -> None:
        """Loads the network and runs everything once; this takes seconds.

        Args:
            parameters: the parameters of the node.
            depth: corrects the distances of the meshes; None: they stay as estimated.

        Raises:
            FileNotFoundError: the weights do not exist.
            ValueError: a parameter, e.g. `weights` or `threads`, has a wrong value, or the weights
                are damaged.
            RuntimeError: the runtime is not installed.
        """
        self._depth = depth
        # The present image, in which the background detector may search for people; None where
        # their boxes are given.
        self._searchable_image: np.ndarray | None = None
        self._detector_name = parameters.detector
        self._detector = _TimedDetector(_load_detector(parameters))
        detector: Detector = self._detector
        config = self._tracker_config(parameters)
        # Both trackers defer their updates to `finish`.
        self._background: BackgroundDetector | None = None
        if parameters.detector in SLOW_DETECTORS:
            detector = self._background = BackgroundDetector(detector)
            self._tracker: Tracker = BackgroundTracker(self._background, config)
        else:
            self._tracker = Tracker(config, defers_updates=True)
        self._runtime = load_runtime(
            parameters.runtime,
            parameters.weights,
            num_threads=parameters.threads,
            **device_options(parameters.runtime, parameters.device),
        )
        self._estimator = HumanMeshEstimator(
            self._runtime, detector, self._tracker, _estimator_config(parameters)
        )
        # It also measures the velocities.
        self._smoother = MeshSmoother(_smoothing_config(parameters))
        self._is_smoothing = parameters.smoothing
        self.topology: Topology = self._estimator.topology
        self.description = {
            'runtime': self._runtime.name,
            'device': parameters.device or ('cuda' if self._runtime.name == 'tensorrt' else 'cpu'),
            'precision': self._runtime.precision,
            'weights': parameters.weights,
            'model_sha256': file_hash(find_weights(parameters.weights))[:HASH_DIGITS],
        }
        self._warm_up(parameters)

    @property
    def measures_motion(self) -> bool:
        """Whether the velocities of people are measured, which takes time.

        It may be changed between two images.
        """
        return self._smoother.measures_motion

    @measures_motion.setter
    def measures_motion(self, value: bool) -> None:
        self._smoother.measures_motion = value

    def process(
        self, frame: Frame, time_s: float | None, fixed_frame: FixedFrame
    ) -> tuple[FrameResult, StageTimes]:
        """Runs all stages on the next image of the video; `finish` must follow.

        Args:
            frame: the image and the inputs that belong to it. Its pixels must not change until
                the next image.
            time_s: time of the image, s; None: a thirtieth of a second after the one before.
            fixed_frame: looks up the pose of the camera for smoothing.

        Returns:
            One mesh per person, in the camera's optical frame, and what belongs to them. The
            times are those of `estimate`.

        Raises:
            BadInput: the image cannot be decoded.
            RuntimeError: the network's output is not finite.
        """
        meshes, times = self.estimate(frame.rgb, frame.intrinsics, frame.boxes, time_s)
        # Depth and pose are looked up only now: they may arrive later than the image.
        depth = None if self._depth is None else frame.depth
        if self._depth is not None:
            meshes = self._depth.correct(meshes, depth)
        fixed_from_camera = fixed_frame.from_camera(frame.header)
        result = FrameResult(
            header=frame.header,
            image=frame.rgb,
            meshes=self.smooth(meshes, fixed_from_camera),
            intrinsics=frame.intrinsics,
            depth=depth,
            fixed_from_camera=fixed_from_camera,
            motions=self._motions(meshes),
        )
        return result, times

    def estimate(
        self,
        image: np.ndarray,
        intrinsics: np.ndarray | None,
        given: Detections | None = None,
        time_s: float | None = None,
    ) -> tuple[list[HumanMesh], StageTimes]:
        """Finds and tracks the people in the next image of the video, and estimates their meshes.

        Args:
            image: (H, W, 3) uint8 RGB; it must not change until the next image, because `finish`
                and the background detector read it.
            intrinsics: (3, 3) px; None: the meshes are relative to their roots, without a
                position.
            given: the people whom another node has detected, image px; None: the detector finds
                them.
            time_s: time of the image, s; None: a thirtieth of a second after the one before.

        Returns:
            One mesh per person, and the times.

        Raises:
            RuntimeError: the network's output is not finite.
        """
        boxes, scores = (None, None) if given is None else (given.boxes, given.scores)
        if self._background is not None and given is not None:
            self._background.reset()  # its detections would be outdated when they are needed again
        self._searchable_image = image if given is None else None
        return self._estimator.estimate(image, boxes, scores, intrinsics, time_s)

    def smooth(
        self, meshes: list[HumanMesh], fixed_from_camera: np.ndarray | None = None
    ) -> list[HumanMesh]:
        """The meshes with less jitter if `smoothing` is set, otherwise unchanged.

        Args:
            meshes: the meshes of the present image, in the camera's optical frame.
            fixed_from_camera: (4, 4) transform from the camera's optical frame to a fixed frame,
                m; None: smoothing is done in the camera frame.
        """
        if not (self._is_smoothing or self.measures_motion):
            return meshes
        smooth = self._smoother.smooth(meshes, self._tracker.now_s, fixed_from_camera)
        return smooth if self._is_smoothing else meshes

    def _motions(self, meshes: list[HumanMesh]) -> dict[int, PersonMotion]:
        """The velocities of the people whose velocity is known, by track id."""
        if not self.measures_motion:
            return {}
        found = {mesh.track_id: self._smoother.motion(mesh.track_id) for mesh in meshes}
        return {track_id: motion for track_id, motion in found.items() if motion is not None}

    def finish(self) -> None:
        """Completes the present image; call it after its meshes are published.

        It does the work that publishing need not wait for: it updates the tracks, and starts the
        detector in the background if a detection is due.
        """
        self._tracker.flush()
        if isinstance(self._tracker, BackgroundTracker) and self._searchable_image is not None:
            self._tracker.start_if_due(self._searchable_image)
        self._searchable_image = None

    def no_foreground_text(self) -> str:
        """A warning that no person box has contained foreground so far.

        It is empty if a box has contained foreground, or if there were too few boxes to tell.
        """
        count = self._estimator.boxes_without_foreground
        if count is None or count < SUSPICIOUS_BOXES:
            return ''
        return (
            f'the network has seen no foreground in any of {count} person boxes so far, so '
            f'that nobody is published: weights {self.description["weights"]} have learnt too '
            'little, or are for other images; train them longer (foreground_iou of '
            'training.evaluate tells), or take -p weights:=rt'
        )

    def update(self, parameters: NodeParameters) -> None:
        """Applies changed parameters to the next image.

        Tracks with a score below the new `min_score`, and those in excess of the new
        `max_people`, end immediately.
        """
        self._estimator.config = _estimator_config(parameters)
        self._tracker.reconfigure(self._tracker_config(parameters), parameters.min_score)
        if parameters.smoothing != self._is_smoothing:
            self._smoother.reset()
        self._is_smoothing = parameters.smoothing
        self._smoother.config = _smoothing_config(parameters)

    def status(self) -> dict[str, str]:
        """Description, counts and resource usage for /diagnostics, as text by name."""
        values = dict(self.description)
        values['people_left_out'] = str(self._estimator.people_left_out)
        if self._depth is not None:
            values['depth_corrected'] = str(self._depth.num_corrected)
        if self._detector.last_ms is not None:
            values['detector_ms'] = f'{self._detector.last_ms:.1f}'
        memory_mib = gpu_memory(self._runtime)
        if memory_mib is not None:
            values['gpu_memory_used_mib'], values['gpu_memory_total_mib'] = map(str, memory_mib)
        return values

    def reset(self) -> None:
        """Ends all tracks and discards the smoothing state: another video begins."""
        self._estimator.reset()
        self._smoother.reset()

    def close(self) -> None:
        """Ends the thread of the background detector."""
        if self._background is not None:
            self._background.close()

    def _tracker_config(self, parameters: NodeParameters) -> TrackerConfig:
        return TrackerConfig.for_detector(
            self._detector_name,
            parameters.detector_stride,
            parameters.max_people,
            parameters.detector_period_s,
        )

    def _warm_up(self, parameters: NodeParameters) -> None:
        """Runs a batch and an association of detections.

        Otherwise the first images would wait until the runtime has prepared this batch size and
        SciPy is imported. The tracker is a separate one, so that the first person gets the id 0.
        """
        size = self._runtime.crop_size
        crops = np.random.default_rng(0).integers(0, 256, (WARM_UP_CROPS, size, size, 3), np.uint8)
        self._runtime.run(crops)
        tracker = Tracker(self._tracker_config(parameters))
        box = Detections(np.array([[0, 0, size, size]], np.float32), np.ones(1, np.float32))
        for _ in range(2):
            tracker.predict((size, size), detections=box)


class _TimedDetector:
    """A detector that measures its run time, also when it runs in the background.

    Attributes:
        last_ms: duration of the last search, ms; None: there was none yet.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.last_ms: float | None = None

    def __call__(self, image: np.ndarray) -> Detections:
        started_s = time.perf_counter()
        found = self._detector(image)
        self.last_ms = (time.perf_counter() - started_s) * 1e3
        return found


def _load_detector(parameters: NodeParameters) -> Detector:
    if parameters.detector == 'person':
        return load_detector(parameters.detector, tiles=parameters.detector_tiles)
    return load_detector(parameters.detector)


def _estimator_config(parameters: NodeParameters) -> EstimatorConfig:
    return EstimatorConfig(
        parameters.box_scale,
        parameters.min_score,
        parameters.max_people,
        parameters.box_extra_margin,
    )


def _smoothing_config(parameters: NodeParameters) -> SmoothingConfig:
    return SmoothingConfig(
        parameters.smoothing_min_cutoff_hz,
        parameters.smoothing_beta,
        parameters.smoothing_body_beta,
    )
