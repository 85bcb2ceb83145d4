"""Heatmaps of landmarks or joints: averages of an image under them."""

from __future__ import annotations

from torch import Tensor

__all__ = ['as_rows', 'averages_under_heatmaps']


def averages_under_heatmaps(heatmaps: Tensor, values: Tensor) -> Tensor:
    """Averages of the pixels' values; the weights are a softmax over the pixels.

    Both arguments are one row per pixel before the product. On a CPU, where convolutions keep
    the channels of a pixel together, this needs no copy in another order.

    Args:
        heatmaps: (B, J, h, w) logits.
        values: (B, h * w, C) values of each pixel, or (1, h * w, C).

    Returns:
        (B, J, C) the average for each heatmap.
    """
    weights = (heatmaps - heatmaps.amax(dim=(2, 3), keepdim=True)).exp()
    sums = values.transpose(1, 2) @ as_rows(weights)  # (B, C, J)
    return (sums / weights.sum(dim=(2, 3))[:, None]).transpose(1, 2)


def as_rows(images: Tensor) -> Tensor:
    """(B, C, h, w) to a row per pixel (B, h * w, C)."""
    return images.permute(0, 2, 3, 1).flatten(1, 2)
