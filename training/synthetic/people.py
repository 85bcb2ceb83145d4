"""People rendered on the fly: clothed bodies in natural poses, seen by a robot's camera.

The stages are poses -> viewpoints -> body model -> clothes -> rasterizer -> labels and colours ->
background, shadow, occluders -> camera. A batch is determined by the config, the seed and its
number, in any process. `python -m training.synthetic.preview --preview FILE.png` draws a contact
sheet. `decomr_core/base/structures.py` defines the frames and the shape letters.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from decomr_core.body_models import BodyModel
from decomr_core.uv.uv_map import UVMap
from training.records.root_frame import root_frame_body
from training.synthetic.bodies.body_shapes import sample_shapes
from training.synthetic.bodies.plausible_poses import PoseCheck, PoseCounts, draw_plausible
from training.synthetic.bodies.recorded_poses import RecordedPoses
from training.synthetic.clothes.dressing import ClothStreams, Dresser
from training.synthetic.clothes.wardrobe import Wardrobe
from training.synthetic.furnishing import Furnisher
from training.synthetic.painting import Bodies, Painter
from training.synthetic.scenes.compositing import Compositor
from training.synthetic.scenes.layers import Layers
from training.synthetic.scenes.lights import Light, sample_light
from training.synthetic.scenes.panoramas import Panorama, Panoramas, panorama_light
from training.synthetic.scenes.textures import shared_textures
from training.synthetic.scenes.viewpoints import (
    Framing,
    Viewpoints,
    crop_points,
    fit_weak_perspective,
    frame_people,
    orient_poses,
    sample_viewpoints,
    with_lenses,
)
from training.synthetic.synthetic_batch import SyntheticBatch
from training.synthetic.synthetic_config import POSE_GENERATORS, SyntheticConfig
from training.synthetic.visible_parts import Framed, frame_visible_parts
from training.targets.iuv_target import iuv_target

__all__ = ['FramedBodies', 'SyntheticPeople']


class FramedBodies(NamedTuple):
    """B people who are not rendered.

    Attributes:
        vertices: (B, V, 3) metres, root frame.
        joints: (B, J, 3) metres, root frame.
        joints_2d: (B, J, 3): x and y in the crop frame, and 1 inside the image, else 0.
        camera: (B, 3) weak perspective.
    """

    vertices: Tensor
    joints: Tensor
    joints_2d: Tensor
    camera: Tensor


class SyntheticPeople(IterableDataset):
    """An endless stream of batches; the workers of a DataLoader share its batch numbers.

    Args:
        config: appearance of the people.
        body: a body model (`decomr_core.body_models.load_body`).
        uv_map: its UV map.
        seed: determines every batch, together with its number; `HELD_OUT_SEED` is reserved for
            `held_out_set`.
        first_batch: number of the first batch, to continue a run.
        frame_scale: factor on the sides of the crops, for wider margins around the people.

    Attributes:
        config, body, uv_map, seed, first_batch, frame_scale: as given.
        uv: (N, 2) float32 UV vertices.
        uv_faces: (F, 3) int64 corners of the faces, indices into `uv`.
        pose_counts: numbers of generated and of rejected poses in this process.

    Raises:
        ValueError: the body and the UV map have different faces.
    """

    def __init__(
        self,
        config: SyntheticConfig,
        body: BodyModel,
        uv_map: UVMap,
        seed: int,
        first_batch: int = 0,
        frame_scale: float = 1.0,
    ) -> None:
        if len(body.faces) != len(uv_map.faces):
            raise ValueError(
                f'the body has {len(body.faces)} faces, but the UV map has '
                f'{len(uv_map.faces)}; make a map for this body: '
                'decomr uv build --body FILE --out FILE'
            )
        self.config, self.body, self.seed, self.first_batch = config, body, seed, first_batch
        self.uv_map, self.frame_scale = uv_map, frame_scale
        self.uv = torch.as_tensor(uv_map.uv, dtype=torch.float32)
        self.uv_faces = torch.as_tensor(uv_map.faces, dtype=torch.int64)
        self.pose_counts = PoseCounts()
        self._pose_check = PoseCheck(body) if config.possible_only else None
        self._recorded_poses = (
            RecordedPoses(config.poses_file, self._pose_check) if config.poses_file else None
        )
        self._panoramas = Panoramas(config.panoramas) if config.panoramas else None
        self._painter = Painter(body, _dresser(config, body), config.dressed_share)
        self._compositor = Compositor(
            shared_textures(),
            [int(parent) for parent in body.parents],
            config.occluder_share,
            config.passer_by_share,
            config.is_crowded,
        )
        self._furnisher = (
            Furnisher(shared_textures(), body.vertex_parts.numpy())
            if config.has_furniture
            else None
        )

    def __iter__(self) -> Iterator[SyntheticBatch]:
        """Yields batches without end; worker k of n makes the batches k, k + n, ..."""
        worker = get_worker_info()
        number, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        number += self.first_batch
        while True:
            yield self.batch(number)
            number += step

    @torch.no_grad()
    def batch(self, number: int, count: int | None = None) -> SyntheticBatch:
        """Renders a batch, which is determined by seed, config, number and count.

        Args:
            number: 0 or more.
            count: number of people; by default `config.batch_size`.
        """
        count = self.config.batch_size if count is None else count
        # All images follow from the order in which the calls below draw from `rng`. Furniture,
        # folds, lenses, boxes and padding have random streams of their own: to switch them on or
        # off leaves everything else unchanged.
        rng = self._random_stream(number)
        lens_rng, furniture_rng, folds_rng, boxes_rng, padding_rng = (
            self._random_stream(number, own_stream) for own_stream in (1, 2, 3, 4, 5)
        )
        views, bodies, framing = self._framed_bodies(rng, lens_rng, count)
        appearances = self._painter.sample_appearances(rng, count)
        lights, places = self._sample_surroundings(rng, views)
        # The people in front of black, then their furniture, then the scene around both.
        drawn = self._painter.draw(
            ClothStreams(rng, folds_rng if self.config.has_folds else None, padding_rng),
            bodies,
            appearances,
            framing,
            lights,
            self.config.size,
        )
        layers = (
            Layers.without_furniture(drawn.people, drawn.silhouettes)
            if self._furnisher is None
            else self._furnisher.add(furniture_rng, drawn, bodies, views, framing, lights)
        )
        images, visible = self._compositor.compose(
            rng, layers, bodies.joints.numpy(), views, framing, lights, places
        )
        people = Framed(images, visible, drawn.surface, framing)
        if self.config.boxed_share:
            people = frame_visible_parts(boxes_rng, people, self.config.boxed_share)
        return self._labelled(people, bodies)

    @torch.no_grad()
    def vertices(self, number: int, count: int) -> Tensor:
        """The vertices of `batch(number, count)`, without rendering it.

        Args:
            number: 0 or more.
            count: number of people.

        Returns:
            (count, V, 3) metres, root frame.
        """
        return self._sample_bodies(self._random_stream(number), count)[1].vertices

    @torch.no_grad()
    def framed_bodies(self, number: int, count: int) -> FramedBodies:
        """The people of `batch(number, count)`, without rendering them.

        The crops are those of the whole person: which part is visible, for `boxed_share`, is known
        only after rendering.

        Args:
            number: 0 or more.
            count: number of people.
        """
        _, bodies, framing = self._framed_bodies(
            self._random_stream(number), self._random_stream(number, 1), count
        )
        return FramedBodies(
            bodies.vertices,
            bodies.joints,
            _joints_in_crop(bodies.joints, framing),
            _camera(bodies.vertices, framing),
        )

    def _labelled(self, people: Framed, bodies: Bodies) -> SyntheticBatch:
        """The batch of rendered people: their images, and the labels in the same framing."""
        mask = torch.from_numpy(people.visible)
        return SyntheticBatch(
            images=torch.from_numpy(people.images),
            iuv=iuv_target(people.surface, mask, self.uv, self.uv_faces),
            mask=mask,
            vertices=bodies.vertices,
            joints=bodies.joints,
            joints_2d=_joints_in_crop(bodies.joints, people.framing),
            camera=_camera(bodies.vertices, people.framing),
            pose=bodies.pose,
            shape=bodies.shape,
        )

    def _random_stream(self, number: int, *own_stream: int) -> np.random.Generator:
        """The random numbers of a batch: the main stream, or one of its own for an option."""
        return np.random.default_rng([self.seed, number, *own_stream])

    def _framed_bodies(
        self, rng: np.random.Generator, lens_rng: np.random.Generator, count: int
    ) -> tuple[Viewpoints, Bodies, Framing]:
        """Samples cameras, bodies and the crops around them."""
        views, bodies = self._sample_bodies(rng, count)
        if self.config.distorted_share:
            views = with_lenses(lens_rng, views, self.config.distorted_share)
        framing = frame_people(
            rng, bodies.vertices.numpy(), views, self.config.upper_share, self.config.smallest_cut
        ).widened(self.frame_scale)
        return views, bodies, framing

    def _sample_bodies(self, rng: np.random.Generator, count: int) -> tuple[Viewpoints, Bodies]:
        """Samples cameras, and bodies of random pose and shape oriented to their cameras."""
        views = sample_viewpoints(rng, count)
        pose = orient_poses(rng, self._sample_poses(rng, count), views).astype(np.float32)
        shape = sample_shapes(rng, count, self.config.shape_std, self.config.ages_share)
        poses, shapes = torch.from_numpy(pose), torch.from_numpy(shape)
        vertices, joints = root_frame_body(self.body, poses, shapes)
        return views, Bodies(vertices, joints, poses, shapes)

    def _sample_surroundings(
        self, rng: np.random.Generator, views: Viewpoints
    ) -> tuple[list[Light], list[tuple[Panorama, float] | None]]:
        """Samples the light and the place of each person.

        Args:
            rng: source of the random numbers.
            views: the cameras.

        Returns:
            The lights, and the places: a panorama and the yaw of the camera in it, radians, or
            None for a generated scene.
        """
        lights = [sample_light(rng, up) for up in views.up]
        places: list[tuple[Panorama, float] | None] = [None] * len(lights)
        if self._panoramas is None:
            return lights, places
        for index, light in enumerate(lights):
            # The lights of a batch need the same entries, and those of panoramas have a ground.
            # This is the ground that `appearance.shade` assumes for lights without one.
            light['ground'] = 0.3 * light['sky']
            if rng.random() < self.config.panorama_share:
                panorama, yaw = self._panoramas.choose(rng)
                places[index] = panorama, yaw
                lights[index] = panorama_light(rng, panorama, yaw, views.camera_from_world[index])
        return lights, places

    def _sample_poses(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Samples poses (B, 24, 3), axis-angle in radians, facing +z: generated and recorded."""
        generate = POSE_GENERATORS[self.config.rules]
        if self._pose_check is None:
            pose, _ = generate(rng, count)  # without the kinds of activity
        else:
            pose, _ = draw_plausible(rng, generate, count, self._pose_check, self.pose_counts)
        if self._recorded_poses is not None:
            is_recorded = rng.random(count) < self.config.recorded_share
            pose[is_recorded] = self._recorded_poses.sample(rng, int(is_recorded.sum()))
        return pose


