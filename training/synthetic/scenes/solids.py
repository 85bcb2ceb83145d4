"""Boxes and cylinders, and the intersections of an image's rays with them.

Rays start at the camera and pass through a normalised image position at depth 1, so the parameter
along a ray is the depth. Intersections are exact for solids of any size, also for those that
extend behind the camera.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

__all__ = ['Hits', 'Material', 'Rays', 'Solid', 'box', 'cast', 'cylinder', 'surface']

NEAREST_M = 0.15
"""Surfaces nearer to the image plane are invisible, and so are solids that contain the camera."""
UP = np.eye(3)
CORNERS = np.array([(a, b, c) for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)], float)


@dataclass(frozen=True, eq=False)
class Material:
    """The appearance of a solid.

    Attributes:
        color: (3,) 0 to 255.
        texture: (T, T, 3) uint8, a repeating texture that replaces the colour, T a power of two;
            or None.
        grain: (T, T) about -1 to 1, a repeating pattern that lightens or darkens the colour; or
            None.
        grain_share: relative change of the colour at a grain of 1.
        texels_per_m: resolution of texture or grain, across and down.
    """

    color: np.ndarray
    texture: np.ndarray | None = None
    grain: np.ndarray | None = None
    grain_share: float = 1.0
    texels_per_m: tuple[float, float] = (256.0, 256.0)


@dataclass(frozen=True, eq=False)
class Solid:
    """A box, or a cylinder along its third axis.

    Attributes:
        center: (3,) m.
        axes: (3, 3) orthogonal unit directions, one per row.
        half: (3,) half the extents along them, m; a cylinder's first two are its radius.
        is_round: whether it is a cylinder.
        material: its appearance.
    """

    center: np.ndarray
    axes: np.ndarray
    half: np.ndarray
    is_round: bool
    material: Material

    @property
    def corners(self) -> np.ndarray:
        """Corners (8, 3) of its bounding box, m."""
        return self.center + (CORNERS * self.half) @ self.axes

    def depth_of(self, points: np.ndarray) -> np.ndarray:
        """Depths (N,) of points (N, 3) inside the solid, m; negative outside."""
        local = (points - self.center) @ self.axes.T
        room = self.half - np.abs(local)
        if self.is_round:
            return np.minimum(self.half[0] - np.hypot(local[:, 0], local[:, 1]), room[:, 2])
        return room.min(1)

    def moved(self, origin: np.ndarray, basis: np.ndarray) -> Solid:
        """The solid in the frame of `origin` (3,) and of the rows of `basis` (3, 3)."""
        return replace(self, center=origin + self.center @ basis, axes=self.axes @ basis)


@dataclass(frozen=True)
class Rays:
    """The rays of an image.

    Attributes:
        x, y: (S, S) float32 normalised pinhole image positions of the pixels.
    """

    x: np.ndarray
    y: np.ndarray

    def window(self, low: np.ndarray, high: np.ndarray) -> tuple[slice, slice]:
        """Rows and columns with all pixels between two image positions (2,)."""
        columns = (self.x.max(0) >= low[0]) & (self.x.min(0) <= high[0])
        rows = (self.y.max(1) >= low[1]) & (self.y.min(1) <= high[1])
        return _span(rows), _span(columns)


@dataclass(frozen=True)
class Hits:
    """The nearest solid on each ray.

    Attributes:
        depth: (S, S) float32 m; inf without a hit.
        solid: (S, S) int16 index of the solid, -1 without a hit.
        axis: (S, S) int8, axis of the intersected side; 0 for the wall of a cylinder.
    """

    depth: np.ndarray
    solid: np.ndarray
    axis: np.ndarray


def box(
    low: tuple[float, float, float], high: tuple[float, float, float], material: Material
) -> Solid:
    """A box between two corners, m."""
    first, last = np.asarray(low, float), np.asarray(high, float)
    return Solid((first + last) / 2, UP, (last - first) / 2, False, material)


def cylinder(
    foot: tuple[float, float, float], radius: float, height: float, material: Material
) -> Solid:
    """A vertical cylinder on a foot point (3,), m."""
    half = np.array([radius, radius, height / 2])
    return Solid(np.asarray(foot, float) + [0, 0, height / 2], UP, half, True, material)


def cast(solids: list[Solid], rays: Rays) -> Hits:
    """Finds the nearest solid on each ray; solids are in the camera frame."""
    shape = rays.x.shape
    hits = Hits(
        np.full(shape, np.inf, np.float32), np.full(shape, -1, np.int16), np.zeros(shape, np.int8)
    )
    for number, solid in enumerate(solids):
        window = _window(solid, rays)
        if window is None:
            continue
        near, far, axis = _crossing(solid, rays.x[window], rays.y[window])
        is_first = (near < far) & (near > NEAREST_M) & (near < hits.depth[window])
        np.copyto(hits.depth[window], near, where=is_first)
        np.copyto(hits.solid[window], np.int16(number), where=is_first)
        np.copyto(hits.axis[window], axis, where=is_first)
    return hits


def surface(
    solids: list[Solid], hits: Hits, rays: Rays, shown: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Colours (M, 3) float32, 0 to 255, and unit normals (M, 3) at M pixels.

    Args:
        solids: the solids.
        hits: the hits, from `cast`.
        rays: the rays of the image.
        shown: (S, S) bool, True at M pixels with a hit.
    """
    number, axis = hits.solid[shown], hits.axis[shown]
    ray = np.stack([rays.x[shown], rays.y[shown], np.ones(len(number), np.float32)], axis=1)
    points = ray * hits.depth[shown][:, None]
    colors, normals = np.empty_like(points), np.empty_like(points)
    for index in np.unique(number):
        rows, solid = np.flatnonzero(number == index), solids[index]
        axes, side = solid.axes.astype(np.float32), axis[rows]
        local = (points[rows] - solid.center.astype(np.float32)) @ axes.T
        normals[rows] = _outward(solid, local, side) @ axes
        colors[rows] = _colors(solid.material, local, side)
    return colors, normals


