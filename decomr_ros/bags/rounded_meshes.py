"""Meshes with rounded vertices, for recordings: the same message, half the size once compressed.

The vertices of a decomr/HumanMeshArray are rounded to multiples of a power of two, e.g. 2^-11 m.
They stay float32 numbers in metres, so that every reader of the message reads them as before. The
low bits of the numbers become zero, and the compression of the recording leaves the zeros out.
Nothing else of the message changes: joints, translation, boxes and scores stay exact.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import numpy as np

from decomr_ros.messages.cdr import CdrReader

__all__ = ['DEFAULT_MAX_ERROR_MM', 'MAX_ERROR_KEY', 'MESHES', 'MeshRounding', 'largest_error_m',
           'max_error_mm', 'round_meshes', 'step_for_error']

MESHES = 'decomr/msg/HumanMeshArray'

DEFAULT_MAX_ERROR_MM = 0.5
"""Of a recording, mm: a third of what the vertices of a person who stands still tremble by."""

MAX_ERROR_KEY = 'vertices_max_error_mm'
"""In the metadata of a recorded channel: how far vertices may be from the published ones, mm."""


# Bytes of the fixed numbers of HumanMesh: score and box (float32); weak_camera, crop_center and
# crop_side (float32).
NUM_BEFORE_TRANSLATION, NUM_BEFORE_VERTICES = 5, 6


def step_for_error(max_error_m: float) -> float:
    """The largest power of two, m, whose multiples are near enough to every point.

    Args:
        max_error_m: largest distance between a point and the rounded one, m, above 0.
    """
    return 2.0 ** math.floor(math.log2(2 * max_error_m / math.sqrt(3)))


def largest_error_m(step_m: float) -> float:
    """How far a point is from the nearest one whose coordinates are multiples of a step, m."""
    return math.sqrt(3) / 2 * step_m


def max_error_mm(text: str) -> float:
    """An error bound of the command line: 0 keeps every bit, else 0.01 to 100 mm.

    Raises:
        argparse.ArgumentTypeError: anything else.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if value != 0 and not 0.01 <= value <= 100:
        raise argparse.ArgumentTypeError(f'{text!r} is no error bound: 0 (vertices stay as they '
                                         'are published) or 0.01 to 100 mm')
    return value


def round_meshes(data: bytes, step_m: float) -> bytes:
    """The same message with rounded vertices.

    Args:
        data: serialised decomr/HumanMeshArray (plain CDR, little-endian).
        step_m: the vertices become multiples of this, m: a power of two.

    Returns:
        As many bytes as before.

    Raises:
        ValueError: the bytes are no such message.
    """
    rounded = bytearray(data)
    try:
        for place, count in _vertices(CdrReader(data)):
            vertices = np.frombuffer(rounded, '<f4', count, place)
            # Exact: a power of two changes the exponent alone. Adding 0 makes -0 a 0.
            vertices[:] = np.rint(vertices.astype(np.float64) / step_m) * step_m + 0
    except ValueError as error:
        raise ValueError(f'{len(data)} bytes that are no decomr/HumanMeshArray of this version: '
                         f'{error}') from error
    return bytes(rounded)


class MeshRounding:
    """Rounds what is recorded of meshes and says so.

    Attributes:
        step_m: the vertices become multiples of this, m; None: they stay as they are.
    """

    def __init__(self, max_error_mm: float, warn: Callable[[str], object]) -> None:
        """Takes the largest error, mm (0: none), and what logs a sentence."""
        self.step_m = step_for_error(max_error_mm / 1000) if max_error_mm else None
        self._warn, self._has_warned = warn, False

    def metadata(self, type_name: str) -> dict[str, str]:
        """What the bag says of a topic of this type, e.g. decomr/msg/HumanMeshArray."""
        if type_name != MESHES or self.step_m is None:
            return {}
        return {MAX_ERROR_KEY: f'{largest_error_m(self.step_m) * 1000:.3g}'}

    def rounded(self, type_name: str, data: bytes) -> bytes:
        """A message of this type with rounded vertices; as it is where there are none."""
        if type_name != MESHES or self.step_m is None:
            return data
        try:
            return round_meshes(data, self.step_m)
        except ValueError as error:
            if not self._has_warned:
                self._has_warned = True
                self._warn(f'meshes are recorded without rounding: {error}; build recorder and '
                           'node from the same version')
            return data


def _vertices(reader: CdrReader) -> list[tuple[int, int]]:
    """Place and number of the float32 numbers of each mesh's vertices."""
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
