"""Trains the lifting head, which improves the pose by the positions of the joints in the image.

    python -m training.lifting estimates --weights rt --out lifted.safetensors

The head reads only a few numbers per person (`decomr_core/networks/lifting.py`), and the rest of
the network is frozen. So a step here costs a hundredth of a step of `training.train`, and half of
the people need not be rendered: they are given the errors that the network makes for a random
rendered person (`training.pose_estimates`). Weights without a lifting head get one.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from tqdm import tqdm

from decomr_core.base.config import network_config
from decomr_core.body_models import BodyModel, load_body
from decomr_core.measures.losses import project_to_crop
from decomr_core.measures.metrics import pa_mpjpe_mm
from decomr_core.networks import checkpoint
from decomr_core.networks.decomr import DecoMR
from decomr_core.networks.lnet import Pose
from decomr_core.uv.uv_map import UVMap, load_uv_map
from training.loop.bfloat16 import has_bfloat16
from training.loop.head_programs import head_parser, optimise, options_from, run_program
from training.pose_estimates import ComponentFit, PoseEstimates, estimator_hash, read_estimates
from training.posed_surface import Posed, PosedSurface
from training.synthetic.people import SyntheticPeople
from training.synthetic.synthetic_config import POSE_GENERATORS, SyntheticConfig

__all__ = [
    'LiftingOptions',
    'lifted_error_mm',
    'simulate',
    'train_lifting',
    'with_errors',
    'with_lifting',
]

PEOPLE_AT_ONCE = 250
TINY_SQUARE = 1e-8
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LiftingOptions:
    """Hyperparameters of `train_lifting`.

    Attributes:
        steps: optimiser steps.
        batch_size: people per step.
        simulated_share: share of people in a batch who are not rendered, if there are any.
        learning_rate: peak rate; see `rate_share`.
        weight_decay: decoupled weight decay (AdamW).
        pose_dropout: share of people whose first pose the head does not see.
        seed: seed of the order of the people.
    """

    steps: int = 4000
    batch_size: int = 512
    simulated_share: float = 0.4
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    pose_dropout: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1 or not self.learning_rate > 0:
            raise ValueError('steps, batch_size and learning_rate must be above 0')
        if not 0 <= self.simulated_share <= 1 or not 0 <= self.pose_dropout < 1:
            raise ValueError('simulated_share and pose_dropout must be 0 to 1')
        if self.weight_decay < 0:
            raise ValueError('weight_decay must be 0 or more')


def with_lifting(network: DecoMR, body: BodyModel, uv_map: UVMap) -> DecoMR:
    """A copy of a network with a new lifting head, or the network itself if it has one.

    Args:
        network: locates joints.
        body: its body.
        uv_map: its UV map.

    Raises:
        ValueError: the network does not locate joints.
    """
    if network.lifting is not None:
        return network
    width = network_config('rt').lifting_features
    config = replace(network.config, lifting_features=width)
    if not config.lifts:
        raise ValueError('the network does not locate joints; use weights of the preset rt')
    lifted = DecoMR(config, body, uv_map)
    lifted.load_state_dict({**lifted.state_dict(), **network.state_dict()})
    return lifted.eval()


@torch.no_grad()
def simulate(people: SyntheticPeople, fit: ComponentFit, count: int) -> PoseEstimates:
    """Samples people without rendering them; their estimates are exact.

    Args:
        people: samples the people.
        fit: of the network's pose components.
        count: number of people, rounded up.
    """
    parts = []
    for number in tqdm(range(-(-count // PEOPLE_AT_ONCE)), unit='batch', mininterval=5):
        bodies = people.framed_bodies(number, PEOPLE_AT_ONCE)
        coefficients = fit(fit.mapper.location_map_from_vertices(bodies.vertices))
        spread = torch.zeros_like(bodies.joints_2d[..., :1])
        parts.append(
            PoseEstimates(
                torch.cat([bodies.joints_2d[..., :2], spread], dim=2),
                coefficients,
                bodies.camera,
                coefficients,
                bodies.camera,
                bodies.joints,
                bodies.joints_2d,
            )
        )
    return PoseEstimates.concatenate(parts)


def with_errors(simulated: PoseEstimates, rendered: PoseEstimates) -> PoseEstimates:
    """Gives N simulated people the errors of the estimates of N rendered people.

    An image does not show what is outside of it: joints there are moved to its border.
    """
    shifts = rendered.located[..., :2] - rendered.joints_2d[..., :2]
    positions = (simulated.joints_2d[..., :2] + shifts).clamp(-1, 1)
    return replace(
        simulated,
        located=torch.cat([positions, rendered.located[..., 2:]], dim=2),
        coefficients=simulated.true_coefficients
        + rendered.coefficients
        - rendered.true_coefficients,
        camera=simulated.true_camera + rendered.camera - rendered.true_camera,
    )


def train_lifting(
    network: DecoMR,
    body: BodyModel,
    uv_map: UVMap,
    rendered: PoseEstimates,
    simulated: PoseEstimates | None,
    options: LiftingOptions,
) -> None:
    """Trains the lifting head of a network in place.

    Args:
        network: a network with a lifting head, in evaluation mode.
        body: its body.
        uv_map: its UV map.
        rendered: estimates of this network for rendered people.
        simulated: exact estimates for other people; None for none.
        options: hyperparameters.
    """
    lifting = network.lifting
    assert lifting is not None
    surface = PosedSurface(network, body, uv_map)
    random = torch.Generator().manual_seed(options.seed)
    num_simulated = round(options.batch_size * options.simulated_share) if simulated else 0

    def next_loss() -> Tensor:
        """The loss of random people."""
        part = _random_part(rendered, options.batch_size - num_simulated, random)
        if simulated is not None and num_simulated:
            errors = _random_part(rendered, num_simulated, random)
            people = _random_part(simulated, num_simulated, random)
            part = PoseEstimates.concatenate([part, with_errors(people, errors)])
        return _loss(lifting, surface, part, options.pose_dropout, random)

    optimise(
        list(lifting.parameters()),
        options.steps,
        options.learning_rate,
        options.weight_decay,
        next_loss,
    )


@torch.inference_mode()
def lifted_error_mm(
    network: DecoMR, body: BodyModel, uv_map: UVMap, people: PoseEstimates
) -> tuple[float, float]:
    """Mean PA-MPJPE of the surface before and after the lifting head, mm.

    Without LNet's corrections and the alignment.
    """
    assert network.lifting is not None
    surface = PosedSurface(network, body, uv_map)
    first = Pose(people.coefficients, people.camera)
    before, after = (
        float(pa_mpjpe_mm(surface(pose).joints, people.joints).mean())
        for pose in (first, network.lifting(first, people.located))
    )
    return before, after


def _loss(
    lifting: nn.Module,
    surface: PosedSurface,
    part: PoseEstimates,
    pose_dropout: float,
    random: torch.Generator,
) -> Tensor:
    coefficients = part.coefficients
    if pose_dropout:
        is_kept = torch.rand(len(part), 1, generator=random) >= pose_dropout
        coefficients = coefficients * is_kept
    with torch.autocast('cpu', torch.bfloat16, enabled=has_bfloat16('cpu')):
        pose = lifting(Pose(coefficients, part.camera), part.located)
        true_maps = surface(Pose(part.true_coefficients, part.true_camera)).location_map
        posed = surface(pose)
    return surface.map_losses(posed, true_maps.detach()) + _distances(posed, part)


def _distances(posed: Posed, part: PoseEstimates) -> Tensor:
    """Mean distance of the joints, metres, plus that of the joints in the image, crop frame.

    Distances draw an uncertain pose to the median; squares would draw it to the mean.
    """
    gap_2d = project_to_crop(posed.joints, posed.camera) - part.joints_2d[..., :2]
    is_inside = part.joints_2d[..., 2]
    # At 0 the square root has no gradient.
    in_image = (gap_2d.square().sum(dim=-1) + TINY_SQUARE).sqrt()
    return (posed.joints - part.joints).norm(dim=-1).mean() + (
        (in_image * is_inside).sum() / is_inside.sum().clamp_min(1)
    )


def _random_part(people: PoseEstimates, count: int, random: torch.Generator) -> PoseEstimates:
    return people.part(torch.randint(len(people), (count,), generator=random))


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    parser = head_parser('training.lifting', __doc__, 'training.pose_estimates', LiftingOptions())
    parser.add_argument(
        '--simulated', type=int, default=180000, help='number of people who are not rendered'
    )
    parser.add_argument(
        '--poses-file', default='', help='npz of recorded poses for the people not rendered'
    )
    given = parser.parse_args(arguments)
    return run_program(lambda: _train(given))


def _train(given: argparse.Namespace) -> None:
    """Trains the head as the command line asks, and writes the weights."""
    options = options_from(given, LiftingOptions())
    body = load_body('builtin')
    uv_map = load_uv_map('builtin', body)
    first = checkpoint.load_network(given.weights, body, uv_map)
    estimator = estimator_hash(first)
    network = with_lifting(first, body, uv_map)
    rendered = read_estimates(given.folders, estimator)
    held_out = read_estimates([given.held_out], estimator) if given.held_out else None
    simulated = _simulated(given, network, body, uv_map)
    logger.info('%d rendered people, %d others', len(rendered), len(simulated) if simulated else 0)
    train_lifting(network, body, uv_map, rendered, simulated, options)
    if held_out is not None:
        logger.info(
            'PA-MPJPE of held-out people before the lifting head %.1f mm, after it %.1f mm',
            *lifted_error_mm(network, body, uv_map, held_out),
        )
    metadata = checkpoint.read_metadata(given.weights)
    notes = {key: value for key, value in metadata.items() if key not in checkpoint.OWN_KEYS}
    notes['lifting'] = vars(options) | {
        'rendered': len(rendered),
        'simulated': len(simulated) if simulated else 0,
    }
    checkpoint.save_checkpoint(given.out, network, notes, half=True)
    print(f'wrote {given.out}')


def _simulated(
    given: argparse.Namespace, network: DecoMR, body: BodyModel, uv_map: UVMap
) -> PoseEstimates | None:
    """People who are not rendered, with equal shares of the pose generators; None for none."""
    if not given.simulated:
        return None
    fit = ComponentFit(network)
    return PoseEstimates.concatenate(
        [
            simulate(
                SyntheticPeople(
                    SyntheticConfig(rules=rules, poses_file=given.poses_file),
                    body,
                    uv_map,
                    given.seed + 1,
                ),
                fit,
                given.simulated // len(POSE_GENERATORS),
            )
            for rules in POSE_GENERATORS
        ]
    )


if __name__ == '__main__':
    raise SystemExit(main())
