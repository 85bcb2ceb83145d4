"""The environment of child Python processes."""

from __future__ import annotations

import os
from pathlib import Path

import decomr_core

__all__ = ['PR_SET_PDEATHSIG', 'child_environment']

PR_SET_PDEATHSIG = 1
"""Operation of prctl: the signal that a process receives when its parent ends."""


def child_environment(**variables: str) -> dict[str, str]:
    """This process's environment, with which a child imports the same `decomr_core`.

    Args:
        variables: additional environment variables.
    """
    folder = str(Path(decomr_core.__file__).parent.parent)
    paths = os.pathsep.join(filter(None, [folder, os.environ.get('PYTHONPATH')]))
    return {**os.environ, 'PYTHONPATH': paths, **variables}