def _dresser(config: SyntheticConfig, body: BodyModel) -> Dresser | None:
    """The dresser for the config's wardrobe; None without a wardrobe."""
    if not config.wardrobe:
        return None
    wardrobe = Wardrobe.load(config.wardrobe, body)
    return Dresser(wardrobe, body, config.has_folds, config.padded_share)


def _camera(vertices: Tensor, framing: Framing) -> Tensor:
    """(B, 3) weak-perspective cameras of vertices (B, V, 3), metres, root frame, in crops."""
    return fit_weak_perspective(vertices, crop_points(vertices, framing)[..., :2])


def _joints_in_crop(joints: Tensor, framing: Framing) -> Tensor:
    """Projects joints into the crops.

    Args:
        joints: (B, 24, 3) metres, root frame.
        framing: the crops.

    Returns:
        (B, 24, 3) x and y in the crop frame; then 1 inside both the crop and the camera's image,
        else 0.
    """
    points = crop_points(joints, framing)[..., :2]
    border = joints.new_tensor(framing.border).clamp(-1, 1)[:, None]  # the crop ends at -1 and 1
    is_inside = ((points >= border[..., :2]) & (points <= border[..., 2:])).all(-1, keepdim=True)
    return torch.cat([points, is_inside.to(points)], dim=-1)
