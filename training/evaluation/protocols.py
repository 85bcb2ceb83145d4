"""How each test set is scored: the truth of its people, and the errors of a prediction.

3D joints (Human3.6M, 3DPW, MPI-INF-3DHP) and surfaces (SURREAL, UP-3D) have the middle of the hips
at the origin, as the authors of DecoMR evaluate; segmentations (LSP) are compared in the pixels
of the original image. Joints are the 14 of LSP; for MPI-INF-3DHP, of which others report 17, there
are scores over these as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from decomr_core.base.structures import NetworkOutput
from decomr_core.body_models import BodyModel, load_body
from decomr_core.body_models.joint_sets import (
    EVALUATED_FROM_ANNOTATED,
    NUM_LSP,
    PELVIS_OF_LSP,
    evaluated_regressor,
)
from decomr_core.body_models.parts import SEGMENT_NAMES, face_segments_from_parts
from decomr_core.drawing import nearest_faces
from decomr_core.geometry.camera import project_weak
from decomr_core.measures.metrics import (
    mpjpe_mm,
    pa_mpjpe_mm,
    segmentation_counts,
    surface_error_mm,
    vertex_error_mm,
)
from training.evaluation.sets import EVALUATION_SETS
from training.records.person_record import PersonRecord
from training.records.root_frame import root_frame_body

__all__ = ['GenderedBodies', 'JointScorer', 'Person', 'Scorer', 'SegmentScorer',
           'SurfaceScorer', 'Truth', 'make_scorer']

SMPL_LICENCE = 'https://smpl.is.tue.mpg.de'
REGRESSOR_SOURCE = 'https://github.com/nkolot/GraphCMR/tree/master/data'
NUM_SMPL_VERTICES = 6890
SURFACE_SETS = ('surreal', 'up-3d')
"""Sets whose whole surface is compared; of 3DPW, the joints of the true mesh are."""


@dataclass(frozen=True)
class Person:
    """One person, cropped.

    Attributes:
        record: what the data set says.
        pixels: (S, S, 3) uint8 RGB, the network's input.
        center: (2,) of the crop, image px.
        side: of the crop, image px.
        labels: (H, W) pictures of the original image's size by name: `mask` and `segments`.
    """

    record: PersonRecord
    pixels: np.ndarray
    center: np.ndarray
    side: float
    labels: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Truth:
    """What is known of a person in 3D, axes as in the root frame.

    Attributes:
        joints: (14 or 17, 3) m, of `EVALUATED_JOINTS`.
        vertices: (V, 3) m, or None.
        faces: (F, 3) of the vertices, or None.
    """

    joints: np.ndarray
    vertices: np.ndarray | None = None
    faces: np.ndarray | None = None


class Scorer(Protocol):
    """Compares predictions with the truth.

    Attributes:
        body: of the network.
        worst_by: name of the score that orders people from best to worst.
        needs_labels: whether the people must come with their label pictures.
        notes: what else the reader of the scores must know, by name.
    """

    body: BodyModel
    worst_by: str
    needs_labels: bool
    notes: dict[str, str]

    def score(self, people: Sequence[Person], output: NetworkOutput) -> dict[str, np.ndarray]:
        """Scores (B, ...) by name; those that end in `_counts` are counts of pixels."""

    def truth_at(self, record: PersonRecord, vertices: np.ndarray) -> Truth | None:
        """What is true of a person, moved to the pelvis of the predicted vertices (V, 3), m."""

    def true_vertices(self, records: Sequence[PersonRecord]) -> Tensor | None:
        """(B, V, 3) m, root frame, where the mesh is known and the network's."""


