"""Shapes of rendered people: adults, and children and old people in the adults' shape space.

The ten shape components of the built-in body were computed from adults. They reproduce children of
anny (64 per age, in the T-pose) with an error of 5.4 mm (age .2, 1.1 m tall), 2.5 mm (.3, 1.35 m)
and 2.0 mm (.4, 1.5 m), old people with 1.5 mm and adults with 1.1 mm. This is accurate enough to
avoid another body, which would need a new hash, UV map and weights. Younger children are not
supported (12.6 mm at birth).
"""

from __future__ import annotations

import numpy as np

__all__ = ['sample_shapes']

LIMIT = 2.5
"""Components of adults are clamped to this absolute value."""
AGES = np.array([0.20, 0.25, 0.30, 0.35, 0.40, 0.45])
"""Ages of children in anny's unit; about 5 to 15 years."""
CHILDREN = np.array(
    [
        [-8.21, 0.38, -3.59, -0.29, -0.81, 4.25, -1.09, 8.32, 2.32, -1.92],
        [-6.91, 0.36, -2.92, -0.14, -0.82, 3.64, -0.58, 6.96, 1.93, -1.25],
        [-4.98, 0.36, -2.25, 0.05, -0.82, 3.08, 0.06, 5.67, 1.51, -0.41],
        [-3.80, 0.30, -1.53, 0.20, -0.67, 2.57, 0.52, 4.56, 1.19, 0.18],
        [-2.69, 0.20, -1.46, 0.00, -0.56, 1.95, 0.65, 3.62, 0.94, -0.03],
        [-2.55, 0.15, -1.21, -0.23, -0.44, 1.35, 0.39, 2.80, 0.76, -0.40],
    ]
)
"""Mean components at these ages."""
OLD = np.array([1.0, 0.87, -0.82, 1.26, 1.32, 3.45, -0.81, -0.26, -0.09, 0.69])
"""Mean components of old people."""
HEIGHT_STD, OTHER_STD = 1.2, 0.6
"""Standard deviations of the first component (height) and of the others about these means."""
OLD_SHARE = 0.4
"""Share of old people among old people and children."""


def sample_shapes(
    rng: np.random.Generator, count: int, std: float = 1.0, ages_share: float = 0.0
) -> np.ndarray:
    """Samples shapes.

    Args:
        rng: source of the random numbers.
        count: B, number of people.
        std: standard deviation of an adult's components.
        ages_share: share of children and old people.

    Returns:
        (B, 10) float32.
    """
    shapes = np.clip(rng.normal(0, std, (count, 10)), -LIMIT, LIMIT)
    if ages_share:
        is_other = rng.random(count) < ages_share
        is_old = rng.random(count) < OLD_SHARE
        age = rng.uniform(AGES[0], AGES[-1], count)
        young = np.stack([np.interp(age, AGES, column) for column in CHILDREN.T], axis=1)
        spread = np.array([HEIGHT_STD] + [OTHER_STD] * 9)
        others = np.where(is_old[:, None], OLD, young) + shapes * spread
        shapes = np.where(is_other[:, None], others, shapes)
    return shapes.astype(np.float32)
