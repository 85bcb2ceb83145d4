"""Posable bodies in SMPL's format: the built-in free one and the user's own.

`BodyModel` and `load_body` need PyTorch, which is loaded when they are first asked for: whoever
only wants the names of the joints, as the node does, starts a second sooner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from decomr_core.body_models.joints import JOINT_NAMES, MIRRORED_JOINTS, NUM_JOINTS, PARENTS

if TYPE_CHECKING:
    from decomr_core.body_models.body_data import NUM_SHAPES, BodyData
    from decomr_core.body_models.body_model import BodyModel, load_body
    from decomr_core.body_models.parts import GROUP_NAMES

__all__ = ['GROUP_NAMES', 'JOINT_NAMES', 'MIRRORED_JOINTS', 'NUM_JOINTS', 'NUM_SHAPES',
           'PARENTS', 'BodyData', 'BodyModel', 'load_body']

_LOADED_LATER = {'GROUP_NAMES': 'parts', 'NUM_SHAPES': 'body_data', 'BodyData': 'body_data',
                 'BodyModel': 'body_model', 'load_body': 'body_model'}


def __getattr__(name: str) -> Any:
    """Finds the public names that live in modules not loaded yet (PEP 562)."""
    if name not in _LOADED_LATER:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from importlib import import_module

    return getattr(import_module(f'{__name__}.{_LOADED_LATER[name]}'), name)
