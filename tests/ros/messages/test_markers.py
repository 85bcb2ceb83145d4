from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from decomr_ros.messages.markers import MeshMarkers, marker_array_message

FACES = np.array([[0, 1, 2], [2, 1, 3], [3, 0, 2], [1, 0, 3]])


def _vertices(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((4, 3)).astype(np.float32)


def _read(data: bytes) -> MarkerArray:
    return deserialize_message(data, MarkerArray)


@settings(max_examples=60, deadline=None)
@given(
    frame_id=st.text(st.characters(min_codepoint=33, max_codepoint=0x17F), max_size=9),
    first=st.lists(st.integers(0, 10**6), max_size=4, unique=True),
    second=st.lists(st.integers(0, 10**6), max_size=4, unique=True),
)
def test_the_template_writes_what_the_message_library_writes(
    frame_id: str, first: list[int], second: list[int]
) -> None:
    markers = MeshMarkers(FACES)
    header = Header(frame_id=frame_id)
    header.stamp.sec, header.stamp.nanosec = 7, 123_456_789
    shown: list[int] = []
    for people in (first, first, second, []):
        vertices = {track_id: _vertices(track_id) for track_id in people}
        fast = markers.serialize(header, vertices)
        slow = marker_array_message(
            header,
            {track_id: points[FACES.ravel()] for track_id, points in vertices.items()},
            [track_id for track_id in shown if track_id not in vertices],
        )
        assert _read(fast) == _read(serialize_message(slow))
        shown = people


def test_markers_of_people_who_left_are_deleted_once() -> None:
    markers, header = MeshMarkers(FACES), Header(frame_id='camera')
    markers.serialize(header, {1: _vertices(1), 2: _vertices(2)})
    actions = {
        marker.id: marker.action
        for marker in _read(markers.serialize(header, {2: _vertices(3)})).markers
    }
    assert actions == {1: Marker.DELETE, 2: Marker.ADD}
    assert [marker.id for marker in _read(markers.clear(header)).markers] == [2]
    assert _read(markers.clear(header)).markers == []


def test_the_number_of_points_is_constant_and_a_multiple_of_three() -> None:
    markers = MeshMarkers(FACES)
    for seed in range(3):
        marker = _read(markers.serialize(Header(), {5: _vertices(seed)})).markers[0]
        assert len(marker.points) == FACES.size
        assert (marker.scale.x, marker.scale.y, marker.scale.z) == (1.0, 1.0, 1.0)
        assert marker.lifetime.sec > 0
        assert marker.colors == []


def test_a_mesh_that_is_not_finite_is_left_out_and_its_old_marker_deleted() -> None:
    markers = MeshMarkers(FACES)
    markers.serialize(Header(), {1: _vertices(1)})
    broken = _vertices(1)
    broken[2, 1] = np.nan
    seen = _read(markers.serialize(Header(), {1: broken})).markers
    assert [(marker.id, marker.action) for marker in seen] == [(1, Marker.DELETE)]


def test_faces_of_another_shape_are_rejected() -> None:
    with pytest.raises(ValueError, match='faces has shape'):
        MeshMarkers(np.zeros((3, 4)))
