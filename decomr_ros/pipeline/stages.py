"""From an image to its meshes, in three stages: estimate, correct by depth, smooth."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from decomr_core.base.assets import file_hash, find_weights
from decomr_core.estimation.detectors import load_detector
from decomr_core.estimation.loading import load_runtime
from decomr_core.estimation.prepare import export_in_subprocess, is_export_missing
from decomr_core.estimator import EstimatorConfig, HumanMeshEstimator
from decomr_core.people.detection import Detections, Detector
from decomr_core.people.smoothing import MeshSmoother, SmoothingConfig
from decomr_core.people.tracking import Tracker, TrackerConfig
from decomr_core.runtimes.gpu_memory import free_unused_memory, gpu_memory
from decomr_ros.pipeline.background_detector import BackgroundDetector, BackgroundTracker

if TYPE_CHECKING:
    from decomr_core.base.structures import HumanMesh, StageTimes
    from decomr_core.uv.topology import Topology
    from decomr_ros.inputs.frame import Frame
    from decomr_ros.pipeline.depth_correction import DepthCorrection
    from decomr_ros.pipeline.fixed_frame import FixedFrame
    from decomr_ros.settings.parameters import NodeParameters

__all__ = ['MeshPipeline', 'export_if_missing', 'free_memory', 'freeze_objects']

# Detectors that take longer than the interval between images: they run in the background.
SLOW_DETECTORS = ('person',)
# Batch size of the warm-up; runtimes prepare batches separately from single crops.
BATCH = 4
# One box may contain nobody. If this many boxes contain no foreground, the weights are at fault.
MIN_BOXES = 10
# Digits of the hash of the weights on /diagnostics.
HASH_DIGITS = 16


class MeshPipeline:
    """The stages between an image and its meshes, configured by the parameters.

    Attributes:
        topology: topology of the meshes.
        description: runtime, precision, weights and model_sha256, as text by name.
    """

    def __init__(self, parameters: NodeParameters, depth: DepthCorrection | None = None) -> None:
        """Loads the network and runs everything once; this takes seconds.

        Args:
            parameters: the parameters of the node.
            depth: the stage that corrects distances; None: there is none.

        Raises:
            FileNotFoundError: the weights do not exist.
            ValueError: a value is wrong, or the weights are damaged.
            RuntimeError: the runtime is not installed.
        """
        self._depth = depth
        self._background: BackgroundDetector | None = None
        self._search_image: np.ndarray | None = None  # for the background detector
        self._detector_name = parameters.detector
        self._detector = _TimedDetector(_load_detector(parameters))
        detector: Detector = self._detector
        config = self._tracker_config(parameters)
        if parameters.detector in SLOW_DETECTORS:
            detector = self._background = BackgroundDetector(detector)
            self._tracker: Tracker = BackgroundTracker(self._background, config)
        else:
            self._tracker = Tracker(config, defers_updates=True)
        self._runtime = load_runtime(
            parameters.runtime, parameters.weights, num_threads=parameters.threads
        )
        self._estimator = HumanMeshEstimator(
            self._runtime, detector, self._tracker, _estimator_config(parameters)
        )
        self._smoother = (
            MeshSmoother(_smoothing_config(parameters)) if parameters.smoothing else None
        )
        self.topology: Topology = self._estimator.topology
        self.description = {
            'runtime': self._runtime.name,
            'precision': self._runtime.precision,
            'weights': parameters.weights,
            'model_sha256': file_hash(find_weights(parameters.weights))[:HASH_DIGITS],
        }
        self._warm_up(parameters)

    def process(
        self, frame: Frame, time_s: float | None, fixed_frame: FixedFrame
    ) -> tuple[list[HumanMesh], StageTimes]:
        """Runs all stages on the next image of the video; `finish` must follow.

        Depth and the pose of the camera are looked up as late as possible, because they may
        arrive later than the image.

        Args:
            frame: the image. It must not change until the next one.
            time_s: time of the image; None: a thirtieth of a second after the one before.
            fixed_frame: gives the pose of the camera for smoothing.
        """
        meshes, times = self.estimate(frame.rgb, frame.intrinsics, frame.boxes, time_s)
        if self._depth is not None:
            meshes = self._depth.correct(meshes, frame.depth)
        return self.smooth(meshes, fixed_frame.from_camera(frame.header)), times

    def estimate(
        self,
        image: np.ndarray,
        intrinsics: np.ndarray | None,
        people: Detections | None = None,
        time_s: float | None = None,
    ) -> tuple[list[HumanMesh], StageTimes]:
        """Stage 1: the people in the image.

        Args:
            image: (H, W, 3) uint8 RGB; it must not change until the next one.
            intrinsics: (3, 3) px; None: relative meshes.
            people: given boxes; None: the detector finds the people.
            time_s: time of the image; None: a thirtieth of a second after the one before.
        """
        boxes, scores = (None, None) if people is None else (people.boxes, people.scores)
        if self._background is not None and people is not None:
            self._background.reset()  # its detections would be outdated when they are needed again
        self._search_image = image if people is None else None
        return self._estimator.estimate(image, boxes, scores, intrinsics, time_s)

    def smooth(
        self, meshes: list[HumanMesh], fixed_from_camera: np.ndarray | None = None
    ) -> list[HumanMesh]:
        """Stage 3: the meshes with less jitter, if the parameters ask for it.

        Args:
            meshes: the meshes of the present image.
            fixed_from_camera: (4, 4) pose of the camera in a fixed frame; None: smoothing is done
                in the camera frame.
        """
        if self._smoother is None:
            return meshes
        return self._smoother.smooth(meshes, self._tracker.now_s, fixed_from_camera)

    def finish(self) -> None:
        """Does the work that the meshes need not wait for, after they were published.

        It updates the tracks, and starts the detector in the background if a detection is due.
        """
        self._tracker.flush()
        if isinstance(self._tracker, BackgroundTracker) and self._search_image is not None:
            self._tracker.start_if_due(self._search_image)
        self._search_image = None

    def no_foreground_text(self) -> str:
        """A warning that no box has contained foreground so far; empty if there is no reason."""
        count = self._estimator.boxes_without_foreground or 0
        if count < MIN_BOXES:
            return ''
        return (
            f'the network has seen no foreground in any of {count} person boxes so far, so '
            f'that nobody is published: weights {self.description["weights"]} have learnt too '
            'little, or are for other images; train them longer (foreground_iou of '
            'training.evaluate tells), or take -p weights:=rt'
        )

    def update(self, parameters: NodeParameters) -> None:
        """Applies changed parameters, between two images.

        Tracks that no longer meet `min_score` or exceed `max_people` are dropped immediately.
        """
        self._estimator.config = _estimator_config(parameters)
        self._tracker.reconfigure(self._tracker_config(parameters), parameters.min_score)
        if not parameters.smoothing:
            self._smoother = None
        elif self._smoother is None:
            self._smoother = MeshSmoother(_smoothing_config(parameters))
        else:
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
        """Ends all tracks and discards the smoothing state, before another video."""
        self._estimator.reset()
        if self._smoother is not None:
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
        """Runs a batch and an association; otherwise the first images wait for kernels and SciPy.

        It uses a separate tracker, so that the first person of the camera gets the id 0.
        """
        size = self._runtime.crop_size
        crops = np.random.default_rng(0).integers(0, 256, (BATCH, size, size, 3), np.uint8)
        self._runtime.run(crops)
        tracker = Tracker(self._tracker_config(parameters))
        box = Detections(np.array([[0, 0, size, size]], np.float32), np.ones(1, np.float32))
        for _ in range(2):
            tracker.predict((size, size), detections=box)


class _TimedDetector:
    """A detector that measures its run time, also when it runs in the background."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.last_ms: float | None = None

    def __call__(self, image: np.ndarray) -> Detections:
        started_s = time.perf_counter()
        found = self._detector(image)
        self.last_ms = (time.perf_counter() - started_s) * 1e3
        return found


