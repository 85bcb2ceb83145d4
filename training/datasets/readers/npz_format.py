"""The npz format of annotations that SPIN, GraphCMR and DecoMR share.

| key | shape | |
|---|---|---|
| `imgname` | (N,) text | path of the image, relative to the data set's root |
| `center` | (N, 2) | centre of the person's square, image px |
| `scale` | (N,) | side of the square, in units of 200 px |
| `part` | (N, 24, 3) | 2D joints (`ANNOTATED_JOINTS`): x, y, image px, confidence |
| `S` | (N, 24, 4) | 3D joints: x, y, z, metres, camera axes, confidence |
| `pose`, `shape` | (N, 72), (N, 10) | SMPL; the root rotation is to the camera's axes |
| `has_smpl` | (N,) | whether pose and shape are valid; if missing, all are |
| `gender` | (N,) text | `m`, `f`, or `n` for neutral |
| `maskname`, `partname` | (N,) text | images of silhouette and body parts |
| `openpose` | (N, 25, 3) | joints detected by OpenPose, in its BODY_25 order |
| `videoname`, `framenum` | (N,) text, (N,) | SURREAL: frame of a video, replaces `imgname` |

All but the first three are optional. `write_npz` adds `imgsize` (N, 2), width and height of the
images in px, which saves checking the images again; other readers ignore it.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from decomr_core.base.files import replacing
from decomr_core.body_models import NUM_JOINTS, NUM_SHAPES
from decomr_core.body_models.joint_sets import ANNOTATED_JOINTS, NUM_ANNOTATED
from training.datasets.readers.public_dataset import SCALE_UNIT_PX
from training.datasets.readers.surreal import frames_of_videos
from training.records.person_record import GENDERS
from training.records.person_records import PersonRecords, clean_records, stored_paths
from training.records.root_frame import public_poses, turned_poses
from training.targets.fits import read_fits

__all__ = ['read_npz', 'write_npz']

"""Side of a square of scale 1, px."""
GENDER_LETTERS = {'neutral': 'n', 'male': 'm', 'female': 'f'}
OPENPOSE_JOINTS = {
    'nose': 0,
    'right_shoulder': 2,
    'right_elbow': 3,
    'right_wrist': 4,
    'left_shoulder': 5,
    'left_elbow': 6,
    'left_wrist': 7,
    'right_knee': 10,
    'right_ankle': 11,
    'left_knee': 13,
    'left_ankle': 14,
    'right_eye': 15,
    'left_eye': 16,
    'right_ear': 17,
    'left_ear': 18,
}
"""Index in BODY_25 of the joints that OpenPose defines as annotators do (not neck and hips)."""
_KEYS = {
    'center': (2,),
    'scale': (),
    'part': (NUM_ANNOTATED, 3),
    'S': (NUM_ANNOTATED, 4),
    'pose': (3 * NUM_JOINTS,),
    'shape': (NUM_SHAPES,),
    'has_smpl': (),
    'imgsize': (2,),
    'openpose': (25, 3),
    'imgname': (),
    'gender': (),
    'maskname': (),
    'partname': (),
    'videoname': (),
    'framenum': (),
}
_TEXTS = ('imgname', 'gender', 'maskname', 'partname', 'videoname')


def read_npz(
    path: str | Path,
    root: str | Path,
    name: str = '',
    *,
    fits: str | Path | None = None,
    use_openpose: bool = False,
    check_images: bool = True,
) -> PersonRecords:
    """Reads the people of an annotation file and cleans them (see `clean_records`).

    Args:
        path: the npz.
        root: folder to which the image paths are relative.
        name: name of the data set; by default the name of the file.
        fits: SPIN's fits for the same people, .npy or .npz (see `read_fits`).
        use_openpose: whether to use joints detected by OpenPose if none are annotated.
        check_images: whether to check every image file, unless the npz has the image sizes.

    Raises:
        FileNotFoundError: the file or the root does not exist.
        ValueError: the file has unexpected content, or the fits are for other people.
    """
    path, root = Path(path), Path(root)
    if not root.is_dir():
        raise FileNotFoundError(
            f'{root} is not a folder; give the folder to which the image '
            f'paths in {path} are relative'
        )
    arrays = _arrays(path)
    if 'imgname' not in arrays:
        arrays['imgname'] = _frames(arrays, path, root)
    records = _records(arrays, name or path.stem, root, use_openpose)
    if fits is not None:
        records = records.with_fits(*read_fits(fits))
    return clean_records(records, check_images)


def write_npz(records: PersonRecords, path: str | Path) -> None:
    """Writes people to an npz for `read_npz` and for other projects, atomically.

    Raises:
        OSError: the file cannot be written.
    """
    path = Path(path)
    arrays: dict[str, Any] = {
        'imgname': _texts(records.images),
        'center': records.centers,
        'scale': records.sides / SCALE_UNIT_PX,
        'part': records.keypoints_2d,
        'S': records.keypoints_3d,
        'imgsize': records.image_sizes,
        'maskname': _texts(records.masks),
        'partname': _texts(records.part_masks),
    }
    if records.pose is not None:
        pose = np.where(records.has_pose[:, None, None], public_poses(records.pose), 0)
        arrays |= {
            'pose': pose.reshape(len(records), -1).astype(np.float32),
            'shape': records.shape,
            'has_smpl': records.has_pose,
        }
    if (records.genders > GENDERS.index('neutral')).any():
        letters = np.array([GENDER_LETTERS.get(gender, '') for gender in GENDERS])
        arrays['gender'] = letters[records.genders]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part, part.open('wb') as handle:
        np.savez(handle, **{key: array for key, array in arrays.items() if array is not None})


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads the known arrays and checks their shapes."""
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {key: content[key] for key in _KEYS if key in content.files}
    except (
        ValueError,
        TypeError,
        AttributeError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(
            f'{path} is not an npz of plain arrays ({error}); expected annotations '
            'as distributed with SPIN (dataset_extras); to make them: python -m '
            'training.preprocess'
        ) from error
    has_videos = 'imgname' not in arrays and {'videoname', 'framenum'} <= arrays.keys()
    names = 'videoname' if has_videos else 'imgname'
    missing = {names, 'center', 'scale'} - arrays.keys()
    if missing:
        raise ValueError(
            f'{path} has no {" and no ".join(sorted(missing))}; expected at least '
            'imgname, center and scale, as in the files distributed with SPIN'
        )
    count = arrays[names].size
    for key, array in arrays.items():
        shape = (count, *_KEYS[key])
        if array.size == np.prod(shape) and array.shape[:1] == (count,):
            arrays[key] = array.reshape(shape)
        else:
            raise ValueError(
                f'{key} in {path} has shape {array.shape}, expected {shape} for {count} people'
            )
        if (key in _TEXTS) != (array.dtype.kind in 'US'):
            raise ValueError(
                f'{key} in {path} has the type {array.dtype}, expected '
                f'{"text" if key in _TEXTS else "numbers"}'
            )
    return arrays


def _records(
    arrays: dict[str, np.ndarray], name: str, root: Path, use_openpose: bool
) -> PersonRecords:
    """The arrays as `PersonRecords`, not yet cleaned."""
    count = len(arrays['imgname'])
    has_pose = np.zeros(count, bool)
    if 'pose' in arrays and 'shape' in arrays:
        has_pose = arrays.get('has_smpl', np.ones(count)).astype(bool)
    keypoints = _numbers(arrays, 'part')
    if use_openpose and 'openpose' in arrays:
        keypoints = _with_openpose(keypoints, arrays['openpose'])
    return PersonRecords(
        name=name,
        root=root,
        images=stored_paths(_words(arrays['imgname'])),
        centers=arrays['center'].astype(np.float32),
        sides=arrays['scale'].astype(np.float32) * SCALE_UNIT_PX,
        keypoints_2d=keypoints,
        keypoints_3d=_numbers(arrays, 'S'),
        pose=_poses(arrays['pose'], has_pose) if has_pose.any() else None,
        shape=_numbers(arrays, 'shape') if has_pose.any() else None,
        has_pose=has_pose,
        is_fit=np.zeros(count, bool),
        fit_errors=None,
        genders=_genders(arrays.get('gender'), count),
        masks=_stored(arrays, 'maskname'),
        part_masks=_stored(arrays, 'partname'),
        image_sizes=arrays['imgsize'].astype(np.int32) if 'imgsize' in arrays else None,
    )


def _frames(arrays: dict[str, np.ndarray], path: Path, root: Path) -> np.ndarray:
    """Image paths (N,) of the frames of SURREAL's videos."""
    numbers = arrays['framenum']
    if not (np.isfinite(numbers) & (numbers >= 0)).all():
        raise ValueError(
            f'framenum in {path} has negative or non-finite numbers; run the '
            'preprocessing of the data set again'
        )
    return np.array(
        frames_of_videos(root, _words(arrays['videoname']), numbers.astype(int).tolist())
    )


def _poses(pose: np.ndarray, is_valid: np.ndarray) -> np.ndarray:
    """Poses (N, 24, 3) float32 as in `PersonRecord`; invalid and non-finite ones unchanged."""
    pose = pose.astype(np.float32).reshape(-1, NUM_JOINTS, 3)
    known = is_valid & np.isfinite(pose).all((1, 2))
    pose[known] = turned_poses(pose[known])
    return pose


def _with_openpose(keypoints: np.ndarray | None, detected: np.ndarray) -> np.ndarray:
    """Annotated joints, with missing ones replaced by OpenPose's."""
    if keypoints is None:
        keypoints = np.zeros((len(detected), NUM_ANNOTATED, 3), np.float32)
    keypoints = keypoints.copy()
    for joint, place in OPENPOSE_JOINTS.items():
        ours = keypoints[:, ANNOTATED_JOINTS.index(joint)]
        ours[...] = np.where(ours[:, 2:] > 0, ours, detected[:, place])
    return keypoints


def _genders(words: np.ndarray | None, count: int) -> np.ndarray:
    """Indices into `GENDERS` (N,) int8; 0 (the empty text) for unknown words."""
    if words is None:
        return np.zeros(count, np.int8)
    codes = {letter: GENDERS.index(gender) for gender, letter in GENDER_LETTERS.items()}
    return np.array([codes.get(word[:1].lower(), 0) for word in _words(words)], np.int8)


def _numbers(arrays: dict[str, np.ndarray], key: str) -> np.ndarray | None:
    return arrays[key].astype(np.float32) if key in arrays else None


def _words(array: np.ndarray) -> list[str]:
    return [str(word.decode() if isinstance(word, bytes) else word) for word in array]


def _stored(arrays: dict[str, np.ndarray], key: str) -> np.ndarray | None:
    return stored_paths(_words(arrays[key])) if key in arrays else None


def _texts(paths: np.ndarray | None) -> np.ndarray | None:
    return None if paths is None else np.array([path.decode() for path in paths])
