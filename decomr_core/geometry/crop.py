"""Person box -> square crop of the network's size, and the coordinates there and back.

The square is centred on the box and its side is `scale` times the longer side of the box, as the
training crops are; training also turns it. What lies outside the image is black. For networks that
were trained so, what lies outside the person box is black too: this tells the network which of
several people in the square is meant.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from decomr_core.base.structures import Crops, check_shape

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    'CROP_SCALE',
    'as_stored',
    'blacken_outside_box',
    'box_in_crop',
    'check_boxes',
    'check_image',
    'copy_image',
    'crop_from_image_xy',
    'crop_image',
    'crop_pixels',
    'image_from_crop_xy',
    'network_input',
    'square_crops',
]

CROP_SCALE = 1.2
"""Side of the square crop over the longer side of the person box: the middle of what the network
saw in training."""

SMALLEST_SIDE_PX = 2.0
"""A box smaller than this, as the one of a 1x1 image, is cropped as if it were this large."""


def crop_image(
    image: np.ndarray,
    boxes: np.ndarray,
    size: int,
    scale: float = CROP_SCALE,
    box_margin: float | None = None,
) -> Crops:
    """Cuts one square per person box out of an image.

    Args:
        image: (H, W, 3) uint8 RGB; `bgr[..., ::-1]` is as fast, see `as_stored`.
        boxes: (B, 4) x_min, y_min, x_max, y_max, image px; B may be 0.
        size: S, px.
        scale: side of the square over the longer side of the box.
        box_margin: `NetworkConfig.box_margin` of the network that takes the crops.

    Raises:
        ValueError: a shape, a type or a box is not as said above.
    """
    check_image(image)
    boxes = check_boxes(boxes)
    if size < 1 or not scale > 0:
        raise ValueError(f'crop size is {size} px and scale {scale}; both must be positive')
    centers, sides = square_crops(boxes, scale)
    stored, is_bgr = as_stored(image)
    images = np.empty((len(boxes), size, size, 3), np.uint8)
    for target, box, center, side in zip(images, boxes, centers, sides, strict=True):
        pixels = crop_pixels(stored, center, float(side), size)
        target[...] = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB) if is_bgr else pixels
        if box_margin is not None:
            blacken_outside_box(target, box_in_crop(box, center, side), box_margin)
    return Crops(images, boxes, centers, sides)


def box_in_crop(box: np.ndarray, center: np.ndarray, side: float | np.ndarray) -> np.ndarray:
    """Maps a person box from the image to its crop.

    Args:
        box: (4,) x_min, y_min, x_max, y_max, image px.
        center: (2,) of the square, image px.
        side: of the square, image px.

    Returns:
        (4,) the same edges, crop frame.
    """
    return crop_from_image_xy(box.reshape(2, 2), center, side).ravel()


def blacken_outside_box(pixels: np.ndarray, box: np.ndarray, margin: float) -> None:
    """Blackens a crop outside of a person box, in place.

    Args:
        pixels: (S, S, 3) or (S, S).
        box: (4,) x_min, y_min, x_max, y_max, crop frame.
        margin: width of the border around the box that stays, over the longer side of the box.
    """
    x_min, y_min, x_max, y_max = (float(edge) for edge in box)
    border = margin * max(x_max - x_min, y_max - y_min)
    top, bottom = _pixels_between(y_min - border, y_max + border, len(pixels))
    left, right = _pixels_between(x_min - border, x_max + border, len(pixels))
    pixels[:top] = pixels[bottom:] = 0
    pixels[:, :left] = pixels[:, right:] = 0


def as_stored(image: np.ndarray) -> tuple[np.ndarray, bool]:
    """An image in the order of its memory, as OpenCV wants it.

    Most cameras send BGR. `bgr[..., ::-1]` is RGB without touching a pixel, but OpenCV copies
    such an image as a whole, slowly. So cut and resize what this returns, and set the small
    result right.

    Args:
        image: (H, W, 3) RGB, its last axis in either direction.

    Returns:
        The same pixels, (H, W, 3), and whether they are BGR.
    """
    is_bgr = image.strides[2] < 0
    return (image[..., ::-1] if is_bgr else image), is_bgr


def copy_image(image: np.ndarray) -> np.ndarray:
    """The same (H, W, 3) uint8 image in memory of its own, without gaps."""
    stored, is_bgr = as_stored(image)
    return cv2.cvtColor(stored, cv2.COLOR_BGR2RGB) if is_bgr else image.copy()


def square_crops(boxes: np.ndarray, scale: float = CROP_SCALE) -> tuple[np.ndarray, np.ndarray]:
    """The squares around boxes.

    Args:
        boxes: (B, 4) x_min, y_min, x_max, y_max, image px.
        scale: side of the square over the longer side of the box.

    Returns:
        centers (B, 2) and sides (B,), image px, float32.
    """
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    longer = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    sides = np.maximum(longer * scale, SMALLEST_SIDE_PX)
    return centers.astype(np.float32), sides.astype(np.float32)


def crop_pixels(
    image: np.ndarray, center: np.ndarray, side: float, size: int, rotation: float = 0.0
) -> np.ndarray:
    """One square of an image, resampled.

    A square much larger than its target is first halved, once or often, by averaging, so that
    fine texture does not turn into noise; the rest is bilinear.

    Args:
        image: (H, W, 3) uint8 RGB; a mask (H, W) uint8 will do.
        center: (2,) of the square, image px.
        side: of the square, image px.
        size: S, px.
        rotation: by which the image turns about the centre, from x towards y (clockwise to the
            eye), radians.

    Returns:
        (S, S, 3) or (S, S) uint8, black outside the image.
    """
    cosine, sine = math.cos(rotation), math.sin(rotation)
    image_from_pixel = _Affine(
        *(
            _crop_axis(float(middle), side, size, right, down)
            for middle, right, down in zip(center, (cosine, -sine), (sine, cosine), strict=True)
        )
    )
    image, image_from_pixel = _averaged_blocks(image, image_from_pixel, size)
    return cv2.warpAffine(
        image,
        np.array(image_from_pixel),
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(0, 0, 0),
    )


def image_from_crop_xy(
    crop_xy: np.ndarray, center: np.ndarray, side: float | np.ndarray, rotation: float = 0.0
) -> np.ndarray:
    """Maps points from a crop to its image.

    Args:
        crop_xy: shaped (..., 2), crop frame.
        center: (..., 2) of the square, image px.
        side: of the square, image px; a number, or an array that broadcasts.
        rotation: of the crop's image, as `crop_pixels` takes it, radians.

    Returns:
        (..., 2) image px.
    """
    return np.asarray(center) + _turned(np.asarray(crop_xy), -rotation) * (np.asarray(side) / 2)


def crop_from_image_xy(
    image_xy: np.ndarray, center: np.ndarray, side: float | np.ndarray, rotation: float = 0.0
) -> np.ndarray:
    """Maps points from an image to a crop of it; the inverse of `image_from_crop_xy`.

    Args:
        image_xy: shaped (..., 2), image px.
        center: (..., 2) of the square, image px.
        side: of the square, image px; a number, or an array that broadcasts.
        rotation: of the crop's image, as `crop_pixels` takes it, radians.

    Returns:
        (..., 2) crop frame.
    """
    crop_xy = (np.asarray(image_xy) - np.asarray(center)) / (np.asarray(side) / 2)
    return _turned(crop_xy, rotation)


def network_input(images: Tensor) -> Tensor:
    """Crops as the network takes them: in training, in the exported graph and in every runtime.

    Args:
        images: (B, S, S, 3) uint8 RGB.

    Returns:
        (B, 3, S, S) float32 RGB in [0, 1].
    """
    return (images.float() / 255).permute(0, 3, 1, 2).contiguous()


def check_image(image: np.ndarray) -> None:
    """Raises an error unless the image is (H, W, 3) uint8 with at least one pixel.

    Raises:
        ValueError: it is not; says what it is.
    """
    if not isinstance(image, np.ndarray):
        raise ValueError(
            f'image is a {type(image).__name__}, expected a numpy array (H, W, 3) uint8 RGB'
        )
    check_shape('image', image, (None, None, 3))
    if image.dtype != np.uint8:
        raise ValueError(f'image has type {image.dtype}, expected uint8 RGB in [0, 255]')
    if image.size == 0:
        raise ValueError(f'image has shape {image.shape}, expected at least one pixel')


def check_boxes(boxes: np.ndarray) -> np.ndarray:
    """Person boxes as (B, 4) float32; an empty list is (0, 4).

    Args:
        boxes: (B, 4) x_min, y_min, x_max, y_max, image px.

    Raises:
        ValueError: the shape is another, a number is not finite or a side is negative.
    """
    boxes = np.asarray(boxes, np.float32)
    if boxes.size == 0:
        return boxes.reshape(0, 4)
    check_shape('boxes', boxes, (None, 4))
    wrong = ~np.isfinite(boxes).all(1) | (boxes[:, 2:] < boxes[:, :2]).any(1)
    if wrong.any():
        raise ValueError(
            f'box {boxes[wrong][0].tolist()} is not x_min, y_min, x_max, y_max in '
            'image px: the numbers must be finite and no side negative'
        )
    return boxes


def _pixels_between(low: float, high: float, size: int) -> tuple[int, int]:
    """The first pixel with its centre between two coordinates of the crop frame, and the end."""
    first, last = ((edge + 1) / 2 * size - 0.5 for edge in (low, high))
    return min(max(math.ceil(first), 0), size), min(max(math.floor(last) + 1, 0), size)


def _turned(xy: np.ndarray, rotation: float) -> np.ndarray:
    """Vectors (..., 2) turned from x towards y, radians; exactly the same ones for 0."""
    if rotation == 0:
        return xy
    cosine, sine = math.cos(rotation), math.sin(rotation)
    x, y = xy[..., 0], xy[..., 1]
    return np.stack([cosine * x - sine * y, sine * x + cosine * y], axis=-1)


class _Axis(NamedTuple):
    """One row of an affine matrix: coordinate = right * column + down * row + start, image px."""

    right: float
    down: float
    start: float

    def span(self, size: int) -> tuple[float, float]:
        """Lowest and highest coordinate in a square of `size` pixels."""
        corners = [
            (size - 1) * step for step in (0.0, self.right, self.down, self.right + self.down)
        ]
        return self.start + min(corners), self.start + max(corners)

    def in_blocks(self, low: int, block: int) -> _Axis:
        """The same coordinate in blocks of `block` pixels, the first of which begins at `low`."""
        return _Axis(
            self.right / block, self.down / block, (self.start - low - (block - 1) / 2) / block
        )


class _Affine(NamedTuple):
    """The (2, 3) matrix that maps (column, row, 1) of a crop to x and y of its image.

    The elements are Python floats: NumPy takes as long for two numbers as for thousands.
    """

    x: _Axis
    y: _Axis

    @property
    def step(self) -> float:
        """Distance between neighbouring pixels of the crop, image px."""
        return math.hypot(self.x.right, self.y.right)


def _crop_axis(center: float, side: float, size: int, right: float, down: float) -> _Axis:
    """One row of the matrix of a square crop.

    Args:
        center: centre of the square along this axis, image px.
        side: side of the square, image px.
        size: S, px.
        right: component of the square's horizontal axis along this one.
        down: component of the square's vertical axis along this one.
    """
    start = center - side / 2 * (right + down) + side / (2 * size) * (right + down)
    return _Axis(side / size * right, side / size * down, start)


def _averaged_blocks(
    image: np.ndarray, image_from_pixel: _Affine, size: int
) -> tuple[np.ndarray, _Affine]:
    """The part of an image that a crop shows, averaged so that a step is below 2 px.

    Args:
        image: (H, W, 3).
        image_from_pixel: matrix of the crop.
        size: S, px.

    Returns:
        The image to sample, and the matrix in its pixels.
    """
    if image_from_pixel.step < 2:
        return image, image_from_pixel
    halvings = int(math.log2(image_from_pixel.step))
    block = 2**halvings
    edges = []
    for axis, length in zip(image_from_pixel, image.shape[1::-1], strict=True):
        first, last = axis.span(size)
        low = min(max(math.floor(first) - block, 0), length)
        high = min(max(math.ceil(last) + block + 1, low), length)
        if high == low:
            return image, image_from_pixel
        high = min(high + -(high - low) % block, length)
        edges.append((low, high, -(high - low) % block))
    (left, end_x, missing_x), (top, end_y, missing_y) = edges
    part = image[top:end_y, left:end_x]
    if missing_x or missing_y:  # the last blocks extend beyond the edge of the image
        part = cv2.copyMakeBorder(
            part, 0, missing_y, 0, missing_x, cv2.BORDER_CONSTANT, value=(0, 0, 0)
        )
    for _ in range(halvings):  # one halving takes a tenth of one resize by the whole factor
        part = cv2.resize(
            part, (part.shape[1] // 2, part.shape[0] // 2), interpolation=cv2.INTER_AREA
        )
    return part, _Affine(
        image_from_pixel.x.in_blocks(left, block), image_from_pixel.y.in_blocks(top, block)
    )
