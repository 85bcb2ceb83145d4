"""Rendered IUV targets against a ray through every pixel, and cameras against a linear solver."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from benchmarks import mesh_targets
from decomr_core.body_models import MIRRORED_JOINTS, BodyModel, load_body
from decomr_core.uv.uv_map import UVMap, load_uv_map
from training.records.augmentation import (
    Augmentation,
    apply_augmentation,
    augment_pose,
    crop_affine,
)
from training.records.root_frame import root_frame_body
from training.synthetic.bodies.poses import sample_poses
from training.targets.iuv_target import flip_iuv, shrink_iuv
from training.targets.mesh_target import MeshTargetRenderer, fit_camera, pixels_in_image

SIZE = 32
CLEAR_PX, CLEAR_M = 1e-3, 1e-5
"""A pixel centre this near to an edge, or two surfaces this near to each other: rounding decides
which face is seen."""


def people(body: BodyModel, seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Vertices and joints of people in natural poses with random rotations; root frame, m."""
    rng = np.random.default_rng(seed)
    pose = sample_poses(rng, count)[0]
    pose[:, 0] = rng.normal(0, 1.5, (count, 3))
    return posed(body, pose, rng.normal(0, 1, (count, 10)))


def posed(
    body: BodyModel, pose: np.ndarray, shape: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        return root_frame_body(
            body, torch.tensor(pose, dtype=torch.float32), torch.tensor(shape, dtype=torch.float32)
        )


def seen_joints(joints: torch.Tensor, camera: torch.Tensor) -> torch.Tensor:
    """Annotations (B, 24, 3) of joints, by weak perspective, all of confidence 1."""
    crop_xy = camera[:, None, :1] * (joints[..., :2] + camera[:, None, 1:])
    return torch.cat([crop_xy, torch.ones_like(crop_xy[..., :1])], dim=-1)


def some_cameras(count: int, seed: int = 0) -> torch.Tensor:
    """Cameras that show people whole or cut off by the crop's edge."""
    generator = torch.Generator().manual_seed(seed)
    shift = torch.rand(count, 2, generator=generator) * 0.6 - 0.3
    return torch.cat([torch.rand(count, 1, generator=generator) * 0.7 + 0.7, shift], dim=1)


class Rays:
    """The nearest face along the viewing direction, all faces in float64, of one image.

    Attributes:
        face, weights, depth: of the nearest face at the pixels (M,), (M, 3), (M,); -1 for none.
        is_clear: (M,) whether rounding cannot change the face.
    """

    def __init__(
        self,
        vertices: torch.Tensor,
        camera: torch.Tensor,
        faces: torch.Tensor,
        size: int,
        pixels: np.ndarray,
    ) -> None:
        points, camera = vertices.double().numpy(), camera.double().numpy()
        screen = (camera[0] * (points[:, :2] + camera[1:]) + 1) * size / 2 - 0.5
        corners, self._z = screen[faces.numpy()], points[:, 2][faces.numpy()]  # (F, 3, 2), (F, 3)
        after, before = np.roll(corners, -1, axis=1), np.roll(corners, -2, axis=1)
        # Twice the area of the pixel p with the edge opposite to a corner: linear in p.
        self._constant = after[..., 0] * before[..., 1] - after[..., 1] * before[..., 0]
        self._edges = before - after
        self._total = self._constant.sum(1, keepdims=True)
        with np.errstate(divide='ignore', invalid='ignore'):
            self._px = np.sign(self._total) / np.linalg.norm(self._edges, axis=2)
        self.face = np.full(len(pixels), -1)
        self.weights, self.depth = np.zeros((len(pixels), 3)), np.full(len(pixels), np.inf)
        self.is_clear = np.zeros(len(pixels), bool)
        for number, (x, y) in enumerate(pixels.astype(np.float64)):
            self._cast(number, x, y)

    def _cast(self, number: int, x: float, y: float) -> None:
        areas = self._constant + self._edges[..., 0] * y - self._edges[..., 1] * x
        near = np.flatnonzero(((areas * self._px).min(1) > -CLEAR_PX) & (self._total[:, 0] != 0))
        weights = areas[near] / self._total[near]
        depth = (weights * self._z[near]).sum(1)
        hits = np.flatnonzero(weights.min(1) >= 0)
        best = hits[depth[hits].argmin()] if len(hits) else None
        is_inside = True
        if best is not None:
            self.face[number], self.depth[number] = near[best], depth[best]
            self.weights[number] = weights[best]
            is_inside = (areas * self._px)[near[best]].min() > CLEAR_PX
        rivals = (near != self.face[number]) & (depth < self.depth[number] + CLEAR_M)
        self.is_clear[number] = is_inside and not rivals.any()

    def uv(self, uv_map: UVMap) -> np.ndarray:
        """u, v (M, 2) of the pixels, zeros for none."""
        corners = uv_map.uv[uv_map.faces[self.face]].astype(np.float64)
        return (corners * self.weights[..., None]).sum(1) * (self.face >= 0)[:, None]


def assert_equal_to_rays(
    renderer: MeshTargetRenderer,
    uv_map: UVMap,
    vertices: torch.Tensor,
    camera: torch.Tensor,
    pixels: np.ndarray,
) -> None:
    """Compares one image's fragments and full-size target at the pixels (M, 2): column, row."""
    found = renderer.fragments(vertices[None], camera[None])
    everywhere = seen_joints(vertices[None], camera[None])
    target = renderer(vertices[None], vertices[None], everywhere)
    rays = Rays(vertices, camera, renderer.faces, renderer.size, pixels)
    column, row = pixels.T
    clear, shown = rays.is_clear, rays.is_clear & (rays.face >= 0)
    assert clear.mean() > 0.97 and shown.sum() > 20
    assert np.array_equal(found.face_index[0, row, column].numpy()[clear], rays.face[clear])
    weights = found.barycentric[0, row, column].numpy()
    assert np.abs(weights - rays.weights)[shown].max() < 2e-3  # of faces thinner than a pixel
    depth = found.depth[0, row, column].numpy()
    assert np.abs(depth[shown] - rays.depth[shown]).max() < 1e-5
    assert np.isinf(depth[clear & ~shown]).all()
    iuv = target.iuv[0, :, row, column].numpy()
    assert np.array_equal(iuv[0][clear], (rays.face >= 0)[clear])
    assert np.abs(iuv[1:].T - rays.uv(uv_map))[clear].max() < 1e-5
    assert not iuv[1:].T[clear & (rays.face < 0)].any()


@pytest.mark.parametrize('seed', range(4))
def test_every_pixel_of_the_target_shows_the_first_face_on_its_ray(
    seed: int, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    renderer = MeshTargetRenderer(tiny_body, tiny_uv_map, SIZE, stride=1)
    vertices, _ = people(tiny_body, seed, 1)
    pixels = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), axis=-1).reshape(-1, 2)
    assert_equal_to_rays(renderer, tiny_uv_map, vertices[0], some_cameras(1, seed)[0], pixels)