class GenderedBodies:
    """The SMPL bodies that the truth is made with, read from the user's folder when needed."""

    def __init__(self, name: str, folder: str | Path | None, genders: Sequence[str]) -> None:
        """Reads the bodies.

        Args:
            name: of the data set, for error texts.
            folder: holds smpl_neutral.npz, smpl_male.npz, smpl_female.npz.
            genders: which of them are needed.

        Raises:
            FileNotFoundError: one is missing; says how to make it.
            ValueError: they are not bodies of one mesh.
        """
        paths = {gender: Path(folder or '') / f'smpl_{gender}.npz' for gender in genders}
        missing = [path.name for path in paths.values() if folder is None or not path.is_file()]
        if missing:
            where = 'no --body-folder is given' if folder is None else f'{folder} does not hold'
            raise FileNotFoundError(
                f'{where}: {", ".join(missing)} of SMPL, which the truth of {name} is made with; '
                f'licence and download: {SMPL_LICENCE}; then for each .pkl: decomr body import '
                'FILE.pkl --out FOLDER/smpl_GENDER.npz, and --body-folder FOLDER')
        self._bodies = {gender: load_body(path) for gender, path in paths.items()}
        meshes = {body.data.faces.tobytes() for body in self._bodies.values()}
        if len(meshes) > 1:
            raise ValueError(f'the bodies in {folder} have different faces; import all of them '
                             'from one release of SMPL')

    @property
    def any_body(self) -> BodyModel:
        """One of them."""
        return next(iter(self._bodies.values()))

    @torch.no_grad()
    def vertices(self, records: Sequence[PersonRecord]) -> Tensor:
        """(B, V, 3) m, root frame, each from the body of its gender.

        Raises:
            ValueError: a record's gender is none of the bodies'.
        """
        result = torch.empty(len(records), self.any_body.num_vertices, 3)
        genders = [record.gender for record in records]
        unknown = sorted(set(genders) - set(self._bodies))
        if unknown:
            raise ValueError(f'people are {", ".join(unknown)}, but the truth is made with the '
                             f'bodies {", ".join(self._bodies)}')
        for gender, body in self._bodies.items():
            rows = [row for row, of in enumerate(genders) if of == gender]
            if rows:
                pose, shape = (torch.tensor(np.stack([getattr(records[row], name)
                                                      for row in rows])).float()
                               for name in ('pose', 'shape'))
                result[rows] = root_frame_body(body, pose, shape)[0]
        return result


class JointScorer:
    """MPJPE and MPJPE-PA over the 14 joints of LSP, and over all where there are more."""

    worst_by = 'pa_mpjpe_mm'
    needs_labels = False

    def __init__(self, body: BodyModel, regressor: np.ndarray, notes: dict[str, str],
                 truth: GenderedBodies | None = None,
                 truth_regressor: np.ndarray | None = None) -> None:
        """Keeps what is needed.

        Args:
            body: of the network.
            regressor: (J, V) the joints from its vertices.
            notes: see `Scorer`.
            truth: the bodies of the truth; None: the annotated 3D joints are.
            truth_regressor: (J, V) the joints from theirs.
        """
        self.body, self.notes, self._truth = body, notes, truth
        self._regressor = torch.from_numpy(regressor)
        self._truth_regressor = None if truth is None else torch.from_numpy(truth_regressor)
        self._annotated = list(EVALUATED_FROM_ANNOTATED[:len(regressor)])

    def score(self, people: Sequence[Person], output: NetworkOutput) -> dict[str, np.ndarray]:
        """`mpjpe_mm` and `pa_mpjpe_mm`, each (B,); over 17 joints `mpjpe_17_mm` etc."""
        pred = self._regressor @ torch.as_tensor(output.vertices)
        gt = self._true_joints([person.record for person in people])
        scores = {}
        for count in sorted({NUM_LSP, len(self._annotated)}):
            name = 'mpjpe_mm' if count == NUM_LSP else f'mpjpe_{count}_mm'
            joints = pred[:, :count], gt[:, :count]
            scores[name] = mpjpe_mm(*joints, PELVIS_OF_LSP).numpy()
            scores[f'pa_{name}'] = pa_mpjpe_mm(*joints).numpy()
        return scores

    def truth_at(self, record: PersonRecord, vertices: np.ndarray) -> Truth:
        """See `Scorer`."""
        joints = self._true_joints([record])[0].numpy()
        shift = _pelvis(self._regressor.numpy() @ vertices) - _pelvis(joints)
        if self._truth is None:
            return Truth(joints + shift)
        return Truth(joints + shift, self._truth.vertices([record])[0].numpy() + shift,
                     self._truth.any_body.data.faces)

    def true_vertices(self, records: Sequence[PersonRecord]) -> None:
        """See `Scorer`: the tracks of these sets tell of bones without the truth."""

    def _true_joints(self, records: Sequence[PersonRecord]) -> Tensor:
        """(B, 14 or 17, 3) m of `EVALUATED_JOINTS`, axes as in the root frame."""
        if self._truth is not None:
            return self._truth_regressor @ self._truth.vertices(records)
        annotated = np.stack([record.keypoints_3d[self._annotated] for record in records])
        return torch.from_numpy(annotated[..., :3]).float()


