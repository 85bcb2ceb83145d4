"""Converts public poses to our convention, and bodies from the body frame to the root frame.

In public SMPL parameters of all data sets, the root rotation goes directly to the camera's axes (x
right, y down, z forward): upright people are rotated by about pi about x. In our convention, poses
stay in the frame of the body model (y up), and the posed body is rotated to the root frame
afterwards.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from decomr_core.body_models.frames import ROOT_FROM_BODY, in_root_frame
from training.records.rotations import axis_angle_from_matrix, matrix_from_axis_angle

__all__ = ['public_poses', 'root_frame_body', 'turned_poses']


def turned_poses(pose: np.ndarray, camera_from_pose: np.ndarray | None = None) -> np.ndarray:
    """Converts public poses to our convention.

    Args:
        pose: (..., 24, 3) axis-angle, radians.
        camera_from_pose: (3, 3) rotation to the camera's axes from those to which the root
            rotation of `pose` goes (for example the world's); None if they are the same.

    Returns:
        (..., 24, 3) poses for `root_frame_body`, with the bodies' orientation in the camera.
    """
    turn = ROOT_FROM_BODY.T if camera_from_pose is None else ROOT_FROM_BODY.T @ camera_from_pose
    turned = np.array(pose, np.result_type(pose, np.float32))
    first = matrix_from_axis_angle(np.asarray(pose[..., 0, :], np.float64))
    turned[..., 0, :] = axis_angle_from_matrix(turn @ first)
    return turned


def public_poses(pose: np.ndarray) -> np.ndarray:
    """Converts our poses (..., 24, 3) to public ones: the inverse of `turned_poses`."""
    return turned_poses(pose)  # a rotation by pi is its own inverse


def root_frame_body(body: nn.Module, pose: Tensor, shape: Tensor) -> tuple[Tensor, Tensor]:
    """Computes vertices and joints of our poses in the root frame, m.

    Args:
        body: a body model.
        pose: (B, 24, 3) axis-angle, radians.
        shape: (B, 10).

    Returns:
        vertices (B, V, 3) and joints (B, 24, 3).
    """
    vertices, joints = body(pose, shape)
    return in_root_frame(vertices), in_root_frame(joints)
