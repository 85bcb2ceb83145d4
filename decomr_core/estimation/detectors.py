"""Detectors by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from decomr_core.estimation.person_detector import PersonDetector
from decomr_core.people.detection import Detector, WholeFrame

__all__ = ['DETECTORS', 'load_detector']

DETECTORS: dict[str, Callable[..., Detector]] = {
    'person': PersonDetector,
    'whole-frame': WholeFrame,
}
"""The constructor of each detector by name. Given boxes have no name."""


def load_detector(name: str = 'person', **options: Any) -> Detector:
    """Loads a detector by name.

    Args:
        name: one of `DETECTORS`.
        options: arguments of its constructor.

    Raises:
        FileNotFoundError: the detector's network file is missing.
        ValueError: the name is unknown, or the network file is damaged.
    """
    if name not in DETECTORS:
        raise ValueError(f'detector is {name!r}, expected one of: {", ".join(DETECTORS)}')
    return DETECTORS[name](**options)
