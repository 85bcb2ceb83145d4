"""Estimates of rendered people, with and without a depth image, and the truth; cached in files.

The cache keeps the scenes, which take longest, apart from the estimates, which belong to weights.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from benchmarks.proximity.scenes import Scene, SceneRenderer
from benchmarks.proximity.sensors import HEIGHT, WIDTH, detected_boxes, measured_depth
from decomr_core.base.structures import HumanMesh
from decomr_core.estimator import HumanMeshEstimator
from decomr_core.runtimes import Runtime
from decomr_ros.calibration.calibration import Calibration
from decomr_ros.inputs.depth_image import MILLIMETRE_M, DepthImage, place_by_depth

__all__ = ['SCENES_PER_SEED', 'Cache', 'Estimate', 'cached_estimates', 'depth_image', 'estimates']

SCENES_PER_SEED = 50
Made = TypeVar('Made')


class Cache:
    """Files of rendered scenes, and of estimates by certain weights.

    Args:
        folder: the folder; it may hold estimates by several weights.
        weights_hash: SHA-256 of the weights.
    """

    def __init__(self, folder: Path, weights_hash: str) -> None:
        self._scenes = folder / 'scenes'
        self._estimates = folder / f'estimates_{weights_hash[:8]}'
        for each in (self._scenes, self._estimates):
            each.mkdir(parents=True, exist_ok=True)

    def rendered(self, name: str, render: Callable[[], Made]) -> Made:
        """What a function renders, from the file of this name if there is one."""
        return _kept(self._scenes / f'{name}.pickle', render)

    def estimated(self, name: str, estimate: Callable[[], Made]) -> Made:
        """What a function estimates, from the file of this name if there is one."""
        return _kept(self._estimates / f'{name}.pickle', estimate)


def _kept(path: Path, make: Callable[[], Made]) -> Made:
    """The content of a file, which is made first if it is missing."""
    if not path.exists():
        unfinished = path.with_suffix('.unfinished')
        unfinished.write_bytes(pickle.dumps(make()))
        unfinished.replace(path)
    kept: Made = pickle.loads(path.read_bytes())
    return kept


@dataclass(frozen=True)
class Estimate:
    """One person with a box.

    Attributes:
        scene: seed and number of the scene.
        up: (3,) upward direction, unit, camera frame.
        camera_height_m: of the camera above the ground.
        true_vertices: (V, 3) m, camera frame.
        true_translation: (3,) position of the root, m, camera frame.
        visible_share, inside_share: see `sensors.Person`.
        without_depth, with_depth: the meshes; the same if depth did not determine the distance.
    """

    scene: tuple[int, int]
    up: np.ndarray
    camera_height_m: float
    true_vertices: np.ndarray
    true_translation: np.ndarray
    visible_share: float
    inside_share: float
    without_depth: HumanMesh
    with_depth: HumanMesh


def cached_estimates(
    cache: Cache,
    renderer: SceneRenderer,
    runtime: Runtime,
    seeds: range,
    count: int = SCENES_PER_SEED,
) -> list[Estimate]:
    """The estimates of the first `count` scenes of some seeds."""
    estimator = HumanMeshEstimator(runtime)

    def render(seed: int) -> list[Scene]:
        return [renderer.scene(seed, number) for number in range(count)]

    def estimate(name: str, seed: int) -> list[Estimate]:
        return estimates(estimator, cache.rendered(name, partial(render, seed)), seed)

    everybody = []
    for seed in seeds:
        name = f'seed_{seed}_{count}'
        everybody += cache.estimated(name, partial(estimate, name, seed))
    return everybody


def estimates(estimator: HumanMeshEstimator, scenes: list[Scene], seed: int) -> list[Estimate]:
    """Estimates the people in the scenes of a seed, each image on its own."""
    everybody = []
    for number, scene in enumerate(scenes):
        # Boxes and depth noise have their own random numbers: more of them leave the rest alone.
        rng = np.random.default_rng([seed, number, 1])
        boxes, found = detected_boxes(rng, scene.people)
        if not found:
            continue
        camera = scene.camera
        meshes, _ = estimator.estimate(scene.image, boxes, intrinsics=camera.intrinsics)
        if len(meshes) != len(found):
            continue
        corrected, _ = place_by_depth(meshes, depth_image(scene, rng))
        everybody += [
            Estimate(
                (seed, number),
                camera.up,
                camera.height_m,
                scene.people[index].vertices,
                scene.people[index].translation,
                scene.people[index].visible_share,
                scene.people[index].inside_share,
                before,
                after,
            )
            for index, before, after in zip(found, meshes, corrected, strict=True)
        ]
    return everybody


def depth_image(scene: Scene, rng: np.random.Generator) -> DepthImage:
    """What a depth camera measures of a scene."""
    calibration = Calibration(WIDTH, HEIGHT, scene.camera.intrinsics)
    numbers = measured_depth(rng, scene.depth)
    return DepthImage(numbers, MILLIMETRE_M, np.ones(2), calibration)
