"""Meshes rounded for a recording: how far vertices move, and that nothing else changes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from decomr.msg import HumanMeshArray
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header

from decomr_core.base.structures import HumanMesh
from decomr_ros.bags.rounded_meshes import largest_error_m, round_meshes, step_for_error
from decomr_ros.messages.meshes import (
    human_mesh_array_message,
    human_meshes_from_message,
    serialized_human_meshes,
)
from tests.ros.conftest import make_mesh

STEP_M = 2.0**-11


def _header(frame_id: str = 'camera') -> Header:
    header = Header(frame_id=frame_id)
    header.stamp.sec, header.stamp.nanosec = 12, 34
    return header


def _rounded(meshes: list[HumanMesh], step_m: float, frame_id: str = 'camera') -> HumanMeshArray:
    data = serialize_message(human_mesh_array_message(_header(frame_id), meshes, 'abc'))
    return deserialize_message(round_meshes(data, step_m), HumanMeshArray)


@pytest.mark.parametrize(
    ('max_error_mm', 'step_mm'),
    [(0.5, 1000 / 2048), (0.85, 1000 / 1024), (0.84, 1000 / 2048), (5.0, 1000 / 256)],
)
def test_the_step_is_the_largest_power_of_two_that_keeps_the_error(
    max_error_mm: float, step_mm: float
) -> None:
    step_m = step_for_error(max_error_mm / 1000)
    assert step_m * 1000 == step_mm
    assert largest_error_m(step_m) <= max_error_mm / 1000 < largest_error_m(2 * step_m)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 99), max_error_mm=st.floats(0.05, 20), distance_m=st.floats(0, 60))
def test_no_vertex_moves_further_than_the_requested_error(
    seed: int, max_error_mm: float, distance_m: float
) -> None:
    mesh = make_mesh(1, 200, seed)
    mesh = dataclasses.replace(mesh, vertices=mesh.vertices + np.float32((0, 0, distance_m)))
    (seen,) = human_meshes_from_message(_rounded([mesh], step_for_error(max_error_mm / 1000)))
    moved_m = np.linalg.norm(seen.vertices.astype(float) - mesh.vertices, axis=1)
    assert moved_m.max() <= max_error_mm / 1000
    assert moved_m.max() > 0


@settings(max_examples=40, deadline=None)
@given(
    frame_id=st.text(st.characters(min_codepoint=33, max_codepoint=0x17F), max_size=9),
    sizes=st.lists(st.integers(0, 9), max_size=4),
)
def test_everything_but_the_vertices_stays_as_it_was(frame_id: str, sizes: list[int]) -> None:
    meshes = [make_mesh(index, size, index) for index, size in enumerate(sizes)]
    before = human_mesh_array_message(_header(frame_id), meshes, 'abc')
    after = _rounded(meshes, STEP_M, frame_id)
    for mesh, rounded in zip(before.meshes, after.meshes, strict=True):
        np.testing.assert_array_equal(np.asarray(rounded.vertices) % STEP_M, 0)
        rounded.vertices = mesh.vertices
    assert after == before


def test_rounding_twice_changes_nothing_more() -> None:
    data = serialized_human_meshes(_header(), [make_mesh(1, 50), make_mesh(2, 50)], 'abc')
    once = round_meshes(data, STEP_M)
    assert once != data
    assert round_meshes(once, STEP_M) == once


def test_nans_and_negative_zeros_are_handled() -> None:
    mesh = make_mesh(1, 3)
    mesh.vertices[:] = [[np.nan, np.inf, -1e-6], [-0.0, 3e38, -3e38], [5000.0001, 0, 1]]
    seen = np.asarray(_rounded([mesh], STEP_M).meshes[0].vertices, np.float32).reshape(-1, 3)
    np.testing.assert_array_equal(seen[0, :2], [np.nan, np.inf])
    np.testing.assert_array_equal(seen[1, 1:], mesh.vertices[1, 1:])
    assert seen[2, 0] == mesh.vertices[2, 0]
    assert not np.signbit([seen[0, 2], seen[1, 0]]).any()  # one zero: it compresses better


@pytest.mark.parametrize(
    'damage',
    [
        lambda data: data[:-1],
        lambda data: data[:40],
        lambda data: b'',
        lambda data: b'\0\0' + data[2:],
        lambda data: data + b'12345678',
    ],
)
def test_data_that_are_not_a_mesh_message_are_rejected(damage: object) -> None:
    data = serialized_human_meshes(_header(), [make_mesh(1, 50)], 'abc')
    with pytest.raises(ValueError, match='HumanMeshArray'):
        round_meshes(damage(data), STEP_M)
