"""What the tools that convert pretrained encoders have in common."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import save
from torch import Tensor, nn

from decomr_core.base.assets import DATA_FOLDER
from decomr_core.base.files import replacing

__all__ = ['bake_command', 'convolutions_of']


def convolutions_of(module: nn.Module) -> list[nn.Conv2d]:
    """All convolutions in a module, in the order of their registration."""
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]


def bake_command(
    name: str, description: str, file_help: str, bake: Callable[[Path], dict[str, Tensor]]
) -> int:
    """Runs the command line of a tool; returns the exit code.

    Args:
        name: of the encoder in `NetworkConfig`.
        description: one sentence on the tool.
        file_help: one line on the file that the tool reads.
        bake: makes the tensors of the encoder from that file.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('file', type=Path, help=file_help)
    parser.add_argument(
        '--out', type=Path, default=DATA_FOLDER / f'{name}.safetensors', help='file to write'
    )
    options = parser.parse_args()
    try:
        weights = bake(options.file)
        with replacing(options.out) as part:
            part.write_bytes(save(weights))
    except (ImportError, OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(f'wrote {options.out}')
    return 0
