"""From the frames of public poses to ours, and from the body's frame to the root frame.

Public SMPL parameters, whatever the data set, turn the body straight to the camera's axes (x
right, y down, z forward): upright people are turned by about pi about x. Here poses leave the
body in its own frame (y up), as the body model has it, and the posed body is turned to the root
frame once.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from decomr_core.body_models.frames import ROOT_FROM_BODY, in_root_frame
from training.records.rotations import axis_angle_from_matrix, matrix_from_axis_angle

__all__ = ['public_poses', 'root_frame_body', 'turned_poses']


def turned_poses(pose: np.ndarray, camera_from_pose: np.ndarray | None = None) -> np.ndarray:
    """Our poses of bodies that public ones describe.

    Args:
        pose: (..., 24, 3) axis-angle, radians.
        camera_from_pose: (3, 3) rotation from the axes that these poses turn the body to (the
            world's) to the camera's; None where they are the camera's.

    Returns:
        (..., 24, 3): with `root_frame_body`, the same bodies, turned as the camera sees them.
    """
    turn = ROOT_FROM_BODY.T if camera_from_pose is None else ROOT_FROM_BODY.T @ camera_from_pose
    turned = np.array(pose, np.result_type(pose, np.float32))
    first = matrix_from_axis_angle(np.asarray(pose[..., 0, :], np.float64))
    turned[..., 0, :] = axis_angle_from_matrix(turn @ first)
    return turned


def public_poses(pose: np.ndarray) -> np.ndarray:
    """Public poses (..., 24, 3) of our poses: the inverse of `turned_poses`."""
    return turned_poses(pose)  # a turn by pi is its own inverse


def root_frame_body(body: nn.Module, pose: Tensor, shape: Tensor) -> tuple[Tensor, Tensor]:
    """Vertices and joints of our poses in the root frame, m.

    Args:
        body: a body model.
        pose: (B, 24, 3) axis-angle, radians.
        shape: (B, 10).

    Returns:
        vertices (B, V, 3) and joints (B, 24, 3).
    """
    vertices, joints = body(pose, shape)
    return in_root_frame(vertices), in_root_frame(joints)
