"""Interpolates between the weights of a network before and after fine-tuning.

    python -m training.interpolate BEFORE AFTER --share 0.8 --out mixed.safetensors

A pretrained encoder that is fine-tuned on renderings improves on renderings and may get worse on
photographs. Interpolated weights often keep most of both (Wortsman et al., "Robust fine-tuning of
zero-shot models", CVPR 2022).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from decomr_core.networks import checkpoint
from decomr_core.networks.decomr import DecoMR

__all__ = ['interpolate']


@torch.no_grad()
def interpolate(before: DecoMR, after: DecoMR, share: float) -> DecoMR:
    """Interpolates linearly between the weights of two networks.

    Args:
        before: the network for a share of 0.
        after: the network for a share of 1, with the same config. It is modified and returned.
        share: in [0, 1].

    Raises:
        ValueError: the configs differ, or the share is out of range.
    """
    if not 0 <= share <= 1:
        raise ValueError(f'share is {share}; take 0 to 1')
    if before.config != after.config:
        raise ValueError(
            'the networks have different sizes; give two networks of one preset, the '
            'second trained from the first'
        )
    first, mixed = before.state_dict(), after.state_dict()
    for name, value in mixed.items():
        if value.is_floating_point():
            value.lerp_(first[name], 1 - share)
    return after


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        'python -m training.interpolate',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('before', help='weights before fine-tuning: path or name')
    parser.add_argument('after', help='weights after fine-tuning: path or name')
    parser.add_argument('--share', type=float, required=True, help='share of AFTER, 0 to 1')
    parser.add_argument('--out', type=Path, required=True, help='safetensors file to write')
    options = parser.parse_args(arguments)
    try:
        paths = options.before, options.after
        first, second = (checkpoint.load_network(path) for path in paths)
        mixed = interpolate(first, second, options.share)
        before, after = (checkpoint.read_metadata(path).get('training') for path in paths)
        notes = {
            'training': after,
            'interpolated': {'before': before, 'share_of_after': options.share},
        }
        checkpoint.save_checkpoint(options.out, mixed, notes, half=True)
    except (OSError, ValueError) as error:
        sys.stderr.write(f'error: {error}\n')
        return 2
    print(f'wrote {options.out}')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
