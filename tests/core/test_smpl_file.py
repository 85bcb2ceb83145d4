"""The reader of official SMPL pickles: gives the arrays, runs nothing."""

from __future__ import annotations

import os
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch

from decomr_core.body_models import BodyModel, load_body
from decomr_core.body_models.smpl_file import read_smpl_pickle


class Ch:
    """Pickles as chumpy's array does."""

    def __init__(self, x: np.ndarray) -> None:
        self.x = x


class Select:
    """Pickles as chumpy's selection of entries does."""

    def __init__(self, a: Ch, idxs: np.ndarray, preferred_shape: tuple[int, ...]) -> None:
        self.a, self.idxs, self.preferred_shape = a, idxs, preferred_shape


class Evil:
    """Runs a command when it is unpickled by anyone less careful."""

    def __reduce__(self) -> tuple:
        return os.system, ('touch owned',)


@pytest.fixture
def chumpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets `Ch` and `Select` pickle under chumpy's names."""
    for name, kind in (('chumpy.ch', Ch), ('chumpy.reordering', Select)):
        module = types.ModuleType(name)
        setattr(module, kind.__name__, kind)
        monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr(kind, '__module__', name)
    monkeypatch.setitem(sys.modules, 'chumpy', types.ModuleType('chumpy'))


def official_content(body: BodyModel) -> dict:
    """A body as the official .pkl holds it."""
    data = body.data
    template = data.v_template.astype(np.float64)
    return {
        'v_template': Ch(template), 'f': data.faces.astype(np.uint32),
        'shapedirs': Select(Ch(data.shapedirs.astype(np.float64).ravel()),
                            np.arange(data.shapedirs.size), data.shapedirs.shape),
        'posedirs': np.zeros((len(template), 3, 207)), 'weights': Ch(data.lbs_weights),
        'J_regressor': scipy.sparse.csc_matrix(data.joint_regressor),
        'kintree_table': np.stack([data.parents.astype(np.uint32), np.arange(24)]),
        'bs_style': 'lbs', 'bs_type': 'lrotmin',
    }


@pytest.mark.parametrize('protocol', [0, 2, 5])
def test_an_official_pickle_gives_the_same_body(
    chumpy: None, tiny_body: BodyModel, tmp_path: Path, protocol: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / 'SMPL_NEUTRAL.pkl'
    path.write_bytes(pickle.dumps(official_content(tiny_body), protocol=protocol))
    for name in ('chumpy', 'chumpy.ch', 'chumpy.reordering'):
        monkeypatch.delitem(sys.modules, name)
    body = load_body(path)
    assert (body.name, body.hash) == ('SMPL_NEUTRAL', tiny_body.hash)
    assert body.posedirs.shape == (214, 3, 207)
    assert not any(name.startswith('chumpy') for name in sys.modules)
    pose, shape = 0.3 * torch.ones(1, 24, 3), torch.ones(1, 10)
    torch.testing.assert_close(body(pose, shape)[0], tiny_body(pose, shape)[0])


def test_a_pickle_that_runs_a_command_is_refused_and_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'evil.pkl').write_bytes(pickle.dumps({'v_template': Evil()}))
    with pytest.raises(ValueError, match=r'asks for (posix|nt)\.system, which is not run'):
        read_smpl_pickle(tmp_path / 'evil.pkl')
    assert not (tmp_path / 'owned').exists()


@pytest.mark.parametrize('target', [
    b'cbuiltins\neval\n', b'cnumpy\nsave\n', b'cnumpy.lib.npyio\nload\n',
    b'cscipy._lib\nos\n', b'cchumpy.ch\nos\n'])
def test_other_names_of_known_packages_are_refused(tmp_path: Path, target: bytes) -> None:
    (tmp_path / 'evil.pkl').write_bytes(target + b'(S"1"\ntR.')
    with pytest.raises(ValueError, match='which is not run'):
        read_smpl_pickle(tmp_path / 'evil.pkl')


def test_a_sparse_matrix_with_wrong_indices_is_refused(
    chumpy: None, tiny_body: BodyModel, tmp_path: Path
) -> None:
    content = official_content(tiny_body)
    content['J_regressor'].indices[0] = 10**6
    (tmp_path / 'bad.pkl').write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=r'bad\.pkl cannot be read as a body'):
        read_smpl_pickle(tmp_path / 'bad.pkl')


@pytest.mark.parametrize('content', [b'', b'not a pickle', pickle.dumps([1, 2]),
                                     pickle.dumps({'f': np.zeros((9, 3))})[:-20]])
def test_what_is_no_whole_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / 'bad.pkl').write_bytes(content)
    with pytest.raises(ValueError, match=r'bad\.pkl cannot be read as a body.*official SMPL'):
        load_body(tmp_path / 'bad.pkl')
