"""Who is who, how steady, how many are found.

    python -m benchmarks.tracking --out benchmarks/results/tracking.json [--scenes FOLDER]

Three parts: four rendered people who walk across each other, in four scenes (`crossing.py`);
people who stand and one who walks, with and without smoothing; and OpenCV's pedestrian video
(`pedestrians.py`). Takes about half an hour on two cores; `--scenes` keeps the rendered frames
for the next time.
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
from decomr_core.geometry.camera import project_weak
from decomr_core.people.detection import Detections, box_overlaps
from decomr_core.people.smoothing import MeshSmoother
from decomr_core.people.tracking import Tracker, TrackerConfig
from decomr_core.runtimes import DEFAULT_RUNTIME, Runtime

ASSIGNED_OVERLAP = 0.4
"""From this overlap with the person's true box on, a mesh shows that person."""
VISIBLE_SHARE, CLEAR_SHARE = 0.3, 0.9
"""Who shows less than the first share of the body is not expected to be found; who shows the
second is in plain view."""
SEEDS = (0, 1, 2, 3)
"""Of the scenes."""
DETECTORS = (('noisy', 1), ('noisy', 5), ('noisy', 10),
             ('person', 5), ('person', 10))
"""`noisy` for noisy true boxes, `person` for the default detector, each with its stride."""
STANDING_IMAGES, STANDING_HZ, SETTLED = 150, 30, 75
STANDING_PER_SCENE, STANDING_EVERY = 4, 50
"""How many people of each scene are taken out of every how many images to stand still."""
MARGIN_PX = 5
WALKING = (0, 180)
"""Scene and first image in which its first person walks with nobody beside."""
PIXEL_NOISES = (2.0, 4.0)
"""Standard deviations of the noise of a camera in good and in poor light, of 255."""


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser('python -m benchmarks.tracking', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, required=True, help='JSON to write')
    parser.add_argument('--scenes', type=Path, help='folder of the rendered frames')
    parser.add_argument('--images', type=int, default=795, help='of the pedestrian video (795)')
    options = parser.parse_args(arguments)
    if not VIDEO.exists():
        parser.error(f'there is no {VIDEO}: sudo apt install opencv-doc')
    cv2.setNumThreads(1)
    runtime = load_runtime(DEFAULT_RUNTIME)
    scenes = [kept_scene(seed, options.scenes) for seed in SEEDS]
    results = {
        'hardware': cpu_name(), 'opencv': cv2.__version__, 'runtime': runtime.name,
        'precision': runtime.precision, 'date': datetime.date.today().isoformat(),
        'crossing': [measure_scenes(runtime, scenes, *detector) for detector in DETECTORS],
        'smoothing': measure_smoothing(runtime, scenes),
        'pedestrians': measure_pedestrians(runtime, read_video(options.images))}
    options.out.write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')
    return 0


def kept_scene(seed: int, folder: Path | None) -> Scene:
    """A rendered scene, from the folder where it is there."""
    path = None if folder is None else folder / f'{seed}.npz'
    if path is not None and path.exists():
        stored = np.load(path)
        return Scene(stored['images'], stored['boxes'], stored['shares'])
    scene = render_crossing(seed)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, images=scene.images, boxes=scene.boxes, shares=scene.shares)
    return scene


