"""From images to meshes as the node's parameters say: runtime, detector, tracker, estimator."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from decomr_core.base.assets import file_hash, find_weights
from decomr_core.estimation.detectors import load_detector
from decomr_core.estimation.estimator import EstimatorConfig, HumanMeshEstimator
from decomr_core.estimation.loading import load_runtime
from decomr_core.estimation.prepare import export_apart, is_export_missing
from decomr_core.people.detection import Detections, Detector
from decomr_core.people.smoothing import MeshSmoother, SmoothingConfig
from decomr_core.people.tracking import Tracker, TrackerConfig
from decomr_core.runtimes.gpu_memory import free_unused_memory, gpu_memory
from decomr_ros.pipeline.background_detector import BackgroundDetector, BackgroundTracker

if TYPE_CHECKING:
    from decomr_core.base.structures import HumanMesh, StageTimes
    from decomr_core.uv.topology import Topology
    from decomr_ros.settings.parameters import NodeParameters

__all__ = ['MeshPipeline', 'export_if_missing', 'free_memory', 'settle_memory']

# Detectors that take longer than an image of the camera: they run beside the network.
SLOW_DETECTORS = ('person',)
# People in the first run; runtimes prepare batches of several people apart from single ones.
BATCH = 4
# One box may hold nobody; so many that are all empty are the fault of the weights.
MIN_BOXES = 10
# Digits of the hash of the weights that identify them to a reader.
HASH_DIGITS = 16


class MeshPipeline:
    """Everything between an image and its meshes.

    Attributes:
        topology: of the meshes.
        description: what runs, as text by name: runtime, precision, weights, model_sha256.
    """

    def __init__(self, parameters: NodeParameters) -> None:
        """Loads the network and runs everything once; this takes seconds.

        Raises:
            FileNotFoundError: no such weights.
            ValueError: a value is wrong, or the weights are damaged.
            RuntimeError: the runtime is not installed.
        """
        self._background: BackgroundDetector | None = None
        self._looked_at: np.ndarray | None = None
        self._detector_name = parameters.detector
        detector = self._detector = _TimedDetector(_load_detector(parameters))
        config = self._tracker_config(parameters)
        if parameters.detector in SLOW_DETECTORS:
            detector = self._background = BackgroundDetector(detector)
            self._tracker = BackgroundTracker(self._background, config)
        else:
            self._tracker = Tracker(config)
        self._runtime = load_runtime(parameters.runtime, parameters.weights,
                                     num_threads=parameters.threads)
        self._estimator = HumanMeshEstimator(self._runtime, detector, self._tracker,
                                             _estimator_config(parameters))
        self._smoother = (MeshSmoother(_smoothing_config(parameters)) if parameters.smoothing
                          else None)
        self.topology: Topology = self._estimator.topology
        self.description = {
            'runtime': self._runtime.name, 'precision': self._runtime.precision,
            'weights': parameters.weights,
            'model_sha256': file_hash(find_weights(parameters.weights))[:HASH_DIGITS]}
        self._warm_up(parameters)

    def estimate(self, image: np.ndarray, intrinsics: np.ndarray | None,
                 people: Detections | None = None, time_s: float | None = None
                 ) -> tuple[list[HumanMesh], StageTimes]:
        """The people in the next image of the video; `learn` is to follow.

        Args:
            image: (H, W, 3) uint8 RGB; it must not change afterwards.
            intrinsics: (3, 3) px, or None for relative meshes.
            people: boxes from outside; None: the detector looks for people.
            time_s: when the image was taken; None: a thirtieth of a second after the one before.
        """
        boxes, scores = (None, None) if people is None else (people.boxes, people.scores)
        if self._background is not None and people is not None:
            self._background.reset()  # by the time that somebody asks again its answer is old
        self._looked_at = image if people is None else None
        return self._estimator.estimate(image, boxes, scores, intrinsics, time_s,
                                        learns_at_once=False)

    def learn(self) -> None:
        """What can wait until the meshes are out: to move the tracks, to look for people."""
        self._estimator.learn()
        if self._background is not None and self._looked_at is not None:
            self._tracker.look_if_due(self._looked_at)
        self._looked_at = None

    def smooth(self, meshes: list[HumanMesh], fixed_from_camera: np.ndarray | None = None,
               ) -> list[HumanMesh]:
        """The meshes of the present image, steadier if the parameters say so.

        Args:
            meshes: from `estimate`, moved or not.
            fixed_from_camera: (4, 4) pose of the camera in a frame that does not move; None:
                they are smoothed in the camera's frame.
        """
        if self._smoother is None:
            return meshes
        return self._smoother.smooth(meshes, self._tracker.now_s, fixed_from_camera)

    def no_foreground_text(self) -> str:
        """That the network has seen nobody in any box yet; empty if it has, or boxes are few."""
        count = self._estimator.boxes_without_foreground or 0
        if count < MIN_BOXES:
            return ''
        return (f'the network has seen no foreground in any of {count} person boxes so far, so '
                f'that nobody is published: weights {self.description["weights"]} have learnt too '
                'little, or are for other images; train them longer (foreground_iou of '
                'training.evaluate tells), or take -p weights:=rt')

    def update(self, parameters: NodeParameters) -> None:
        """Follows changed parameters from the next image on; not while one is estimated.

        Whoever is tracked and would not be let in any more is dropped at once.
        """
        self.learn()
        self._estimator.config = _estimator_config(parameters)
        self._tracker.config = config = self._tracker_config(parameters)
        if not parameters.smoothing:
            self._smoother = None
        elif self._smoother is None:
            self._smoother = MeshSmoother(_smoothing_config(parameters))
        else:
            self._smoother.config = _smoothing_config(parameters)
        wanted = [track for track in self._tracker.tracks if track.score >= parameters.min_score]
        self._tracker.tracks = wanted[:config.max_tracks]

    def status(self) -> dict[str, str]:
        """What runs and what it takes, as text by name: for the diagnostics."""
        values = dict(self.description)
        values['people_left_out'] = str(self._estimator.people_left_out)
        if self._detector.last_ms is not None:
            values['detector_ms'] = f'{self._detector.last_ms:.1f}'
        memory_mib = gpu_memory(self._runtime)
        if memory_mib is not None:
            values['gpu_memory_used_mib'], values['gpu_memory_total_mib'] = map(str, memory_mib)
        return values

    def reset(self) -> None:
        """Forgets everybody: another video begins."""
        self._estimator.reset()
        if self._smoother is not None:
            self._smoother.reset()

    def close(self) -> None:
        """Ends the detector's thread."""
        if self._background is not None:
            self._background.close()

    def _tracker_config(self, parameters: NodeParameters) -> TrackerConfig:
        return TrackerConfig.for_detector(
            self._detector_name, parameters.detector_stride, parameters.max_people,
            parameters.detector_period_s)

    def _warm_up(self, parameters: NodeParameters) -> None:
        """Runs a batch, and matches people: the first images would wait for kernels and SciPy.

        A tracker of its own does it, so that the first person of the camera is number 0.
        """
        size = self._runtime.crop_size
        crops = np.random.default_rng(0).integers(0, 256, (BATCH, size, size, 3), np.uint8)
        self._runtime.run(crops)
        tracker = Tracker(self._tracker_config(parameters))
        box = Detections(np.array([[0, 0, size, size]], np.float32), np.ones(1, np.float32))
        for _ in range(2):
            tracker.needs_detection(size, size)
            tracker.match(box)


