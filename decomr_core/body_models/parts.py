"""Parts of the body surface: 24 parts (one per joint), 4 weight groups, 6 segments.

A vertex belongs to the part of the joint with the largest skinning weight. The groups define the
weights of the location map loss (paper section 3.4): torso, head, limbs and extremities. The
segments are those annotated by Unite the People in the images of LSP.
"""

from __future__ import annotations

import numpy as np

from decomr_core.body_models.joints import JOINT_NAMES, MIRRORED_JOINTS

__all__ = [
    'GROUP_NAMES',
    'GROUP_OF_PART',
    'SEGMENT_NAMES',
    'SEGMENT_OF_PART',
    'face_segments_from_parts',
    'vertex_groups_from_parts',
    'vertex_parts_from_weights',
]

GROUP_NAMES = ('torso', 'neck and head', 'arms and legs', 'hands and feet')

_GROUP_OF_JOINT = {
    'pelvis': 0,
    'spine1': 0,
    'spine2': 0,
    'spine3': 0,
    'collar': 0,
    'neck': 1,
    'head': 1,
    'hip': 2,
    'knee': 2,
    'shoulder': 2,
    'elbow': 2,
    'ankle': 3,
    'foot': 3,
    'wrist': 3,
    'hand': 3,
}

# The weight group of each of the 24 parts. A part is distal to its joint: the part of the left
# ankle is the left foot, which belongs to the extremities.
GROUP_OF_PART = tuple(_GROUP_OF_JOINT[name.rpartition('_')[2]] for name in JOINT_NAMES)

SEGMENT_NAMES = ('background', 'left_arm', 'right_arm', 'head', 'left_leg', 'right_leg', 'torso')
"""Indexed by the labels of the part segmentations of LSP; left is the person's left."""


def _segment_of_joint(name: str) -> str:
    side, _, joint = name.rpartition('_')
    if joint in ('shoulder', 'elbow', 'wrist', 'hand'):
        return f'{side}_arm'
    if joint in ('hip', 'knee', 'ankle', 'foot'):
        return f'{side}_leg'
    return 'head' if joint in ('neck', 'head') else 'torso'


SEGMENT_OF_PART = tuple(SEGMENT_NAMES.index(_segment_of_joint(name)) for name in JOINT_NAMES)
"""The segment of each of the 24 parts."""


def vertex_parts_from_weights(
    lbs_weights: np.ndarray, mirrored_vertices: np.ndarray
) -> np.ndarray:
    """The part of each vertex: the joint with the largest skinning weight.

    The result is exactly left-right symmetric: weights are averaged with their mirror images, and
    vertices on the mid-line get a central joint.

    Args:
        lbs_weights: (V, 24) skinning weights.
        mirrored_vertices: (V,) index of the vertex on the other side.

    Returns:
        (V,) int64 part of each vertex, 0 to 23.
    """
    joints = np.asarray(MIRRORED_JOINTS)
    weights = 0.5 * (lbs_weights + lbs_weights[mirrored_vertices][:, joints])
    on_mid_line = mirrored_vertices == np.arange(len(mirrored_vertices))
    is_sided = joints != np.arange(len(joints))
    weights[np.ix_(on_mid_line, is_sided)] = -1.0
    # Ties must be broken equally on both sides, so each pair is decided once.
    parts = weights.argmax(axis=1).astype(np.int64)
    second = mirrored_vertices < np.arange(len(mirrored_vertices))
    parts[second] = joints[parts[mirrored_vertices[second]]]
    return parts


def vertex_groups_from_parts(vertex_parts: np.ndarray) -> np.ndarray:
    """The weight group, an index into `GROUP_NAMES`, of each vertex.

    Args:
        vertex_parts: (V,) part of each vertex, 0 to 23.

    Returns:
        (V,) int64 group of each vertex, 0 to 3.
    """
    return np.asarray(GROUP_OF_PART, dtype=np.int64)[vertex_parts]


def face_segments_from_parts(vertex_parts: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The segment of each face, an index into `SEGMENT_NAMES`: the majority of its corners.

    Args:
        vertex_parts: (V,) part of each vertex, 0 to 23.
        faces: (F, 3).

    Returns:
        (F,) int64, 1 to 6; if all three corners differ, the first one's segment.
    """
    first, second, third = np.asarray(SEGMENT_OF_PART, np.int64)[vertex_parts][faces].T
    return np.where(second == third, second, first)
