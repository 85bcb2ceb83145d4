"""Messages with wrong values, and what the node's inputs say about them.

Nothing that comes in a message is ignored or guessed in silence. The tests of wrong inputs walk
through all of them: each case is a message with one wrong value; the word must be in the log, and
a warning must stand with its count, which /diagnostics shows, until a right message comes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sensor_msgs.msg import Image

from decomr_ros.inputs.frame import Frame
from decomr_ros.inputs.inputs import Inputs
from decomr_ros.messages.bad_input import BadInput
from decomr_ros.messages.images import image_message
from tests.ros.inputs.test_inputs import header

__all__ = ['Change', 'change', 'numbers', 'see', 'warnings_of']

Change = Callable[[object], None]


def change(**fields: object) -> Change:
    """Sets fields of a message; `roi__width` is one of a part."""

    def apply(message: object) -> None:
        for name, value in fields.items():
            *parts, last = name.split('__')
            for part in parts:
                message = getattr(message, part)
            setattr(message, last, value)

    return apply


def see(frames: list[Frame]) -> str:
    """What the worker asks of the last image; why that failed, which the node logs as well."""
    frame = frames[-1]
    try:
        frame.rgb  # noqa: B018 - decoded here
        frame.boxes  # noqa: B018 - likewise
        frame.depth  # noqa: B018 - likewise
    except BadInput as error:
        return str(error)
    return ''


def warnings_of(inputs: Inputs) -> dict[str, str]:
    values = inputs.warnings.values()
    assert int(values.pop('warnings')) == sum(not name.endswith('_count') for name in values)
    return values


def numbers(
    encoding: str,
    dtype: str,
    value: float,
    seconds: float = 1.0,
    size: int = 64,
    width: int | None = None,
) -> Image:
    return image_message(header(seconds), np.full((size, width or size), value, dtype), encoding)
