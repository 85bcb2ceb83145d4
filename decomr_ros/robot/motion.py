"""The topic `motion`: velocities, predictions and uncertainty of people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rclpy.lifecycle import LifecycleNode
    from std_msgs.msg import Header

    from decomr_core.uv.topology import Topology
    from decomr_ros.pipeline.frame_result import FrameResult
    from decomr_ros.settings.parameters import NodeParameters

__all__ = ['MotionOutput']


class MotionOutput:
    """See above."""

    def __init__(
        self, node: LifecycleNode, parameters: NodeParameters, topology: Topology
    ) -> None:
        """Creates the publishers."""

    @property
    def needs_motion(self) -> bool:
        """Whether it has subscribers and needs velocities."""
        return False

    def publish(self, result: FrameResult) -> None:
        """Publishes what has subscribers."""

    def update(self, parameters: NodeParameters) -> None:
        """Applies changed parameters."""

    def clear(self, header: Header) -> None:
        """Removes people: the node pauses."""

    def values(self) -> dict[str, str]:
        """Values for /diagnostics."""
        return {}

    def destroy(self) -> None:
        """Destroys the publishers."""
