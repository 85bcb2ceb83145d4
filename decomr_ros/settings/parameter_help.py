"""Help text about the node's parameters, for `--help`."""

from __future__ import annotations

import textwrap

from decomr_ros.settings.parameters import ENTRIES

__all__ = ['parameters_help']

WIDTH = 99
INTRODUCTION = """  -p detector_stride:=5        a parameter of the node
  --params-file FILE           parameters from a file such as config/node/decomr.yaml

parameters, which docs/parameters.md and config/node/decomr.yaml explain:"""


def parameters_help() -> str:
    """How to set parameters on the command line, and the names of all of them."""
    names = textwrap.fill(', '.join(ENTRIES), WIDTH, initial_indent='  ', subsequent_indent='  ')
    return f'{INTRODUCTION}\n{names}'
