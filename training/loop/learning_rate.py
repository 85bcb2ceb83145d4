"""Learning rate schedule of a run, and the parameter groups of the optimiser."""

from __future__ import annotations

import math
from typing import Any, cast

from torch import nn

from decomr_core.networks.decomr import DecoMR
from decomr_core.networks.encoders import ResNetEncoder
from training.loop.train_config import OptimizerConfig, StageConfig

__all__ = ['learning_rate_at', 'parameter_groups']

SMALLEST_SIZE = 1e-4
"""A tensor of zeros, as some biases, would never change."""


def learning_rate_at(step: int, stages: StageConfig, optimizer: OptimizerConfig) -> float:
    """The learning rate of a step: in each stage a warm-up, then a half cosine.

    Args:
        step: counted from the start of the run.
        stages: lengths of the two stages.
        optimizer: peak rate, warm-up and final share.
    """
    is_first_stage = step < stages.cnet_steps
    done = step if is_first_stage else step - stages.cnet_steps
    length = stages.cnet_steps if is_first_stage else stages.end_to_end_steps
    if done < optimizer.warmup_steps:
        return optimizer.learning_rate * (done + 1) / optimizer.warmup_steps
    rest = max(length - optimizer.warmup_steps, 1)
    cosine = 0.5 + 0.5 * math.cos(math.pi * (done - optimizer.warmup_steps) / rest)
    # Stage 2 restarts at the peak, so stage 1 need not decay below half of it.
    share = max(optimizer.final_share, 0.5) if is_first_stage else optimizer.final_share
    return optimizer.learning_rate * (share + (1 - share) * cosine)


def parameter_groups(network: DecoMR, optimizer: OptimizerConfig) -> list[dict[str, Any]]:
    """Parameter groups for an optimiser; the `share` of a group is a factor of the rate.

    A ResNet encoder is trained at the full rate. Of a pretrained encoder only the last stages are
    trained. Its batch normalisation is folded into its convolutions, so their weights differ in
    size by a factor of 1,000 from layer to layer. AdamW changes all weights by about the rate.
    Hence the rate of each tensor of the encoder is proportional to its size (root mean square).

    Args:
        network: `requires_grad` of its frozen parameters is set to False.
        optimizer: says which parts are trained, and at which rates.
    """
    trained = [(list(network.parameters()), 1.0)]
    if optimizer.pose_share != 1:
        pose = [value for layer in network.pose_layers for value in layer.parameters()]
        trained = _with_share(trained, pose, optimizer.pose_share)
    if network.config.is_pretrained:
        _freeze_early_stages(network, optimizer)
        encoder = list(network.cnet.encoder.parameters())
        *trained, (encoder, share) = _with_share(trained, encoder, optimizer.encoder_share)
        trained += [([value], share * _size(value)) for value in encoder if value.requires_grad]
    groups = (
        {'params': [value for value in values if value.requires_grad], 'share': share}
        for values, share in trained
    )
    return [group for group in groups if group['params']]


def _with_share(
    groups: list[tuple[list[nn.Parameter], float]], part: list[nn.Parameter], share: float
) -> list[tuple[list[nn.Parameter], float]]:
    """Moves a part of the parameters to a group with a share of its own; 0 freezes it."""
    if share == 0:
        for value in part:
            value.requires_grad_(False)
    moved = {id(value) for value in part}
    rest = [([value for value in values if id(value) not in moved], own) for values, own in groups]
    return [*rest, (part, share)]


def _size(values: nn.Parameter) -> float:
    """Root mean square of the values of a tensor, not less than `SMALLEST_SIZE`."""
    return max(float(values.detach().float().square().mean().sqrt()), SMALLEST_SIZE)


def _freeze_early_stages(network: DecoMR, optimizer: OptimizerConfig) -> None:
    """Freezes all but the last stages of a pretrained encoder."""
    encoder = network.cnet.encoder
    assert not isinstance(encoder, ResNetEncoder)
    stages = cast('nn.ModuleList', encoder.stages)
    for stage in (encoder.stem, *stages)[: -optimizer.encoder_stages]:
        stage.requires_grad_(False)
