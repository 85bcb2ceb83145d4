"""The light on a rendered person: one lamp, the sky and the ground."""

from __future__ import annotations

import numpy as np

__all__ = ['Light', 'sample_light']

Light = dict[str, np.ndarray]
"""Parameters of `appearance.shade` for one person, by name:

* `to_light`, `up`: (3,) directions to the lamp and upward, unit, camera frame.
* `lamp`, `sky`: (3,) RGB light of the lamp and from above; 1 shows a surface in its own colour.
* `ground`: (3,) RGB light from below; may be missing.
* `wrap`: () how far the lamp lights surfaces that face away from it; 0: not at all.
"""


def sample_light(rng: np.random.Generator, up: np.ndarray) -> Light:
    """Samples a lamp from above and a sky for one person.

    Args:
        rng: source of the random numbers.
        up: (3,) upward direction, unit, camera frame.
    """
    to_light = rng.normal(0, 1, 3)
    to_light -= (to_light @ up) * up
    to_light = to_light / max(float(np.linalg.norm(to_light)), 1e-6) + rng.uniform(0.15, 2.5) * up
    balance = rng.uniform(0.15, 0.85)
    warm = np.array([1, 1, 1]) + rng.normal(0, 0.05, 3)
    return {
        'to_light': to_light / np.linalg.norm(to_light),
        'up': up,
        'lamp': balance * 1.5 * warm,
        'sky': (1 - balance) * 1.5 * (2 - warm),
        'wrap': np.array(rng.uniform(0.05, 0.5)),
    }
