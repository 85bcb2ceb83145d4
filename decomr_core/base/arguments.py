"""What the words of a command line may be: the argparse types that `decomr` uses.

A wrong word is told before anything is computed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

__all__ = ['add_runtime', 'asked_of_runtime', 'boxes', 'each_box_with_its_option', 'numbers',
           'output_file', 'output_picture', 'positive']

BOXES = '--boxes'
PICTURE_ENDINGS = ('.png', '.jpg', '.pdf', '.svg')
RUNTIME_HELP = 'openvino, torch, onnxruntime or tensorrt'
RUNTIME_OPTIONS = ('precision', 'device', 'provider')


def output_file(text: str) -> Path:
    """A file to write, in a folder that is there."""
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f'cannot write {text}: there is no folder {path.parent}')
    if path.is_dir():
        raise argparse.ArgumentTypeError(f'cannot write {text}: it is a folder')
    return path


def output_picture(text: str) -> Path:
    """A picture to write."""
    if Path(text).suffix.lower() not in PICTURE_ENDINGS:
        raise argparse.ArgumentTypeError(f'{text!r} ends in none of: {" ".join(PICTURE_ENDINGS)}')
    return output_file(text)


def add_runtime(parser: argparse.ArgumentParser, more_help: str = '',
                nargs: str | None = None) -> None:
    """Adds the options of what runs the network; with `nargs` several runtimes may be named."""
    parser.add_argument('--runtime', nargs=nargs, metavar='NAME', help=RUNTIME_HELP + more_help)
    parser.add_argument('--precision', help='of the arithmetic: auto, f32, tf32, bf16 or fp16, '
                                            'where the runtime has it (auto)')
    parser.add_argument('--device', type=_device, help='of torch: cpu, cuda or cuda:N (cpu); of '
                                                       'onnxruntime and tensorrt: 0, 1, ...')
    parser.add_argument('--provider', help='of onnxruntime: cpu, cuda or tensorrt (cpu)')


def asked_of_runtime(options: argparse.Namespace) -> dict[str, Any]:
    """Those of the runtime's options that were given, as `load_runtime` takes them.

    Raises:
        ValueError: a device has the name of PyTorch's, for another runtime.
    """
    asked = {name: getattr(options, name) for name in RUNTIME_OPTIONS
             if getattr(options, name) is not None}
    if isinstance(asked.get('device'), str) and options.runtime in ('onnxruntime', 'tensorrt'):
        raise ValueError(f'--device is {asked["device"]!r}, but the runtime {options.runtime} '
                         'takes the number of a GPU, as 0')
    return asked


def _device(text: str) -> str | int:
    """A device by its name or, if that is a number, the number."""
    return int(text) if text.isdigit() else text


def positive(text: str) -> int:
    """A count, 1 or more."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number of at least 1')
    return int(text)


def numbers(count: int, separator: str = ',') -> Callable[[str], tuple[float, ...]]:
    """The type of so many numbers in one word."""
    def read(text: str) -> tuple[float, ...]:
        """The numbers of a word."""
        values = _floats(text, separator)
        if len(values) != count:
            raise argparse.ArgumentTypeError(
                f'{text!r} is not {count} numbers with {separator!r} between them')
        return values

    return read


def boxes(text: str) -> list[tuple[float, ...]]:
    """Boxes of people in one word: four numbers each, and `;` between boxes."""
    found = [_floats(part, ',') for part in text.split(';')]
    if any(len(box) != 4 for box in found):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a box, four numbers with ',' between them; several boxes: "
            f"{BOXES} 'X0,Y0,X1,Y1;X0,Y0,X1,Y1'")
    return found


def each_box_with_its_option(argv: Sequence[str]) -> list[str]:
    """The words of a command line, where `--boxes BOX BOX` has become one option for each box.

    argparse alone would either take all words that follow for boxes, the picture among them, or
    one word only. A box that begins with a minus sign is no option any more either.
    """
    words, is_box_next = [], False
    for word in argv:
        # Too few numbers are a mistake in a box, not the name of a picture.
        is_box = is_box_next and ',' in word and bool(_floats(word.replace(';', ','), ','))
        if is_box and words[-1] == BOXES:
            words.pop()
        words.append(f'{BOXES}={word}' if is_box else word)
        is_box_next = is_box or word == BOXES
    return words


def _floats(text: str, separator: str) -> tuple[float, ...]:
    """The numbers of a text; none if one of them is no number."""
    try:
        return tuple(float(part) for part in text.split(separator))
    except ValueError:
        return ()
