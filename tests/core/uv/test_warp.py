"""The warp from the image to UV space."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decomr_core.uv.warp import WARP_FORMS, _warp_to_uv_naive, warp_to_uv

each_form = pytest.mark.parametrize('form', WARP_FORMS)


def random_case(
    batch: int, channels: int, height: int, width: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(
        batch, channels, height, width, generator=generator, dtype=torch.float64
    )
    # Multiples of 1/16 land on texel borders too, where rounding must agree.
    iuv = torch.randint(0, 17, (batch, 3, height, width), generator=generator) / 16.0
    return features, iuv.double()


@each_form
@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 2),
    channels=st.integers(1, 3),
    height=st.integers(2, 6),
    width=st.integers(2, 6),
    resolution=st.integers(2, 9),
    seed=st.integers(0, 999),
)
def test_the_warp_equals_its_naive_version(
    form: str, batch: int, channels: int, height: int, width: int, resolution: int, seed: int
) -> None:
    features, iuv = random_case(batch, channels, height, width, seed)
    torch.testing.assert_close(
        warp_to_uv(features, iuv, resolution, form), _warp_to_uv_naive(features, iuv, resolution)
    )


@each_form
def test_an_image_without_a_person_gives_empty_uv_features(form: str) -> None:
    features, iuv = random_case(2, 3, 6, 6, seed=1)
    iuv[:, 0] = 0.5
    assert not warp_to_uv(features, iuv, 8, form).any()


@each_form
def test_one_pixel_lands_on_its_texel_with_its_image_position(form: str) -> None:
    features, iuv = torch.full((1, 1, 3, 5), 7.0), torch.zeros(1, 3, 3, 5)
    iuv[0, :, 2, 1] = torch.tensor([0.9, 1.0, 0.25])
    warped = warp_to_uv(features, iuv, 9, form)
    assert warped[0, :, 2, 8].tolist() == [7.0, -0.5, 1.0, 1.0]
    assert warped[:, -1].sum() == 1


@each_form
def test_a_batch_of_three_equals_three_singles(form: str) -> None:
    features, iuv = random_case(3, 4, 8, 8, seed=2)
    singles = [warp_to_uv(features[i : i + 1], iuv[i : i + 1], 8, form) for i in range(3)]
    torch.testing.assert_close(warp_to_uv(features, iuv, 8, form), torch.cat(singles))


@each_form
def test_gradients_reach_the_features_and_stop_at_the_iuv_image(form: str) -> None:
    features, iuv = random_case(1, 2, 4, 4, seed=3)
    features.requires_grad_()
    iuv.requires_grad_()
    assert torch.autograd.gradcheck(lambda f: warp_to_uv(f, iuv.detach(), 4, form), features)
    warp_to_uv(features, iuv, 4, form).sum().backward()
    assert iuv.grad is None
    assert features.grad[:, :, iuv[0, 0] <= 0.5].abs().max() == 0


@each_form
@pytest.mark.parametrize('kind', [torch.bfloat16, torch.float16])
def test_half_precision_features_are_averaged_in_float32(form: str, kind: torch.dtype) -> None:
    # 3600 on one texel: a sum in bfloat16 stops at 256, one in float16 leaves its range at 65504.
    features = torch.full((1, 1, 60, 60), 40.0, dtype=kind)
    iuv = torch.zeros(1, 3, 60, 60)
    iuv[:, 0] = 1.0
    warped = warp_to_uv(features, iuv, 4, form)
    assert warped.dtype == kind
    assert warped[0, :, 0, 0].tolist() == pytest.approx([40.0, 0.0, 0.0, 1.0], abs=1e-6)


def test_an_iuv_image_of_another_size_is_rejected() -> None:
    with pytest.raises(ValueError, match='iuv has shape'):
        warp_to_uv(torch.zeros(1, 4, 8, 8), torch.zeros(1, 3, 16, 16), 8)


def test_an_unknown_form_of_the_warp_is_rejected_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'gather', expected one of: scatter, dense"):
        warp_to_uv(torch.zeros(1, 4, 8, 8), torch.zeros(1, 3, 8, 8), 8, 'gather')
