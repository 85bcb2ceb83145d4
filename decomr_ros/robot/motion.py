"""The topic `motion`: velocities, predictions and uncertainty of people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decomr.msg import HumanMotionArray
from std_msgs.msg import Header

from decomr_ros.messages.motion import human_motion_array_message, human_motion_message
from decomr_ros.node.qos import MESH_QOS, make_publisher
from decomr_ros.robot.velocity_delay import VelocityDelay

if TYPE_CHECKING:
    from decomr.msg import HumanMotion
    from rclpy.lifecycle import LifecycleNode

    from decomr_core.uv.topology import Topology
    from decomr_ros.pipeline.frame_result import FrameResult
    from decomr_ros.settings.parameters import NodeParameters

__all__ = ['MotionOutput']


class MotionOutput:
    """Publishes the motion of all people, while the topic has subscribers."""

    def __init__(
        self, node: LifecycleNode, parameters: NodeParameters, topology: Topology
    ) -> None:
        """Creates the publisher.

        Args:
            node: its owner.
            parameters: the switch, and the frame of smoothing, which holds until the node is
                configured again.
            topology: topology of the meshes.
        """
        self._node, self._parameters, self._topology = node, parameters, topology
        self._fixed_frame = parameters.smoothing_frame
        self._publisher = make_publisher(node, HumanMotionArray, 'motion', MESH_QOS)
        self._delay = VelocityDelay()

    @property
    def needs_motion(self) -> bool:
        """Whether it has subscribers and needs velocities."""
        return self._parameters.publish_motion and self._publisher.get_subscription_count() > 0

    def publish(self, result: FrameResult) -> None:
        """Publishes the people in an image, also if there are none, while it has subscribers."""
        if not self.needs_motion:
            self._delay.restart()
            return
        is_fixed = result.fixed_from_camera is not None
        header = Header(
            stamp=result.header.stamp,
            frame_id=self._fixed_frame if is_fixed else result.header.frame_id,
        )
        self._publisher.publish(
            human_motion_array_message(
                header, self._topology.hash, self._delay.at(result.header), self._motions(result)
            )
        )

    def update(self, parameters: NodeParameters) -> None:
        """Applies changed parameters."""
        self._parameters = parameters

    def clear(self, header: Header) -> None:
        """Forgets the images: the node pauses. No message is sent, as on `human_meshes`."""
        self._delay.restart()

    def values(self) -> dict[str, str]:
        """Values for /diagnostics: none."""
        return {}

    def destroy(self) -> None:
        """Destroys the publisher."""
        self._node.destroy_lifecycle_publisher(self._publisher)

    def _motions(self, result: FrameResult) -> list[HumanMotion]:
        """The message of each person in the image."""
        placed = {id(mesh): track_id for track_id, mesh in result.people.items()}
        return [
            human_motion_message(
                mesh,
                self._topology.vertex_parts,
                result.motions.get(mesh.track_id),
                result.uncertainties[placed[id(mesh)]] if id(mesh) in placed else None,
                result.fixed_from_camera,
            )
            for mesh in result.meshes
        ]
