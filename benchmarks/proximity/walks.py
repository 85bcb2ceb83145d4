"""Rendered people who walk straight at 1.2 m/s, and their meshes through the tracker; cached.

One person walks towards the camera, away from it or past it, at a distance of 1.6 to 7 m. A
simulated detector gives inaccurate boxes of every fifth image, as `Tracker` asks for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import torch

from benchmarks.proximity.estimates import Cache, depth_image
from benchmarks.proximity.scenes import Scene, SceneRenderer
from benchmarks.proximity.sensors import HEIGHT, WIDTH, Camera, detected_boxes
from decomr_core.base.structures import HumanMesh
from decomr_core.body_models.frames import ROOT_FROM_BODY
from decomr_core.estimator import HumanMeshEstimator
from decomr_core.geometry.camera import intrinsics_from_fov
from decomr_core.people.detection import Detections
from decomr_core.people.tracking import Tracker
from decomr_core.runtimes import Runtime
from decomr_ros.inputs.depth_image import place_by_depth
from tools.demo_walk import passing_by, walk
from training.records.rotations import rotation_about
from training.synthetic.bodies.body_shapes import sample_shapes
from training.synthetic.painting import Bodies

__all__ = ['RATES_HZ', 'SPEED_M_S', 'WAYS', 'Walk', 'cached_walks']

SPEED_M_S, DURATION_S, RATES_HZ = 1.2, 3.6, (30, 15)
WAYS = {
    'towards': ((-0.9, 0.9), (5.6, 6.8), (-0.3, 0.3), (1.9, 2.4)),
    'away': ((-0.3, 0.3), (1.9, 2.4), (-0.9, 0.9), (5.6, 6.8)),
    'past': ((-2.2, -1.8), (2.8, 5.0), (1.8, 2.2), (2.8, 5.0)),
}
"""Ranges of the first and the last point of the ways: to the right and ahead, m."""
FOV_DEG, CAMERA_HEIGHT_M, PITCH = 75.0, (0.8, 1.5), (0.0, 0.12)
NOISE_LEVEL = 3.0


@dataclass(frozen=True)
class Walk:
    """T images of a walk.

    Attributes:
        way: of `WAYS`.
        seed: of the walk.
        times_s: (T,).
        truth: (T, V, 3) vertices, m, camera frame; float32.
        meshes: by images per second and whether there is a depth image: the mesh at each time,
            None in images that are left out or show nobody.
    """

    way: str
    seed: int
    times_s: np.ndarray
    truth: np.ndarray
    meshes: dict[tuple[int, bool], list[HumanMesh | None]]


@dataclass(frozen=True)
class RenderedWalk:
    """Attributes: the T times of a walk, seconds, and its images."""

    times_s: np.ndarray
    scenes: list[Scene]


def cached_walks(
    cache: Cache, renderer: SceneRenderer, runtime: Runtime, seeds: range
) -> list[Walk]:
    """One walk of each way for each seed."""

    def estimate(name: str, way: str, seed: int) -> Walk:
        rendered = cache.rendered(name, partial(render_walk, renderer, way, seed))
        return _estimated(runtime, rendered, way, seed)

    walks = []
    for seed in seeds:
        for way in WAYS:
            name = f'walk_{way}_{seed}'
            walks.append(cache.estimated(name, partial(estimate, name, way, seed)))
    return walks


@torch.no_grad()
def render_walk(renderer: SceneRenderer, way: str, seed: int) -> RenderedWalk:
    """Renders a walk."""
    rng = np.random.default_rng([seed, list(WAYS).index(way), 3])
    times = np.arange(round(DURATION_S * max(RATES_HZ))) / max(RATES_HZ)
    turn = rotation_about(0, rng.uniform(*PITCH)) @ ROOT_FROM_BODY
    intrinsics = intrinsics_from_fov(WIDTH, HEIGHT, FOV_DEG)
    camera = Camera(intrinsics, turn, float(rng.uniform(*CAMERA_HEIGHT_M)))
    bodies, places = _walking(rng, renderer, camera, way, times)
    room = renderer.room(rng, camera, places[:1])
    appearances = renderer.painter.sample_appearances(rng, 1)
    scenes = []
    for index, place in enumerate(places):
        one = slice(index, index + 1)
        body = Bodies(*(values[one] for values in vars(bodies).values()))
        image, depth, people = renderer.compose(rng, camera, room, body, place[None], appearances)
        image = cv2.GaussianBlur(image, (0, 0), 0.6) + rng.normal(0, NOISE_LEVEL, image.shape)
        scenes.append(Scene(np.clip(image, 0, 255).astype(np.uint8), depth, camera, people))
    return RenderedWalk(times, scenes)


def _estimated(runtime: Runtime, walk: RenderedWalk, way: str, seed: int) -> Walk:
    """Estimates the meshes of a walk."""
    meshes = {}
    for rate in RATES_HZ:
        before, after = _estimates(runtime, walk.scenes, walk.times_s, rate, seed)
        meshes[rate, False], meshes[rate, True] = before, after
    truth = np.stack([scene.people[0].vertices for scene in walk.scenes])
    return Walk(way, seed, walk.times_s, truth, meshes)


def _walking(
    rng: np.random.Generator, renderer: SceneRenderer, camera: Camera, way: str, times: np.ndarray
) -> tuple[Bodies, np.ndarray]:
    """A person at T times: bodies in the axes of the camera, and positions (T, 3) of the root."""
    numbers = [rng.uniform(*limits) for limits in WAYS[way]]
    points = [(numbers[0], -numbers[1]), (numbers[2], -numbers[3])]
    shape = torch.from_numpy(sample_shapes(rng, 1))
    rest, joints = renderer.body(torch.zeros(1, 24, 3), shape)
    rest_joints = joints[0].double().numpy()
    course = passing_by(points, SPEED_M_S, float(rng.uniform(-0.3, 0.1)))
    motion = walk(course, rest_joints, float(rest[0, :, 1].min()), times)
    pose = torch.from_numpy(motion.pose).float()
    shapes = shape.expand(len(times), -1)
    vertices, posed = renderer.body(pose, shapes)
    turn = torch.from_numpy(camera.camera_from_world).float()
    origin = motion.root - rest_joints[0] - [0, camera.height_m, 0]
    places = origin @ camera.camera_from_world.T
    return Bodies(vertices @ turn.T, posed @ turn.T, pose, shapes), places


def _estimates(
    runtime: Runtime, scenes: list[Scene], times: np.ndarray, rate: int, seed: int
) -> tuple[list[HumanMesh | None], list[HumanMesh | None]]:
    """The tracked mesh of each image at a rate, without and with a depth image."""
    rng = np.random.default_rng([seed, rate, 4])
    shown: list[Scene] = []

    def detect(_: np.ndarray) -> Detections:
        boxes = detected_boxes(rng, shown[-1].people)[0]
        return Detections(boxes, np.full(len(boxes), 0.9, np.float32))

    estimator = HumanMeshEstimator(runtime, detect, Tracker())
    before: list[HumanMesh | None] = [None] * len(scenes)
    after: list[HumanMesh | None] = [None] * len(scenes)
    for index in range(0, len(scenes), max(RATES_HZ) // rate):
        scene = scenes[index]
        shown.append(scene)
        meshes, _ = estimator.estimate(
            scene.image, intrinsics=scene.camera.intrinsics, time_s=float(times[index])
        )
        if meshes:
            before[index] = meshes[0]
            after[index] = place_by_depth(meshes[:1], depth_image(scene, rng))[0][0]
    return before, after
