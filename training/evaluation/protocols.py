"""Protocols of the test sets: the truth of the people, and the errors of predictions.

3D joints (Human3.6M, 3DPW, MPI-INF-3DHP) and surfaces (SURREAL, UP-3D) are aligned at the middle
of the hips, as in DecoMR's evaluation. Segmentations (LSP) are compared in the pixels of the
original image. The joints are the 14 of LSP. For MPI-INF-3DHP, where others report 17 joints,
scores over these are computed too.
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
from decomr_core.body_models import BodyModel
from decomr_core.body_models.joint_sets import (
    EVALUATED_FROM_ANNOTATED,
    NUM_LSP,
    PELVIS_OF_LSP,
    evaluated_regressor,
)
from decomr_core.body_models.parts import SEGMENT_NAMES, face_segments_from_parts
from decomr_core.drawing import nearest_faces
from decomr_core.geometry.camera import project_weak_perspective
from decomr_core.measures.metrics import (
    mpjpe_mm,
    pa_mpjpe_mm,
    segmentation_counts,
    surface_error_mm,
    vertex_error_mm,
)
from training.evaluation.sets import EVALUATION_SETS
from training.evaluation.truth import GenderedBodies, Truth
from training.records.person_record import PersonRecord

__all__ = ['JointScorer', 'Person', 'Scorer', 'SegmentScorer', 'SurfaceScorer', 'make_scorer']

REGRESSOR_SOURCE = 'https://github.com/nkolot/GraphCMR/tree/master/data'
NUM_SMPL_VERTICES = 6890
SURFACE_SETS = ('surreal', 'up-3d')
"""Sets on which the whole surface is compared; on 3DPW only the joints of the true mesh are."""


@dataclass(frozen=True)
class Person:
    """One person, cropped.

    Attributes:
        record: the annotations.
        pixels: (S, S, 3) uint8 RGB, the network's input.
        center: (2,) centre of the crop, image px.
        side: side of the crop, image px.
        labels: label images (H, W) of the original image's size: `mask` and `segments`.
    """

    record: PersonRecord
    pixels: np.ndarray
    center: np.ndarray
    side: float
    labels: dict[str, np.ndarray] = field(default_factory=dict)


class Scorer(Protocol):
    """Compares predictions with the truth.

    Attributes:
        body: body of the network.
        worst_by: name of the score by which people are sorted from best to worst.
        needs_labels: whether the people need their label images.
        notes: remarks for the report, by name.
    """

    body: BodyModel
    worst_by: str
    needs_labels: bool
    notes: dict[str, str]

    def score(self, people: Sequence[Person], output: NetworkOutput) -> dict[str, np.ndarray]:
        """Scores (B, ...) by name; names that end in `_counts` are counts of pixels."""

    def truth_at(self, record: PersonRecord, vertices: np.ndarray) -> Truth | None:
        """The truth of a person, translated to the pelvis of predicted vertices (V, 3), m."""

    def true_vertices(self, records: Sequence[PersonRecord]) -> Tensor | None:
        """True vertices (B, V, 3) m, root frame; None if unknown or of another mesh."""


class JointScorer:
    """MPJPE and PA-MPJPE over the 14 joints of LSP, and over all joints if there are more."""

    worst_by = 'pa_mpjpe_mm'
    needs_labels = False

    def __init__(
        self,
        body: BodyModel,
        regressor: np.ndarray,
        notes: dict[str, str],
        truth: GenderedBodies | None = None,
        truth_regressor: np.ndarray | None = None,
    ) -> None:
        """Stores bodies and regressors.

        Args:
            body: body of the network.
            regressor: (J, V) regressor of the joints from its vertices.
            notes: see `Scorer`.
            truth: bodies of the truth; None if the truth is the annotated 3D joints.
            truth_regressor: (J, V) regressor of the joints from their vertices.
        """
        self.body, self.notes, self._truth = body, notes, truth
        self._regressor = torch.from_numpy(regressor)
        self._truth_regressor = (
            None if truth_regressor is None else torch.from_numpy(truth_regressor)
        )
        self._annotated = list(EVALUATED_FROM_ANNOTATED[: len(regressor)])

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
        return Truth(
            joints + shift,
            self._truth.vertices([record])[0].numpy() + shift,
            self._truth.any_body.data.faces,
        )

    def true_vertices(self, records: Sequence[PersonRecord]) -> None:
        """None: the bones of these sets are evaluated along tracks, without the truth."""

    def _true_joints(self, records: Sequence[PersonRecord]) -> Tensor:
        """(B, 14 or 17, 3) m of `EVALUATED_JOINTS`, axes as in the root frame."""
        if self._truth is not None and self._truth_regressor is not None:
            return self._truth_regressor @ self._truth.vertices(records)
        annotated = []
        for record in records:
            assert record.keypoints_3d is not None  # evaluation_people removes the others
            annotated.append(record.keypoints_3d[self._annotated, :3])
        return torch.from_numpy(np.stack(annotated)).float()


class SurfaceScorer:
    """Mean distance of the vertices, with and without alignment at the hips."""

    worst_by = 'surface_error_mm'
    needs_labels = False

    def __init__(
        self, body: BodyModel, regressor: np.ndarray, notes: dict[str, str], truth: GenderedBodies
    ) -> None:
        """Stores bodies and regressors.

        Args:
            body: body of the network.
            regressor: (J, V) regressor of joints, for the hips.
            notes: see `Scorer`.
            truth: bodies of the truth.

        Raises:
            ValueError: the network's body has other faces than the truth.
        """
        if not np.array_equal(body.data.faces, truth.any_body.data.faces):
            raise ValueError(
                f"the weights are for the body '{body.name}' {body.hash[:16]} with "
                f'{body.num_vertices} vertices, but the truth is SMPL {truth.any_body.hash[:16]} '
                f'with {truth.any_body.num_vertices}; surfaces can be compared only if their '
                'vertices correspond: use weights for SMPL, with --body and --uv'
            )
        self.body, self.notes, self._truth = body, notes, truth
        self._regressor = torch.from_numpy(regressor)

    def score(self, people: Sequence[Person], output: NetworkOutput) -> dict[str, np.ndarray]:
        """`surface_error_mm` and `surface_error_unaligned_mm`, each (B,)."""
        pred = torch.as_tensor(output.vertices)
        gt = self._truth.vertices([person.record for person in people])
        return {
            'surface_error_mm': surface_error_mm(
                pred, gt, self._regressor @ pred, self._regressor @ gt, PELVIS_OF_LSP
            ).numpy(),
            'surface_error_unaligned_mm': vertex_error_mm(pred, gt).numpy(),
        }

    def truth_at(self, record: PersonRecord, vertices: np.ndarray) -> Truth:
        """See `Scorer`."""
        gt, regressor = self._truth.vertices([record])[0].numpy(), self._regressor.numpy()
        shift = _pelvis(regressor @ vertices) - _pelvis(regressor @ gt)
        return Truth(regressor @ gt + shift, gt + shift, self.body.data.faces)

    def true_vertices(self, records: Sequence[PersonRecord]) -> Tensor:
        """See `Scorer`."""
        return self._truth.vertices(records)


class SegmentScorer:
    """Silhouette and six segments of the projected mesh, in the pixels of the original image."""

    worst_by = 'segment_error'
    needs_labels = True

    def __init__(self, body: BodyModel, notes: dict[str, str]) -> None:
        """Computes the segment of each face.

        Args:
            body: body of the network.
            notes: see `Scorer`.

        Raises:
            ValueError: the body has no parts.
        """
        self.body, self.notes = body, notes
        self._corners = np.ascontiguousarray(body.data.faces.T)
        if body.data.vertex_parts is None:
            raise ValueError(
                f'the body {body.name!r} has no vertex_parts, which define the '
                'segments; import it again: decomr body import FILE --out FILE'
            )
        segments = face_segments_from_parts(body.data.vertex_parts, body.data.faces)
        self._segments = np.append(segments, 0)  # face -1 is the background

    def score(self, people: Sequence[Person], output: NetworkOutput) -> dict[str, np.ndarray]:
        """`foreground_counts` (B, 3, 2), `segment_counts` (B, 8, 7) and `segment_error` (B,)."""
        foreground, segments = [], []
        for person, vertices, camera in zip(people, output.vertices, output.camera, strict=True):
            pred = self.segment_image(vertices, camera, person)
            mask = (person.labels['mask'] > 0).astype(np.uint8)
            foreground.append(segmentation_counts((pred > 0).astype(np.uint8), mask, 2))
            segments.append(
                segmentation_counts(pred, person.labels['segments'], len(SEGMENT_NAMES))
            )
        counts = np.stack(segments)
        correct = np.trace(counts[:, :-1], axis1=1, axis2=2) + counts[:, -1, 0]
        return {
            'foreground_counts': np.stack(foreground),
            'segment_counts': counts,
            'segment_error': 1 - correct / counts.sum(axis=(1, 2)),
        }

    def segment_image(
        self, vertices: np.ndarray, camera: np.ndarray, person: Person
    ) -> np.ndarray:
        """Segments (H, W) of a mesh (V, 3) in a weak camera (3,), indices of `SEGMENT_NAMES`."""
        image_xy = project_weak_perspective(vertices, camera, person.center, person.side)
        points = np.concatenate([image_xy, vertices[:, 2:]], axis=1).astype(np.float32)
        height, width = person.labels['mask'].shape
        return self._segments[nearest_faces(points, self._corners, height, width)]

    def truth_at(self, record: PersonRecord, vertices: np.ndarray) -> None:
        """None: LSP has no 3D truth."""

    def true_vertices(self, records: Sequence[PersonRecord]) -> None:
        """None: LSP has no 3D truth."""


def make_scorer(
    name: str,
    body: BodyModel,
    body_folder: str | Path | None = None,
    joint_regressor: str | Path | None = None,
) -> Scorer:
    """Makes the scorer of a published test set.

    Args:
        name: a key of `EVALUATION_SETS`.
        body: body of the network.
        body_folder: folder of the user's SMPL bodies, see `GenderedBodies`.
        joint_regressor: regressor of Human3.6M's joints from SMPL's vertices, see
            `evaluated_regressor`.

    Raises:
        FileNotFoundError: a file that the truth needs is missing.
        ValueError: the set is unknown, or the files do not match.
    """
    if name not in EVALUATION_SETS:
        raise ValueError(f'data set is {name!r}, expected one of: {", ".join(EVALUATION_SETS)}')
    test_set = EVALUATION_SETS[name]
    if test_set.truth == 'labels':
        return SegmentScorer(body, {})
    is_surface = name in SURFACE_SETS
    if test_set.truth == 'mesh' and not is_surface and joint_regressor is None:
        raise FileNotFoundError(
            f'the truth of {name} needs the Human3.6M joint regressor (17, 6890) for SMPL; give '
            f'--joint-regressor J_regressor_h36m.npy, from {REGRESSOR_SOURCE}'
        )
    regressor, note = _network_regressor(body, joint_regressor)
    regressor, notes = regressor[: test_set.num_joints], {'joint_regressor': note}
    if test_set.truth == 'joints':
        return JointScorer(body, regressor, notes)
    truth = GenderedBodies(name, body_folder, test_set.genders)
    if is_surface:
        return SurfaceScorer(body, regressor, notes, truth)
    truth_regressor = evaluated_regressor(truth.any_body, joint_regressor)[: test_set.num_joints]
    return JointScorer(body, regressor, notes, truth, truth_regressor)


def _network_regressor(body: BodyModel, file: str | Path | None) -> tuple[np.ndarray, str]:
    """The regressor (17, V) of joints from the network's vertices, and a note on its source."""
    if file is None:
        return evaluated_regressor(body), (
            'approximated by the skeleton; published numbers need '
            '--joint-regressor and weights for SMPL'
        )
    try:
        return evaluated_regressor(body, file), Path(file).name
    except ValueError:
        if body.num_vertices == NUM_SMPL_VERTICES:
            raise
    return evaluated_regressor(body), (
        f'approximated by the skeleton, because {Path(file).name} '
        f"does not fit the network's body {body.name!r}"
    )


def _pelvis(joints: np.ndarray) -> np.ndarray:
    """The middle (3,) of the hips of joints (J, 3)."""
    return joints[list(PELVIS_OF_LSP)].mean(axis=0)
