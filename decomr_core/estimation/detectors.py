"""Detectors by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from decomr_core.estimation.person_detector import PersonDetector
from decomr_core.people.detection import Detector, WholeFrame

__all__ = ['DETECTORS', 'load_detector']

DETECTORS: dict[str, Callable[..., Detector]] = {
    'person': PersonDetector, 'whole-frame': WholeFrame}
"""Boxes from outside need no name."""


def load_detector(name: str = 'person', **options: Any) -> Detector:
    """A detector by its name.

    Args:
        name: one of `DETECTORS`.
        options: what its constructor takes.

    Raises:
        FileNotFoundError: the detector's network is missing.
        ValueError: there is no such detector, or its network is damaged.
    """
    if name not in DETECTORS:
        raise ValueError(f'detector is {name!r}, expected one of: {", ".join(DETECTORS)}')
    return DETECTORS[name](**options)
