"""From images to meshes as the node's parameters say: runtime, detector, tracker, estimator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decomr_core.detection import load_detector
from decomr_core.estimator import EstimatorConfig, HumanMeshEstimator
from decomr_core.runtimes import load_runtime
from decomr_core.tracking import Tracker, TrackerConfig
from decomr_ros.background_detector import BackgroundDetector, BackgroundTracker

if TYPE_CHECKING:
    import numpy as np

    from decomr_core.detection import Detections
    from decomr_core.structures import HumanMesh, StageTimes
    from decomr_core.topology import Topology
    from decomr_ros.parameters import NodeParameters

__all__ = ['MeshPipeline']

# Detectors that take longer than an image of the camera: they run beside the network.
SLOW_DETECTORS = ('hog',)


class MeshPipeline:
    """Everything between an image and its meshes.

    Attributes:
        topology: of the meshes.
    """

    def __init__(self, parameters: NodeParameters) -> None:
        """Loads the network; this takes seconds.

        Raises:
            FileNotFoundError: no such weights.
            ValueError: a value is wrong, or the weights are damaged.
            RuntimeError: the runtime is not installed.
        """
        self._background: BackgroundDetector | None = None
        detector = load_detector(parameters.detector)
        config = TrackerConfig.for_detector(
            parameters.detector, parameters.detector_stride, parameters.max_people)
        if parameters.detector in SLOW_DETECTORS:
            detector = self._background = BackgroundDetector(detector)
            self._tracker = BackgroundTracker(self._background, config)
        else:
            self._tracker = Tracker(config)
        runtime = load_runtime(parameters.runtime, parameters.weights,
                               num_threads=parameters.threads)
        self._estimator = HumanMeshEstimator(runtime, detector, self._tracker, EstimatorConfig(
            parameters.box_scale, parameters.min_score, parameters.max_people))
        self.topology: Topology = self._estimator.topology

    def estimate(self, image: np.ndarray, intrinsics: np.ndarray | None,
                 people: Detections | None = None) -> tuple[list[HumanMesh], StageTimes]:
        """The people in the next image of the video.

        Args:
            image: (H, W, 3) uint8 RGB; it must not change afterwards.
            intrinsics: (3, 3) px, or None for relative meshes.
            people: boxes from outside; None: the detector looks for people.
        """
        boxes, scores = (None, None) if people is None else (people.boxes, people.scores)
        meshes, times = self._estimator.estimate(image, boxes, scores, intrinsics)
        if self._background is not None and people is None:
            self._tracker.look_if_due(image)
        return meshes, times

    def reset(self) -> None:
        """Forgets everybody: another video begins."""
        self._estimator.reset()

    def close(self) -> None:
        """Ends the detector's thread."""
        if self._background is not None:
            self._background.close()
