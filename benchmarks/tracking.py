"""Benchmarks of tracking: identities, smoothing, and people found.

    python -m benchmarks.tracking --out benchmarks/results/tracking.json [--scenes FOLDER]

It has three parts: four scenes with four rendered people who cross each other's paths
(`crossing.py`); people who stand and one who walks, with and without smoothing; and OpenCV's
pedestrian video (`pedestrians.py`). It takes about half an hour on two cores; `--scenes` stores
the rendered frames for later runs.
"""

from __future__ import annotations

import argparse
import datetime
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.ndimage import uniform_filter1d

from benchmarks.crossing import FPS, INTRINSICS, Scene, noisy_detections, render_crossing
from benchmarks.pedestrians import VIDEO, measure_pedestrians, read_video
from decomr_core.base.hardware import cpu_name
from decomr_core.base.structures import HumanMesh
from decomr_core.estimation.detectors import load_detector
from decomr_core.estimation.loading import load_runtime
from decomr_core.estimator import HumanMeshEstimator
from decomr_core.geometry.camera import project_weak_perspective
from decomr_core.people.detection import Detections, box_overlaps
from decomr_core.people.smoothing import MeshSmoother
from decomr_core.people.tracking import Tracker, TrackerConfig
from decomr_core.runtimes import DEFAULT_RUNTIME, Runtime

ASSIGNED_OVERLAP = 0.4
"""Smallest overlap (intersection over union) at which a mesh is assigned to a person."""
VISIBLE_SHARE, CLEAR_SHARE = 0.3, 0.9
"""Visible shares of a person: people below the first are not counted; people from the second on
are in plain view."""
SEEDS = (0, 1, 2, 3)
"""Seeds of the scenes."""
DETECTORS = (('noisy', 1), ('noisy', 5), ('noisy', 10), ('person', 5), ('person', 10))
"""Detector and stride: `noisy` is the true boxes with noise, `person` the default detector."""
STANDING_IMAGES, STANDING_HZ, SETTLED = 150, 30, 75
STANDING_PER_SCENE, STANDING_EVERY = 4, 50
"""Number of standing people per scene, and step between the images from which they are taken."""
MARGIN_PX = 5
WALKING = (0, 180)
"""Scene and first image in which the first person walks alone."""
PIXEL_NOISES = (2.0, 4.0)
"""Standard deviations of camera noise in good and in poor light, in units of 1/255."""


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        'python -m benchmarks.tracking',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--out', type=Path, required=True, help='JSON file to write')
    parser.add_argument('--scenes', type=Path, help='folder that stores the rendered frames')
    parser.add_argument(
        '--images', type=int, default=795, help='number of images of the pedestrian video (795)'
    )
    options = parser.parse_args(arguments)
    if not VIDEO.exists():
        parser.error(f'there is no {VIDEO}: sudo apt install opencv-doc')
    cv2.setNumThreads(1)
    runtime = load_runtime(DEFAULT_RUNTIME)
    scenes = [cached_scene(seed, options.scenes) for seed in SEEDS]
    results = {
        'hardware': cpu_name(),
        'opencv': cv2.__version__,
        'runtime': runtime.name,
        'precision': runtime.precision,
        'date': datetime.date.today().isoformat(),
        'crossing': [measure_scenes(runtime, scenes, *detector) for detector in DETECTORS],
        'smoothing': measure_smoothing(runtime, scenes),
        'pedestrians': measure_pedestrians(runtime, read_video(options.images)),
    }
    options.out.write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')
    return 0


def cached_scene(seed: int, folder: Path | None) -> Scene:
    """A rendered scene, read from the folder if it is stored there."""
    path = None if folder is None else folder / f'{seed}.npz'
    if path is not None and path.exists():
        stored = np.load(path)
        return Scene(stored['images'], stored['boxes'], stored['shares'])
    scene = render_crossing(seed)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, images=scene.images, boxes=scene.boxes, shares=scene.shares)
    return scene


def measure_scenes(
    runtime: Runtime, scenes: list[Scene], name: str, stride: int
) -> dict[str, Any]:
    """Identity scores of all scenes: their mean, and the scores of each scene.

    Args:
        runtime: a loaded network.
        scenes: the frames.
        name: of the detector, see `DETECTORS`.
        stride: of the detector.
    """
    scores = [measure_identities(runtime, scene, name, stride) for scene in scenes]
    means = {key: float(np.mean([score[key] for score in scores])) for key in scores[0]}
    return {'detector': name, 'stride': stride, 'mean': means, 'scenes': scores}


