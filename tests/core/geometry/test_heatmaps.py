"""Averages under heatmaps."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decomr_core.geometry.heatmaps import as_rows, averages_under_heatmaps


@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 3),
    joints=st.integers(1, 5),
    channels=st.integers(1, 4),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    scale=st.sampled_from([0.0, 1.0, 1000.0]),
)
def test_they_equal_sums_with_the_weights_of_a_softmax(
    batch: int, joints: int, channels: int, height: int, width: int, scale: float
) -> None:
    torch.manual_seed(0)
    logits = scale * torch.randn(batch, joints, height, width)
    values = torch.randn(batch, channels, height, width)
    averages = averages_under_heatmaps(logits, as_rows(values))
    weights = logits.flatten(2).softmax(dim=2)
    expected = torch.einsum('bjp,bcp->bjc', weights, values.flatten(2))
    torch.testing.assert_close(averages, expected, rtol=1e-4, atol=1e-5)


def test_the_same_values_serve_all_images() -> None:
    logits = torch.randn(4, 2, 3, 3)
    values = torch.arange(9.0)[None, :, None]
    assert averages_under_heatmaps(logits, values).shape == (4, 2, 1)
    peak = torch.full((1, 1, 3, 3), -50.0)
    peak[0, 0, 2, 1] = 50
    torch.testing.assert_close(averages_under_heatmaps(peak, values), torch.full((1, 1, 1), 7.0))


def test_rows_have_a_pixel_each() -> None:
    images = torch.randn(2, 3, 4, 5)
    assert torch.equal(as_rows(images)[1, 7], images[1, :, 1, 2])
