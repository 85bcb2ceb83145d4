"""Robot parts beside people, and their nearest distances by brute force over all vertices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.proximity.estimates import Estimate
from decomr_core.base.structures import HumanMesh
from decomr_core.estimation.uncertainty import (
    PositionUncertainty,
    doubt_and_cut,
    position_uncertainty,
)

__all__ = ['Capsule', 'Cases', 'collect_cases', 'nearest', 'sample_parts']

PARTS = 12
AT_CAMERA_SHARE = 1 / 3
AT_CAMERA_M, AROUND_M, UP_TO_M = 0.5, (0.3, 2.5), 2.0
UPRIGHT_M = 1.4
SPHERE_SHARE, LENGTH_M, RADIUS_M = 0.5, (0.2, 0.8), (0.05, 0.2)


@dataclass(frozen=True)
class Capsule:
    """A robot part: all points within a radius of a segment; a sphere if its ends coincide.

    Attributes:
        first, last: (3,) ends of the segment, m.
        radius: m.
    """

    first: np.ndarray
    last: np.ndarray
    radius: float


@dataclass(frozen=True)
class Cases:
    """N pairs of a person and a robot part, with their true and estimated nearest distance.

    Attributes:
        person: index of the estimate.
        has_depth: whether depth determined the distance of the person.
        is_visible: whether the camera sees the nearest vertex of the estimate.
        truth, estimate: nearest distances, m; 0 if they touch.
        std, low, high: of the interval around the estimate, m.
        along: variance of the root along the direction, m^2.
        across: standard deviation of the root across the direction, m.
        vertex_std: standard deviation of the nearest vertex relative to the root, m.
        away: distance of the root from the camera, m.
        doubt, cut: what the uncertainty grows with.
        visible_share: visible share of the person.
        is_upright: whether the person is at least `UPRIGHT_M` tall as posed.
    """

    person: np.ndarray
    has_depth: np.ndarray
    is_visible: np.ndarray
    truth: np.ndarray
    estimate: np.ndarray
    std: np.ndarray
    low: np.ndarray
    high: np.ndarray
    along: np.ndarray
    across: np.ndarray
    vertex_std: np.ndarray
    away: np.ndarray
    doubt: np.ndarray
    cut: np.ndarray
    visible_share: np.ndarray
    is_upright: np.ndarray

    def where(self, chosen: np.ndarray) -> Cases:
        """The cases that are chosen, (N,) bool."""
        return Cases(*(values[chosen] for values in vars(self).values()))

    @property
    def error(self) -> np.ndarray:
        """True minus estimated distance (N,), m."""
        return self.truth - self.estimate

    @property
    def is_inside(self) -> np.ndarray:
        """(N,) bool: whether the interval contains the truth."""
        return (self.truth >= self.low) & (self.truth <= self.high)


def sample_parts(rng: np.random.Generator, person: Estimate, count: int = PARTS) -> list[Capsule]:
    """Robot parts near the camera and around a person, at any height up to 2 m.

    A third of them is within half a metre of the camera along each axis, as parts of the robot
    that carries it. The others are 0.3 to 2.5 m from the axis of the person. Half are spheres.
    """
    up = person.up
    right = np.cross(up, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    place = person.true_translation
    foot = place - up * (place @ up + person.camera_height_m)
    parts = []
    for number in range(count):
        if number < AT_CAMERA_SHARE * count:
            middle = rng.uniform(-AT_CAMERA_M, AT_CAMERA_M, 3)
        else:
            yaw = rng.uniform(0, 2 * np.pi)
            aside = np.cos(yaw) * right + np.sin(yaw) * np.cross(right, up)
            middle = foot + aside * rng.uniform(*AROUND_M) + up * rng.uniform(0, UP_TO_M)
        along = rng.normal(size=3)
        along *= rng.uniform(*LENGTH_M) / 2 / np.linalg.norm(along)
        along *= rng.random() >= SPHERE_SHARE
        parts.append(Capsule(middle - along, middle + along, rng.uniform(*RADIUS_M)))
    return parts


def nearest(vertices: np.ndarray, part: Capsule) -> tuple[float, int, np.ndarray]:
    """The nearest vertex (V, 3) to a part: by testing all of them.

    Returns:
        Distance of the vertex from the part, m, at least 0; its index; and the unit direction
        (3,) from the part to it, zeros if they touch.
    """
    axis = part.last - part.first
    squared = float(axis @ axis)
    offset = vertices - part.first
    share = np.clip(offset @ axis / squared, 0, 1) if squared else np.zeros(len(vertices))
    offset = offset - share[:, None] * axis
    distances = np.linalg.norm(offset, axis=1)
    index = int(distances.argmin())
    distance = float(distances[index]) - part.radius
    if distance <= 0:
        return 0.0, index, np.zeros(3)
    return distance, index, offset[index] / distances[index]


def collect_cases(
    people: Sequence[Estimate], image_size: tuple[int, int], parts: int = PARTS
) -> Cases:
    """All pairs of people and robot parts, without depth and, where it was measured, with it."""
    rows = []
    for number, person in enumerate(people):
        capsules = sample_parts(np.random.default_rng([*person.scene, number, 2]), person, parts)
        truths = [nearest(person.true_vertices, capsule)[0] for capsule in capsules]
        meshes = [person.without_depth]
        if person.with_depth.has_measured_depth:
            meshes.append(person.with_depth)
        for mesh in meshes:
            of_mesh = doubt_and_cut(mesh, image_size)
            uncertainty = position_uncertainty(mesh, image_size)
            rows += [
                (
                    number,
                    mesh.has_measured_depth,
                    *_case(mesh, uncertainty, capsule, truth),
                    float(np.linalg.norm(person.true_translation)),
                    *of_mesh,
                    person.visible_share,
                    float(np.ptp(person.true_vertices @ person.up)) >= UPRIGHT_M,
                )
                for capsule, truth in zip(capsules, truths, strict=True)
            ]
    return Cases(*(np.array(column) for column in zip(*rows, strict=True)))


def _case(
    mesh: HumanMesh, uncertainty: PositionUncertainty, part: Capsule, truth: float
) -> tuple[bool, float, float, float, float, float, float, float, float]:
    """Of a row of `Cases`: from `is_visible` to `vertex_std`."""
    distance, index, direction = nearest(mesh.vertices, part)
    is_visible = bool(mesh.visibility[index])
    total = float(np.trace(uncertainty.covariance))
    along = float(direction @ uncertainty.covariance @ direction) if direction.any() else total
    return (
        is_visible,
        truth,
        distance,
        *uncertainty.interval(distance, direction, is_visible),
        along,
        max(total - along, 0.0) ** 0.5,
        uncertainty.visible_std if is_visible else uncertainty.hidden_std,
    )
