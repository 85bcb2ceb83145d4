"""Augmentation: labels follow the image, and mirroring swaps left and right."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from decomr_core.body_models import BodyModel, load_body
from decomr_core.body_models.frames import ROOT_FROM_BODY
from decomr_core.body_models.joint_sets import (
    ANNOTATED_JOINTS,
    MIRRORED_ANNOTATED_JOINTS,
    annotated_regressor,
)
from decomr_core.geometry.crop import crop_pixels, image_from_crop_xy
from training.records.augmentation import (
    Augmentation,
    AugmentationConfig,
    Augmented,
    apply_augmentation,
    augment,
    augment_keypoints_3d,
    augment_pose,
    crop_affine,
    sample_augmentation,
)
from training.records.rotations import matrix_from_axis_angle
from training.synthetic.bodies.poses import sample_poses
from training.synthetic.scenes.viewpoints import fit_weak_perspective

SIZE, SIDE_PX = 64, 400
FLIPPED = Augmentation(is_flipped=True)
AUGMENTATIONS = st.builds(
    Augmentation,
    scale=st.floats(0.75, 1.25),
    rotation=st.floats(-math.pi, math.pi),
    is_flipped=st.booleans(),
)


def image_of_a_spot(x: float, y: float, sigma: float) -> np.ndarray:
    """A black image with a soft round spot at this position, px."""
    columns, rows = (
        np.exp(-(((np.arange(SIDE_PX) - place) / sigma) ** 2) / 2) for place in (x, y)
    )
    return np.repeat((rows[:, None] * columns * 255).round()[..., None], 3, 2).astype(np.uint8)


def one_keypoint(joint: int, x: float, y: float) -> np.ndarray:
    keypoints = np.zeros((24, 3))
    keypoints[joint] = x, y, 0.7
    return keypoints


def random_pose(seed: int) -> np.ndarray:
    """A natural pose with a random root rotation."""
    rng = np.random.default_rng(seed)
    pose = sample_poses(rng, 1)[0][0]
    pose[0] = rng.normal(0, 1.5, 3)
    return pose


def posed(body: BodyModel, pose: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Vertices (V, 3) float64 in the body frame, m."""
    with torch.no_grad():
        vertices, _ = body(
            torch.tensor(pose, dtype=torch.float32)[None],
            torch.tensor(shape, dtype=torch.float32)[None],
        )
    return vertices[0].double().numpy()


def assert_same(first: Augmented, second: Augmented) -> None:
    for name in ('image', 'keypoints_2d', 'keypoints_3d', 'pose', 'shape', 'crop_from_image'):
        assert np.array_equal(getattr(first, name), getattr(second, name)), name
    assert first.augmentation == second.augmentation


def example_person() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    return {
        'image': rng.integers(0, 256, (90, 120, 3), dtype=np.uint8),
        'center': np.array([60.0, 40]),
        'side': 70.0,
        'keypoints_2d': rng.uniform(1, 80, (24, 3)),
        'keypoints_3d': rng.random((24, 4)) + 1,
        'pose': random_pose(0),
        'shape': rng.normal(0, 1, 10),
    }


@settings(deadline=None, max_examples=60)
@given(
    augmentation=AUGMENTATIONS,
    joint=st.integers(0, 23),
    size=st.sampled_from([64, 224]),
    side=st.floats(90, 320),
    right=st.floats(-0.4, 0.4),
    down=st.floats(-0.4, 0.4),
)
def test_a_keypoint_lands_where_the_crop_shows_it(
    augmentation: Augmentation, joint: int, size: int, side: float, right: float, down: float
) -> None:
    center = np.array([190.3, 210.8])
    x, y = center + (right * side, down * side)
    image = image_of_a_spot(x, y, max(2.5, 1.5 * side / size))
    found = apply_augmentation(augmentation, size, image, center, side, one_keypoint(joint, x, y))
    seen = MIRRORED_ANNOTATED_JOINTS[joint] if augmentation.is_flipped else joint
    crop_xy, confidence = found.keypoints_2d[seen, :2], found.keypoints_2d[seen, 2]
    assume(np.abs(crop_xy).max() < 0.75)
    assert confidence == np.float32(0.7) and np.count_nonzero(found.keypoints_2d) <= 3
    bright = found.image[..., 0].astype(float)
    columns = np.arange(size)
    place_px = np.array([(bright.sum(0) * columns).sum(), (bright.sum(1) * columns).sum()])
    assert np.abs(place_px / bright.sum() - ((crop_xy + 1) * size / 2 - 0.5)).max() < 0.5
    by_affine = found.crop_from_image @ [x, y, 1]
    assert np.abs(by_affine - crop_xy).max() < 1e-6


