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
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from tqdm import tqdm

from decomr_core.body_models import BodyModel, load_body
from decomr_core.measures import losses
from decomr_core.measures.metrics import pa_mpjpe_mm
from decomr_core.networks import checkpoint
from decomr_core.networks.cnet import GridDecoder
from decomr_core.networks.decomr import DecoMR
from decomr_core.uv.location_map import weight_map
from decomr_core.uv.uv_map import UVMap, load_uv_map
from training.loop.bfloat16 import has_bfloat16
from training.summaries import Summaries, encoder_hash, read_summaries

__all__ = ['PoseHeadOptions', 'PoseHeads', 'posed_error_mm', 'texel_edge_loss', 'train_pose_heads']

WARMUP_STEPS = 200
CLIP_NORM = 1.0
JOINTS_2D_WEIGHT = 10.0
"""As in config/training/train_rt.yaml."""
TEXEL_EDGES_WEIGHT = 10.0
"""As the edges of the mesh in config/training/train_rt.yaml."""
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
        learning_rate: peak rate; it rises for `WARMUP_STEPS` and then falls to 0 as a half cosine.
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


class Posed(NamedTuple):
    """Output of the heads for a batch.

    Attributes:
        features: (B, G) global features.
        location_map: (B, 3, R, R) the posed reference map, metres, root frame.
        camera: (B, 3) weak perspective.
        joints: (B, 24, 3) metres, root frame.
    """

    features: Tensor
    location_map: Tensor
    camera: Tensor
    joints: Tensor


class PoseHeads(nn.Module):
    """The part of a network between the encoder's summary and the posed reference map.

    Joints are computed from the location map by one matrix. The network itself first reads
    vertices, which texels carry with the template's detail. The joints of the built-in body are
    3.5 mm apart on average.

    Args:
        network: its layers are used, not copied.
        body: its body.
        uv_map: its UV map.
    """

    network: DecoMR
    texel_weights: Tensor
    joints_of_texels: Tensor
    joints_offset: Tensor

    def __init__(self, network: DecoMR, body: BodyModel, uv_map: UVMap) -> None:
        super().__init__()
        lnet, decoder = network.lnet, network.cnet.decoder
        if (
            lnet.posed_head is None
            or lnet.global_head is None
            or not isinstance(decoder, GridDecoder)
        ):
            raise ValueError(
                'the network has no pretrained encoder, no pose '
                'components, or an LNet that does not read the global feature; use '
                'weights of the preset rt'
            )
        self.network, self.posed = network, lnet.posed_head
        self.readers: tuple[nn.Module, ...] = (decoder.of_crop, lnet.global_head)
        side = network.config.uv_resolution
        self.register_buffer('texel_weights', weight_map(body, uv_map, side))
        with torch.no_grad():
            weights, offsets = network.joints_of_texels(network.lnet.reference_location_map)
        self.register_buffer('joints_of_texels', weights)
        self.register_buffer('joints_offset', offsets)

    def forward(self, summaries: Tensor) -> Posed:
        """Poses the people of summaries (B, S), float32."""
        features = self.network.cnet.global_head(summaries)
        change, camera = self.network.lnet.pose(features)
        assert change is not None  # checked by the constructor
        location_map = self.network.lnet.reference_location_map + change
        joints = self._joints(location_map) + self.joints_offset
        return Posed(features, location_map, camera, joints)

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

    def losses(self, posed: Posed, truth: Summaries) -> Tensor:
        """The loss that `training.train` calls `posed`, and `texel_edge_loss`; a scalar."""
        projected = losses.project_to_crop(posed.joints, posed.camera)
        true_map = truth.location_maps.float()
        return (
            losses.location_map_loss(posed.location_map, true_map, self.texel_weights)
            + TEXEL_EDGES_WEIGHT
            * texel_edge_loss(posed.location_map.float(), true_map, self.texel_weights > 0)
            + losses.joints_3d_loss(posed.joints, truth.joints)
            + JOINTS_2D_WEIGHT
            * losses.joints_2d_loss(projected, truth.joints_2d[..., :2], truth.joints_2d[..., 2])
        )

    def _joints(self, location_map: Tensor) -> Tensor:
        # float32: bfloat16 would round a metre to 4 mm.
        with torch.autocast('cpu', enabled=False):
            return torch.einsum(
                'jt,bct->bjc', self.joints_of_texels, location_map.float().flatten(2)
            )


