"""The body model, the built-in body, and body files."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import smplx.lbs
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from decomr_core.body_models import (
    JOINT_NAMES,
    MIRRORED_JOINTS,
    NUM_JOINTS,
    NUM_SHAPES,
    PARENTS,
    BodyData,
    BodyModel,
    load_body,
)
from decomr_core.body_models.mirror import find_mirrored_vertices

FLIP = torch.tensor([-1.0, 1.0, 1.0])
# Float32 over chains of 24 transforms of metre-sized numbers.
TOLERANCE_M = 2e-6
# Poses of daily life: joint -> axis-angle in degrees.
ARMS_DOWN = {'left_shoulder': (0, 0, -75), 'right_shoulder': (0, 0, 75)}
NATURAL_POSES = [
    ARMS_DOWN,
    {**ARMS_DOWN, 'left_hip': (-30, 0, 0), 'right_hip': (25, 0, 0), 'right_knee': (40, 0, 0)},
    {
        **ARMS_DOWN,
        'left_hip': (-90, 0, 0),
        'right_hip': (-90, 0, 0),
        'left_knee': (90, 0, 0),
        'right_knee': (90, 0, 0),
    },
    {'left_shoulder': (0, -80, 0), 'right_shoulder': (0, 80, 0), 'left_elbow': (0, -90, 0)},
    {'left_shoulder': (0, 0, 70), 'right_shoulder': (0, 0, -70)},
    {'spine1': (30, 0, 0), 'spine2': (30, 0, 0), 'neck': (0, 30, 0), 'head': (0, 30, 0)},
]


@pytest.fixture(scope='module')
def builtin() -> BodyModel:
    """The body that ships with the package."""
    return load_body()


@pytest.fixture(params=['tiny', 'builtin'])
def body(request: pytest.FixtureRequest) -> BodyModel:
    """Each of the two bodies that tests may use."""
    return request.getfixturevalue('tiny_body' if request.param == 'tiny' else 'builtin')


def random_inputs(seed: int, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """A pose (B, 24, 3) of up to about 60 degrees a joint, and a shape (B, 10)."""
    generator = torch.Generator().manual_seed(seed)
    return (
        0.4 * torch.randn(batch, NUM_JOINTS, 3, generator=generator),
        torch.randn(batch, NUM_SHAPES, generator=generator),
    )


def pose_from(angles: dict[str, tuple[float, ...]]) -> torch.Tensor:
    """(1, 24, 3) pose from degrees by joint name."""
    pose = torch.zeros(1, NUM_JOINTS, 3)
    for name, degrees in angles.items():
        pose[0, JOINT_NAMES.index(name)] = torch.deg2rad(torch.tensor(degrees).float())
    return pose


def edges_of(faces: np.ndarray) -> np.ndarray:
    """(3 F, 2) directed edges."""
    return np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])


def test_the_builtin_body_is_closed_and_of_genus_0(builtin: BodyModel) -> None:
    faces = builtin.data.faces
    edges = edges_of(faces)
    directed = {tuple(edge) for edge in edges.tolist()}
    assert len(directed) == len(edges)
    assert all((b, a) in directed for a, b in directed)
    assert (builtin.num_vertices, len(faces)) == (13348, 26692)
    assert builtin.num_vertices - len(edges) // 2 + len(faces) == 2
    assert len(np.unique(faces)) == builtin.num_vertices


def test_bodies_stand_upright_in_metres_face_forward_and_spread_their_arms(
    body: BodyModel,
) -> None:
    joints = dict(
        zip(JOINT_NAMES, body.joints_from_vertices(body.v_template[None])[0].numpy(), strict=True)
    )
    assert np.linalg.norm(joints['pelvis']) < 0.1
    assert joints['head'][1] > joints['pelvis'][1] + 0.4 > joints['left_ankle'][1] + 0.9
    assert joints['left_hand'][0] > joints['left_elbow'][0] > joints['left_shoulder'][0] > 0
    assert joints['right_hand'][0] < joints['right_elbow'][0] < joints['right_shoulder'][0] < 0
    assert abs(joints['left_hand'][1] - joints['left_shoulder'][1]) < 0.05
    assert joints['left_foot'][2] > joints['left_ankle'][2] + 0.02
    corners = body.v_template[body.faces]
    volume = (corners[:, 0] * torch.cross(corners[:, 1], corners[:, 2], dim=1)).sum() / 6
    assert 0.04 < volume < 0.2


def test_the_builtin_body_is_an_adult_over_its_whole_shape_space(builtin: BodyModel) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = torch.randn(100, NUM_SHAPES, generator=generator).clamp(-3, 3)
    shapes[50:] = 3 * torch.sign(shapes[50:])
    heights = _heights(builtin, shapes)
    assert heights.min() > 1.5
    assert heights.max() < 2.0


def test_the_first_shape_component_is_stature_and_the_others_are_not(builtin: BodyModel) -> None:
    heights = _heights(builtin, 3 * torch.eye(NUM_SHAPES)) - _heights(
        builtin, torch.zeros(1, NUM_SHAPES)
    )
    assert heights[0] == pytest.approx(3 * 0.075, abs=2e-3)
    assert heights[1:].abs().max() < 0.02
    waves = builtin.shapedirs.square().sum(dim=1).mean(dim=0).sqrt()
    assert (waves[1:].diff() < 0).all(), 'components must come in order of importance'
    assert waves.min() > 1e-4


def test_mirroring_is_exact(body: BodyModel) -> None:
    twin = body.mirrored_vertices
    joints = torch.tensor(MIRRORED_JOINTS)
    assert torch.equal(twin[twin], torch.arange(body.num_vertices))
    torch.testing.assert_close(body.v_template[twin] * FLIP, body.v_template, rtol=0, atol=1e-7)
    torch.testing.assert_close(
        body.shapedirs[twin] * FLIP[:, None], body.shapedirs, rtol=0, atol=1e-7
    )
    torch.testing.assert_close(
        body.lbs_weights[twin][:, joints], body.lbs_weights, rtol=0, atol=1e-6
    )
    torch.testing.assert_close(
        body.joint_regressor[joints][:, twin], body.joint_regressor, rtol=0, atol=1e-6
    )
    assert torch.equal(joints[body.vertex_parts], body.vertex_parts[twin])
    faces = {tuple(sorted(face)) for face in body.faces.tolist()}
    assert {tuple(sorted(face)) for face in twin[body.faces].tolist()} == faces


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_mirrored_pose_gives_the_mirrored_mesh(tiny_body: BodyModel, seed: int) -> None:
    pose, shape = random_inputs(seed)
    # A mirrored rotation turns the other way about y and z.
    mirrored_pose = pose[:, list(MIRRORED_JOINTS)] * -FLIP
    vertices, joints = tiny_body(pose, shape)
    mirrored_vertices, mirrored_joints = tiny_body(mirrored_pose, shape)
    twin = tiny_body.mirrored_vertices
    torch.testing.assert_close(mirrored_vertices[:, twin] * FLIP, vertices, rtol=0, atol=1e-5)
    torch.testing.assert_close(
        mirrored_joints[:, list(MIRRORED_JOINTS)] * FLIP, joints, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize('with_posedirs', [False, True])
def test_posing_equals_smplx(
    tiny_body: BodyModel, builtin: BodyModel, with_posedirs: bool
) -> None:
    model = builtin
    posedirs = torch.zeros(207, 3 * model.num_vertices)
    if with_posedirs:
        offsets = 0.01 * np.random.default_rng(0).normal(size=(tiny_body.num_vertices, 3, 207))
        model = BodyModel(replace_data(tiny_body.data, posedirs=offsets))
        posedirs = model.posedirs.reshape(-1, 207).T
    pose, shape = random_inputs(1)
    vertices, joints = model(pose, shape)
    wanted_vertices, wanted_joints = smplx.lbs.lbs(
        shape,
        pose,
        model.v_template[None],
        model.shapedirs,
        posedirs,
        model.joint_regressor,
        model.parents,
        model.lbs_weights,
    )
    torch.testing.assert_close(vertices, wanted_vertices, rtol=0, atol=TOLERANCE_M)
    torch.testing.assert_close(joints, wanted_joints, rtol=0, atol=TOLERANCE_M)


def test_a_batch_of_three_equals_three_singles(builtin: BodyModel) -> None:
    pose, shape = random_inputs(2, batch=3)
    vertices, joints = builtin(pose, shape)
    for n in range(3):
        one_vertices, one_joints = builtin(pose[n : n + 1], shape[n : n + 1])
        torch.testing.assert_close(vertices[n : n + 1], one_vertices, rtol=0, atol=TOLERANCE_M)
        torch.testing.assert_close(joints[n : n + 1], one_joints, rtol=0, atol=TOLERANCE_M)


def test_gradients_of_pose_and_shape_are_right(tiny_body: BodyModel) -> None:
    model = copy.deepcopy(tiny_body).double()
    pose, shape = (value.double().requires_grad_() for value in random_inputs(3, batch=1))
    assert torch.autograd.gradcheck(model, (pose, shape), fast_mode=True)


def test_joints_of_the_rest_body_are_those_of_its_vertices(body: BodyModel) -> None:
    shape = 2 * random_inputs(4, batch=20)[1]
    vertices, joints = body.rest_body(shape)
    torch.testing.assert_close(
        joints, body.joints_from_vertices(vertices), rtol=0, atol=TOLERANCE_M
    )
    assert body.joint_regressor.min() >= 0
    torch.testing.assert_close(body.joint_regressor.sum(1), torch.ones(NUM_JOINTS))


def test_regressed_joints_turn_with_the_whole_body(builtin: BodyModel) -> None:
    pose = pose_from({'pelvis': (20, 70, -10)})
    vertices, joints = builtin(pose, 2 * torch.ones(1, NUM_SHAPES))
    assert (builtin.joints_from_vertices(vertices) - joints).norm(dim=-1).max() < 2e-3


def test_the_root_turns_the_body_about_its_pelvis(body: BodyModel) -> None:
    still, joints = body(pose_from({}), torch.zeros(1, NUM_SHAPES))
    turned, turned_joints = body(pose_from({'pelvis': (0, 90, 0)}), torch.zeros(1, NUM_SHAPES))
    torch.testing.assert_close(turned_joints[:, 0], joints[:, 0])
    arms = still - joints[:, :1]
    wanted = torch.stack([arms[..., 2], arms[..., 1], -arms[..., 0]], dim=-1) + joints[:, :1]
    torch.testing.assert_close(turned, wanted, rtol=0, atol=1e-5)


def test_an_elbow_moves_the_arm_beyond_it_and_nothing_else(builtin: BodyModel) -> None:
    shape = torch.zeros(1, NUM_SHAPES)
    still, joints = builtin(pose_from({}), shape)
    bent, _ = builtin(pose_from({'left_elbow': (0, -90, 0)}), shape)
    moved = (bent - still)[0].norm(dim=-1)
    is_arm = still[0, :, 0] > joints[0, JOINT_NAMES.index('left_elbow'), 0] - 0.15
    assert moved[~is_arm].max() < 1e-5
    is_hand = builtin.vertex_parts == JOINT_NAMES.index('left_hand')
    assert moved[is_hand].min() > 0.3
    assert bent[0, is_hand, 2].min() > 0.2, 'the left hand must come to the front'


@pytest.mark.parametrize('angles', NATURAL_POSES)
def test_skinning_does_not_tear(builtin: BodyModel, angles: dict) -> None:
    shape = torch.zeros(1, NUM_SHAPES)
    edges = edges_of(builtin.data.faces)
    rest, posed = (
        builtin(pose, shape)[0][0].numpy() for pose in (pose_from({}), pose_from(angles))
    )
    before, after = (
        np.linalg.norm(np.diff(mesh[edges], axis=1), axis=-1) for mesh in (rest, posed)
    )
    # Skin may stretch over bent joints; an edge torn open grows by centimetres.
    assert (after - before).max() < 0.04
    assert after.sum() / before.sum() == pytest.approx(1.0, abs=0.03)


def test_every_part_and_every_group_has_vertices(body: BodyModel) -> None:
    assert (torch.bincount(body.vertex_parts, minlength=NUM_JOINTS) > 0).all()
    for name, group in (
        ('spine2', 0),
        ('head', 1),
        ('right_knee', 2),
        ('left_hand', 3),
        ('right_ankle', 3),
        ('left_shoulder', 2),
        ('right_collar', 0),
    ):
        part = body.vertex_parts == JOINT_NAMES.index(name)
        assert (body.vertex_groups[part] == group).all(), name


def test_a_body_survives_its_file(tiny_body: BodyModel, tmp_path: Path) -> None:
    path = tmp_path / 'tiny.npz'
    tiny_body.save(path)
    loaded = load_body(path)
    assert (loaded.name, loaded.hash) == ('tiny', tiny_body.hash)
    pose, shape = random_inputs(5)
    assert torch.equal(loaded(pose, shape)[0], tiny_body(pose, shape)[0])
    assert torch.equal(loaded.mirrored_vertices, tiny_body.mirrored_vertices)
    assert loaded.posedirs is None


def test_a_file_with_the_official_smpl_names_opens(tiny_body: BodyModel, tmp_path: Path) -> None:
    data = tiny_body.data
    parents = data.parents.astype(np.uint32)
    assert parents[0] == 2**32 - 1
    more_shapes = np.concatenate([data.shapedirs, np.ones((data.v_template.shape[0], 3, 5))], 2)
    np.savez(
        tmp_path / 'SMPL_NEUTRAL.npz',
        v_template=data.v_template.astype(np.float64),
        f=data.faces.astype(np.uint32),
        shapedirs=more_shapes,
        posedirs=np.zeros((len(data.v_template), 3, 207)),
        J_regressor=data.joint_regressor,
        weights=data.lbs_weights,
        kintree_table=np.stack([parents, np.arange(NUM_JOINTS, dtype=np.uint32)]),
    )
    loaded = load_body(tmp_path / 'SMPL_NEUTRAL.npz')
    assert (loaded.name, loaded.hash) == ('SMPL_NEUTRAL', tiny_body.hash)
    assert loaded.parents.tolist() == list(PARENTS)
    pose, shape = random_inputs(6)
    torch.testing.assert_close(loaded(pose, shape)[0], tiny_body(pose, shape)[0])
    assert torch.equal(loaded.vertex_parts, tiny_body.vertex_parts)


def test_the_hash_depends_on_geometry_and_topology(tiny_body: BodyModel) -> None:
    data = tiny_body.data
    assert replace_data(data, v_template=1.001 * data.v_template).hash != data.hash
    assert replace_data(data, faces=np.roll(data.faces, 1, axis=0)).hash != data.hash
    assert replace_data(data, shapedirs=2 * data.shapedirs).hash == data.hash


def test_a_missing_body_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'smpl\.npz.*decomr body import FILE'):
        load_body(tmp_path / 'smpl.npz')


@pytest.mark.parametrize('share', [0.0, 0.5, 0.99])
def test_a_truncated_file_is_rejected(tiny_body: BodyModel, tmp_path: Path, share: float) -> None:
    path = tmp_path / 'cut.npz'
    tiny_body.save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r'cut\.npz is not a complete npz'):
        load_body(path)


def test_a_file_with_pickled_objects_is_rejected(tmp_path: Path) -> None:
    np.savez(tmp_path / 'objects.npz', v_template=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match='not a complete npz of plain arrays'):
        load_body(tmp_path / 'objects.npz')


def test_a_file_that_lacks_arrays_is_rejected_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / 'part.npz', v_template=np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"'part' lacks faces, shapedirs.*found: v_template"):
        load_body(tmp_path / 'part.npz')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda d: {'lbs_weights': d.lbs_weights[:, :20]}, r'lbs_weights has shape \(214, 20\)'),
        (lambda d: {'lbs_weights': 2 * d.lbs_weights}, r'rows of lbs_weights must sum to 1'),
        (lambda d: {'shapedirs': d.shapedirs[:, :, :4]}, r'shapedirs has shape \(214, 3, 4\)'),
        (lambda d: {'faces': d.faces + 1}, 'faces refer to vertices 1 to 214, but there are 214'),
        (lambda d: {'parents': np.r_[-1, np.arange(23)]}, 'has joint parents'),
        (lambda d: {'posedirs': np.zeros((214, 3, 9))}, r'posedirs has shape \(214, 3, 9\)'),
    ],
)
def test_arrays_that_fit_no_body_are_rejected(
    tiny_body: BodyModel, change: Callable[[BodyData], dict], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        replace_data(tiny_body.data, **change(tiny_body.data))


def test_a_pose_of_the_wrong_shape_is_rejected(tiny_body: BodyModel) -> None:
    with pytest.raises(ValueError, match=r'pose has shape \(2, 72\), expected \(any, 24, 3\)'):
        tiny_body(torch.zeros(2, 72), torch.zeros(2, NUM_SHAPES))
    with pytest.raises(ValueError, match=r'shape has shape \(1, 10\), expected \(2, 10\)'):
        tiny_body(torch.zeros(2, NUM_JOINTS, 3), torch.zeros(1, NUM_SHAPES))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_mirror_twins_are_found_however_the_vertices_are_ordered(
    tiny_body: BodyModel, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    data = tiny_body.data
    order = rng.permutation(len(data.v_template))
    place = np.argsort(order)
    # Off by more than nearest neighbours would forgive: one side is shifted up.
    vertices = data.v_template + 0.08 * data.v_template[:, :1] * [0, 1, 0]
    nearest = cKDTree(vertices * [-1, 1, 1]).query(vertices)[1]
    assert (nearest != data.mirrored_vertices).any()
    twin = find_mirrored_vertices(vertices[order], place[data.faces])
    np.testing.assert_array_equal(twin, place[data.mirrored_vertices[order]])


def test_an_asymmetric_mesh_has_no_mirror_twins(tiny_body: BodyModel) -> None:
    data = tiny_body.data
    faces = data.faces.copy()
    a, b, c = faces[0]
    opposite = next(face for face in faces[1:] if {a, b} < set(face))
    d = (set(opposite.tolist()) - {a, b}).pop()
    row = np.flatnonzero((faces == opposite).all(axis=1))[0]
    faces[0], faces[row] = (a, d, c), (d, b, c)
    with pytest.raises(ValueError, match='not left-right symmetric'):
        find_mirrored_vertices(data.v_template, faces)


def test_the_bake_brings_bent_and_lowered_limbs_to_the_t_pose(tiny_body: BodyModel) -> None:
    bake = load_bake_script()
    pose = pose_from(
        {
            'left_shoulder': (0, 0, -40),
            'right_shoulder': (0, 0, 40),
            'left_elbow': (0, -35, 0),
            'right_elbow': (0, 35, 0),
            'left_hip': (0, 0, 10),
            'right_hip': (0, 0, -10),
        }
    )
    shape = torch.zeros(1, NUM_SHAPES)
    vertices, joints = tiny_body(pose, shape)
    rest, rest_joints = tiny_body.rest_body(shape)
    baked, baked_joints = bake.t_pose(
        vertices.double().numpy(), joints.double().numpy(), tiny_body.data.lbs_weights
    )
    names = dict(zip(JOINT_NAMES, baked_joints[0], strict=True))
    assert names['pelvis'] == pytest.approx([0, 0, 0])
    for start, end in (('shoulder', 'elbow'), ('elbow', 'wrist'), ('wrist', 'hand')):
        bone = names[f'left_{end}'] - names[f'left_{start}']
        assert bone[0] == pytest.approx(np.linalg.norm(bone), rel=1e-6)
    # The skinning is undone exactly where bones were already straight in the tiny body.
    is_arm = np.isin(
        tiny_body.data.vertex_parts,
        [JOINT_NAMES.index(name) for name in ('left_shoulder', 'left_elbow', 'left_wrist')],
    )
    off = baked[0] - (rest - rest_joints[:, :1])[0].numpy()
    assert np.linalg.norm(off[is_arm], axis=1).max() < 0.01


def load_bake_script() -> object:
    """The module tools/bake_builtin_body.py, which is not in a package."""
    path = Path(__file__).parents[3] / 'tools' / 'bake_builtin_body.py'
    spec = importlib.util.spec_from_file_location('bake_builtin_body', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def replace_data(data: BodyData, **changes: np.ndarray) -> BodyData:
    """The body with changed arrays, checked again."""
    return replace(data, **changes)


def _heights(model: BodyModel, shapes: torch.Tensor) -> torch.Tensor:
    vertices, _ = model.rest_body(shapes)
    return vertices[..., 1].amax(dim=1) - vertices[..., 1].amin(dim=1)
