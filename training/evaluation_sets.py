"""The people that networks are measured on: what the published test sets say about each.

The files are the npz that the authors of GraphCMR, SPIN and DecoMR exchange (`imgname`, `center`,
`scale`, ...), each beside its images in one folder. Their SMPL poses are already turned into the
axes of the camera, so that `BodyModel(pose, shape)` gives vertices in the root frame's axes and
`ROOT_FROM_BODY` must not be applied.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from decomr_core.body_models.joint_sets import NUM_ANNOTATED
from decomr_core.body_models.joints import NUM_JOINTS

__all__ = ['EVALUATION_SETS', 'EvaluationRecord', 'SetFiles', 'annotation_file',
           'evaluation_set', 'read_label_image', 'read_picture']

PX_PER_SCALE = 200.0
"""Side of the square crop, px, over the number `scale` of the npz files (a habit of MPII)."""
NUM_SHAPES = 10
GENDERS = {'m': 'male', 'male': 'male', 'f': 'female', 'female': 'female', 'n': 'neutral',
           'neutral': 'neutral'}
SURREAL_VIDEOS = Path('data/cmu/val')


@dataclass(frozen=True)
class SetFiles:
    """What the folder of a test set must hold.

    Attributes:
        annotations: possible names of the npz, the first one found is read.
        keys: arrays that it must have.
        images: where an image lies, as an example.
        source: where to get the images and their licence.
        is_video: whether images follow each other in sequences.
    """

    annotations: tuple[str, ...]
    keys: tuple[str, ...]
    images: str
    source: str
    is_video: bool = False


H36M_IMAGES = 'images/S9_Directions_1.54138969_000001.jpg'
H36M_SOURCE = 'http://vision.imar.ro/human3.6m'
EVALUATION_SETS = {
    'h36m-p1': SetFiles(('h36m_valid_protocol1.npz',), ('S',), H36M_IMAGES, H36M_SOURCE, True),
    'h36m-p2': SetFiles(('h36m_valid_protocol2.npz',), ('S',), H36M_IMAGES, H36M_SOURCE, True),
    '3dpw': SetFiles(('3dpw_test.npz',), ('pose', 'shape', 'gender'),
                     'imageFiles/downtown_arguing_00/image_00000.jpg',
                     'https://virtualhumans.mpi-inf.mpg.de/3DPW', True),
    'mpi-inf-3dhp': SetFiles(
        ('mpi_inf_3dhp_valid.npz', 'mpi_inf_3dhp_test.npz'), ('S',),
        'mpi_inf_3dhp_test_set/TS1/imageSequence/img_000001.jpg',
        'https://vcai.mpi-inf.mpg.de/3dhp-dataset', True),
    'surreal': SetFiles(('surreal_val.npz',), ('pose', 'shape', 'gender'),
                        f'{SURREAL_VIDEOS}/run0/01_01/01_01_c0001.mp4',
                        'https://www.di.ens.fr/willow/research/surreal/data'),
    'up-3d': SetFiles(('up_3d_lsp_test.npz', 'up_3d_test.npz'), ('pose', 'shape'),
                      '00001_image.png', 'https://files.is.tuebingen.mpg.de/classner/up'),
    'lsp': SetFiles(('lsp_dataset_test.npz',), ('maskname', 'partname'),
                    'images/im1001.jpg and data/lsp/im1001_segmentation.png (of upi-s1h)',
                    'https://sam.johnson.io/research/lsp.html and '
                    'https://files.is.tuebingen.mpg.de/classner/up'),
}


@dataclass(frozen=True)
class EvaluationRecord:
    """One person of a test set.

    Attributes:
        image: the picture, or a video.
        frame: number of the frame of a video; None for a picture.
        center: (2,) of the square crop, image px.
        side: of the square crop, image px, at the framing of the annotations.
        pose: (24, 3) axis-angle of SMPL, radians, turned into the camera's axes; or None.
        shape: (10,) shape components, or None.
        gender: `male`, `female` or `neutral`: of the body that pose and shape are for.
        keypoints_3d: (24, 4) annotated joints (`ANNOTATED_JOINTS`): metres, axes as in the root
            frame, any origin, and confidence; or None.
        mask: picture of the person's outline, or None.
        segments: picture of the numbers of the body's segments (`SEGMENT_NAMES`), or None.
        track: the same text for all images of one person in one sequence; empty for a still.
    """

    image: Path
    frame: int | None
    center: np.ndarray
    side: float
    pose: np.ndarray | None = None
    shape: np.ndarray | None = None
    gender: str = 'neutral'
    keypoints_3d: np.ndarray | None = None
    mask: Path | None = None
    segments: Path | None = None
    track: str = ''


def evaluation_set(name: str, root: str | Path,
                   annotations: str | Path | None = None) -> list[EvaluationRecord]:
    """The people of a test set, in the order of its file.

    Args:
        name: a key of `EVALUATION_SETS`.
        root: folder that the paths of the images start from.
        annotations: the npz; None: the one of the published name in the root.

    Raises:
        FileNotFoundError: there is no npz; says what the folder must hold.
        ValueError: the npz lacks an array, or one has another shape or is not finite.
    """
    path, root = annotation_file(name, root, annotations), Path(root)
    files = EVALUATION_SETS[name]
    arrays = _read_arrays(path)
    images, frames = _images(name, path, arrays)
    count = len(images)
    numbers = {'center': (2,), 'scale': ()}
    numbers |= {key: shape for key, shape in (
        ('pose', (NUM_JOINTS * 3,)), ('shape', (None,)), ('S', (NUM_ANNOTATED, 4)))
        if key in files.keys}
    columns = {key: _numbers(path, arrays, key, (count, *shape), images)
               for key, shape in numbers.items()}
    genders = _genders(path, arrays, images) if 'gender' in files.keys else ['neutral'] * count
    labels = {key: [root / text for text in _texts(path, arrays, key, count)]
              for key in ('maskname', 'partname') if key in files.keys}
    shapes = columns.get('shape')
    return [EvaluationRecord(
        image=root / images[row], frame=frames[row], center=columns['center'][row],
        side=float(columns['scale'][row]) * PX_PER_SCALE,
        pose=columns['pose'][row].reshape(NUM_JOINTS, 3) if 'pose' in columns else None,
        shape=None if shapes is None else shapes[row, :NUM_SHAPES], gender=genders[row],
        keypoints_3d=columns['S'][row] if 'S' in columns else None,
        mask=labels['maskname'][row] if labels else None,
        segments=labels['partname'][row] if labels else None,
        track=_track(images[row], None if shapes is None else shapes[row])
        if files.is_video else '') for row in range(count)]


def annotation_file(name: str, root: str | Path, annotations: str | Path | None = None) -> Path:
    """The npz of a test set.

    Args:
        name: a key of `EVALUATION_SETS`.
        root: its folder.
        annotations: a file of another name; None: the published one in the root.

    Raises:
        FileNotFoundError: it is not there; says what the folder must hold.
        ValueError: there is no such test set.
    """
    if name not in EVALUATION_SETS:
        raise ValueError(f'data set is {name!r}, expected one of: {", ".join(EVALUATION_SETS)}')
    files, root = EVALUATION_SETS[name], Path(root)
    names = files.annotations if annotations is None else (Path(annotations).resolve(),)
    for file in names:
        if (root / file).is_file():
            return root / file
    raise FileNotFoundError(
        f'{root} does not hold {" or ".join(map(str, names))}; expected there: that file, as '
        'the preprocessing of SPIN or DecoMR writes it (arrays imgname, center, scale, '
        f'{", ".join(files.keys)}), and the images, as {files.images}; images and licence: '
        f'{files.source}')


def read_picture(record: EvaluationRecord) -> np.ndarray:
    """The image of a person, (H, W, 3) uint8 RGB.

    Raises:
        ValueError: it is missing or cannot be read.
    """
    if record.frame is not None:
        return _read_frame(record.image, record.frame)
    return np.ascontiguousarray(_decoded(record.image, cv2.IMREAD_COLOR)[..., ::-1])


def read_label_image(path: Path) -> np.ndarray:
    """A picture of class numbers, (H, W) uint8.

    Raises:
        ValueError: it is missing or cannot be read.
    """
    return _decoded(path, cv2.IMREAD_GRAYSCALE)


def _decoded(path: Path, mode: int) -> np.ndarray:
    try:
        data = np.fromfile(path, np.uint8)
        image = cv2.imdecode(data, mode) if data.size else None
    except (OSError, cv2.error) as error:
        raise ValueError(f'{path} cannot be read ({error})') from error
    if image is None:
        raise ValueError(f'{path} is no whole picture ({data.size} bytes)')
    return image


def _read_frame(path: Path, frame: int) -> np.ndarray:
    """A frame of a video of SURREAL, mirrored: its videos are, its poses are not."""
    video = cv2.VideoCapture(str(path))
    try:
        video.set(cv2.CAP_PROP_POS_FRAMES, frame)
        is_read, image = video.read()
    finally:
        video.release()
    if not is_read:
        raise ValueError(f'frame {frame} of the video {path} cannot be read')
    return np.ascontiguousarray(image[:, ::-1, ::-1])


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, AttributeError) as error:
        raise ValueError(f'{path} is no whole npz of plain arrays ({error}); run the '
                         'preprocessing of the data set again') from error


def _images(name: str, path: Path,
            arrays: dict[str, np.ndarray]) -> tuple[list[str], list[int | None]]:
    """Names of the images and frame numbers, one per person."""
    if name == 'surreal' and 'imgname' not in arrays and 'videoname' in arrays:
        videos = _texts(path, arrays, 'videoname', None)
        frames = _numbers(path, arrays, 'framenum', (len(videos),), videos)
        return [str(SURREAL_VIDEOS / video) for video in videos], [int(frame) for frame in frames]
    images = _texts(path, arrays, 'imgname', None)
    return images, [None] * len(images)


def _array(path: Path, arrays: dict[str, np.ndarray], key: str) -> np.ndarray:
    if key not in arrays:
        raise ValueError(f'{path} lacks the array {key!r}; it has: {", ".join(sorted(arrays))}; '
                         'run the preprocessing of SPIN or DecoMR for this data set')
    return arrays[key]


def _texts(path: Path, arrays: dict[str, np.ndarray], key: str, count: int | None) -> list[str]:
    array = _array(path, arrays, key)
    if array.ndim != 1 or array.dtype.kind not in 'US':
        raise ValueError(f'{key} in {path} has shape {array.shape} and type {array.dtype}, '
                         'expected a text for each person')
    if len(array) == 0 or (count is not None and len(array) != count):
        raise ValueError(f'{key} in {path} has {len(array)} rows, expected '
                         f'{"one at least" if count is None else count}')
    return [text.decode() if isinstance(text, bytes) else str(text) for text in array]


def _numbers(path: Path, arrays: dict[str, np.ndarray], key: str, wanted: tuple[int | None, ...],
             images: list[str]) -> np.ndarray:
    array = _array(path, arrays, key)
    if key == 'scale' and array.ndim == 2:
        array = array[:, 0]
    fits = array.ndim == len(wanted) and array.dtype.kind in 'fiu' and all(
        size in (None, seen) for size, seen in zip(wanted, array.shape, strict=True))
    if key == 'shape':
        fits = fits and array.shape[1] >= NUM_SHAPES
    if not fits:
        sizes = ', '.join('10 or more' if size is None else str(size) for size in wanted)
        raise ValueError(f'{key} in {path} has shape {array.shape} and type {array.dtype}, '
                         f'expected numbers ({sizes})')
    is_right = np.isfinite(array) & ((array > 0) if key == 'scale' else True)
    if not is_right.all():
        place = np.argwhere(~is_right)[0]
        row = int(place[0])
        raise ValueError(f'{key} in {path} holds {array[tuple(place)]} in row {row} '
                         f'({images[row]}), and {int((~is_right).sum())} such numbers in all; '
                         f'expected finite {"positive " if key == "scale" else ""}ones: run the '
                         'preprocessing of the data set again')
    return array.astype(np.float64)


def _genders(path: Path, arrays: dict[str, np.ndarray], images: list[str]) -> list[str]:
    texts = _texts(path, arrays, 'gender', len(images))
    for row, text in enumerate(texts):
        if text.lower() not in GENDERS:
            raise ValueError(f'gender in {path} is {text!r} in row {row} ({images[row]}), '
                             f'expected one of: {", ".join(GENDERS)}')
    return [GENDERS[text.lower()] for text in texts]


def _track(image: str, shape: np.ndarray | None) -> str:
    """Images of one person in one sequence: names alike up to the number, one shape."""
    name = re.sub(r'\d+$', '', Path(image).with_suffix('').as_posix())
    return name if shape is None else f'{name} {zlib.crc32(shape.tobytes()):08x}'
