"""Trains the heads that pose the mesh from the global feature, on summaries instead of images.

    python -m training.pose_heads summaries --weights rt --epochs 20 --out posed.safetensors

These heads turn the encoder's summary of a crop into a posed reference map and a camera. They are
a small part of the network and need more epochs over more people than the rest. A step here costs
a hundredth of a step of `training.train`. The encoder is frozen (`training.summaries`). The
decoder and LNet are frozen too; only their layers that read the global feature are trained, to
keep their previous output although the feature changes. Afterwards continue with `training.train`
and `init` set to these weights, which adapts LNet to the new reference maps.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from decomr_core.body_models import BodyModel, load_body
from decomr_core.measures.metrics import pa_mpjpe_mm
from decomr_core.networks import checkpoint
from decomr_core.networks.blocks import OutputHead
from decomr_core.networks.cnet import GridDecoder
from decomr_core.networks.decomr import DecoMR
from decomr_core.uv.uv_map import UVMap, load_uv_map
from training.loop.bfloat16 import has_bfloat16
from training.loop.head_programs import head_parser, optimise, options_from, run_program
from training.posed_surface import Posed, PosedSurface
from training.summaries import Summaries, encoder_hash, read_summaries

__all__ = ['PoseHeadOptions', 'PoseHeads', 'posed_error_mm', 'train_pose_heads']

KEEP_WEIGHT = 0.1
"""Weight of the change of the other readers' outputs, in units of their standard deviations."""
PROBED_AT_ONCE = 500
"""Crops per pass without gradients."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PoseHeadOptions:
    """Hyperparameters of `train_pose_heads`.

    Attributes:
        epochs: passes over all summaries.
        batch_size: crops per step.
        learning_rate: peak rate; see `rate_share`.
        weight_decay: decoupled weight decay (AdamW).
        dropout: share of a summary's values that are replaced by their means.
        seed: seed of the order of the crops and of the dropout.
    """

    epochs: int = 20
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    dropout: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or not self.learning_rate > 0:
            raise ValueError('epochs, batch_size and learning_rate must be above 0')
        if not 0 <= self.dropout < 1 or self.weight_decay < 0:
            raise ValueError('dropout must be 0 to below 1, weight_decay 0 or more')


class PoseHeads(nn.Module):
    """The part of a network between the encoder's summary and the posed reference map.

    Args:
        network: its layers are used, not copied.
        body: its body.
        uv_map: its UV map.

    Raises:
        ValueError: the network has no pose components.
    """

    def __init__(self, network: DecoMR, body: BodyModel, uv_map: UVMap) -> None:
        super().__init__()
        self.surface = PosedSurface(network, body, uv_map)
        lnet, decoder = network.lnet, network.cnet.decoder
        if lnet.global_head is None or not isinstance(decoder, GridDecoder):
            raise ValueError(
                'the network has no pretrained encoder, or an LNet that does not read the global '
                'feature; use weights of the preset rt'
            )
        self.network, self.posed = network, cast('OutputHead', lnet.posed_head)
        self.readers: tuple[nn.Module, ...] = (decoder.of_crop, lnet.global_head)

    def forward(self, summaries: Tensor) -> tuple[Posed, Tensor]:
        """Poses the people of summaries (B, S), float32.

        Returns:
            The posed surfaces, and the global features (B, G).
        """
        features = self.network.cnet.global_head(summaries)
        return self.surface(self.network.lnet.pose(features)), features

    def other_outputs(self, features: Tensor) -> list[Tensor]:
        """What the decoder and LNet read from the global feature (B, G)."""
        return [reader(features) for reader in self.readers]

    def trained_parameters(self) -> list[nn.Parameter]:
        """Parameters of all layers that read the summary or the global feature.

        The pose components are frozen: LNet's corrections and the alignment use them too.
        """
        network = self.network
        parts = (network.cnet.global_head, *self.readers, network.lnet.camera_head, self.posed)
        components = self.posed[-1].weight
        return [value for part in parts for value in part.parameters() if value is not components]


def train_pose_heads(
    network: DecoMR, body: BodyModel, uv_map: UVMap, people: Summaries, options: PoseHeadOptions
) -> None:
    """Trains the heads of a network in place.

    Args:
        network: a network with pose components, in evaluation mode.
        body: its body.
        uv_map: its UV map.
        people: summaries from its encoder.
        options: hyperparameters.

    Raises:
        ValueError: there are fewer crops than in a batch, or the network has no pose components.
    """
    steps = options.epochs * (len(people) // options.batch_size)
    if not steps:
        raise ValueError(
            f'there are {len(people)} crops, fewer than a batch of '
            f'{options.batch_size}; write more summaries, or lower --batch-size'
        )
    heads = PoseHeads(network, body, uv_map)
    previous = _initial_outputs(heads, people)
    spread = [outputs.std(dim=0).mean().clamp_min(1e-6) for outputs in previous]
    order = torch.Generator().manual_seed(options.seed)
    batches: list[Tensor] = []

    def next_loss() -> Tensor:
        """The loss of the next batch of the epoch."""
        if not batches:
            shuffled = torch.randperm(len(people), generator=order).split(options.batch_size)
            batches.extend(shuffled[: len(people) // options.batch_size])
        index = batches.pop()
        target = [outputs[index] / size for outputs, size in zip(previous, spread, strict=True)]
        return _loss(heads, people.part(index), target, spread, options.dropout, order)

    optimise(
        heads.trained_parameters(), steps, options.learning_rate, options.weight_decay, next_loss
    )


@torch.inference_mode()
def posed_error_mm(network: DecoMR, body: BodyModel, uv_map: UVMap, people: Summaries) -> float:
    """Mean PA-MPJPE of the posed reference map, without LNet's corrections, mm."""
    heads = PoseHeads(network, body, uv_map)
    errors = [
        pa_mpjpe_mm(heads(part.summaries.float())[0].joints, part.joints)
        for part in (
            people.part(slice(start, start + PROBED_AT_ONCE))
            for start in range(0, len(people), PROBED_AT_ONCE)
        )
    ]
    return float(torch.cat(errors).mean())