def test_pixels_of_the_built_in_body_show_the_first_face_on_their_rays() -> None:
    body, uv_map = load_body(), load_uv_map()
    renderer = MeshTargetRenderer(body, uv_map, 224, stride=1)
    vertices, _ = people(body, 1, 2)
    for one, camera in zip(vertices, some_cameras(2, 1), strict=True):
        shown = (renderer.fragments(one[None], camera[None]).face_index[0] >= 0).nonzero()
        rng = np.random.default_rng(0)
        pixels = np.concatenate(
            [rng.choice(shown.numpy()[:, ::-1], 120, replace=False), rng.integers(0, 224, (40, 2))]
        )
        assert_equal_to_rays(renderer, uv_map, one, camera, pixels)


def test_a_cell_of_the_small_target_has_the_share_of_its_rays_and_the_most_central_point(
    tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    vertices, joints = people(tiny_body, 7, 1)
    camera = some_cameras(1, 7)
    target = (
        MeshTargetRenderer(tiny_body, tiny_uv_map, SIZE)(
            vertices, joints, seen_joints(joints, camera)
        )
        .iuv[0]
        .numpy()
    )
    pixels = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), axis=-1).reshape(-1, 2)
    rays = Rays(vertices[0], camera[0], tiny_body.faces, SIZE, pixels)
    uv = rays.uv(tiny_uv_map).reshape(SIZE, SIZE, 2)
    hits, clear = (values.reshape(SIZE, SIZE) for values in (rays.face >= 0, rays.is_clear))
    center = np.hypot(*(np.mgrid[:4, :4] - 1.5))
    compared = 0
    for row, column in np.ndindex(SIZE // 4, SIZE // 4):
        cell = np.s_[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        if not clear[cell].all():
            continue
        compared += hits[cell].any()
        assert target[0, row, column] == pytest.approx(hits[cell].mean())
        distance = np.where(hits[cell], center, np.inf)
        nearest = uv[cell][np.isclose(distance, distance.min())] if hits[cell].any() else [[0, 0]]
        assert np.abs(nearest - target[1:, row, column]).max(1).min() < 1e-5
    assert compared > 10


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), count=st.integers(3, 24), noise=st.floats(0, 0.1))
def test_the_camera_equals_that_of_a_linear_solver(seed: int, count: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    joints, camera = rng.normal(0, 0.4, (count, 3)), rng.uniform([0.3, -1, -1], [2, 1, 1])
    joints[:2, :2] = [[-0.2, -0.3], [0.2, 0.3]]  # never all in one place
    seen = camera[0] * (joints[:, :2] + camera[1:]) + rng.normal(0, noise, (count, 2))
    confidence = rng.uniform(0.1, 1, count) * (rng.random(count) < 0.8)
    confidence[:3] = 0.5
    seen[confidence == 0] = 1e6
    # crop = s x + b: linear in s, b_x, b_y; each equation counts by its confidence.
    rows = np.zeros((count, 2, 3))
    rows[..., 0], rows[:, 0, 1], rows[:, 1, 2] = joints[:, :2], 1, 1
    root = np.sqrt(confidence)[:, None]
    solved = np.linalg.lstsq(
        (rows * root[..., None]).reshape(-1, 3), (seen * root).ravel(), rcond=None
    )[0]
    assume(solved[0] > 1e-3)
    keypoints = np.column_stack([seen, confidence])
    fit = fit_camera(torch.tensor(joints)[None], torch.tensor(keypoints)[None])
    assert fit.is_valid.all()
    assert np.allclose(fit.camera[0], [solved[0], *(solved[1:] / solved[0])], atol=1e-7)
    known = confidence > 0
    distances = np.linalg.norm(rows[known] @ solved - seen[known], axis=1)
    longer = np.ptp(seen[known], axis=0).max()
    assert fit.errors[0].item() == pytest.approx(
        np.average(distances, weights=confidence[known]) / longer, abs=1e-9
    )


def test_people_without_a_fitting_camera_have_weight_zero_and_affect_no_others(
    tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    vertices, joints = (values.expand(7, -1, -1).clone() for values in people(tiny_body, 2, 1))
    keypoints = seen_joints(joints, torch.tensor([[0.9, 0, 0]]).expand(7, 3))
    keypoints[1, :, 2] = 0  # nothing annotated
    keypoints[2, 1:, 2] = 0  # one joint
    keypoints[3, :, :2] *= -1  # upside down and mirrored: s < 0
    joints[4] = joints[4, :1]  # all in one place
    joints[5] *= 0.02  # within 2 cm
    keypoints[6, 3] = torch.nan
    renderer = MeshTargetRenderer(tiny_body, tiny_uv_map, SIZE)
    found = renderer(vertices, joints, keypoints)
    assert found.weights.tolist() == [1, 0, 0, 0, 0, 0, 0] and found.num_rejected == 6
    assert found.fit.is_valid.tolist() == [True] + [False] * 6
    assert not found.iuv[1:].any() and not found.fit.camera[1:].any()
    assert (found.fit.errors[1:] == 1).all() and found.fit.errors[0] < 1e-5
    alone = renderer(vertices[:1], joints[:1], keypoints[:1])
    assert torch.equal(found.iuv[0], alone.iuv[0]) and alone.num_rejected == 0


def test_a_person_beside_the_image_has_weight_zero(
    tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    vertices, joints = people(tiny_body, 2, 1)
    keypoints = seen_joints(joints, torch.tensor([[0.9, 5, 0]]))
    found = MeshTargetRenderer(tiny_body, tiny_uv_map, SIZE)(vertices, joints, keypoints)
    assert found.fit.is_valid.all() and found.num_rejected == 1 and not found.iuv.any()


def test_the_target_is_empty_where_the_person_cannot_be_seen(
    tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    vertices, joints = people(tiny_body, 3, 2)
    keypoints = seen_joints(joints, some_cameras(2, 3))
    visible = torch.rand(2, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) < 0.6
    visible[:, :, SIZE // 2 :] = False
    renderer = MeshTargetRenderer(tiny_body, tiny_uv_map, SIZE, stride=1)
    whole = renderer(vertices, joints, keypoints).iuv
    masked = renderer(vertices, joints, keypoints, visible).iuv
    assert torch.equal(masked, whole * visible[:, None])
    assert masked[:, 0].any() and (masked[:, 0] != whole[:, 0]).any()


@settings(deadline=None, max_examples=25)
@given(
    scale=st.floats(0.5, 2),
    rotation=st.floats(-3, 3),
    flipped=st.booleans(),
    x=st.floats(-20, 140),
    y=st.floats(-20, 100),
)
def test_pixels_inside_the_image_are_those_bright_in_the_crop_of_a_white_one(
    scale: float, rotation: float, flipped: bool, x: float, y: float
) -> None:
    augmentation = Augmentation(scale, rotation, flipped)
    white, center = np.full((80, 120, 3), 255, np.uint8), np.array([x, y])
    bright = apply_augmentation(augmentation, SIZE, white, center, 70.0).image[..., 0]
    affine = torch.tensor(crop_affine(center, 70.0, augmentation))
    inside = pixels_in_image(affine[None], torch.tensor([[120, 80]]), SIZE)[0].numpy()
    # Bilinear reading fades from white to black within a pixel around the edge.
    assert (bright[inside] >= 60).all() and (bright[~inside] <= 195).all()


@pytest.mark.parametrize('stride', [1, 4])
def test_the_flipped_target_is_the_target_of_the_mirrored_body(
    stride: int, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    for body, uv_map, size in ((tiny_body, tiny_uv_map, SIZE), (load_body(), load_uv_map(), 128)):
        renderer = MeshTargetRenderer(body, uv_map, size, stride)
        vertices, joints = people(body, 4, 3)
        camera, mirror = some_cameras(3, 4), torch.tensor([-1.0, 1, 1])
        target = renderer(vertices, joints, seen_joints(joints, camera)).iuv
        again = renderer(
            vertices[:, body.mirrored_vertices] * mirror,
            joints * mirror,
            seen_joints(joints * mirror, camera * torch.tensor([1.0, -1, 1])),
        ).iuv
        flipped = flip_iuv(target)
        assert torch.equal(flip_iuv(flipped)[:, 0], target[:, 0])
        assert torch.allclose(flip_iuv(flipped), target, atol=1e-6)
        assert ((flipped[:, 0] - again[:, 0]).abs() < 1e-6).float().mean() > 0.999
        both = (flipped[:, 0] > 0) & (again[:, 0] > 0)
        difference = (flipped - again)[:, 1:].abs().amax(1)[both]
        if stride == 1:
            assert (difference < 1e-4).float().mean() > 0.995
        else:  # of two pixels equally near to a cell's centre the other one is taken
            assert difference.median() < 4 / size
        assert (target - again)[:, 1:].abs().amax(1)[both].median() > 0.05


def test_a_small_target_follows_from_the_full_size_one(
    tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    vertices, joints = people(tiny_body, 5, 2)
    keypoints = seen_joints(joints, some_cameras(2, 5))
    full, small = (
        MeshTargetRenderer(tiny_body, tiny_uv_map, SIZE, stride)(vertices, joints, keypoints).iuv
        for stride in (1, 4)
    )
    assert torch.allclose(shrink_iuv(full), small, atol=1e-6)
    assert torch.equal(shrink_iuv(full, 1), full)


@pytest.mark.parametrize(
    'augmentation',
    [
        Augmentation(),
        Augmentation(is_flipped=True),
        Augmentation(1.2, 0.6),
        Augmentation(0.8, -0.9, True),
    ],
)
def test_the_target_of_the_augmented_mesh_lies_on_the_augmented_image(
    augmentation: Augmentation, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    rng = np.random.default_rng(1)
    pose, size, image_px = sample_poses(rng, 1)[0], 64, 256
    pose[:, 0] += 0.4
    vertices, joints = posed(tiny_body, pose, np.zeros((1, 10)))
    keypoints = seen_joints(joints, torch.tensor([[0.8, 0.05, 0.1]]))
    painter = MeshTargetRenderer(tiny_body, tiny_uv_map, image_px, stride=1)
    painted = painter(vertices, joints, keypoints).iuv[0].permute(1, 2, 0)
    image = (painted.numpy() * 255).round().astype(np.uint8)  # red is the person, then u, v
    center, side = np.full(2, (image_px - 1) / 2), float(image_px)
    seen = apply_augmentation(augmentation, size, image, center, side).image / 255
    affine = crop_affine(center, side, augmentation)
    xy_px = (keypoints[0, :, :2].double().numpy() + 1) * (image_px / 2) - 0.5
    crop_xy = torch.tensor(xy_px @ affine[:, :2].T + affine[:, 2])
    turned, turned_joints = posed(
        tiny_body, augment_pose(pose[0], augmentation)[None], np.zeros((1, 10))
    )
    if augmentation.is_flipped:
        crop_xy = crop_xy[list(MIRRORED_JOINTS)]
    annotated = torch.cat([crop_xy, torch.ones(24, 1)], dim=1)[None].float()
    target = (
        MeshTargetRenderer(tiny_body, tiny_uv_map, size, stride=1)(
            turned, turned_joints, annotated
        )
        .iuv[0]
        .numpy()
    )
    assert ((target[0] > 0) == (seen[..., 0] > 0.5)).mean() > 0.98
    whole = (seen[..., 0] == 1) & (target[0] > 0)
    u = 1 - seen[..., 1] if augmentation.is_flipped else seen[..., 1]
    assert whole.sum() > 200
    assert np.percentile(np.abs(u - target[1])[whole], 90) < 0.02
    assert np.percentile(np.abs(seen[..., 2] - target[2])[whole], 90) < 0.02


def test_a_map_of_another_body_is_rejected_with_the_command(tiny_body: BodyModel) -> None:
    with pytest.raises(ValueError, match='decomr uv build'):
        MeshTargetRenderer(tiny_body, load_uv_map(), SIZE)


@pytest.mark.parametrize('size', [0, 30, 33])
def test_a_size_that_the_stride_does_not_divide_is_rejected(
    size: int, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    with pytest.raises(ValueError, match='take a multiple of 4'):
        MeshTargetRenderer(tiny_body, tiny_uv_map, size)


def test_wrong_shapes_are_named(tiny_body: BodyModel, tiny_uv_map: UVMap) -> None:
    vertices, joints = people(tiny_body, 0, 2)
    renderer = MeshTargetRenderer(tiny_body, tiny_uv_map, SIZE)
    keypoints = seen_joints(joints, some_cameras(2))
    for arguments, words in (
        ((vertices[:1], joints, keypoints), 'vertices has shape'),
        ((vertices, joints, keypoints[:, :5]), 'keypoints_2d has shape'),
        ((vertices, joints, keypoints, torch.ones(2, 8, 8)), 'visible has shape'),
    ):
        with pytest.raises(ValueError, match=words):
            renderer(*arguments)


def test_the_benchmark_prints_its_measurements_and_the_hardware(
    capsys: pytest.CaptureFixture[str],
) -> None:
    mesh_targets.main(['--repeats', '1', '--json'])
    report = json.loads(capsys.readouterr().out)
    for part in ('mesh_target', 'cached_target', 'augment'):
        assert report[part]['images_per_core_s'] > 0
    assert report['threads'] == 1 and {'hardware', 'versions', 'date'} <= set(report)
    mesh_targets.main(['--repeats', '1'])
    assert 'images_per_core_s' in capsys.readouterr().out


def test_a_wrong_argument_of_the_benchmark_ends_in_one_line_and_code_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stopped:
        mesh_targets.main(['--repeats', '0'])
    assert stopped.value.code == 2
    assert 'expected 1 or more' in capsys.readouterr().err
