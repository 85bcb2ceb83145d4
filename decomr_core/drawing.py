"""Drawing: shaded meshes over an image, IUV images and boxes. NumPy and OpenCV only.

All functions return a new image. People are drawn from far to near, so the nearest is on top.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from decomr_core.base.structures import HumanMesh, check_shape
from decomr_core.geometry.camera import project_perspective, project_weak_perspective
from decomr_core.geometry.crop import check_image, copy_image

__all__ = [
    'color_of_track',
    'compose_iuv',
    'draw_boxes',
    'draw_meshes',
    'far_to_near',
    'mesh_in_image',
    'nearest_faces',
    'points_in_image',
]

HUE_STEP = 0.618034
"""Difference of the hues of consecutive ids, turns; the golden ratio spreads any number of ids."""

LIGHT = np.array([-0.35, -0.5, -0.79], np.float32)
"""Direction towards the light, camera frame: left, above and behind the camera."""

AMBIENT, DIFFUSE = 0.35, 0.75
"""Ambient brightness, and the diffuse brightness of a face that is turned to the light."""

MAX_DRAWN_SIDE_PX = 720
"""Larger meshes are drawn at this size and enlarged, which bounds the time per person."""

FOREGROUND = 0.5
"""Foreground probability from which a pixel of an IUV image belongs to a person."""


def color_of_track(track_id: int) -> tuple[int, int, int]:
    """A light RGB colour for a person, constant per id."""
    hue = np.uint8(round(track_id * HUE_STEP % 1 * 179))
    pixel = cv2.cvtColor(np.array([[[hue, 130, 255]]], np.uint8), cv2.COLOR_HSV2RGB)[0, 0]
    return int(pixel[0]), int(pixel[1]), int(pixel[2])


def far_to_near(meshes: Sequence[HumanMesh]) -> list[HumanMesh]:
    """Sorts people from far to near, for the painter's algorithm.

    By the depth of the root if the mesh is metric, otherwise by image scale.
    """

    def nearness(mesh: HumanMesh) -> float:
        """Larger for a nearer person; only the order is meaningful."""
        if mesh.is_metric:
            return -float(mesh.translation[2])
        return float(mesh.weak_camera[0]) * mesh.crop_side

    return sorted(meshes, key=nearness)


def mesh_in_image(mesh: HumanMesh, intrinsics: np.ndarray | None = None) -> np.ndarray:
    """Projects the vertices of a person into the image.

    Args:
        mesh: a person.
        intrinsics: (3, 3) px, used for a metric mesh; otherwise its weak camera is used.

    Returns:
        (V, 3) float32: x and y in image px, z the depth in metres (from the camera if metric,
        otherwise from the root).
    """
    return points_in_image(mesh.vertices, mesh, intrinsics)


def points_in_image(
    points: np.ndarray, mesh: HumanMesh, intrinsics: np.ndarray | None = None
) -> np.ndarray:
    """Projects points of a person into the image.

    Args:
        points: (N, 3) metres, in the frame of the mesh's vertices.
        mesh: the person.
        intrinsics: (3, 3) px, used for a metric mesh; otherwise its weak camera is used.

    Returns:
        (N, 3) float32: x and y in image px, z as in `points`.
    """
    points = np.asarray(points)
    if mesh.is_metric and intrinsics is not None:
        image_xy = project_perspective(points, intrinsics)
    else:
        image_xy = project_weak_perspective(
            points - mesh.translation, mesh.weak_camera, mesh.crop_center, mesh.crop_side
        )
    return np.concatenate([image_xy, points[:, 2:]], axis=1).astype(np.float32)


def draw_meshes(
    image: np.ndarray,
    meshes: Sequence[HumanMesh],
    faces: np.ndarray,
    intrinsics: np.ndarray | None = None,
    opacity: float = 0.9,
) -> np.ndarray:
    """Draws shaded meshes over an image.

    Args:
        image: (H, W, 3) uint8 RGB.
        meshes: people.
        faces: (F, 3) counter-clockwise seen from outside.
        intrinsics: (3, 3) px, for metric meshes; None: weak perspective.
        opacity: opacity of the meshes, 0 to 1.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    check_image(image)
    check_shape('faces', faces, (None, 3))
    drawn = copy_image(image)
    for mesh in far_to_near(meshes):
        _draw_mesh(drawn, mesh, np.ascontiguousarray(faces.T, np.intp), intrinsics, opacity)
    return drawn


