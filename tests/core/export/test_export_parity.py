"""The parity check of an export: its images and numbers, and that it rejects wrong exports."""

from __future__ import annotations

import time

import numpy as np
import pytest

from decomr_core.measures.parity import (
    LIMITS_MM,
    NUM_PARITY_CROPS,
    ROUNDED_TEXEL_MM,
    Parity,
    measure_parity,
    parity_crops,
    vertex_error_mm,
)

SIZE = 64


def outputs(seed: int = 0, batch: int = 6) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        'vertices': random.normal(size=(batch, 20, 3)),
        'joints': random.normal(size=(batch, 24, 3)),
        'iuv': random.uniform(size=(batch, 3, 8, 8)),
    }


def test_the_parity_crops_are_always_the_same_and_all_different() -> None:
    crops = parity_crops(SIZE)
    assert crops.shape == (NUM_PARITY_CROPS, SIZE, SIZE, 3) and crops.dtype == np.uint8
    assert NUM_PARITY_CROPS >= 32
    crops[:] = 0  # what a caller does to its copy stays its own
    again = parity_crops(SIZE)
    assert again.any()
    assert len({crop.tobytes() for crop in again}) == NUM_PARITY_CROPS
    # Another process makes the same: the sum is written down, the rendering may round.
    assert again.mean() == pytest.approx(124.7, abs=2)


def test_the_parity_crops_hold_people_and_noise() -> None:
    crops = parity_crops(SIZE).astype(float)
    # A person is a part of the image with few sharp edges; noise has them everywhere.
    edges = np.abs(np.diff(crops, axis=2)).mean(axis=(1, 2, 3))
    is_noise = np.arange(len(crops)) % 4 == 3
    assert is_noise.sum() == 8
    assert edges[~is_noise].max() < edges[is_noise].min()
    centers = crops[~is_noise][:, SIZE // 3 : -SIZE // 3, SIZE // 3 : -SIZE // 3]
    assert (np.abs(np.diff(centers, axis=1)) < 2).mean() > 0.1, 'flat clothes in the middle'


def test_the_parity_crops_are_made_quickly() -> None:
    started = time.perf_counter()
    parity_crops(128, NUM_PARITY_CROPS + 1)  # not in the cache
    assert time.perf_counter() - started < 10  # 0.3 s on one core of a Xeon; slow runners exist


def test_parity_is_measured_in_millimetres_and_shares() -> None:
    expected = outputs()
    moved = {name: values.copy() for name, values in expected.items()}
    moved['vertices'][..., 0] += 0.001
    moved['vertices'][2, 3, 0] += 0.009
    moved['joints'][..., 1] -= 0.002
    parity = measure_parity(moved, expected)
    assert parity.vertices_median_mm == pytest.approx(1.0)
    count = expected['vertices'][..., 0].size
    assert parity.vertices_mean_mm == pytest.approx(1.0 + 9.0 / count)
    assert parity.vertices_max_mm == pytest.approx(10.0)
    assert parity.joints_mean_mm == pytest.approx(2.0)
    assert parity.foreground_iou == 1.0
    assert measure_parity(expected, expected) == Parity(0.0, 0.0, 0.0, 0.0, 1.0)


def test_the_foreground_is_compared_pixel_by_pixel() -> None:
    expected = outputs()
    expected['iuv'][:, 0] = 0.0
    assert measure_parity(expected, expected).foreground_iou == 1.0, 'nobody in both'
    expected['iuv'][:, 0, :4] = 0.9
    moved = {**expected, 'iuv': np.roll(expected['iuv'], 2, axis=2)}
    assert measure_parity(moved, expected).foreground_iou == pytest.approx(2 / 6)


def test_one_mesh_moved_by_a_rounded_texel_does_not_decide() -> None:
    vertices = outputs()['vertices']
    moved = vertices.copy()
    moved[1] += 0.05
    assert vertex_error_mm(moved, vertices) == 0.0
    moved[2:] += 0.05
    assert vertex_error_mm(moved, vertices) > 1.0


@pytest.mark.parametrize('precision', list(LIMITS_MM))
def test_the_limit_of_each_precision_passes_that_precision_only(precision: str) -> None:
    limit = LIMITS_MM[precision]
    mean = max(limit, ROUNDED_TEXEL_MM)
    assert Parity(limit, mean, 99.0, 0.0, 1.0).passes(precision)
    assert not Parity(limit * 1.01, 0.0, 0.0, 0.0, 1.0).passes(precision)
    assert not Parity(0.0, mean * 1.01, 0.0, 0.0, 1.0).passes(precision)
    assert not Parity(float('nan'), 0.0, 0.0, 0.0, 1.0).passes(precision)
    assert not Parity(0.0, float('nan'), 0.0, 0.0, 1.0).passes(precision)
