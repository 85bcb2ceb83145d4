"""The reader of official SMPL pickles returns the arrays and runs no code."""

from __future__ import annotations

import io
import os
import pickle
import struct
import sys
import tracemalloc
import types
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch

from decomr_core.body_models import BodyModel, load_body
from decomr_core.body_models.smpl_file import read_smpl_pickle


class Ch:
    """Pickles like an array of chumpy, with its additional attributes."""

    def __init__(self, x: np.ndarray) -> None:
        self.keep_books()
        self.x = x

    def keep_books(self) -> None:
        self._dirty_vars, self._itr, self._make_dense = {'x'}, None, False
        self._depends_on_deps = {'J': {'deps': {'x'}, 'value': None, 'out_of_date': True}}


class Select(Ch):
    """Pickles like a selection of entries in chumpy."""

    def __init__(self, a: Ch, idxs: np.ndarray, preferred_shape: tuple[int, ...]) -> None:
        self.keep_books()
        self.a, self.idxs, self.preferred_shape = a, idxs, preferred_shape


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes like Python 2, which does not distinguish them."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_text(self, text: str | bytes) -> None:
        data = text.encode('latin1') if isinstance(text, str) else text
        if self.bin:
            self.write(pickle.BINSTRING + struct.pack('<i', len(data)) + data)
        else:
            quoted = repr(data)[1:].encode('ascii')
            self.write(pickle.STRING + quoted + b'\n')
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = save_text


def python2_pickle(content: object, protocol: int) -> bytes:
    file = io.BytesIO()
    Python2Pickler(file, protocol).dump(content)
    return file.getvalue()


class Evil:
    """Runs a command when it is unpickled by `pickle`."""

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
    """A body in the form of the official .pkl file."""
    data = body.data
    template = data.v_template.astype(np.float64)
    return {
        'v_template': Ch(template),
        'f': data.faces.astype(np.uint32),
        'shapedirs': Select(
            Ch(data.shapedirs.astype(np.float64).ravel()),
            np.arange(data.shapedirs.size),
            data.shapedirs.shape,
        ),
        'posedirs': np.zeros((len(template), 3, 207)),
        'weights': Ch(data.lbs_weights),
        'J_regressor': scipy.sparse.csc_matrix(data.joint_regressor),
        'kintree_table': np.stack([data.parents.astype(np.uint32), np.arange(24)]),
        'bs_style': 'lbs',
        'bs_type': 'lrotmin',
    }


@pytest.mark.parametrize('protocol', [0, 2, 3, 5])
def test_an_official_pickle_gives_the_same_body(
    chumpy: None,
    tiny_body: BodyModel,
    tmp_path: Path,
    protocol: int,
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


@pytest.mark.parametrize('protocol', [0, 1, 2])
def test_a_pickle_of_python_2_gives_the_same_body(
    chumpy: None, tiny_body: BodyModel, tmp_path: Path, protocol: int
) -> None:
    path = tmp_path / 'basicModel_f_lbs_10_207_0_v1.0.0.pkl'
    path.write_bytes(python2_pickle(official_content(tiny_body), protocol))
    body = load_body(path)
    assert (body.hash, body.data.gender) == (tiny_body.hash, 'female')
    np.testing.assert_array_equal(body.data.joint_regressor, tiny_body.data.joint_regressor)


def test_arrays_of_any_order_of_axes_and_bytes_are_read(tmp_path: Path) -> None:
    faces = np.arange(12).reshape(4, 3)
    weights = np.linspace(0, 1, 96).reshape(4, 24)
    for protocol in (0, 2, 4, 5):
        (tmp_path / 'a.pkl').write_bytes(
            pickle.dumps(
                {
                    'f': faces.astype('>u2'),
                    'weights': np.asfortranarray(weights.astype('>f8')),
                    'v_template': scipy.sparse.csr_matrix(weights),
                    'kintree_table': np.int64(3),
                },
                protocol=protocol,
            )
        )
        arrays = read_smpl_pickle(tmp_path / 'a.pkl')
        np.testing.assert_array_equal(arrays['f'], faces)
        np.testing.assert_array_equal(arrays['weights'], weights)
        np.testing.assert_array_equal(arrays['v_template'], weights)
        assert all(array.dtype.isnative for array in arrays.values())
        assert arrays['kintree_table'] == 3 and arrays['kintree_table'].shape == ()


def test_a_pickle_that_runs_a_command_is_rejected_and_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'evil.pkl').write_bytes(pickle.dumps({'v_template': Evil()}))
    with pytest.raises(ValueError, match=rf'asks for {os.name}\.system, which is not allowed'):
        read_smpl_pickle(tmp_path / 'evil.pkl')
    assert not (tmp_path / 'owned').exists()