class SurfaceScorer:
    """Mean distance of the vertices, with the hips at the origin and as they are."""

    worst_by = 'surface_error_mm'
    needs_labels = False

    def __init__(self, body: BodyModel, regressor: np.ndarray, notes: dict[str, str],
                 truth: GenderedBodies) -> None:
        """Keeps what is needed.

        Args:
            body: of the network.
            regressor: (J, V) of joints, for the hips.
            notes: see `Scorer`.
            truth: the bodies of the truth.

        Raises:
            ValueError: the network's mesh is not the truth's.
        """
        if not np.array_equal(body.data.faces, truth.any_body.data.faces):
            raise ValueError(
                f"the weights are for the body '{body.name}' {body.hash[:16]} with "
                f'{body.num_vertices} vertices, the truth is SMPL {truth.any_body.hash[:16]} with '
                f'{truth.any_body.num_vertices}: surfaces compare vertex by vertex; use weights '
                'for SMPL with --body and --uv')
        self.body, self.notes, self._truth = body, notes, truth
        self._regressor = torch.from_numpy(regressor)

    def score(self, people: Sequence[Person], output: NetworkOutput) -> dict[str, np.ndarray]:
        """`surface_error_mm` and `surface_error_unaligned_mm`, each (B,)."""
        pred = torch.as_tensor(output.vertices)
        gt = self._truth.vertices([person.record for person in people])
        return {'surface_error_mm': surface_error_mm(
                    pred, gt, self._regressor @ pred, self._regressor @ gt,
                    PELVIS_OF_LSP).numpy(),
                'surface_error_unaligned_mm': vertex_error_mm(pred, gt).numpy()}

    def truth_at(self, record: PersonRecord, vertices: np.ndarray) -> Truth:
        """See `Scorer`."""
        true, regressor = self._truth.vertices([record])[0].numpy(), self._regressor.numpy()
        shift = _pelvis(regressor @ vertices) - _pelvis(regressor @ true)
        return Truth(regressor @ true + shift, true + shift, self.body.data.faces)

    def true_vertices(self, records: Sequence[PersonRecord]) -> Tensor:
        """See `Scorer`."""
        return self._truth.vertices(records)


