"""Test sets in the published formats, made of a dozen rendered people of the tiny body."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import torch

from decomr_core.base.structures import NetworkOutput
from decomr_core.body_models import JOINT_NAMES, BodyModel
from decomr_core.body_models.frames import ROOT_FROM_BODY
from decomr_core.body_models.joint_sets import (
    EVALUATED_FROM_ANNOTATED,
    H36M_JOINTS,
    evaluated_regressor,
)
from decomr_core.body_models.parts import face_segments_from_parts
from decomr_core.geometry.rasterizer import rasterize
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap
from training import evaluate
from training.records.rotations import axis_angle_from_matrix, matrix_from_axis_angle
from training.synthetic.people import SyntheticPeople
from training.synthetic.synthetic_batch import SyntheticBatch
from training.synthetic.synthetic_config import SyntheticConfig

SIZE, COUNT = 64, 12
WIDTH, HEIGHT = 96, 80
CORNER = np.array([10, 7])
"""Where the rendered square lies in each image, px."""
FILES = {
    'h36m-p1': 'h36m_valid_protocol1.npz',
    'h36m-p2': 'h36m_valid_protocol2.npz',
    '3dpw': '3dpw_test.npz',
    'mpi-inf-3dhp': 'mpi_inf_3dhp_valid.npz',
    'surreal': 'surreal_val.npz',
    'up-3d': 'up_3d_lsp_test.npz',
    'lsp': 'lsp_dataset_test.npz',
}


def render_people(body: BodyModel, uv_map: UVMap) -> SyntheticBatch:
    """Twelve people without occluders."""
    config = SyntheticConfig(size=SIZE, batch_size=COUNT, occluder_share=0, passer_by_share=0)
    return SyntheticPeople(config, body, uv_map, seed=5).batch(0)


class OracleRuntime:
    """An oracle: returns the ground truth of the most similar person for each crop."""

    name, precision, crop_size = 'oracle', 'f32', SIZE
    box_margin = None

    def __init__(self, people: SyntheticBatch, topology: Topology) -> None:
        self.people, self.topology = people, topology

    def run(self, images: np.ndarray) -> NetworkOutput:
        known = self.people.images.numpy().astype(np.float32)
        rows = [
            int(np.abs(known - image.astype(np.float32)).sum(axis=(1, 2, 3)).argmin())
            for image in images
        ]
        return NetworkOutput(
            *(
                getattr(self.people, name)[rows].numpy()
                for name in ('iuv', 'vertices', 'joints', 'camera')
            )
        )


def write_regressor(body: BodyModel, path: Path) -> Path:
    """A Human3.6M joint regressor for a body, from its own joints."""
    own = np.asarray(body.joint_regressor)
    stand_in = {'spine': 'spine2', 'jaw': 'neck'}
    np.save(
        path, np.stack([own[JOINT_NAMES.index(stand_in.get(name, name))] for name in H36M_JOINTS])
    )
    return path


def write_bodies(body: BodyModel, folder: Path) -> Path:
    """The three ground-truth bodies, all of them the tiny one."""
    folder.mkdir()
    for gender in ('neutral', 'male', 'female'):
        body.save(folder / f'smpl_{gender}.npz')
    return folder


def write_set(
    name: str,
    folder: Path,
    people: SyntheticBatch,
    body: BodyModel,
    regressor: Path | None = None,
    **changes: object,
) -> Path:
    """One test set: jpg images and the npz; `changes` replace arrays, None leaves one out."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f'images/image_{index:05d}.jpg' for index in range(COUNT)]
    (folder / 'images').mkdir(exist_ok=True)
    for image_name, pixels in zip(names, people.images.numpy(), strict=True):
        image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        image[CORNER[1] : CORNER[1] + SIZE, CORNER[0] : CORNER[0] + SIZE] = pixels
        cv2.imwrite(str(folder / image_name), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 97])
    arrays = {
        'imgname': names,
        'center': np.tile(CORNER + (SIZE - 1) / 2, (COUNT, 1)),
        'scale': np.full(COUNT, SIZE / 200),
    }
    if name in ('3dpw', 'surreal', 'up-3d'):
        arrays |= {
            'pose': camera_poses(people).reshape(COUNT, 72),
            'shape': people.shape.numpy(),
            'gender': ['m', 'f'] * (COUNT // 2),
        }
    elif name == 'lsp':
        arrays |= _write_labels(folder, people, body)
    else:
        annotated = np.zeros((COUNT, 24, 4))
        count = 17 if name == 'mpi-inf-3dhp' else 14
        joints = evaluated_regressor(body, regressor)[:count] @ people.vertices.numpy()
        annotated[:, list(EVALUATED_FROM_ANNOTATED[:count])] = np.concatenate(
            [joints, np.ones((COUNT, count, 1))], axis=2
        )
        arrays['S'] = annotated
    arrays.update(changes)
    np.savez(
        folder / FILES[name], **{key: value for key, value in arrays.items() if value is not None}
    )
    return folder


def camera_poses(people: SyntheticBatch) -> np.ndarray:
    """(12, 24, 3) as the published files hold poses: turned into the camera's axes."""
    pose = people.pose.numpy().copy()
    pose[:, 0] = axis_angle_from_matrix(ROOT_FROM_BODY @ matrix_from_axis_angle(pose[:, 0]))
    return pose


def _write_labels(folder: Path, people: SyntheticBatch, body: BodyModel) -> dict[str, list[str]]:
    """Outlines and segments of the true meshes, drawn by the rasterizer of the training."""
    (folder / 'data/lsp').mkdir(parents=True)
    camera, vertices = people.camera, people.vertices
    # A square of twice the crop's side around the same centre holds the whole image.
    points = torch.cat(
        [camera[:, None, :1] * (vertices[..., :2] + camera[:, None, 1:]) / 2, vertices[..., 2:]],
        dim=2,
    )
    faces = rasterize(points, body.faces, 2 * SIZE, cull_backfaces=True).face_index.numpy()
    segment_of_face = np.append(
        face_segments_from_parts(body.data.vertex_parts, body.data.faces), 0
    )
    left, top = SIZE // 2 - CORNER
    names: dict[str, list[str]] = {'maskname': [], 'partname': []}
    for index, shown in enumerate(faces):
        segments = segment_of_face[shown][top : top + HEIGHT, left : left + WIDTH].astype(np.uint8)
        for key, kind, image in (
            ('maskname', 'segmentation', (segments > 0) * np.uint8(255)),
            ('partname', 'part_segmentation', segments),
        ):
            names[key].append(f'data/lsp/im{index:04d}_{kind}.png')
            cv2.imwrite(str(folder / names[key][-1]), image)
    return names


def run_evaluate(files: dict[str, Path], *words: object, without: tuple[str, ...] = ()) -> int:
    """Runs the command with the user's files; its exit code."""
    given = [
        word
        for key, path in files.items()
        if key not in without
        for word in (f'--{key}', str(path))
    ]
    return evaluate.main([*map(str, words), *given])


def last_json(capsys) -> dict:
    """The JSON object on the last line of what was printed."""
    return json.loads(capsys.readouterr().out.splitlines()[-1])
