"""The cache of IUV images returns what was stored, also with concurrent readers and writers."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from decomr_core.body_models import BodyModel
from decomr_core.uv.uv_map import UVMap
from training.records.augmentation import Augmentation, crop_affine
from training.records.workers import set_up_worker
from training.targets.iuv_cache import (
    CACHE_MARGIN,
    LEVELS,
    CacheKey,
    IUVCache,
    crop_cached_iuv,
    record_name,
)
from training.targets.iuv_target import flip_iuv
from training.targets.mesh_target import MeshTargetRenderer

KEY = CacheKey('a' * 64, 'b' * 64, 8)


def image(seed: int) -> np.ndarray:
    """An IUV image (3, 8, 8) of noise, half of it background."""
    iuv = np.random.default_rng(seed).random((3, 8, 8)).astype(np.float32)
    return iuv * (iuv[:1] > 0.5)


class Records(Dataset):
    """Reads 60 records that are 7 different ones."""

    def __init__(self, cache: IUVCache) -> None:
        self.cache = cache

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> np.ndarray:
        return self.cache.get_or_make(f'record {index % 7}', lambda: image(index % 7))


def test_the_cache_returns_exactly_what_was_stored(tmp_path: Path) -> None:
    cache = IUVCache(tmp_path / 'new' / 'folder', KEY)
    assert cache.get('first') is None
    cache.put('first', image(1))
    found = IUVCache(tmp_path / 'new' / 'folder', KEY).get('first')
    assert found.dtype == np.float32 and found.shape == (3, 8, 8)
    assert np.abs(found - image(1)).max() <= 0.51 / LEVELS
    assert np.array_equal(found > 0, image(1) > 0)
    assert cache.get('../first') is None
    cache.put('first', image(2))
    assert np.abs(cache.get('first') - image(2)).max() <= 0.51 / LEVELS


def test_an_image_is_made_once(tmp_path: Path) -> None:
    cache, made = IUVCache(tmp_path, KEY), []

    def make() -> np.ndarray:
        made.append(1)
        return image(3)

    first, second = (cache.get_or_make('one', make) for _ in range(2))
    assert len(made) == 1 and np.array_equal(first, second)


@pytest.mark.parametrize(
    'change', [{'body_hash': 'c' * 64}, {'uv_hash': 'd' * 64}, {'resolution': 16}]
)
def test_a_cache_with_another_key_is_rejected_with_both_keys(
    tmp_path: Path, change: dict[str, object]
) -> None:
    IUVCache(tmp_path, KEY)
    other = replace(KEY, **change)
    with pytest.raises(ValueError, match='use another folder, or delete') as error:
        IUVCache(tmp_path, other)
    for key in (KEY, other):
        for part in (key.body_hash[:12], key.uv_hash[:12], f'{key.resolution} px'):
            assert part in str(error.value)
    IUVCache(tmp_path, KEY)  # the refusal leaves it as it was


def test_the_slower_of_two_processes_that_fill_a_folder_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    IUVCache(tmp_path, KEY)
    monkeypatch.setattr(Path, 'exists', lambda path: False)
    with pytest.raises(ValueError, match='was made with body aaaaaaaaaaaa'):
        IUVCache(tmp_path, replace(KEY, body_hash='c' * 64))
    assert [path.name for path in tmp_path.iterdir()] == ['key.json']


def test_a_file_system_without_links_is_supported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, 'no links here')

    monkeypatch.setattr(os, 'link', refuse)
    IUVCache(tmp_path, KEY).put('one', image(1))
    assert IUVCache(tmp_path, KEY).get('one') is not None


def test_several_workers_share_a_cache(tmp_path: Path) -> None:
    cache = IUVCache(tmp_path, KEY)
    loader = DataLoader(
        Records(cache), batch_size=None, num_workers=2, worker_init_fn=set_up_worker
    )
    for number, found in enumerate(loader):
        assert np.abs(found.numpy() - image(number % 7)).max() <= 0.51 / LEVELS
    files = [path for path in tmp_path.rglob('*') if path.is_file()]
    assert sorted(path.suffix for path in files) == ['.json'] + ['.npz'] * 7


def test_an_interrupted_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = IUVCache(tmp_path, KEY)

    def break_off(handle: object, **_: object) -> None:
        handle.write(b'half')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(np, 'savez_compressed', break_off)
    with pytest.raises(OSError, match='No space left'):
        cache.put('one', image(1))
    assert cache.get('one') is None
    assert [path for path in tmp_path.rglob('*') if path.is_file()] == [tmp_path / 'key.json']


def test_a_damaged_record_is_recreated(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = IUVCache(tmp_path, KEY)
    cache.put('one', image(1))
    path = next(tmp_path.rglob('*.npz'))
    whole = path.read_bytes()
    for damaged in (whole[:100], b'', b'no zip at all', whole[:60] + b'\1' + whole[61:]):
        path.write_bytes(damaged)
        caplog.clear()
        assert np.abs(cache.get_or_make('one', lambda: image(1)) - image(1)).max() < 1e-4
        assert 'is damaged' in caplog.text and str(path) in caplog.text
        assert cache.get('one') is not None


def test_a_damaged_key_is_rejected_by_name(tmp_path: Path) -> None:
    for text in ('{', '[]', '{"colour": 3}'):
        (tmp_path / 'key.json').write_text(text)
        with pytest.raises(ValueError, match=r'key\.json is not the key of an IUV cache'):
            IUVCache(tmp_path, KEY)


def test_an_image_of_another_size_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r'iuv has shape \(3, 4, 4\), expected \(3, 8, 8\)'):
        IUVCache(tmp_path, KEY).put('one', np.zeros((3, 4, 4)))


def test_a_record_has_another_name_if_anything_changes() -> None:
    pose, shape = np.arange(72.0), np.arange(10.0)
    names = {
        record_name('a.jpg', pose, shape),
        record_name('b.jpg', pose, shape),
        record_name('a.jpg', pose, shape + 1e-9),
        record_name('a.jpg', shape, pose),
        record_name('a.jpg', pose.reshape(24, 3), shape),
        record_name('a.jpg', pose),
        record_name('a.jpg', pose.astype(np.float32), shape),
        record_name('a.jp', 'g', pose, shape),
    }
    assert len(names) == 8
    assert record_name('a.jpg', pose[::2]) == record_name('a.jpg', pose[::2].copy())


@settings(deadline=None, max_examples=20)
@given(scale=st.floats(0.75, 1.25), rotation=st.floats(-1, 1), flipped=st.booleans())
def test_a_crop_of_a_cached_image_equals_a_rendered_one(
    scale: float, rotation: float, flipped: bool, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    size = 64
    augmentation = Augmentation(scale, rotation, flipped)
    body = tiny_body.v_template[None] * torch.tensor([1.0, -1, -1])
    points = torch.cat([body[..., :2] * 0.8, body[..., 2:]], dim=-1)  # crop frame; depth
    # The unmirrored square of side 2 about 0 is the crop frame itself.
    affine = crop_affine(np.zeros(2), 2, replace(augmentation, is_flipped=False))
    turn = torch.tensor(affine[:, :2].T, dtype=torch.float32)
    turned = torch.cat([points[..., :2] @ turn, points[..., 2:]], dim=-1)
    resolution = round(size * CACHE_MARGIN)
    cached, drawn = (
        MeshTargetRenderer(tiny_body, tiny_uv_map, side, stride=1)(
            placed, placed, torch.cat([placed[..., :2] / margin, torch.ones(1, 214, 1)], -1)
        ).iuv[0]
        for placed, side, margin in ((points, resolution, CACHE_MARGIN), (turned, size, 1))
    )
    cut = crop_cached_iuv(cached.numpy(), augmentation, size)
    drawn = flip_iuv(drawn) if flipped else drawn
    assert cut.shape == drawn.shape == (3, size, size)
    # Half a pixel along the outline, some 200 of the 4,096 pixels, may fall on either side.
    assert ((cut[0] > 0) == (drawn[0] > 0)).float().mean() > 0.95
    both = (cut[0] > 0) & (drawn[0] > 0)
    assert both.sum() > 100
    # Off by at most half a pixel along each side, where the person is 50 pixels tall.
    assert (cut - drawn)[1:].abs().amax(0)[both].quantile(0.9) < 0.02
