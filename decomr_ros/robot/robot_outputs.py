"""The outputs that a robot acts on: motion, distances, obstacles, depth without people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from decomr_ros.robot.depth_without_people import DepthWithoutPeople
from decomr_ros.robot.motion import MotionOutput
from decomr_ros.robot.obstacles import ObstacleOutput
from decomr_ros.robot.proximity import ProximityOutput

if TYPE_CHECKING:
    from rclpy.lifecycle import LifecycleNode
    from std_msgs.msg import Header

    from decomr_core.uv.topology import Topology
    from decomr_ros.node.standing_warnings import StandingWarnings
    from decomr_ros.pipeline.frame_result import FrameResult
    from decomr_ros.pipeline.transforms import Transforms
    from decomr_ros.settings.parameters import NodeParameters

__all__ = ['RobotOutputs']


class _RobotOutput(Protocol):
    """One output; all methods are called between images or on the worker's thread."""

    @property
    def needs_motion(self) -> bool:
        """Whether it has subscribers and needs velocities."""

    def publish(self, result: FrameResult) -> None:
        """Publishes what has subscribers."""

    def update(self, parameters: NodeParameters) -> None:
        """Applies changed parameters."""

    def clear(self, header: Header) -> None:
        """Removes people: the node pauses."""

    def values(self) -> dict[str, str]:
        """Values for /diagnostics; on any thread."""

    def destroy(self) -> None:
        """Destroys the publishers."""


class RobotOutputs:
    """The outputs for robots; each costs nothing while it has no subscribers."""

    def __init__(
        self,
        node: LifecycleNode,
        parameters: NodeParameters,
        topology: Topology,
        transforms: Transforms | None,
        warnings: StandingWarnings,
    ) -> None:
        """Creates the publishers.

        Args:
            node: their owner.
            parameters: the parameters.
            topology: topology of the meshes.
            transforms: looks up frames; None: no parameter needs one.
            warnings: states the problems.

        Raises:
            ValueError: the robot parts are invalid.
            RuntimeError: a package that the parameters need is missing.
        """
        self._outputs: list[_RobotOutput] = []
        try:
            self._outputs.append(MotionOutput(node, parameters, topology))
            self._outputs.append(ProximityOutput(node, parameters, topology, transforms, warnings))
            self._outputs.append(ObstacleOutput(node, parameters, topology, transforms, warnings))
            self._outputs.append(DepthWithoutPeople(node, parameters, topology, warnings))
        except Exception:
            self.destroy()
            raise

    @property
    def needs_motion(self) -> bool:
        """Whether somebody subscribes to a topic that contains velocities."""
        return any(output.needs_motion for output in self._outputs)

    def publish(self, result: FrameResult) -> None:
        """Publishes the outputs that have subscribers."""
        for output in self._outputs:
            output.publish(result)

    def update(self, parameters: NodeParameters) -> None:
        """Applies changed parameters from the next image on."""
        for output in self._outputs:
            output.update(parameters)

    def clear(self, header: Header) -> None:
        """Removes people from the outputs that keep them: the node pauses."""
        for output in self._outputs:
            output.clear(header)

    def values(self) -> dict[str, str]:
        """Values for /diagnostics."""
        return {name: text for output in self._outputs for name, text in output.values().items()}

    def destroy(self) -> None:
        """Destroys the publishers."""
        for output in self._outputs:
            output.destroy()
        self._outputs = []
