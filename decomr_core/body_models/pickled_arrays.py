"""Reads arrays from a pickle without executing it.

A pickle is a program. A malicious one can call any function, allocate any amount of memory, and
pass NumPy a state that NumPy trusts. Therefore no code of NumPy, SciPy or chumpy takes part in
reading. Stand-in classes replace their classes and record the arguments; all other names are
rejected. The arrays are then built here from the recorded and validated arguments.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import struct
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

__all__ = ['arrays_from_pickle', 'printable', 'values_from_pickle']

# 512 MiB in float64, five times the largest array of a body of this family.
MAX_ENTRIES = 2**26
_NUMBER = re.compile('[fiu][1248]')
_OPCODES = (
    'PROTO FRAME STOP MARK POP POP_MARK DUP MEMOIZE PUT BINPUT LONG_BINPUT GET BINGET LONG_BINGET '
    'NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING '
    'BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 UNICODE BINUNICODE '
    'SHORT_BINUNICODE BINUNICODE8 EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND '
    'APPENDS EMPTY_DICT GLOBAL STACK_GLOBAL NEWOBJ'
)
"""Opcodes of a pickle of named arrays; `_ArrayUnpickler` adds guarded ones."""


def arrays_from_pickle(data: bytes, names: Iterable[str]) -> dict[str, np.ndarray]:
    """The arrays of the given names in a pickled dictionary; skips entries without numbers.

    Raises:
        Exception: of almost any type, if the pickle is damaged or contains disallowed objects.
    """
    content = _named_content(data)
    arrays = {name: _array_from(content[name]) for name in names if name in content}
    return {name: array for name, array in arrays.items() if array is not None}


def values_from_pickle(data: bytes) -> dict[str, Any]:
    """A pickled dictionary: arrays, numbers, strings and lists of them; None for other values.

    Raises:
        Exception: of almost any type, if the pickle is damaged or contains disallowed objects.
    """
    return {printable(name): _plain_value(value) for name, value in _named_content(data).items()}


def printable(text: object, length: int = 80) -> str:
    """Text from a file made safe for a terminal: one short line without control characters."""
    words = ' '.join(str(text)[: 8 * length].split())
    return ''.join(c if c.isprintable() else '?' for c in words)[:length]


def _named_content(data: bytes) -> dict:
    content = _ArrayUnpickler(io.BytesIO(data), encoding='latin1').load()
    if not isinstance(content, dict):
        raise ValueError(f'it holds a {type(content).__name__}, not named arrays')
    return content


def _plain_value(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain_value(item) for item in value]
    return value if isinstance(value, str | int | float) else _array_from(value)


class _StandIn:
    """Records arguments and state of an object in place of its real class."""

    arguments: tuple = ()
    state: Any = None

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def entry(self, name: str) -> Any:
        """One attribute of the object."""
        if not isinstance(self.state, dict) or name not in self.state:
            raise ValueError(f'an array in it lacks its {name}')
        return self.state[name]


class _Array(_StandIn):
    """A NumPy array of `_reconstruct`; its content is in the state."""


class _Buffer(_StandIn):
    """A NumPy array of protocol 5: bytes, dtype, shape, order."""


class _Scalar(_StandIn):
    """A NumPy scalar: dtype, bytes."""


class _Type(_StandIn):
    """A NumPy dtype."""


class _Encoded(_StandIn):
    """Bytes in older pickle protocols, written by Python 3: text and encoding, or nothing."""


class _Set(_StandIn):
    """A set; chumpy's arrays contain unused ones."""


class _Chumpy(_StandIn):
    """A chumpy array (`x`), or a selection of its entries (`a`, `idxs`)."""


class _SparseColumns(_StandIn):
    """A SciPy CSC matrix."""


class _SparseRows(_StandIn):
    """A SciPy CSR matrix."""


def _reconstructor(kind: Any, base: Any, state: Any) -> _StandIn:
    """Replaces `copyreg._reconstructor`, for stand-ins only."""
    if not (isinstance(kind, type) and issubclass(kind, _StandIn) and base is object):
        raise pickle.UnpicklingError('it asks to rebuild an unknown object, which is not allowed')
    return kind()


