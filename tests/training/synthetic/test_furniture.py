"""Furniture: sitting and lying people are detected, seats are below them, both occlude."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from decomr_core.body_models import BodyModel, load_body
from decomr_core.geometry.rasterizer import rasterize
from decomr_core.uv.uv_map import UVMap, load_uv_map
from tests.training.fabricated_wardrobe import make_wardrobe
from training.records.root_frame import root_frame_body
from training.synthetic import furnishing
from training.synthetic.bodies.pose_rules import WIDE_NAMES, sample_wide_poses
from training.synthetic.furnishing import Furnisher
from training.synthetic.furniture.furniture import DEEPEST_M, Furniture, furnish
from training.synthetic.furniture.furniture_parts import GAP_M, Seat, backrest
from training.synthetic.furniture.resting import TRUNK_PARTS, Resting, find_resting
from training.synthetic.held_out import held_out_set
from training.synthetic.painting import Bodies, Drawn
from training.synthetic.people import SyntheticPeople
from training.synthetic.scenes.solids import Material, Rays, Solid, box, cast, cylinder, surface
from training.synthetic.scenes.textures import shared_textures
from training.synthetic.scenes.viewpoints import Framing, crop_points
from training.synthetic.synthetic_config import SyntheticConfig

UP = np.array([0.0, 1.0, 0.0])
GRAY = Material(np.full(3, 120.0))
ON_SEATS = ('sit on chair', 'sit low', 'sit high', 'sit at table', 'sit, legs crossed')
ON_LEGS = (
    'stand',
    'reach',
    'walk',
    'carry',
    'bench',
    'push',
    'bend to floor',
    'crouch',
    'kneel on one knee',
    'kneel',
    'sit on heels',
    'on all fours',
)
LYING = ('lie on back', 'lie on side', 'lie on front')


def people_who(name: str, count: int = 24) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Vertices and joints of people of the built-in body; the body's frame has y up."""
    kind = np.full(count, WIDE_NAMES.index(name))
    pose = torch.tensor(
        sample_wide_poses(np.random.default_rng(4), count, kind)[0], dtype=torch.float32
    )
    shape = torch.tensor(np.random.default_rng(5).normal(0, 1, (count, 10)), dtype=torch.float32)
    vertices, joints = load_body()(pose, shape)
    return list(vertices.double().numpy()), list(joints.double().numpy())


def resting_people(name: str, count: int = 24) -> list[Resting | None]:
    parts = load_body().vertex_parts.numpy()
    return [find_resting(*one, parts, UP) for one in zip(*people_who(name, count), strict=True)]


def furnished(name: str) -> list[tuple[Resting, Furniture]]:
    found = []
    for number, resting in enumerate(resting_people(name)):
        rng = np.random.default_rng(number)
        furniture = resting and furnish(rng, shared_textures(), resting)
        if furniture is not None:
            found.append((resting, furniture))
    return found


@pytest.mark.parametrize('name', [*ON_SEATS, *ON_LEGS, *LYING])
def test_sitting_and_lying_people_are_detected_and_standing_ones_are_not(name):
    found = [one and ('lies' if one.is_lying else 'sits') for one in resting_people(name)]
    wanted = 'sits' if name in ON_SEATS else 'lies' if name in LYING else None
    assert np.mean([one == wanted for one in found]) >= 0.85


@pytest.mark.parametrize('name', ON_SEATS)
def test_a_seat_is_just_below_pelvis_and_thighs_and_reaches_the_ground(name):
    found = furnished(name)
    assert len(found) >= 20
    for resting, furniture in found:
        seat = furniture.base[0]
        top = seat.center[2] + seat.half[2]
        on_it = np.isin(resting.parts, (0, 1, 2)) & (
            np.abs(resting.points[:, :2] - seat.center[:2]) < seat.half[:2]
        ).all(1)
        assert on_it.sum() > 30
        above = resting.points[on_it, 2].min() - top
        assert -0.005 <= above <= 0.02 + GAP_M
        low = min(solid.corners[:, 2].min() for solid in furniture.base)
        assert low == pytest.approx(0, abs=0.12)  # sofas may stand on feet too low to be drawn


@pytest.mark.parametrize('name', [*ON_SEATS, 'sit on floor, legs crossed'])
def test_furniture_does_not_run_through_the_body(name):
    for resting, furniture in furnished(name):
        for solid in (*furniture.base, *(part for group in furniture.extras for part in group)):
            assert solid.depth_of(resting.points).max() <= DEEPEST_M


