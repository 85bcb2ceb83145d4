"""Scores on the held-out rendered people, whose truth is completely known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from decomr_core.base.structures import NetworkOutput
from decomr_core.body_models import BodyModel
from decomr_core.geometry.crop import CROP_SCALE, crop_pixels, network_input
from decomr_core.measures.metrics import (
    align_similarity,
    folded_share,
    foreground_iou,
    mpjpe_mm,
    neighbor_faces,
    pa_mpjpe_mm,
    stretched_share,
    surface_error_mm,
)
from decomr_core.networks.decomr import DecoMR
from decomr_core.runtimes import Runtime
from decomr_core.uv.uv_map import UVMap
from decomr_core.uv.warp import FOREGROUND_THRESHOLD
from training.evaluation.report import DIGITS, bones_of_people, scale_rows, summarize
from training.evaluation.worst_cases import (
    TILE_PX,
    WORST,
    WorstCase,
    case_title,
    draw_mesh,
    worst_cases_picture,
)
from training.synthetic.held_out import held_out_set
from training.synthetic.synthetic_batch import SyntheticBatch
from training.synthetic.synthetic_config import AssetFiles, SyntheticConfig
from training.targets.iuv_target import IUV_STRIDE

__all__ = [
    'best_constant_joints',
    'constant_scores',
    'evaluate_network',
    'score_held_out',
    'synthetic_report',
]

BATCH = 50
CONSTANT_STEPS = 300
WORST_BY = 'pa_mpjpe_mm'

Run = Callable[[Tensor], NetworkOutput]
"""Maps crops (B, S, S, 3) uint8 RGB, on the CPU, to the network's output."""


@torch.no_grad()
def evaluate_network(
    network: DecoMR, held_out: SyntheticBatch, faces: np.ndarray | None = None
) -> dict[str, float | None]:
    """Computes the mean scores over a held-out set.

    Args:
        network: runs in evaluation mode; its mode is restored.
        held_out: rendered images with their truth.
        faces: (F, 3) faces of the body, for the two scores of the surface; None without them.

    Returns:
        `pa_mpjpe_mm`, `mpjpe_mm`, `vertex_error_mm` (pelvis-aligned), `foreground_iou`,
        `uv_error` (mean l1 of u and v over the common foreground of truth and prediction; None
        if no image has any), `stretched_faces` and `folded_faces` (shares, relative to the true
        mesh).
    """
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    values, _ = score_held_out(
        lambda images: network(network_input(images.to(device))),
        held_out.in_boxes(network.config.box_margin),
        faces,
    )
    network.train(was_training)
    return summarize(values, with_intervals=False)[0]


