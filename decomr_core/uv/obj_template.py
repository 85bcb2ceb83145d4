"""Reads a Wavefront OBJ: v, vt and f lines, or only the v lines; ignores other lines."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ['ObjTemplate', 'read_obj_template', 'read_obj_vertices']

# Body templates take a few megabytes.
MAX_FILE_BYTES = 2**26
ADVICE = 'give an OBJ with v, vt and f lines, as any 3D program exports a mesh with its UVs'
_INTEGER = re.compile(r'-?[0-9]{1,18}')


@dataclass(frozen=True)
class ObjTemplate:
    """The faces of an OBJ with texture coordinates.

    Attributes:
        num_vertices: number of v lines.
        uv: (T, 2) float64, the unmodified vt lines.
        polygons: the corners of each f line as (vertex, row of uv), counted from 0.
    """

    num_vertices: int
    uv: np.ndarray
    polygons: list[list[tuple[int, int]]]


class _LineError(ValueError):
    """An error in one line; the reader adds file and line number."""


def read_obj_template(path: str | Path) -> ObjTemplate:
    """The vertices, UVs and faces of an OBJ.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not an OBJ with UVs, or a line is invalid; the message names the line.
    """
    path = Path(path)
    num_vertices, uv, polygons, line_numbers = 0, [], [], []
    for number, (kind, *words) in enumerate(_read_lines(path, ADVICE), start=1):
        try:
            if kind == 'v':
                _numbers('v', words, 3)
                num_vertices += 1
            elif kind == 'vt':
                uv.append(_numbers('vt', words, 2))
            elif kind == 'f':
                polygons.append(_polygon(words, num_vertices, len(uv)))
                line_numbers.append(number)
        except _LineError as error:
            raise ValueError(f'{path} line {number}: {error}; {ADVICE}') from error
    for kind, count in (('v', num_vertices), ('vt', len(uv)), ('f', len(polygons))):
        if not count:
            raise ValueError(f'{path} has no {kind} lines; {ADVICE}')
    _check_indices(path, polygons, line_numbers, num_vertices, len(uv))
    return ObjTemplate(num_vertices, np.array(uv), polygons)


def read_obj_vertices(path: str | Path, advice: str) -> np.ndarray:
    """The vertices of an OBJ; UVs and faces are not required.

    Args:
        path: the file.
        advice: the remedy to append to error messages.

    Returns:
        (V, 3) float64, the unmodified v lines; V may be 0.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not an OBJ, or a v line is invalid; the message names the line.
    """
    path, points = Path(path), []
    for number, (kind, *words) in enumerate(_read_lines(path, advice), start=1):
        if kind == 'v':
            try:
                points.append(_numbers('v', words, 3))
            except _LineError as error:
                raise ValueError(f'{path} line {number}: {error}; {advice}') from error
    return np.array(points, np.float64).reshape(-1, 3)


def _read_lines(path: Path, advice: str) -> Iterator[list[str]]:
    """The words of each line without comments; [''] for an empty line.

    A line continued with a backslash is yielded at its last line's number.
    """
    if path.is_dir():
        raise ValueError(f'{path} is a folder; {advice}')
    if not path.is_file():
        raise FileNotFoundError(f'no OBJ file at {path}')
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ValueError(f'{path} has {size / 1e6:.0f} MB, more than any template; {advice}')
    data = path.read_bytes()
    if b'\0' in data:
        raise ValueError(f'{path} is not a text file; {advice}')
    lines: list[str] = []
    continued: list[str] = []
    for line in re.split('\r\n|\r|\n', data.decode('utf-8-sig', 'replace')):
        if line.endswith('\\'):
            continued.append(line[:-1])
            lines.append('')
        else:
            lines.append(' '.join([*continued, line]))
            continued.clear()
    lines.append(' '.join(continued))
    return (line.split('#', 1)[0].split() or [''] for line in lines)


def _numbers(kind: str, words: list[str], count: int) -> list[float]:
    """The first `count` numbers of a line."""
    try:
        numbers = [float(word) for word in words[:count]]
    except ValueError:
        numbers = []
    if len(numbers) < count or not all(map(math.isfinite, numbers)):
        raise _LineError(
            f'{kind} needs {count} finite numbers, found {_quoted(" ".join(words[:4]))}'
        )
    return numbers


def _polygon(words: list[str], num_vertices: int, num_uvs: int) -> list[tuple[int, int]]:
    """The corners of an f line; negative indices count back from the last line read."""
    corners = []
    for word in words:
        indices = word.split('/')[:2]
        if len(indices) < 2 or not indices[1]:
            raise _LineError(f'the corner {_quoted(word)} of a face has no vt')
        if not all(_INTEGER.fullmatch(index) and int(index) for index in indices):
            raise _LineError(
                f'the corner {_quoted(word)} of a face is not v/vt with non-zero integers'
            )
        vertex, uv_index = map(int, indices)
        corners.append(
            (
                vertex - 1 if vertex > 0 else num_vertices + vertex,
                uv_index - 1 if uv_index > 0 else num_uvs + uv_index,
            )
        )
    if len(corners) < 3:
        raise _LineError(f'a face needs at least 3 corners, found {len(corners)}')
    if len({vertex for vertex, _ in corners}) < len(corners):
        raise _LineError('a face has the same vertex twice')
    return corners


def _check_indices(
    path: Path,
    polygons: list[list[tuple[int, int]]],
    line_numbers: list[int],
    num_vertices: int,
    num_uvs: int,
) -> None:
    """Rejects indices out of range; an f line may precede its v and vt lines."""
    for number, polygon in zip(line_numbers, polygons, strict=True):
        for vertex, uv_index in polygon:
            if not (0 <= vertex < num_vertices and 0 <= uv_index < num_uvs):
                raise ValueError(
                    f'{path} line {number}: a face refers to v {vertex + 1} and vt '
                    f'{uv_index + 1}, but there are {num_vertices} v and {num_uvs} '
                    f'vt; the file is damaged or truncated; {ADVICE}'
                )


def _quoted(text: str) -> str:
    """Text from the file, quoted and shortened for an error message."""
    return repr(text[:40])
