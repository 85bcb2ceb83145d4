"""Trains what poses the mesh from the global feature, on summaries instead of pictures.

    python -m training.pose_heads summaries --weights rt --epochs 20 --out posed.safetensors

The heads that turn the encoder's summary into a posed reference map and a camera are a small part
of the network's work and need more passes over more people than the rest. Here a step costs a
hundredth of a step of `training.train`. The encoder stays as it is (`training.summaries`), and so
does everything behind the heads: the other readers of the global feature learn to say what they
said before of the feature as it was. Go on with `training.train`, `init` these weights, so that
LNet sees the reference maps as they are now.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from decomr_core.body_models import BodyModel, load_body
from decomr_core.measures import losses
from decomr_core.measures.metrics import pa_mpjpe_mm
from decomr_core.networks import checkpoint
from decomr_core.networks.decomr import DecoMR
from decomr_core.uv.location_map import weight_map
from decomr_core.uv.uv_map import UVMap, load_uv_map
from training.summaries import Summaries, encoder_hash, read_summaries

__all__ = ['PoseHeadOptions', 'PoseHeads', 'posed_error_mm', 'train_pose_heads']

WARMUP_STEPS = 200
CLIP_NORM = 1.0
JOINTS_2D_WEIGHT = 10.0
"""As in config/train_rt.yaml."""
KEEP_WEIGHT = 0.1
"""Of the difference from what the other readers said before, in their standard deviations."""
PROBED_AT_ONCE = 500
"""Crops in one pass without gradients."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PoseHeadOptions:
    """How long and how fast.

    Attributes:
        epochs: passes over all summaries.
        batch_size: crops in a step.
        learning_rate: the highest; it rises for `WARMUP_STEPS` and falls to 0 by a cosine.
        weight_decay: decoupled (AdamW).
        dropout: share of a summary's values that are replaced by their means.
        seed: of the order.
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
    """What the heads say of a batch: global feature, location map, camera, joints."""

    features: Tensor
    location_map: Tensor
    camera: Tensor
    joints: Tensor


class PoseHeads(nn.Module):
    """The part of a network between the encoder's summary and the posed reference map.

    Joints are read from the location map by one matrix. The network adds the template's detail,
    turned with the surface, to the vertices between; that moves the joints of the built-in body
    by 3 mm on average, which is left out here.

    Args:
        network: its layers are used, not copied.
        body: its body.
        uv_map: its chart.
    """

    def __init__(self, network: DecoMR, body: BodyModel, uv_map: UVMap) -> None:
        super().__init__()
        self.network = network
        side = network.config.uv_resolution
        self.register_buffer('texel_weights', weight_map(body, uv_map, side))
        self.register_buffer('joints_of_texels', _joints_of_texels(network))
        reference = network.lnet.reference_location_map
        with torch.no_grad():
            exact = network.read_surface(reference)[1][0]
            self.register_buffer('joints_offset', exact - self._joints(reference)[0])

    def forward(self, summaries: Tensor) -> Posed:
        """(B, S) float32."""
        features = self.network.cnet.global_head(summaries)
        change, camera = self.network.lnet.pose(features)
        location_map = self.network.lnet.reference_location_map + change
        joints = self._joints(location_map) + self.joints_offset
        return Posed(features, location_map, camera, joints)

    def other_readers(self, features: Tensor) -> list[Tensor]:
        """What the decoder and LNet take from the global feature (B, G)."""
        return [self.network.cnet.decoder.of_crop(features),
                self.network.lnet.global_head(features)]

    def trained_parameters(self) -> list[nn.Parameter]:
        """Everything that reads the summary or the feature, but the components' shapes."""
        network = self.network
        parts = (network.cnet.global_head, network.cnet.decoder.of_crop, network.lnet.global_head,
                 network.lnet.camera_head, network.lnet.posed_head)
        # LNet's corrections and the alignment use the components too.
        components = network.lnet.posed_head[-1].weight
        return [value for part in parts for value in part.parameters() if value is not components]

    def losses(self, posed: Posed, truth: Summaries) -> Tensor:
        """Those of `losses.posed` in `training.train`, in one number."""
        projected = losses.project_weak_perspective(posed.joints, posed.camera)
        return (losses.location_map_loss(posed.location_map, truth.location_maps.float(),
                                         self.texel_weights)
                + losses.joints_3d_loss(posed.joints, truth.joints)
                + JOINTS_2D_WEIGHT * losses.joints_2d_loss(
                    projected, truth.joints_2d[..., :2], truth.joints_2d[..., 2]))

    def _joints(self, location_map: Tensor) -> Tensor:
        # In float32: a metre in bfloat16 is off by 4 mm.
        with torch.autocast('cpu', enabled=False):
            return torch.einsum('jt,bct->bjc', self.joints_of_texels,
                                location_map.float().flatten(2))


