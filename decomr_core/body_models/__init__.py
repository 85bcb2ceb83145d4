"""Posable bodies in SMPL's format: the built-in free one and the user's own.

`BodyModel` and `load_body` need PyTorch, which is imported on first use. A program that only needs
joint names, such as the node, starts a second sooner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from decomr_core.body_models.joints import JOINT_NAMES, MIRRORED_JOINTS, NUM_JOINTS, PARENTS

if TYPE_CHECKING:
    from decomr_core.body_models.body_data import NUM_SHAPES, BodyData
    from decomr_core.body_models.body_model import BodyModel, load_body
    from decomr_core.body_models.parts import GROUP_NAMES

__all__ = [
    'GROUP_NAMES',
    'JOINT_NAMES',
    'MIRRORED_JOINTS',
    'NUM_JOINTS',
    'NUM_SHAPES',
    'PARENTS',
    'BodyData',
    'BodyModel',
    'load_body',
]

_LAZY_NAMES = {
    'GROUP_NAMES': 'parts',
    'NUM_SHAPES': 'body_data',
    'BodyData': 'body_data',
    'BodyModel': 'body_model',
    'load_body': 'body_model',
}


def __getattr__(name: str) -> Any:
    """Loads public names of modules that are not imported yet (PEP 562)."""
    if name not in _LAZY_NAMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from importlib import import_module

    return getattr(import_module(f'{__name__}.{_LAZY_NAMES[name]}'), name)
