"""Reads the official SMPL .pkl without running what it says.

A pickle may call any function. This reader knows numpy's arrays, scipy's compressed sparse
matrices and chumpy's array wrapper, builds them itself, and refuses everything else; chumpy is
never imported.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from scipy.sparse import csc_matrix, csr_matrix

__all__ = ['read_smpl_pickle']

ADVICE = "expected an official SMPL model file, as downloaded from its authors' site"


def read_smpl_pickle(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of an SMPL .pkl by their official names (`v_template`, `f`, `weights`, ...).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no whole pickle, or asks for something other than arrays.
    """
    path = Path(path)
    with path.open('rb') as handle:
        try:
            content = _ArrayUnpickler(handle).load()
            if not isinstance(content, dict):
                raise ValueError(f'it holds a {type(content).__name__}, not named arrays')
            arrays = {str(key): _array_from(value) for key, value in content.items()}
        except Exception as error:
            # Damaged pickles raise almost anything; all of it means the same to the user.
            reason = str(error) or type(error).__name__
            raise ValueError(f'{path} cannot be read as a body: {reason}; {ADVICE}') from error
    return {key: array for key, array in arrays.items() if array is not None}


class _StandIn:
    """Takes the state of an object whose class must not run."""

    def __init__(self, *arguments: Any) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}


class _Chumpy(_StandIn):
    """A chumpy array (`x`), or a selection of one's entries (`a`, `idxs`)."""


class _Sparse(_StandIn):
    """A sparse matrix in compressed columns."""

    kind = csc_matrix


class _SparseRows(_Sparse):
    kind = csr_matrix


class _ArrayUnpickler(pickle.Unpickler):
    """Finds the few classes that arrays are made of."""

    def __init__(self, handle: BinaryIO) -> None:
        # The official files were written by Python 2.
        super().__init__(handle, encoding='latin1')

    def find_class(self, module: str, name: str) -> Any:
        """The class or function of that name, or a stand-in for it."""
        package = module.partition('.')[0]
        if package == 'numpy' and name in _NUMPY:
            return _NUMPY[name]()
        if package == 'scipy' and name in ('csc_matrix', 'csr_matrix'):
            return _Sparse if name == 'csc_matrix' else _SparseRows
        if package == 'chumpy' and name in ('Ch', 'Select'):
            return _Chumpy
        if (module, name) in _PYTHON:
            return _PYTHON[module, name]
        raise pickle.UnpicklingError(f'it asks for {module}.{name}, which is not run')


def _reconstructor(kind: type, base: type, state: Any) -> Any:
    """What `copyreg` does for plain objects, for stand-ins alone."""
    if not (isinstance(kind, type) and issubclass(kind, _StandIn) and base is object):
        raise pickle.UnpicklingError(f'it asks to rebuild a {kind}, which is not done')
    return kind()


def _encode(text: str, coding: str) -> bytes:
    """Bytes, as Python 3 writes them into the older kinds of pickle."""
    if coding != 'latin1':
        raise pickle.UnpicklingError(f'it asks for text in {coding}, expected latin1')
    return text.encode('latin1')


_PYTHON = {
    ('_codecs', 'encode'): _encode,
    ('copy_reg', '_reconstructor'): _reconstructor, ('copyreg', '_reconstructor'): _reconstructor,
    ('__builtin__', 'object'): object, ('builtins', 'object'): object,
}
# numpy's own names for what rebuilds an array; its modules moved between versions.
_NUMPY: dict[str, Callable[[], Any]] = {
    'ndarray': lambda: np.ndarray,
    'dtype': lambda: np.dtype,
    '_reconstruct': lambda: np.zeros(0).__reduce__()[0],
    '_frombuffer': lambda: np.zeros(1).__reduce_ex__(5)[0],
    'scalar': lambda: np.float64(0).__reduce__()[0],
}


def _array_from(value: Any) -> np.ndarray | None:
    """A plain array of numbers; None for what is none (names of styles and the like)."""
    if isinstance(value, _Sparse):
        state = value.state
        matrix = value.kind((state['data'], state['indices'], state['indptr']),
                            shape=tuple(state.get('_shape', state.get('shape'))))
        matrix.check_format(full_check=True)
        return matrix.toarray()
    if isinstance(value, _Chumpy):
        if 'x' in value.state:
            return _array_from(value.state['x'])
        source = _array_from(value.state['a'])
        chosen = source.ravel()[np.asarray(value.state['idxs'])]
        shape = value.state.get('preferred_shape')
        return chosen if shape is None else chosen.reshape(tuple(shape))
    if isinstance(value, np.ndarray) and value.dtype.kind in 'fiu':
        return value
    return None
