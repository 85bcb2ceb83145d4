"""The file of a UV map: what it stores, and what is rejected."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from decomr_core.body_models import JOINT_NAMES, load_body
from decomr_core.uv.quality import validity
from decomr_core.uv.uv_map import UVMap, load_uv_map


def test_a_saved_map_comes_back_with_the_same_hash(tiny_uv_map, tmp_path):
    tiny_uv_map.save(tmp_path / 'map.npz')
    loaded = UVMap.load(tmp_path / 'map.npz')
    assert loaded.hash == tiny_uv_map.hash
    np.testing.assert_array_equal(loaded.uv, tiny_uv_map.uv)
    np.testing.assert_array_equal(loaded.body_faces, tiny_uv_map.body_faces)


def test_the_same_map_gives_the_same_bytes(tiny_uv_map, tmp_path):
    for name in ('one.npz', 'two.npz'):
        tiny_uv_map.save(tmp_path / name)
    assert (tmp_path / 'one.npz').read_bytes() == (tmp_path / 'two.npz').read_bytes()


def test_any_change_changes_the_hash(tiny_uv_map):
    moved = tiny_uv_map.uv.copy()
    moved[0, 0] = np.nextafter(moved[0, 0], 1, dtype=np.float32)
    changed = [
        replace(tiny_uv_map, uv=moved),
        replace(tiny_uv_map, faces=tiny_uv_map.faces[:, [1, 2, 0]]),
        replace(tiny_uv_map, vertex_index=tiny_uv_map.vertex_index + 1),
        replace(tiny_uv_map, body_hash='another'),
    ]
    assert len({tiny_uv_map.hash, *(uv_map.hash for uv_map in changed)}) == 5


@pytest.mark.parametrize(
    ('field', 'spoil', 'complaint'),
    [
        ('uv', lambda uv: uv + 1, 'leaves the unit square'),
        ('uv', lambda uv: uv - 0.5, 'leaves the unit square'),
        ('uv', lambda uv: np.where(uv > 0.5, np.nan, uv), 'leaves the unit square'),
        ('uv', lambda uv: uv[:, :1], r'uv has shape \(\d+, 1\)'),
        ('faces', lambda faces: faces + 1, 'but there are'),
        ('faces', lambda faces: faces - 1, 'run from -1'),
        ('faces', lambda faces: faces[:0], r'faces has shape \(0, 3\)'),
        ('vertex_index', lambda index: index[1:], 'vertex_index has shape'),
        ('vertex_index', lambda index: index - 1, 'vertex_index goes down to -1'),
    ],
)
def test_arrays_that_are_not_a_map_are_rejected(tiny_uv_map, field, spoil, complaint):
    with pytest.raises(ValueError, match=complaint) as caught:
        replace(tiny_uv_map, **{field: spoil(getattr(tiny_uv_map, field))})
    assert 'decomr uv build' in str(caught.value)


def test_a_missing_file_is_reported_with_the_command_that_makes_one(tmp_path):
    with pytest.raises(FileNotFoundError, match='decomr uv build'):
        load_uv_map(tmp_path / 'none.npz')


@pytest.mark.parametrize('content', [b'', b'no archive', 'truncated', 'other arrays'])
def test_a_damaged_file_is_named(tiny_uv_map, tmp_path, content):
    path = tmp_path / 'map.npz'
    tiny_uv_map.save(path)
    if content == 'truncated':
        path.write_bytes(path.read_bytes()[:-200])
    elif content == 'other arrays':
        np.savez(path, uv=tiny_uv_map.uv)
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r'map\.npz is damaged or not a UV map'):
        load_uv_map(path)


def test_a_map_of_another_body_is_rejected(tiny_body, tiny_uv_map, tmp_path):
    path = tmp_path / 'map.npz'
    tiny_uv_map.save(path)
    assert load_uv_map(path, tiny_body).hash == tiny_uv_map.hash
    replace(tiny_uv_map, body_hash='0123456789abcdef').save(path)
    with pytest.raises(ValueError, match='made for the body 0123456789ab.*decomr uv build'):
        load_uv_map(path, tiny_body)
    assert load_uv_map(path).body_hash == '0123456789abcdef'


def test_the_shipped_map_belongs_to_the_shipped_body():
    body = load_body()
    uv_map = load_uv_map('builtin', body)
    np.testing.assert_array_equal(uv_map.body_faces, np.asarray(body.faces))


def test_the_conventional_map_covers_the_shipped_body_in_several_charts():
    body = load_body()
    uv_map = load_uv_map('makehuman', body)
    np.testing.assert_array_equal(uv_map.body_faces, np.asarray(body.faces))
    found = validity(body, uv_map)
    assert (found.pieces, found.flips, found.overlaps) == (9, 0, 0) and not found.is_valid
    # As in MakeHuman's textures: the feet at the bottom, the head on the right.
    parts = np.asarray(body.vertex_parts)[uv_map.vertex_index]
    u, v = uv_map.uv.T
    feet, head = (
        np.isin(parts, [JOINT_NAMES.index(name) for name in names])
        for names in (('left_foot', 'right_foot'), ('head',))
    )
    assert v[feet].min() > 0.8 and np.median(u[head]) > 0.8