@pytest.mark.parametrize('num_slats', [0, 3])
def test_a_backrest_is_behind_all_of_the_body_at_its_height(num_slats):
    for resting in resting_people('sit on chair'):
        seat = Seat(-0.2, 0.25, 0.22, -0.22, resting.seat_m)
        parts, begin = backrest(resting, seat, (0.1, 0.55), 0.03, GRAY, num_slats)
        trunk = resting.points[np.isin(resting.parts, TRUNK_PARTS)]
        assert begin <= trunk[:, 0].min() + 0.12  # it leans: at the seat it is farther forward
        for part in parts:
            # Of the body nothing is behind a part's face and within its outline.
            local = (resting.points - part.center) @ part.axes.T
            level = (np.abs(local[:, 1:]) < part.half[1:]).all(1)
            assert (local[level, 0] >= part.half[0] - 1e-6).all()


def test_beds_support_the_trunk_and_stand_on_a_lower_floor():
    found = [pair for name in LYING for pair in furnished(name)]
    assert len(found) > 20
    for resting, bed in found:
        top = bed.base[0].center[2] + bed.base[0].half[2]
        trunk = resting.points[np.isin(resting.parts, TRUNK_PARTS), 2].min()
        assert -0.08 <= top - trunk <= 0
        low = min(solid.corners[:, 2].min() for solid in bed.base)
        assert -bed.lift_m - 1e-6 <= low < -0.05
        outline = bed.base[0].corners[:, :2]
        assert (resting.points[:, :2] > outline.min(0)).all()
        assert (resting.points[:, :2] < outline.max(0)).all()


def random_solids(rng: np.random.Generator) -> list[Solid]:
    solids = []
    for _ in range(4):
        turn = np.linalg.qr(rng.normal(0, 1, (3, 3)))[0]
        center = np.array([*rng.uniform(-1, 1, 2), rng.uniform(2, 5)])
        half = rng.uniform(0.1, 1.0, 3)
        is_round = bool(rng.random() < 0.5)
        half[1] = half[0] if is_round else half[1]
        solids.append(Solid(center, turn, half, is_round, GRAY))
    return solids


@pytest.mark.parametrize('seed', range(4))
def test_rays_hit_what_marching_along_them_hits(seed):
    solids = random_solids(np.random.default_rng(seed))
    line = np.linspace(-0.6, 0.6, 24, dtype=np.float32)
    rays = Rays(*np.meshgrid(line, line))
    hits = cast(solids, rays)
    step = 0.01
    depth = np.arange(0.15, 8, step)
    place = np.stack([rays.x, rays.y, np.ones_like(rays.x)], -1).reshape(-1, 1, 3)
    inside = (
        np.stack([solid.depth_of((place * depth[:, None]).reshape(-1, 3)) for solid in solids], 1)
        .max(1)
        .reshape(-1, len(depth))
    )
    slow = np.where((inside > 0).any(1), depth[(inside > 0).argmax(1)], np.inf)
    fast = hits.depth.ravel()
    both = np.isfinite(slow)
    assert both.mean() > 0.2
    assert (np.isfinite(fast) | ~both).all()
    # Steps may jump over an edge that a ray only grazes.
    assert (np.abs(fast[both] - slow[both]) <= step + 1e-3).mean() > 0.99
    assert (np.isfinite(fast) & ~both).mean() < 0.02
    colors, normals = surface(solids, hits, rays, hits.solid >= 0)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-4)
    ray = np.stack([rays.x, rays.y, np.ones_like(rays.x)], -1)[hits.solid >= 0]
    assert ((normals * ray).sum(1) <= 1e-4).all()  # what is seen looks at the camera
    assert (colors == 120).all()


def test_a_solid_around_or_behind_the_camera_is_not_visible():
    line = np.linspace(-1, 1, 8, dtype=np.float32)
    rays = Rays(*np.meshgrid(line, line))
    for solid in (
        box((-1, -1, -1), (1, 1, 1), GRAY),
        box((-1, -1, -3), (1, 1, -1), GRAY),
        cylinder((0, 0, -1), 1, 2, GRAY),
    ):
        assert (cast([solid], rays).solid == -1).all()
    # A floor that begins behind the camera is seen in front of it.
    floor = cast([box((-5, 0.5, -5), (5, 0.6, 9), GRAY)], rays)
    assert (floor.solid[-1] == 0).all() and (floor.solid[0] == -1).all()


def seen_person(body: BodyModel, turn: float) -> tuple[Drawn, Bodies, SimpleNamespace, Framing]:
    """A tiny person who sits without a seat, seen from the front or turned by this angle."""
    pose = torch.zeros(1, 24, 3)
    pose[0, [1, 2], 0] = -np.pi / 2
    pose[0, [4, 5], 0] = np.pi / 2
    pose[0, 0, 1] = turn
    shape = torch.zeros(1, 10)
    vertices, joints = root_frame_body(body, pose, shape)
    framing = Framing(
        np.array([[0, 0, 5.0]]), np.zeros((1, 2)), np.array([0.2]), np.array([[-9.0, -9, 9, 9]])
    )
    seen = rasterize(crop_points(vertices, framing), body.faces, 64, cull_backfaces=True)
    mask = (seen.face_index >= 0).to(torch.uint8).numpy()
    people = np.repeat(mask[..., None], 3, axis=3).astype(np.float32) * 50
    views = SimpleNamespace(up=np.array([[0, -1.0, 0]]))
    return Drawn(people, mask, seen), Bodies(vertices, joints, pose, shape), views, framing


