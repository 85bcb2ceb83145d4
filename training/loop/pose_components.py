"""Initialises the pose components of LNet with the principal components of posed bodies.

`rt` poses its reference map by a linear combination of components, which are trained weights.
Random components would first have to become smooth surfaces. The principal components of the
rendered people's location maps are smooth from the first step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from decomr_core.networks.decomr import DecoMR
from training.synthetic.people import SyntheticPeople

__all__ = ['init_pose_components', 'principal_components']

NUM_BODIES = 3000
BODIES_AT_ONCE = 250


@torch.no_grad()
def init_pose_components(network: DecoMR, people: SyntheticPeople) -> None:
    """Sets weights and bias of the last layer of LNet's pose head, in place.

    The components are scaled for inputs of unit variance.

    Args:
        network: a network with `pose_components`.
        people: samples the bodies; nothing is rendered.

    Raises:
        ValueError: the network has no pose components.
    """
    if network.lnet.posed_head is None:
        raise ValueError('the network has no pose components; its config has pose_components 0')
    layer = network.lnet.posed_head[-1]
    assert isinstance(layer, nn.Linear)
    maps = torch.cat(
        [
            network.location_mapper.location_map_from_vertices(
                people.vertices(number, BODIES_AT_ONCE)
            )
            for number in range(NUM_BODIES // BODIES_AT_ONCE)
        ]
    )
    changes = (maps - network.lnet.reference_location_map).flatten(1)
    mean, components = principal_components(changes, layer.in_features)
    layer.bias.copy_(mean)
    layer.weight.copy_(components)


def principal_components(samples: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean and principal components of samples.

    Args:
        samples: (N, D) float32.
        count: K, number of components; those beyond N or D are zero.

    Returns:
        mean (D,), and components (D, K), each scaled by its standard deviation.
    """
    mean = samples.mean(dim=0)
    rank = min(count, *samples.shape)
    _, spread, directions = torch.svd_lowrank(samples - mean, rank)
    components = directions * (spread / len(samples) ** 0.5)
    return mean, functional.pad(components, (0, count - rank))
