"""Reads photographs with the boxes, joints and outlines of people, in COCO's layout.

For evaluation: includes people who are partly visible (`readers/coco.py` reads training people).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from training.datasets.readers.coco import COCO_JOINTS, read_json

__all__ = [
    'Photograph',
    'PhotographedPerson',
    'find_annotations',
    'outline_mask',
    'read_photographs',
]

ANNOTATIONS = 'annotations/person_keypoints_*.json'
PIXEL_CENTER = 0.5
"""COCO's boxes and outlines have (0, 0) at the corner of the first pixel, ours at its centre."""


@dataclass(frozen=True)
class PhotographedPerson:
    """A person on a photograph.

    Attributes:
        box: (4,) x_min, y_min, x_max, y_max, image px.
        joints: (17, 3) x, y, image px, and COCO's visibility: 0 unknown, 1 hidden, 2 visible.
        outline: COCO's segmentation, for `outline_mask`; None if missing.
    """

    box: np.ndarray
    joints: np.ndarray
    outline: Any = None


@dataclass(frozen=True)
class Photograph:
    """One photograph.

    Attributes:
        path: the image file.
        people: all annotated people.
        ignored: (K, 4) boxes of crowds, whose people are not annotated one by one, image px.
    """

    path: Path
    people: list[PhotographedPerson] = field(default_factory=list)
    ignored: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))


def find_annotations(root: str | Path, annotations: str | Path | None = None) -> Path:
    """Finds the JSON file of the annotations.

    Args:
        root: folder of the data set.
        annotations: the file; None for the only file in the folder with COCO's name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: there are several such files.
    """
    if annotations is not None:
        if not Path(annotations).is_file():
            raise FileNotFoundError(f'there is no file {annotations}; check --annotations')
        return Path(annotations)
    found = sorted(Path(root).glob(ANNOTATIONS))
    if not found:
        raise FileNotFoundError(
            f'{root} does not contain {ANNOTATIONS}; download annotations and images from '
            'https://cocodataset.org/#download (annotations: CC BY 4.0; images: terms of Flickr), '
            'or name another file with --annotations FILE.json'
        )
    if len(found) > 1:
        names = ', '.join(path.name for path in found)
        raise ValueError(f'{root} contains {names}; select one with --annotations')
    return found[0]


def read_photographs(root: str | Path, annotations: str | Path | None = None) -> list[Photograph]:
    """Reads all photographs of a data set, including those without people.

    Args:
        root: folder of the images, which are directly in it, in its folder `images`, or in the
            folder named as the end of the annotation file's name (`val2017`).
        annotations: see `find_annotations`.

    Raises:
        FileNotFoundError: there are no annotations, or no images.
        ValueError: the annotation file has unexpected content.
    """
    path = find_annotations(root, annotations)
    content = read_json(path, 'images', 'annotations')
    try:
        people: dict[int, list[Mapping[str, Any]]] = {}
        for person in content['annotations']:
            people.setdefault(person['image_id'], []).append(person)
        images = [(image['file_name'], people.get(image['id'], [])) for image in content['images']]
        folder = _image_folder(Path(root), path, [name for name, _ in images])
        return [_photograph(folder / name, annotated) for name, annotated in images]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} does not have the layout of COCO's keypoints: {error!r}; download it again"
        ) from error


def outline_mask(outline: Any, width: int, height: int) -> np.ndarray:
    """The mask (height, width) bool of one of COCO's segmentations.

    Args:
        outline: polygons, each x0, y0, x1, y1, ...; or an uncompressed run-length encoding:
            `counts`, in column-major order, and `size` (height, width).
        width: width of the image, px.
        height: height of the image, px.

    Raises:
        ValueError: the format is unknown, or the size differs from that of the image.
    """
    if isinstance(outline, Mapping):
        counts = outline.get('counts')
        if not isinstance(counts, Sequence) or isinstance(counts, str):
            raise ValueError(
                'a segmentation has compressed run lengths; decode them with pycocotools'
            )
        flat = np.repeat(np.arange(len(counts)) % 2, counts)
        if list(outline['size']) != [height, width] or len(flat) != height * width:
            raise ValueError(
                f'a segmentation has {outline["size"]} px, but its image has '
                f'{[height, width]} px; is this the annotation file of these '
                'images?'
            )
        return flat.reshape(width, height).T.astype(bool)
    mask = np.zeros((height, width), np.uint8)
    for polygon in outline:
        corners = np.array(polygon, np.float64).reshape(-1, 2) - PIXEL_CENTER
        # OpenCV takes coordinates in sixteenths of a pixel.
        cv2.fillPoly(mask, [np.round(corners * 16).astype(np.int32)], 1, cv2.LINE_8, 4)
    return mask.astype(bool)


def _photograph(path: Path, annotated: Sequence[Mapping[str, Any]]) -> Photograph:
    people = [_person(person) for person in annotated if not person.get('iscrowd')]
    crowds = [_box(person['bbox']) for person in annotated if person.get('iscrowd')]
    return Photograph(path, people, np.array(crowds).reshape(-1, 4))


def _person(person: Mapping[str, Any]) -> PhotographedPerson:
    joints = np.array(person.get('keypoints') or np.zeros(len(COCO_JOINTS) * 3), np.float64)
    return PhotographedPerson(
        _box(person['bbox']),
        joints.reshape(len(COCO_JOINTS), 3),
        person.get('segmentation') or None,
    )


def _box(bbox: Sequence[float]) -> np.ndarray:
    x, y, width, height = bbox
    return np.array([x, y, x + width, y + height]) - PIXEL_CENTER


def _image_folder(root: Path, annotations: Path, names: Sequence[str]) -> Path:
    """The folder of the first image, which is assumed for all images."""
    split = annotations.stem.rpartition('_')[2]
    folders = [root / split, root / 'images', root]
    for folder in folders:
        if not names or (folder / names[0]).is_file():
            return folder
    where = ', '.join(str(folder) for folder in folders)
    raise FileNotFoundError(f'found no {names[0]} in any of: {where}; unpack the images there')