LIGHT = {
    'to_light': np.array([0, -1.0, 0]),
    'up': np.array([0, -1.0, 0]),
    'lamp': np.ones(3),
    'sky': np.ones(3),
    'wrap': np.array(0.2),
}


@pytest.mark.parametrize('half_high, is_kept', [(0.1, True), (3.0, False)])
def test_furniture_hides_people_behind_it_unless_it_hides_too_much(
    half_high, is_kept, tiny_body, monkeypatch
):
    wall = box((0.7, -2, 0.0), (0.8, 2, 2 * half_high), GRAY)
    monkeypatch.setattr(furnishing, 'furnish', lambda *_: Furniture([wall]))
    monkeypatch.setattr(furnishing, 'find_resting', _as_resting)
    furnisher = Furnisher(shared_textures(), tiny_body.vertex_parts.numpy())
    hidden = []
    for turn in (0.0, np.pi):
        drawn, *rest = seen_person(tiny_body, turn)
        layers = furnisher.add(np.random.default_rng(0), drawn, *rest, [LIGHT])
        behind = drawn.silhouettes & ~layers.visible
        hidden.append(int(behind.sum()))
        assert (layers.whole == drawn.silhouettes.sum((1, 2))).all()
        assert (layers.people[layers.visible > 0] == 50).all()
        assert (layers.silhouettes.sum() > drawn.silhouettes.sum()) == (is_kept or turn > 0)
    assert (hidden[0] > 20) == is_kept
    assert hidden[1] == 0


def _as_resting(
    vertices: np.ndarray, joints: np.ndarray, parts: np.ndarray, up: np.ndarray
) -> Resting:
    """Any pose as a sitting person, in the person's frame."""
    ahead = np.cross(joints[1] - joints[2], up)
    ahead /= np.linalg.norm(ahead)
    return Resting(
        vertices[:0],
        parts[:0],
        joints,
        False,
        0.4,
        0.3,
        0.3,
        joints[0] - 0.35 * up,
        np.stack([ahead, np.cross(up, ahead), up]),
    )


@pytest.fixture(scope='module')
def two_batches() -> tuple[object, object]:
    """People of the built-in body, without and with furniture."""
    config = SyntheticConfig(
        size=64, batch_size=24, rules='wide', occluder_share=0.0, passer_by_share=0.0
    )
    return tuple(
        SyntheticPeople(
            dataclasses.replace(config, has_furniture=has), load_body(), load_uv_map(), seed=8
        ).batch(0)
        for has in (False, True)
    )


def test_labels_leave_out_what_furniture_hides_and_nothing_else_changes(two_batches):
    bare, furnished_ones = two_batches
    for name in ('vertices', 'joints', 'joints_2d', 'camera', 'pose', 'shape'):
        assert getattr(bare, name).equal(getattr(furnished_ones, name)), name
    assert (furnished_ones.mask <= bare.mask).all()
    hidden = (bare.mask - furnished_ones.mask).sum((1, 2))
    assert (hidden > 0).any() and (hidden == 0).any()
    assert (hidden <= 0.5 * bare.mask.sum((1, 2)) + 1).all()
    cells = furnished_ones.mask.view(24, 16, 4, 16, 4).float().mean((2, 4))
    assert furnished_ones.iuv[:, 0].equal(cells)
    changed = (bare.images != furnished_ones.images).flatten(1).any(1)
    assert 2 <= changed.sum() < 16  # who stands has nothing around


def test_evaluation_sets_have_no_furniture_no_folds_and_no_lenses(
    tiny_body: BodyModel, tiny_uv_map: UVMap, tmp_path
):
    make_wardrobe(tiny_body).save(tmp_path / 'wardrobe.npz')
    plain = SyntheticConfig(size=32, wardrobe=str(tmp_path / 'wardrobe.npz'))
    full = dataclasses.replace(plain, has_furniture=True, has_folds=True, distorted_share=1.0)
    for with_assets in (False, True):
        one, other = (
            held_out_set(config, tiny_body, tiny_uv_map, 8, with_assets=with_assets)
            for config in (plain, full)
        )
        assert one.images.equal(other.images)
        assert one.iuv.equal(other.iuv)
        assert one.joints_2d.equal(other.joints_2d)
