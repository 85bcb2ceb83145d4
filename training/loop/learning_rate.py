"""How fast what is learnt: the way of the rate over a run, and each part's share of it."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from decomr_core.networks.decomr import DecoMR
from training.loop.train_config import INIT_PARTS, OptimizerConfig, StageConfig

__all__ = ['learning_rate_at', 'parameter_groups']


def learning_rate_at(step: int, stages: StageConfig, optimizer: OptimizerConfig) -> float:
    """The rate of a step: each stage warms up and then follows its own half cosine.

    Args:
        step: counted from the start of the run.
        stages: length of the two stages.
        optimizer: highest rate, warm-up and the share left at the end.
    """
    first = step < stages.cnet_steps
    done = step if first else step - stages.cnet_steps
    length = stages.cnet_steps if first else stages.end_to_end_steps
    if done < optimizer.warmup_steps:
        return optimizer.learning_rate * (done + 1) / optimizer.warmup_steps
    rest = max(length - optimizer.warmup_steps, 1)
    falling = 0.5 + 0.5 * math.cos(math.pi * (done - optimizer.warmup_steps) / rest)
    # Stage 2 starts anew at the top, so stage 1 need not fall to the bottom.
    share = optimizer.final_share if not first else max(optimizer.final_share, 0.5)
    return optimizer.learning_rate * (share + (1 - share) * falling)


def parameter_groups(network: DecoMR, optimizer: OptimizerConfig) -> list[dict[str, Any]]:
    """What learns, for an optimiser: each group's `share` is a factor of the rate.

    Args:
        network: what of its encoder does not learn is told so here.
        optimizer: says how fast a pretrained encoder learns, and how much of it; all of a ResNet
            learns like the rest. A pretrained encoder's filters of single channels stay: few
            weights, whose gradients take a CPU longer than all the rest of the encoder.
    """
    if network.config.encoder == 'resnet':
        return [{'params': list(network.parameters()), 'share': 1.0}]
    encoder = network.cnet.encoder
    encoder.requires_grad_(optimizer.encoder_share > 0)
    for stage in (encoder.stem, *encoder.stages)[:-optimizer.encoder_stages]:
        stage.requires_grad_(False)
    for layer in encoder.modules():
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            layer.requires_grad_(False)
    rest = [parameter for name, parameter in network.named_parameters()
            if not name.startswith(INIT_PARTS['encoder'])]
    groups = [{'params': rest, 'share': 1.0}]
    learning = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    if learning:
        groups.append({'params': learning, 'share': optimizer.encoder_share})
    return groups
