"""DecoMR: human meshes and IUV images from camera images. Independent of ROS and training.

The names in `__all__` are the public interface, described in docs/python.md. Each is loaded on
first use, so that `import decomr_core` loads neither NumPy nor OpenCV nor PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from decomr_core.no_telemetry import switch_off

if TYPE_CHECKING:
    from decomr_core.base.structures import HumanMesh, StageTimes
    from decomr_core.commands.predict import read_image, write_obj
    from decomr_core.drawing import compose_iuv, draw_meshes
    from decomr_core.estimator import EstimatorConfig, HumanMeshEstimator, load_estimator
    from decomr_core.geometry.camera import intrinsics_from_fov
    from decomr_core.uv.topology import Topology

__version__ = '0.1.0'

__all__ = [
    'EstimatorConfig',
    'HumanMesh',
    'HumanMeshEstimator',
    'StageTimes',
    'Topology',
    '__version__',
    'compose_iuv',
    'draw_meshes',
    'intrinsics_from_fov',
    'load_estimator',
    'read_image',
    'write_obj',
]

MODULES = {
    'EstimatorConfig': 'estimator',
    'HumanMesh': 'base.structures',
    'HumanMeshEstimator': 'estimator',
    'StageTimes': 'base.structures',
    'Topology': 'uv.topology',
    'compose_iuv': 'drawing',
    'draw_meshes': 'drawing',
    'intrinsics_from_fov': 'geometry.camera',
    'load_estimator': 'estimator',
    'read_image': 'commands.predict',
    'write_obj': 'commands.predict',
}
"""The module of each public name, relative to this package."""

switch_off()


def __getattr__(name: str) -> Any:
    """Loads a public name on first use (PEP 562).

    Raises:
        AttributeError: the package has no such name.
    """
    if name not in MODULES:
        raise AttributeError(
            f'module {__name__!r} has no attribute {name!r}; its public names '
            f'are {", ".join(__all__)}'
        )
    value = getattr(importlib.import_module(f'{__name__}.{MODULES[name]}'), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not, and the other names of the module."""
    return sorted({*globals(), *__all__})