def texel_edge_loss(pred: Tensor, truth: Tensor, is_inside: Tensor) -> Tensor:
    """l1 between the distances of neighbouring texels in two location maps, metres.

    Without it the heads learn poses whose surface is stretched.

    Args:
        pred: (B, 3, R, R) location maps, metres.
        truth: (B, 3, R, R) the true ones.
        is_inside: (R, R) bool, the texels of the UV map. Both neighbours must be inside.
    """
    differences = []
    for dim in (-2, -1):
        last = is_inside.shape[dim] - 1
        both = is_inside.narrow(dim, 0, last) & is_inside.narrow(dim, 1, last)
        lengths = [values.diff(dim=dim).norm(dim=1)[:, both] for values in (pred, truth)]
        differences.append((lengths[0] - lengths[1]).abs())
    return torch.cat(differences, dim=1).mean()


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
    parameters = heads.trained_parameters()
    optimizer = torch.optim.AdamW(
        parameters, options.learning_rate, weight_decay=options.weight_decay
    )
    order = torch.Generator().manual_seed(options.seed)
    progress = tqdm(range(steps), unit='step', mininterval=5)
    batches: list[Tensor] = []
    for step in progress:
        if not batches:
            shuffled = torch.randperm(len(people), generator=order)
            batches = list(shuffled.split(options.batch_size))[: len(people) // options.batch_size]
        index = batches.pop()
        optimizer.param_groups[0]['lr'] = options.learning_rate * _rate_share(step, steps)
        target = [outputs[index] / size for outputs, size in zip(previous, spread, strict=True)]
        loss = _loss(heads, people.part(index), target, spread, options.dropout, order)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
        optimizer.step()
        if step % 50 == 0:
            progress.set_postfix_str(f'loss {loss.item():.4f}')


@torch.inference_mode()
def posed_error_mm(network: DecoMR, body: BodyModel, uv_map: UVMap, people: Summaries) -> float:
    """Mean PA-MPJPE of the posed reference map, without LNet's corrections, mm."""
    heads = PoseHeads(network, body, uv_map)
    errors = [
        pa_mpjpe_mm(heads(part.summaries.float()).joints, part.joints)
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
        posed = heads(summaries)
        # Detached: the other readers adapt to the feature, and not the feature to them.
        outputs = heads.other_outputs(posed.features.detach())
    change = torch.stack(
        [
            (now / size - before).abs().mean()
            for now, before, size in zip(outputs, target, spread, strict=True)
        ]
    )
    return heads.losses(posed, part) + KEEP_WEIGHT * change.sum()


@torch.no_grad()
def _initial_outputs(heads: PoseHeads, people: Summaries) -> list[Tensor]:
    """Outputs of the other readers for each crop, (N, c) each, before training."""
    outputs = [
        heads.other_outputs(heads.network.cnet.global_head(part.float()))
        for part in people.summaries.split(PROBED_AT_ONCE)
    ]
    return [torch.cat(values) for values in zip(*outputs, strict=True)]


def _rate_share(step: int, steps: int) -> float:
    """Learning rate of a step as a share of the peak: warm-up and half cosine."""
    rise = min(1.0, (step + 1) / WARMUP_STEPS)
    return rise * 0.5 * (1 + math.cos(math.pi * step / steps))


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    given = _parser().parse_args(arguments)
    try:
        _train(given)
    except (OSError, ValueError, RuntimeError) as error:
        sys.stderr.write(f'error: {error}\n')
        return 2
    print(f'wrote {given.out}')
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        'python -m training.pose_heads',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'folders',
        nargs='+',
        type=Path,
        metavar='FOLDER',
        help='folder written by training.summaries',
    )
    parser.add_argument('--weights', default='rt', help='initial weights: path or name')
    parser.add_argument(
        '--held-out',
        type=Path,
        metavar='FOLDER',
        help='folder of the summaries of held-out people to evaluate on',
    )
    for name, value in vars(PoseHeadOptions()).items():
        parser.add_argument(f'--{name.replace("_", "-")}', type=type(value), default=value)
    parser.add_argument('--out', type=Path, required=True, help='safetensors file to write')
    return parser


def _train(given: argparse.Namespace) -> None:
    """Trains the heads as the command line asks, and writes the weights."""
    options = PoseHeadOptions(**{name: getattr(given, name) for name in vars(PoseHeadOptions())})
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
