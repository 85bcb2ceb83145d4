"""Meshes for RViz: a MarkerArray of TRIANGLE_LIST, serialised from a template.

Built from message objects, one geometry_msgs/Point per corner, a body takes 60 to 100 ms. Its
serialised form (CDR, little-endian) differs between images only in stamps, ids and points.
Therefore a template is built once per set of people, and NumPy fills in the points.

The number of points per person is constant, so that RViz reuses its buffers. Colours are per
person, because RViz does not shade markers with colours per vertex.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from geometry_msgs.msg import Point
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from decomr_core.base.structures import check_shape
from decomr_core.drawing import color_of_track
from decomr_ros.messages.cdr import CdrWriter

__all__ = ['MeshMarkers', 'marker_array_message']

NAMESPACE = 'human_meshes'
# RViz removes a marker that is not updated in this time, e.g. when the camera stops.
LIFETIME_S = 1
# A geometry_msgs/Point as bytes: three float64 without alignment.
POINT = np.dtype('V24')


class MeshMarkers:
    """Serialises the markers of successive images and deletes people who have left.

    Attributes:
        corners: (3 F,) int64 vertex index of each corner of each triangle.
    """

    def __init__(self, faces: np.ndarray) -> None:
        """Stores the faces and checks the template.

        Args:
            faces: (F, 3) vertex indices.

        Raises:
            RuntimeError: Marker of this ROS distribution has other fields than the template.
        """
        check_shape('faces', faces, (None, 3))
        self.corners = np.ascontiguousarray(faces, np.int64).ravel()
        self._shown: tuple[int, ...] = ()
        self._template: _Template | None = None
        _check_template()

    def serialize(self, header: Header, vertices: Mapping[int, np.ndarray]) -> bytes:
        """The serialised MarkerArray of one image, for `publish`.

        Markers of people who are no longer present are deleted. A mesh with values that are not
        finite is left out, because it would crash RViz.

        Args:
            header: stamp and frame of the image.
            vertices: (V, 3) metres by track id.
        """
        finite = {
            track_id: points for track_id, points in vertices.items() if np.isfinite(points).all()
        }
        ids = tuple(finite)
        removed = tuple(track_id for track_id in self._shown if track_id not in finite)
        self._shown = ids
        key = (header.frame_id, ids, removed)
        if self._template is None or self._template.key != key:
            self._template = _make_template(*key, len(self.corners))
        return self._template.fill(
            header.stamp.sec, header.stamp.nanosec, list(finite.values()), self.corners
        )

    def clear(self, header: Header) -> bytes:
        """The serialised MarkerArray that deletes all markers."""
        return self.serialize(header, {})


def marker_array_message(
    header: Header, points: Mapping[int, np.ndarray], removed: Sequence[int] = ()
) -> MarkerArray:
    """The same message built from message objects: the slow reference for the template.

    Args:
        header: stamp and frame of the image.
        points: (P, 3) metres, the corners of all triangles, by track id.
        removed: ids of markers to delete.
    """
    message = MarkerArray()
    for track_id in (*points, *removed):
        marker = Marker(header=header, ns=NAMESPACE, id=track_id, type=Marker.TRIANGLE_LIST)
        marker.action = Marker.ADD if track_id in points else Marker.DELETE
        marker.pose.orientation.w = 1.0
        marker.scale.x = marker.scale.y = marker.scale.z = 1.0
        color = marker.color
        color.r, color.g, color.b, color.a = _rgba(track_id)
        marker.lifetime.sec = LIFETIME_S
        marker.points = [
            Point(x=x, y=y, z=z)
            for x, y, z in np.asarray(points.get(track_id, ()), float).tolist()
        ]
        message.markers.append(marker)
    return message


def _rgba(track_id: int) -> tuple[float, float, float, float]:
    red, green, blue = color_of_track(track_id)
    return red / 255, green / 255, blue / 255, 1.0


class _Template(NamedTuple):
    """A serialised MarkerArray and the offsets of its variable parts."""

    key: tuple[str, tuple[int, ...], tuple[int, ...]]
    buffer: bytearray
    stamp_offsets: list[int]
    points: list[np.ndarray]
    """(P,) views into the buffer, of the type `POINT`."""

    def fill(
        self, sec: int, nanosec: int, vertices: Sequence[np.ndarray], corners: np.ndarray
    ) -> bytes:
        """The bytes with this stamp and with the vertices (V, 3) of each person at `corners`."""
        for offset in self.stamp_offsets:
            struct.pack_into('<iI', self.buffer, offset, sec, nanosec)
        for target, source in zip(self.points, vertices, strict=True):
            # Copies whole points, nine times as fast as source[corners], which copies numbers.
            # In mode 'clip' `take` writes directly to `out`; no index is out of range.
            points = np.ascontiguousarray(source, '<f8').view(POINT).ravel()
            np.take(points, corners, out=target, mode='clip')
        return bytes(self.buffer)


def _check_template() -> None:
    """Compares a small template with the message library's result, in about 1 ms."""
    header, triangle = Header(frame_id='camera'), np.arange(9.0).reshape(3, 3)
    template = _make_template(header.frame_id, (1, 2), (3,), 3)
    fast = deserialize_message(
        template.fill(0, 0, [triangle, triangle], np.arange(3)), MarkerArray
    )
    slow = serialize_message(marker_array_message(header, {1: triangle, 2: triangle}, (3,)))
    if fast != deserialize_message(slow, MarkerArray):
        raise RuntimeError(
            'visualization_msgs/Marker of this ROS distribution does not have the '
            'fields that decomr_ros/messages/markers.py writes; set '
            'publish_markers to false'
        )