def draw_boxes(image: np.ndarray, meshes: Sequence[HumanMesh], note: str = '') -> np.ndarray:
    """Draws each person's box with id and distance in the person's colour.

    Args:
        image: (H, W, 3) uint8 RGB.
        meshes: people.
        note: text to append to every label.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    check_image(image)
    drawn = copy_image(image)
    for mesh in meshes:
        color = color_of_track(mesh.track_id)
        low, high = np.round(mesh.box[:2]).astype(int), np.round(mesh.box[2:]).astype(int)
        cv2.rectangle(drawn, low.tolist(), high.tolist(), color, 1)
        words = [] if mesh.track_id < 0 else [f'#{mesh.track_id}']
        if mesh.is_metric:
            words.append(f'{mesh.translation[2]:.1f} m')
        words += [note] if note else []
        place = int(low[0]), int(max(low[1] - 4, 12))
        cv2.putText(
            drawn, ' '.join(words), place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, color, 1, cv2.LINE_AA
        )
    return drawn


def compose_iuv(
    meshes: Sequence[HumanMesh], height: int, width: int, encoding: str = 'rgb8'
) -> np.ndarray:
    """One IUV image of all people in the pixels of the source image; the nearest is on top.

    Args:
        meshes: people, each with the IUV image of a crop.
        height: H, px.
        width: W, px.
        encoding: `rgb8`: uint8 with 255 for 1; or `32FC3`: float32.

    Returns:
        (H, W, 3): foreground probability, u, v; 0 in the background.

    Raises:
        ValueError: the encoding is unknown.
    """
    if encoding not in ('rgb8', '32FC3'):
        raise ValueError(f'IUV encoding is {encoding!r}, expected rgb8 or 32FC3')
    iuv_image = np.zeros((height, width, 3), np.uint8 if encoding == 'rgb8' else np.float32)
    for mesh in far_to_near(meshes):
        _paint_iuv(iuv_image, mesh)
    return iuv_image


def nearest_faces(points: np.ndarray, corners: np.ndarray, height: int, width: int) -> np.ndarray:
    """The front face that is visible at each pixel centre.

    Args:
        points: (V, 3) x and y in image px, z depth.
        corners: (3, F) vertices of the faces' corners.
        height: height of the image, px.
        width: width of the image, px.

    Returns:
        (height, width) int64 face, -1 for the background.
    """
    planes, faces, low, spans = _faces_with_pixels(points, corners, height, width)
    counts = spans[0] * spans[1]
    row = np.repeat(np.arange(len(faces)), counts)
    step = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    down, across = np.divmod(step, spans[0][row])
    x, y = low[0][row] + across, low[1][row] + down
    pixel = y * width + x
    x, y = x.astype(np.float32), y.astype(np.float32)
    inside = np.ones(len(row), bool)
    for at_x, at_y, constant in planes[:3]:
        inside &= at_x[row] * x + at_y[row] * y + constant[row] >= -1e-4
    hit = np.flatnonzero(inside)
    row, pixel = row[hit], pixel[hit]
    at_x, at_y, constant = planes[3]
    depth = at_x[row] * x[hit] + at_y[row] * y[hit] + constant[row]
    nearest = np.full(height * width, np.inf, np.float32)
    np.minimum.at(nearest, pixel, depth)
    winners = np.flatnonzero(depth == nearest[pixel])
    shown = np.full(height * width, -1, np.intp)
    shown[pixel[winners]] = faces[row[winners]]
    return shown.reshape(height, width)


def _faces_with_pixels(
    points: np.ndarray, corners: np.ndarray, height: int, width: int
) -> tuple[list[tuple[np.ndarray, ...]], np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Faces (M,) that face the camera and whose bounding box contains a pixel centre.

    Returns:
        planes: the three barycentric weights and the depth, each as a x + b y + c with three
            (M,) arrays; faces (M,); for x and y the first pixel (M,) and the number of pixels
            (M,).
    """
    x, y, z = np.ascontiguousarray(points.T)
    x, y = [x[corner] for corner in corners], [y[corner] for corner in corners]
    area = (x[1] - x[0]) * (y[2] - y[0]) - (y[1] - y[0]) * (x[2] - x[0])
    keep = area < 0
    bounds = []
    for values, size in ((x, width), (y, height)):
        first = np.ceil(np.minimum(np.minimum(values[0], values[1]), values[2]))
        last = np.floor(np.maximum(np.maximum(values[0], values[1]), values[2]))
        first, last = np.maximum(first, 0), np.minimum(last, size - 1)
        keep &= first <= last
        bounds.append((first, last))
    faces = np.flatnonzero(keep)
    low = [first[faces].astype(np.intp) for first, _ in bounds]
    spans = [
        last[faces].astype(np.intp) - start + 1
        for (_, last), start in zip(bounds, low, strict=True)
    ]
    x, y, area = [v[faces] for v in x], [v[faces] for v in y], area[faces]
    planes: list[tuple[np.ndarray, ...]] = []
    for one, two in ((1, 2), (2, 0), (0, 1)):
        planes.append(
            (
                (y[one] - y[two]) / area,
                (x[two] - x[one]) / area,
                (x[one] * y[two] - x[two] * y[one]) / area,
            )
        )
    depths = [z[corner[faces]] for corner in corners]
    planes.append(
        tuple(
            sum(depth * plane[k] for depth, plane in zip(depths, planes, strict=True))
            for k in range(3)
        )
    )
    return planes, faces, low, spans