def export_if_missing(
    parameters: NodeParameters, report: Callable[[str], None], is_ending: Callable[[], bool]
) -> None:
    """Exports the network if the runtime needs an export and the cache does not contain it.

    Args:
        parameters: the parameters of the node.
        report: called with a sentence before the export and at each of its steps.
        is_ending: returns whether to abort.

    Raises:
        FileNotFoundError: the weights do not exist.
        RuntimeError: the export failed or was aborted.
    """
    if is_export_missing(parameters.runtime, parameters.weights):
        report(
            f'no exported model of weights {parameters.weights} for {parameters.runtime} yet; '
            'making it now; decomr prepare makes it ahead'
        )
        export_in_subprocess(parameters.weights, report, is_ending)


def freeze_objects() -> None:
    """Excludes all present objects from Python's garbage collection.

    With a network in memory, one collection takes 70 ms, for which an image has to wait.
    """
    gc.collect()
    gc.freeze()


def free_memory() -> None:
    """Frees the memory of a pipeline without references, on the GPU as well."""
    gc.unfreeze()
    gc.collect()
    free_unused_memory()


def _load_detector(parameters: NodeParameters) -> Detector:
    if parameters.detector == 'person':
        return load_detector(parameters.detector, tiles=parameters.detector_tiles)
    return load_detector(parameters.detector)


def _estimator_config(parameters: NodeParameters) -> EstimatorConfig:
    return EstimatorConfig(parameters.box_scale, parameters.min_score, parameters.max_people)


def _smoothing_config(parameters: NodeParameters) -> SmoothingConfig:
    return SmoothingConfig(
        parameters.smoothing_min_cutoff_hz,
        parameters.smoothing_beta,
        parameters.smoothing_body_beta,
    )
