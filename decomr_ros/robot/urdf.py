"""The collision geometry of a URDF as shapes in tf frames, which are the links.

Spheres, boxes and capsules are taken as they are. Other shapes are enclosed: a cylinder by a
capsule or, if it is flat, by a box; a mesh by a row of boxes. The robot is therefore never thinner
than its geometry, and distances are never too large because of it.

`trimesh`, which reads meshes, and ament_index_python, which finds them, are imported only here.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np

from decomr_core.geometry.nearest_points import RoundedBoxes
from decomr_ros.settings.robot_parts import RobotPart

__all__ = ['parts_from_urdf']

MOST_BYTES = 100_000_000
"""Largest size of the file of a mesh, bytes. A binary STL of 66 MB, with 1.3 million triangles,
needs 1 GB of memory while it is read."""
MOST_BOX_POINTS = 5000
"""Most vertices from which the axes of the box around a mesh are found, which takes longest."""
MAX_SLABS = 6
"""Most boxes of a mesh."""
SMALLEST_M = 1e-6
"""Tolerance of the cuts."""
SLAB_ASPECT = 0.5
"""A slab is not thinner than this share of the second longest side of the mesh."""


def parts_from_urdf(text: str, links: Sequence[str] = ()) -> list[RobotPart]:
    """The links with collision geometry.

    Args:
        text: the URDF.
        links: names of the links to use; empty: all that have collision geometry.

    Raises:
        ValueError: the text is not a URDF, a link is missing or has no collision geometry, or a
            shape or mesh cannot be read.
        RuntimeError: a mesh is needed, and trimesh is not installed.
    """
    # A document type may define entities that grow without limit; URDFs have none.
    if '<!DOCTYPE' in text or '<!ENTITY' in text:
        raise ValueError('robot_description contains a document type, which a URDF does not have')
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise ValueError(f'robot_description is not XML: {error}') from error
    if root.tag != 'robot':
        raise ValueError(f'robot_description is not a URDF: its root is <{root.tag}>')
    parts = {}
    for link in root.findall('link'):  # the direct children; <gazebo> may contain links of SDF
        name = link.get('name', '')
        if links and name not in links:
            continue
        if not name:
            raise ValueError('robot_description contains a <link> without a name')
        boxes = [_shape(collision, name) for collision in link.findall('collision')]
        if boxes:
            parts[name] = RobotPart(name, RoundedBoxes.joined(boxes))
    if missing := [name for name in links if name not in parts]:
        raise ValueError(
            f'robot_description has no link {", ".join(missing)} with collision geometry'
        )
    if not parts:
        raise ValueError('robot_description has no link with collision geometry')
    return list(parts.values())


def _shape(collision: ET.Element, link: str) -> RoundedBoxes:
    """The shape of a <collision> in the frame of its link."""
    geometry = collision.find('geometry')
    shapes = [] if geometry is None else list(geometry)
    if len(shapes) != 1:
        raise ValueError(f'a <collision> of link {link} has {len(shapes)} shapes, expected 1')
    (shape,) = shapes
    try:
        make = _MAKERS[shape.tag]
    except KeyError:
        raise ValueError(
            f'a <collision> of link {link} is a <{shape.tag}>; expected one of: '
            f'{", ".join(_MAKERS)}'
        ) from None
    try:
        return make(shape).moved(_origin(collision.find('origin')))
    except ValueError as error:
        raise ValueError(f'the <{shape.tag}> of link {link}: {error}') from error


def _sphere(shape: ET.Element) -> RoundedBoxes:
    radius = _numbers(shape, 'radius', 1)
    return _box(np.zeros(3), float(radius[0]))


def _box_shape(shape: ET.Element) -> RoundedBoxes:
    return _box(_numbers(shape, 'size', 3) / 2, 0.0)


def _capsule(shape: ET.Element) -> RoundedBoxes:
    """`length` is that of the segment, without the round ends; the axis is z."""
    half = np.array([0, 0, _numbers(shape, 'length', 1)[0] / 2])
    return _box(half, float(_numbers(shape, 'radius', 1)[0]))


def _cylinder(shape: ET.Element) -> RoundedBoxes:
    """A capsule around a long cylinder, a box around a flat one; the axis is z."""
    radius, length = float(_numbers(shape, 'radius', 1)[0]), _numbers(shape, 'length', 1)[0]
    if length >= 2 * radius:
        return _box(np.array([0, 0, length / 2]), radius)
    return _box(np.array([radius, radius, length / 2]), 0.0)


def _mesh(shape: ET.Element) -> RoundedBoxes:
    """Boxes around the slabs of a mesh, cut across its longest side."""
    mesh = _load_mesh(shape.get('filename', ''))
    mesh.apply_scale(_numbers(shape, 'scale', 3) if shape.get('scale') else np.ones(3))
    if not len(mesh.vertices) or not np.isfinite(mesh.vertices).all():
        raise ValueError('the mesh is empty, or contains a number that is not finite')
    to_box, sizes = _oriented_box(mesh)
    mesh.apply_transform(to_box)
    longest, second = np.argsort(sizes)[::-1][:2]
    slab_m = max(SLAB_ASPECT * sizes[second], sizes[longest] / MAX_SLABS, SMALLEST_M)
    count = max(round(sizes[longest] / slab_m), 1)
    cuts = np.linspace(-sizes[longest] / 2, sizes[longest] / 2, count + 1)
    lows, highs = _slab_bounds(
        np.asarray(mesh.vertices), np.asarray(mesh.edges_unique), longest, cuts
    )
    boxes = RoundedBoxes(
        (lows + highs) / 2,
        np.repeat(np.eye(3)[None], len(lows), axis=0),
        np.maximum(highs - lows, 0) / 2,
        np.zeros(len(lows)),
    )
    return boxes.moved(np.linalg.inv(to_box))


def _oriented_box(mesh: Any) -> tuple[np.ndarray, np.ndarray]:
    """The transform (4, 4) into the frame of a small box around a mesh, and its sizes (3,)."""
    import trimesh

    vertices = np.asarray(mesh.vertices)
    to_box = np.eye(4)
    try:
        some = vertices[:: len(vertices) // MOST_BOX_POINTS + 1]
        to_box[:3, :3] = trimesh.bounds.oriented_bounds(some)[0][:3, :3]
    except Exception:  # SciPy's hull rejects flat meshes with an error of its own
        pass
    turned = vertices @ to_box[:3, :3].T
    low, high = turned.min(axis=0), turned.max(axis=0)
    to_box[:3, 3] = -(low + high) / 2
    return to_box, high - low


def _slab_bounds(
    vertices: np.ndarray, edges: np.ndarray, axis: int, cuts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds, two times (K, 3), of the K slabs of a mesh that contain anything.

    Args:
        vertices: (V, 3) metres.
        edges: (E, 2) vertex indices.
        axis: the slabs are cut across this axis.
        cuts: (S + 1,) their limits, ascending.
    """
    starts, ends = vertices[edges].transpose(1, 0, 2)
    along = ends[:, axis] - starts[:, axis]
    points = [vertices]
    for cut in cuts:  # the points where the edges cross
        with np.errstate(divide='ignore', invalid='ignore'):
            share = (cut - starts[:, axis]) / along
        crosses = (share > 0) & (share < 1)
        crossing = starts[crosses] + share[crosses, None] * (ends - starts)[crosses]
        crossing[:, axis] = cut
        points.append(crossing)
    all_points = np.concatenate(points)
    height = all_points[:, axis]
    slabs = [
        all_points[(height >= low - SMALLEST_M) & (height <= high + SMALLEST_M)]
        for low, high in zip(cuts, cuts[1:], strict=False)
    ]
    bounds = [(slab.min(axis=0), slab.max(axis=0)) for slab in slabs if len(slab)]
    return np.array([low for low, _ in bounds]), np.array([high for _, high in bounds])