@pytest.mark.parametrize(
    'target',
    [
        b'cbuiltins\neval\n',
        b'cnumpy\nsave\n',
        b'cnumpy.lib.npyio\nload\n',
        b'cscipy._lib\nos\n',
        b'cchumpy.ch\nos\n',
        b'cbuiltins\ngetattr\n',
        b'c__builtin__\neval\n',
        b'csubprocess\nPopen\n',
        b'cnumpy.testing\nmeasure\n',
        b'cnumpy.core\nscalar.mro\n',
        b'ccodecs\ndecode\n',
        b'coperator\nattrgetter\n',
        b'c_codecs\nencode.__globals__\n',
    ],
)
def test_other_functions_of_known_packages_are_rejected(tmp_path: Path, target: bytes) -> None:
    (tmp_path / 'evil.pkl').write_bytes(target + b'(S"1"\ntR.')
    with pytest.raises(ValueError, match='which is not allowed'):
        read_smpl_pickle(tmp_path / 'evil.pkl')


@pytest.mark.parametrize(
    ('content', 'complaint'),
    [
        # Opcodes that hide a call: INST, OBJ, extension, persistent object, out-of-band buffer.
        (b'(S"1"\nios\nsystem\n.', 'not a pickle of arrays'),
        (b'(cnumpy\ndtype\nS"f8"\no.', 'not a pickle of arrays'),
        (b'\x80\x02\x82\x01.', 'not a pickle of arrays'),
        (b'Pid\n.', 'not a pickle of arrays'),
        (b'\x80\x05\x97.', 'not a pickle of arrays'),
        # Writing into a function, and a call that turns bytes into as many arguments.
        (
            b'\x80\x02ccopyreg\n_reconstructor\n}U\x01aNsb.',
            'sets the state of something other than an array',
        ),
        (b'\x80\x03cnumpy\ndtype\nC\x05aaaaaR.', 'without a tuple'),
        (b'ccopyreg\n_reconstructor\n(cbuiltins\nobject\nNNtR.', 'rebuild an unknown object'),
        # Claims of 10 GB and more in a few bytes.
        (b'\x80\x05\x96' + struct.pack('<Q', 10 * 2**30) + b'abc', 'body: EOFError;'),
        (b'\x80\x04\x8e' + struct.pack('<Q', 2**62) + b'abc', 'body: EOFError;'),
        (b'\x80\x04\x95' + struct.pack('<Q', 2**40) + b'}', 'body: EOFError;'),
        (b'\x80\x02}r\xff\xff\xff\xff.', 'lacks v_template'),
        # A key whose hash takes 2**64 steps.
        (b'\x80\x02})' + b'2\x86' * 64 + b'Ns.', 'other types than text'),
        (b'\x80\x02}()' + b'2\x86' * 64 + b'Nu.', 'other types than text'),
        (b'()' + b'2\x86' * 64 + b'Nd.', 'other types than text'),
        # Control characters for the terminal.
        (b'c\x1b[31mos\n\x07system\n.', r'asks for \?\[31mos\.\?system, which'),
    ],
)
def test_pickle_tricks_are_rejected_immediately(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    (tmp_path / 'evil.pkl').write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=complaint):
            load_body(tmp_path / 'evil.pkl')
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


class Made:
    """Pickles as the call of a function with arguments and, if given, a state."""

    def __init__(self, *made_by: object) -> None:
        self.made_by = made_by

    def __reduce__(self) -> tuple:
        return self.made_by


RECONSTRUCT = np.zeros(0).__reduce__()[0]
SCALAR = np.float64(0).__reduce__()[0]


def lying_array(shape: object, kind: object, data: object) -> Made:
    """An array with the given pickled state."""
    return Made(RECONSTRUCT, (np.ndarray, (0,), b'b'), (1, shape, kind, False, data))


