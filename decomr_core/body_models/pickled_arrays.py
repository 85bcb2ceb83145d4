"""Arrays out of a pickle, without running what the pickle says.

A pickle is a program: it may call any function, ask for any amount of memory, and hand numpy a
state that numpy believes. So nothing of numpy, scipy or chumpy takes part in reading. Their names
become stand-ins that keep what they are given, every other name is refused, and arrays are made
here from what was kept, once it has been checked.
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
from scipy.sparse import csc_matrix, csr_matrix

__all__ = ['arrays_from_pickle', 'printable', 'values_from_pickle']

# 512 MiB in float64, five times what the largest body of this family holds in one array.
MAX_ENTRIES = 2**26
_NUMBER = re.compile('[fiu][1248]')
_OPCODES = (
    'PROTO FRAME STOP MARK POP POP_MARK DUP MEMOIZE PUT BINPUT LONG_BINPUT GET BINGET LONG_BINGET '
    'NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING '
    'BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 UNICODE BINUNICODE '
    'SHORT_BINUNICODE BINUNICODE8 EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND '
    'APPENDS EMPTY_DICT GLOBAL STACK_GLOBAL NEWOBJ')
"""What a pickle of named arrays is written with; more are guarded below."""


def arrays_from_pickle(data: bytes, names: Iterable[str]) -> dict[str, np.ndarray]:
    """The arrays of these names in a pickled dictionary, as far as they are arrays of numbers.

    Raises:
        Exception: of almost any kind, for a pickle that is damaged or asks for something else.
    """
    content = _named_content(data)
    arrays = {name: _array_from(content[name]) for name in names if name in content}
    return {name: array for name, array in arrays.items() if array is not None}


def values_from_pickle(data: bytes) -> dict[str, Any]:
    """All of a pickled dictionary: arrays, numbers, texts and lists of them; None for the rest.

    Raises:
        Exception: of almost any kind, for a pickle that is damaged or asks for something else.
    """
    return {printable(name): _plain_value(value) for name, value in _named_content(data).items()}


def printable(text: object, length: int = 80) -> str:
    """Text from a file, safe for a terminal: one line, no control characters, not too long."""
    words = ' '.join(str(text)[:8 * length].split())
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
    """Keeps what an object of a class that must not run was made from."""

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
    """A numpy array as `_reconstruct` makes it: its state is what it is."""


class _Buffer(_StandIn):
    """A numpy array as protocol 5 has it: bytes, type, shape, order."""


class _Scalar(_StandIn):
    """A numpy number: type, bytes."""


class _Type(_StandIn):
    """A numpy dtype."""


class _Encoded(_StandIn):
    """Bytes, as Python 3 writes them into the older kinds of pickle: text, coding, or nothing."""


class _Set(_StandIn):
    """A set: chumpy's arrays carry some, which nobody looks at."""


class _Chumpy(_StandIn):
    """A chumpy array (`x`), or a selection of one's entries (`a`, `idxs`)."""


class _SparseColumns(_StandIn):
    """A matrix in compressed columns."""


class _SparseRows(_StandIn):
    """A matrix in compressed rows."""


def _reconstructor(kind: Any, base: Any, state: Any) -> _StandIn:
    """What `copyreg` does for plain objects, for stand-ins alone."""
    if not (isinstance(kind, type) and issubclass(kind, _StandIn) and base is object):
        raise pickle.UnpicklingError('it asks to rebuild an unknown object, which is not done')
    return kind()


_PYTHON = {
    ('_codecs', 'encode'): _Encoded,
    ('__builtin__', 'bytes'): _Encoded, ('builtins', 'bytes'): _Encoded,
    ('copy_reg', '_reconstructor'): _reconstructor, ('copyreg', '_reconstructor'): _reconstructor,
    ('__builtin__', 'object'): object, ('builtins', 'object'): object,
    ('__builtin__', 'set'): _Set, ('builtins', 'set'): _Set,
}
# By package: modules moved between versions.
_PACKAGES = {
    'numpy': {'ndarray': _Array, '_reconstruct': _Array, '_frombuffer': _Buffer,
              'scalar': _Scalar, 'dtype': _Type},
    'scipy': {'csc_matrix': _SparseColumns, 'csr_matrix': _SparseRows},
    'chumpy': {'Ch': _Chumpy, 'Select': _Chumpy},
}


class _Dispatch(dict):
    """Handlers by opcode; what is not in it is refused by name."""

    def __missing__(self, opcode: int) -> Any:
        raise pickle.UnpicklingError(f'it is no pickle of arrays (code {opcode} in it)')