def _loss(
    heads: PoseHeads,
    part: Summaries,
    target: list[Tensor],
    spread: list[Tensor],
    dropout: float,
    randomness: torch.Generator,
) -> Tensor:
    summaries = part.summaries.float()
    if dropout:
        is_dropped = torch.rand(summaries.shape, generator=randomness) < dropout
        means = cast('Tensor', heads.network.cnet.global_head[0].running_mean)
        summaries = torch.where(is_dropped, means, summaries)
    with torch.autocast('cpu', torch.bfloat16, enabled=has_bfloat16('cpu')):
        posed, features = heads(summaries)
        # Detached: the other readers adapt to the feature, and not the feature to them.
        outputs = heads.other_outputs(features.detach())
    change = torch.stack(
        [
            (now / size - before).abs().mean()
            for now, before, size in zip(outputs, target, spread, strict=True)
        ]
    )
    of_surface = heads.surface.losses(posed, part.location_maps, part.joints, part.joints_2d)
    return of_surface + KEEP_WEIGHT * change.sum()


@torch.no_grad()
def _initial_outputs(heads: PoseHeads, people: Summaries) -> list[Tensor]:
    """Outputs of the other readers for each crop, (N, c) each, before training."""
    outputs = [
        heads.other_outputs(heads.network.cnet.global_head(part.float()))
        for part in people.summaries.split(PROBED_AT_ONCE)
    ]
    return [torch.cat(values) for values in zip(*outputs, strict=True)]


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    parser = head_parser('training.pose_heads', __doc__, 'training.summaries', PoseHeadOptions())
    given = parser.parse_args(arguments)
    return run_program(lambda: _train(given))


def _train(given: argparse.Namespace) -> None:
    """Trains the heads as the command line asks, and writes the weights."""
    options = options_from(given, PoseHeadOptions())
    body = load_body('builtin')
    uv_map = load_uv_map('builtin', body)
    network = checkpoint.load_network(given.weights, body, uv_map).eval()
    if not network.config.is_pretrained or not network.config.is_posed:
        raise ValueError(
            f'{given.weights} has no pretrained encoder with pose '
            'components; use weights of the preset rt'
        )
    encoder = encoder_hash(network)
    people = read_summaries(given.folders, encoder)
    held_out = read_summaries([given.held_out], encoder) if given.held_out else None
    logger.info('%d crops', len(people))
    _log_error('before', network, body, uv_map, held_out)
    train_pose_heads(network, body, uv_map, people, options)
    _log_error('after', network, body, uv_map, held_out)
    notes = {
        'training': checkpoint.read_metadata(given.weights).get('training'),
        'pose_heads': vars(options) | {'crops': len(people)},
    }
    checkpoint.save_checkpoint(given.out, network, notes, half=True)
    print(f'wrote {given.out}')


def _log_error(
    when: str, network: DecoMR, body: BodyModel, uv_map: UVMap, held_out: Summaries | None
) -> None:
    if held_out is not None:
        logger.info(
            '%s: PA-MPJPE of the posed reference map %.1f mm',
            when,
            posed_error_mm(network, body, uv_map, held_out),
        )


if __name__ == '__main__':
    raise SystemExit(main())