def measure_scenes(runtime: Runtime, scenes: list[Scene], name: str, stride: int,
                   ) -> dict[str, Any]:
    """Identities in all scenes: their mean, and each scene by itself.

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
    """How often people keep the number that they have most of the time.

    A (person, image) pair counts where the person shows by `VISIBLE_SHARE`. It is right where a
    person with the main number is there: `box_` as the track's box says, `mesh_` as the corners
    of the mesh in the image do. `_of_shown` leaves the pairs without any aside. No two people
    have the same main number: pairs of the one who had it less often are wrong.
    """
    rng, index = np.random.default_rng(0), 0
    detector = None if name == 'noisy' else load_detector(name)

    def detect(image: np.ndarray) -> Detections:
        """The detections of the present image."""
        return noisy_detections(scene, index, rng) if detector is None else detector(image)

    estimator = HumanMeshEstimator(runtime, detect, Tracker(TrackerConfig(detect_every=stride)))
    by_box, by_mesh = (np.full(scene.shares.shape, -1) for _ in range(2))
    for index in range(len(scene.images)):  # noqa: B007 - `detect` reads it
        meshes, _ = estimator.estimate(scene.images[index], time_s=index / FPS)
        if meshes:
            shows = scene.shares[index] >= VISIBLE_SHARE
            track_ids = np.array([mesh.track_id for mesh in meshes])
            for numbers, boxes in ((by_box, [mesh.box for mesh in meshes]),
                                   (by_mesh, [mesh_box(mesh) for mesh in meshes])):
                numbers[index, shows] = assigned(scene.boxes[index, shows], np.stack(boxes),
                                                 track_ids)
    scores = {f'{what}_{key}': value for what, numbers in (('box', by_box), ('mesh', by_mesh))
              for key, value in identity_scores(numbers, scene.shares).items()}
    clear = scene.shares >= CLEAR_SHARE
    return {**scores, 'in_plain_view_shown': float((by_box[clear] >= 0).mean())}


def mesh_box(mesh: HumanMesh) -> np.ndarray:
    """The box (4,) around a mesh in the image, px."""
    points = project_weak(mesh.vertices - mesh.translation, mesh.weak_camera, mesh.crop_center,
                          mesh.crop_side)
    return np.concatenate([points.min(0), points.max(0)]).astype(np.float32)


def assigned(truth: np.ndarray, boxes: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Number of the mesh that shows each person (P,), by the Hungarian method; -1: none.

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
    """Shares of right pairs and the switches; both arguments (T, P)."""
    counted = shares >= VISIBLE_SHARE
    pairs = [(int((numbers[counted[:, p], p] == n).sum()), p, int(n))
             for p in range(numbers.shape[1]) for n in set(numbers[counted[:, p], p]) - {-1}]
    right, switches, used = 0, 0, (set(), set())
    for count, person, number in sorted(pairs, reverse=True):
        if person not in used[0] and number not in used[1]:
            right += count
            used[0].add(person)
            used[1].add(number)
    for person in range(numbers.shape[1]):
        had = [n for n in numbers[counted[:, person], person] if n >= 0]
        switches += int(np.count_nonzero(np.diff(had)))
    shown = int((counted & (numbers >= 0)).sum())
    return {'shown': shown / int(counted.sum()), 'right_of_all': right / int(counted.sum()),
            'right_of_shown': right / max(shown, 1), 'switches': float(switches)}


def measure_smoothing(runtime: Runtime, scenes: list[Scene]) -> dict[str, Any]:
    """Jitter of people who stand, lag of one who walks, with and without smoothing.

    Jitter: one frame again and again with new camera noise; root mean square over vertices and
    images of the distance to each vertex's mean over a second, mm. Lag: shift of the smoothed x
    of the walking root against the raw one that makes them most alike, in images.
    """
    rng, standing = np.random.default_rng(0), []
    people = [(scene, *who) for scene in scenes for who in standing_people(scene)]
    for deviation in PIXEL_NOISES:
        jitters = []
        for scene, index, person in people:
            raw = follow(runtime, [noisy_image(scene.images[index], rng, deviation)
                                   for _ in range(STANDING_IMAGES)], scene.boxes[index, person])
            smoothed = MeshSmoother()
            steady = [smoothed.smooth([mesh], i / STANDING_HZ)[0] for i, mesh in enumerate(raw)]
            jitters.append((jitter_mm(raw), jitter_mm(steady)))
        raw_mm, smoothed_mm = np.array(jitters).T
        standing.append({'noise': deviation, 'people': len(people),
                         'jitter_raw_median_mm': float(np.median(raw_mm)),
                         'jitter_smoothed_median_mm': float(np.median(smoothed_mm)),
                         'jitter_smoothed_most_mm': float(smoothed_mm.max())})
    scene, first = scenes[WALKING[0]], WALKING[1]
    walk = follow(runtime, list(scene.images[first:first + 60]), scene.boxes[first][0])
    late = MeshSmoother()
    after = [late.smooth([mesh], i / FPS)[0] for i, mesh in enumerate(walk)]
    return {'standing': standing, 'lag_images': lag_images(walk, after), 'images_per_s': FPS}


def standing_people(scene: Scene) -> list[tuple[int, int]]:
    """(image, person) of some who are in plain view, wholly inside the image."""
    width = scene.images.shape[2]
    whole = ((scene.shares > CLEAR_SHARE) & (scene.boxes[..., 0] > MARGIN_PX)
             & (scene.boxes[..., 2] < width - MARGIN_PX))
    found = [(image, int(person)) for image in range(20, len(whole), STANDING_EVERY)
             for person in np.flatnonzero(whole[image])]
    order = np.random.default_rng(0).permutation(len(found))[:STANDING_PER_SCENE]
    return [found[number] for number in order]


def follow(runtime: Runtime, images: list[np.ndarray], box: np.ndarray) -> list[Any]:
    """The meshes of one person who is in `box` (4,) in the first image."""
    first = Detections(box[None], np.ones(1, np.float32))
    estimator = HumanMeshEstimator(runtime, lambda image: first,
                                   Tracker(TrackerConfig(detect_every=1000)))
    return [mesh for image in images
            for mesh in estimator.estimate(image, intrinsics=INTRINSICS)[0][:1]]


def noisy_image(image: np.ndarray, rng: np.random.Generator, deviation: float) -> np.ndarray:
    """The image with new noise of this standard deviation, of 255."""
    noise = rng.normal(0, deviation, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def jitter_mm(meshes: list[Any]) -> float:
    """Root mean square distance of the vertices to their mean over a second, mm."""
    vertices = np.stack([mesh.vertices for mesh in meshes])
    vertices = vertices - uniform_filter1d(vertices, STANDING_HZ, axis=0, mode='nearest')
    return float(np.sqrt((vertices[SETTLED:] ** 2).sum(-1).mean()) * 1e3)


def lag_images(raw: list[Any], smoothed: list[Any]) -> float:
    """Shift in images that brings the smoothed x of the root nearest to the raw one."""
    times = np.arange(len(raw), dtype=float)
    before, after = (np.array([m.translation[0] for m in part]) for part in (raw, smoothed))
    shifts = np.arange(0, 5, 0.05)
    middle = slice(10, len(raw) - 6)
    errors = [np.square(np.interp(times + s, times, after) - before)[middle].sum()
              for s in shifts]
    return float(shifts[int(np.argmin(errors))])


if __name__ == '__main__':
    raise SystemExit(main())
