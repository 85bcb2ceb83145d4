from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from fake_people import FakeRuntime

from decomr_core.base.structures import HumanMesh
from decomr_core.body_models import BodyModel
from decomr_core.drawing import (
    color_of_track,
    compose_iuv,
    draw_boxes,
    draw_meshes,
    far_to_near,
    mesh_in_image,
    nearest_faces,
)
from decomr_core.estimator import HumanMeshEstimator
from decomr_core.geometry.camera import intrinsics_from_fov
from decomr_core.geometry.rasterizer import rasterize
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap

INTRINSICS = intrinsics_from_fov(320, 240, 60)
IMAGE = np.full((240, 320, 3), 60, np.uint8)


@pytest.fixture(scope='module')
def topology(tiny_body: BodyModel, tiny_uv_map: UVMap) -> Topology:
    return Topology.from_body(tiny_body, tiny_uv_map)


@pytest.fixture(scope='module')
def people(topology: Topology) -> list[HumanMesh]:
    """A far person on the left, a near one over its right half; metric."""
    estimator = HumanMeshEstimator(FakeRuntime(topology, (0.9, 0.0, -0.1)))
    boxes = np.array([[60, 60, 120, 180], [90, 20, 190, 220]])
    meshes, _ = estimator.estimate(IMAGE, boxes, intrinsics=INTRINSICS)
    return [dataclasses.replace(mesh, track_id=index) for index, mesh in enumerate(meshes)]


def test_the_visible_faces_are_those_of_the_exact_rasterizer(
    people: list[HumanMesh], topology: Topology
) -> None:
    size = 160
    points = mesh_in_image(people[1])
    points[:, :2] = (points[:, :2] - (60, 40)) * 0.8
    shown = nearest_faces(points, topology.faces.T, size, size)
    crop = np.concatenate([(2 * points[:, :2] + 1) / size - 1, points[:, 2:]], axis=1)
    exact = rasterize(
        torch.from_numpy(crop[None].astype(np.float32)),
        torch.from_numpy(topology.faces),
        size,
        cull_backfaces=True,
    )
    expected = exact.face_index[0].numpy()
    assert (expected >= 0).mean() > 0.1
    assert (shown == expected).mean() > 0.995


def test_the_near_person_covers_the_far_one_in_any_order(
    people: list[HumanMesh], topology: Topology
) -> None:
    assert [mesh.track_id for mesh in far_to_near(people)] == [0, 1]
    both = draw_meshes(IMAGE, people, topology.faces, INTRINSICS, opacity=1.0)
    assert np.array_equal(
        both, draw_meshes(IMAGE, people[::-1], topology.faces, INTRINSICS, opacity=1.0)
    )
    near = draw_meshes(IMAGE, people[1:], topology.faces, INTRINSICS, opacity=1.0)
    drawn = (near != IMAGE).any(-1)
    assert drawn.sum() > 2000
    assert np.array_equal(both[drawn], near[drawn])
    assert (both != near).any(), 'the far person shows beside the near one'


def test_perspective_and_weak_images_of_a_far_person_cover_the_same_pixels(
    topology: Topology,
) -> None:
    telephoto = intrinsics_from_fov(320, 240, 5)
    estimator = HumanMeshEstimator(FakeRuntime(topology, (0.9, 0.0, -0.1)))
    people, _ = estimator.estimate(IMAGE, np.array([[60, 60, 120, 180]]), intrinsics=telephoto)
    masks = [
        (draw_meshes(IMAGE, people, topology.faces, matrix) != IMAGE).any(-1)
        for matrix in (telephoto, None)
    ]
    assert masks[0].sum() > 1000
    assert (masks[0] & masks[1]).sum() > 0.9 * (masks[0] | masks[1]).sum()


def test_a_mesh_beyond_the_image_leaves_it_unchanged(
    people: list[HumanMesh], topology: Topology
) -> None:
    away = dataclasses.replace(people[0], crop_center=np.array([-900.0, 50.0]))
    assert np.array_equal(draw_meshes(IMAGE, [away], topology.faces), IMAGE)
    assert not compose_iuv([away], 240, 320).any()


def test_a_mesh_larger_than_the_image_fills_it(
    people: list[HumanMesh], topology: Topology
) -> None:
    huge = dataclasses.replace(people[0], crop_side=40000.0, crop_center=np.array([160, 4000.0]))
    drawn = draw_meshes(IMAGE, [huge], topology.faces)
    assert (drawn != IMAGE).any(-1).mean() > 0.9


def test_the_arguments_are_not_modified(people: list[HumanMesh], topology: Topology) -> None:
    draw_boxes(draw_meshes(IMAGE, people, topology.faces), people)
    draw_boxes(IMAGE, people)
    assert (IMAGE == 60).all()


def test_the_iuv_image_shows_the_crop_where_the_crop_was(people: list[HumanMesh]) -> None:
    mesh = people[0]
    iuv = np.zeros((3, 16, 16), np.float32)
    iuv[0, 4:12, 6:10], iuv[1], iuv[2] = 0.8, 0.25, 0.5
    image = compose_iuv([dataclasses.replace(mesh, iuv=iuv)], 240, 320, '32FC3')
    assert image.shape == (240, 320, 3) and image.dtype == np.float32
    rows, columns = np.nonzero(image[..., 0])
    low, step = mesh.crop_center - mesh.crop_side / 2, mesh.crop_side / 16
    edges = np.array([low + np.array([6, 4]) * step, low + np.array([10, 12]) * step]) - 0.5
    seen = np.array([[columns.min(), rows.min()], [columns.max() + 1, rows.max() + 1]]) - 0.5
    assert np.abs(seen - edges).max() < step / 2
    middle = image[int(mesh.crop_center[1]), int(mesh.crop_center[0])]
    assert middle == pytest.approx([0.8, 0.25, 0.5], abs=1e-3)
    inside = image[..., 0] > 0
    assert np.allclose(image[inside][:, 1:], (0.25, 0.5), atol=1e-3), 'no background leaks in'
    assert (image[~inside] == 0).all()


def test_both_encodings_of_the_iuv_image_agree(people: list[HumanMesh]) -> None:
    exact, coarse = (compose_iuv(people, 240, 320, name) for name in ('32FC3', 'rgb8'))
    assert coarse.dtype == np.uint8
    assert np.abs(exact * 255 - coarse).max() <= 0.51


def test_the_nearest_person_wins_in_the_iuv_image(people: list[HumanMesh]) -> None:
    ones = [
        dataclasses.replace(mesh, iuv=np.full((3, 16, 16), value, np.float32))
        for mesh, value in zip(people, (0.6, 0.9), strict=True)
    ]
    image = compose_iuv(ones, 240, 320, '32FC3')
    near = people[1]
    x, y = near.crop_center.astype(int)
    assert image[y, x, 0] == pytest.approx(0.9, abs=1e-3)
    assert np.isclose(image[..., 0], 0.6, atol=1e-3).any()


def test_no_people_give_a_black_iuv_image_and_an_unknown_encoding_is_rejected() -> None:
    assert not compose_iuv([], 4, 5).any()
    with pytest.raises(ValueError, match='expected rgb8 or 32FC3'):
        compose_iuv([], 4, 5, 'mono8')


def test_boxes_are_drawn_in_the_colour_of_the_person(people: list[HumanMesh]) -> None:
    drawn = draw_boxes(IMAGE, people[:1])
    x, y = people[0].box[:2].round().astype(int)
    assert tuple(drawn[y + 40, x]) == color_of_track(0)
    assert len({color_of_track(index) for index in range(20)}) == 20
