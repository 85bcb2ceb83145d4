"""Random scale, rotation, mirroring and colour of a photograph and its annotations.

The crop is taken by the same function as at run time (`decomr_core.geometry.crop`). The
annotations are transformed with it: 2D keypoints to the crop frame, 3D keypoints and the body's
root about the camera axis, and left and right are swapped in mirrored images. The default ranges
are those of the paper's implementation, which follows SPIN (Kolotouros et al., ICCV 2019): the
side of the square is multiplied by a normal variable with mean 1 and deviation 0.25, clamped to
0.75 to 1.25; with probability 2/5 the image is rotated, with a deviation of 30 degrees, clamped
to 60; with probability 1/2 it is mirrored; each colour channel is multiplied by 0.6 to 1.4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from decomr_core.base.structures import check_shape
from decomr_core.body_models.frames import ROOT_FROM_BODY
from decomr_core.body_models.joint_sets import MIRRORED_ANNOTATED_JOINTS, NUM_ANNOTATED
from decomr_core.body_models.joints import MIRRORED_JOINTS, NUM_JOINTS
from decomr_core.geometry.crop import check_image, crop_from_image_xy, crop_pixels
from training.records.rotations import (
    MIRROR,
    axis_angle_from_matrix,
    matrix_from_axis_angle,
    rotation_about,
)

__all__ = [
    'Augmentation',
    'AugmentationConfig',
    'Augmented',
    'apply_augmentation',
    'augment',
    'augment_keypoints_3d',
    'augment_pose',
    'crop_affine',
    'sample_augmentation',
]


@dataclass(frozen=True)
class AugmentationConfig:
    """Ranges of the augmentation.

    Attributes:
        scale: standard deviation of the factor on the square's side, and its largest difference
            from 1.
        rotation_deg: standard deviation of the rotation, degrees; the largest is twice that.
        rotation_share: share of rotated images.
        flip_share: share of mirrored images.
        noise: largest difference from 1 of the factor on each colour channel.
        boxed_share: share of images that are black outside of a box around the joints, which is
            inexact as a detector's (see `person_boxes.py`); for networks with a `box_margin`.
    """

    scale: float = 0.25
    rotation_deg: float = 30.0
    rotation_share: float = 0.4
    flip_share: float = 0.5
    noise: float = 0.4
    boxed_share: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.rotation_deg <= 90:
            raise ValueError(f'rotation_deg is {self.rotation_deg}; take 0 to 90')
        if not 0 <= self.scale < 1:
            raise ValueError(f'scale is {self.scale}; take 0 or more, below 1')
        for name in ('rotation_share', 'flip_share', 'noise', 'boxed_share'):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f'{name} is {getattr(self, name)}; take 0 to 1')

    @classmethod
    def off(cls) -> AugmentationConfig:
        """No augmentation, for evaluation: the crop that the estimator would take."""
        return cls(scale=0, rotation_deg=0, rotation_share=0, flip_share=0, noise=0)


@dataclass(frozen=True)
class Augmentation:
    """The augmentation of one image; by default the identity.

    Attributes:
        scale: factor on the side of the square.
        rotation: rotation of the image about the square's centre, from x towards y, radians.
        is_flipped: whether the rotated image is mirrored left to right.
        channel_factors: factors on red, green and blue.
    """

    scale: float = 1.0
    rotation: float = 0.0
    is_flipped: bool = False
    channel_factors: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Augmented:
    """One person after augmentation; unknown annotations are None.

    Attributes:
        image: (S, S, 3) uint8 RGB.
        keypoints_2d: (24, 3) float32, annotated joints: x, y, crop frame; confidence.
        keypoints_3d: (24, 4) float32, annotated joints: metres, any origin; confidence.
        pose: (24, 3) float32 axis-angle, radians.
        shape: (10,) float32 shape components, unchanged.
        crop_from_image: (2, 3) float64 affine: image px, 1 -> crop frame.
        augmentation: the augmentation that was applied.
    """

    image: np.ndarray
    keypoints_2d: np.ndarray | None
    keypoints_3d: np.ndarray | None
    pose: np.ndarray | None
    shape: np.ndarray | None
    crop_from_image: np.ndarray
    augmentation: Augmentation


def augment(
    image: np.ndarray,
    center: np.ndarray,
    side: float,
    keypoints_2d: np.ndarray | None,
    keypoints_3d: np.ndarray | None,
    pose: np.ndarray | None,
    shape: np.ndarray | None,
    rng: np.random.Generator,
    config: AugmentationConfig,
    size: int,
    *,
    root_from_body: np.ndarray = ROOT_FROM_BODY,
) -> Augmented:
    """Takes a randomly augmented crop of one person, reproducible by `rng`.

    Args:
        image: (H, W, 3) uint8 RGB.
        center: (2,) centre of the square around the person, image px.
        side: side of that square, image px.
        keypoints_2d: (24, 3) annotated joints: x, y, image px; confidence; None if unknown.
        keypoints_3d: (24, 4) annotated joints: x, y, z, metres, axes as in the root frame, any
            origin; confidence; None if unknown.
        pose: (24, 3) axis-angle, radians, body frame; None if unknown.
        shape: (10,) shape components; None if unknown.
        rng: source of the random numbers.
        config: ranges of the augmentation.
        size: S, side of the crop, px.
        root_from_body: see `augment_pose`.

    Raises:
        ValueError: an array has a wrong shape, or the square is not finite or empty.
    """
    return apply_augmentation(
        sample_augmentation(rng, config),
        size,
        image,
        center,
        side,
        keypoints_2d,
        keypoints_3d,
        pose,
        shape,
        root_from_body=root_from_body,
    )


def sample_augmentation(rng: np.random.Generator, config: AugmentationConfig) -> Augmentation:
    """Samples the augmentation of one image.

    Every call draws the same amount of random numbers from `rng`, whatever the config.
    """
    is_flipped, is_rotated = rng.random(2) < (config.flip_share, config.rotation_share)
    turn, growth = np.clip(rng.standard_normal(2), (-2, -1), (2, 1)).tolist()
    red, green, blue = (1 + config.noise * rng.uniform(-1, 1, 3)).tolist()
    rotation = math.radians(config.rotation_deg * turn) if is_rotated else 0.0
    return Augmentation(1 + config.scale * growth, rotation, bool(is_flipped), (red, green, blue))


def apply_augmentation(
    augmentation: Augmentation,
    size: int,
    image: np.ndarray,
    center: np.ndarray,
    side: float,
    keypoints_2d: np.ndarray | None = None,
    keypoints_3d: np.ndarray | None = None,
    pose: np.ndarray | None = None,
    shape: np.ndarray | None = None,
    *,
    root_from_body: np.ndarray = ROOT_FROM_BODY,
) -> Augmented:
    """Applies an augmentation to one person; the other arguments are those of `augment`.

    Raises:
        ValueError: an array has a wrong shape, or the square is not finite or empty.
    """
    check_image(image)
    affine = crop_affine(center, side, augmentation)
    crop = _flipped(_crop(image, center, side, augmentation, size), augmentation)
    if augmentation.channel_factors != (1.0, 1.0, 1.0):
        crop = cv2.LUT(crop, _channel_table(augmentation.channel_factors))
    if keypoints_2d is not None:
        keypoints_2d = _keypoints_in_crop(keypoints_2d, affine, augmentation)
    if keypoints_3d is not None:
        keypoints_3d = augment_keypoints_3d(keypoints_3d, augmentation)
    if pose is not None:
        pose = augment_pose(pose, augmentation, root_from_body)
    shape = None if shape is None else np.asarray(shape, np.float32)
    return Augmented(crop, keypoints_2d, keypoints_3d, pose, shape, affine, augmentation)


def crop_affine(center: np.ndarray, side: float, augmentation: Augmentation) -> np.ndarray:
    """The affine map from an image to its augmented crop.

    Args:
        center: (2,) centre of the square before augmentation, image px.
        side: side of that square, image px.
        augmentation: the augmentation of the image.

    Returns:
        (2, 3) float64: (image x, image y, 1) in px -> crop frame.

    Raises:
        ValueError: the square is not finite or empty.
    """
    center = np.asarray(center, np.float64)
    check_shape('center', center, (2,))
    if not (np.isfinite(center).all() and np.isfinite(side) and side > 0):
        raise ValueError(
            f'the square has its centre at {center.tolist()} and a side of {side}; '
            'expected finite image px and a side above 0'
        )
    turn = crop_from_image_xy(
        np.eye(2), np.zeros(2), side * augmentation.scale, augmentation.rotation
    ).T
    if augmentation.is_flipped:
        turn[0] *= -1
    return np.column_stack([turn, -turn @ center])


def augment_keypoints_3d(keypoints_3d: np.ndarray, augmentation: Augmentation) -> np.ndarray:
    """Rotates and mirrors annotated joints with the image.

    Args:
        keypoints_3d: (24, 4) x, y, z, metres, axes as in the root frame, any origin; confidence.
        augmentation: the augmentation of the image.

    Returns:
        (24, 4) float32; zeros where the confidence is 0.
    """
    check_shape('keypoints_3d', keypoints_3d, (NUM_ANNOTATED, 4))
    keypoints = np.array(keypoints_3d, np.float64)
    keypoints[:, :3] = keypoints[:, :3] @ rotation_about(2, augmentation.rotation).T
    if augmentation.is_flipped:
        keypoints = keypoints[list(MIRRORED_ANNOTATED_JOINTS)] * [-1, 1, 1, 1]
    return _known(keypoints)


def augment_pose(
    pose: np.ndarray, augmentation: Augmentation, root_from_body: np.ndarray = ROOT_FROM_BODY
) -> np.ndarray:
    """Rotates and mirrors a pose with the image; the translation is not considered.

    Args:
        pose: (24, 3) axis-angle, radians; the first one is the global orientation.
        augmentation: the augmentation of the image.
        root_from_body: (3, 3) diagonal rotation from the body frame to the root frame; the
            identity if posed bodies have the camera's axes already, as in the files of SPIN.

    Returns:
        (24, 3) float32.
    """
    check_shape('pose', pose, (NUM_JOINTS, 3))
    pose = np.array(pose, np.float64)
    if augmentation.rotation:
        turn = root_from_body.T @ rotation_about(2, augmentation.rotation) @ root_from_body
        pose[0] = axis_angle_from_matrix(turn @ matrix_from_axis_angle(pose[0]))
    if augmentation.is_flipped:
        pose = pose[list(MIRRORED_JOINTS)] * MIRROR
    return pose.astype(np.float32)


def _crop(
    image: np.ndarray, center: np.ndarray, side: float, augmentation: Augmentation, size: int
) -> np.ndarray:
    """The scaled and rotated crop, not mirrored."""
    return crop_pixels(
        image, center, float(side) * augmentation.scale, size, augmentation.rotation
    )


def _flipped(crop: np.ndarray, augmentation: Augmentation) -> np.ndarray:
    """The crop, mirrored if the augmentation is flipped."""
    return np.ascontiguousarray(crop[:, ::-1]) if augmentation.is_flipped else crop


def _channel_table(factors: tuple[float, float, float]) -> np.ndarray:
    """Lookup table of the colour channels: (256, 1, 3) uint8."""
    levels = np.arange(256)[:, None, None] * np.asarray(factors)
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def _keypoints_in_crop(
    keypoints_2d: np.ndarray, affine: np.ndarray, augmentation: Augmentation
) -> np.ndarray:
    """Transforms annotated joints (24, 3) from image px to the crop frame."""
    check_shape('keypoints_2d', keypoints_2d, (NUM_ANNOTATED, 3))
    keypoints = np.array(keypoints_2d, np.float64)
    keypoints[:, :2] = keypoints[:, :2] @ affine[:, :2].T + affine[:, 2]
    if augmentation.is_flipped:
        keypoints = keypoints[list(MIRRORED_ANNOTATED_JOINTS)]
    return _known(keypoints)


def _known(keypoints: np.ndarray) -> np.ndarray:
    """Keypoints (24, K) as float32, set to zeros where the confidence (the last column) is 0."""
    return np.where(keypoints[:, -1:] > 0, keypoints, 0).astype(np.float32)
