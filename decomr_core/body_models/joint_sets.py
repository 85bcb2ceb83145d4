"""Joint sets of annotated datasets, and their regressors from a body's vertices.

`ANNOTATED_JOINTS` is the order of annotations used by SPIN, GraphCMR and DecoMR: the 14 joints of
LSP, then ten more. SMPL's own 24 joints are in `joints.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from decomr_core.body_models.joints import JOINT_NAMES

if TYPE_CHECKING:
    from decomr_core.body_models.body_model import BodyModel

__all__ = [
    'ANNOTATED_JOINTS',
    'EVALUATED_FROM_ANNOTATED',
    'EVALUATED_JOINTS',
    'H36M_JOINTS',
    'MIRRORED_ANNOTATED_JOINTS',
    'NUM_ANNOTATED',
    'NUM_LSP',
    'PELVIS_OF_LSP',
    'annotated_regressor',
    'evaluated_regressor',
    'lsp_regressor',
]

ANNOTATED_JOINTS = (
    'right_ankle',
    'right_knee',
    'right_hip',
    'left_hip',
    'left_knee',
    'left_ankle',
    'right_wrist',
    'right_elbow',
    'right_shoulder',
    'left_shoulder',
    'left_elbow',
    'left_wrist',
    'neck',
    'head_top',
    'pelvis',
    'thorax',
    'spine',
    'jaw',
    'head',
    'nose',
    'left_eye',
    'right_eye',
    'left_ear',
    'right_ear',
)
NUM_ANNOTATED, NUM_LSP = len(ANNOTATED_JOINTS), 14
# The hips, whose mean is the pelvis of the LSP joints.
PELVIS_OF_LSP = (2, 3)
# Rows of the Human3.6M joint regressor (17, 6890) for SMPL (`J_regressor_h36m.npy`), with the
# left leg first.
H36M_JOINTS = (
    'pelvis',
    'left_hip',
    'left_knee',
    'left_ankle',
    'right_hip',
    'right_knee',
    'right_ankle',
    'spine',
    'neck',
    'jaw',
    'head',
    'left_shoulder',
    'left_elbow',
    'left_wrist',
    'right_shoulder',
    'right_elbow',
    'right_wrist',
)
# Joints of the 3D errors: the 14 joints of LSP, and three more for MPI-INF-3DHP. The last of the
# 14 is the head of Human3.6M, whose annotations have it in place of LSP's head top.
EVALUATED_JOINTS = (*ANNOTATED_JOINTS[: NUM_LSP - 1], 'head', 'pelvis', 'spine', 'jaw')
EVALUATED_FROM_ANNOTATED = tuple(ANNOTATED_JOINTS.index(name) for name in EVALUATED_JOINTS)
# The nearest SMPL joints of annotated joints with another name.
_SMPL_NAMES = {'thorax': 'spine3', 'spine': 'spine2', 'jaw': 'neck'}


def _mirrored_name(name: str) -> str:
    side, _, rest = name.partition('_')
    return {'left': f'right_{rest}', 'right': f'left_{rest}'}.get(side, name)


MIRRORED_ANNOTATED_JOINTS = tuple(
    ANNOTATED_JOINTS.index(_mirrored_name(name)) for name in ANNOTATED_JOINTS
)


def annotated_regressor(body: BodyModel) -> tuple[np.ndarray, np.ndarray]:
    """Regressor of `ANNOTATED_JOINTS` from vertices.

    The head top is the highest vertex of the template, and the nose is the foremost head vertex
    on the mid-line. Joints of the skeleton come from SMPL's regressor. They approximate the
    annotators' joints: hips and shoulders differ by a few centimetres.

    Args:
        body: the body.

    Returns:
        (24, V) float32 regressor, and (24,) bool, False for eyes and ears, for which there is no
        rule (rows of zeros).
    """
    template = np.asarray(body.v_template)
    own = np.asarray(body.joint_regressor)
    regressor = np.zeros((NUM_ANNOTATED, len(template)), np.float32)
    is_known = np.ones(NUM_ANNOTATED, bool)
    for row, name in enumerate(ANNOTATED_JOINTS):
        smpl_name = _SMPL_NAMES.get(name, name)
        if name == 'head_top':
            _add_with_mirrored(regressor[row], body, int(template[:, 1].argmax()))
        elif name == 'nose':
            _add_with_mirrored(regressor[row], body, _nose(body, template))
        elif smpl_name in JOINT_NAMES:
            regressor[row] = own[JOINT_NAMES.index(smpl_name)]
        else:
            is_known[row] = False
    return regressor, is_known


def _add_with_mirrored(row: np.ndarray, body: BodyModel, vertex: int) -> None:
    """Adds the midpoint of a vertex and its mirrored vertex to a row (V,), in place."""
    row[vertex] += 0.5
    row[body.data.mirrored_vertices[vertex]] += 0.5


def evaluated_regressor(body: BodyModel, file: str | Path | None = None) -> np.ndarray:
    """Regressor of `EVALUATED_JOINTS` from vertices.

    Args:
        body: the body.
        file: the Human3.6M regressor (17, V) for SMPL as .npy (`J_regressor_h36m.npy`). A
            corrected version with the right leg first also exists; it is recognised on the
            template. None takes `annotated_regressor`, with the head top as the head.

    Returns:
        (17, V) float32.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a regressor for this body.
    """
    if file is None:
        approximate = [*range(NUM_LSP), *EVALUATED_FROM_ANNOTATED[NUM_LSP:]]
        return annotated_regressor(body)[0][approximate]
    template = np.asarray(body.v_template)
    shape = (len(H36M_JOINTS), len(template))
    try:
        regressor = np.load(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(
            f'{file} is not an array of numbers ({error}); expected the Human3.6M '
            f'joint regressor {shape} as .npy'
        ) from error
    if getattr(regressor, 'shape', None) != shape:
        raise ValueError(
            f'{file} holds {getattr(regressor, "shape", "several arrays")}, expected '
            f"{shape}: a Human3.6M joint regressor for the body '{body.name}'"
        )
    if not np.isfinite(regressor).all():
        raise ValueError(f'{file} holds numbers that are not finite; download it again')
    names = list(H36M_JOINTS)
    left_hip, right_hip = (
        regressor[names.index(f'{side}_hip')] @ template[:, 0] for side in ('left', 'right')
    )
    if left_hip < right_hip:  # the template's left is at +x
        names[1:7] = [*names[4:7], *names[1:4]]
    return regressor[[names.index(name) for name in EVALUATED_JOINTS]].astype(np.float32)


def lsp_regressor(body: BodyModel, file: str | Path | None = None) -> np.ndarray:
    """Regressor of the 14 LSP joints from vertices, as evaluated in papers.

    Args:
        body: the body.
        file: the Human3.6M regressor, see `evaluated_regressor`.

    Returns:
        (14, V) float32.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a regressor for this body.
    """
    return evaluated_regressor(body, file)[:NUM_LSP]


def _nose(body: BodyModel, template: np.ndarray) -> int:
    is_head = np.asarray(body.vertex_parts) == JOINT_NAMES.index('head')
    is_middle = np.asarray(body.mirrored_vertices) == np.arange(len(template))
    depth = np.where(is_head & is_middle, template[:, 2], -np.inf)
    return int(depth.argmax() if np.isfinite(depth).any() else template[:, 2].argmax())