def _make_template(
    frame_id: str, ids: tuple[int, ...], removed: tuple[int, ...], num_points: int
) -> _Template:
    writer = CdrWriter()
    writer.numbers('I', len(ids) + len(removed))
    stamp_offsets, point_offsets = [], []
    for index, track_id in enumerate((*ids, *removed)):
        is_shown = index < len(ids)
        stamp_offset, point_offset = _write_marker(
            writer,
            frame_id,
            track_id,
            Marker.ADD if is_shown else Marker.DELETE,
            num_points if is_shown else 0,
        )
        stamp_offsets.append(stamp_offset)
        if is_shown:
            point_offsets.append(point_offset)
    buffer = bytearray(writer.joined())
    points = [np.ndarray(num_points, POINT, buffer, offset) for offset in point_offsets]
    return _Template((frame_id, ids, removed), buffer, stamp_offsets, points)


def _write_marker(
    writer: CdrWriter, frame_id: str, track_id: int, action: int, num_points: int
) -> tuple[int, int]:
    """Writes the fields of visualization_msgs/Marker; returns the offsets of stamp and points."""
    stamp = writer.numbers('i', 0)
    writer.numbers('I', 0)
    writer.text(frame_id)
    writer.text(NAMESPACE)
    writer.numbers('i', track_id, Marker.TRIANGLE_LIST, action)
    writer.numbers('d', 0, 0, 0, 0, 0, 0, 1)  # pose: position, orientation
    writer.numbers('d', 1, 1, 1)  # scale
    writer.numbers('f', *_rgba(track_id))
    writer.numbers('i', LIFETIME_S, 0)
    writer.numbers('B', 0)  # frame_locked
    points = writer.points(num_points)
    writer.numbers('I', 0)  # colors
    writer.text('')  # texture_resource
    writer.numbers('i', 0, 0)  # texture: stamp, frame, format, data
    writer.text('')
    writer.text('')
    writer.numbers('I', 0)
    writer.numbers('I', 0)  # uv_coordinates
    writer.text('')  # text
    writer.text('')  # mesh_resource
    writer.text('')  # mesh_file: name, data
    writer.numbers('I', 0)
    writer.numbers('B', 0)  # mesh_use_embedded_materials
    return stamp, points
