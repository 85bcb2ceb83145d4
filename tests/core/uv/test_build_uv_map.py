"""Building a UV map: the parts, a whole map for a coarse body, and the shipped map."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decomr_core.body_models import load_body
from decomr_core.uv import round_trip
from decomr_core.uv.chart.build_uv_map import build_uv_map
from decomr_core.uv.chart.clearance import Clearance
from decomr_core.uv.chart.distortion_energy import DistortionEnergy
from decomr_core.uv.chart.flatten import flatten_half, tutte_half_disc
from decomr_core.uv.chart.landmarks import find_landmarks, half_body
from decomr_core.uv.chart.seams import cut_half, find_seams
from decomr_core.uv.chart.stress import Stress
from decomr_core.uv.quality import (
    _crossings,
    check_validity,
    distance_similarity,
    report_uv_map,
    validity,
)
from decomr_core.uv.uv_map import UVMap, load_uv_map

# Parts of SMPL's left hand and foot.
LEFT_HAND, LEFT_FOOT = (20, 22), (7, 10)


@pytest.fixture(scope='module')
def shipped_body():
    return load_body()


@pytest.fixture(scope='module')
def shipped_map(shipped_body):
    return load_uv_map('builtin', shipped_body)


@pytest.fixture(scope='module')
def built_map(tiny_body):
    return build_uv_map(tiny_body)


@pytest.fixture(scope='module')
def tiny_cut(tiny_body):
    half = half_body(tiny_body)
    return half, cut_half(half, find_seams(half, find_landmarks(half)))


def _changed_body(body, **changes):
    names = ('v_template', 'faces', 'mirrored_vertices', 'hash', 'name')
    return SimpleNamespace(
        **{name: np.asarray(getattr(body, name)) for name in names[:3]}
        | {'hash': body.hash, 'name': body.name}
        | changes
    )


def _most_covers(uv_map, side):
    """How many triangles lie over the most covered point of a grid of side x side points."""
    covers = np.zeros((side, side), dtype=int)
    for a, b, c in uv_map.uv.astype(np.float64)[uv_map.faces] * (side - 1):
        low = np.ceil(np.minimum(np.minimum(a, b), c)).astype(int)
        high = np.floor(np.maximum(np.maximum(a, b), c)).astype(int)
        x, y = np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1))
        crosses = np.stack(
            [
                (e[0] - s[0]) * (y - s[1]) - (e[1] - s[1]) * (x - s[0])
                for s, e in ((a, b), (b, c), (c, a))
            ]
        )
        inside = (crosses > 1e-9).all(axis=0) | (crosses < -1e-9).all(axis=0)
        covers[y[inside], x[inside]] += 1
    return covers.max()


def test_a_coarse_body_gets_a_valid_map_unattended(tiny_body, built_map):
    found = validity(tiny_body, built_map)
    assert (found.pieces, found.rims, found.flips, found.overlaps) == (1, 1, 0, 0)
    assert found.symmetry_error <= 1e-6
    assert _most_covers(built_map, 300) == 1
    assert built_map.body_hash == tiny_body.hash


def test_the_front_is_central_with_the_head_up_and_the_left_side_on_the_right(
    tiny_body, built_map
):
    template = np.asarray(tiny_body.v_template)[built_map.vertex_index]
    u, v = built_map.uv.T
    is_front_line = (template[:, 0] == 0) & (template[:, 2] == template[:, 2].max())
    assert is_front_line.any() and (u[is_front_line] == 0.5).all()
    assert (u[template[:, 0] > 0] > 0.5).all() and (u[template[:, 0] < 0] < 0.5).all()
    top, bottom = template[:, 1].argmax(), template[:, 1].argmin()
    assert v[top] < 0.3 and v[bottom] > 0.7
    # Fills the square, less a margin on each side.
    assert np.ptp(built_map.uv, axis=0).max() == pytest.approx(0.996, abs=1e-4)


def test_only_the_back_is_cut(tiny_body, built_map):
    copies = np.bincount(built_map.vertex_index)
    template = np.asarray(tiny_body.v_template)
    assert (copies > 1).sum() > 10
    assert template[copies > 1, 2].max() <= np.median(template[:, 2])


def test_the_same_body_gives_the_same_map_bit_for_bit(tiny_body, built_map):
    assert build_uv_map(tiny_body).hash == built_map.hash


def test_progress_rises_to_the_end(tiny_body):
    calls = []
    build_uv_map(tiny_body, progress=lambda word, part: calls.append((word, part)))
    parts = [part for _, part in calls]
    assert {word for word, _ in calls} == {'flattening', 'bending'}
    assert parts == sorted(set(parts)) and min(parts) >= 0 and max(parts) <= 1
    assert parts[0] == 0 and parts[-1] > 0.5


def test_the_stress_brings_the_map_closer_to_distances_on_the_mesh(tiny_body, built_map):
    template, faces = np.asarray(tiny_body.v_template, dtype=float), np.asarray(tiny_body.faces)
    without = build_uv_map(tiny_body, stress_weight=0)
    scores = [
        distance_similarity(template, faces, uv_map, is_hop=True)
        for uv_map in (without, built_map)
    ]
    assert scores[1][0] > scores[0][0] + 0.005 and scores[1][1] > scores[0][1]


def test_the_landmarks_of_the_shipped_body_are_fingers_heel_and_toes(shipped_body):
    half = half_body(shipped_body)
    landmarks = find_landmarks(half)
    parts = np.asarray(shipped_body.vertex_parts)[half.vertex_index]
    assert len(landmarks.fingers) == 5 and len(set(landmarks.fingers)) == 5
    assert set(parts[landmarks.fingers]) <= set(LEFT_HAND)
    assert set(parts[[landmarks.heel, *landmarks.toes]]) <= set(LEFT_FOOT)
    # The thumb is the foremost and the nearest to the body, the little finger the rearmost.
    depth, reach = half.vertices[landmarks.fingers, 2], half.vertices[landmarks.fingers, 0]
    assert (np.diff(depth) < 0).all() and reach[0] == reach.min()
    assert half.vertices[landmarks.heel, 2] < half.vertices[landmarks.toes, 2].min() - 0.15


def test_the_shipped_map_is_one_valid_symmetric_chart(shipped_body, shipped_map):
    found = validity(shipped_body, shipped_map)
    assert (found.pieces, found.rims, found.flips, found.overlaps) == (1, 1, 0, 0)
    assert found.symmetry_error <= 1e-6
    assert _most_covers(shipped_map, 512) == 1


@pytest.mark.full_size
@pytest.mark.parametrize(
    ('sides', 'num_sources', 'view_px'),
    [
        ((64,), 100, 512),  # less of everything, against the same limits
        ((64, 128, 256), 300, 1024),
    ],
)
def test_the_shipped_map_reaches_its_documented_quality(
    shipped_body, shipped_map, sides, num_sources, view_px, monkeypatch
):
    monkeypatch.setattr(round_trip, 'RESOLUTIONS', sides)
    monkeypatch.setattr(round_trip, 'VIEW_SIZE_PX', view_px)
    report = report_uv_map(shipped_body, shipped_map, num_sources)
    # S1 of 300 rows is .004 (hop) and .0015 (geo) above that of all.
    assert report['s1_hop'] > 0.864 and report['s2_hop'] > 0.965
    assert report['s1_geo'] > 0.9635 and report['s2_geo'] > 0.990
    assert report['area_std_weighted'] <= 0.15 and report['coverage'] >= 0.56
    assert report['flips'] == report['overlaps'] == 0 and report['pieces'] == 1
    assert 3.5 < report['seam_length_per_height'] < 4.5
    limits_mm = {'64': (4.0, 25.0), '128': (1.0, 12.0), '256': (0.35, 4.0)}
    assert list(report['roundtrip_mm']) == [str(side) for side in sides]
    for side in report['roundtrip_mm']:
        mean, largest = limits_mm[side]
        found = report['roundtrip_mm'][side]
        assert found[0] <= mean and found[1] <= largest, side
        assert found[0] < report['roundtrip_extrapolated_mm'][side][0], side


def test_flipped_overlapping_and_asymmetric_maps_are_detected(tiny_body, built_map):
    rim_free = np.setdiff1d(
        np.arange(len(built_map.uv)), np.flatnonzero(built_map.uv[:, 0] == 0.5)
    )
    inner, far = rim_free[0], built_map.uv[:, 1].argmax()
    moved = built_map.uv.copy()
    moved[inner] = moved[far] * 0.99
    spoiled = validity(tiny_body, replace(built_map, uv=moved))
    assert spoiled.flips > 0 and spoiled.symmetry_error > 0.1 and not spoiled.is_valid
    leaning = built_map.uv.copy()
    leaning[:, 0] = leaning[:, 0] * 0.99
    leaning = validity(tiny_body, replace(built_map, uv=leaning))
    assert leaning.flips == 0 and leaning.symmetry_error == pytest.approx(0.01, abs=1e-3)


def test_a_chart_that_overlaps_itself_without_flips_is_detected(tiny_body):
    # A strip of triangles around a ring, one and a quarter turns.
    angle = np.linspace(0, 2.5 * np.pi, 60)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    uv = 0.5 + np.concatenate([ring * 0.3, ring * 0.45])
    lower = np.arange(59)
    faces = np.concatenate(
        [
            np.stack([lower, lower + 60, lower + 61], axis=1),
            np.stack([lower, lower + 61, lower + 1], axis=1),
        ]
    )
    body = _changed_body(tiny_body, faces=faces, mirrored_vertices=np.arange(120))
    found = validity(body, UVMap(uv, faces, np.arange(120), 'strip'))
    assert found.flips == 0 and found.overlaps > 0 and not found.is_valid


def test_two_charts_are_detected(tiny_body, built_map):
    size = len(built_map.uv)
    is_right = built_map.uv[built_map.faces, 0].mean(axis=1) < 0.5
    faces = built_map.faces + size * is_right[:, None]
    parted = UVMap(np.tile(built_map.uv, (2, 1)), faces, np.tile(built_map.vertex_index, 2), 'x')
    assert validity(tiny_body, parted).pieces == 2
    with pytest.raises(ValueError, match='pieces=2'):
        check_validity(tiny_body, parted)


def test_a_map_with_other_faces_is_rejected(tiny_body, built_map):
    with pytest.raises(ValueError, match='decomr uv build'):
        check_validity(tiny_body, replace(built_map, faces=built_map.faces[::-1]))


def test_s1_and_s2_are_those_of_the_whole_matrices(tiny_body, built_map):
    template, faces = np.asarray(tiny_body.v_template, dtype=float), np.asarray(tiny_body.faces)
    size = len(template)
    hops = np.where(np.eye(size), 0, np.inf)
    hops[faces, np.roll(faces, 1, axis=1)] = hops[np.roll(faces, 1, axis=1), faces] = 1
    for middle in range(size):
        hops = np.minimum(hops, hops[:, [middle]] + hops[[middle]])
    places = np.zeros((size, 2))
    for uv_face, face in zip(built_map.faces, faces, strict=True):
        places[face] = built_map.uv[uv_face]
    flat = np.linalg.norm(places[:, None] - places, axis=2)
    s1 = np.corrcoef(hops.ravel(), flat.ravel())[0, 1]
    s2 = (hops * flat).sum() / np.sqrt((hops**2).sum() * (flat**2).sum())
    found = distance_similarity(template, faces, built_map, is_hop=True)
    np.testing.assert_allclose(found, (s1, s2), atol=1e-9)


def test_the_tutte_start_has_no_flips(tiny_cut):
    _, cut = tiny_cut
    energy = DistortionEnergy(cut.vertices, cut.faces)
    assert np.linalg.det(energy.jacobians(tutte_half_disc(cut))).min() > 0


def test_the_flat_half_keeps_its_collar(tiny_cut):
    half, cut = tiny_cut
    places = flatten_half(half, cut)
    assert (places[cut.wall, 0] == 0).all()
    clearance = Clearance(cut.vertices, cut.rim, 0.01 * half.height, np.inf)
    assert clearance.is_simple(places)
    start, end = places[cut.rim[:-1]], places[cut.rim[1:]]
    samples = start[:, None] + np.linspace(0, 1, 20)[:, None] * (end - start)[:, None]
    samples = samples.reshape(-1, 2)
    place = np.repeat(np.arange(len(start)), 20)
    apart = np.abs(place[:, None] - place) > 3
    gaps = np.linalg.norm(samples[:, None] - samples, axis=2)[apart]
    assert gaps.min() > 0.004 * half.height


def test_a_rim_that_crosses_itself_or_the_wall_is_detected():
    angle = np.linspace(-np.pi / 2, np.pi / 2, 41)
    places = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    places[[0, -1], 0] = 0
    clearance = Clearance(np.pad(places, ((0, 0), (0, 1))), np.arange(41), 0.01, 2.0)
    assert clearance.is_simple(places)
    through_the_wall, folded = places.copy(), places.copy()
    through_the_wall[1, 0] = -0.01
    folded[20] = [0.1, -0.9]
    folded[10:12] = [[0.5, 0.0], [0.5, 0.2]]
    assert not clearance.is_simple(through_the_wall)
    assert not clearance.is_simple(folded)


def _slope(term, places, direction, step=1e-7):
    ahead, behind = (term.value(places + sign * step * direction) for sign in (1, -1))
    return (ahead - behind) / (2 * step)


@pytest.mark.parametrize('kind', [DistortionEnergy, Stress])
def test_the_gradient_is_the_slope_of_the_energy(tiny_cut, kind):
    half, cut = tiny_cut
    term = kind(half, cut, 1.0) if kind is Stress else kind(cut.vertices, cut.faces)
    places = tutte_half_disc(cut) * 0.8
    gradient, _ = term.derivatives(places)
    direction = np.random.default_rng(0).normal(size=places.shape)
    assert (gradient * direction).sum() == pytest.approx(_slope(term, places, direction), rel=1e-4)


@pytest.mark.parametrize('free', ['slot', 'box', 'wall'])
def test_the_barriers_push_down_the_slope_of_their_energy(free):
    # A square on the wall, with a slot of width 0.1 from the right and one beside the wall.
    corners = np.array(
        [
            [0, -1],
            [1, -1],
            [1, -0.05],
            [0.3, -0.05],
            [0.3, 0.05],
            [1, 0.05],
            [1, 1],
            [0.01, 1],
            [0.01, 0.5],
            [0.5, 0.5],
            [0.5, 0.8],
            [0, 0.9],
        ]
    )
    steps = [
        np.linspace(start, end, 12)[:-1]
        for start, end in zip(corners[:-1], corners[1:], strict=True)
    ]
    places = np.concatenate([*steps, corners[-1:]])
    clearance = Clearance(np.pad(places, ((0, 0), (0, 1))), np.arange(len(places)), 0.12, 1.01)
    x, y = places.T
    is_free = {
        'slot': (x > 0.65) & (x < 1) & (np.abs(y) == 0.05),
        'box': np.abs(y) == 1,
        'wall': (x == 0.01) & (y < 0.95) & (y > 0.6),
    }[free]
    assert is_free.sum() > 3
    gradient, _ = clearance.derivatives(places)
    inward = {
        'slot': np.stack([0 * y, np.sign(y)], axis=1),
        'box': np.stack([0 * y, -np.sign(y)], axis=1),
        'wall': np.stack([np.ones_like(x), 0 * y], axis=1),
    }
    # Away from the slot, the box and the wall the energy falls.
    away = inward[free] * is_free[:, None]
    assert (gradient * away).sum() < 0
    noise = np.random.default_rng(0).normal(size=places.shape) * is_free[:, None]
    noise[:, 0 if free != 'wall' else 1] = 0
    slope = _slope(clearance, places, noise)
    assert (gradient * noise).sum() == pytest.approx(slope, rel=1e-3)


def test_the_hessian_is_that_of_the_energy_where_it_is_convex():
    vertices = np.random.default_rng(0).normal(size=(3, 2))
    flat = np.pad(vertices, ((0, 0), (0, 1)))
    faces = np.array([[0, 1, 2]])
    if np.cross(flat[1] - flat[0], flat[2] - flat[0])[2] < 0:
        faces = faces[:, ::-1]
    energy = DistortionEnergy(flat, faces)
    places = vertices @ np.array([[1.1, 0.1], [0.0, 0.95]])
    ((index, block),) = energy.derivatives(places)[1]
    numeric = np.zeros((6, 6))
    for column in range(6):
        step = np.zeros(6)
        step[column] = 1e-5
        high, low = (
            energy.derivatives(places + sign * step.reshape(3, 2))[0].ravel() for sign in (1, -1)
        )
        numeric[:, column] = (high - low) / 2e-5
    assert np.linalg.eigvalsh(numeric).min() > -1e-6
    np.testing.assert_allclose(block[0], numeric[np.ix_(index[0], index[0])], atol=1e-6)


def test_an_isometry_has_no_energy_and_a_flip_infinite_energy():
    vertices = np.array([[0.0, 0, 0], [0.3, 0, 0], [0, 0.2, 0]])
    energy = DistortionEnergy(vertices, np.array([[0, 1, 2]]))
    turn = np.array([[0.6, 0.8], [-0.8, 0.6]])
    assert energy.value(vertices[:, :2] @ turn) == pytest.approx(0, abs=1e-12)
    assert energy.value(vertices[:, :2] * [1.0, -1.0]) == np.inf
    down = np.array([[0.0, 0], [0, 0], [0, -1.0]])
    assert energy.longest_step(vertices[:, :2], down) == pytest.approx(0.2)


def test_a_body_without_symmetry_or_in_pieces_is_rejected(tiny_body):
    twin = np.asarray(tiny_body.mirrored_vertices)
    with pytest.raises(ValueError, match='into 0 pieces'):
        half_body(_changed_body(tiny_body, mirrored_vertices=np.arange(len(twin))))
    none_in_the_middle = np.roll(np.arange(len(twin)), len(twin) // 2)
    with pytest.raises(ValueError, match='into 1 pieces, expected 2'):
        half_body(_changed_body(tiny_body, mirrored_vertices=none_in_the_middle))


def test_a_body_that_is_inside_out_is_rejected(tiny_body):
    body = _changed_body(tiny_body, faces=np.asarray(tiny_body.faces)[:, ::-1])
    with pytest.raises(ValueError, match='oriented outward'):
        build_uv_map(body)


def test_a_triangle_without_area_is_named():
    flat = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [2, 0, 0]])
    with pytest.raises(ValueError, match='face 1 of the half body has no area'):
        DistortionEnergy(flat, np.array([[0, 1, 2], [0, 1, 3]]))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 60))
def test_crossing_edges_are_counted_as_pair_by_pair(seed, count):
    random = np.random.default_rng(seed)
    places = random.random((count, 2)) ** random.integers(1, 4)  # a few long edges among short
    edges = np.unique(np.sort(random.integers(0, count, (count, 2)), axis=1), axis=0)
    edges = edges[edges[:, 0] != edges[:, 1]]

    def side(line, point):
        (ax, ay), (bx, by) = places[line]
        return (bx - ax) * (point[1] - ay) - (by - ay) * (point[0] - ax)

    expected = 0
    for one, other in itertools.combinations(edges, 2):
        if set(one) & set(other):
            continue
        expected += all(
            side(a, places[b[0]]) * side(a, places[b[1]]) <= 0
            for a, b in ((one, other), (other, one))
        )
    assert _crossings(places, edges) == expected
