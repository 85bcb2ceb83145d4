"""Who is who, how steady, how many are found.

    python -m benchmarks.tracking --out benchmarks/results/tracking.json [--scene FILE.npz]

Three parts: four rendered people who walk across each other (`crossing.py`), a standing and a
walking person with and without smoothing, and OpenCV's pedestrian video (`pedestrians.py`). Takes
about 20 minutes on two cores; `--scene` keeps the rendered frames for the next time.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.ndimage import uniform_filter1d

from benchmarks.crossing import FPS, INTRINSICS, Scene, noisy_detections, render_crossing
from benchmarks.pedestrians import VIDEO, measure_pedestrians, read_video
from decomr_core.detection import Detections, HogPeople, box_overlaps
from decomr_core.estimator import HumanMeshEstimator
from decomr_core.hardware import cpu_name
from decomr_core.runtimes import DEFAULT_RUNTIME, Runtime, load_runtime
from decomr_core.smoothing import MeshSmoother
from decomr_core.tracking import Tracker, TrackerConfig

ASSIGNED_OVERLAP = 0.4
"""From this overlap with the person's true box on, a mesh shows that person."""
VISIBLE_SHARE = 0.3
"""Who shows less than this share of the body is not expected to be found."""
STANDING_IMAGES, STANDING_HZ, SETTLED = 120, 30, 30
ALONE = 85
"""From this image on the first person walks with nobody beside."""
PIXEL_NOISES = (2.0, 4.0)
"""Standard deviations of the noise of a camera in good and in poor light, of 255."""


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser('python -m benchmarks.tracking', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, required=True, help='JSON to write')
    parser.add_argument('--scene', type=Path, help='file of the rendered frames')
    parser.add_argument('--images', type=int, default=795, help='of the pedestrian video (795)')
    options = parser.parse_args(arguments)
    if not VIDEO.exists():
        parser.error(f'there is no {VIDEO}: sudo apt install opencv-doc')
    cv2.setNumThreads(1)
    scene, runtime = kept_scene(options.scene), load_runtime(DEFAULT_RUNTIME)
    results = {
        'hardware': cpu_name(), 'opencv': cv2.__version__, 'runtime': runtime.name,
        'precision': runtime.precision, 'date': datetime.date.today().isoformat(),
        'crossing': [measure_identities(runtime, scene, name, stride)
                     for name, stride in (('noisy', 1), ('noisy', 5), ('noisy', 10), ('hog', 5))],
        'smoothing': measure_smoothing(runtime, scene),
        'pedestrians': measure_pedestrians(runtime, read_video(options.images))}
    options.out.write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')
    return 0


def kept_scene(path: Path | None) -> Scene:
    """The rendered scene, from the file where there is one."""
    if path is not None and path.exists():
        stored = np.load(path)
        return Scene(stored['images'], stored['boxes'], stored['shares'])
    scene = render_crossing()
    if path is not None:
        np.savez(path, images=scene.images, boxes=scene.boxes, shares=scene.shares)
    return scene


def measure_identities(runtime: Runtime, scene: Scene, name: str, stride: int) -> dict[str, Any]:
    """How often people keep the number that they have most of the time.

    A (person, image) pair counts where the person shows by `VISIBLE_SHARE`. It is right where a
    mesh with the person's main number overlaps the true box; `right_of_shown` leaves the pairs
    without any mesh aside. No two people have the same main number: pairs of the one who had it
    less often are wrong.

    Args:
        runtime: a loaded network.
        scene: the frames.
        name: `noisy` for noisy true boxes, `hog` for OpenCV's detector.
        stride: of the detector.
    """
    rng, index, hog = np.random.default_rng(0), 0, HogPeople()

    def detect(image: np.ndarray) -> Detections:
        """The detections of the present image."""
        return noisy_detections(scene, index, rng) if name == 'noisy' else hog(image)

    estimator = HumanMeshEstimator(runtime, detect, Tracker(TrackerConfig(detect_every=stride)))
    numbers = np.full(scene.shares.shape, -1)
    for index in range(len(scene.images)):  # noqa: B007 - `detect` reads it
        meshes, _ = estimator.estimate(scene.images[index], time_s=index / FPS)
        if meshes:
            shows = scene.shares[index] >= VISIBLE_SHARE
            numbers[index, shows] = assigned(
                scene.boxes[index, shows], np.stack([m.box for m in meshes]),
                np.array([m.track_id for m in meshes]))
    return {'detector': name, 'stride': stride, **identity_scores(numbers, scene.shares)}


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


def identity_scores(numbers: np.ndarray, shares: np.ndarray) -> dict[str, Any]:
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
    return {'pairs': int(counted.sum()), 'shown': shown / int(counted.sum()),
            'right_of_all': right / int(counted.sum()), 'right_of_shown': right / max(shown, 1),
            'switches': switches, 'numbers_per_person': [
                dict(Counter(map(str, numbers[counted[:, p], p]))) for p in
                range(numbers.shape[1])]}


def measure_smoothing(runtime: Runtime, scene: Scene) -> dict[str, Any]:
    """Jitter of one who stands, lag of one who walks, with and without smoothing.

    Jitter: one frame again and again with new camera noise; root mean square over vertices and
    images of the distance to each vertex's mean over a second, mm. Lag: shift of the smoothed x
    of the walking root against the raw one that makes them most alike, in images.
    """
    rng, standing = np.random.default_rng(0), []
    for deviation in PIXEL_NOISES:
        raw = follow(runtime, [noisy_image(scene.images[ALONE], rng, deviation)
                               for _ in range(STANDING_IMAGES)], scene.boxes[ALONE][0])
        smoothed = MeshSmoother()
        steady = [smoothed.smooth([mesh], i / STANDING_HZ)[0] for i, mesh in enumerate(raw)]
        standing.append({'noise': deviation, 'jitter_raw_mm': jitter_mm(raw),
                         'jitter_smoothed_mm': jitter_mm(steady)})
    walk = follow(runtime, list(scene.images[ALONE:ALONE + 40]), scene.boxes[ALONE][0])
    late = MeshSmoother()
    after = [late.smooth([mesh], i / FPS)[0] for i, mesh in enumerate(walk)]
    return {'standing': standing, 'lag_images': lag_images(walk, after),
            'images_per_s_standing': STANDING_HZ, 'images_per_s_walking': FPS}


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
