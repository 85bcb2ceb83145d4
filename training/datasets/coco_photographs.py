"""Photographs with people whose boxes, joints and outlines are known, in COCO's layout.

For evaluation: everybody counts, also who is seen in part (`coco.py` reads people to train on).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from training.datasets.readers.coco import COCO_JOINTS, read_json

__all__ = ['Photograph', 'PhotographedPerson', 'find_annotations', 'outline_mask',
           'read_photographs']

ANNOTATIONS = 'annotations/person_keypoints_*.json'
PIXEL_CENTER = 0.5
"""COCO's boxes and outlines have (0, 0) at the corner of the first pixel, ours at its centre."""


@dataclass(frozen=True)
class PhotographedPerson:
    """Somebody on a photograph.

    Attributes:
        box: (4,) x_min, y_min, x_max, y_max, image px.
        joints: (17, 3) x, y, image px, and COCO's visibility: 0 unknown, 1 hidden, 2 seen.
        outline: COCO's segmentation, for `outline_mask`; None where there is none.
    """

    box: np.ndarray
    joints: np.ndarray
    outline: Any = None


@dataclass(frozen=True)
class Photograph:
    """One photograph.

    Attributes:
        path: of the picture.
        people: everybody who is annotated.
        ignored: (K, 4) boxes of crowds, in which nobody is annotated singly, image px.
    """

    path: Path
    people: list[PhotographedPerson] = field(default_factory=list)
    ignored: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))


def find_annotations(root: str | Path, annotations: str | Path | None = None) -> Path:
    """The JSON file of the annotations.

    Args:
        root: folder of the data set.
        annotations: the file; None: the only one in the folder under COCO's name.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: there are several.
    """
    if annotations is not None:
        if not Path(annotations).is_file():
            raise FileNotFoundError(f'there is no {annotations}')
        return Path(annotations)
    found = sorted(Path(root).glob(ANNOTATIONS))
    if not found:
        raise FileNotFoundError(
            f'{root} does not hold {ANNOTATIONS} and the folder of its images, as '
            'https://cocodataset.org/#download has them (annotations: CC BY 4.0; images: terms '
            'of Flickr); --annotations FILE.json names a file elsewhere')
    if len(found) > 1:
        names = ', '.join(path.name for path in found)
        raise ValueError(f'{root} holds {names}; name one with --annotations')
    return found[0]


def read_photographs(root: str | Path, annotations: str | Path | None = None) -> list[Photograph]:
    """All photographs of a data set, also those without people.

    Args:
        root: holds the images: in it, in `images`, or in the folder that COCO's name of the
            annotations ends with (`val2017`).
        annotations: see `find_annotations`.

    Raises:
        FileNotFoundError: there are no annotations, or no images.
        ValueError: the annotations are something else.
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
        raise ValueError(f"{path} is not laid out as COCO's keypoints are: {error!r}") from error


def outline_mask(outline: Any, width: int, height: int) -> np.ndarray:
    """The pixels (height, width) bool that one of COCO's segmentations covers.

    Args:
        outline: polygons, each x0, y0, x1, y1, ...; or runs: `counts`, down the columns, not
            compressed, and `size` (height, width).
        width: of the image, px.
        height: of the image, px.

    Raises:
        ValueError: it is something else, or of another size.
    """
    if isinstance(outline, Mapping):
        counts = outline.get('counts')
        if not isinstance(counts, Sequence) or isinstance(counts, str):
            raise ValueError('a segmentation has compressed runs; decode them with pycocotools')
        flat = np.repeat(np.arange(len(counts)) % 2, counts)
        if list(outline['size']) != [height, width] or len(flat) != height * width:
            raise ValueError(f'a segmentation is of {outline["size"]} px, its image of '
                             f'{[height, width]}')
        return flat.reshape(width, height).T.astype(bool)
    mask = np.zeros((height, width), np.uint8)
    for polygon in outline:
        corners = np.array(polygon, np.float64).reshape(-1, 2) - PIXEL_CENTER
        # Polygons are filled in sixteenths of a pixel.
        cv2.fillPoly(mask, [np.round(corners * 16).astype(np.int32)], 1, cv2.LINE_8, 4)
    return mask.astype(bool)


def _photograph(path: Path, annotated: Sequence[Mapping[str, Any]]) -> Photograph:
    people = [_person(person) for person in annotated if not person.get('iscrowd')]
    crowds = [_box(person['bbox']) for person in annotated if person.get('iscrowd')]
    return Photograph(path, people, np.array(crowds).reshape(-1, 4))


def _person(person: Mapping[str, Any]) -> PhotographedPerson:
    joints = np.array(person.get('keypoints') or np.zeros(len(COCO_JOINTS) * 3), np.float64)
    return PhotographedPerson(_box(person['bbox']), joints.reshape(len(COCO_JOINTS), 3),
                              person.get('segmentation') or None)


def _box(bbox: Sequence[float]) -> np.ndarray:
    x, y, width, height = bbox
    return np.array([x, y, x + width, y + height]) - PIXEL_CENTER


def _image_folder(root: Path, annotations: Path, names: Sequence[str]) -> Path:
    """Where the first image lies; the others are taken to lie there too."""
    split = annotations.stem.rpartition('_')[2]
    folders = [root / split, root / 'images', root]
    for folder in folders:
        if not names or (folder / names[0]).is_file():
            return folder
    where = ', '.join(str(folder) for folder in folders)
    raise FileNotFoundError(f'there is no {names[0]} in any of: {where}')