class _ArrayUnpickler(pickle._Unpickler):
    """Finds stand-ins only.

    It builds on the unpickler written in Python: there a made-up memo index costs nothing, while
    the one in C makes room for 2**32 of them, and each opcode can be guarded.
    """

    dispatch = _Dispatch({opcode: pickle._Unpickler.dispatch[opcode] for opcode in (
        getattr(pickle, name)[0] for name in _OPCODES.split())})

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for the class or function of that name."""
        found = _PACKAGES.get(module.partition('.')[0], {}).get(name) or _PYTHON.get(
            (module, name))
        if found is None:
            raise pickle.UnpicklingError(
                f'it asks for {printable(module)}.{printable(name)}, which is not run')
        return found

    def load_bytearray8(self) -> None:
        """Bytes; the original reserves the claimed length, however long, before it reads."""
        length, = struct.unpack('<Q', self.read(8))
        self.append(self.read(length))

    def load_build(self) -> None:
        """Keeps the state; the original would write into any object at hand."""
        state = self.stack.pop()
        if not isinstance(self.stack[-1], _StandIn):
            raise pickle.UnpicklingError('it sets the state of what is no array')
        self.stack[-1].state = state

    def load_reduce(self) -> None:
        """Calls a stand-in; the original would also unroll megabytes into arguments."""
        if not isinstance(self.stack[-1], tuple):
            raise pickle.UnpicklingError('it calls something without a tuple of arguments')
        super().load_reduce()

    def load_setitems(self) -> None:
        """Entries of a dictionary; text has no hash that takes forever, nested tuples have."""
        self._check_keys(self.stack[::2])
        super().load_setitems()

    def load_setitem(self) -> None:
        """One entry of a dictionary."""
        self._check_keys(self.stack[-2:-1])
        super().load_setitem()

    def load_dict(self) -> None:
        """A dictionary with its entries."""
        self._check_keys(self.stack[::2])
        super().load_dict()

    def _check_keys(self, keys: list) -> None:
        if not all(isinstance(key, str | int | float) for key in keys):
            raise pickle.UnpicklingError('it names entries by something other than text')

    # A set is kept as a list: what is in it has to be hashed in no other way.
    dispatch.update({
        pickle.EMPTY_SET[0]: dispatch[pickle.EMPTY_LIST[0]],
        pickle.ADDITEMS[0]: dispatch[pickle.APPENDS[0]],
        pickle.BYTEARRAY8[0]: load_bytearray8, pickle.BUILD[0]: load_build,
        pickle.REDUCE[0]: load_reduce, pickle.SETITEMS[0]: load_setitems,
        pickle.SETITEM[0]: load_setitem, pickle.DICT[0]: load_dict})


def _array_from(value: Any) -> np.ndarray | None:
    """A plain array of numbers; None for what is none (names of styles and the like)."""
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
    """An array of these bytes; None where they are no numbers."""
    number = _number_type(kind)
    if number is None:
        return None
    if isinstance(data, _Encoded):
        data, coding = _tuple(data.arguments or ('', 'latin1'), 2)
        if coding != 'latin1' or not isinstance(data, str):
            raise ValueError('an array in it is text in another coding than latin1')
    data = data.encode('latin1') if isinstance(data, str) else data
    shape = _checked_shape(shape)
    if math.prod(shape) * number.itemsize != len(data) or order not in ('C', 'F'):
        raise ValueError(f'an array of shape {shape} in it has {len(data)} bytes')
    array = np.frombuffer(data, number).reshape(shape, order=order)
    return array.astype(number.newbyteorder('='))


def _number_type(kind: Any) -> np.dtype | None:
    """The type of numbers that a stand-in names; None for objects, records and text."""
    name = kind.arguments[0] if isinstance(kind, _Type) and kind.arguments else None
    if not isinstance(name, str) or not _NUMBER.fullmatch(name):
        return None
    order = '<'
    if kind.state is not None:
        order = kind.state[1]
        if order not in ('<', '>', '|', '='):
            raise ValueError('an array in it has an unknown order of bytes')
    return np.dtype(order + name)


def _checked_shape(shape: Any) -> tuple[int, ...]:
    """A shape that somebody claims, if an array of a body can have it."""
    sides = tuple(_side(side) for side in shape) if isinstance(shape, tuple | list) else (-1,)
    if not all(0 <= side <= MAX_ENTRIES for side in sides):
        raise ValueError('an array in it has a shape that is none')
    size = math.prod(sides[:4])
    if len(sides) > 3 or size > MAX_ENTRIES:
        raise ValueError(f'an array in it claims {len(sides)} dimensions and {size} entries, more '
                         'than any body has')
    return sides


def _side(side: Any) -> int:
    """One number of a shape, Python's or numpy's; -1 for what is no number."""
    if isinstance(side, _Scalar):
        number = _scalar(side)
        side = -1 if number is None or number.dtype.kind not in 'iu' else int(number)
    return side if isinstance(side, int) else -1


def _chumpy(wrapped: _Chumpy, depth: int = 8) -> np.ndarray | None:
    """The entries that a chumpy array holds or selects."""
    if depth == 0:
        raise ValueError('an array in it is wrapped too often')
    is_selection = not (isinstance(wrapped.state, dict) and 'x' in wrapped.state)
    inner = wrapped.entry('a' if is_selection else 'x')
    array = _chumpy(inner, depth - 1) if isinstance(inner, _Chumpy) else _array_from(inner)
    if not is_selection or array is None:
        return array
    index = _array_from(wrapped.entry('idxs'))
    if index is None or index.dtype.kind not in 'iu':
        raise ValueError('a selection in it has no places')
    chosen = array.ravel()[index]
    shape = wrapped.state.get('preferred_shape')
    return chosen if shape is None else chosen.reshape(_checked_shape(shape))


def _dense(sparse: _SparseColumns | _SparseRows) -> np.ndarray:
    """The dense matrix."""
    shape = sparse.state.get('_shape') if isinstance(sparse.state, dict) else None
    shape = _checked_shape(sparse.entry('shape') if shape is None else shape)
    parts = [_array_from(sparse.entry(name)) for name in ('data', 'indices', 'indptr')]
    kind = csc_matrix if isinstance(sparse, _SparseColumns) else csr_matrix
    matrix = kind(tuple(parts), shape=shape)
    matrix.check_format(full_check=True)
    return matrix.toarray()


def _tuple(value: Any, length: int) -> tuple:
    """A tuple of so many parts, or an error."""
    if not isinstance(value, tuple) or len(value) != length:
        raise ValueError('an array in it is built in an unknown way')
    return value


_MAKERS: dict[type, Callable[[Any], np.ndarray | None]] = {
    _Array: _plain, _Buffer: _from_buffer, _Scalar: _scalar, _Chumpy: _chumpy,
    _SparseColumns: _dense, _SparseRows: _dense,
}
