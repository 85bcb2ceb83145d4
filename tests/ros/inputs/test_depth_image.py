from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from std_msgs.msg import Header

from decomr_core.base.structures import HumanMesh
from decomr_core.geometry.camera import project_weak_perspective
from decomr_ros.calibration.calibration import Calibration
from decomr_ros.inputs.depth_image import depth_from_message, place_by_depth
from decomr_ros.messages.bad_input import BadInput
from decomr_ros.messages.images import image_message
from tests.ros.conftest import make_mesh

K = np.array([[100.0, 0, 31.5], [0, 100, 31.5], [0, 0, 1]])
CALIBRATION = Calibration(64, 64, K)


def _flat_person() -> HumanMesh:
    """A flat body 3 m away with all vertices visible."""
    mesh = make_mesh(num_vertices=400)
    grid = np.stack(np.meshgrid(np.linspace(-0.6, 0.6, 20), np.linspace(-0.6, 0.6, 20)), axis=-1)
    root = np.append(grid.reshape(-1, 2), np.zeros((400, 1)), axis=1).astype(np.float32)
    return dataclasses.replace(
        mesh, vertices=root + mesh.translation.astype(np.float32), visibility=np.ones(400, bool)
    )


@pytest.mark.parametrize(
    ('encoding', 'kind', 'metre', 'size'),
    [
        ('16UC1', '<u2', 1000, 64),
        ('mono16', '<u2', 1000, 64),
        ('32FC1', '<f4', 1, 64),
        ('16UC1', '<u2', 1000, 128),
        ('32FC1', '<f4', 1, 32),
    ],
)
def test_a_mesh_moves_to_the_depth_in_every_encoding_and_size(
    encoding: str, kind: str, metre: int, size: int
) -> None:
    mesh = _flat_person()
    image = np.full((size, size), 9 * metre, kind)  # the wall is far away
    image_xy = project_weak_perspective(
        mesh.vertices - mesh.translation.astype(np.float32),
        mesh.weak_camera,
        mesh.crop_center,
        mesh.crop_side,
    )
    low, high = np.floor(image_xy.min(0)).astype(int), np.ceil(image_xy.max(0)).astype(int) + 1
    (x_min, y_min), (x_max, y_max) = low * size // 64, high * size // 64
    image[y_min:y_max, x_min:x_max] = 2 * metre
    message = image_message(Header(), image, encoding)
    placed, count = place_by_depth([mesh], depth_from_message(message, CALIBRATION))
    assert count == 1
    (person,) = placed
    np.testing.assert_allclose(person.translation, mesh.translation * 2 / 3, atol=1e-3)
    shift = person.translation - mesh.translation
    np.testing.assert_allclose(person.vertices, mesh.vertices + shift, atol=1e-5)
    np.testing.assert_allclose(person.joints, mesh.joints + shift, atol=1e-5)
    assert person.vertices.dtype == np.float32
    assert person.depth_change == pytest.approx(np.log(2 / 3), abs=1e-3)


def test_without_valid_depth_the_mesh_is_not_moved() -> None:
    mesh = _flat_person()
    depth = depth_from_message(
        image_message(Header(), np.zeros((64, 64), '<u2'), '16UC1'), CALIBRATION
    )
    placed, count = place_by_depth([mesh], depth)
    assert (placed, count) == ([mesh], 0)
    relative = dataclasses.replace(mesh, is_metric=False)
    full = depth_from_message(
        image_message(Header(), np.full((64, 64), 2000, '<u2'), '16UC1'), CALIBRATION
    )
    assert place_by_depth([relative], full) == ([relative], 0)


def test_a_depth_image_that_is_not_aligned_or_no_depth_is_rejected() -> None:
    wide = image_message(Header(), np.zeros((48, 96), '<u2'), '16UC1')
    with pytest.raises(BadInput, match='96x48 px, but the image has 64x64') as caught:
        depth_from_message(wide, CALIBRATION)
    assert caught.value.cause == 'depth'
    colour = image_message(Header(), np.zeros((64, 64, 3), np.uint8), 'rgb8')
    with pytest.raises(BadInput, match="depth: image encoding 'rgb8'") as caught:
        depth_from_message(colour, CALIBRATION)
    assert caught.value.cause == 'depth'


def test_depths_at_places_in_the_image_are_those_of_the_nearest_pixels() -> None:
    numbers = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32)
    depth = depth_from_message(image_message(Header(), numbers[..., None], '16UC1'), CALIBRATION)
    places = np.array([(0, 0), (2.4, 0), (0, 3.1), (63.4, 63.4), (-9, 5), (5, 80), (np.nan, 1)])
    expected = [np.nan, 0.001, 0.032, 1.023, np.nan, np.nan, np.nan]  # 0 is not measured
    np.testing.assert_allclose(depth.depths_at(places), expected)
    metres = np.full((64, 64), np.inf, np.float32)
    far = depth_from_message(image_message(Header(), metres[..., None], '32FC1'), CALIBRATION)
    assert (depth.encoding, far.encoding) == ('16UC1', '32FC1')
    assert np.isposinf(far.depths_at(places[:1])).all()