_PYTHON = {
    ('_codecs', 'encode'): _Encoded,
    ('__builtin__', 'bytes'): _Encoded,
    ('builtins', 'bytes'): _Encoded,
    ('copy_reg', '_reconstructor'): _reconstructor,
    ('copyreg', '_reconstructor'): _reconstructor,
    ('__builtin__', 'object'): object,
    ('builtins', 'object'): object,
    ('__builtin__', 'set'): _Set,
    ('builtins', 'set'): _Set,
}
# By package, because the modules differ between versions.
_PACKAGES: dict[str, dict[str, type[_StandIn]]] = {
    'numpy': {
        'ndarray': _Array,
        '_reconstruct': _Array,
        '_frombuffer': _Buffer,
        'scalar': _Scalar,
        'dtype': _Type,
    },
    'scipy': {'csc_matrix': _SparseColumns, 'csr_matrix': _SparseRows},
    'chumpy': {'Ch': _Chumpy, 'Select': _Chumpy},
}


class _Dispatch(dict):
    """Handlers by opcode; other opcodes raise an error."""

    def __missing__(self, opcode: int) -> Any:
        raise pickle.UnpicklingError(f'it is not a pickle of arrays (it has opcode {opcode})')


_HANDLERS: dict[int, Callable[[Any], None]] = pickle._Unpickler.dispatch


