"""Recall of the detector by the height of people, precision, and time.

    python -m benchmarks.detector --data COCO --out benchmarks/results/detector.json

The data are in the layout of COCO keypoints (`training/datasets/coco_photographs.py`). A person
is found if a detection has an intersection over union of at least 0.5 with the person's box.
Detections that lie mostly inside a crowd's box are ignored.
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from decomr_core.base.hardware import cpu_name
from decomr_core.estimation.detectors import load_detector
from decomr_core.people.detection import Detector
from training.datasets.coco_photographs import Photograph, read_photographs
from training.evaluation.photograph_scores import match_detections
from training.records.image_files import read_rgb

VARIANTS: dict[str, dict[str, Any]] = {
    'int8': {},
    'int8, 2 x 2 tiles': {'tiles': 2},
    'int8, 3 x 3 tiles': {'tiles': 3},
    'int8, ONNX Runtime': {'runtime': 'onnxruntime'},
}
HEIGHTS_PX = (0, 40, 60, 100, 200, np.inf)
"""Limits of the height groups, image px."""
TIMED_SIZE, REPEATS = (640, 480), 50


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        'python -m benchmarks.detector',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--data', type=Path, required=True, help="folder in COCO's layout")
    parser.add_argument('--out', type=Path, required=True, help='JSON to write')
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    photographs = read_photographs(options.data)
    report = {
        'hardware': cpu_name(),
        'threads': 1,
        'date': datetime.date.today().isoformat(),
        'images': len(photographs),
        'detectors': {
            name: measure(load_detector(**more), photographs) for name, more in VARIANTS.items()
        },
    }
    options.out.write_text(json.dumps(report, indent=1) + '\n', encoding='utf-8')
    print(table(report))
    return 0


def measure(detector: Detector, photographs: list[Photograph]) -> dict[str, Any]:
    """Recall by height, precision, false detections in images without people, time."""
    heights: list[float] = []
    is_found: list[bool] = []
    right = wrong = wrong_without_people = 0
    for photograph in photographs:
        found, false = match_detections(list(detector(_image(photograph)).boxes), photograph)
        people = photograph.people
        heights += [person.box[3] - person.box[1] for person in people]
        is_found += [number in found for number in range(len(people))]
        right, wrong = right + len(found), wrong + len(false)
        wrong_without_people += 0 if people else len(false)
    group = np.digitize(heights, HEIGHTS_PX[1:])
    found_of = np.array(is_found)
    return {
        'recall': float(found_of.mean()),
        'precision': right / max(right + wrong, 1),
        'false_where_nobody_is': wrong_without_people,
        'recall_by_height': [
            {
                'from_px': HEIGHTS_PX[number],
                'people': int((group == number).sum()),
                'recall': float(found_of[group == number].mean()),
            }
            for number in range(len(HEIGHTS_PX) - 1)
            if (group == number).any()
        ],
        'ms': _median_ms(detector, _image(photographs[0])),
    }


def table(report: dict[str, Any]) -> str:
    """The report as a Markdown table."""
    first = next(iter(report['detectors'].values()))
    names = [f'from {row["from_px"]:g} px ({row["people"]})' for row in first['recall_by_height']]
    lines = [
        '| detector | ' + ' | '.join(names) + ' | all | precision | false where nobody is | ms |',
        '|---' * (len(names) + 5) + '|',
    ]
    for name, row in report['detectors'].items():
        recalls = ' | '.join(f'{part["recall"]:.2f}' for part in row['recall_by_height'])
        lines.append(
            f'| {name} | {recalls} | {row["recall"]:.2f} | {row["precision"]:.2f} | '
            f'{row["false_where_nobody_is"]} | {row["ms"]:.0f} |'
        )
    return '\n'.join(lines)


def _image(photograph: Photograph) -> np.ndarray:
    """The image, (H, W, 3) uint8 RGB.

    Raises:
        ValueError: it cannot be read.
    """
    image = read_rgb(photograph.path)
    if image is None:
        raise ValueError(f'cannot read the image {photograph.path}; check the data set')
    return image


def _median_ms(detector: Detector, image: np.ndarray) -> float:
    image = cv2.resize(image, TIMED_SIZE)
    times = []
    for _ in range(REPEATS):
        started_s = time.perf_counter()
        detector(image)
        times.append((time.perf_counter() - started_s) * 1e3)
    return float(np.median(times))


if __name__ == '__main__':
    raise SystemExit(main())
