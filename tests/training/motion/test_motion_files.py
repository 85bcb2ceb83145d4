"""Motion files of every rig become poses; broken ones are reported."""

from __future__ import annotations

import re

import fabricated_motion as files
import numpy as np
import pytest
from fabricated_motion import (
    JOINTS,
    MIXED,
    OFFSETS,
    RAISED,
    RIGS,
    T_POSE,
    amc_text,
    asf_text,
    bvh_text,
    degrees_apart,
    rig_names,
    run,
    write,
)
from scipy.spatial.transform import Rotation

from decomr_core.body_models.joints import JOINT_NAMES
from training.synthetic.motion.asf_amc import find_asf, read_asf_amc
from training.synthetic.motion.bvh import read_bvh
from training.synthetic.motion.retarget import retarget
from training.synthetic.motion.select import choose_frames, joint_positions
from training.synthetic.motion.skeleton_motion import SkeletonMotion

Z_UP = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])  # facing -y, as Blender and MakeHuman


def from_bvh(tmp_path, *arguments, rest_frame=None, told=None, **keywords):
    path = write(tmp_path / 'clip.bvh', bvh_text(*arguments, **keywords))
    return retarget(read_bvh(path), told, rest_frame)


def from_acclaim(tmp_path, poses):
    write(tmp_path / '01.asf', asf_text())
    path = write(tmp_path / '01_02.amc', amc_text(poses))
    return retarget(read_asf_amc(find_asf(path), path))


def with_joint(motion: SkeletonMotion, name: str, turn_deg: float) -> SkeletonMotion:
    """The motion with one more joint, half way to the named one, that turns about the x axis."""
    at, parent = motion.names.index(name), motion.parents[motion.names.index(name)]
    turned = (
        motion.rotations[:, parent]
        @ Rotation.from_rotvec([turn_deg, 0, 0], degrees=True).as_matrix()
    )
    parents = [old + (old >= at) for old in motion.parents]
    parents[at] = at
    offsets = np.insert(motion.offsets, at, motion.offsets[at] / 2, axis=0)
    offsets[at + 1] /= 2
    return SkeletonMotion(
        motion.path,
        (*motion.names[:at], 'extra', *motion.names[at:]),
        (*parents[:at], parent, *parents[at:]),
        offsets,
        np.insert(motion.rotations, at, turned, axis=1),
    )


@pytest.mark.parametrize('rig', RIGS)
def test_a_t_pose_has_no_rotation_and_a_raised_arm_has_one_in_every_rig(tmp_path, rig):
    poses = from_bvh(tmp_path, [T_POSE, RAISED], rig_names(rig))
    expected = np.zeros((2, 24, 3))
    expected[1, JOINT_NAMES.index('left_shoulder')] = (0, 0, np.radians(60))
    assert degrees_apart(poses, expected) < 0.001


def test_without_a_collar_bone_the_shoulder_is_the_upper_arm(tmp_path):
    names = rig_names('joints') | {'left_collar': 'bone1', 'right_collar': 'bone2'}
    assert degrees_apart(from_bvh(tmp_path, [RAISED], names), from_bvh(tmp_path, [RAISED])) < 0.001


def test_hips_that_are_not_quite_level_do_not_turn_the_person(tmp_path):
    offsets = {'left_hip': OFFSETS['left_hip'] + [0, 0, 0.02]}
    assert np.degrees(np.abs(from_bvh(tmp_path, [T_POSE], offsets=offsets)).max()) < 0.001


def test_all_joints_keep_their_rotations_and_the_heading_is_removed(tmp_path):
    pose = from_bvh(tmp_path, [MIXED])[0]
    expected = np.zeros((24, 3))
    for name, turn in MIXED.items():
        expected[JOINT_NAMES.index(name)] = np.radians(turn)
    assert degrees_apart(pose[1:], expected[1:]) < 0.001
    forward = Rotation.from_rotvec(pose[0]).apply([0, 0, 1])
    assert abs(forward[0]) < 1e-6 < forward[2]
    lean = Rotation.from_rotvec(MIXED['pelvis'], degrees=True).apply([0, 0, 1])
    assert forward[1] == pytest.approx(lean[1], abs=1e-6)


@pytest.mark.parametrize('pose', [T_POSE, RAISED, MIXED])
def test_bvh_and_acclaim_give_the_same_pose(tmp_path, pose):
    assert degrees_apart(from_bvh(tmp_path, [pose]), from_acclaim(tmp_path, [pose])) < 0.001