def _span(is_in: np.ndarray) -> slice:
    """The range from the first to the last True."""
    where = np.flatnonzero(is_in)
    return slice(int(where[0]), int(where[-1]) + 1) if len(where) else slice(0, 0)


def _window(solid: Solid, rays: Rays) -> tuple[slice, slice] | None:
    """The part of the image that can show a solid; None if there is none."""
    corners = solid.corners
    depth = corners[:, 2]
    if depth.max() <= NEAREST_M:
        return None
    if depth.min() <= NEAREST_M:
        return slice(None), slice(None)
    image = corners[:, :2] / depth[:, None]
    window = rays.window(image.min(0), image.max(0))
    return window if all(part.start < part.stop for part in window) else None


def _crossing(
    solid: Solid, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depths (h, w) at which rays enter and leave a solid, and the axis of the entered side."""
    axes, half = solid.axes.astype(np.float32), solid.half.astype(np.float32)
    start = -(solid.axes @ solid.center).astype(np.float32)
    along = [axes[k, 0] * x + (axes[k, 1] * y + axes[k, 2]) for k in range(3)]
    spans = []
    for k in (2,) if solid.is_round else (0, 1, 2):
        inverse = 1 / np.where(np.abs(along[k]) < 1e-9, np.float32(1e-9), along[k])
        middle, reach = -start[k] * inverse, half[k] * np.abs(inverse)
        spans.append((middle - reach, middle + reach))
    if solid.is_round:
        spans.insert(0, _through_circle(along[0], along[1], start, half[0]))
    near, far, axis = spans[0][0], spans[0][1], np.zeros(x.shape, np.int8)
    for number, (enter, leave) in enumerate(spans[1:], 1):
        np.copyto(axis, np.int8(2 if solid.is_round else number), where=enter > near)
        near, far = np.maximum(near, enter), np.minimum(far, leave)
    return near, far, axis


def _through_circle(
    dx: np.ndarray, dy: np.ndarray, start: np.ndarray, radius: np.float32
) -> tuple[np.ndarray, np.ndarray]:
    """Depths at which rays enter and leave an infinite cylinder; inf and -inf for a miss."""
    square = np.maximum(dx * dx + dy * dy, np.float32(1e-12))
    half_b = start[0] * dx + start[1] * dy
    rest = half_b**2 - square * (start[0] ** 2 + start[1] ** 2 - radius**2)
    root = np.sqrt(np.maximum(rest, 0))
    never = rest <= 0
    return (
        np.where(never, np.float32(np.inf), (-half_b - root) / square),
        np.where(never, np.float32(-np.inf), (root - half_b) / square),
    )


def _outward(solid: Solid, local: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Unit normals (M, 3) at points (M, 3) on the sides of axes (M,), in the solid's axes."""
    rows, out = np.arange(len(local)), np.zeros_like(local)
    out[rows, side] = np.sign(local[rows, side])
    if solid.is_round:
        wall = side == 0
        out[wall, :2] = local[wall, :2] / np.float32(solid.half[0])
    return out


def _colors(material: Material, local: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Colours (M, 3) at points (M, 3) on the sides of axes (M,), in the solid's axes."""
    color = material.color.astype(np.float32)
    pattern = material.texture if material.grain is None else material.grain
    if pattern is None:
        return np.broadcast_to(color, local.shape)
    across = np.where(side == 0, local[:, 1], local[:, 0])
    down = np.where(side == 2, local[:, 1], local[:, 2])
    last = len(pattern) - 1
    column, row = (
        (value * np.float32(density)).astype(np.int32) & last
        for value, density in zip((across, down), material.texels_per_m, strict=True)
    )
    found = pattern[row, column].astype(np.float32)
    if material.grain is None:
        return found
    return color * (1 + np.float32(material.grain_share) * found[:, None]).clip(0, 2)
