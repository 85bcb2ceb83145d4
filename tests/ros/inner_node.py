"""The node inside the test's own process, with a network and a detector of known answers."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.parameter import Parameter

from decomr_core.detection import Detections
from decomr_core.structures import NetworkOutput
from decomr_core.topology import Topology
from decomr_ros import decomr_node, pipeline
from decomr_ros.decomr_node import DecomrNode
from tests.core.fake_people import FakeRuntime
from tests.ros.conftest import RosTest
from tests.ros.node_client import Camera

# Two people in an image of 320x240 px, the better one on the left.
BOXES = np.array([[40, 20, 100, 220], [200, 40, 260, 220]], np.float32)
SCORES = np.array([0.9, 0.4], np.float32)
HEIGHT, WIDTH = 240, 320


class KnownDetector:
    """Sees the same two people in every image."""

    def __init__(self) -> None:
        self.num_calls = 0

    def __call__(self, image: np.ndarray) -> Detections:
        self.num_calls += 1
        return Detections(BOXES, SCORES)


class InnerNode:
    """A `DecomrNode` that spins with the test, and what it says of itself."""

    def __init__(self, ros: RosTest, monkeypatch: pytest.MonkeyPatch, topology: Topology,
                 **parameters: object) -> None:
        self._ros, self._topology = ros, topology
        self.detector = KnownDetector()
        self.runtimes: list[weakref.ref[FakeRuntime]] = []
        self.statuses: list[DiagnosticStatus] = []
        self.runtime_class: type[FakeRuntime] = FakeRuntime
        monkeypatch.setattr(pipeline, 'load_detector', lambda name: self.detector)
        monkeypatch.setattr(pipeline, 'load_runtime', self._load_runtime)
        monkeypatch.setattr(pipeline, 'SLOW_DETECTORS', ())
        monkeypatch.setattr(decomr_node, 'STATUS_PERIOD_S', 0.2)
        values = {'autostart': False, **parameters}
        self.node = DecomrNode(context=ros.context, parameter_overrides=[
            Parameter(name, value=value) for name, value in values.items()])
        ros.node.create_subscription(DiagnosticArray, '/diagnostics', lambda message:
                                     self.statuses.append(message.status[0]), 10)
        ros.add(self.node)

    def activate(self) -> Camera:
        """Configures and activates it; a camera that it listens to."""
        self.node.trigger_configure()
        return self.activate_configured()

    def activate_configured(self) -> Camera:
        """Activates it; a camera that it listens to."""
        self.node.trigger_activate()
        assert self.node.state_label == 'active', self.node.last_failure
        camera = Camera(self._ros)
        camera.wait()
        return camera

    def set(self, **values: object) -> None:
        result = self.node.set_parameters_atomically(
            [Parameter(name, value=value) for name, value in values.items()])
        assert result.successful, result.reason

    def status(self) -> DiagnosticStatus:
        """What it says next on /diagnostics."""
        self._ros.spin(0.1)  # what is on its way already
        self.statuses.clear()
        self._ros.spin_until(lambda: self.statuses, 5)
        return self.statuses[-1]

    def is_freed(self) -> bool:
        """Whether no runtime that was ever loaded is left; collecting is up to the node."""
        return all(runtime() is None for runtime in self.runtimes)

    def _load_runtime(self, name: str, weights: str, **options: object) -> FakeRuntime:
        runtime = self.runtime_class(self._topology, (0.9, 0.0, -0.1))
        self.runtimes.append(weakref.ref(runtime))
        return runtime


class BrokenRuntime(FakeRuntime):
    """Loads, but does not run."""

    def run(self, images: np.ndarray) -> NetworkOutput:
        raise KeyError('no such kernel')


def values_of(status: DiagnosticStatus) -> dict[str, str]:
    return {value.key: value.value for value in status.values}