def measure_identities(runtime: Runtime, scene: Scene, name: str, stride: int) -> dict[str, float]:
    """Shares of images in which people have their main track id.

    A (person, image) pair is counted if at least `VISIBLE_SHARE` of the person is visible. It is
    right if a mesh with the person's main id is assigned to the person: by the box of the track
    (`box_`) or by the box around the mesh in the image (`mesh_`). `_of_shown` counts only pairs
    with an assigned mesh. Main ids are unique: if two people share one, it belongs to the one who
    has it more often.
    """
    rng, index = np.random.default_rng(0), 0
    detector = None if name == 'noisy' else load_detector(name)

    def detect(image: np.ndarray) -> Detections:
        """The detections of the current image."""
        return noisy_detections(scene, index, rng) if detector is None else detector(image)

    estimator = HumanMeshEstimator(runtime, detect, Tracker(TrackerConfig(detect_every=stride)))
    by_box, by_mesh = (np.full(scene.shares.shape, -1) for _ in range(2))
    for index in range(len(scene.images)):  # noqa: B007 - `detect` reads it
        meshes, _ = estimator.estimate(scene.images[index], time_s=index / FPS)
        if meshes:
            shows = scene.shares[index] >= VISIBLE_SHARE
            track_ids = np.array([mesh.track_id for mesh in meshes])
            for numbers, boxes in (
                (by_box, [mesh.box for mesh in meshes]),
                (by_mesh, [mesh_box(mesh) for mesh in meshes]),
            ):
                numbers[index, shows] = assigned(
                    scene.boxes[index, shows], np.stack(boxes), track_ids
                )
    scores = {
        f'{what}_{key}': value
        for what, numbers in (('box', by_box), ('mesh', by_mesh))
        for key, value in identity_scores(numbers, scene.shares).items()
    }
    clear = scene.shares >= CLEAR_SHARE
    return {**scores, 'in_plain_view_shown': float((by_box[clear] >= 0).mean())}


def mesh_box(mesh: HumanMesh) -> np.ndarray:
    """The box (4,) around a mesh in the image, px."""
    points = project_weak_perspective(
        mesh.vertices - mesh.translation, mesh.weak_camera, mesh.crop_center, mesh.crop_side
    )
    return np.concatenate([points.min(0), points.max(0)]).astype(np.float32)


