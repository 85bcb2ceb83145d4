"""Rounds the vertices of meshes, which halves the size of a compressed recording.

The vertices of a decomr/HumanMeshArray are rounded to multiples of a power of two, e.g. 2^-11 m.
They remain float32 numbers in metres, so the message type does not change. The low bits of the
numbers become zero, which compresses well. Joints, translation, boxes and scores stay exact.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import numpy as np

from decomr_ros.messages.cdr import CdrReader

__all__ = [
    'DEFAULT_MAX_ERROR_MM',
    'MAX_ERROR_KEY',
    'MESHES',
    'MeshRounding',
    'largest_error_m',
    'max_error_mm',
    'round_meshes',
    'step_for_error',
]

MESHES = 'decomr/msg/HumanMeshArray'

DEFAULT_MAX_ERROR_MM = 0.5
"""Largest rounding error of a recording, mm: a third of the jitter of a standing person."""

MAX_ERROR_KEY = 'vertices_max_error_mm'
"""Key in the metadata of a recorded channel: largest error of its vertices, mm."""


# Numbers of float32 fields of HumanMesh: score and box; weak_camera, crop_center and crop_side.
NUM_BEFORE_TRANSLATION, NUM_BEFORE_VERTICES = 5, 6


def step_for_error(max_error_m: float) -> float:
    """The largest power of two, m, to whose multiples vertices can be rounded.

    Args:
        max_error_m: largest distance between a point and the rounded point, m, above 0.
    """
    return 2.0 ** math.floor(math.log2(2 * max_error_m / math.sqrt(3)))


def largest_error_m(step_m: float) -> float:
    """Largest distance between a point and the point rounded to multiples of a step, m."""
    return math.sqrt(3) / 2 * step_m


def max_error_mm(text: str) -> float:
    """Parses a largest rounding error: 0 (exact) or 0.01 to 100 mm.

    Raises:
        argparse.ArgumentTypeError: any other text.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if value != 0 and not 0.01 <= value <= 100:
        raise argparse.ArgumentTypeError(
            f'{text!r} is not a valid rounding error, expected 0 (exact) or 0.01 to 100 mm'
        )
    return value


def round_meshes(data: bytes, step_m: float) -> bytes:
    """The same message with rounded vertices.

    Args:
        data: serialised decomr/HumanMeshArray (plain CDR, little-endian).
        step_m: the vertices are rounded to multiples of this power of two, m.

    Returns:
        A serialised message of the same length.

    Raises:
        ValueError: the bytes are not such a message.
    """
    rounded = bytearray(data)
    try:
        for offset, count in _vertices(CdrReader(data)):
            vertices = np.frombuffer(rounded, '<f4', count, offset)
            # Exact: scaling by a power of two changes only the exponent. Adding 0 turns -0 into 0.
            vertices[:] = np.rint(vertices.astype(np.float64) / step_m) * step_m + 0
    except ValueError as error:
        raise ValueError(
            f'cannot parse {len(data)} bytes as decomr/HumanMeshArray of this version: {error}'
        ) from error
    return bytes(rounded)


class MeshRounding:
    """Rounds the vertices of recorded meshes.

    Attributes:
        step_m: vertices are rounded to multiples of this, m; None: they are not rounded.
    """

    def __init__(self, max_error_mm: float, warn: Callable[[str], object]) -> None:
        """Stores the largest error, mm (0: exact), and the function that logs warnings."""
        self.step_m = step_for_error(max_error_mm / 1000) if max_error_mm else None
        self._warn, self._has_warned = warn, False

    def metadata(self, type_name: str) -> dict[str, str]:
        """Channel metadata for a topic of this type, e.g. decomr/msg/HumanMeshArray."""
        if type_name != MESHES or self.step_m is None:
            return {}
        return {MAX_ERROR_KEY: f'{largest_error_m(self.step_m) * 1000:.3g}'}

    def rounded(self, type_name: str, data: bytes) -> bytes:
        """A message of this type with rounded vertices; other types are returned unchanged."""
        if type_name != MESHES or self.step_m is None:
            return data
        try:
            return round_meshes(data, self.step_m)
        except ValueError as error:
            if not self._has_warned:
                self._has_warned = True
                self._warn(
                    f'meshes are recorded without rounding: {error}; run recorder and node '
                    'from the same version'
                )
            return data


def _vertices(reader: CdrReader) -> list[tuple[int, int]]:
    """Offset, bytes, and number of the float32 values of each mesh's vertices."""
    reader.skip(4, 2)  # stamp
    reader.text()  # frame_id
    reader.text()  # topology_hash
    (num_meshes,) = reader.numbers('I')
    found = []
    for _ in range(num_meshes):
        reader.skip(4, 1)  # id
        reader.skip(4, NUM_BEFORE_TRANSLATION)
        reader.skip(8, 3)  # translation
        reader.skip(1, 1)  # is_metric
        reader.skip(4, NUM_BEFORE_VERTICES)
        found.append(reader.array(4))
        reader.array(4)  # joints
        reader.array(1)  # visibility
    reader.check_end()
    return found