class SegmentScorer:
    """Outline and six segments of the projected mesh, in the pixels of the original image."""

    worst_by = 'segment_error'
    needs_labels = True

    def __init__(self, body: BodyModel, notes: dict[str, str]) -> None:
        """Keeps the segment of each face.

        Args:
            body: of the network.
            notes: see `Scorer`.
        """
        self.body, self.notes = body, notes
        self._corners = np.ascontiguousarray(body.data.faces.T)
        segments = face_segments_from_parts(body.data.vertex_parts, body.data.faces)
        self._segments = np.append(segments, 0)  # face -1 is the background

    def score(self, people: Sequence[Person], output: NetworkOutput) -> dict[str, np.ndarray]:
        """`foreground_counts` (B, 3, 2), `segment_counts` (B, 8, 7) and `segment_error` (B,)."""
        foreground, segments = [], []
        for person, vertices, camera in zip(people, output.vertices, output.camera, strict=True):
            pred = self.segment_image(vertices, camera, person)
            mask = (person.labels['mask'] > 0).astype(np.uint8)
            foreground.append(segmentation_counts((pred > 0).astype(np.uint8), mask, 2))
            segments.append(segmentation_counts(pred, person.labels['segments'],
                                                len(SEGMENT_NAMES)))
        counts = np.stack(segments)
        right = np.trace(counts[:, :-1], axis1=1, axis2=2) + counts[:, -1, 0]
        return {'foreground_counts': np.stack(foreground), 'segment_counts': counts,
                'segment_error': 1 - right / counts.sum(axis=(1, 2))}

    def segment_image(self, vertices: np.ndarray, camera: np.ndarray,
                      person: Person) -> np.ndarray:
        """The segments (H, W) of a mesh (V, 3) seen by a weak camera (3,), as `SEGMENT_NAMES`."""
        points = np.concatenate([project_weak(vertices, camera, person.center, person.side),
                                 vertices[:, 2:]], axis=1).astype(np.float32)
        height, width = person.labels['mask'].shape
        return self._segments[nearest_faces(points, self._corners, height, width)]

    def truth_at(self, record: PersonRecord, vertices: np.ndarray) -> None:
        """See `Scorer`: LSP knows nothing in 3D."""

    def true_vertices(self, records: Sequence[PersonRecord]) -> None:
        """See `Scorer`: LSP knows nothing in 3D."""


def make_scorer(name: str, body: BodyModel, body_folder: str | Path | None = None,
                joint_regressor: str | Path | None = None) -> Scorer:
    """The scorer of a published test set.

    Args:
        name: a key of `EVALUATION_SETS`.
        body: of the network.
        body_folder: the user's SMPL bodies, see `GenderedBodies`.
        joint_regressor: Human3.6M's joints from SMPL's vertices, see `evaluated_regressor`.

    Raises:
        FileNotFoundError: a file that the truth is made with is missing.
        ValueError: files do not belong together.
    """
    if name not in EVALUATION_SETS:
        raise ValueError(f'data set is {name!r}, expected one of: {", ".join(EVALUATION_SETS)}')
    test_set = EVALUATION_SETS[name]
    if test_set.truth == 'labels':
        return SegmentScorer(body, {})
    is_surface = name in SURFACE_SETS
    if test_set.truth == 'mesh' and not is_surface and joint_regressor is None:
        raise FileNotFoundError(
            f'the truth of {name} is read off SMPL by the Human3.6M joint regressor (17, 6890): '
            f'give --joint-regressor J_regressor_h36m.npy, from {REGRESSOR_SOURCE}')
    regressor, note = _network_regressor(body, joint_regressor)
    regressor, notes = regressor[:test_set.num_joints], {'joint_regressor': note}
    if test_set.truth == 'joints':
        return JointScorer(body, regressor, notes)
    truth = GenderedBodies(name, body_folder, test_set.genders)
    if is_surface:
        return SurfaceScorer(body, regressor, notes, truth)
    of_truth = evaluated_regressor(truth.any_body, joint_regressor)[:test_set.num_joints]
    return JointScorer(body, regressor, notes, truth, of_truth)


def _network_regressor(body: BodyModel, file: str | Path | None) -> tuple[np.ndarray, str]:
    """The joints (17, V) from the network's vertices, and where they come from."""
    if file is None:
        return evaluated_regressor(body), ('stand-in from the skeleton; published numbers need '
                                           '--joint-regressor and weights for SMPL')
    try:
        return evaluated_regressor(body, file), Path(file).name
    except ValueError:
        if body.num_vertices == NUM_SMPL_VERTICES:
            raise
    return evaluated_regressor(body), (f'stand-in from the skeleton for the body {body.name!r} of '
                                       f'the network, which {Path(file).name} does not fit')


def _pelvis(joints: np.ndarray) -> np.ndarray:
    """The middle (3,) of the hips of joints (J, 3)."""
    return joints[list(PELVIS_OF_LSP)].mean(axis=0)