def _draw_mesh(
    drawn: np.ndarray,
    mesh: HumanMesh,
    corners: np.ndarray,
    intrinsics: np.ndarray | None,
    opacity: float,
) -> None:
    """Draws one person into an image (H, W, 3), corners (3, F), in place."""
    points = mesh_in_image(mesh, intrinsics)
    image_size = np.array(drawn.shape[1::-1])
    low = np.clip(np.floor(points[:, :2].min(0)), 0, image_size).astype(int)
    high = np.clip(np.ceil(points[:, :2].max(0)) + 1, 0, image_size).astype(int)
    size = high - low
    if (size <= 0).any():
        return
    zoom = min(1.0, MAX_DRAWN_SIDE_PX / size.max())
    width, height = np.maximum(np.round(size * zoom).astype(int), 1)
    points[:, :2] = (points[:, :2] - low + 0.5) * ((width, height) / size) - 0.5
    shown = nearest_faces(points.astype(np.float32), corners, height, width)
    colors = _face_colors(
        np.asarray(mesh.vertices, np.float32), corners, color_of_track(mesh.track_id)
    )
    rendered: np.ndarray = colors[shown]
    mask: np.ndarray = (shown >= 0).astype(np.uint8)
    if zoom < 1:
        rendered, mask = (
            cv2.resize(part, size.tolist(), interpolation=cv2.INTER_NEAREST)
            for part in (rendered, mask)
        )
    target = drawn[low[1] : high[1], low[0] : high[0]]
    blended = cv2.addWeighted(rendered, opacity, target, 1 - opacity, 0)
    cv2.copyTo(blended, mask, target)


def _face_colors(
    vertices: np.ndarray, corners: np.ndarray, color: tuple[int, int, int]
) -> np.ndarray:
    """Shaded RGB (F + 1, 3) uint8 of faces with corners (3, F); the last row is black."""
    x, y, z = np.ascontiguousarray(vertices.T)
    ux, uy, uz = (axis[corners[1]] - axis[corners[0]] for axis in (x, y, z))
    wx, wy, wz = (axis[corners[2]] - axis[corners[0]] for axis in (x, y, z))
    nx, ny, nz = uy * wz - uz * wy, uz * wx - ux * wz, ux * wy - uy * wx
    length = np.sqrt(nx * nx + ny * ny + nz * nz) + np.float32(1e-12)
    facing = np.maximum((nx * LIGHT[0] + ny * LIGHT[1] + nz * LIGHT[2]) / length, 0)
    brightness = np.append(AMBIENT + DIFFUSE * facing, 0)[:, None]
    return np.minimum(brightness * np.array(color, np.float32), 255).astype(np.uint8)


def _paint_iuv(iuv_image: np.ndarray, mesh: HumanMesh) -> None:
    """Draws the IUV image of one person's crop into an image (H, W, 3), in place."""
    check_shape('iuv', mesh.iuv, (3, None, None))
    size = np.array(mesh.iuv.shape[:0:-1])
    step = mesh.crop_side / size  # image px per IUV px
    rows, columns = np.nonzero(mesh.iuv[0] >= FOREGROUND)
    if len(rows) == 0:
        return
    image_size = np.array(iuv_image.shape[1::-1])
    first = np.asarray(mesh.crop_center, float) - mesh.crop_side / 2 + step / 2
    low = np.floor(first + (np.array([columns.min(), rows.min()]) - 1) * step)
    high = np.ceil(first + (np.array([columns.max(), rows.max()]) + 1) * step) + 1
    low, high = (np.clip(edge, 0, image_size).astype(int) for edge in (low, high))
    if (high <= low).any():
        return
    # Weighting u and v by the foreground keeps background values out of the interpolation.
    weighted = np.moveaxis(mesh.iuv, 0, -1).astype(np.float32)
    weighted[..., 1:] *= weighted[..., :1]
    iuv_from_image = np.array(
        [
            [1 / step[0], 0, (low[0] - first[0]) / step[0]],
            [0, 1 / step[1], (low[1] - first[1]) / step[1]],
        ]
    )
    part: np.ndarray = cv2.warpAffine(
        weighted,
        iuv_from_image,
        (high - low).tolist(),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
    )
    mask = (part[..., 0] >= FOREGROUND).astype(np.uint8)
    part[..., 1:] /= np.maximum(part[..., :1], np.float32(1e-6))
    if iuv_image.dtype == np.uint8:
        part = cv2.convertScaleAbs(part, alpha=255)
    cv2.copyTo(part, mask, iuv_image[low[1] : high[1], low[0] : high[0]])
