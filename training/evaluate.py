"""Scores a network on the held-out synthetic images, beside the best constant prediction.

python -m training.evaluate --weights rt --json
"""

from __future__ import annotations

import json
import logging
import sys
from argparse import ArgumentParser
from pathlib import Path

import torch
from torch import Tensor

from decomr_core import checkpoint
from decomr_core.body_models import load_body
from decomr_core.crop import normalize_images
from decomr_core.metrics import (
    align_similarity,
    foreground_iou,
    mpjpe_mm,
    pa_mpjpe_mm,
    vertex_error_mm,
)
from decomr_core.networks.decomr import DecoMR
from decomr_core.uv.uv_map import load_uv_map
from decomr_core.uv.warp import FOREGROUND_THRESHOLD
from training.datasets.synthetic import SyntheticBatch, SyntheticConfig, held_out_set

__all__ = ['best_constant_joints', 'evaluate_network', 'main']

BATCH = 50
CONSTANT_STEPS = 300
logger = logging.getLogger(__name__)


@torch.no_grad()
def evaluate_network(network: DecoMR, held_out: SyntheticBatch) -> dict[str, float]:
    """Mean scores over a held-out set.

    Args:
        network: the network; it is left in the mode it came in.
        held_out: rendered images with their truth.

    Returns:
        `pa_mpjpe_mm`, `mpjpe_mm`, `vertex_error_mm` (pelvis-aligned), `foreground_iou`,
        `uv_error` (mean l1 of u and v where truth and prediction have foreground).
    """
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    rows: dict[str, list[Tensor]] = {}
    for start in range(0, len(held_out), BATCH):
        batch = held_out.part(slice(start, start + BATCH))
        output = network(normalize_images(batch.images.to(device)))
        for name, values in _scores(network, output, batch.to(device)).items():
            rows.setdefault(name, []).append(values)
    network.train(was_training)
    return {name: round(float(torch.cat(values).mean()), 4) for name, values in rows.items()}


def best_constant_joints(gt_joints: Tensor) -> Tensor:
    """The one skeleton with the lowest mean PA-MPJPE over a whole set: the score to beat.

    It sees the very set it is scored on, so nothing constant does better. Found by gradient
    descent on the score from the Procrustes mean.

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
    mean = centred.median(dim=0).values.expand_as(gt_joints)
    return {
        'pa_mpjpe_mm': round(float(pa_mpjpe_mm(constant, gt_joints).mean()), 2),
        'mpjpe_mm': round(float(mpjpe_mm(mean, gt_joints).mean()), 2),
    }


def _scores(network: DecoMR, output: object, batch: SyntheticBatch) -> dict[str, Tensor]:
    joints = output.joints
    centred = output.vertices - joints[:, :1]
    gt_centred = batch.vertices - batch.joints[:, :1]
    pred_mask = output.iuv[:, :1] > FOREGROUND_THRESHOLD
    both = (pred_mask & (batch.iuv[:, :1] > FOREGROUND_THRESHOLD)).float()
    uv_error = ((output.iuv[:, 1:] - batch.iuv[:, 1:]).abs() * both).sum(dim=(1, 2, 3))
    return {
        'pa_mpjpe_mm': pa_mpjpe_mm(joints, batch.joints),
        'mpjpe_mm': mpjpe_mm(joints, batch.joints),
        'vertex_error_mm': vertex_error_mm(centred, gt_centred),
        'foreground_iou': foreground_iou(output.iuv, batch.iuv),
        'uv_error': uv_error / (2 * both.sum(dim=(1, 2, 3))).clamp(min=1),
    }


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    parser = ArgumentParser(prog='python -m training.evaluate', description=__doc__)
    parser.add_argument('--weights', default='rt', help='shipped preset or safetensors file')
    parser.add_argument('--images', type=int, default=500, help='held-out images')
    parser.add_argument('--json', action='store_true', help='one JSON object on the last line')
    parser.add_argument('--out', type=Path, help='also write the JSON object to this file')
    args = parser.parse_args(arguments)
    try:
        network = checkpoint.load_network(args.weights)
    except (FileNotFoundError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    body = load_body()
    held_out = held_out_set(
        SyntheticConfig(size=network.config.crop_size), body, load_uv_map(body=body), args.images
    )
    constant = constant_scores(held_out.joints)
    scores = evaluate_network(network, held_out)
    report = {'weights': str(args.weights), 'images': args.images, 'network': scores,
              'best_constant': constant,
              'pa_ratio': round(scores['pa_mpjpe_mm'] / constant['pa_mpjpe_mm'], 3)}
    if args.out:
        args.out.write_text(json.dumps(report, indent=2), encoding='utf-8')
    print(json.dumps(report) if args.json else _table(report))
    return 0


def _table(report: dict) -> str:
    lines = [f'{report["images"]} held-out synthetic images, weights {report["weights"]}']
    for name, value in report['network'].items():
        constant = report['best_constant'].get(name)
        beside = '' if constant is None else f'   best constant {constant:9.2f}'
        lines.append(f'{name:18s} {value:9.3f}{beside}')
    return '\n'.join(lines)


if __name__ == '__main__':
    raise SystemExit(main())
