"""Places meshes: makes a `HumanMesh` of the network's output for each crop.

The network predicts a mesh in the root frame and the weak-perspective camera of its crop. Placing
moves the mesh to the camera frame, if the camera is calibrated, and finds its visible vertices.
`base/structures.py` defines the frames and the shape letters.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from decomr_core.base.structures import Crops, HumanMesh, NetworkOutput
from decomr_core.geometry.camera import (
    body_translations,
    project_weak_perspective,
    weak_perspective_box,
)
from decomr_core.geometry.visibility import VisibilityTest
from decomr_core.people.track import ExpectedPeople
from decomr_core.uv.topology import Topology

__all__ = ['MeshPlacer', 'PlacedMesh', 'projected_joints']

logger = logging.getLogger(__name__)


class PlacedMesh(NamedTuple):
    """The mesh of one person and its bounding box in the image.

    Attributes:
        mesh: the mesh.
        mesh_box: x_min, y_min, x_max, y_max of the projected vertices, image px, not clipped.
            `mesh.box` is the box of the detection or of the track instead.
    """

    mesh: HumanMesh
    mesh_box: Sequence[float]


class MeshPlacer:
    """Places the meshes of a fixed topology."""

    def __init__(self, topology: Topology) -> None:
        """Prepares the visibility test.

        Args:
            topology: faces of the meshes.
        """
        self._visibility = VisibilityTest(topology.faces, len(topology.v_template))

    def place(
        self,
        people: ExpectedPeople,
        crops: Crops,
        output: NetworkOutput,
        image_size: tuple[int, int],
        intrinsics: np.ndarray | None,
    ) -> list[PlacedMesh | None]:
        """Places the meshes of one image.

        Args:
            people: B people.
            crops: their crops.
            output: the network's output for the crops, finite NumPy arrays.
            image_size: width and height, px.
            intrinsics: (3, 3) px; None: the meshes stay in the root frame (not `is_metric`).

        Returns:
            B meshes in the order of the people. None if the predicted weak-perspective scale is
            not positive: such a camera shows nobody.
        """
        translations = _translations(output, crops, intrinsics)
        placed: list[PlacedMesh | None] = []
        for index, scale in enumerate(output.camera[:, 0]):
            if scale > 0:
                translation = None if translations is None else translations[index]
                placed.append(
                    self._place_one(index, people, crops, output, image_size, translation)
                )
            else:
                logger.warning(
                    'a person is left out: the network predicts the scale %g, which is not '
                    'positive',
                    scale,
                )
                placed.append(None)
        return placed

    def _place_one(
        self,
        index: int,
        people: ExpectedPeople,
        crops: Crops,
        output: NetworkOutput,
        image_size: tuple[int, int],
        translation: np.ndarray | None,
    ) -> PlacedMesh:
        """Places the mesh of one person.

        Args:
            index: index of the person in the batch.
            people: the people of the batch.
            crops: their crops.
            output: the network's output for them.
            image_size: width and height, px.
            translation: (3,) float32 position of the root, metres, camera frame; None: unknown.
        """
        weak_camera = output.camera[index]
        center, side = crops.centers[index], float(crops.sides[index])
        vertices = output.vertices[index]
        # (3, V), root frame. NumPy is several times as fast on 3 long rows as on V short ones.
        coordinates = np.array(vertices.T, np.float32, order='C')
        visibility = self._visibility.of_coordinates(coordinates)
        box = weak_perspective_box(coordinates, weak_camera, center, side)
        if not _is_box_inside(box, image_size):  # few meshes, so the others need no projection
            image_xy = project_weak_perspective(vertices, weak_camera, center, side)
            visibility &= _are_inside(image_xy, image_size)
        is_metric = translation is not None
        if translation is None:
            translation = np.zeros(3, np.float32)
        else:
            vertices = _points_from_coordinates(coordinates + translation[:, None])
        mesh = HumanMesh(
            track_id=int(people.track_ids[index]),
            score=float(people.scores[index]),
            box=people.boxes[index],
            vertices=vertices,
            joints=output.joints[index] + translation,
            translation=translation,
            is_metric=is_metric,
            visibility=visibility,
            weak_camera=weak_camera,
            crop_center=center,
            crop_side=side,
            iuv=output.iuv[index],
        )
        return PlacedMesh(mesh, box)


def projected_joints(meshes: Sequence[HumanMesh | None]) -> np.ndarray:
    """Projects the joints of meshes into the image.

    Args:
        meshes: B meshes; None where a person has none.

    Returns:
        (B, J, 2) image px; zeros where there is no mesh.
    """
    num_joints = next((len(mesh.joints) for mesh in meshes if mesh is not None), 0)
    points = np.zeros((len(meshes), num_joints, 2), np.float32)
    for index, mesh in enumerate(meshes):
        if mesh is not None:
            root_joints = mesh.joints - mesh.translation  # back to the root frame
            points[index] = project_weak_perspective(
                root_joints, mesh.weak_camera, mesh.crop_center, mesh.crop_side
            )
    return points


def _translations(
    output: NetworkOutput, crops: Crops, intrinsics: np.ndarray | None
) -> np.ndarray | None:
    """Positions of the roots, (B, 3) float32 metres, camera frame; None without intrinsics.

    A row is meaningless where the predicted weak-perspective scale is not positive.
    """
    if intrinsics is None:
        return None
    cameras = np.where(output.camera[:, :1] > 0, output.camera, np.array((1, 0, 0), np.float32))
    return body_translations(
        output.vertices, output.joints, cameras, crops.centers, crops.sides, intrinsics
    ).astype(np.float32)


def _points_from_coordinates(coordinates: np.ndarray) -> np.ndarray:
    """Transposes (3, V) float32 to contiguous (V, 3), by OpenCV, which is faster than NumPy."""
    return cv2.merge(list(coordinates)).reshape(-1, 3)


def _is_box_inside(box: Sequence[float], image_size: tuple[int, int]) -> bool:
    """Whether a box lies inside the image, whose edges are half a pixel outside pixel centres."""
    width, height = image_size
    x_min, y_min, x_max, y_max = box
    return min(x_min, y_min) >= -0.5 and x_max <= width - 0.5 and y_max <= height - 0.5


def _are_inside(image_xy: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Whether points (N, 2), image px, lie inside the image, (N,) bool; see `_is_box_inside`."""
    width, height = image_size
    x, y = image_xy.T
    return (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
