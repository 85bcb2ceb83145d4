"""`decomr bench`: times each stage on this machine, with synthetic images."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import time
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from decomr_core import __version__
from decomr_core.base.hardware import cpu_name
from decomr_core.base.structures import person_or_people
from decomr_core.estimation.detectors import load_detector
from decomr_core.estimator import HumanMeshEstimator
from decomr_core.geometry.camera import intrinsics_from_fov
from decomr_core.runtimes import RUNTIMES, Runtime

__all__ = ['bench_estimator', 'bench_text', 'measured_on']

WARM_UP = 5
"""Untimed runs before the timed ones."""
FOV_DEG = 60.0
BOXES, DETECTOR = 'detect', 'detector '
"""Name of the stage that takes given boxes, whose time is not a detector's; prefix of a detector
that is timed."""
PERSON_HEIGHT = 0.7
"""Height of a person relative to the image."""


def bench_estimator(
    network: Runtime,
    *,
    num_people: int = 1,
    image_size: Sequence[float] = (1280, 720),
    repeats: int = 50,
    detector: str | None = None,
) -> dict[str, Any]:
    """Times the estimator with given boxes, and optionally a detector.

    Args:
        network: a loaded runtime.
        num_people: people in each image.
        image_size: width and height, px.
        repeats: number of timed images, after some untimed ones.
        detector: detector to time separately on the same images; None: no detector.

    Returns:
        Median and 99th percentile per stage in ms, and the hardware and versions.
    """
    width, height = (int(number) for number in image_size)
    if num_people < 1 or repeats < 1 or width < 1 or height < 1:
        raise ValueError('people, repeats and the image size must be at least 1')
    estimator = HumanMeshEstimator(network)
    image = _random_image(width, height)
    boxes = _boxes(num_people, width, height)
    intrinsics = intrinsics_from_fov(width, height, FOV_DEG)
    runs = []
    for _ in range(WARM_UP + repeats):
        _, times = estimator.estimate(image, boxes, intrinsics=intrinsics)
        runs.append({**times.stages_ms, 'total': times.total_ms})
    stages = {name: [run[name] for run in runs[WARM_UP:]] for name in runs[0]}
    if detector is not None:
        stages[f'{DETECTOR}{detector}'] = _detector_ms(detector, image, repeats)
    return {
        'runtime': network.name,
        'precision': network.precision,
        'people': num_people,
        'width': width,
        'height': height,
        'repeats': repeats,
        'median_ms': {name: float(np.median(ms)) for name, ms in stages.items()},
        'p99_ms': {name: float(np.percentile(ms, 99)) for name, ms in stages.items()},
        'images_per_s': 1e3 / float(np.median(stages['total'])),
        **measured_on({network.name: RUNTIMES[network.name][0]}),
    }


def measured_on(packages: Mapping[str, str]) -> dict[str, Any]:
    """Hardware, versions and date of a measurement.

    Args:
        packages: distributions of the measured packages by their name in the report.
    """
    return {
        'hardware': {
            'cpu': cpu_name(),
            'cpus': len(os.sched_getaffinity(0)),
            'load_before': os.getloadavg()[0],
        },
        'versions': {
            'decomr': __version__,
            'python': platform.python_version(),
            **{
                name: importlib.metadata.version(distribution)
                for name, distribution in packages.items()
            },
        },
        'date': datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds'),
    }


def bench_text(report: dict[str, Any]) -> str:
    """The report of `bench_estimator` for a terminal."""
    count = report['people']
    lines = [
        f'{report["runtime"]} {report["precision"]}, {count} '
        f'{person_or_people(count)} in {report["width"]}x{report["height"]}, '
        f'{report["hardware"]["cpus"]} x {report["hardware"]["cpu"]}',
        f'{"stage":24}{"median ms":>10}{"p99 ms":>10}',
    ]
    for name, ms in report['median_ms'].items():
        if name != BOXES:
            lines.append(f'{name:24}{ms:10.2f}{report["p99_ms"][name]:10.2f}')
        elif not any(other.startswith(DETECTOR) for other in report['median_ms']):
            lines.append(
                f'{name:24}{"-":>10}{"-":>10}   boxes are given; --detector person times '
                'a detector'
            )
    lines.append(f'{report["images_per_s"]:.1f} images/s')
    return '\n'.join(lines)


def _random_image(width: int, height: int) -> np.ndarray:
    """A fixed (H, W, 3) uint8 image with structure at several scales."""
    random = np.random.default_rng(0)
    image = np.zeros((height, width, 3), np.float32)
    for cells in (4, 16, 64):
        noise = random.uniform(0, 85, (cells, cells, 3)).astype(np.float32)
        image += cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
    return image.astype(np.uint8)


def _boxes(num_people: int, width: int, height: int) -> np.ndarray:
    """Boxes (num_people, 4) of people side by side, image px."""
    person = height * PERSON_HEIGHT
    middle = (np.arange(num_people) + 0.5) * width / num_people
    low = np.stack([middle - person / 5, np.full(num_people, (height - person) / 2)], axis=1)
    return np.concatenate([low, low + (person / 2.5, person)], axis=1)


def _detector_ms(name: str, image: np.ndarray, repeats: int) -> list[float]:
    """Durations of a detector on an image (H, W, 3), ms per run."""
    detector = load_detector(name)
    detector(image)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        detector(image)
        times.append((time.perf_counter() - start) * 1e3)
    return times
