"""The collision geometry of a URDF encloses the robot, and mistakes in it are named."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from decomr_core.geometry.nearest_points import RoundedBoxes
from decomr_ros.robot import urdf as urdf_module
from decomr_ros.robot.urdf import parts_from_urdf

trimesh = pytest.importorskip('trimesh')


def urdf(geometry: str, origin: str = '', link: str = 'arm') -> str:
    return (
        f'<robot name="r"><link name="world"/><link name="{link}"><collision>{origin}'
        f'<geometry>{geometry}</geometry></collision></link></robot>'
    )


def excess_m(boxes: RoundedBoxes, points: np.ndarray) -> np.ndarray:
    """How far points (N, 3) are outside of all boxes, metres."""
    repeated = np.repeat(points[:, None], len(boxes), axis=1)
    apart = np.linalg.norm(repeated - boxes.core_points(repeated), axis=2) - boxes.radii
    return apart.min(axis=1)


@pytest.mark.parametrize(
    ('geometry', 'mesh'),
    [
        ('<sphere radius="0.2"/>', lambda: trimesh.creation.icosphere(radius=0.2)),
        ('<box size="0.2 0.4 0.6"/>', lambda: trimesh.creation.box((0.2, 0.4, 0.6))),
        ('<cylinder radius="0.05" length="0.5"/>', lambda: trimesh.creation.cylinder(0.05, 0.5)),
        ('<cylinder radius="0.3" length="0.1"/>', lambda: trimesh.creation.cylinder(0.3, 0.1)),
        (
            '<capsule radius="0.1" length="0.4"/>',
            lambda: trimesh.creation.capsule(height=0.4, radius=0.1),
        ),
    ],
)
def test_shapes_are_enclosed_at_their_origin(geometry: str, mesh: object) -> None:
    origin = '<origin xyz="1 2 3" rpy="0.3 -0.5 1.1"/>'
    (part,) = parts_from_urdf(urdf(geometry, origin))
    assert part.frame == 'arm'
    # trimesh has another implementation of roll, pitch and yaw.
    pose = trimesh.transformations.euler_matrix(0.3, -0.5, 1.1, 'sxyz')
    pose[:3, 3] = 1, 2, 3
    shape = mesh()
    shape.apply_transform(pose)
    assert (excess_m(part.boxes, shape.vertices) < 1e-6).all()
    far = shape.vertices + 2 * (shape.vertices - pose[:3, 3])
    assert (excess_m(part.boxes, far) > 0).all()


@pytest.mark.parametrize('seed', range(3))
def test_a_mesh_is_enclosed_by_boxes_that_are_not_much_larger(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mesh = trimesh.creation.capsule(height=rng.uniform(0.1, 1), radius=rng.uniform(0.03, 0.2))
    mesh.apply_transform(trimesh.transformations.random_rotation_matrix(rng.random(3)))
    boxes = _mesh_part(mesh)
    assert len(boxes) <= 6
    points = mesh.sample(500, seed=seed)
    assert (excess_m(boxes, points) < 1e-4).all()
    volume = (8 * boxes.half_sizes.prod(axis=1)).sum()
    assert volume < 2.5 * mesh.bounding_box_oriented.volume


def _mesh_part(mesh: object) -> RoundedBoxes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'link of arm.stl')
        mesh.export(path)
        uri = f'file://{folder}/link%20of%20arm.stl'
        (part,) = parts_from_urdf(urdf(f'<mesh filename="{uri}"/>'))
    return part.boxes


def test_a_mesh_is_scaled_and_may_be_flat(tmp_path: Path) -> None:
    trimesh.creation.box((1000, 500, 100)).export(tmp_path / 'box.stl')
    (part,) = parts_from_urdf(
        urdf(f'<mesh filename="{tmp_path}/box.stl" scale="0.001 0.001 0.001"/>')
    )
    corners = np.array([[0.5, 0.25, 0.05], [-0.5, -0.25, -0.05]])
    assert (np.abs(excess_m(part.boxes, corners)) < 1e-6).all()
    flat = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]])
    flat.export(tmp_path / 'flat.stl')
    (part,) = parts_from_urdf(urdf(f'<mesh filename="{tmp_path}/flat.stl"/>'))
    assert (excess_m(part.boxes, np.array([[0.5, 0.5, 0], [1, 1, 0]])) < 1e-6).all()


def test_a_large_mesh_is_read_in_seconds_and_too_large_a_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sphere = trimesh.creation.icosphere(subdivisions=6, radius=0.3)  # all vertices on the hull
    num_points = []
    bounds = trimesh.bounds.oriented_bounds
    monkeypatch.setattr(
        trimesh.bounds,
        'oriented_bounds',
        lambda points: num_points.append(len(points)) or bounds(points),
    )
    boxes = _mesh_part(sphere)
    assert (excess_m(boxes, sphere.vertices) < 1e-4).all()
    assert 1000 < num_points[0] <= urdf_module.MOST_BOX_POINTS < len(sphere.vertices)
    monkeypatch.setattr(urdf_module, 'MOST_BYTES', 1000)
    with pytest.raises(ValueError, match='expected at most .* fewer triangles'):
        _mesh_part(sphere)


def test_a_mesh_that_states_its_unit_is_converted_to_metres(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh = trimesh.creation.box((1000, 500, 100))
    mesh.units = '0.001 * meters'  # as trimesh reads it from COLLADA
    (tmp_path / 'box.dae').write_text('')
    monkeypatch.setattr(trimesh, 'load', lambda path, force: mesh)
    (part,) = parts_from_urdf(urdf(f'<mesh filename="{tmp_path}/box.dae"/>'))
    corners = np.array([[0.5, 0.25, 0.05], [-0.5, -0.25, -0.05]])
    assert (np.abs(excess_m(part.boxes, corners)) < 1e-6).all()


def test_only_the_links_of_the_robot_itself_are_read() -> None:
    sphere = '<collision><geometry><sphere radius="1"/></geometry></collision>'
    text = (
        f'<robot name="r"><link name="arm">{sphere}</link><gazebo><link name="ground">'
        '<collision><geometry><plane/></geometry></collision></link></gazebo></robot>'
    )
    assert [part.frame for part in parts_from_urdf(text)] == ['arm']


def test_links_are_selected_by_name() -> None:
    text = (
        '<robot name="r"><link name="base"/>'
        '<link name="a"><collision><geometry><sphere radius="1"/></geometry></collision>'
        '<collision><geometry><sphere radius="2"/></geometry></collision></link>'
        '<link name="b"><collision><geometry><sphere radius="3"/></geometry></collision></link>'
        '</robot>'
    )
    assert [(part.frame, len(part.boxes)) for part in parts_from_urdf(text)] == [
        ('a', 2),
        ('b', 1),
    ]
    assert [part.frame for part in parts_from_urdf(text, ['b'])] == ['b']
    with pytest.raises(ValueError, match='no link base, hand with collision geometry'):
        parts_from_urdf(text, ['b', 'base', 'hand'])


@pytest.mark.parametrize(
    ('text', 'problem'),
    [
        ('', 'not XML'),
        ('<robot', 'not XML'),
        ('<sdf/>', 'root is <sdf>'),
        ('<robot name="r"/>', 'no link with collision geometry'),
        ('<!DOCTYPE r [<!ENTITY a "b">]><robot/>', 'document type'),
        (urdf('<cone radius="1"/>'), 'link arm is a <cone>'),
        (urdf(''), 'link arm has 0 shapes'),
        (urdf('<sphere/>'), '<sphere> of link arm: radius is None, expected 1 finite'),
        (urdf('<sphere radius="nan"/>'), 'expected 1 finite'),
        (urdf('<sphere radius="-1"/>'), 'negative'),
        (urdf('<box size="1 2"/>'), 'expected 3 finite'),
        (urdf('<sphere radius="1"/>', '<origin xyz="a b c"/>'), 'xyz is'),
        (urdf('<sphere radius="1"/>', link=''), '<link> without a name'),
        (urdf('<mesh filename="/nowhere/a.stl"/>'), 'does not exist'),
        (urdf(f'<mesh filename="/{"a" * 5000}"/>'), 'cannot be read'),
        (urdf('<mesh filename="package://nobody_has_this/a.stl"/>'), 'is not installed'),
        (urdf('<mesh filename="https://example.org/a.stl"/>'), 'neither a file nor in a package'),
    ],
)
def test_a_mistake_is_named(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parts_from_urdf(text)


@pytest.mark.parametrize('content', [b'', b'solid but not really', b'\x00' * 100])
def test_a_damaged_mesh_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / 'a.stl').write_bytes(content)
    with pytest.raises(ValueError, match=r'<mesh> of link arm: the mesh'):
        parts_from_urdf(urdf(f'<mesh filename="{tmp_path}/a.stl"/>'))


def test_without_trimesh_meshes_name_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'trimesh', None)
    assert len(parts_from_urdf(urdf('<sphere radius="1"/>'))) == 1
    with pytest.raises(RuntimeError, match='pip install trimesh'):
        parts_from_urdf(urdf('<mesh filename="/a.stl"/>'))