def assigned(truth: np.ndarray, boxes: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Track id of the mesh assigned to each person (P,), by the Hungarian method; -1: none.

    Args:
        truth: (P, 4) image px.
        boxes: (T, 4) image px.
        numbers: (T,) track ids.
    """
    from scipy.optimize import linear_sum_assignment

    overlap = box_overlaps(truth, boxes)[0]
    result = np.full(len(truth), -1)
    for row, column in zip(*linear_sum_assignment(overlap, maximize=True), strict=True):
        if overlap[row, column] >= ASSIGNED_OVERLAP:
            result[row] = numbers[column]
    return result


def identity_scores(numbers: np.ndarray, shares: np.ndarray) -> dict[str, float]:
    """Shares of right pairs, and number of id switches; both arguments (T, P)."""
    counted = shares >= VISIBLE_SHARE
    pairs = [
        (int((numbers[counted[:, p], p] == n).sum()), p, int(n))
        for p in range(numbers.shape[1])
        for n in set(numbers[counted[:, p], p]) - {-1}
    ]
    right, switches = 0, 0
    used_people: set[int] = set()
    used_numbers: set[int] = set()
    for count, person, number in sorted(pairs, reverse=True):
        if person not in used_people and number not in used_numbers:
            right += count
            used_people.add(person)
            used_numbers.add(number)
    for person in range(numbers.shape[1]):
        had = [n for n in numbers[counted[:, person], person] if n >= 0]
        switches += int(np.count_nonzero(np.diff(had)))
    shown = int((counted & (numbers >= 0)).sum())
    return {
        'shown': shown / int(counted.sum()),
        'right_of_all': right / int(counted.sum()),
        'right_of_shown': right / max(shown, 1),
        'switches': float(switches),
    }


def measure_smoothing(runtime: Runtime, scenes: list[Scene]) -> dict[str, Any]:
    """Jitter of people who stand, and lag of one who walks, with and without smoothing.

    Jitter: one frame is repeated with new camera noise; root mean square, over vertices and
    images, of the distance to each vertex's mean over a second, mm. Lag: shift between the
    smoothed and the raw x of the walking person's root with the smallest squared error, images.
    """
    rng, standing = np.random.default_rng(0), []
    people = [(scene, *who) for scene in scenes for who in standing_people(scene)]
    for deviation in PIXEL_NOISES:
        jitters = []
        for scene, index, person in people:
            raw = follow(
                runtime,
                [noisy_image(scene.images[index], rng, deviation) for _ in range(STANDING_IMAGES)],
                scene.boxes[index, person],
            )
            smoothed = MeshSmoother()
            steady = [smoothed.smooth([mesh], i / STANDING_HZ)[0] for i, mesh in enumerate(raw)]
            jitters.append((jitter_mm(raw), jitter_mm(steady)))
        raw_mm, smoothed_mm = np.array(jitters).T
        standing.append(
            {
                'noise': deviation,
                'people': len(people),
                'jitter_raw_median_mm': float(np.median(raw_mm)),
                'jitter_smoothed_median_mm': float(np.median(smoothed_mm)),
                'jitter_smoothed_most_mm': float(smoothed_mm.max()),
            }
        )
    scene, first = scenes[WALKING[0]], WALKING[1]
    walk = follow(runtime, list(scene.images[first : first + 60]), scene.boxes[first][0])
    late = MeshSmoother()
    after = [late.smooth([mesh], i / FPS)[0] for i, mesh in enumerate(walk)]
    return {'standing': standing, 'lag_images': lag_images(walk, after), 'images_per_s': FPS}


def standing_people(scene: Scene) -> list[tuple[int, int]]:
    """(image, person) of some people who are in plain view and entirely inside the image."""
    width = scene.images.shape[2]
    whole = (
        (scene.shares > CLEAR_SHARE)
        & (scene.boxes[..., 0] > MARGIN_PX)
        & (scene.boxes[..., 2] < width - MARGIN_PX)
    )
    found = [
        (image, int(person))
        for image in range(20, len(whole), STANDING_EVERY)
        for person in np.flatnonzero(whole[image])
    ]
    order = np.random.default_rng(0).permutation(len(found))[:STANDING_PER_SCENE]
    return [found[number] for number in order]


def follow(runtime: Runtime, images: list[np.ndarray], box: np.ndarray) -> list[Any]:
    """The meshes of the person whose box in the first image is `box` (4,)."""
    first = Detections(box[None], np.ones(1, np.float32))
    estimator = HumanMeshEstimator(
        runtime, lambda image: first, Tracker(TrackerConfig(detect_every=1000))
    )
    return [
        mesh
        for image in images
        for mesh in estimator.estimate(image, intrinsics=INTRINSICS)[0][:1]
    ]


def noisy_image(image: np.ndarray, rng: np.random.Generator, deviation: float) -> np.ndarray:
    """The image with noise of this standard deviation, in units of 1/255."""
    noise = rng.normal(0, deviation, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def jitter_mm(meshes: list[Any]) -> float:
    """Root mean square distance of the vertices from their mean over a second, mm."""
    vertices = np.stack([mesh.vertices for mesh in meshes])
    vertices = vertices - uniform_filter1d(vertices, STANDING_HZ, axis=0, mode='nearest')
    return float(np.sqrt((vertices[SETTLED:] ** 2).sum(-1).mean()) * 1e3)


def lag_images(raw: list[Any], smoothed: list[Any]) -> float:
    """Shift in images with the smallest squared error between smoothed and raw x of the root."""
    times = np.arange(len(raw), dtype=float)
    before, after = (np.array([m.translation[0] for m in part]) for part in (raw, smoothed))
    shifts = np.arange(0, 5, 0.05)
    middle = slice(10, len(raw) - 6)
    errors = [np.square(np.interp(times + s, times, after) - before)[middle].sum() for s in shifts]
    return float(shifts[int(np.argmin(errors))])


if __name__ == '__main__':
    raise SystemExit(main())
