"""The environment of a Python process of ours that another one of ours starts."""

from __future__ import annotations

import os
from pathlib import Path

import decomr_core

__all__ = ['child_environment']


def child_environment(**variables: str) -> dict[str, str]:
    """This process's environment, in which a child imports the `decomr_core` imported here.

    Args:
        variables: set besides.
    """
    folder = str(Path(decomr_core.__file__).parent.parent)
    paths = os.pathsep.join(filter(None, [folder, os.environ.get('PYTHONPATH')]))
    return {**os.environ, 'PYTHONPATH': paths, **variables}
