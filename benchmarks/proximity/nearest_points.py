"""Benchmark of the nearest points of people and robot parts: time, and error of the search.

    python -m benchmarks.proximity.nearest_points --out benchmarks/results/nearest_points.json

People of the built-in body in poses of the training generator stand around 12 capsules, or 12
boxes, and the search is compared with one through all vertices. Times are for one thread.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from decomr_core.base.hardware import cpu_name
from decomr_core.body_models import load_body
from decomr_core.geometry.nearest_points import RoundedBoxes, SurfaceSearch
from training.synthetic.bodies.body_shapes import sample_shapes
from training.synthetic.bodies.poses import sample_poses

PEOPLE, PARTS = (1, 4, 20), 12
SCENES, REPEATS = 20, 10
FLOOR_M = 2.5
"""People and parts are within this distance of the origin, metres."""


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        'python -m benchmarks.proximity.nearest_points',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--out', type=Path, required=True, help='JSON file to write')
    options = parser.parse_args(arguments)
    body = load_body('builtin')
    search = SurfaceSearch(body.v_template.numpy(), np.asarray(body.faces))
    results: dict[str, Any] = {
        'hardware': cpu_name(),
        'python': platform.python_version(),
        'numpy': np.__version__,
        'date': datetime.date.today().isoformat(),
        'load': round(os.getloadavg()[0], 1),
        'vertices': len(body.v_template),
        'parts': PARTS,
    }
    for shape in ('capsules', 'boxes'):
        results[shape] = {str(count): measure(search, body, shape, count) for count in PEOPLE}
    options.out.write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')
    print(json.dumps(results, indent=1))
    return 0


def measure(search: SurfaceSearch, body: Any, shape: str, num_people: int) -> dict[str, float]:
    """Times in ms and errors of the distance in mm, over all scenes."""
    times_s, errors_m = [], []
    for seed in range(SCENES):
        rng = np.random.default_rng(seed)
        vertices = _people(rng, body, num_people)
        parts = _parts(rng, shape)
        for _ in range(REPEATS):
            started_s = time.perf_counter()
            found = search.nearest(vertices, parts)
            times_s.append(time.perf_counter() - started_s)
        errors_m.append(_from_cores(found.on_bodies, parts) - _exact(vertices, parts))
    errors_mm = np.concatenate(errors_m).ravel() * 1e3
    return {
        'median_ms': round(float(np.median(times_s)) * 1e3, 2),
        'min_ms': round(min(times_s) * 1e3, 2),
        'mean_error_mm': round(float(errors_mm.mean()), 2),
        'p99_error_mm': round(float(np.quantile(errors_mm, 0.99)), 1),
        'max_error_mm': round(float(errors_mm.max()), 1),
    }


def _people(rng: np.random.Generator, body: Any, count: int) -> np.ndarray:
    poses = torch.as_tensor(sample_poses(rng, count)[0], dtype=torch.float32)
    shapes = torch.as_tensor(sample_shapes(rng, count), dtype=torch.float32)
    vertices = body(poses, shapes)[0].numpy()
    places = rng.uniform(-FLOOR_M, FLOOR_M, (count, 1, 3)) * (1, 0, 1)
    return vertices + places.astype(np.float32)  # as the meshes of the product


def _parts(rng: np.random.Generator, shape: str) -> RoundedBoxes:
    starts = rng.uniform(-FLOOR_M, FLOOR_M, (PARTS, 3)) * (1, 0.4, 1)
    capsules = RoundedBoxes.capsules(
        starts, starts + rng.normal(0, 0.3, (PARTS, 3)), rng.uniform(0.03, 0.12, PARTS)
    )
    if shape == 'capsules':
        return capsules
    return RoundedBoxes(
        capsules.centers, capsules.rotations, rng.uniform(0.05, 0.3, (PARTS, 3)), np.zeros(PARTS)
    )


def _exact(vertices: np.ndarray, parts: RoundedBoxes) -> np.ndarray:
    """Distances (P, N) of the nearest vertices from the boxes without their radii, metres."""
    points = np.repeat(vertices[:, :, None].astype(np.float64), len(parts), axis=2)
    return _from_cores(points, parts).min(axis=1)


def _from_cores(points: np.ndarray, parts: RoundedBoxes) -> np.ndarray:
    return np.linalg.norm(points - parts.core_points(points), axis=-1)


if __name__ == '__main__':
    raise SystemExit(main())
