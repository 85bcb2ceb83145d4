"""Random scale, rotation, mirroring and colour of a photograph, and of all that is known about it.

The picture is cut by the same function as on the robot (`decomr_core.geometry.crop`). Labels
follow it: 2D keypoints into the crop frame, 3D keypoints and the body's root about the camera
axis, and in a mirrored picture left becomes right. The amounts are those of the paper's
implementation, which has them from SPIN (Kolotouros et al., ICCV 2019): the side of the square
times a normal number of deviation 0.25 about 1, cut off at 0.75 and 1.25; in two of five pictures
a rotation of deviation 30 degrees, cut off at 60; mirrored with probability 1/2; each colour
channel times 0.6 to 1.4.
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

__all__ = ['Augmentation', 'AugmentationConfig', 'Augmented', 'apply_augmentation', 'augment',
           'augment_keypoints_3d', 'augment_pose', 'crop_affine',
           'sample_augmentation']


@dataclass(frozen=True)
class AugmentationConfig:
    """How far the crops of one picture differ.

    Attributes:
        scale: deviation of the factor on the square's side from 1, and its largest difference.
        rotation_deg: deviation of the rotation, degrees; twice that is the largest.
        rotation_share: share of the pictures that are turned.
        flip_share: share of the pictures that are mirrored.
        noise: largest difference from 1 of the factor on each colour channel.
    """

    scale: float = 0.25
    rotation_deg: float = 30.0
    rotation_share: float = 0.4
    flip_share: float = 0.5
    noise: float = 0.4

    def __post_init__(self) -> None:
        if not 0 <= self.rotation_deg <= 90:
            raise ValueError(f'rotation_deg is {self.rotation_deg}; take 0 to 90')
        if not 0 <= self.scale < 1:
            raise ValueError(f'scale is {self.scale}; take 0 or more, below 1')
        for name in ('rotation_share', 'flip_share', 'noise'):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f'{name} is {getattr(self, name)}; take 0 to 1')

    @classmethod
    def off(cls) -> AugmentationConfig:
        """The crop as the robot would cut it: for evaluation."""
        return cls(scale=0, rotation_deg=0, rotation_share=0, flip_share=0, noise=0)


@dataclass(frozen=True)
class Augmentation:
    """What was drawn for one picture; by default nothing changes.

    Attributes:
        scale: factor on the side of the square.
        rotation: of the picture about the square's centre, from x towards y, radians.
        is_flipped: whether the turned picture is mirrored left to right.
        channel_factors: on red, green and blue.
    """

    scale: float = 1.0
    rotation: float = 0.0
    is_flipped: bool = False
    channel_factors: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Augmented:
    """One person after augmentation; None is what was not known.

    Attributes:
        image: (S, S, 3) uint8 RGB.
        keypoints_2d: (24, 3) float32, annotated joints: x, y, crop frame; confidence.
        keypoints_3d: (24, 4) float32, annotated joints: metres, any origin; confidence.
        pose: (24, 3) float32 axis-angle, radians.
        shape: (10,) float32 shape components, which no augmentation changes.
        crop_from_image: (2, 3) float64 affine: image px, 1 -> crop frame.
        augmentation: what was drawn.
    """

    image: np.ndarray
    keypoints_2d: np.ndarray | None
    keypoints_3d: np.ndarray | None
    pose: np.ndarray | None
    shape: np.ndarray | None
    crop_from_image: np.ndarray
    augmentation: Augmentation


def augment(image: np.ndarray, center: np.ndarray, side: float, keypoints_2d: np.ndarray | None,
            keypoints_3d: np.ndarray | None, pose: np.ndarray | None, shape: np.ndarray | None,
            rng: np.random.Generator, config: AugmentationConfig, size: int, *,
            root_from_body: np.ndarray = ROOT_FROM_BODY) -> Augmented:
    """Cuts one person out of a picture at random; the same `rng` gives the same.

    Args:
        image: (H, W, 3) uint8 RGB.
        center: (2,) of the square around the person, image px.
        side: of that square, image px.
        keypoints_2d: (24, 3) annotated joints: x, y, image px; confidence; None if unknown.
        keypoints_3d: (24, 4) annotated joints: x, y, z, metres, axes as in the root frame, any
            origin; confidence; None if unknown.
        pose: (24, 3) axis-angle, radians, body frame; None if unknown.
        shape: (10,) shape components; None if unknown.
        rng: the source of chance.
        config: how much to vary.
        size: S, side of the crop, px.
        root_from_body: as `augment_pose` takes it.

    Raises:
        ValueError: an array has another shape, or the square is none.
    """
    return apply_augmentation(sample_augmentation(rng, config), size, image, center, side,
                              keypoints_2d, keypoints_3d, pose, shape,
                              root_from_body=root_from_body)


def sample_augmentation(rng: np.random.Generator, config: AugmentationConfig) -> Augmentation:
    """Draws what to do with one picture; every call takes the same numbers from `rng`."""
    is_flipped, is_turned = rng.random(2) < (config.flip_share, config.rotation_share)
    turn, growth = np.clip(rng.standard_normal(2), (-2, -1), (2, 1)).tolist()
    factors = 1 + config.noise * rng.uniform(-1, 1, 3)
    rotation = math.radians(config.rotation_deg * turn) if is_turned else 0.0
    return Augmentation(1 + config.scale * growth, rotation, bool(is_flipped),
                        tuple(factors.tolist()))


def apply_augmentation(augmentation: Augmentation, size: int, image: np.ndarray,
                       center: np.ndarray, side: float, keypoints_2d: np.ndarray | None = None,
                       keypoints_3d: np.ndarray | None = None, pose: np.ndarray | None = None,
                       shape: np.ndarray | None = None, *,
                       root_from_body: np.ndarray = ROOT_FROM_BODY) -> Augmented:
    """Does to one person what was drawn; the arguments are those of `augment`.

    Raises:
        ValueError: an array has another shape, or the square is none.
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
    """Where an augmented crop shows the points of its image.

    Args:
        center: (2,) of the square before augmentation, image px.
        side: of that square, image px.
        augmentation: what was drawn.

    Returns:
        (2, 3) float64: (image x, image y, 1) in px -> crop frame.

    Raises:
        ValueError: the square is none.
    """
    center = np.asarray(center, np.float64)
    check_shape('center', center, (2,))
    if not (np.isfinite(center).all() and np.isfinite(side) and side > 0):
        raise ValueError(f'the square has its centre at {center.tolist()} and a side of {side}; '
                         'expected finite image px and a side above 0')
    turn = crop_from_image_xy(np.eye(2), np.zeros(2), side * augmentation.scale,
                              augmentation.rotation).T
    if augmentation.is_flipped:
        turn[0] *= -1
    return np.column_stack([turn, -turn @ center])


