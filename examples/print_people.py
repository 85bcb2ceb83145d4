"""Prints the position of each person: an example of a node that uses the meshes.

    scripts/with-env python examples/print_people.py
    scripts/with-env python examples/print_people.py --ros-args -r human_meshes:=/left/human_meshes

Positions are in metres in the camera optical frame: x right, y down, z forward. Example output:

    12.345 s  #3 x +0.52 y +0.11 z +4.03 m, head at y -0.55 m, 6120 of 13348 vertices visible
"""

from __future__ import annotations

import numpy as np
import rclpy
from decomr.msg import HumanMesh, HumanMeshArray, MeshTopology
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

# The topology is published once. Transient local ("latched") delivers it to late subscribers.
LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
# Only the newest message is needed. Reliable: lost fragments of large messages are sent again.
NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)


class PrintPeople(Node):
    """Prints one line for each person in each image."""

    def __init__(self) -> None:
        super().__init__('print_people')
        self._topology: MeshTopology | None = None
        self.create_subscription(MeshTopology, 'topology', self._keep_topology, LATCHED)
        self.create_subscription(HumanMeshArray, 'human_meshes', self._print, NEWEST)

    def _keep_topology(self, topology: MeshTopology) -> None:
        self._topology = topology
        faces = np.asarray(topology.faces).reshape(-1, 3)
        print(
            f'body {topology.body_name}: {topology.num_vertices} vertices, {len(faces)} '
            f'triangles, {len(topology.joint_names)} joints',
            flush=True,
        )

    def _print(self, array: HumanMeshArray) -> None:
        stamp = array.header.stamp
        time_s = stamp.sec + stamp.nanosec / 1e9
        lines = [self._describe(mesh, array.topology_hash) for mesh in array.meshes]
        print('\n'.join(f'{time_s:.3f} s  {line}' for line in lines or ['no people']), flush=True)

    def _describe(self, mesh: HumanMesh, topology_hash: str) -> str:
        if not mesh.is_metric:
            # Without a calibration the vertices are relative to the root: there is no position.
            return f'#{mesh.id} has no position: the node has no camera_info'
        root = mesh.translation
        text = f'#{mesh.id} x {root.x:+.2f} y {root.y:+.2f} z {root.z:+.2f} m'
        joints = np.asarray(mesh.joints).reshape(-1, 3)  # (24, 3) m, camera optical frame
        if self._topology is not None and self._topology.hash == topology_hash:
            head = joints[list(self._topology.joint_names).index('head')]
            text += f', head at y {head[1]:+.2f} m'
        vertices = np.asarray(mesh.vertices).reshape(-1, 3)  # (V, 3) m, camera optical frame
        is_visible = np.asarray(mesh.visibility, bool)  # (V,)
        return f'{text}, {is_visible.sum()} of {len(vertices)} vertices visible'


def main() -> None:
    """Runs until Ctrl-C."""
    rclpy.init()
    try:
        rclpy.spin(PrintPeople())
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()


if __name__ == '__main__':
    main()