def test_an_asf_may_have_radians_where_its_amc_has_degrees(tmp_path):
    radians = (
        asf_text()
        .replace('angle deg', 'angle rad')
        .replace(
            f'axis {files.numbers(files.AXIS)}', f'axis {files.numbers(np.radians(files.AXIS))}'
        )
    )
    clip = write(tmp_path / 'clip.amc', amc_text([MIXED]))
    poses = retarget(read_asf_amc(write(tmp_path / 'clip.asf', radians), clip))
    assert degrees_apart(poses, from_acclaim(tmp_path, [MIXED])) < 0.001


def test_files_with_z_up_give_the_same_pose(tmp_path):
    assert (
        degrees_apart(
            from_bvh(tmp_path, [RAISED, MIXED], axes=Z_UP), from_bvh(tmp_path, [RAISED, MIXED])
        )
        < 0.001
    )


def test_an_a_pose_in_the_file_becomes_an_a_pose(tmp_path):
    lowered = Rotation.from_rotvec([0, 0, -45], degrees=True)
    offsets = {name: lowered.apply(OFFSETS[name]) for name in ('left_elbow', 'left_wrist')}
    poses = from_bvh(tmp_path, [T_POSE, {'left_shoulder': (0, 0, 45)}], offsets=offsets)
    shoulder = np.degrees(poses[:, JOINT_NAMES.index('left_shoulder')])
    np.testing.assert_allclose(shoulder, [[0, 0, -45], [0, 0, 0]], atol=0.5)
    others = np.delete(poses, JOINT_NAMES.index('left_shoulder'), axis=1)
    assert np.degrees(np.abs(others).max()) < 0.5


def test_a_leg_spread_in_the_rest_pose_turns_its_foot(tmp_path):
    spread = Rotation.from_rotvec([0, 0, 20], degrees=True)
    offsets = {
        f'left_{name}': spread.apply(OFFSETS[f'left_{name}']) for name in ('knee', 'ankle', 'foot')
    }
    pose = from_bvh(tmp_path, [{'left_hip': (0, 0, -20)}], offsets=offsets)[0]
    assert np.degrees(np.abs(pose).max()) < 0.5


def test_a_limb_that_bends_between_its_joints_ends_at_the_same_position(tmp_path):
    motion = with_joint(read_bvh(write(tmp_path / 'clip.bvh', bvh_text([MIXED]))), 'LeftLeg', 40)
    thigh, knee = motion.names.index('LeftUpLeg'), motion.names.index('LeftLeg')
    positions = motion.positions(motion.rotations[0])
    theirs = positions[knee] - positions[thigh]
    pose = retarget(motion)
    ours = np.diff(joint_positions(pose)[0, [1, 4]], axis=0)[0]
    heading = Rotation.from_rotvec(pose[0, 0]) * Rotation.from_matrix(motion.rotations[0, 0]).inv()
    np.testing.assert_allclose(
        ours / np.linalg.norm(ours), heading.apply(theirs) / np.linalg.norm(theirs), atol=1e-6
    )


def test_the_last_joint_of_a_longer_spine_turns_the_chest(tmp_path):
    motion = with_joint(read_bvh(write(tmp_path / 'clip.bvh', bvh_text([T_POSE]))), 'Neck', 40)
    pose = np.degrees(retarget(motion)[0])
    # Our first two joints lie between the file's first three, of which none turns.
    np.testing.assert_allclose(pose[[3, 6, 9], 0], [0, 0, 40], atol=1e-6)
    assert pose[JOINT_NAMES.index('neck')] == pytest.approx([-40, 0, 0], abs=1e-6)


def test_joints_with_their_own_axes_need_a_rest_frame(tmp_path):
    turns = np.random.default_rng(1).normal(0, 2, (len(JOINTS), 3))
    rests = dict(zip(JOINTS, Rotation.from_rotvec(turns), strict=True))
    with pytest.raises(ValueError, match='does not stand upright .* set --rest-frame'):
        from_bvh(tmp_path, [T_POSE, MIXED], rests=rests)
    assert (
        degrees_apart(
            from_bvh(tmp_path, [T_POSE, MIXED], rests=rests, rest_frame=0),
            from_bvh(tmp_path, [T_POSE, MIXED]),
        )
        < 0.001
    )
    with pytest.raises(ValueError, match='does not stand upright .* in frame 1'):
        from_bvh(tmp_path, [T_POSE, {'left_elbow': (0, -90, 0)}], rests=rests, rest_frame=1)
    with pytest.raises(ValueError, match='has no frame 2 for the rest pose; it has 2'):
        from_bvh(tmp_path, [T_POSE, MIXED], rests=rests, rest_frame=2)