def test_without_augmentation_the_crop_is_that_of_the_estimator() -> None:
    person = example_person()
    found = augment(
        **person, rng=np.random.default_rng(0), config=AugmentationConfig.off(), size=SIZE
    )
    assert found.augmentation == Augmentation()
    assert np.array_equal(found.image, crop_pixels(person['image'], person['center'], 70.0, SIZE))
    assert np.array_equal(found.pose, person['pose'].astype(np.float32))
    assert np.array_equal(found.keypoints_3d, person['keypoints_3d'].astype(np.float32))
    back = image_from_crop_xy(found.keypoints_2d[:, :2], person['center'], 70.0)
    assert np.abs(back - person['keypoints_2d'][:, :2]).max() < 1e-4


def test_flipping_twice_gives_the_original() -> None:
    person = example_person()
    person.update(
        image=person['image'][:SIZE, :SIZE], side=SIZE, center=np.full(2, (SIZE - 1) / 2)
    )
    once = apply_augmentation(FLIPPED, SIZE, **person)
    person_px = image_from_crop_xy(once.keypoints_2d[:, :2], person['center'], SIZE)
    twice = apply_augmentation(
        FLIPPED,
        SIZE,
        once.image,
        person['center'],
        SIZE,
        np.column_stack([person_px, once.keypoints_2d[:, 2]]),
        once.keypoints_3d,
        once.pose,
    )
    original = apply_augmentation(Augmentation(), SIZE, **person)
    assert np.array_equal(twice.image, person['image'])
    assert not np.array_equal(once.image, person['image'])
    mirrored = original.keypoints_2d[list(MIRRORED_ANNOTATED_JOINTS)] * [-1, 1, 1]
    assert np.allclose(once.keypoints_2d, mirrored, atol=1e-5)
    for name in ('keypoints_2d', 'keypoints_3d', 'pose'):
        assert np.allclose(getattr(twice, name), getattr(original, name), atol=1e-5), name
        assert not np.allclose(getattr(once, name), getattr(original, name), atol=0.1), name


@pytest.mark.parametrize('name', ['builtin', 'tiny'])
def test_a_flipped_pose_gives_the_mirrored_body(name: str, tiny_body: BodyModel) -> None:
    body = tiny_body if name == 'tiny' else load_body()
    mirrored = body.mirrored_vertices.numpy()
    for seed in range(5):
        pose, shape = random_pose(seed), np.random.default_rng(seed).normal(0, 1, 10)
        vertices = posed(body, pose, shape)
        flipped = posed(body, augment_pose(pose, FLIPPED), shape)
        assert np.abs(flipped - vertices[mirrored] * [-1, 1, 1]).max() < 1e-4
        assert np.abs(flipped - vertices).max() > 0.1


@settings(deadline=None, max_examples=25)
@given(augmentation=AUGMENTATIONS, seed=st.integers(0, 1000), turned=st.booleans())
def test_the_projection_of_the_augmented_body_follows_the_crop(
    augmentation: Augmentation, seed: int, turned: bool, tiny_body: BodyModel
) -> None:
    root_from_body = ROOT_FROM_BODY if turned else np.eye(3)
    pose, shape = random_pose(seed), np.zeros(10)
    center, side, camera = np.array([310.0, 205]), 260.0, (0.9, 0.1, -0.2)
    vertices = posed(tiny_body, pose, shape) @ root_from_body.T
    seen_px = image_from_crop_xy(camera[0] * (vertices[:, :2] + camera[1:]), center, side)
    affine = crop_affine(center, side, augmentation)
    seen = seen_px @ affine[:, :2].T + affine[:, 2]
    if augmentation.is_flipped:
        seen = seen[tiny_body.mirrored_vertices.numpy()]
    again = (
        posed(tiny_body, augment_pose(pose, augmentation, root_from_body), shape)
        @ root_from_body.T
    )
    fitted = fit_weak_perspective(torch.tensor(again)[None], torch.tensor(seen)[None])[0].numpy()
    assert np.abs(fitted[0] * (again[:, :2] + fitted[1:]) - seen).max() < 1e-4
    assert fitted[0] == pytest.approx(camera[0] / augmentation.scale, rel=1e-4)


@settings(deadline=None, max_examples=25)
@given(augmentation=AUGMENTATIONS, seed=st.integers(0, 1000))
def test_3d_keypoints_turn_as_the_body_does(
    augmentation: Augmentation, seed: int, tiny_body: BodyModel
) -> None:
    regressor, is_known = annotated_regressor(tiny_body)
    is_known[ANNOTATED_JOINTS.index('nose')] = False  # any of several vertices of the small body
    pose, shape = random_pose(seed), np.zeros(10)
    before, after = (
        regressor @ posed(tiny_body, one, shape) @ ROOT_FROM_BODY.T
        for one in (pose, augment_pose(pose, augmentation))
    )
    keypoints = augment_keypoints_3d(np.column_stack([before, is_known]), augmentation)
    assert np.array_equal(
        keypoints[:, 3],
        is_known[list(MIRRORED_ANNOTATED_JOINTS)] if augmentation.is_flipped else is_known,
    )
    pelvis = ANNOTATED_JOINTS.index('pelvis')
    known = (keypoints[:, 3] > 0) & (np.arange(24) != ANNOTATED_JOINTS.index('head_top'))
    difference = (keypoints[:, :3] - keypoints[pelvis, :3]) - (after - after[pelvis])
    assert np.abs(difference[known]).max() < 1e-4