def _load_mesh(uri: str) -> Any:
    """The mesh of a file.

    Raises:
        ValueError: the file does not exist, is too large, or cannot be read.
        RuntimeError: trimesh is not installed.
    """
    try:
        import trimesh
    except ImportError as error:
        raise RuntimeError(
            'the robot has meshes, and the package trimesh is not installed; pip install trimesh'
        ) from error
    path = _path(uri)
    try:
        if not path.is_file():
            raise ValueError(f'the mesh {uri} does not exist')
        num_bytes = path.stat().st_size
    except OSError as error:
        raise ValueError(f'the mesh {uri} cannot be read: {error}') from error
    if num_bytes > MOST_BYTES:
        raise ValueError(
            f'the mesh {uri} has {num_bytes / 1e6:.0f} MB, expected at most '
            f'{MOST_BYTES / 1e6:.0f}; use a mesh with fewer triangles for <collision>'
        )
    try:
        mesh: Any = trimesh.load(path, force='mesh')
        if mesh.units:  # COLLADA states the unit of its numbers
            mesh.convert_units('meters')
    except Exception as error:  # each format has errors of its own
        raise ValueError(f'the mesh {uri} cannot be read: {error}') from error
    return mesh


def _path(uri: str) -> Path:
    """The file of a package:// or file:// URI, or of a path."""
    parsed = urlparse(uri)
    if parsed.scheme == 'package':
        from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

        try:
            share = get_package_share_directory(parsed.netloc)
        except (PackageNotFoundError, ValueError) as error:
            raise ValueError(f'the package of the mesh {uri} is not installed here') from error
        return Path(share, unquote(parsed.path).lstrip('/'))
    if parsed.scheme in ('', 'file'):
        return Path(unquote(parsed.path))
    raise ValueError(f'the mesh {uri} is neither a file nor in a package')


def _box(half_sizes: np.ndarray, radius: float) -> RoundedBoxes:
    return RoundedBoxes(np.zeros((1, 3)), np.eye(3)[None], half_sizes[None], np.array([radius]))


def _origin(element: ET.Element | None) -> np.ndarray:
    """The transform (4, 4) of an <origin>; roll, pitch and yaw turn about fixed axes."""
    transform = np.eye(4)
    if element is None:
        return transform
    roll, pitch, yaw = _numbers(element, 'rpy', 3) if element.get('rpy') else np.zeros(3)
    (cr, cp, cy), (sr, sp, sy) = np.cos([roll, pitch, yaw]), np.sin([roll, pitch, yaw])
    transform[:3, :3] = [
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ]
    if element.get('xyz'):
        transform[:3, 3] = _numbers(element, 'xyz', 3)
    return transform


def _numbers(element: ET.Element, name: str, count: int) -> np.ndarray:
    """The numbers (count,) of an attribute."""
    try:
        numbers = np.array([float(word) for word in element.get(name, '').split()])
    except ValueError:
        numbers = np.zeros(0)
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise ValueError(f'{name} is {element.get(name)!r}, expected {count} finite numbers')
    return numbers


_MAKERS = {
    'sphere': _sphere,
    'box': _box_shape,
    'capsule': _capsule,
    'cylinder': _cylinder,
    'mesh': _mesh,
}
