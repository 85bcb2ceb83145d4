"""One annotated person in one image, independent of the data set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from decomr_core.base.structures import check_shape
from decomr_core.body_models import NUM_JOINTS, NUM_SHAPES
from decomr_core.body_models.joint_sets import NUM_ANNOTATED

__all__ = ['GENDERS', 'PersonRecord']

GENDERS = ('', 'neutral', 'male', 'female')
"""Possible genders; '' if unknown. `PersonRecords` stores indices into this tuple."""

_SHAPES = {
    'center': (2,),
    'keypoints_2d': (NUM_ANNOTATED, 3),
    'keypoints_3d': (NUM_ANNOTATED, 4),
    'pose': (NUM_JOINTS, 3),
    'shape': (NUM_SHAPES,),
}


@dataclass(frozen=True)
class PersonRecord:
    """The annotations of one person; unknown ones are None.

    Attributes:
        image: path of the image, relative to the data set's root, with forward slashes.
        center: (2,) centre of the person's square, image px.
        side: side of the person's square, image px (200 times `scale` of the exchange format).
        keypoints_2d: (24, 3) joints in the order of `ANNOTATED_JOINTS`: x, y, image px, and
            confidence, which is 0 for joints that are not annotated.
        keypoints_3d: (24, 4) the same joints: x, y, z, metres, axes as in the root frame, any
            origin, and confidence.
        pose: (24, 3) axis-angle, radians, of SMPL in the body frame (y up); `root_frame_body`
            transforms the posed body to the root frame.
        shape: (10,) shape components of SMPL.
        is_fit: whether pose and shape were fitted to 2D keypoints rather than measured.
        fit_error: error of such a fit (see `fits.fit_errors`); None if unknown.
        gender: gender of the body that pose and shape are for, one of `GENDERS`.
        mask: path of the silhouette image, relative to the root of the data set with the
            silhouettes (UPi-S1h for LSP); '' if there is none.
        part_mask: path of the image of body parts, relative to the same root; '' if there is none.
    """

    image: str
    center: np.ndarray
    side: float
    keypoints_2d: np.ndarray | None = None
    keypoints_3d: np.ndarray | None = None
    pose: np.ndarray | None = None
    shape: np.ndarray | None = None
    is_fit: bool = False
    fit_error: float | None = None
    gender: str = ''
    mask: str = ''
    part_mask: str = ''

    def __post_init__(self) -> None:
        for name, shape in _SHAPES.items():
            value = getattr(self, name)
            if value is not None:
                check_shape(f'{name} of {self.image}', np.asarray(value), shape)
        if (self.pose is None) != (self.shape is None):
            raise ValueError(f'{self.image} has a pose or a shape without the other; give both')
        if self.gender not in GENDERS:
            raise ValueError(
                f'gender of {self.image} is {self.gender!r}, expected one of '
                f'{", ".join(map(repr, GENDERS))}'
            )
