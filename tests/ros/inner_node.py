"""The node inside the test's process, with a network and a detector of known outputs."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.parameter import Parameter
from std_msgs.msg import Header

from decomr_core.base.structures import NetworkOutput
from decomr_core.people.detection import Detections
from decomr_core.uv.topology import Topology
from decomr_ros import decomr_node
from decomr_ros.decomr_node import DecomrNode
from decomr_ros.inputs import stamp_checks
from decomr_ros.messages.meshes import nanoseconds_from_stamp
from decomr_ros.pipeline import mesh_pipeline, network_memory
from tests.core.fake_people import FakeRuntime
from tests.ros.conftest import RosTest
from tests.ros.node_client import Camera

# Two people in an image of 320x240 px, the better one on the left.
BOXES = np.array([[40, 20, 100, 220], [200, 40, 260, 220]], np.float32)
SCORES = np.array([0.9, 0.4], np.float32)
HEIGHT, WIDTH = 240, 320


class KnownDetector:
    """Detects the same two people in every image."""

    def __init__(self) -> None:
        self.num_calls = 0

    def __call__(self, image: np.ndarray) -> Detections:
        self.num_calls += 1
        return Detections(BOXES, SCORES)


def keep_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes within the test leave what `RosTest` has frozen as it is.

    Thawed, everything that the tests have in memory would be searched for garbage, 0.2 s each
    time.
    """
    monkeypatch.setattr(
        network_memory,
        'gc',
        SimpleNamespace(collect=gc.collect, freeze=lambda: None, unfreeze=lambda: None),
    )


class InnerNode:
    """A `DecomrNode` that spins with the test, and its diagnostics."""

    def __init__(
        self,
        ros: RosTest,
        monkeypatch: pytest.MonkeyPatch,
        topology: Topology,
        arguments: Sequence[str] = (),
        **parameters: object,
    ) -> None:
        self._ros, self._topology = ros, topology
        self.detector = KnownDetector()
        self.runtimes: list[weakref.ref[FakeRuntime]] = []
        self._diagnostics: list[DiagnosticArray] = []
        self.runtime_class: type[FakeRuntime] = FakeRuntime
        monkeypatch.setattr(mesh_pipeline, 'load_detector', lambda name, **_: self.detector)
        monkeypatch.setattr(mesh_pipeline, 'load_runtime', self._load_runtime)
        monkeypatch.setattr(decomr_node, 'export_if_missing', lambda *_: None)
        monkeypatch.setattr(mesh_pipeline, 'SLOW_DETECTORS', ())
        monkeypatch.setattr(decomr_node, 'STATUS_PERIOD_S', 0.05)
        # Images of the tests are stamped a second apart, however soon they follow each other.
        monkeypatch.setattr(stamp_checks, 'FAR_S', math.inf)
        keep_frozen(monkeypatch)
        values = {'autostart': False, **parameters}
        self.node = DecomrNode(
            context=ros.context,
            cli_args=['--ros-args', *arguments],
            parameter_overrides=[Parameter(name, value=value) for name, value in values.items()],
        )
        ros.node.create_subscription(DiagnosticArray, '/diagnostics', self._diagnostics.append, 10)
        ros.add(self.node)

    def activate(self, **topics: str) -> Camera:
        """Configures and activates it; returns a camera that it is subscribed to."""
        self.node.trigger_configure()
        return self.activate_configured(**topics)

    def activate_configured(self, waits: bool = True, **topics: str) -> Camera:
        """Activates it; returns a camera whose images and calibration it has discovered."""
        camera = Camera(self._ros, **topics)
        self.node.trigger_activate()
        assert self.node.state_label == 'active', self.node.last_failure
        camera.wait() if waits else camera.wait_for_images()
        return camera

    def set(self, **values: object) -> None:
        result = self.node.set_parameters_atomically(
            [Parameter(name, value=value) for name, value in values.items()]
        )
        assert result.successful, result.reason

    def status(self) -> DiagnosticStatus:
        """Its next status on /diagnostics, which includes every processed image."""
        assert self.node._worker.wait_until_idle(5)
        asked_ns = self.node.get_clock().now().nanoseconds
        self._ros.spin_until(
            lambda: (
                self._diagnostics
                and nanoseconds_from_stamp(self._diagnostics[-1].header.stamp) > asked_ns
            ),
            10,
        )
        return self._diagnostics[-1].status[0]

    def take_boxes(self, header: Header, *detections: object) -> None:
        """Passes detections to it like its subscription to `boxes`."""
        self.node._parts.inputs.boxes.add(
            SimpleNamespace(header=header, detections=list(detections))
        )

    def wait_for_listeners(self, *topics: str) -> None:
        """Until the node's publishers of these topics know of their subscribers."""
        self._ros.spin_until(
            lambda: (
                {
                    publisher.topic_name
                    for publisher in self.node.publishers
                    if publisher.get_subscription_count()
                }
                >= {f'/{topic}' for topic in topics}
            )
        )

    def is_freed(self) -> bool:
        """Whether every loaded runtime has been freed; the node collects the garbage."""
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
