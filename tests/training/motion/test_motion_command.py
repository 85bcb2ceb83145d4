"""`preprocess motion`: files and folders become an npz that the renderer draws from; merging."""

from __future__ import annotations

import json

import numpy as np
import pytest
from fabricated_motion import (
    MIXED,
    OFFSETS,
    RAISED,
    T_POSE,
    amc_text,
    asf_text,
    bvh_text,
    degrees_apart,
    run,
    write,
)
from scipy.spatial.transform import Rotation

from decomr_core.body_models.joints import JOINT_NAMES
from training.synthetic.bodies.recorded_poses import RecordedPoses
from training.synthetic.motion.asf_amc import find_asf
from training.synthetic.motion.bvh import read_bvh
from training.synthetic.motion.retarget import retarget

ASF, AMC = asf_text(), amc_text([T_POSE, RAISED])
BVH = bvh_text([T_POSE, RAISED, MIXED])


def test_the_skeleton_of_an_amc_is_found_by_name_or_given(tmp_path, capsys):
    clip = write(tmp_path / 'in' / '01_02.amc', AMC)
    assert run(clip, '--out', tmp_path / 'poses.npz') == 2
    assert 'needs its skeleton; put the ASF file beside it' in capsys.readouterr().err
    given = write(tmp_path / 'person.asf', ASF)
    assert run(clip, given, '--out', tmp_path / 'poses.npz') == 0
    write(tmp_path / 'in' / 'other.asf', 'wrong')
    assert run(clip, given, '--out', tmp_path / 'poses.npz') == 2
    assert 'none of 2 ASF files has a name that is a prefix' in capsys.readouterr().err
    write(tmp_path / 'in' / '01.asf', ASF)
    assert find_asf(clip).name == '01.asf'


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['in'], 'in has no motion files; expected files that end in .bvh or .amc'),
        (['nowhere.bvh'], 'there is no file or folder'),
        (['in/notes.txt'], 'expected .bvh, .amc with its .asf, or .npz'),
        (['person.asf'], 'an ASF has only a skeleton'),
        (['clip.bvh', '--min-move-mm', '-1'], '--min-move-mm is -1.0; take 0 or more'),
        (['clip.bvh', '--min-move-mm', 'nan'], '--min-move-mm is nan'),
        (['clip.bvh', '--rest-frame', '-1'], '--rest-frame is -1; take 0 or more'),
        (['clip.bvh', '--action', ' '], '--action is empty'),
        (['clip.bvh', '--joint-names', 'nowhere.yaml'], 'there is no file nowhere.yaml'),
        (['clip.bvh', 'other.npz'], 'other.npz has no poses'),
    ],
)
def test_wrong_inputs_are_a_one_line_error(tmp_path, capsys, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / 'in' / 'notes.txt', 'nothing')
    write(tmp_path / 'person.asf', ASF)
    write(tmp_path / 'clip.bvh', BVH)
    write(tmp_path / 'other.npz', 'nothing')
    assert run(*words, '--out', 'poses.npz') == 2
    written = capsys.readouterr().err
    assert said in written and written.count('\n') == 1
    assert not (tmp_path / 'poses.npz').exists()


def test_an_invalid_output_path_is_reported(tmp_path, capsys):
    clip = write(tmp_path / 'clip.bvh', BVH)
    assert run(clip, '--out', tmp_path / 'poses.pkl') == 2
    assert 'poses.pkl; end its name in .npz' in capsys.readouterr().err
    assert run(clip, '--out', clip / 'poses.npz') == 2


def test_a_rest_pose_at_the_beginning_is_left_out(tmp_path):
    lowered = {
        name: Rotation.from_rotvec([0, 0, -45], degrees=True).apply(OFFSETS[name])
        for name in ('left_elbow', 'left_wrist')
    }
    write(
        tmp_path / 'clip.bvh', bvh_text([{'pelvis': (0, 50, 0)}, RAISED, MIXED], offsets=lowered)
    )
    assert run(tmp_path, '--out', tmp_path / 'poses.npz') == 0
    assert np.load(tmp_path / 'poses.npz')['frame'].tolist() == [1, 2]


