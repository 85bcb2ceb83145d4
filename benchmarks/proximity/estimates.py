"""Estimates of rendered people, with and without a depth image, and the truth; cached in files."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.proximity.scenes import Scene, SceneRenderer
from benchmarks.proximity.sensors import HEIGHT, WIDTH, detected_boxes, measured_depth
from decomr_core.base.structures import HumanMesh
from decomr_core.body_models import load_body
from decomr_core.estimator import HumanMeshEstimator
from decomr_core.runtimes import Runtime
from decomr_ros.calibration.calibration import Calibration
from decomr_ros.inputs.depth_image import MILLIMETRE_M, DepthImage, place_by_depth

__all__ = ['SCENES_PER_SEED', 'Estimate', 'cached_estimates', 'depth_image', 'estimates']

SCENES_PER_SEED = 50


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
    folder: Path, runtime: Runtime, seeds: range, count: int = SCENES_PER_SEED
) -> list[Estimate]:
    """The estimates of all scenes of some seeds; renders those without a file in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    everybody, renderer = [], None
    for seed in seeds:
        path = folder / f'proximity_{seed}_{count}.pickle'
        if not path.exists():
            renderer = renderer or SceneRenderer(load_body('builtin'))
            people = estimates(renderer, HumanMeshEstimator(runtime), seed, count)
            path.write_bytes(pickle.dumps(people))
        everybody += pickle.loads(path.read_bytes())
    return everybody


def estimates(
    renderer: SceneRenderer, estimator: HumanMeshEstimator, seed: int, count: int
) -> list[Estimate]:
    """Renders the scenes of a seed and estimates their people, each image on its own."""
    everybody = []
    for number in range(count):
        scene = renderer.scene(seed, number)
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
