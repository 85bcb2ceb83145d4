"""Synthetic people: the same from the same seed, and labels that agree with the images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decomr_core.body_models import BodyModel, load_body
from decomr_core.geometry.rasterizer import Fragments, rasterize
from decomr_core.uv.uv_map import UVMap, load_uv_map
from training.records.rotations import axis_angle_from_matrix, matrix_from_axis_angle
from training.synthetic import preview
from training.synthetic.bodies.poses import (
    ACTIVITY_NAMES,
    LOWER_ARM,
    UPPER_ARM,
    arm_rotations,
    sample_poses,
)
from training.synthetic.held_out import HELD_OUT_SEED, held_out_set
from training.synthetic.people import SyntheticPeople
from training.synthetic.producer import BlockReplay, synthetic_loader
from training.synthetic.scenes.viewpoints import fit_weak_perspective, sample_viewpoints
from training.synthetic.synthetic_batch import SyntheticBatch
from training.synthetic.synthetic_config import SyntheticConfig
from training.targets.iuv_target import iuv_target

SIZE = 64
CLEAR = SyntheticConfig(size=SIZE, batch_size=16, occluder_share=0.0, passer_by_share=0.0)
LEFT_SHOULDER, RIGHT_SHOULDER = 16, 17
LEFT_ANKLE, RIGHT_ANKLE, LEFT_FOOT, RIGHT_FOOT = 7, 8, 10, 11
NAMES = ('images', 'iuv', 'mask', 'vertices', 'joints', 'joints_2d', 'camera', 'pose', 'shape')


@pytest.fixture(scope='module')
def clear_people() -> SyntheticBatch:
    """32 people of the built-in body with nothing in front of them."""
    people = SyntheticPeople(CLEAR, load_body(), load_uv_map(), seed=3)
    return SyntheticBatch.concatenate([people.batch(number) for number in range(2)])


@pytest.fixture(scope='module')
def tiny_people(tiny_body: BodyModel, tiny_uv_map: UVMap) -> SyntheticPeople:
    """An endless stream of small images of the small test body."""
    return SyntheticPeople(SyntheticConfig(size=32, batch_size=4), tiny_body, tiny_uv_map, seed=1)


def assert_same(first: SyntheticBatch, second: SyntheticBatch) -> None:
    for name in NAMES:
        assert torch.equal(getattr(first, name), getattr(second, name)), name


def test_a_batch_has_the_promised_shapes_and_ranges(clear_people: SyntheticBatch) -> None:
    batch, vertices = clear_people, len(load_body().v_template)
    shapes = [
        (SIZE, SIZE, 3),
        (3, SIZE // 4, SIZE // 4),
        (SIZE, SIZE),
        (vertices, 3),
        (24, 3),
        (24, 3),
        (3,),
        (24, 3),
        (10,),
    ]
    for name, shape in zip(NAMES, shapes, strict=True):
        assert getattr(batch, name).shape == (32, *shape), name
    assert batch.images.dtype == torch.uint8
    assert batch.iuv.min() >= 0
    assert batch.iuv.max() <= 1
    shown = batch.iuv[:, 0] > 0
    assert shown.any() and not batch.iuv[:, 1:].permute(0, 2, 3, 1)[~shown].any()
    for name in ('vertices', 'joints', 'joints_2d', 'camera'):
        assert torch.isfinite(getattr(batch, name)).all()


def test_the_same_seed_gives_the_same_people_in_another_process(
    tiny_people: SyntheticPeople, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    loader = synthetic_loader(
        tiny_people.config, tiny_body, tiny_uv_map, batch_size=4, num_workers=1, seed=1
    )
    for (number, chunk), _ in zip(enumerate(loader.chunks_from(0)), range(3), strict=False):
        assert_same(chunk, tiny_people.batch(number))
    assert number == 2, 'three were compared'
    assert not torch.equal(tiny_people.batch(0).images, tiny_people.batch(1).images)


def test_held_out_people_are_fixed_and_unavailable_for_training(
    tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    config = SyntheticConfig(size=32)
    first, second = (held_out_set(config, tiny_body, tiny_uv_map, count) for count in (11, 16))
    assert len(first) == 11 and len(second) == 16
    assert torch.equal(first.images[:8], second.images[:8])
    with pytest.raises(ValueError, match='reserved for the held-out set'):
        synthetic_loader(
            config, tiny_body, tiny_uv_map, batch_size=4, num_workers=0, seed=HELD_OUT_SEED
        )


def test_visible_joints_lie_on_the_person(clear_people: SyntheticBatch) -> None:
    hits = []
    for mask, joints in zip(clear_people.mask.numpy(), clear_people.joints_2d, strict=True):
        near = cv2.dilate(mask, np.ones((3, 3), np.uint8))
        seen = joints[joints[:, 2] > 0, :2]
        pixel = ((seen + 1) * (SIZE / 2) - 0.5).round().long().clamp(0, SIZE - 1)
        hits += near[pixel[:, 1], pixel[:, 0]].tolist()
    assert len(hits) > 300 and np.mean(hits) > 0.97


def test_uv_says_which_surface_point_a_pixel_shows(clear_people: SyntheticBatch) -> None:
    batch, uv_map = clear_people, load_uv_map()
    distances = []
    for index in range(len(batch)):
        shown = batch.iuv[index, 0] == 1
        uv = batch.iuv[index, 1:][:, shown].T
        nearest = torch.cdist(uv, torch.as_tensor(uv_map.uv)).argmin(1)
        vertex = torch.as_tensor(uv_map.vertex_index)[nearest]
        scale, *shift = batch.camera[index].tolist()
        seen = scale * (batch.vertices[index, vertex, :2] + torch.tensor(shift))
        row, column = shown.nonzero(as_tuple=True)
        pixel = (2 * torch.stack([column, row], dim=1) + 1) / shown.shape[0] - 1
        distances.append((seen - pixel).norm(dim=1) * SIZE / 2)
    # A cell is 4 px wide, clothes stand off, and the camera is only the nearest weak one.
    assert torch.cat(distances).median() < 3


def test_the_left_side_is_the_persons_left(clear_people: SyntheticBatch) -> None:
    joints = clear_people.joints
    toes = (joints[:, [LEFT_FOOT, RIGHT_FOOT]] - joints[:, [LEFT_ANKLE, RIGHT_ANKLE]]).mean(1)
    across = joints[:, LEFT_SHOULDER, 0] - joints[:, RIGHT_SHOULDER, 0]
    upright = joints[:, 15, 1] < joints[:, 0, 1] - 0.3  # y points down: the head is above
    towards, away = upright & (toes[:, 2] < -0.1), upright & (toes[:, 2] > 0.1)
    assert towards.sum() > 3 and away.sum() > 3
    assert (across[towards] > 0).float().mean() > 0.9
    assert (across[away] < 0).float().mean() > 0.9


def test_the_weak_camera_is_near_the_true_projection(clear_people: SyntheticBatch) -> None:
    scale, shift = clear_people.camera[:, None, :1], clear_people.camera[:, None, 1:]
    weak = scale * (clear_people.joints[..., :2] + shift)
    assert (weak - clear_people.joints_2d[..., :2]).norm(dim=-1).median() < 0.05
    assert (clear_people.camera[:, 0] > 0).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.1, 3), x=st.floats(-2, 2), y=st.floats(-2, 2))
def test_an_exact_weak_camera_is_found_exactly(
    seed: int, scale: float, x: float, y: float
) -> None:
    points = torch.randn(
        1, 30, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    wanted = torch.tensor([[scale, x, y]], dtype=torch.float64)
    found = fit_weak_perspective(points, scale * (points[..., :2] + wanted[:, None, 1:]))
    assert torch.allclose(found, wanted, atol=1e-9)


def test_most_arms_hang_and_no_knee_bends_backwards() -> None:
    pose, kind = sample_poses(np.random.default_rng(0), 400)
    body = load_body()
    with torch.no_grad():
        _, joints = body(torch.tensor(pose, dtype=torch.float32), torch.zeros(400, 10))
    stands = kind == ACTIVITY_NAMES.index('stand')
    below = (joints[:, [20, 21], 1] < joints[:, [16, 17], 1]).numpy()
    assert stands.sum() > 50 and below[stands].mean() > 0.8
    knees = pose[:, [4, 5], 0]
    assert knees.min() > -0.2 and knees.max() < 2.6
    assert set(kind) == set(range(len(ACTIVITY_NAMES)))


def test_elbows_bend_forearms_to_the_front() -> None:
    pose, _ = sample_poses(np.random.default_rng(1), 100)
    only_elbows = np.zeros_like(pose)
    only_elbows[:, [18, 19]] = pose[:, [18, 19]]
    with torch.no_grad():
        _, joints = load_body()(
            torch.tensor(only_elbows, dtype=torch.float32), torch.zeros(100, 10)
        )
    ahead = joints[:, [20, 21], 2] - joints[:, [18, 19], 2]
    assert (ahead > -0.06).all() and (ahead > 0.05).float().mean() > 0.5


@settings(max_examples=50, deadline=None)
@given(target=st.tuples(*[st.floats(-0.55, 0.55)] * 3).filter(lambda t: np.linalg.norm(t) > 0.35))
def test_the_arm_brings_the_wrist_to_its_target(target: tuple[float, float, float]) -> None:
    shoulder, bend = arm_rotations(np.array([target]), np.array([[0.3, -0.8, -0.5]]))
    assert np.allclose(shoulder[0] @ shoulder[0].T, np.eye(3), atol=1e-9)
    assert np.linalg.det(shoulder[0]) > 0 and 0 <= bend[0] <= np.pi
    elbow = matrix_from_axis_angle(np.array([0, -bend[0], 0]))
    wrist = shoulder[0] @ (np.array([UPPER_ARM, 0, 0]) + elbow @ np.array([LOWER_ARM, 0, 0]))
    assert np.allclose(wrist, target, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(vector=st.tuples(*[st.floats(-1.8, 1.8)] * 3))
def test_axis_angle_is_converted_to_a_matrix_and_back(vector: tuple[float, float, float]) -> None:
    matrix = matrix_from_axis_angle(np.array(vector))
    assert np.allclose(axis_angle_from_matrix(matrix), vector, atol=1e-6)


def test_half_turns_are_converted_and_back() -> None:
    for axis in ([1, 0, 0], [0, 1, 0], [0.6, 0.8, 0], [0, -0.6, 0.8]):
        matrix = matrix_from_axis_angle(np.pi * np.array(axis, float))
        back = matrix_from_axis_angle(axis_angle_from_matrix(matrix))
        assert np.allclose(back, matrix, atol=1e-7)


def test_cameras_stand_where_robots_have_them() -> None:
    views = sample_viewpoints(np.random.default_rng(0), 500)
    low = views.height_m < 2.3
    assert low.mean() > 0.75 and views.height_m.min() >= 0.4
    assert views.distance_m[low].min() >= 1 and views.distance_m[low].max() <= 8.01
    assert np.allclose(
        views.camera_from_world @ views.camera_from_world.transpose(0, 2, 1), np.eye(3), atol=1e-9
    )
    assert (views.up[:, 1] < -0.5).all()  # y points down


def test_the_iuv_target_equals_a_search_pixel_by_pixel() -> None:
    generator = torch.Generator().manual_seed(2)
    vertices = torch.rand(2, 30, 3, generator=generator) * 2 - 1
    faces = torch.randint(0, 30, (12, 3), generator=generator)
    uv, size = torch.rand(30, 2, generator=generator), 16
    fragments = rasterize(vertices, faces, size)
    mask = (fragments.face_index >= 0) & (torch.rand(2, size, size, generator=generator) < 0.5)
    target = iuv_target(fragments, mask.to(torch.uint8), uv, faces)
    for image, row, column in np.ndindex(2, 4, 4):
        cell = mask[image, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        assert target[image, 0, row, column] == pytest.approx(cell.float().mean().item())
        options = [
            (
                (y - 1.5) ** 2 + (x - 1.5) ** 2,
                _uv_at(fragments, image, 4 * row + y, 4 * column + x, uv, faces),
            )
            for y, x in np.ndindex(4, 4)
            if cell[y, x]
        ]
        best = (
            [found for distance, found in options if distance == min(options)[0]]
            if (options)
            else [(0.0, 0.0)]
        )
        seen = tuple(target[image, 1:, row, column].tolist())
        assert any(np.allclose(seen, choice, atol=1e-5) for choice in best)


def _uv_at(
    fragments: Fragments, image: int, y: int, x: int, uv: torch.Tensor, faces: torch.Tensor
) -> tuple[float, ...]:
    corners = uv[faces[fragments.face_index[image, y, x]]]
    return tuple((corners * fragments.barycentric[image, y, x][:, None]).sum(0).tolist())


def _numbered_chunks(chunk: SyntheticBatch, first: int, last: int) -> Iterator[SyntheticBatch]:
    for number in range(first, last):
        copy = SyntheticBatch.concatenate([chunk])
        copy.camera[:, 0] = torch.arange(4) + 4 * number
        yield copy


def _given_out(tiny_people: SyntheticPeople, reuse: int, first_batch: int = 0) -> list[list[int]]:
    chunk = tiny_people.batch(0)
    replay = BlockReplay(
        lambda first: _numbered_chunks(chunk, first, 60), 4, 6, reuse, 20, first_batch=first_batch
    )
    return [batch.camera[:, 0].long().tolist() for batch in replay]


@pytest.mark.parametrize('reuse', [1, 3])
def test_each_image_is_repeated_as_often_as_requested(
    tiny_people: SyntheticPeople, reuse: int
) -> None:
    given = _given_out(tiny_people, reuse)
    assert all(len(set(batch)) == 6 for batch in given)
    counts = torch.bincount(torch.tensor(given).flatten())
    assert len(counts) == 240 and (counts == reuse).all()
    assert max(given[0]) - min(given[0]) > 4  # one batch mixes several chunks


@settings(max_examples=10, deadline=None)
@given(first=st.integers(0, 70), reuse=st.integers(1, 3))
def test_a_stream_begun_later_gives_the_same_batches(
    tiny_people: SyntheticPeople, first: int, reuse: int
) -> None:
    assert _given_out(tiny_people, reuse, first) == _given_out(tiny_people, reuse)[first:]


@pytest.mark.parametrize('arguments', [{'reuse': 0}, {'batch_size': 0}])
def test_a_replay_rejects_invalid_arguments(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match='take 1 or more'):
        BlockReplay(lambda first: [], 4, **{'batch_size': 4, 'reuse': 1, **arguments})


@pytest.mark.parametrize('size', [0, 6, 30])
def test_a_size_that_does_not_divide_is_rejected(size: int) -> None:
    with pytest.raises(ValueError, match='take a multiple of 4'):
        SyntheticConfig(size=size)


def test_a_map_of_another_body_is_rejected_with_the_command(tiny_uv_map: UVMap) -> None:
    with pytest.raises(ValueError, match='decomr uv build'):
        SyntheticPeople(SyntheticConfig(), load_body(), tiny_uv_map, seed=0)


def test_the_preview_writes_a_sheet_and_prints_the_speed(
    tmp_path: Path, tiny_body: BodyModel, tiny_uv_map: UVMap, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_body.save(tmp_path / 'body.npz')
    tiny_uv_map.save(tmp_path / 'uv.npz')
    sheet = tmp_path / 'sheet.png'
    preview.main(
        [
            '--preview',
            str(sheet),
            '--num',
            '8',
            '--size',
            '32',
            '--body',
            str(tmp_path / 'body.npz'),
            '--uv-map',
            str(tmp_path / 'uv.npz'),
            '--boxed-share',
            '1',
        ]
    )
    picture = cv2.imread(str(sheet))
    assert picture.shape == (64, 384, 3)
    crops = picture.reshape(2, 32, 4, 3, 32, 3)[:, :, :, 0]
    assert (crops.max(-1) == 0).mean() > 0.2  # black outside of the boxes
    assert 'images/s per core' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (['--num', '0'], '--num is 0'),
        (['--seed', str(HELD_OUT_SEED)], 'is reserved for'),
        (['--size', '30'], 'take a multiple of 4'),
        (['--body', 'nobody.npz'], 'nobody.npz'),
    ],
)
def test_wrong_preview_arguments_end_in_one_line_and_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        preview.main(arguments)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert 'error: ' in error.splitlines()[-1] and said in error.splitlines()[-1]
    assert 'Traceback' not in error
