"""A whole data set as arrays: hundreds of thousands of people in a few hundred megabytes.

Records are created on access. The arrays are cleaned once: unusable people are removed, unusable
joints get confidence 0, and both are counted.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from decomr_core.body_models import NUM_JOINTS, NUM_SHAPES
from decomr_core.body_models.joint_sets import NUM_ANNOTATED
from decomr_core.geometry.crop import SMALLEST_SIDE_PX
from training.records.image_files import image_size
from training.records.person_record import GENDERS, PersonRecord

__all__ = [
    'PersonRecords',
    'ReadCounts',
    'clean_records',
    'collect_records',
    'stored_paths',
    'overlaps_image',
]

logger = logging.getLogger(__name__)
NEUTRAL = GENDERS.index('neutral')


@dataclass(frozen=True)
class ReadCounts:
    """Counts of the people that were read, and of faults in their annotations.

    Attributes:
        people: people in the annotations.
        unreadable_images: people removed because their image is missing or unreadable.
        outside_boxes: people removed because their square is entirely outside the image.
        invalid_boxes: people removed because their square is not finite or too small.
        nan_keypoints: 2D and 3D joints set to confidence 0 because a number was not finite.
        nan_poses: poses removed because a number was not finite.
        unknown_genders: people of unknown gender, set to neutral.
        without_truth: people removed from an evaluation because their truth is unknown.
    """

    people: int = 0
    unreadable_images: int = 0
    outside_boxes: int = 0
    invalid_boxes: int = 0
    nan_keypoints: int = 0
    nan_poses: int = 0
    unknown_genders: int = 0
    without_truth: int = 0

    def text(self, kept: int) -> str:
        """One line with all counts that are not 0."""
        parts = [
            f'{getattr(self, item.name)} {item.name.replace("_", " ")}'
            for item in fields(self)[1:]
            if getattr(self, item.name)
        ]
        return f'{kept} of {self.people} people' + (f' ({", ".join(parts)})' if parts else '')


@dataclass(frozen=True)
class PersonRecords:
    """N people of one data set; indexing returns a `PersonRecord`.

    Attributes:
        name: name of the data set.
        root: folder to which the image paths are relative.
        images: (N,) bytes, UTF-8 paths.
        centers: (N, 2) float32 centre of each person's square, image px.
        sides: (N,) float32 side of the square, image px.
        keypoints_2d: (N, 24, 3) float32, or None if the data set has none.
        keypoints_3d: (N, 24, 4) float32, or None.
        pose: (N, 24, 3) float32, valid where `has_pose`, or None.
        shape: (N, 10) float32, valid where `has_pose`, or None.
        has_pose: (N,) bool.
        is_fit: (N,) bool, True where pose and shape were fitted to 2D keypoints.
        fit_errors: (N,) float32, NaN where unknown, or None if all are unknown.
        genders: (N,) int8, index into `GENDERS`.
        masks: (N,) bytes, paths of silhouettes, or None.
        part_masks: (N,) bytes, paths of images of body parts, or None.
        image_sizes: (N, 2) int32 width and height, px; None until the images are checked.
        counts: counts of people and faults.
    """

    name: str
    root: Path
    images: np.ndarray
    centers: np.ndarray
    sides: np.ndarray
    keypoints_2d: np.ndarray | None
    keypoints_3d: np.ndarray | None
    pose: np.ndarray | None
    shape: np.ndarray | None
    has_pose: np.ndarray
    is_fit: np.ndarray
    fit_errors: np.ndarray | None
    genders: np.ndarray
    masks: np.ndarray | None = None
    part_masks: np.ndarray | None = None
    image_sizes: np.ndarray | None = None
    counts: ReadCounts = ReadCounts()

    def __len__(self) -> int:
        """N, the number of people."""
        return len(self.images)

    def __getitem__(self, index: int) -> PersonRecord:
        """The person at an index."""
        has_pose = bool(self.has_pose[index])
        error = np.nan if self.fit_errors is None else self.fit_errors[index]
        return PersonRecord(
            image=self.images[index].decode(),
            center=self.centers[index],
            side=float(self.sides[index]),
            keypoints_2d=_known(self.keypoints_2d, index),
            keypoints_3d=_known(self.keypoints_3d, index),
            pose=self.pose[index] if has_pose and self.pose is not None else None,
            shape=self.shape[index] if has_pose and self.shape is not None else None,
            is_fit=has_pose and bool(self.is_fit[index]),
            fit_error=None if np.isnan(error) or not has_pose else float(error),
            gender=GENDERS[self.genders[index]],
            mask=_path(self.masks, index),
            part_mask=_path(self.part_masks, index),
        )

    def select(self, index: np.ndarray) -> PersonRecords:
        """The people at indices (K,), or where a mask (N,) is True."""
        return replace(
            self,
            **{
                item.name: getattr(self, item.name)[index]
                for item in fields(self)
                if isinstance(getattr(self, item.name), np.ndarray)
            },
        )

    def without_fits(self) -> PersonRecords:
        """The same people without fitted bodies ("Ours-A" of the supplement).

        Measured bodies are kept.
        """
        return replace(self, has_pose=self.has_pose & ~self.is_fit, fit_errors=None)

    def with_fits(
        self,
        pose: np.ndarray,
        shape: np.ndarray,
        is_valid: np.ndarray,
        errors: np.ndarray | None = None,
    ) -> PersonRecords:
        """Adds fitted bodies to the people without a measured one.

        Args:
            pose: (N, 24, 3), as in `PersonRecord`.
            shape: (N, 10).
            is_valid: (N,) bool, whether there is a fit.
            errors: (N,) error of each fit; None if unknown.

        Raises:
            ValueError: the number of fits differs from that of the people.
        """
        if len(pose) != len(self):
            raise ValueError(
                f'there are {len(pose)} fits for {len(self)} people of {self.name}; '
                'use the fits that were made for this annotation file, one for each '
                'of its people'
            )
        measured = self.has_pose & ~self.is_fit
        old_pose = np.zeros_like(pose) if self.pose is None else self.pose
        old_shape = np.zeros_like(shape) if self.shape is None else self.shape
        errors = np.full(len(self), np.nan) if errors is None else errors
        return replace(
            self,
            pose=np.where(measured[:, None, None], old_pose, pose).astype(np.float32),
            shape=np.where(measured[:, None], old_shape, shape).astype(np.float32),
            has_pose=measured | is_valid,
            is_fit=~measured & is_valid,
            fit_errors=np.where(measured, np.nan, errors).astype(np.float32),
        )


def collect_records(records: Iterable[PersonRecord], name: str, root: Path) -> PersonRecords:
    """Collects records into arrays, without any checks or cleaning."""
    columns: dict[str, list] = {item.name: [] for item in fields(PersonRecord)}
    for record in records:
        for column, values in columns.items():
            values.append(getattr(record, column))
    count = len(columns['image'])
    pose = _stack(columns['pose'], (NUM_JOINTS, 3))
    errors = [np.nan if error is None else error for error in columns['fit_error']]
    return PersonRecords(
        name=name,
        root=Path(root),
        images=stored_paths(columns['image']),
        centers=np.array(columns['center'], np.float32).reshape(count, 2),
        sides=np.array(columns['side'], np.float32),
        keypoints_2d=_stack(columns['keypoints_2d'], (NUM_ANNOTATED, 3)),
        keypoints_3d=_stack(columns['keypoints_3d'], (NUM_ANNOTATED, 4)),
        pose=pose,
        shape=_stack(columns['shape'], (NUM_SHAPES,)),
        has_pose=np.array([value is not None for value in columns['pose']], bool),
        is_fit=np.array(columns['is_fit'], bool),
        fit_errors=np.array(errors, np.float32) if not np.isnan(errors).all() else None,
        genders=np.array([GENDERS.index(gender) for gender in columns['gender']], np.int8),
        masks=stored_paths(columns['mask']) if any(columns['mask']) else None,
        part_masks=stored_paths(columns['part_mask']) if any(columns['part_mask']) else None,
    )


def clean_records(records: PersonRecords, check_images: bool = True) -> PersonRecords:
    """Removes unusable people, invalidates non-finite numbers, and logs the counts in one line.

    Args:
        records: people as read.
        check_images: whether to check every image file by reading its header. If not, people are
            not removed because of their images, unless the image sizes are known.

    Raises:
        ValueError: no people are left.
    """
    count = len(records)
    keypoints_2d, num_bad_2d = _with_finite_keypoints(records.keypoints_2d)
    keypoints_3d, num_bad_3d = _with_finite_keypoints(records.keypoints_3d)
    cleaned = _with_finite_poses(
        replace(records, keypoints_2d=keypoints_2d, keypoints_3d=keypoints_3d)
    )
    counts = ReadCounts(
        people=count,
        nan_keypoints=num_bad_2d + num_bad_3d,
        nan_poses=int((records.has_pose & ~cleaned.has_pose).sum()),
    )
    unknown = records.genders == GENDERS.index('')
    valid = (
        np.isfinite(records.centers).all(1)
        & np.isfinite(records.sides)
        & (records.sides >= SMALLEST_SIDE_PX)
    )
    cleaned = replace(cleaned, genders=np.where(unknown, NEUTRAL, records.genders).astype(np.int8))
    readable, inside = np.ones(count, bool), np.ones(count, bool)
    if check_images or records.image_sizes is not None:
        cleaned, readable, inside = _image_faults(cleaned, valid)
    kept = valid & readable & inside
    counts = replace(
        counts,
        unreadable_images=int((valid & ~readable).sum()),
        invalid_boxes=int((~valid).sum()),
        outside_boxes=int((valid & readable & ~inside).sum()),
        unknown_genders=int((unknown & kept).sum()),
    )
    logger.info('%s: %s', records.name, counts.text(int(kept.sum())))
    if not kept.any():
        raise ValueError(
            f'{records.name} in {records.root} has no usable people: '
            f'{counts.text(0)}; is {records.root} the folder to which paths such as '
            f'{_example(records)} are relative?'
        )
    return replace(cleaned.select(kept), counts=counts)


def stored_paths(paths: Iterable[str]) -> np.ndarray:
    """Paths as fixed-length bytes (N,), which take a quarter of the memory of text."""
    return np.array([str(path).replace('\\', '/').encode() for path in paths], np.bytes_)


def overlaps_image(
    centers: np.ndarray, sides: np.ndarray | float, sizes: np.ndarray | tuple[int, ...]
) -> np.ndarray:
    """Whether squares overlap their images.

    Args:
        centers: (..., 2) centres of the squares, image px.
        sides: (...,) sides of the squares, image px.
        sizes: (..., 2) width and height of the images, px.

    Returns:
        (...,) bool.
    """
    half = np.asarray(sides)[..., None] / 2
    # The centre of the first pixel is at 0, so the image begins at -0.5.
    return np.all((centers + half > -0.5) & (centers - half < np.asarray(sizes) - 0.5), axis=-1)


def _image_faults(
    records: PersonRecords, valid: np.ndarray
) -> tuple[PersonRecords, np.ndarray, np.ndarray]:
    """The records with their image sizes; whether images are readable, and overlap squares."""
    sizes = records.image_sizes
    if sizes is None:
        paths, index = np.unique(records.images, return_inverse=True)
        needed = np.zeros(len(paths), bool)
        needed[index[valid]] = True
        found = [
            image_size(records.root / path.decode()) if is_needed else None
            for path, is_needed in zip(paths, needed, strict=True)
        ]
        sizes = np.array([size or (0, 0) for size in found], np.int32).reshape(-1, 2)[index]
    inside = overlaps_image(records.centers, records.sides, sizes)
    return replace(records, image_sizes=sizes), np.all(sizes > 0, axis=1), inside


def _with_finite_poses(records: PersonRecords) -> PersonRecords:
    """The records without poses and shapes that have non-finite numbers."""
    if records.pose is None or records.shape is None:
        return records
    finite = np.isfinite(records.pose).all((1, 2)) & np.isfinite(records.shape).all(1)
    kept = records.has_pose & finite
    return replace(
        records,
        has_pose=kept,
        pose=np.where(kept[:, None, None], records.pose, np.float32(0)),
        shape=np.where(kept[:, None], records.shape, np.float32(0)),
    )


def _with_finite_keypoints(keypoints: np.ndarray | None) -> tuple[np.ndarray | None, int]:
    """Keypoints with zeros in place of non-finite ones, and the number of these."""
    if keypoints is None:
        return None, 0
    is_bad = ~np.isfinite(keypoints).all(-1)
    return np.where(is_bad[..., None], np.float32(0), keypoints), int(is_bad.sum())


def _stack(values: list[np.ndarray | None], shape: tuple[int, ...]) -> np.ndarray | None:
    """Stacks values to a float32 array, with zeros for None; None if all values are None."""
    if all(value is None for value in values):
        return None
    stacked = np.zeros((len(values), *shape), np.float32)
    for row, value in zip(stacked, values, strict=True):
        if value is not None:
            row[...] = value
    return stacked


def _known(keypoints: np.ndarray | None, index: int) -> np.ndarray | None:
    """The keypoints of one person; None if all have confidence 0."""
    return keypoints[index] if keypoints is not None and keypoints[index, :, -1].any() else None


def _path(paths: np.ndarray | None, index: int) -> str:
    return '' if paths is None else paths[index].decode()


def _example(records: PersonRecords) -> str:
    return records.images[0].decode() if len(records) else 'those of the annotations'
