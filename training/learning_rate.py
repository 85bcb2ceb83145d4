"""How fast what is learnt: the way of the rate over a run, and each part's share of it."""

from __future__ import annotations

import math
from typing import Any

from decomr_core.networks.decomr import DecoMR
from training.train_config import INIT_PARTS, OptimizerConfig, StageConfig

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


def parameter_groups(network: DecoMR, encoder_share: float) -> list[dict[str, Any]]:
    """What learns, for an optimiser: each group's `share` is a factor of the rate.

    Args:
        network: a pretrained encoder whose share is 0 is told here that it does not learn.
        encoder_share: of a pretrained encoder; a ResNet's is 1.
    """
    if network.config.encoder == 'resnet':
        return [{'params': list(network.parameters()), 'share': 1.0}]
    network.cnet.encoder.requires_grad_(encoder_share > 0)
    rest = [parameter for name, parameter in network.named_parameters()
            if not name.startswith(INIT_PARTS['encoder'])]
    groups = [{'params': rest, 'share': 1.0}]
    if encoder_share > 0:
        groups.append({'params': list(network.cnet.encoder.parameters()), 'share': encoder_share})
    return groups
