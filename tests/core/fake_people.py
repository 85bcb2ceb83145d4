"""A runtime without weights: it returns the upright body in T-pose for every crop."""

from __future__ import annotations

import numpy as np

from decomr_core.base.structures import NetworkOutput
from decomr_core.geometry.camera import project_perspective
from decomr_core.geometry.crop import crop_from_image_xy, square_crops
from decomr_core.uv.topology import Topology

CROP_SIZE = 64
IUV_SIZE = 16


class FakeRuntime:
    """Returns the same for every crop and counts the crops."""

    name, precision, crop_size = 'fake', 'f32', CROP_SIZE
    box_margin = None

    def __init__(self, topology: Topology, weak_camera: tuple[float, float, float]) -> None:
        self.topology = topology
        self.vertices = (topology.v_template * (1, -1, -1)).astype(np.float32)
        self.joints = self.vertices[::9][:24]
        self.weak_camera = np.array(weak_camera, np.float32)
        self.num_crops = 0

    def run(self, images: np.ndarray) -> NetworkOutput:
        self.num_crops += len(images)
        iuv = np.zeros((3, IUV_SIZE, IUV_SIZE), np.float32)
        iuv[:, 3:13, 6:10] = 0.75
        return NetworkOutput(
            *(
                np.repeat(np.asarray(value, np.float32)[None], len(images), 0)
                for value in (iuv, self.vertices, self.joints, self.weak_camera)
            )
        )


def fitted_weak_camera(
    points: np.ndarray, translation: np.ndarray, intrinsics: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The box of a body in an image, and the weak camera that fits it best in its crop.

    Args:
        points: (N, 3) metres, root frame.
        translation: (3,) metres.
        intrinsics: (3, 3) px.
    """
    image_xy = project_perspective(points + translation, intrinsics)
    box = np.concatenate([image_xy.min(0), image_xy.max(0)])
    centers, sides = square_crops(box[None])
    crop_xy = crop_from_image_xy(image_xy, centers[0], sides[0])
    body, seen = points[:, :2] - points[:, :2].mean(0), crop_xy - crop_xy.mean(0)
    scale = (body * seen).sum() / (body**2).sum()
    return box, np.array([scale, *(crop_xy.mean(0) / scale - points[:, :2].mean(0))])