def test_the_elbow_takes_half_of_the_hands_twist_and_limbs_still_point_alike(tmp_path):
    pose = np.degrees(from_bvh(tmp_path, [{'left_wrist': (80, 0, 0)}])[0])
    for name in ('left_elbow', 'left_wrist'):
        np.testing.assert_allclose(pose[JOINT_NAMES.index(name)], [40, 0, 0], atol=0.5)


def test_a_lying_person_has_the_heading_of_the_trunk(tmp_path):
    for tilt in (-88, 88):
        lying = Rotation.from_euler('YXY', [140, tilt, 10], degrees=True)
        pose = from_bvh(tmp_path, [{'pelvis': lying.as_rotvec(degrees=True)}])[0]
        trunk = Rotation.from_rotvec(pose[0]).apply([0, 1, 0])
        assert abs(trunk[0]) < 1e-5 and trunk[2] * np.sign(tilt) > 0.9


def test_a_rig_of_unknown_names_is_reported_and_accepts_a_table(tmp_path, capsys):
    names = {name: f'b{number}' for number, name in enumerate(JOINTS)}
    clip = write(tmp_path / 'in' / 'clip.bvh', bvh_text([RAISED], names))
    out = tmp_path / 'poses.npz'
    assert run(clip, '--out', out) == 2
    said = capsys.readouterr().err
    assert 'no joint was recognised as left_hip, right_hip, left_knee' in said
    assert 'the file has b0, b1, b4' in said and 'a line for each: left_hip: ' in said
    table = write(
        tmp_path / 'names.yaml',
        ''.join(f'{name}: {names[name].upper()}\n' for name in JOINTS if 'spine' not in name),
    )
    assert run(clip, '--out', out, '--joint-names', table) == 0
    assert degrees_apart(np.load(out)['poses'].astype(float), from_bvh(tmp_path, [RAISED])) < 0.1


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('left_hip: nowhere', "has no joint 'nowhere' for left_hip; it has Hips"),
        ('left_tail: Hips', 'there is no joint left_tail; take pelvis, left_hip'),
        ('left_knee: Spine1', 'Spine1, used as left_knee, is not a descendant of LeftUpLeg'),
        ('- left_hip', "expected lines such as 'left_hip: LeftUpLeg'"),
        ('left_hip: [', 'is not YAML'),
    ],
)
def test_a_wrong_table_of_names_is_reported(tmp_path, capsys, text, said):
    clip = write(tmp_path / 'clip.bvh', bvh_text([RAISED]))
    table = write(tmp_path / 'names.yaml', text)
    assert run(clip, '--out', tmp_path / 'poses.npz', '--joint-names', table) == 2
    assert said in capsys.readouterr().err


BVH = bvh_text([T_POSE, RAISED, MIXED])
BVH_LINES = BVH.splitlines()
MOTION_LINE = BVH_LINES.index('MOTION') + 1


def without(word: str) -> str:
    """The BVH without the first line that begins with a word."""
    index = next(index for index, line in enumerate(BVH_LINES) if line.split()[0] == word)
    return '\n'.join(BVH_LINES[:index] + BVH_LINES[index + 1 :])


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('', 'clip.bvh is empty'),
        ('\n \n', 'clip.bvh is empty'),
        ('\x00\x01binary', 'line 1: expected HIERARCHY'),
        ('\n'.join(BVH_LINES[:20]), 'line 20: the file ends here; expected MOTION'),
        (
            '\n'.join(BVH_LINES[:MOTION_LINE]),
            f'line {MOTION_LINE}: the file ends here; expected "F',
        ),
        (
            '\n'.join(BVH_LINES[:-1]),
            f'line {len(BVH_LINES) - 1}: the file ends here; expected frame',
        ),
        (BVH[:-30], f'line {len(BVH_LINES)}: frame 3 of 3: expected 69 numbers, found 6'),
        (
            BVH.replace('\n0 0 0', '\nnan 0 0', 1),
            f'line {MOTION_LINE + 3}: frame 1 of 3: a number is not finite',
        ),
        (BVH.replace('\n0 0 0', '\nfar 0 0', 1), "could not convert string to float: 'far'"),
        (
            BVH + '0 0 0\n',
            f'line {len(BVH_LINES) + 1}: expected the end of the file after 3 frames',
        ),
        (BVH.replace('Frames: 3', 'Frames: 0'), f'line {MOTION_LINE + 2}: the file has no frames'),
        (
            BVH.replace('Frames: 3', 'Frames: -1'),
            f'line {MOTION_LINE + 1}: expected "Frames:" and',
        ),
        (without('Frame'), f'line {MOTION_LINE + 2}: expected "Frame Time:" and a number'),
        (without('OFFSET'), 'has no OFFSET'),
        (without('}'), 'a brace is missing'),
        (without('{'), 'line 3: expected a joint with OFFSET'),
        (BVH.replace('Zrotation', 'Wrotation', 1), "line 5: unknown channel 'wrotation'"),
        (BVH.replace('CHANNELS 6', 'CHANNELS 7', 1), 'line 5: CHANNELS declares 7 but names 6'),
        (BVH.replace(' JOINT', ' ROOT', 1), 'a second ROOT; a file may contain only one person'),
        (BVH.replace('ROOT Hips', 'JOINT Hips', 1), 'line 2: expected ROOT'),
        (BVH.replace('ROOT Hips', 'ROOT', 1), 'line 2: a joint without a name'),
    ],
)
def test_a_broken_bvh_is_a_one_line_error_with_the_line_number(tmp_path, capsys, text, said):
    clip, out = write(tmp_path / 'clip.bvh', text), tmp_path / 'poses.npz'
    assert run(clip, '--out', out) == 2
    written = capsys.readouterr()
    assert f'{tmp_path / "clip.bvh"}' in written.err and said in written.err
    assert written.err.count('\n') == 1 and written.out == '' and not out.exists()


