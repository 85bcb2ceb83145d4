"""`decomr body import`: genders, names, other models, and malicious files."""

from __future__ import annotations

import builtins
import json
import os
import pickle
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from decomr_core import cli
from decomr_core.body_models import BodyData, BodyModel, body_data
from decomr_core.body_models.smpl_file import gender_from_file_name

MARKER = 'owned'


def run(*words: object) -> int:
    return cli.main([str(word) for word in words])


def official_arrays(data: BodyData) -> dict[str, np.ndarray]:
    """A body under the names of the official files."""
    return {
        'v_template': data.v_template,
        'f': data.faces.astype(np.uint32),
        'shapedirs': data.shapedirs,
        'posedirs': np.zeros((len(data.v_template), 3, 207)),
        'J_regressor': data.joint_regressor,
        'weights': data.lbs_weights,
        'kintree_table': np.stack([data.parents.astype(np.uint32), np.arange(24)]),
    }


class Call:
    """Pickles as a function call, like the payload of an attacker."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call


ATTACKS = {
    'os.system': lambda: Call(os.system, f'touch {MARKER}'),
    'eval': lambda: Call(builtins.eval, f'open({MARKER!r}, "w")'),
    'exec': lambda: Call(builtins.exec, f'open({MARKER!r}, "w")'),
    'open': lambda: Call(builtins.open, MARKER, 'w'),
    'subprocess': lambda: Call(subprocess.check_call, ['touch', MARKER]),
    'getattr': lambda: Call(builtins.getattr, Call(builtins.__import__, 'os'), 'system'),
    'nested': lambda: {'a': [(Call(Call, Call(os.system, f'touch {MARKER}')),)]},
    'an argument of an array': lambda: Call(np.ndarray, (3,), Call(os.system, f'touch {MARKER}')),
    'a state': lambda: StateCall(),
    'numpy.load': lambda: Call(np.load, 'inner.npy', None, True),
    'numpy.fromfile': lambda: Call(np.fromfile, 'inner.npy'),
    'numpy.save': lambda: Call(np.save, MARKER, np.zeros(1)),
    'numpy.memmap': lambda: Call(np.memmap, MARKER, 'u1', 'w+', 0, (4,)),
}


class StateCall:
    """An array whose state is the result of a call."""

    def __reduce__(self) -> tuple:
        return (*np.zeros(1).__reduce__()[:2], Call(os.system, f'touch {MARKER}'))


@pytest.mark.parametrize('attack', ATTACKS)
@pytest.mark.parametrize('protocol', [0, 2, 5])
def test_a_file_that_would_run_code_is_a_one_line_error_and_nothing_runs(
    tiny_body: BodyModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    attack: str,
    protocol: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    inner = np.array([Call(os.system, f'touch {MARKER}')], dtype=object)
    with Path('inner.npy').open('wb') as file:
        np.save(file, inner, allow_pickle=True)
    content = official_arrays(tiny_body.data) | {'weights_prior': ATTACKS[attack]()}
    Path('evil.pkl').write_bytes(pickle.dumps(content, protocol=protocol))
    before = sorted(os.listdir())
    assert run('body', 'import', 'evil.pkl', '--out', 'body.npz') == 2
    said = capsys.readouterr().err
    assert said.startswith('decomr body: evil.pkl cannot be read as a body: it asks for ')
    assert 'which is not allowed; expected an official SMPL' in said and said.count('\n') == 1
    assert sorted(os.listdir()) == before


def test_the_attacks_succeed_against_plain_pickle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for attack in ('os.system', 'eval', 'exec', 'open', 'subprocess', 'numpy.memmap'):
        pickle.loads(pickle.dumps(ATTACKS[attack]()))
        assert Path(MARKER).exists(), attack
        Path(MARKER).unlink()


@pytest.mark.parametrize(
    ('name', 'content', 'complaint'),
    [
        ('empty.pkl', b'', 'EOFError'),
        ('text.pkl', b'hello', 'cannot be read as a body'),
        ('cut.pkl', None, 'cannot be read as a body'),
        ('empty.npz', b'', 'not a complete npz'),
        ('text.npz', b'hello', 'not a complete npz'),
        ('pickle.npz', pickle.dumps({}), 'not a complete npz'),
        ('list.pkl', pickle.dumps([]), 'holds a list'),
        ('model', b'hello', 'not a complete npz'),
        ('dict.pkl', pickle.dumps({'a': 1}), 'found: no arrays'),
    ],
)
def test_a_file_that_is_not_a_body_is_a_one_line_error_and_leaves_no_file(
    tiny_body: BodyModel,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: bytes | None,
    complaint: str,
) -> None:
    if content is None:
        content = pickle.dumps(official_arrays(tiny_body.data))[:-1000]
    (tmp_path / name).write_bytes(content)
    assert run('body', 'import', tmp_path / name, '--out', tmp_path / 'body.npz') == 2
    said = capsys.readouterr().err
    assert complaint in said and said.startswith('decomr body: ') and said.count('\n') == 1
    assert not (tmp_path / 'body.npz').exists()


@pytest.mark.parametrize('name', ['folder.pkl', 'folder.npz', 'folder'])
def test_a_folder_and_a_missing_file_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert run('body', 'import', tmp_path / name, '--out', tmp_path / 'body.npz') == 2
    assert str(tmp_path / name) in capsys.readouterr().err
    (tmp_path / name).mkdir()
    assert run('body', 'import', tmp_path / name, '--out', tmp_path / 'body.npz') == 2
    assert f'{name} is a folder' in capsys.readouterr().err


def test_a_single_array_in_an_npy_is_reported(tmp_path: Path, capsys) -> None:
    np.save(tmp_path / 'one.npy', np.zeros(3))
    assert run('body', 'import', tmp_path / 'one.npy', '--out', tmp_path / 'body.npz') == 2
    assert 'not a complete npz' in capsys.readouterr().err


def test_an_archive_of_other_files_is_reported(tmp_path: Path, capsys) -> None:
    with zipfile.ZipFile(tmp_path / 'odd.npz', 'w') as archive:
        for name in ('v_template', 'f', 'shapedirs', 'J_regressor', 'kintree_table', 'weights'):
            archive.writestr(f'{name}.npy', b'no array')
    assert run('body', 'import', tmp_path / 'odd.npz', '--out', tmp_path / 'body.npz') == 2
    assert 'lacks v_template' in capsys.readouterr().err


def with_joints(data: BodyData, count: int, pose_features: int) -> dict[str, np.ndarray]:
    """The arrays of a body with this number of joints, like other models of the family."""
    size = len(data.v_template)
    return official_arrays(data) | {
        'kintree_table': np.zeros((2, count), int),
        'weights': np.ones((size, count)) / count,
        'J_regressor': np.ones((count, size)) / size,
        'posedirs': np.zeros((size, 3, pose_features)),
    }


@pytest.mark.parametrize(
    ('joints', 'pose_features', 'complaint'),
    [
        (52, 459, 'seems to be SMPL-H (52 joints'),
        (55, 486, 'seems to be SMPL-X (55 joints'),
        (16, 135, 'seems to be MANO, a hand'),
        (5, 36, 'seems to be FLAME, a head'),
        (24, 93, 'seems to be STAR'),
        (30, 261, 'is not SMPL (30 joints'),
    ],
)
@pytest.mark.parametrize('suffix', ['pkl', 'npz'])
def test_other_models_of_the_family_are_named(
    tiny_body: BodyModel,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    joints: int,
    pose_features: int,
    complaint: str,
    suffix: str,
) -> None:
    arrays = with_joints(tiny_body.data, joints, pose_features)
    path = tmp_path / f'other.{suffix}'
    if suffix == 'npz':
        np.savez(path, **arrays, joint2num=np.array({'root': 0}, dtype=object))
    else:
        path.write_bytes(pickle.dumps(arrays))
    assert run('body', 'import', path, '--out', tmp_path / 'body.npz') == 2
    said = capsys.readouterr().err
    assert complaint in said and 'SMPL_NEUTRAL.pkl' in said and said.count('\n') == 1
    assert not (tmp_path / 'body.npz').exists()


@pytest.mark.parametrize(
    ('change', 'complaint'),
    [
        (lambda d: {'v_template': d.v_template[:, :2]}, 'v_template has shape (214, 2)'),
        (
            lambda d: {'v_template': np.float64(1)},
            'odd.{suffix} does not contain a usable body: v_template has shape (1,)',
        ),
        (lambda d: {'v_template': d.v_template[:0]}, 'has 0 vertices'),
        (lambda d: {'f': d.faces[:0]}, 'and 0 faces'),
        (lambda d: {'f': d.faces.ravel()}, 'faces has shape'),
        (lambda d: {'shapedirs': d.shapedirs[:, :, 0]}, 'shapedirs has shape (214, 3)'),
        (lambda d: {'shapedirs': d.shapedirs[:, :, :3]}, 'shapedirs has shape (214, 3, 3)'),
        (lambda d: {'kintree_table': np.int64(3)}, 'is not SMPL'),
        (lambda d: {'weights': d.lbs_weights * np.nan}, 'lbs_weights holds numbers that are not'),
        (lambda d: {'weights': d.lbs_weights.T}, 'lbs_weights has shape (24, 214)'),
    ],
)
@pytest.mark.parametrize('suffix', ['pkl', 'npz'])
def test_wrong_shapes_are_a_one_line_error(
    tiny_body: BodyModel,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: object,
    complaint: str,
    suffix: str,
) -> None:
    arrays = official_arrays(tiny_body.data) | change(tiny_body.data)
    path = tmp_path / f'odd.{suffix}'
    if suffix == 'npz':
        np.savez(path, **arrays)
    else:
        path.write_bytes(pickle.dumps(arrays))
    assert run('body', 'import', path, '--out', tmp_path / 'body.npz') == 2
    said = capsys.readouterr().err
    assert complaint.format(suffix=suffix) in said and said.count('\n') == 1


@pytest.mark.parametrize(
    ('change', 'complaint'),
    [
        ({'mirrored_vertices': np.full(214, 214)}, 'mirrored_vertices ranges from 214 to 214'),
        ({'mirrored_vertices': np.arange(3)}, 'mirrored_vertices has shape (3,)'),
        ({'vertex_parts': np.full(214, -1)}, 'vertex_parts ranges from -1'),
        ({'faces': np.array([['a', 'b', 'c']])}, 'faces holds <U1, expected numbers'),
        ({'v_template': np.full((214, 3), 1j)}, 'expected numbers'),
    ],
)
def test_derived_arrays_of_a_body_file_are_checked(
    tiny_body: BodyModel,
    tmp_path: Path,
    change: dict,
    complaint: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tiny_body.save(tmp_path / 'body.npz')
    with np.load(tmp_path / 'body.npz') as archive:
        np.savez(tmp_path / 'odd.npz', **(dict(archive) | change))
    assert run('body', 'import', tmp_path / 'odd.npz', '--out', tmp_path / 'new.npz') == 2
    assert complaint in capsys.readouterr().err


def test_an_npz_that_unpacks_to_more_than_a_body_is_rejected(
    tiny_body: BodyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_body.save(tmp_path / 'body.npz')
    monkeypatch.setattr(body_data, 'MAX_UNPACKED_BYTES', 10_000)
    with pytest.raises(ValueError, match='unpacks to 0 MB'):
        BodyData.load(tmp_path / 'body.npz')


@pytest.mark.parametrize(
    ('name', 'gender'),
    [
        ('SMPL_NEUTRAL.pkl', 'neutral'),
        ('SMPL_MALE.npz', 'male'),
        ('SMPL_FEMALE.pkl', 'female'),
        ('basicModel_f_lbs_10_207_0_v1.0.0.pkl', 'female'),
        ('basicmodel_m_lbs_10_207_0_v1.1.0.pkl', 'male'),
        ('basicModel_neutral_lbs_10_207_0_v1.0.0.pkl', 'neutral'),
        ('my_smpl_female_cleaned.npz', 'female'),
        ('smpl_females.npz', ''),
        ('female.npz', ''),
        ('SMPLX_NEUTRAL.npz', ''),
        ('builtin_body.npz', ''),
    ],
)
def test_the_gender_is_read_from_official_file_names(name: str, gender: str) -> None:
    assert gender_from_file_name(name) == gender


@pytest.mark.parametrize('suffix', ['pkl', 'npz', 'PKL'])
def test_gender_and_name_are_kept_and_shown(
    tiny_body: BodyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    path, out = tmp_path / f'SMPL_MALE.{suffix}', tmp_path / 'body.npz'
    arrays = official_arrays(tiny_body.data)
    if suffix == 'npz':
        np.savez(path, **arrays)
    else:
        path.write_bytes(pickle.dumps(arrays))
    assert run('body', 'import', path, '--out', out) == 0
    assert 'body SMPL_MALE, gender male, 214 vertices' in capsys.readouterr().out
    assert run('body', 'info', out, '--json') == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (report['gender'], report['name'], report['hash']) == (
        'male',
        'SMPL_MALE',
        tiny_body.hash,
    )
    assert (
        run('body', 'import', path, '--out', out, '--gender', 'female', '--name', 'Ann', '--json')
        == 0
    )
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (report['gender'], report['name'], report['hash']) == ('female', 'Ann', tiny_body.hash)
    loaded = BodyData.load(out)
    assert (loaded.gender, loaded.name, loaded.hash) == ('female', 'Ann', tiny_body.hash)


def test_a_body_of_unknown_gender_is_shown_as_such(
    tiny_body: BodyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_body.save(tmp_path / 'old.npz')
    with np.load(tmp_path / 'old.npz') as archive:
        arrays = {key: archive[key] for key in archive.files if key != 'gender'}
    np.savez(tmp_path / 'old.npz', **arrays)
    assert BodyData.load(tmp_path / 'old.npz').gender == ''
    assert run('body', 'import', tmp_path / 'old.npz', '--out', tmp_path / 'new.npz') == 0
    assert 'gender unknown (set it with --gender)' in capsys.readouterr().out
    assert run('body', 'info', tmp_path / 'new.npz') == 0
    assert ['gender', 'unknown'] in map(str.split, capsys.readouterr().out.splitlines())


def test_the_gender_does_not_change_the_hash(tiny_body: BodyModel) -> None:
    assert replace(tiny_body.data, gender='male').hash == tiny_body.hash
    with pytest.raises(
        ValueError, match="gender is 'other', expected one of: neutral, male, female"
    ):
        replace(tiny_body.data, gender='other')


def test_a_name_from_a_file_cannot_write_on_the_terminal(
    tiny_body: BodyModel, tmp_path: Path
) -> None:
    tiny_body.save(tmp_path / 'body.npz')
    with np.load(tmp_path / 'body.npz') as archive:
        np.savez(
            tmp_path / 'odd.npz',
            **(
                dict(archive)
                | {'name': np.array('a\x1b[2J\nb' + 'x' * 1000), 'gender': np.array('\x1b')}
            ),
        )
    loaded = BodyData.load(tmp_path / 'odd.npz')
    assert loaded.name.startswith('a?[2J b') and len(loaded.name) == 80 and loaded.gender == ''
