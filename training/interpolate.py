"""Weights between two networks, one of which was trained on from the other.

    python -m training.interpolate BEFORE AFTER --share 0.8 --out mixed.safetensors

A pretrained encoder that learns from renderings gets better on them and may forget what it knew of
photographs. Weights on the way between the network before and the one after often keep most of the
gain and what was known (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).
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
    """A network whose weights lie between those of two others.

    Args:
        before: with a share of 0 its weights come out.
        after: with a share of 1; of the same sizes. It is changed and returned.
        share: in [0, 1].

    Raises:
        ValueError: the networks have other sizes, or the share is out of its range.
    """
    if not 0 <= share <= 1:
        raise ValueError(f'share is {share}; take 0 to 1')
    if before.config != after.config:
        raise ValueError('the networks have other sizes; interpolate between two states of one '
                         'training')
    first, mixed = before.state_dict(), after.state_dict()
    for name, value in mixed.items():
        if value.is_floating_point():
            value.lerp_(first[name], 1 - share)
    return after


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser('python -m training.interpolate', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('before', help='weights, by path or name')
    parser.add_argument('after', help='weights of the same network, trained on from there')
    parser.add_argument('--share', type=float, required=True, help='of those after, 0 to 1')
    parser.add_argument('--out', type=Path, required=True, help='safetensors file to write')
    options = parser.parse_args(arguments)
    try:
        paths = options.before, options.after
        mixed = interpolate(*map(checkpoint.load_network, paths), options.share)
        before, after = (checkpoint.read_metadata(path).get('training') for path in paths)
        notes = {'training': after,
                 'interpolated': {'before': before, 'share_of_after': options.share}}
        checkpoint.save_checkpoint(options.out, mixed, notes, half=True)
    except (OSError, ValueError) as error:
        sys.stderr.write(f'error: {error}\n')
        return 2
    print(f'wrote {options.out}')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
