"""Where the components of a posed reference map begin: the principal ones of posed bodies.

`rt` poses its reference map by a linear combination of components that are weights like others.
Random ones would have to become smooth surfaces first; the principal components of the rendered
people's location maps are smooth from the first step.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from decomr_core.networks.decomr import DecoMR
from training.synthetic.people import SyntheticPeople

__all__ = ['init_pose_components', 'principal_components']

NUM_BODIES = 3000
BODIES_AT_ONCE = 250


@torch.no_grad()
def init_pose_components(network: DecoMR, people: SyntheticPeople) -> None:
    """Sets the last layer that poses the reference map; its inputs are to have unit variance.

    Args:
        network: whose preset has `pose_components`.
        people: whose bodies are taken; nothing is rendered.
    """
    layer = network.lnet.posed_head[-1]
    maps = torch.cat([
        network.location_mapper.location_map_from_vertices(people.vertices(number, BODIES_AT_ONCE))
        for number in range(NUM_BODIES // BODIES_AT_ONCE)])
    changes = (maps - network.lnet.reference_location_map).flatten(1)
    mean, components = principal_components(changes, layer.in_features)
    layer.bias.copy_(mean)
    layer.weight.copy_(components)


def principal_components(samples: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The directions in which samples differ most.

    Args:
        samples: (N, D) float32.
        count: K; components beyond N or D are zero.

    Returns:
        mean (D,), and components (D, K), each as long as its standard deviation.
    """
    mean = samples.mean(dim=0)
    rank = min(count, *samples.shape)
    _, spread, directions = torch.svd_lowrank(samples - mean, rank)
    components = directions * (spread / len(samples) ** 0.5)
    return mean, functional.pad(components, (0, count - rank))
