"""What the pipeline has found in one image: everything that the outputs need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from decomr_core.estimation.uncertainty import PositionUncertainty, position_uncertainty

if TYPE_CHECKING:
    from std_msgs.msg import Header

    from decomr_core.base.structures import HumanMesh
    from decomr_core.people.velocity import PersonMotion
    from decomr_ros.inputs.depth_image import DepthImage

__all__ = ['FrameResult', 'people_by_id', 'placed_people']


@dataclass(frozen=True)
class FrameResult:
    """The people in one image.

    Attributes:
        header: stamp and frame of the image, which is the camera optical frame.
        image: (H, W, 3) uint8 RGB.
        meshes: the people, in the camera optical frame.
        intrinsics: (3, 3) px; None without a calibration.
        depth: the depth image of the same time; None: there is none.
        fixed_from_camera: (4, 4) pose of the camera in the frame `smoothing_frame`, metres; None:
            unknown.
        motions: velocities by track id. People whose velocity is unknown are missing, and all of
            them if `MeshPipeline.measures_motion` is False.
    """

    header: Header
    image: np.ndarray
    meshes: list[HumanMesh]
    intrinsics: np.ndarray | None = None
    depth: DepthImage | None = None
    fixed_from_camera: np.ndarray | None = None
    motions: Mapping[int, PersonMotion] = field(default_factory=dict)

    @cached_property
    def people(self) -> dict[int, HumanMesh]:
        """The people with a position, by id."""
        return placed_people(self.meshes)

    @cached_property
    def uncertainties(self) -> dict[int, PositionUncertainty]:
        """The uncertainties of `people`, by id; computed when they are first read."""
        height, width = self.image.shape[:2]
        return {
            track_id: position_uncertainty(mesh, (width, height))
            for track_id, mesh in self.people.items()
        }


def people_by_id(meshes: Sequence[HumanMesh]) -> dict[int, HumanMesh]:
    """The people by id, or by their index in the list if they are not tracked."""
    return {
        mesh.track_id if mesh.track_id >= 0 else index: mesh for index, mesh in enumerate(meshes)
    }


def placed_people(meshes: Sequence[HumanMesh]) -> dict[int, HumanMesh]:
    """The people with a position, by id; meshes that are not finite are left out."""
    return {
        track_id: mesh
        for track_id, mesh in people_by_id(meshes).items()
        if mesh.is_metric and _is_finite(mesh)
    }


def _is_finite(mesh: HumanMesh) -> bool:
    numbers = (
        mesh.vertices,
        mesh.translation,
        mesh.weak_camera,
        mesh.crop_center,
        mesh.crop_side,
        mesh.depth_change,
    )
    return all(np.isfinite(values).all() for values in numbers)