def train_pose_heads(network: DecoMR, body: BodyModel, uv_map: UVMap, people: Summaries,
                     options: PoseHeadOptions) -> None:
    """Trains the heads of a network in place.

    Args:
        network: with pose components, in evaluation mode.
        body: its body.
        uv_map: its chart.
        people: from its encoder.
        options: how.

    Raises:
        ValueError: there are fewer people than a batch has.
    """
    steps = options.epochs * (len(people) // options.batch_size)
    if not steps:
        raise ValueError(f'there are {len(people)} crops, fewer than a batch of '
                         f'{options.batch_size}; make more, or give a smaller --batch-size')
    heads = PoseHeads(network, body, uv_map)
    wanted = _said_by_others(heads, people)
    spread = [said.std(dim=0).mean().clamp_min(1e-6) for said in wanted]
    parameters = heads.trained_parameters()
    optimizer = torch.optim.AdamW(parameters, options.learning_rate,
                                  weight_decay=options.weight_decay)
    order = torch.Generator().manual_seed(options.seed)
    progress = tqdm(range(steps), unit='step', mininterval=5)
    batches: list[Tensor] = []
    for step in progress:
        if not batches:
            shuffled = torch.randperm(len(people), generator=order)
            batches = list(shuffled.split(options.batch_size))[:len(people) // options.batch_size]
        index = batches.pop()
        optimizer.param_groups[0]['lr'] = options.learning_rate * _rate_share(step, steps)
        kept = [said[index] / size for said, size in zip(wanted, spread, strict=True)]
        loss = _loss(heads, people.part(index), kept, spread, options.dropout, order)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
        optimizer.step()
        if step % 50 == 0:
            progress.set_postfix_str(f'loss {loss.item():.4f}')


@torch.inference_mode()
def posed_error_mm(network: DecoMR, body: BodyModel, uv_map: UVMap, people: Summaries) -> float:
    """Mean PA-MPJPE of the posed reference map alone, mm."""
    heads = PoseHeads(network, body, uv_map)
    errors = [pa_mpjpe_mm(heads(part.summaries.float()).joints, part.joints)
              for part in (people.part(slice(start, start + PROBED_AT_ONCE))
                           for start in range(0, len(people), PROBED_AT_ONCE))]
    return float(torch.cat(errors).mean())


def _loss(heads: PoseHeads, part: Summaries, wanted: list[Tensor], spread: list[Tensor],
          dropout: float, randomness: torch.Generator) -> Tensor:
    summaries = part.summaries.float()
    if dropout:
        is_dropped = torch.rand(summaries.shape, generator=randomness) < dropout
        summaries = torch.where(is_dropped, heads.network.cnet.global_head[0].running_mean,
                                summaries)
    with torch.autocast('cpu', torch.bfloat16):
        posed = heads(summaries)
        # The other readers follow the feature; they do not pull at it.
        said = heads.other_readers(posed.features.detach())
    kept = sum((now / size - then).abs().mean()
               for now, then, size in zip(said, wanted, spread, strict=True))
    return heads.losses(posed, part) + KEEP_WEIGHT * kept


@torch.no_grad()
def _said_by_others(heads: PoseHeads, people: Summaries) -> list[Tensor]:
    """What the other readers say of each crop now, (N, c) each."""
    said = [heads.other_readers(heads.network.cnet.global_head(part.float()))
            for part in people.summaries.split(PROBED_AT_ONCE)]
    return [torch.cat(values) for values in zip(*said, strict=True)]


@torch.no_grad()
def _joints_of_texels(network: DecoMR, texels_at_once: int = 64) -> Tensor:
    """The matrix (24, R R) from texels to joints, the same for x, y and z."""
    side = network.config.uv_resolution
    columns = []
    for ones in torch.eye(side * side).split(texels_at_once):
        maps = ones.reshape(-1, 1, side, side).expand(-1, 3, -1, -1)
        vertices = network.location_mapper.vertices_from_location_map(maps)
        columns.append((network.joint_regressor @ vertices)[..., 0])
    return torch.cat(columns).T.contiguous()


def _rate_share(step: int, steps: int) -> float:
    rise = min(1.0, (step + 1) / WARMUP_STEPS)
    return rise * 0.5 * (1 + math.cos(math.pi * step / steps))


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    parser = argparse.ArgumentParser('python -m training.pose_heads', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    defaults = vars(PoseHeadOptions())
    parser.add_argument('folders', nargs='+', type=Path, help='of training.summaries')
    parser.add_argument('--weights', default='rt', help='to begin with, by path or name')
    parser.add_argument('--held-out', type=Path, help='summaries of people to measure with')
    for name, value in defaults.items():
        parser.add_argument(f'--{name.replace("_", "-")}', type=type(value), default=value)
    parser.add_argument('--out', type=Path, required=True, help='safetensors file to write')
    given = parser.parse_args(arguments)
    try:
        options = PoseHeadOptions(**{name: getattr(given, name) for name in defaults})
        body = load_body('builtin')
        uv_map = load_uv_map('builtin', body)
        network = checkpoint.load_network(given.weights, body, uv_map).eval()
        if network.config.encoder != 'blazepose' or not network.config.is_posed:
            raise ValueError(f'{given.weights} has no pose components behind a pretrained encoder')
        encoder = encoder_hash(network)
        people = read_summaries(given.folders, encoder)
        held_out = read_summaries([given.held_out], encoder) if given.held_out else None
        logger.info('%d crops', len(people))
        _tell_error('before', network, body, uv_map, held_out)
        train_pose_heads(network, body, uv_map, people, options)
        _tell_error('after', network, body, uv_map, held_out)
        notes = {'training': checkpoint.read_metadata(given.weights).get('training'),
                 'pose_heads': vars(options) | {'crops': len(people)}}
        checkpoint.save_checkpoint(given.out, network, notes, half=True)
    except (OSError, ValueError, RuntimeError) as error:
        sys.stderr.write(f'error: {error}\n')
        return 2
    print(f'wrote {given.out}')
    return 0


def _tell_error(when: str, network: DecoMR, body: BodyModel, uv_map: UVMap,
                held_out: Summaries | None) -> None:
    if held_out is not None:
        logger.info('%s: PA-MPJPE of the posed reference map %.1f mm', when,
                    posed_error_mm(network, body, uv_map, held_out))


if __name__ == '__main__':
    raise SystemExit(main())