def augment_keypoints_3d(keypoints_3d: np.ndarray, augmentation: Augmentation) -> np.ndarray:
    """Annotated joints turned and mirrored with the picture.

    Args:
        keypoints_3d: (24, 4) x, y, z, metres, axes as in the root frame, any origin; confidence.
        augmentation: what was drawn for the image.

    Returns:
        (24, 4) float32; zeros where the confidence is 0.
    """
    check_shape('keypoints_3d', keypoints_3d, (NUM_ANNOTATED, 4))
    keypoints = np.array(keypoints_3d, np.float64)
    keypoints[:, :3] = keypoints[:, :3] @ rotation_about(2, augmentation.rotation).T
    if augmentation.is_flipped:
        keypoints = keypoints[list(MIRRORED_ANNOTATED_JOINTS)] * [-1, 1, 1, 1]
    return _known(keypoints)


def augment_pose(pose: np.ndarray, augmentation: Augmentation,
                 root_from_body: np.ndarray = ROOT_FROM_BODY) -> np.ndarray:
    """The pose of the body that is seen in the augmented picture, up to a shift.

    Args:
        pose: (24, 3) axis-angle, radians; the first one turns the whole body.
        augmentation: what was drawn for the image.
        root_from_body: (3, 3) diagonal rotation that the data set turns posed bodies by; the
            identity where they have the camera's axes already, as in the files of SPIN.

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


def _crop(image: np.ndarray, center: np.ndarray, side: float, augmentation: Augmentation,
          size: int) -> np.ndarray:
    """The square before it is mirrored."""
    return crop_pixels(image, center, float(side) * augmentation.scale, size,
                       augmentation.rotation)


def _flipped(crop: np.ndarray, augmentation: Augmentation) -> np.ndarray:
    """The square as it is, or mirrored."""
    return np.ascontiguousarray(crop[:, ::-1]) if augmentation.is_flipped else crop


def _channel_table(factors: tuple[float, float, float]) -> np.ndarray:
    """What becomes of each level of each channel: (256, 1, 3) uint8."""
    levels = np.arange(256)[:, None, None] * np.asarray(factors)
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def _keypoints_in_crop(keypoints_2d: np.ndarray, affine: np.ndarray,
                       augmentation: Augmentation) -> np.ndarray:
    """Annotated joints (24, 3) of the image px, in the crop frame; confidence stays."""
    check_shape('keypoints_2d', keypoints_2d, (NUM_ANNOTATED, 3))
    keypoints = np.array(keypoints_2d, np.float64)
    keypoints[:, :2] = keypoints[:, :2] @ affine[:, :2].T + affine[:, 2]
    if augmentation.is_flipped:
        keypoints = keypoints[list(MIRRORED_ANNOTATED_JOINTS)]
    return _known(keypoints)


def _known(keypoints: np.ndarray) -> np.ndarray:
    """Keypoints (24, K) as float32, confidence last; zeros where it is 0."""
    return np.where(keypoints[:, -1:] > 0, keypoints, 0).astype(np.float32)
