"""The official SMPL files: the arrays of a .pkl, and what file names and shapes tell.

No code of the file runs, and neither chumpy nor scipy's or numpy's unpickling does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from decomr_core.body_models.joints import NUM_JOINTS
from decomr_core.body_models.pickled_arrays import arrays_from_pickle

__all__ = ['GENDERS', 'OFFICIAL_ARRAYS', 'check_is_smpl', 'gender_from_file_name',
           'read_smpl_pickle']

ADVICE = "expected an official SMPL model file, as downloaded from its authors' site"
OFFICIAL_ARRAYS = ('v_template', 'f', 'shapedirs', 'posedirs', 'J_regressor', 'kintree_table',
                   'weights')
GENDERS = ('neutral', 'male', 'female')
# The official files are 40 to 250 MB.
MAX_FILE_BYTES = 2**29

# The other models of the family, by their number of joints.
_OTHER_KINDS = {52: 'SMPL-H', 55: 'SMPL-X', 16: 'MANO, a hand', 5: 'FLAME, a head'}
# STAR has SMPL's joints and mesh, but pose blend shapes that follow quaternions.
_STAR_POSE_FEATURES = 93
# SMPL_FEMALE, SMPL_NEUTRAL; basicModel_f_lbs_10_207_0_v1.0.0, basicmodel_neutral_lbs_...
_GENDER = re.compile(r'(?:^|[^a-z])(?:smpl_(neutral|male|female)|basicmodel_(neutral|m|f)_lbs)'
                     r'(?:[^a-z]|$)')


def read_smpl_pickle(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of an SMPL .pkl by their official names (`v_template`, `f`, `weights`, ...).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no whole pickle, or asks for something other than arrays.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f'{path} is a folder; {ADVICE}')
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ValueError(f'{path} has {size / 1e6:.0f} MB, more than any such file; {ADVICE}')
    try:
        return arrays_from_pickle(path.read_bytes(), OFFICIAL_ARRAYS)
    except OSError:
        raise
    except Exception as error:
        # Damaged pickles raise almost anything; all of it means the same to the user.
        reason = str(error) or type(error).__name__
        raise ValueError(f'{path} cannot be read as a body: {reason}; {ADVICE}') from error


def gender_from_file_name(path: str | Path) -> str:
    """What the names of the official files say: one of `GENDERS`, or '' for other names."""
    found = _GENDER.search(Path(path).stem.lower())
    if found is None:
        return ''
    word = found[1] or found[2]
    return {'m': 'male', 'f': 'female'}.get(word, word)


def check_is_smpl(arrays: Mapping[str, np.ndarray | None], name: str) -> None:
    """Refuses the other models of the family by name.

    Args:
        arrays: `parents` (J,) or (2, J), `v_template` (V, 3), and `posedirs` (V, 3, any) or None.
        name: what the body is called.

    Raises:
        ValueError: the number of joints or of pose blend shapes is another model's.
    """
    sides = {key: np.shape(arrays[key]) for key in ('parents', 'v_template')}
    num_joints, num_vertices = (sides['parents'] or (0,))[-1], (sides['v_template'] or (0,))[0]
    posedirs = np.shape(arrays.get('posedirs'))
    kind = _OTHER_KINDS.get(num_joints, '')
    if num_joints == NUM_JOINTS and posedirs[-1:] == (_STAR_POSE_FEATURES,):
        kind = 'STAR'
    if num_joints == NUM_JOINTS and not kind:
        return
    seems = f'seems to be {kind}' if kind else 'is not SMPL'
    raise ValueError(
        f"body '{name}' {seems} ({num_joints} joints, {num_vertices} vertices); only SMPL and "
        f'bodies with its {NUM_JOINTS} joints are supported: take SMPL_NEUTRAL.pkl, SMPL_MALE.pkl '
        "or SMPL_FEMALE.pkl from SMPL's site")