class _TimedDetector:
    """A detector that knows how long it took, also where it runs beside the network."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.last_ms: float | None = None

    def __call__(self, image: np.ndarray) -> Detections:
        started_s = time.perf_counter()
        found = self._detector(image)
        self.last_ms = (time.perf_counter() - started_s) * 1e3
        return found


def export_if_missing(parameters: NodeParameters, say: Callable[[str], None],
                      is_ending: Callable[[], bool]) -> None:
    """Exports the network where the runtime needs that and no cache has it.

    Args:
        parameters: of the node.
        say: called before, and with each step.
        is_ending: whether to give up.

    Raises:
        FileNotFoundError: no such weights.
        RuntimeError: the export failed, or was given up.
    """
    if is_export_missing(parameters.runtime, parameters.weights):
        say(f'no exported model of weights {parameters.weights} for {parameters.runtime} yet; '
            'making it now; decomr prepare makes it ahead')
        export_apart(parameters.weights, say, is_ending)


def settle_memory() -> None:
    """Tells Python's search for garbage that what there is now will stay.

    With a network in memory one search takes 70 ms, in which an image has to wait.
    """
    gc.collect()
    gc.freeze()


def free_memory() -> None:
    """Gives back what a pipeline that nobody holds any more has used, on the GPU as well."""
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
    return SmoothingConfig(parameters.smoothing_min_cutoff_hz, parameters.smoothing_beta,
                           parameters.smoothing_body_beta)