def test_a_positive_rotation_turns_the_image_and_the_body_clockwise() -> None:
    image = np.zeros((65, 65, 3), np.uint8)
    image[30:35, 50:55] = 255  # at three o'clock
    turned = apply_augmentation(
        Augmentation(rotation=math.pi / 2), 65, image, np.array([32.0, 32]), 65
    )
    assert turned.image[52, 32].min() == 255 and turned.image[32, 52].max() == 0  # at six
    pose = augment_pose(np.zeros((24, 3)), Augmentation(rotation=math.pi / 2))
    up_in_root = ROOT_FROM_BODY @ matrix_from_axis_angle(pose[0].astype(float)) @ [0, 1, 0]
    assert np.allclose(up_in_root, [1, 0, 0], atol=1e-6)  # the head at three o'clock


def test_a_pose_in_camera_axes_turns_the_other_way() -> None:
    person, turn = example_person(), Augmentation(rotation=math.pi / 2)
    person['pose'] = np.zeros((24, 3))
    body, root = (
        apply_augmentation(turn, SIZE, **person, **given).pose[0]
        for given in ({}, {'root_from_body': np.eye(3)})
    )
    assert np.allclose(root, [0, 0, math.pi / 2]) and np.allclose(body, -root)


def test_unknown_keypoints_are_zeros_and_missing_labels_stay_unknown() -> None:
    person = example_person()
    person['keypoints_2d'][3] = np.nan, 5, 0
    person['keypoints_3d'][3, 3] = 0
    person.update(pose=None, shape=None)
    found = apply_augmentation(Augmentation(rotation=0.3), SIZE, **person)
    assert found.pose is None and found.shape is None
    assert not found.keypoints_2d[3].any() and not found.keypoints_3d[3].any()
    assert np.isfinite(found.keypoints_2d).all()
    bare = apply_augmentation(FLIPPED, SIZE, person['image'], person['center'], 70.0)
    assert bare.keypoints_2d is None and bare.keypoints_3d is None


def test_the_augmentation_depends_on_the_rng_alone() -> None:
    person, config = example_person(), AugmentationConfig()
    first, second, other = (
        augment(**person, rng=np.random.default_rng(seed), config=config, size=SIZE)
        for seed in (1, 1, 2)
    )
    assert_same(first, second)
    assert first.augmentation != other.augmentation
    assert not np.array_equal(first.image, other.image)


def test_the_augmentations_stay_within_their_bounds_and_reach_them() -> None:
    rng, config = np.random.default_rng(3), AugmentationConfig()
    drawn = [sample_augmentation(rng, config) for _ in range(3000)]
    scale = np.array([one.scale for one in drawn])
    assert scale.min() == 0.75 and scale.max() == 1.25
    assert 0.1 < (scale == 0.75).mean() < 0.22  # a normal number is below -1 so often
    degrees = np.rad2deg([one.rotation for one in drawn])
    assert np.isclose(np.abs(degrees).max(), 60)
    assert abs((degrees == 0).mean() - 0.6) < 0.03
    assert 22 < degrees[degrees != 0].std() < 32
    assert abs(np.mean([one.is_flipped for one in drawn]) - 0.5) < 0.03
    factors = np.array([one.channel_factors for one in drawn])
    assert 0.6 <= factors.min() < 0.61 and 1.39 < factors.max() <= 1.4


def test_noise_multiplies_each_channel_and_stays_within_its_levels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    square = np.full(2, (SIZE - 1) / 2), SIZE
    noisy = apply_augmentation(
        Augmentation(channel_factors=(0.6, 1.0, 1.4)), SIZE, image, *square
    ).image.astype(int)
    wanted = np.minimum(image * [0.6, 1, 1.4], 255)
    assert np.abs(noisy - wanted).max() <= 0.5
    assert (noisy[..., 2] == 255).any() and not noisy[image == 0].any()


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('scale', 1.0),
        ('scale', -0.1),
        ('rotation_deg', 91),
        ('rotation_share', 1.2),
        ('flip_share', -1),
        ('noise', 2),
    ],
)
def test_invalid_amounts_are_rejected_with_the_valid_range(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f'{field} is {value}.*; take'):
        AugmentationConfig(**{field: value})


@pytest.mark.parametrize(
    ('changed', 'words'),
    [
        ({'side': 0.0}, 'side of 0.0'),
        ({'center': np.array([np.nan, 1])}, 'centre at'),
        ({'center': np.zeros(3)}, 'center has shape'),
        ({'pose': np.zeros(72)}, 'pose has shape'),
        ({'keypoints_2d': np.zeros((14, 3))}, 'keypoints_2d has shape'),
        ({'keypoints_3d': np.zeros((24, 3))}, 'keypoints_3d has shape'),
        ({'image': np.zeros((5, 5, 3))}, 'expected uint8'),
    ],
)
def test_wrong_arguments_are_named(changed: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        apply_augmentation(Augmentation(), SIZE, **{**example_person(), **changed})
