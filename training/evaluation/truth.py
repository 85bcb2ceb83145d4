"""The 3D truth of people of a test set: joints, or the SMPL bodies of the user's folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from decomr_core.body_models import BodyModel, load_body
from training.records.person_record import PersonRecord
from training.records.root_frame import root_frame_body

__all__ = ['GenderedBodies', 'Truth']

SMPL_LICENCE = 'https://smpl.is.tue.mpg.de'


@dataclass(frozen=True)
class Truth:
    """The 3D truth of a person, axes as in the root frame.

    Attributes:
        joints: (14 or 17, 3) m, of `EVALUATED_JOINTS`.
        vertices: (V, 3) m, or None.
        faces: (F, 3) faces of these vertices, or None.
    """

    joints: np.ndarray
    vertices: np.ndarray | None = None
    faces: np.ndarray | None = None


class GenderedBodies:
    """The SMPL bodies of the truth, from the user's folder."""

    def __init__(self, name: str, folder: str | Path | None, genders: Sequence[str]) -> None:
        """Reads the bodies.

        Args:
            name: name of the data set, for errors.
            folder: folder with smpl_neutral.npz, smpl_male.npz and smpl_female.npz.
            genders: the required genders.

        Raises:
            FileNotFoundError: a body is missing.
            ValueError: the bodies have different faces.
        """
        paths = {gender: Path(folder or '') / f'smpl_{gender}.npz' for gender in genders}
        missing = [path.name for path in paths.values() if folder is None or not path.is_file()]
        if missing:
            where = (
                '--body-folder is not given' if folder is None else f'{folder} has not all bodies'
            )
            raise FileNotFoundError(
                f'{where}: the truth of {name} needs {", ".join(missing)} of SMPL; licence and '
                f'download: {SMPL_LICENCE}; convert each .pkl with decomr body import FILE.pkl '
                '--out FOLDER/smpl_GENDER.npz, and give --body-folder FOLDER'
            )
        self._bodies = {gender: load_body(path) for gender, path in paths.items()}
        meshes = {body.data.faces.tobytes() for body in self._bodies.values()}
        if len(meshes) > 1:
            raise ValueError(
                f'the bodies in {folder} have different faces; import all of them '
                'from one release of SMPL'
            )

    @property
    def any_body(self) -> BodyModel:
        """One of the bodies."""
        return next(iter(self._bodies.values()))

    @torch.no_grad()
    def vertices(self, records: Sequence[PersonRecord]) -> Tensor:
        """Vertices (B, V, 3) m, root frame, each from the body of its gender.

        Raises:
            ValueError: there is no body of a record's gender.
        """
        result = torch.empty(len(records), self.any_body.num_vertices, 3)
        genders = [record.gender for record in records]
        unknown = sorted(set(genders) - set(self._bodies))
        if unknown:
            raise ValueError(
                f'some people are {", ".join(unknown)}, but the truth has only the '
                f'bodies {", ".join(self._bodies)}'
            )
        for gender, body in self._bodies.items():
            rows = [row for row, other in enumerate(genders) if other == gender]
            if rows:
                pose, shape = (
                    torch.tensor(np.stack([getattr(records[row], name) for row in rows])).float()
                    for name in ('pose', 'shape')
                )
                result[rows] = root_frame_body(body, pose, shape)[0]
        return result
