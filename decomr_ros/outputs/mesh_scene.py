"""Markers from mesh messages of a recording or another machine.

They have the frame and the stamp of the meshes' image, as those of the live node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rclpy.serialization import serialize_message
from visualization_msgs.msg import MarkerArray

from decomr_core.geometry.decimation import decimate_faces
from decomr_ros.messages.markers import MeshMarkers
from decomr_ros.messages.meshes import human_meshes_from_message
from decomr_ros.outputs.outputs import FEWEST_TRIANGLES
from decomr_ros.pipeline.frame_result import placed_people

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
        """Stores the topology.

        Args:
            topology: of the meshes.
            num_triangles: approximate number of triangles per person; 0: all. They are selected
                on the first person with a position, which takes some seconds.

        Raises:
            ValueError: the faces of the topology are not triangles.
        """
        self.hash = topology.hash
        faces = np.array(topology.faces, np.int64)
        if len(faces) % 3:
            raise ValueError(
                f'topology has {len(faces)} face indices, expected a multiple of 3; '
                'the message was not published by decomr'
            )
        self._faces, self._num_triangles = faces.reshape(-1, 3), num_triangles
        self._markers: MeshMarkers | None = None

    def people(self, array: HumanMeshArray) -> dict[int, HumanMesh]:
        """The people with a position, by id.

        Raises:
            ValueError: the meshes belong to another body than the topology, or are invalid.
        """
        if array.topology_hash != self.hash:
            raise ValueError(
                f'the meshes belong to the body {array.topology_hash[:12]}, the '
                f'topology to {self.hash[:12]}; use both topics of one node'
            )
        return placed_people(human_meshes_from_message(array))

    def markers(self, header: Header, people: dict[int, HumanMesh]) -> bytes:
        """The serialised MarkerArray; markers of people who have left are deleted.

        Args:
            header: of the mesh message.
            people: result of `people`.
        """
        if self._markers is None:
            if not people:
                return serialize_message(MarkerArray())
            self._markers = MeshMarkers(self._marker_faces(next(iter(people.values()))))
        return self._markers.serialize(
            header, {number: mesh.vertices for number, mesh in people.items()}
        )

    def _marker_faces(self, mesh: HumanMesh) -> np.ndarray:
        """The faces of the markers, (F, 3)."""
        if self._num_triangles == 0:
            return self._faces
        return decimate_faces(
            mesh.vertices, self._faces, max(self._num_triangles, FEWEST_TRIANGLES)
        )
