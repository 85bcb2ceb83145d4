"""Folding of normalisation into the layers around it."""

from __future__ import annotations

import torch

from decomr_core.base.config import network_config
from decomr_core.body_models import BodyModel
from decomr_core.networks import DecoMR
from decomr_core.networks.encoders import PRETRAINED
from decomr_core.networks.folding import fold_normalisation
from decomr_core.uv.uv_map import UVMap


def test_the_normalisation_of_a_pretrained_encoders_grids_is_folded_too(
    tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    torch.manual_seed(0)
    network = DecoMR(network_config('small'), tiny_body, tiny_uv_map).eval()
    for norm in network.cnet.decoder.norms:
        for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            values.uniform_(0.5, 2)
    folded = fold_normalisation(network).cnet.decoder
    assert all(isinstance(norm, torch.nn.Identity) for norm in folded.norms)
    grids = tuple(
        torch.randn(2, channels, 64 >> level, 64 >> level)
        for level, channels in enumerate(PRETRAINED[network.config.encoder].grids)
    )
    code = torch.randn(2, network.config.global_features)
    torch.testing.assert_close(folded(grids, code), network.cnet.decoder(grids, code))
