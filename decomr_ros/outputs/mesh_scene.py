"""Markers and body frames of meshes that come from elsewhere: a recording or another machine.

Everything is in the frame and at the stamp of the meshes' image, as the live node publishes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rclpy.serialization import serialize_message
from visualization_msgs.msg import MarkerArray

from decomr_core.geometry.decimation import decimate_faces
from decomr_ros.messages.markers import MeshMarkers
from decomr_ros.messages.meshes import human_meshes_from_message
from decomr_ros.outputs.outputs import FEWEST_TRIANGLES, placed_people

if TYPE_CHECKING:
    from decomr.msg import HumanMeshArray, MeshTopology
    from std_msgs.msg import Header

    from decomr_core.base.structures import HumanMesh

__all__ = ['MeshScene']


class MeshScene:
    """The people of successive messages as markers.

    Attributes:
        hash: of the topology.
    """

    def __init__(self, topology: MeshTopology, num_triangles: int = 0) -> None:
        """Takes the topology.

        Args:
            topology: of the meshes.
            num_triangles: about how many triangles a person is shown with; 0: all. They are
                chosen on the first person with a position, which takes some seconds.

        Raises:
            ValueError: a topology whose faces are not triangles.
        """
        self.hash = topology.hash
        faces = np.array(topology.faces, np.int64)
        if len(faces) % 3:
            raise ValueError(f'topology has {len(faces)} face indices, not a multiple of 3; it '
                             'was not made by decomr')
        self._faces, self._num_triangles = faces.reshape(-1, 3), num_triangles
        self._markers: MeshMarkers | None = None

    def people(self, array: HumanMeshArray) -> dict[int, HumanMesh]:
        """The people of a message who have a position, by id.

        Raises:
            ValueError: meshes of another body than the topology, or broken ones.
        """
        if array.topology_hash != self.hash:
            raise ValueError(f'meshes of the body {array.topology_hash[:12]}, but the topology is '
                             f'of {self.hash[:12]}; use both topics of one node')
        return placed_people(human_meshes_from_message(array))

    def markers(self, header: Header, people: dict[int, HumanMesh]) -> bytes:
        """The serialised MarkerArray; people who are gone since the last one are deleted.

        Args:
            header: of the message of the meshes.
            people: what `people` gives.
        """
        if self._markers is None:
            if not people:
                return serialize_message(MarkerArray())
            self._markers = MeshMarkers(self._chosen_faces(next(iter(people.values()))))
        return self._markers.serialize(
            header, {number: mesh.vertices for number, mesh in people.items()})

    def _chosen_faces(self, mesh: HumanMesh) -> np.ndarray:
        """(F, 3) the faces that are shown."""
        if self._num_triangles == 0:
            return self._faces
        return decimate_faces(mesh.vertices, self._faces,
                              max(self._num_triangles, FEWEST_TRIANGLES))