@pytest.mark.parametrize(
    ('array', 'complaint'),
    [
        (Made(np.ndarray, ((10**12,),)), 'built in an unknown way'),
        (Made(RECONSTRUCT, (np.ndarray, (10**12,), b'd')), 'built in an unknown way'),
        (lying_array((10**9, 10**9), np.dtype('f8'), b''), 'an invalid shape'),
        (lying_array((2**20, 2**20), np.dtype('f8'), b''), 'claims 2 dimensions and'),
        (lying_array((-1, 3), np.dtype('f8'), bytes(24)), 'an invalid shape'),
        (lying_array((1,) * 40, np.dtype('f8'), bytes(8)), 'claims 40 dimensions'),
        (lying_array((4, 3), np.dtype('f8'), bytes(24)), 'has 24 bytes'),
        (lying_array(3.0, np.dtype('f8'), bytes(24)), 'an invalid shape'),
        (lying_array((3,), 'f8', bytes(24)), 'lacks v_template'),
        (lying_array((1,), np.dtype('O'), [{}]), 'lacks v_template'),
        # A record of pointers, filled with bytes: numpy itself would follow them.
        (lying_array((1,), np.dtype([('a', 'O')]), b'AAAAAAAA'), 'lacks v_template'),
        (
            lying_array(
                (1,),
                Made(
                    np.dtype,
                    ('V8', False, True),
                    (3, '|', None, ('a',), {'a': (np.dtype('O'), 0)}, 8, 1, 0),
                ),
                b'AAAAAAAA',
            ),
            'lacks v_template',
        ),
        (lying_array((1,), Made(np.dtype, ('f8', False, True), (3, '?')), bytes(8)), 'byte order'),
        (Made(SCALAR, (np.dtype('O'), b'AAAAAAAA')), 'lacks v_template'),
        (Made(SCALAR, (np.dtype('f8'), bytes(10**5))), 'has 100000 bytes'),
    ],
)
def test_arrays_with_inconsistent_headers_are_rejected(
    tmp_path: Path, array: object, complaint: str
) -> None:
    (tmp_path / 'evil.pkl').write_bytes(pickle.dumps({'v_template': array}, protocol=2))
    with pytest.raises(ValueError, match=complaint):
        load_body(tmp_path / 'evil.pkl')


def test_a_small_sparse_matrix_cannot_claim_to_be_huge(tmp_path: Path) -> None:
    matrix = scipy.sparse.csc_matrix((24, 10**5))
    matrix._shape = (10**5, 10**5)
    (tmp_path / 'evil.pkl').write_bytes(pickle.dumps({'J_regressor': matrix}))
    with pytest.raises(ValueError, match='more than any body has'):
        read_smpl_pickle(tmp_path / 'evil.pkl')


def test_a_chumpy_array_inside_itself_is_rejected(chumpy: None, tmp_path: Path) -> None:
    ring = Ch(np.zeros(3))
    ring.x = ring
    (tmp_path / 'evil.pkl').write_bytes(pickle.dumps({'v_template': ring}))
    with pytest.raises(ValueError, match='nested too deeply'):
        read_smpl_pickle(tmp_path / 'evil.pkl')


def test_a_file_larger_than_any_body_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / 'huge.pkl').open('wb') as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match=r'has 1099512 MB, more than any SMPL file'):
        load_body(tmp_path / 'huge.pkl')


def test_a_sparse_matrix_with_wrong_indices_is_rejected(
    chumpy: None, tiny_body: BodyModel, tmp_path: Path
) -> None:
    content = official_content(tiny_body)
    content['J_regressor'].indices[0] = 10**6
    (tmp_path / 'bad.pkl').write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=r'bad\.pkl cannot be read as a body'):
        read_smpl_pickle(tmp_path / 'bad.pkl')


@pytest.mark.parametrize(
    'content',
    [b'', b'not a pickle', pickle.dumps([1, 2]), pickle.dumps({'f': np.zeros((9, 3))})[:-20]],
)
def test_an_incomplete_model_is_rejected(tmp_path: Path, content: bytes) -> None:
    (tmp_path / 'bad.pkl').write_bytes(content)
    with pytest.raises(ValueError, match=r'bad\.pkl cannot be read as a body.*official SMPL'):
        load_body(tmp_path / 'bad.pkl')