class _ArrayUnpickler(pickle._Unpickler):
    """An unpickler that only finds stand-ins.

    It is based on the unpickler written in Python, in which each opcode can be guarded. A huge
    memo index costs nothing there, while the C implementation would allocate memory for it.
    """

    # Attributes of `pickle._Unpickler` that the stubs omit.
    read: Callable[[int], bytes]
    append: Callable[[Any], None]
    stack: list[Any]

    dispatch = _Dispatch(
        {
            opcode: _HANDLERS[opcode]
            for opcode in (getattr(pickle, name)[0] for name in _OPCODES.split())
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a class or function."""
        found = _PACKAGES.get(module.partition('.')[0], {}).get(name) or _PYTHON.get(
            (module, name)
        )
        if found is None:
            raise pickle.UnpicklingError(
                f'it asks for {printable(module)}.{printable(name)}, which is not allowed'
            )
        return found

    def load_bytearray8(self) -> None:
        """Reads bytes; the original allocates the claimed length before reading."""
        (length,) = struct.unpack('<Q', self.read(8))
        self.append(self.read(length))

    def load_build(self) -> None:
        """Records the state; the original would write it into any object on the stack."""
        state = self.stack.pop()
        if not isinstance(self.stack[-1], _StandIn):
            raise pickle.UnpicklingError('it sets the state of something other than an array')
        self.stack[-1].state = state

    def load_reduce(self) -> None:
        """Calls a stand-in; the original would also unpack megabytes of bytes as arguments."""
        if not isinstance(self.stack[-1], tuple):
            raise pickle.UnpicklingError('it calls something without a tuple of arguments')
        _HANDLERS[pickle.REDUCE[0]](self)

    def load_setitems(self) -> None:
        """Adds entries to a dictionary; nested tuples as keys could take forever to hash."""
        self._check_keys(self.stack[::2])
        _HANDLERS[pickle.SETITEMS[0]](self)

    def load_setitem(self) -> None:
        """Adds one entry to a dictionary."""
        self._check_keys(self.stack[-2:-1])
        _HANDLERS[pickle.SETITEM[0]](self)

    def load_dict(self) -> None:
        """Makes a dictionary with its entries."""
        self._check_keys(self.stack[::2])
        _HANDLERS[pickle.DICT[0]](self)

    def _check_keys(self, keys: list) -> None:
        if not all(isinstance(key, str | int | float) for key in keys):
            raise pickle.UnpicklingError('it has keys of other types than text and numbers')

    # Sets are read as lists, so that their items need not be hashed.
    dispatch.update(
        {
            pickle.EMPTY_SET[0]: dispatch[pickle.EMPTY_LIST[0]],
            pickle.ADDITEMS[0]: dispatch[pickle.APPENDS[0]],
            pickle.BYTEARRAY8[0]: load_bytearray8,
            pickle.BUILD[0]: load_build,
            pickle.REDUCE[0]: load_reduce,
            pickle.SETITEMS[0]: load_setitems,
            pickle.SETITEM[0]: load_setitem,
            pickle.DICT[0]: load_dict,
        }
    )


def _array_from(value: Any) -> np.ndarray | None:
    """A plain array of numbers; None for other values (such as names of styles)."""
    maker = _MAKERS.get(type(value))
    return None if maker is None else maker(value)


def _plain(array: _Array) -> np.ndarray | None:
    _, shape, kind, is_fortran, data = _tuple(array.state, 5)
    return _numbers(kind, shape, data, 'F' if is_fortran else 'C')


def _from_buffer(buffer: _Buffer) -> np.ndarray | None:
    data, kind, shape, order = _tuple(buffer.arguments, 4)
    return _numbers(kind, shape, data, order)


def _scalar(scalar: _Scalar) -> np.ndarray | None:
    kind, data = _tuple(scalar.arguments, 2)
    return _numbers(kind, (), data, 'C')


def _numbers(kind: Any, shape: Any, data: Any, order: Any) -> np.ndarray | None:
    """An array from bytes; None if its dtype is not a number."""
    number = _number_type(kind)
    if number is None:
        return None
    if isinstance(data, _Encoded):
        data, coding = _tuple(data.arguments or ('', 'latin1'), 2)
        if coding != 'latin1' or not isinstance(data, str):
            raise ValueError('an array in it has an encoding other than latin1')
    data = data.encode('latin1') if isinstance(data, str) else data
    shape = _checked_shape(shape)
    if math.prod(shape) * number.itemsize != len(data) or order not in ('C', 'F'):
        raise ValueError(f'an array of shape {shape} in it has {len(data)} bytes')
    array = np.frombuffer(data, number).reshape(shape, order=order)
    return array.astype(number.newbyteorder('='))


def _number_type(kind: Any) -> np.dtype | None:
    """The numeric dtype of a stand-in; None for objects, records and text."""
    name = kind.arguments[0] if isinstance(kind, _Type) and kind.arguments else None
    if not isinstance(name, str) or not _NUMBER.fullmatch(name):
        return None
    order = '<'
    if kind.state is not None:
        order = kind.state[1]
        if order not in ('<', '>', '|', '='):
            raise ValueError('an array in it has an unknown byte order')
    return np.dtype(order + name)


def _checked_shape(shape: Any) -> tuple[int, ...]:
    """Validates a claimed shape against the limits of a body's arrays."""
    sides = tuple(_side(side) for side in shape) if isinstance(shape, tuple | list) else (-1,)
    if not all(0 <= side <= MAX_ENTRIES for side in sides):
        raise ValueError('an array in it has an invalid shape')
    size = math.prod(sides[:4])
    if len(sides) > 3 or size > MAX_ENTRIES:
        raise ValueError(
            f'an array in it claims {len(sides)} dimensions and {size} entries, more '
            'than any body has'
        )
    return sides


def _side(side: Any) -> int:
    """One number of a shape, from Python or NumPy; -1 if it is not an integer."""
    if isinstance(side, _Scalar):
        number = _scalar(side)
        side = -1 if number is None or number.dtype.kind not in 'iu' else int(number)
    return side if isinstance(side, int) else -1


def _chumpy(wrapped: _Chumpy, depth: int = 8) -> np.ndarray | None:
    """The entries that a chumpy array contains or selects."""
    if depth == 0:
        raise ValueError('an array in it is nested too deeply')
    is_selection = not (isinstance(wrapped.state, dict) and 'x' in wrapped.state)
    inner = wrapped.entry('a' if is_selection else 'x')
    array = _chumpy(inner, depth - 1) if isinstance(inner, _Chumpy) else _array_from(inner)
    if not is_selection or array is None:
        return array
    index = _array_from(wrapped.entry('idxs'))
    if index is None or index.dtype.kind not in 'iu':
        raise ValueError('a selection in it has no integer indices')
    chosen = array.ravel()[index]
    shape = wrapped.state.get('preferred_shape')
    return chosen if shape is None else chosen.reshape(_checked_shape(shape))


def _dense(sparse: _SparseColumns | _SparseRows) -> np.ndarray:
    """A sparse matrix as a dense array."""
    from scipy.sparse import csc_matrix, csr_matrix  # 0.3 s to import, only used by old pickles

    shape = sparse.state.get('_shape') if isinstance(sparse.state, dict) else None
    shape = _checked_shape(sparse.entry('shape') if shape is None else shape)
    parts = [_array_from(sparse.entry(name)) for name in ('data', 'indices', 'indptr')]
    kind = csc_matrix if isinstance(sparse, _SparseColumns) else csr_matrix
    matrix = kind(tuple(parts), shape=shape)
    matrix.check_format(full_check=True)
    return matrix.toarray()


def _tuple(value: Any, length: int) -> tuple:
    """Checks that a value is a tuple of the given length."""
    if not isinstance(value, tuple) or len(value) != length:
        raise ValueError('an array in it is built in an unknown way')
    return value


_MAKERS: dict[type, Callable[[Any], np.ndarray | None]] = {
    _Array: _plain,
    _Buffer: _from_buffer,
    _Scalar: _scalar,
    _Chumpy: _chumpy,
    _SparseColumns: _dense,
    _SparseRows: _dense,
}