ASF, AMC = asf_text(), amc_text([T_POSE, RAISED])
AMC_LINES = AMC.splitlines()


@pytest.mark.parametrize(
    ('asf', 'amc', 'said'),
    [
        ('', AMC, '01.asf is empty'),
        ('hello', AMC, '01.asf, line 1: expected a section such as ":bonedata"'),
        (ASF[: ASF.index(':hierarchy')], AMC, 'expected :root, :bonedata and :hierarchy'),
        (ASF[: ASF.index('dof')], AMC, 'the file ends here; expected "end" of the bone'),
        (ASF.replace('lfemur', 'thigh', 1), AMC, ":bonedata has no bone 'lfemur'"),
        (ASF.replace('    ltibia lfoot\n', ''), AMC, 'lfoot has children before it has a parent'),
        (ASF.replace('    lfoot ltoes\n', ''), AMC, ':hierarchy does not name ltoes'),
        (ASF.replace('lfoot ltoes', 'lfoot ltoes ltibia'), AMC, 'ltibia has two parents'),
        (ASF.replace('rx ry rz', 'rx rw', 1), AMC, "unknown degree of freedom 'rw'"),
        (ASF.replace('XYZ\n    dof', 'XYX\n    dof', 1), AMC, "an order such as XYZ, found 'XYX'"),
        (ASF.replace('length 0', 'length inf', 1), AMC, 'length: '),
        (ASF, '', '01_02.amc is empty'),
        (ASF, ':DEGREES\n', '01_02.amc, line 1: the file ends here; expected frames'),
        (ASF, '\n'.join(AMC_LINES[:-1]), f'line {len(AMC_LINES) - 1}: frame 2 ends without rhand'),
        (ASF, AMC.replace('lfemur', 'lfemur 0', 1), 'lfemur: expected 3 numbers, found 4'),
        (ASF, re.sub('lfemur.*', 'lfemur 0 nan 0', AMC), 'lfemur: a number is not finite'),
        (ASF, AMC.replace('lfemur', 'tail', 1), 'expected a frame number or a bone'),
    ],
)
def test_a_broken_acclaim_file_is_a_one_line_error_with_the_line_number(
    tmp_path, capsys, asf, amc, said
):
    write(tmp_path / '01.asf', asf)
    clip, out = write(tmp_path / '01_02.amc', amc), tmp_path / 'poses.npz'
    assert run(clip, '--out', out) == 2
    written = capsys.readouterr().err
    assert str(tmp_path) in written and said in written
    assert written.count('\n') == 1 and not out.exists()


def test_distinct_frames_are_kept_and_a_leading_t_pose_is_dropped():
    poses = np.zeros((40, 24, 3))
    poses[3:, JOINT_NAMES.index('left_shoulder'), 2] = np.linspace(-1, 0, 37)
    moves = joint_positions(poses)
    kept = choose_frames(poses, np.zeros(40, bool), 10)
    assert kept[0] == 3 and 3 < len(kept) < 37
    distances = np.linalg.norm(np.diff(moves[kept], axis=0), axis=-1).mean(1)
    assert distances.min() > 0.010 > 0.9 * distances.max() - 0.002
    assert choose_frames(poses, np.zeros(40, bool), 0).tolist() == list(range(3, 40))
    assert choose_frames(poses, np.arange(40) < 7, 10)[0] == 7
    assert choose_frames(poses[:3], np.zeros(3, bool)).tolist() == [0]
