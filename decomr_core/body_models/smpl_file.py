"""The official SMPL files: arrays of a .pkl, gender from the file name, check of the model type.

Reading executes no code of the file and needs no chumpy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from decomr_core.body_models.joints import NUM_JOINTS
from decomr_core.body_models.pickled_arrays import arrays_from_pickle

__all__ = [
    'GENDERS',
    'OFFICIAL_ARRAYS',
    'check_is_smpl',
    'gender_from_file_name',
    'read_smpl_pickle',
]

ADVICE = "expected an official SMPL model file, as downloaded from its authors' site"
OFFICIAL_ARRAYS = (
    'v_template',
    'f',
    'shapedirs',
    'posedirs',
    'J_regressor',
    'kintree_table',
    'weights',
)
GENDERS = ('neutral', 'male', 'female')
# The official files are 40 to 250 MB.
MAX_FILE_BYTES = 2**29

# Related models by their number of joints.
_OTHER_MODELS = {52: 'SMPL-H', 55: 'SMPL-X', 16: 'MANO, a hand', 5: 'FLAME, a head'}
# STAR has SMPL's joints and mesh, but its pose blend shapes depend on quaternions.
_STAR_POSE_FEATURES = 93
# SMPL_FEMALE, SMPL_NEUTRAL; basicModel_f_lbs_10_207_0_v1.0.0, basicmodel_neutral_lbs_...
_GENDER = re.compile(
    r'(?:^|[^a-z])(?:smpl_(neutral|male|female)|basicmodel_(neutral|m|f)_lbs)'
    r'(?:[^a-z]|$)'
)


def read_smpl_pickle(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of an SMPL .pkl by their official names (`v_template`, `f`, `weights`, ...).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or contains disallowed objects.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f'{path} is a folder; {ADVICE}')
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ValueError(f'{path} has {size / 1e6:.0f} MB, more than any SMPL file; {ADVICE}')
    try:
        return arrays_from_pickle(path.read_bytes(), OFFICIAL_ARRAYS)
    except OSError:
        raise
    except Exception as error:
        # Damaged pickles raise many types of errors, which mean the same to the user.
        reason = str(error) or type(error).__name__
        raise ValueError(f'{path} cannot be read as a body: {reason}; {ADVICE}') from error


def gender_from_file_name(path: str | Path) -> str:
    """The gender in an official file name, one of `GENDERS`; '' for other names."""
    found = _GENDER.search(Path(path).stem.lower())
    if found is None:
        return ''
    word = found[1] or found[2]
    return {'m': 'male', 'f': 'female'}.get(word, word)


def check_is_smpl(arrays: Mapping[str, np.ndarray | None], name: str) -> None:
    """Rejects related models such as SMPL-X; the message names the model.

    Args:
        arrays: `parents` (J,) or (2, J), `v_template` (V, 3), and `posedirs` (V, 3, any) or None.
        name: name of the body.

    Raises:
        ValueError: the number of joints or pose blend shapes is that of another model.
    """
    num_joints = (_shape(arrays['parents']) or (0,))[-1]
    num_vertices = (_shape(arrays['v_template']) or (0,))[0]
    posedirs = _shape(arrays.get('posedirs'))
    model = _OTHER_MODELS.get(num_joints, '')
    if num_joints == NUM_JOINTS and posedirs[-1:] == (_STAR_POSE_FEATURES,):
        model = 'STAR'
    if num_joints == NUM_JOINTS and not model:
        return
    seems = f'seems to be {model}' if model else 'is not SMPL'
    raise ValueError(
        f"body '{name}' {seems} ({num_joints} joints, {num_vertices} vertices); only SMPL and "
        f'bodies with its {NUM_JOINTS} joints are supported: take SMPL_NEUTRAL.pkl, SMPL_MALE.pkl '
        "or SMPL_FEMALE.pkl from SMPL's site"
    )


def _shape(array: np.ndarray | None) -> tuple[int, ...]:
    return () if array is None else np.shape(array)
