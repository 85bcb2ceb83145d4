"""The joints and segments of the evaluation."""

from __future__ import annotations

import numpy as np
import pytest

from decomr_core.body_models import JOINT_NAMES
from decomr_core.body_models.joint_sets import (
    ANNOTATED_JOINTS,
    EVALUATED_FROM_ANNOTATED,
    EVALUATED_JOINTS,
    H36M_JOINTS,
    annotated_regressor,
    evaluated_regressor,
    lsp_regressor,
)
from decomr_core.body_models.parts import SEGMENT_NAMES, SEGMENT_OF_PART, face_segments_from_parts


@pytest.fixture
def h36m(tiny_body) -> dict[str, np.ndarray]:
    """Rows of a regressor by name, each from the body's nearest joint of that name."""
    own = np.asarray(tiny_body.joint_regressor)
    stand_in = {'spine': 'spine2', 'jaw': 'neck'}
    return {name: own[JOINT_NAMES.index(stand_in.get(name, name))] for name in H36M_JOINTS}


def saved(rows, names, path):
    np.save(path, np.stack([rows[name] for name in names]))
    return path


def test_both_files_of_the_human36m_regressor_give_the_same_joints(tiny_body, h36m, tmp_path):
    usual = saved(h36m, H36M_JOINTS, tmp_path / 'usual.npy')
    corrected = saved(
        h36m,
        [*H36M_JOINTS[:1], *H36M_JOINTS[4:7], *H36M_JOINTS[1:4], *H36M_JOINTS[7:]],
        tmp_path / 'corrected.npy',
    )
    made = evaluated_regressor(tiny_body, usual)
    np.testing.assert_array_equal(made, evaluated_regressor(tiny_body, corrected))
    for row, name in zip(made, EVALUATED_JOINTS, strict=True):
        np.testing.assert_allclose(row, h36m[name], atol=1e-7)
    np.testing.assert_array_equal(lsp_regressor(tiny_body, usual), made[:14])


@pytest.mark.parametrize('with_file', [True, False])
def test_left_joints_lie_on_the_left(with_file, tiny_body, h36m, tmp_path):
    file = saved(h36m, H36M_JOINTS, tmp_path / 'file.npy') if with_file else None
    places = evaluated_regressor(tiny_body, file) @ tiny_body.data.v_template
    for name, place in zip(EVALUATED_JOINTS, places, strict=True):
        side = {'left': 1, 'right': -1}.get(name.partition('_')[0])
        assert side is None or place[0] * side > 0.03, name


def test_the_annotated_head_is_that_of_human36m():
    assert ANNOTATED_JOINTS[EVALUATED_FROM_ANNOTATED[13]] == 'head'
    assert EVALUATED_FROM_ANNOTATED == (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 18, 14, 16, 17)


def test_without_a_file_the_annotated_joints_stand_in(tiny_body):
    made = evaluated_regressor(tiny_body)
    annotated = annotated_regressor(tiny_body)[0]
    np.testing.assert_array_equal(made[:14], annotated[:14])
    np.testing.assert_array_equal(made[14:], annotated[[14, 16, 17]])
    np.testing.assert_allclose(made.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ('content', 'complaint'),
    [
        (np.zeros((17, 5)), r'holds \(17, 5\), expected \(17, 214\)'),
        (np.full((17, 214), np.nan), 'not finite'),
    ],
)
def test_a_regressor_of_another_body_is_rejected(content, complaint, tiny_body, tmp_path):
    np.save(tmp_path / 'other.npy', content)
    with pytest.raises(ValueError, match=complaint):
        evaluated_regressor(tiny_body, tmp_path / 'other.npy')


def test_segments_are_those_of_the_annotated_images():
    named = {name: SEGMENT_NAMES[SEGMENT_OF_PART[part]] for part, name in enumerate(JOINT_NAMES)}
    assert named['left_wrist'] == 'left_arm' and named['right_knee'] == 'right_leg'
    assert named['right_collar'] == named['pelvis'] == 'torso' and named['neck'] == 'head'
    assert sorted(set(SEGMENT_OF_PART)) == [1, 2, 3, 4, 5, 6]


def test_a_face_has_the_segment_of_most_of_its_corners():
    parts = np.array(
        [JOINT_NAMES.index(name) for name in ('head', 'pelvis', 'spine1', 'left_hip')]
    )
    faces = np.array([[0, 1, 2], [1, 0, 2], [0, 0, 1], [3, 0, 1]])
    segments = [SEGMENT_NAMES[index] for index in face_segments_from_parts(parts, faces)]
    assert segments == ['torso', 'torso', 'head', 'left_leg']


def test_segments_of_a_body_are_mirror_images(tiny_body):
    data = tiny_body.data
    segments = np.asarray(SEGMENT_OF_PART)[data.vertex_parts]
    swapped = np.array([0, 2, 1, 3, 5, 4, 6])
    np.testing.assert_array_equal(swapped[segments], segments[data.mirrored_vertices])
