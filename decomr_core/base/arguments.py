"""The argparse types of the `decomr` command line.

Invalid arguments are reported before any work starts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

__all__ = [
    'USER_ERROR',
    'add_runtime',
    'boxes',
    'given_runtime_options',
    'numbers',
    'output_file',
    'output_picture',
    'positive',
    'split_boxes',
]

USER_ERROR = 2
"""Exit code after invalid arguments or inputs."""

BOXES = '--boxes'
PICTURE_SUFFIXES = ('.png', '.jpg', '.pdf', '.svg')
RUNTIME_HELP = 'openvino, torch, onnxruntime or tensorrt'
RUNTIME_OPTIONS = ('precision', 'device', 'provider')


def output_file(text: str) -> Path:
    """A file to write, in an existing folder."""
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f'cannot write {text}: there is no folder {path.parent}')
    if path.is_dir():
        raise argparse.ArgumentTypeError(f'cannot write {text}: it is a folder')
    return path


def output_picture(text: str) -> Path:
    """An image file to write."""
    if Path(text).suffix.lower() not in PICTURE_SUFFIXES:
        raise argparse.ArgumentTypeError(
            f'{text!r} does not end in one of: {" ".join(PICTURE_SUFFIXES)}'
        )
    return output_file(text)


def add_runtime(
    parser: argparse.ArgumentParser, more_help: str = '', nargs: str | None = None
) -> None:
    """Adds the options of the runtime; with `nargs`, several runtimes may be given."""
    parser.add_argument('--runtime', nargs=nargs, metavar='NAME', help=RUNTIME_HELP + more_help)
    parser.add_argument(
        '--precision',
        help='numeric precision: auto, f32, tf32, bf16 or fp16, if the runtime supports it (auto)',
    )
    parser.add_argument(
        '--device',
        type=_device,
        help='for torch: cpu, cuda or cuda:N (cpu); for onnxruntime and tensorrt: 0, 1, ...',
    )
    parser.add_argument('--provider', help='for onnxruntime: cpu, cuda or tensorrt (cpu)')


def given_runtime_options(options: argparse.Namespace) -> dict[str, Any]:
    """The runtime options given on the command line, as arguments of `load_runtime`.

    Raises:
        ValueError: the device has a PyTorch name, but the runtime is another one.
    """
    given = {
        name: getattr(options, name)
        for name in RUNTIME_OPTIONS
        if getattr(options, name) is not None
    }
    if isinstance(given.get('device'), str) and options.runtime in ('onnxruntime', 'tensorrt'):
        raise ValueError(
            f'--device is {given["device"]!r}, but the runtime {options.runtime} '
            'takes the number of a GPU, such as 0'
        )
    return given


def _device(text: str) -> str | int:
    """A device name, or a device number as an integer."""
    return int(text) if text.isdigit() else text


def positive(text: str) -> int:
    """A count, 1 or more."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is not an integer of at least 1')
    return int(text)


def numbers(count: int, separator: str = ',') -> Callable[[str], tuple[float, ...]]:
    """The argparse type of `count` numbers in one argument."""

    def read(text: str) -> tuple[float, ...]:
        """The numbers in an argument."""
        values = _floats(text, separator)
        if len(values) != count:
            raise argparse.ArgumentTypeError(
                f'{text!r} is not {count} numbers separated by {separator!r}'
            )
        return values

    return read


def boxes(text: str) -> list[tuple[float, ...]]:
    """Boxes of people in one argument: four numbers each, separated by `;`."""
    parsed = [_floats(part, ',') for part in text.split(';')]
    if any(len(box) != 4 for box in parsed):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a box of four numbers separated by ','; several boxes: "
            f"{BOXES} 'X0,Y0,X1,Y1;X0,Y0,X1,Y1'"
        )
    return parsed


def split_boxes(argv: Sequence[str]) -> list[str]:
    """Rewrites `--boxes BOX BOX` in a command line as one option per box.

    argparse alone would take either all following words, including the image, or only one word as
    boxes. A box that starts with a minus sign would be taken for an option.
    """
    words: list[str] = []
    is_box_next = False
    for word in argv:
        # A word with too few numbers is an invalid box, not the name of an image.
        is_box = is_box_next and ',' in word and bool(_floats(word.replace(';', ','), ','))
        if is_box and words[-1] == BOXES:
            words.pop()
        words.append(f'{BOXES}={word}' if is_box else word)
        is_box_next = is_box or word == BOXES
    return words


def _floats(text: str, separator: str) -> tuple[float, ...]:
    """The numbers in a text; empty if a part is not a number."""
    try:
        return tuple(float(part) for part in text.split(separator))
    except ValueError:
        return ()