def test_the_written_poses_are_those_that_the_renderer_draws(tmp_path, capsys):
    write(tmp_path / 'capture' / 'wave' / 'one.bvh', bvh_text([T_POSE, RAISED]))
    write(tmp_path / 'capture' / 'squat' / '01.asf', asf_text())
    write(tmp_path / 'capture' / 'squat' / '01_02.amc', amc_text([MIXED]))
    out = tmp_path / 'made' / 'poses.npz'
    assert run(tmp_path / 'capture', '--out', out, '--json') == 0
    text, counts = capsys.readouterr().out.strip().splitlines()
    assert text == f'{out}: 2 poses of 3 frames, 2 clips, 2 actions'
    assert json.loads(counts) == {
        'out': str(out),
        'kept': 2,
        'frames': 3,
        'clips': 2,
        'actions': 2,
    }
    with np.load(out) as archive:
        names = {
            label: archive[f'{label}_names'][archive[label]].tolist()
            for label in ('action', 'clip', 'source')
        }
        assert archive['frame'].tolist() == [0, 1]
        assert archive['joint_names'].tolist() == list(JOINT_NAMES)
    assert names == {
        'action': ['squat', 'wave'],
        'clip': ['squat/01_02', 'wave/one'],
        'source': ['capture', 'capture'],
    }
    recorded = RecordedPoses(out)
    expected = retarget(read_bvh(write(tmp_path / 'both.bvh', bvh_text([MIXED, RAISED]))))
    assert degrees_apart(recorded.poses, expected) < 0.1
    assert recorded.sample(np.random.default_rng(0), 5).shape == (5, 24, 3)


def test_files_of_poses_are_merged_and_actions_keep_their_names(tmp_path, capsys):
    for name, action in (('one', 'walk'), ('two', 'bow'), ('three', 'walk')):
        clip = write(tmp_path / 'in' / f'{name}.bvh', bvh_text([RAISED]))
        assert run(clip, '--out', tmp_path / f'{name}.npz', '--action', action) == 0
    out = tmp_path / 'one.npz'
    assert run(out, tmp_path / 'two.npz', tmp_path / 'three.npz', '--out', out) == 0
    with np.load(out) as archive:
        assert archive['action_names'].tolist() == ['bow', 'walk']
        assert archive['action'].tolist() == [1, 0, 1]
        assert archive['clip_names'][archive['clip']].tolist() == ['one', 'two', 'three']
    before = out.read_bytes()
    capsys.readouterr()
    assert run(out, tmp_path / 'two.npz', '--out', out) == 2
    assert "the clip 'two' of 'in' is in two inputs" in capsys.readouterr().err
    assert out.read_bytes() == before
    clip = tmp_path / 'in' / 'two.bvh'
    assert run(out, clip, clip, '--out', out, '--source', 'again') == 0
    assert len(RecordedPoses(out).poses) == 4


def test_an_npz_without_names_is_named_after_its_file(tmp_path, capsys):
    poses = np.random.default_rng(0).normal(0, 0.3, (3, 24, 3))
    np.savez(tmp_path / 'bare.npz', poses=poses, action=[2, 0, 2], weather=[1])
    assert run(tmp_path / 'bare.npz', '--out', tmp_path / 'out.npz') == 0
    assert 'ignored weather' in capsys.readouterr().err
    with np.load(tmp_path / 'out.npz') as archive:
        actions = archive['action_names'][archive['action']].tolist()
        assert actions == ['bare 2', 'bare 0', 'bare 2']
        np.testing.assert_allclose(archive['poses'], poses, atol=1e-3)
    np.savez(tmp_path / 'bare.npz', poses=poses, action=[2, 0, 2], action_names=['walk'])
    assert run(tmp_path / 'bare.npz', '--out', tmp_path / 'out.npz') == 2
    assert 'action has indices up to 2' in capsys.readouterr().err
    np.savez(tmp_path / 'bare.npz', poses=poses, action=[2, 0, 2], frame=[1])
    assert run(tmp_path / 'bare.npz', '--out', tmp_path / 'out.npz') == 2
    assert 'frame has the shape (1,), but there are 3 poses' in capsys.readouterr().err
