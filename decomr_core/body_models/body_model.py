"""BodyModel: pose and shape to vertices and joints, by linear blend skinning as in SMPL.

Source: Loper et al., SMPL (2015), with the functions of `smplx.lbs`. All points are in the body
frame: metres, y up, facing +z, x to the person's left, origin near the pelvis.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from smplx.lbs import batch_rigid_transform, batch_rodrigues
from torch import nn

from decomr_core.base.assets import find_body
from decomr_core.base.structures import check_shape
from decomr_core.body_models.body_data import NUM_SHAPES, BodyData
from decomr_core.body_models.joints import NUM_JOINTS

__all__ = ['BodyModel', 'load_body', 'skin']


class BodyModel(nn.Module):
    """A posable body; all arrays are non-persistent buffers.

    Attributes:
        data: the same arrays in NumPy, with the name.
        v_template: (V, 3) mean body in T-pose, metres.
        faces: (F, 3) int64 triangles, counter-clockwise from outside.
        shapedirs: (V, 3, 10) displacement per shape component, metres.
        posedirs: (V, 3, 207) pose blend shapes, metres; None for a body without them.
        joint_regressor: (24, V) joints as weighted means of vertices.
        parents: (24,) int64 parent of each joint, -1 for the root.
        lbs_weights: (V, 24) skinning weights.
        mirrored_vertices: (V,) int64 vertex on the other side.
        vertex_parts: (V,) int64 part of each vertex, 0 to 23, one per joint.
        vertex_groups: (V,) int64 weight group: 0 torso, 1 neck and head, 2 arms and legs,
            3 hands and feet.
    """

    v_template: torch.Tensor
    faces: torch.Tensor
    shapedirs: torch.Tensor
    posedirs: torch.Tensor | None
    joint_regressor: torch.Tensor
    parents: torch.Tensor
    lbs_weights: torch.Tensor
    mirrored_vertices: torch.Tensor
    vertex_parts: torch.Tensor
    vertex_groups: torch.Tensor
    _template_joints: torch.Tensor
    _joint_dirs: torch.Tensor
    _shape_matrix: torch.Tensor

    def __init__(self, data: BodyData) -> None:
        """Registers the arrays as buffers."""
        super().__init__()
        self.data = data
        for key in (
            'v_template',
            'faces',
            'shapedirs',
            'posedirs',
            'joint_regressor',
            'parents',
            'lbs_weights',
            'mirrored_vertices',
            'vertex_parts',
            'vertex_groups',
        ):
            array = getattr(data, key)
            buffer = None if array is None else torch.from_numpy(array.copy())
            self.register_buffer(key, buffer, persistent=False)
        # Joints are linear in the shape, so their shape directions are regressed only once.
        regressor = data.joint_regressor.astype(np.float64)
        joints = regressor @ data.v_template
        joint_dirs = np.einsum('jv,vcs->sjc', regressor, data.shapedirs)
        self._register('_template_joints', joints.reshape(1, -1))
        self._register('_joint_dirs', joint_dirs.reshape(NUM_SHAPES, -1))
        self._register('_shape_matrix', data.shapedirs.reshape(-1, NUM_SHAPES).T)

    @property
    def name(self) -> str:
        """The name of the body."""
        return self.data.name

    @property
    def hash(self) -> str:
        """The sha256 of template and faces, hexadecimal."""
        return self.data.hash

    @property
    def num_vertices(self) -> int:
        """V, the number of vertices."""
        return len(self.v_template)

    @classmethod
    def load(cls, path: str | Path) -> BodyModel:
        """Loads a body from an npz file; see `BodyData.load`."""
        return cls(BodyData.load(path))

    def save(self, path: str | Path) -> None:
        """Writes the body as an npz of plain arrays; see `BodyData.save`."""
        self.data.save(path)

    def forward(
        self, pose: torch.Tensor, shape: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Poses and shapes the body; equals `smplx.lbs.lbs`.

        Args:
            pose: (B, 24, 3) rotation of each joint relative to its parent, axis-angle, radians;
                the first one rotates the whole body about its pelvis.
            shape: (B, 10) shape components, approximately standard normal over people.

        Returns:
            vertices (B, V, 3) and joints (B, 24, 3), metres, body frame.
        """
        check_shape('pose', pose, (None, NUM_JOINTS, 3))
        check_shape('shape', shape, (len(pose), NUM_SHAPES))
        vertices, joints = self.rest_body(shape)
        rotations, joints, transforms = self._move_joints(pose, joints)
        if self.posedirs is not None:
            features = (rotations[:, 1:] - torch.eye(3).to(rotations)).flatten(1)
            offsets = features @ self.posedirs.reshape(-1, features.shape[1]).T
            vertices = vertices + offsets.reshape(vertices.shape)
        return skin(vertices, self.lbs_weights, transforms), joints

    def joint_transforms(self, pose: torch.Tensor, shape: torch.Tensor) -> torch.Tensor:
        """The transforms (B, 24, 4, 4) of the joints from the T-pose to the pose.

        Args:
            pose: (B, 24, 3) axis-angle, radians.
            shape: (B, 10) shape components.
        """
        return self._move_joints(pose, self.rest_joints(shape))[2]

    def rest_body(self, shape: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The shaped body in T-pose.

        Args:
            shape: (B, 10) shape components.

        Returns:
            vertices (B, V, 3) and joints (B, 24, 3), metres, body frame.
        """
        offsets = (shape @ self._shape_matrix).reshape(len(shape), -1, 3)  # (B, V, 3)
        return self.v_template + offsets, self.rest_joints(shape)

    def rest_joints(self, shape: torch.Tensor) -> torch.Tensor:
        """The joints (B, 24, 3) in T-pose, metres, for shape components (B, 10)."""
        joints = self._template_joints + shape @ self._joint_dirs
        return joints.reshape(-1, NUM_JOINTS, 3)  # (B, J, 3)

    def joints_from_vertices(self, vertices: torch.Tensor) -> torch.Tensor:
        """The joints (B, 24, 3) of a mesh by the regressor, in the unit and frame of the input.

        Args:
            vertices: (B, V, 3).
        """
        return torch.einsum('jv,bvc->bjc', self.joint_regressor, vertices)

    def _move_joints(
        self, pose: torch.Tensor, joints: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rotations (B, 24, 3, 3), posed joints (B, 24, 3) and transforms (B, 24, 4, 4)."""
        rotations = batch_rodrigues(pose.reshape(-1, 3)).reshape(-1, NUM_JOINTS, 3, 3)
        return rotations, *batch_rigid_transform(rotations, joints, self.parents, dtype=pose.dtype)

    def _register(self, key: str, array: np.ndarray) -> None:
        buffer = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
        self.register_buffer(key, buffer, persistent=False)


def skin(vertices: torch.Tensor, weights: torch.Tensor, transforms: torch.Tensor) -> torch.Tensor:
    """Linear blend skinning: moves vertices by the weighted mean of the joints' transforms.

    Args:
        vertices: (B, V, 3) metres, T-pose.
        weights: (V, 24) skinning weights.
        transforms: (B, 24, 4, 4) from `BodyModel.joint_transforms`.

    Returns:
        (B, V, 3) metres, body frame.
    """
    affine = transforms[:, :, :3].reshape(-1, NUM_JOINTS, 12)  # rows of [R | t]
    blended = (weights @ affine).reshape(*vertices.shape[:2], 3, 4)  # (B, V, 3, 4)
    rotated = (blended[..., :3] @ vertices[..., None])[..., 0]  # (B, V, 3)
    return rotated + blended[..., 3]


def load_body(name_or_path: str | Path = 'builtin') -> BodyModel:
    """Loads the built-in body by name, or the body in an npz file by path.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file does not contain a usable body.
    """
    return BodyModel.load(find_body(name_or_path))
