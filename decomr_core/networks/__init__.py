"""The network: CNet, LNet, and DecoMR, which combines them."""

from __future__ import annotations

from decomr_core.networks.cnet import CNet
from decomr_core.networks.decomr import DecoMR
from decomr_core.networks.lnet import LNet

__all__ = ['CNet', 'DecoMR', 'LNet']