def score_held_out(
    run: Run, held_out: SyntheticBatch, faces: np.ndarray | None = None
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Computes the scores of each person.

    Args:
        run: runs the network.
        held_out: K rendered people.
        faces: see `evaluate_network`.

    Returns:
        Scores (K,) by name, see `evaluate_network`, and the predicted joints (K, 24, 3), m.
    """
    rows: dict[str, list[Tensor]] = {}
    joints = []
    surface = None if faces is None else _SurfaceScores(faces)
    for start in range(0, len(held_out), BATCH):
        batch = held_out.part(slice(start, start + BATCH))
        output = run(batch.images)
        output = NetworkOutput(
            *(
                torch.as_tensor(getattr(output, name)).float().cpu()
                for name in ('iuv', 'vertices', 'joints', 'camera')
            )
        )
        scores = _scores(output, batch) | (
            {} if surface is None else surface(output.vertices, batch.vertices)
        )
        for name, values in scores.items():
            rows.setdefault(name, []).append(values)
        joints.append(output.joints)
    return (
        {name: torch.cat(values).numpy() for name, values in rows.items()},
        torch.cat(joints).numpy(),
    )


def best_constant_joints(gt_joints: Tensor) -> Tensor:
    """The constant skeleton with the lowest mean PA-MPJPE over a set: a baseline for networks.

    It is fitted to the set itself, so it is a bound for all constant predictions. It is found by
    gradient descent on the score, starting at the Procrustes mean.

    Args:
        gt_joints: (K, J, 3) metres.

    Returns:
        (J, 3) metres.
    """
    constant = gt_joints[0]
    for _ in range(20):
        aligned = align_similarity(gt_joints, constant.expand_as(gt_joints))
        constant = aligned.mean(dim=0)
    constant = constant.clone().requires_grad_()
    optimizer = torch.optim.Adam([constant], lr=2e-3)
    for _ in range(CONSTANT_STEPS):
        loss = pa_mpjpe_mm(constant.expand_as(gt_joints), gt_joints).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return constant.detach()


def constant_scores(gt_joints: Tensor) -> dict[str, float]:
    """PA-MPJPE and MPJPE (mm) of the best constant prediction for joints (K, J, 3), metres."""
    constant = best_constant_joints(gt_joints).expand_as(gt_joints)
    centred = gt_joints - gt_joints[:, :1]
    median = centred.median(dim=0).values.expand_as(gt_joints)
    return {
        'pa_mpjpe_mm': round(float(pa_mpjpe_mm(constant, gt_joints).mean()), 2),
        'mpjpe_mm': round(float(mpjpe_mm(median, gt_joints).mean()), 2),
    }


def synthetic_report(
    runtime: Runtime,
    body: BodyModel,
    uv_map: UVMap,
    count: int,
    scales: tuple[float, ...] = (),
    with_picture: bool = False,
    assets: AssetFiles | None = None,
) -> tuple[dict[str, Any], np.ndarray | None]:
    """Scores a network on the held-out people.

    Args:
        runtime: runs the network.
        body: its body.
        uv_map: its UV map.
        count: number of people.
        scales: additional crop scales to score at (side of the crop over that of the person box).
        with_picture: whether to draw the worst cases.
        assets: files of real poses, clothes and places; None for the usual, generated people.

    Returns:
        The report, ready for JSON, and the picture (H, W, 3) uint8 RGB or None.
    """
    config = SyntheticConfig(size=runtime.crop_size, **(assets or {}))
    held_out = held_out_set(config, body, uv_map, count, with_assets=bool(assets))
    held_out = held_out.in_boxes(runtime.box_margin)
    constant = constant_scores(held_out.joints)
    values, joints = score_held_out(
        lambda images: runtime.run(images.numpy()), held_out, body.data.faces
    )
    scores, intervals = summarize(values)
    pa_mpjpe = scores['pa_mpjpe_mm']
    assert pa_mpjpe is not None  # only uv_error may be unknown
    report = {
        'images': count,
        'network': scores,
        'best_constant': constant,
        'pa_ratio': round(pa_mpjpe / constant['pa_mpjpe_mm'], 3),
        'intervals': intervals,
        'bone_length_variation': bones_of_people(joints, held_out.joints.numpy()),
    }
    if scales:
        report['box_scales'] = _scale_table(runtime, body, uv_map, count, scales)
    picture = None
    if with_picture:
        worst = np.argsort(-values[WORST_BY], kind='stable')[:WORST]
        picture = worst_cases_picture(
            _worst_cases(runtime, held_out, worst, values[WORST_BY], body),
            f'The {len(worst)} worst of {count} synthetic people: image, prediction, truth',
        )
    return report, picture


def _scores(output: NetworkOutput, batch: SyntheticBatch) -> dict[str, Tensor]:
    pred_mask = output.iuv[:, :1] > FOREGROUND_THRESHOLD
    both = (pred_mask & (batch.iuv[:, :1] > FOREGROUND_THRESHOLD)).float()
    uv_error = ((output.iuv[:, 1:] - batch.iuv[:, 1:]).abs() * both).sum(dim=(1, 2, 3))
    return {
        'pa_mpjpe_mm': pa_mpjpe_mm(output.joints, batch.joints),
        'mpjpe_mm': mpjpe_mm(output.joints, batch.joints),
        'vertex_error_mm': surface_error_mm(
            output.vertices, batch.vertices, output.joints, batch.joints
        ),
        'foreground_iou': foreground_iou(output.iuv, batch.iuv),
        # NaN (0 / 0) without common foreground: unknown.
        'uv_error': uv_error / (2 * both.sum(dim=(1, 2, 3))),
    }


class _SurfaceScores:
    """Shares of stretched and of folded faces, relative to the true meshes."""

    def __init__(self, faces: np.ndarray) -> None:
        self._faces = torch.as_tensor(np.asarray(faces, np.int64))
        self._neighbors = neighbor_faces(self._faces)

    def __call__(self, vertices: Tensor, true_vertices: Tensor) -> dict[str, Tensor]:
        return {
            'stretched_faces': stretched_share(vertices, true_vertices, self._faces),
            'folded_faces': folded_share(vertices, true_vertices, self._faces, self._neighbors),
        }


def _scale_table(
    runtime: Runtime, body: BodyModel, uv_map: UVMap, count: int, scales: tuple[float, ...]
) -> list[dict[str, float | None]]:
    """Errors by box scale, on the same people, rendered with wider margins."""
    zoom = max(scales) / CROP_SCALE
    wide = int(np.ceil(runtime.crop_size * max(zoom, 1) / IUV_STRIDE)) * IUV_STRIDE
    people = held_out_set(
        dataclasses.replace(SyntheticConfig(), size=wide), body, uv_map, count, frame_scale=zoom
    ).in_boxes(runtime.box_margin)
    middle = np.full(2, (wide - 1) / 2)

    def measure(scale: float) -> dict[str, float]:
        """Joint errors at one scale."""
        joints = []
        for start in range(0, count, BATCH):
            crops = [
                crop_pixels(image, middle, wide * scale / max(scales), runtime.crop_size)
                for image in people.images[start : start + BATCH].numpy()
            ]
            joints.append(torch.as_tensor(runtime.run(np.stack(crops)).joints))
        pred = torch.cat(joints)
        return {
            'pa_mpjpe_mm': round(float(pa_mpjpe_mm(pred, people.joints).mean()), DIGITS),
            'mpjpe_mm': round(float(mpjpe_mm(pred, people.joints).mean()), DIGITS),
        }

    return scale_rows(scales, measure)


def _worst_cases(
    runtime: Runtime,
    held_out: SyntheticBatch,
    worst: np.ndarray,
    errors: np.ndarray,
    body: BodyModel,
) -> list[WorstCase]:
    people = held_out.part(torch.from_numpy(worst))
    output = runtime.run(people.images.numpy())
    faces = body.data.faces
    cases = []
    for place, row in enumerate(worst):
        image = cv2.resize(people.images[place].numpy(), (TILE_PX, TILE_PX))
        cases.append(
            WorstCase(
                case_title(errors[row], WORST_BY, f'held-out person {row}'),
                image,
                draw_mesh(image, output.vertices[place], output.camera[place], faces),
                draw_mesh(
                    image,
                    people.vertices[place].numpy(),
                    people.camera[place].numpy(),
                    faces,
                    is_true=True,
                ),
            )
        )
    return cases
