"""What a pretrained encoder gives to the decoder and to the heads."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

__all__ = ['DecoderInputs']


class DecoderInputs(NamedTuple):
    """Outputs of an encoder for B crops of S px.

    Attributes:
        grids: four feature maps (B, c, S/4, S/4) to (B, c, S/32, S/32), whose channels are the
            encoder's `grids`.
        summary: (B, n) of the whole crop; n is the encoder's `summary`.
        keypoint_scores: (B, n, S/4, S/4) float32: logarithms of the scores of the encoder's own
            keypoints; None from an encoder without such scores.
    """

    grids: tuple[Tensor, ...]
    summary: Tensor
    keypoint_scores: Tensor | None = None
