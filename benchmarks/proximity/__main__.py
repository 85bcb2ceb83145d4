"""Accuracy of the distance between people and robot parts, and of its 95 % interval.

    python -m benchmarks.proximity --cache build/proximity --out benchmarks/results/proximity.json
    python -m benchmarks.proximity --sheet build/proximity.png

The first command renders people whose position is known (`scenes.py`), estimates their
meshes with the default network, without and with a depth image, and compares the nearest distance
of robot parts with the truth. The constants of `decomr_core/estimation/uncertainty.py` were fitted
to the first seeds; the coverage is that of the others. Then it compares the rate of approach of
people who walk with the truth (`approach.py`). On two cores this takes half an hour, with other
weights a few minutes: the scenes are in the cache then. The second command draws some of them.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openvino

from benchmarks.proximity.approach import approach_report
from benchmarks.proximity.estimates import SCENES_PER_SEED, Cache, Estimate, cached_estimates
from benchmarks.proximity.fit import fit_deviations, fit_intervals, root_errors
from benchmarks.proximity.parts import UPRIGHT_M, Cases, collect_cases
from benchmarks.proximity.scenes import Scene, SceneRenderer
from benchmarks.proximity.sensors import HEIGHT, WIDTH, detected_boxes, measured_depth
from benchmarks.proximity.walks import cached_walks
from decomr_core.base.assets import file_hash, find_weights
from decomr_core.base.hardware import cpu_name
from decomr_core.body_models import load_body
from decomr_core.estimation import uncertainty
from decomr_core.estimation.loading import load_runtime

FITTED, CHECKED, WALKED = range(10), range(10, 20), range(6)
SIZE = WIDTH, HEIGHT
RUNTIME, WEIGHTS = 'openvino', 'rt'
AWAY_M, NEAR_M = (0, 2, 3.5, 5.5, math.inf), (0, 0.3, 1, 2, math.inf)
CUT, MOSTLY_VISIBLE = 0.02, 0.7
MEDIAN_ERROR_M, MEDIAN_ERROR_SHARE = 0.03, 0.01
"""Wanted median error with depth: a constant and a share of the distance from the camera."""
CONSTANTS = (
    'RAY_SHARE',
    'DEPTH_STD_M',
    'DEPTH_SHARE',
    'ACROSS_STD_M',
    'VISIBLE_STD_M',
    'HIDDEN_STD_M',
    'ROOT_GROWTH',
    'VERTEX_GROWTH',
    'CUT_GROWTH',
    'CHANGE_GROWTH',
    'NEAREST_SHARE',
    'RAY_INTERVAL',
    'DEPTH_INTERVAL',
)
SHEET_SEED, SHEET_COLUMNS, SHEET_ROWS = 99, 3, 6


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        'python -m benchmarks.proximity',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--cache', type=Path, help='folder of scenes and estimates, about 9 GB')
    parser.add_argument('--out', type=Path, help='JSON file to write; needs --cache')
    parser.add_argument('--sheet', type=Path, help='PNG file with some of the scenes')
    options = parser.parse_args(arguments)
    if options.sheet is None and (options.out is None or options.cache is None):
        parser.error('nothing to do: give --cache and --out, or --sheet')
    if options.sheet is not None:
        cv2.imwrite(str(options.sheet), contact_sheet()[..., ::-1])
    if options.out is not None:
        report = measure(options.cache)
        options.out.write_text(json.dumps(report, indent=1) + '\n', encoding='utf-8')
    return 0


def measure(folder: Path) -> dict[str, Any]:
    """The results; makes what is not in the cache."""
    runtime, weights_hash = load_runtime(RUNTIME, WEIGHTS), file_hash(find_weights(WEIGHTS))
    cache, renderer = Cache(folder, weights_hash), SceneRenderer(load_body('builtin'))
    fitted = cached_estimates(cache, renderer, runtime, FITTED)
    report: dict[str, Any] = {
        'hardware': cpu_name(),
        'python': platform.python_version(),
        'numpy': np.__version__,
        'openvino': openvino.__version__,
        'runtime': RUNTIME,
        'precision': runtime.precision,
        'weights_sha256': weights_hash,
        'date': datetime.date.today().isoformat(),
        'image': SIZE,
        'scenes_per_seed': SCENES_PER_SEED,
        'seeds': {
            name: [seeds[0], seeds[-1]]
            for name, seeds in (('fitted', FITTED), ('checked', CHECKED), ('walks', WALKED))
        },
        'people_fitted': len(fitted),
        'fit': {**fit_deviations(fitted, SIZE), **fit_intervals(collect_cases(fitted, SIZE))},
        'constants': {name: getattr(uncertainty, name) for name in CONSTANTS},
    }
    del fitted  # 1 GB
    checked = cached_estimates(cache, renderer, runtime, CHECKED)
    cases = collect_cases(checked, SIZE)
    return {
        **report,
        'people_checked': len(checked),
        'depth_measured': mean(person.with_depth.has_measured_depth for person in checked),
        'roots': root_report(checked),
        'distances': {
            name: distance_report(cases.where(cases.has_depth == has_depth))
            for name, has_depth in (('without_depth', False), ('with_depth', True))
        },
        'all': coverage(cases),
        'approach': approach_report(cached_walks(cache, renderer, runtime, WALKED)),
    }


def root_report(people: Sequence[Estimate]) -> dict[str, Any]:
    """Percentiles of the errors of roots, and of vertices relative to them."""
    rows = [(person, *root_errors(person, person.without_depth)) for person in people]
    shares = [
        along / float(np.linalg.norm(person.without_depth.translation))
        for person, along, _ in rows
    ]
    with_depth = [
        root_errors(person, person.with_depth)[0]
        for person in people
        if person.with_depth.has_measured_depth
    ]
    return {
        'percentiles': [2.5, 16, 50, 84, 97.5],
        'along_ray_share': spread(shares),
        'along_ray_with_depth_m': spread(with_depth),
        'across_ray_m': spread([float(np.linalg.norm(across)) for _, _, across in rows]),
    }


def distance_report(cases: Cases) -> dict[str, dict[str, float]]:
    """Error and coverage of groups of cases."""
    groups = {
        'all': np.ones(len(cases.truth), bool),
        'visible': cases.is_visible,
        'hidden': ~cases.is_visible,
        'whole': cases.cut < CUT,
        'cut': cases.cut >= CUT,
        f'at least {MOSTLY_VISIBLE} of the person visible': cases.visible_share >= MOSTLY_VISIBLE,
        f'less than {MOSTLY_VISIBLE} of the person visible': cases.visible_share < MOSTLY_VISIBLE,
        f'taller than {UPRIGHT_M} m as posed': cases.is_upright,
        'lower': ~cases.is_upright,
    }
    for name, values, edges in (
        ('from the camera', cases.away, AWAY_M),
        ('between the two', cases.estimate, NEAR_M),
    ):
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            limits = f'{low:g} m or more' if high == math.inf else f'{low:g} to {high:g} m'
            groups[f'{limits} {name}'] = (values >= low) & (values < high)
    return {name: coverage(cases.where(chosen)) for name, chosen in groups.items()}


def coverage(cases: Cases) -> dict[str, float]:
    """Error and coverage of cases; lengths in metres."""
    wrong = np.abs(cases.error)
    wanted = MEDIAN_ERROR_M + MEDIAN_ERROR_SHARE * cases.away
    return {
        'cases': len(cases.truth),
        'covered': mean(cases.is_inside),
        'nearer': mean(cases.truth < cases.low),
        'farther': mean(cases.truth > cases.high),
        'median_error': round(float(np.median(wrong)), 4),
        'mean_error': round(float(cases.error.mean()), 4),
        'median_bias': round(float(np.median(cases.error)), 4),
        'error_95': round(float(np.percentile(wrong, 95)), 4),
        'median_width': round(float(np.median(cases.high - cases.low)), 4),
        'within_3_cm_and_1_percent': mean(wrong <= wanted),
    }


def spread(values: Sequence[float]) -> list[float]:
    """Percentiles 2.5, 16, 50, 84 and 97.5."""
    return np.percentile(values, (2.5, 16, 50, 84, 97.5)).round(4).tolist()


def mean(values: Any) -> float:
    """The mean of an iterable of numbers, rounded to 4 digits."""
    return round(float(np.mean(list(values))), 4)


def contact_sheet() -> np.ndarray:
    """Scenes of a seed that is neither fitted nor checked, with boxes and depth images."""
    renderer = SceneRenderer(load_body('builtin'))
    tiles = [
        _tile(renderer.scene(SHEET_SEED, number), np.random.default_rng(number))
        for number in range(SHEET_COLUMNS * SHEET_ROWS)
    ]
    rows = [
        np.concatenate(tiles[first : first + SHEET_COLUMNS], 1)
        for first in range(0, len(tiles), SHEET_COLUMNS)
    ]
    return np.concatenate(rows)


def _tile(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Image and depth image of a scene, (H / 2, W, 3) uint8 RGB."""
    image = scene.image.copy()
    boxes, found = detected_boxes(rng, scene.people)
    for box, index in zip(boxes.astype(int).tolist(), found, strict=True):
        person = scene.people[index]
        away = np.linalg.norm(person.translation)
        text = f'{away:.1f} m {person.visible_share:.0%}'
        cv2.rectangle(image, box[:2], box[2:], (0, 255, 0), 2)
        cv2.putText(image, text, (max(box[0], 0), max(box[1], 0) + 20), 0, 0.6, (255, 0, 0), 2)
    depth = measured_depth(rng, scene.depth)
    shown = (np.clip(depth / 8000, 0, 1) * 255).astype(np.uint8)
    colored = cv2.applyColorMap(shown, cv2.COLORMAP_JET)[..., ::-1].copy()
    colored[depth == 0] = 0
    return np.concatenate([image, colored], 1)[::2, ::2]


if __name__ == '__main__':
    raise SystemExit(main())
