"""Bodies fitted to 2D keypoints, and their weights in the losses.

SPIN distributes fits for images that have only 2D joints. The supplement of the DecoMR paper
trains with 2D keypoints only ("Ours-A": `PersonRecords.without_fits`) and with these fits,
weighted by their error ("Ours-B").

The error of a fit is the mean distance between the annotated LSP joints and the same joints of
the fitted body, in the best weak-perspective camera, over the longer side of the box around the
annotated ones. The weight of the fit in the losses is

    w = max(0, 1 - error / 0.1),

as in the official code: 1 for a perfect fit, 0 if the error is a tenth of the person's size or
more.
"""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from decomr_core.body_models import NUM_JOINTS, NUM_SHAPES
from decomr_core.body_models.joint_sets import NUM_LSP
from training.records.person_records import PersonRecords
from training.records.root_frame import root_frame_body, turned_poses
from training.targets.mesh_target import fit_camera

__all__ = ['fit_errors', 'fit_weights', 'read_fits', 'with_fit_errors']

WORST_ERROR = 0.1
"""Smallest error with weight 0, as a share of the person's size."""
MIN_JOINTS = 3
"""Number of annotated joints that the error of a fit needs."""
CHUNK = 64
NUM_POSE = 3 * NUM_JOINTS


def read_fits(path: str | Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reads SPIN's fits: .npy (N, 82) as `static_fits`, or .npz (`pose`, `betas`, `valid_fit`).

    Args:
        path: the file. In an .npy, a row of zeros or with non-finite numbers means no fit.

    Returns:
        pose (N, 24, 3) as in `PersonRecord` and shape (N, 10), float32, and whether there is a
        fit (N,) bool.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file has unexpected content.
    """
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            pose, shape = content[:, :NUM_POSE], content[:, NUM_POSE:]
            is_valid = np.all(np.isfinite(content), axis=1) & np.any(content, axis=1)
        else:
            with content:
                pose, shape = content['pose'], content['betas']
                is_valid = content['valid_fit'].astype(bool).reshape(-1)
        pose, shape = pose.astype(np.float32), shape.astype(np.float32)
        if pose.shape[1:] != (NUM_POSE,) or shape.shape != (len(pose), NUM_SHAPES):
            raise ValueError(f'shapes {pose.shape} and {shape.shape}')
    except (ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f'{path} has no fits ({error}); expected an .npy (N, 82), 72 numbers '
            'of pose and 10 of shape, or an .npz with pose, betas and valid_fit, '
            'as distributed with SPIN'
        ) from error
    pose = np.where(is_valid[:, None], pose, 0).reshape(-1, NUM_JOINTS, 3)
    return turned_poses(pose), shape, is_valid


def fit_weights(errors: np.ndarray) -> np.ndarray:
    """Weights (N,) float32 in [0, 1] of fits by their errors (N,); 1 for unknown errors (NaN)."""
    weights = np.clip(1 - np.asarray(errors, np.float64) / WORST_ERROR, 0, 1)
    return np.where(np.isnan(weights), 1, weights).astype(np.float32)


def with_fit_errors(
    records: PersonRecords, body: nn.Module, regressor: np.ndarray
) -> PersonRecords:
    """Computes the errors of all fits and returns the people with them.

    Args:
        records: N people.
        body: the SMPL body of the fits (neutral for SPIN's fits).
        regressor: (14, V) regressor of the LSP joints from vertices (`lsp_regressor`).

    Raises:
        ValueError: there are no 2D keypoints.
    """
    if records.keypoints_2d is None:
        raise ValueError(
            f'{records.name} has no 2D keypoints, which the errors of fits need; '
            'set trust to fully or never'
        )
    errors = np.full(len(records), np.nan, np.float32)
    if records.pose is None or records.shape is None:
        return replace(records, fit_errors=errors)
    fitted = np.flatnonzero(records.is_fit)
    for chunk in np.split(fitted, range(CHUNK, len(fitted), CHUNK)):
        if len(chunk):
            errors[chunk] = fit_errors(
                body,
                regressor,
                records.pose[chunk],
                records.shape[chunk],
                records.keypoints_2d[chunk],
            )
    return replace(records, fit_errors=errors)


@torch.no_grad()
def fit_errors(
    body: nn.Module,
    regressor: np.ndarray,
    pose: np.ndarray,
    shape: np.ndarray,
    keypoints_2d: np.ndarray,
) -> np.ndarray:
    """Errors of fitted bodies as a share of the person's size; see the module's docstring.

    Args:
        body: a body model.
        regressor: (14, V) regressor of the LSP joints from vertices.
        pose: (B, 24, 3) as in `PersonRecord`.
        shape: (B, 10).
        keypoints_2d: (B, 24, 3) x, y and confidence; any unit.

    Returns:
        (B,) float32; infinite if fewer than three LSP joints are annotated, 1 if no camera can
        be fitted.
    """
    device = next(body.buffers()).device
    poses, shapes, joints_from_vertices, annotated = (
        torch.as_tensor(array, dtype=torch.float32, device=device)
        for array in (pose, shape, regressor, keypoints_2d[:, :NUM_LSP])
    )
    vertices, _ = root_frame_body(body, poses, shapes)
    weights = (annotated[..., 2:] > 0).float()  # confidences are ignored
    fit = fit_camera(
        joints_from_vertices @ vertices, torch.cat([annotated[..., :2], weights], dim=-1)
    )
    is_enough = weights.sum((1, 2)) >= MIN_JOINTS
    return torch.where(is_enough, fit.errors, torch.inf).cpu().numpy()
