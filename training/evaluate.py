"""Scores a network on a published test set, on photographs or on held-out rendered people.

    python -m training.evaluate --weights rt --json
    python -m training.evaluate coco --data COCO --sheets FOLDER
    python -m training.evaluate 3dpw --data 3DPW --weights smpl.safetensors --body smpl.npz
        --uv smpl_uv.npz --body-folder SMPL --joint-regressor J_regressor_h36m.npy

Each score comes with its 95 % bootstrap interval over the images.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from argparse import Namespace
from typing import Any

import numpy as np
import torch

from decomr_core.body_models import load_body
from decomr_core.estimation.detectors import load_detector
from decomr_core.estimation.loading import load_runtime
from decomr_core.estimator import HumanMeshEstimator
from decomr_core.geometry.crop import crop_pixels
from decomr_core.runtimes import Runtime
from decomr_core.uv.uv_map import load_uv_map
from training.datasets.coco_photographs import read_photographs
from training.evaluation.arguments import (
    PHOTOGRAPHS,
    SYNTHETIC,
    SYNTHETIC_IMAGES,
    evaluation_parser,
)
from training.evaluation.photograph_scores import measure_photographs, photograph_report
from training.evaluation.photograph_sheets import image_sheet, people_sheet
from training.evaluation.protocols import Person, Scorer, make_scorer
from training.evaluation.report import (
    bones_of_people,
    bones_of_tracks,
    report_table,
    scale_rows,
    summarize,
)
from training.evaluation.run import BATCH, PersonError, Scores, crop_person, score_people
from training.evaluation.sets import (
    EVALUATION_SETS,
    annotation_file,
    evaluation_people,
    expected_files,
    track_of,
)
from training.evaluation.synthetic_scores import (
    best_constant_joints,
    constant_scores,
    evaluate_network,
    synthetic_report,
)
from training.evaluation.worst_cases import (
    TILE_PX,
    WORST,
    WorstCase,
    case_title,
    draw_labels,
    draw_mesh,
    draw_skeleton,
    worst_cases_picture,
    write_picture,
)
from training.records.image_files import read_rgb
from training.records.person_records import PersonRecords, ReadCounts
from training.synthetic.preview import asset_values
from training.synthetic.synthetic_config import AssetFiles

__all__ = ['best_constant_joints', 'constant_scores', 'evaluate_network', 'main', 'set_report']

BOX_SCALES = (0.8, 1.0, 1.2, 1.4, 1.6)
"""Sides of the crop over the person box; training frames by about 1.2."""
PICTURES = ('.png', '.jpg')
MAX_EXAMPLES = 5
"""Unreadable images that a report names."""
SHEET_PEOPLE, SHEET_IMAGES = 96, 48
LEFT_OUT = ('unreadable_images', 'outside_boxes', 'invalid_boxes', 'without_truth')
"""The fields of `ReadCounts` that count people who were not scored."""
logger = logging.getLogger(__name__)


def set_report(
    name: str,
    people: PersonRecords,
    runtime: Runtime,
    scorer: Scorer,
    limit: int | None = None,
    scales: tuple[float, ...] = (),
    with_picture: bool = False,
) -> tuple[dict[str, Any], np.ndarray | None]:
    """Scores a network on a published test set.

    Args:
        name: a key of `EVALUATION_SETS`.
        people: the people of the set, from `evaluation_people`.
        runtime: runs the network.
        scorer: computes the scores of this set, for the network's body.
        limit: number of people, evenly spread over the set; None for all.
        scales: additional crop scales to score at (side of the crop over that of the person box).
        with_picture: whether to draw the worst cases.

    Returns:
        The report, ready for JSON, and the picture (H, W, 3) uint8 RGB or None.

    Raises:
        ValueError: no person could be scored.
    """
    if limit is not None and limit < len(people):
        people = people.select(np.linspace(0, len(people) - 1, limit).round().astype(int))
    scores = score_people(runtime, people, scorer, files=expected_files(name))
    network, intervals = summarize(scores.values)
    report = {
        'images': len(scores.rows),
        **_left_out(people.counts, scores.errors),
        'network': network,
        'intervals': intervals,
        'bone_length_variation': _bones(name, scores, people, scorer),
        'notes': scorer.notes,
    }
    if scales:
        report['box_scales'] = scale_rows(
            scales,
            lambda scale: summarize(
                score_people(runtime, people, scorer, scale).values, with_intervals=False
            )[0],
        )
    picture = _worst_picture(name, runtime, people, scorer, scores) if with_picture else None
    return report, picture


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    options = evaluation_parser(__doc__.partition('\n')[0]).parse_args(arguments)
    try:
        report, picture = _evaluate(options)
        if picture is not None:
            write_picture(options.worst, picture)
        if options.out:
            options.out.write_text(json.dumps(report, indent=2), encoding='utf-8')
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        if os.environ.get('DECOMR_DEBUG'):
            raise
        print(f'error: {" ".join(str(error).split()) or repr(error)}', file=sys.stderr)
        return 2
    print(json.dumps(report) if options.json else report_table(report))
    return 0


def _evaluate(options: Namespace) -> tuple[dict[str, Any], np.ndarray | None]:
    _check_outputs(options)
    assets = _assets(options)
    body = load_body(options.body)
    uv_map = load_uv_map(options.uv, body)
    # Read the data set first: a missing file is reported before a network is exported.
    if options.dataset == PHOTOGRAPHS:
        return _evaluate_photographs(options), None
    scales = BOX_SCALES if options.scales else ()
    if options.dataset == SYNTHETIC:
        runtime = _load_network(options)
        report, picture = synthetic_report(
            runtime,
            body,
            uv_map,
            options.images or SYNTHETIC_IMAGES,
            scales,
            bool(options.worst),
            assets,
        )
        return {**_about(options, runtime), **report}, picture
    if options.root is None:
        raise ValueError(f'{options.dataset} needs --data FOLDER, the folder of its files')
    place = options.dataset, options.root, options.annotations
    about = {'annotations': annotation_file(*place).name}
    scorer = make_scorer(options.dataset, body, options.body_folder, options.joint_regressor)
    people = evaluation_people(*place)
    runtime = _load_network(options)
    report, picture = set_report(
        options.dataset, people, runtime, scorer, options.images, scales, bool(options.worst)
    )
    return {**_about(options, runtime), **about, **report}, picture


def _assets(options: Namespace) -> AssetFiles:
    """The asset files of the rendered people, by option; empty if none are given.

    Raises:
        ValueError: they are given for another data set, or with --scales.
    """
    assets = asset_values(options)
    if not any(assets.values()):
        return {}
    if options.dataset != SYNTHETIC or options.scales:
        raise ValueError(
            '--wardrobe, --panoramas and --poses-file apply only to the data set '
            'synthetic without --scales; remove them'
        )
    return assets


def _evaluate_photographs(options: Namespace) -> dict[str, Any]:
    """Scores photographs, and writes contact sheets with --sheets; returns the report."""
    if options.root is None:
        raise ValueError(f'{options.dataset} needs --data FOLDER, the folder of its files')
    for option in ('worst', 'scales'):
        if getattr(options, option):
            raise ValueError(
                f'--{option} does not apply to {options.dataset}; use --sheets FOLDER'
            )
    photographs = read_photographs(options.root, options.annotations)
    if options.images is not None and options.images < len(photographs):
        rows = np.linspace(0, len(photographs) - 1, options.images).round().astype(int)
        photographs = [photographs[row] for row in rows]
    detector = load_detector(options.detector)
    runtime = _load_network(options)
    in_true_boxes, detecting = HumanMeshEstimator(runtime), HumanMeshEstimator(runtime, detector)
    report = photograph_report(measure_photographs(in_true_boxes, detecting, photographs))
    if options.sheets:
        options.sheets.mkdir(parents=True, exist_ok=True)
        people = people_sheet(in_true_boxes, photographs, SHEET_PEOPLE)
        if people is not None:
            write_picture(options.sheets / 'people.png', people)
        write_picture(
            options.sheets / 'images.png', image_sheet(detecting, photographs, SHEET_IMAGES)
        )
    return {**_about(options, runtime), 'detector': options.detector, **report}


def _about(options: Namespace, runtime: Runtime) -> dict[str, str]:
    return {
        'dataset': options.dataset,
        'weights': str(options.weights),
        'runtime': f'{runtime.name} {runtime.precision}',
    }


def _load_network(options: Namespace) -> Runtime:
    more = {'device': options.device} if options.runtime == 'torch' else {}
    return load_runtime(
        options.runtime, options.weights, body=options.body, uv_map=options.uv, **more
    )


def _check_outputs(options: Namespace) -> None:
    """Raises an error early if a result could not be written at the end."""
    for path in (options.out, options.worst):
        if path is not None and not path.resolve().parent.is_dir():
            raise FileNotFoundError(
                f'cannot write {path.name}: there is no folder '
                f'{path.resolve().parent}; create it first'
            )
    if options.worst is not None and options.worst.suffix.lower() not in PICTURES:
        raise ValueError(
            f'--worst {options.worst} is not a picture file; end its name in '
            f'{" or ".join(PICTURES)}'
        )


def _left_out(counts: ReadCounts, errors: list[PersonError]) -> dict[str, Any]:
    """Counts the people who were not scored, by reason: annotations and images."""
    numbers = {
        kind: getattr(counts, kind) + sum(error.kind == kind for error in errors)
        for kind in LEFT_OUT
    }
    unreadable = [str(error) for error in errors if error.kind == 'unreadable_images']
    if errors:
        logger.warning('skipped %d people; the first: %s', len(errors), errors[0])
    return {
        'left_out': {kind: number for kind, number in numbers.items() if number},
        'unreadable': numbers['unreadable_images'],
        'unreadable_examples': unreadable[:MAX_EXAMPLES],
    }


def _bones(
    name: str, scores: Scores, people: PersonRecords, scorer: Scorer
) -> dict[str, Any] | None:
    """Variation of bone lengths along tracks of a video; else the error, if meshes are known."""
    measured = [people[row] for row in scores.rows]
    if EVALUATION_SETS[name].is_video:
        return bones_of_tracks(scores.joints, [track_of(name, record) for record in measured])
    true_joints = []
    for start in range(0, len(measured), BATCH):
        vertices = scorer.true_vertices(measured[start : start + BATCH])
        if vertices is None:
            return None
        true_joints.append(scorer.body.joint_regressor @ vertices)
    return bones_of_people(scores.joints, torch.cat(true_joints).numpy())


def _worst_picture(
    name: str, runtime: Runtime, people: PersonRecords, scorer: Scorer, scores: Scores
) -> np.ndarray:
    errors = scores.values[scorer.worst_by]
    worst = np.argsort(-errors, kind='stable')[:WORST]
    shown = [
        crop_person(
            people[int(scores.rows[row])],
            people.root,
            runtime.crop_size,
            with_labels=scorer.needs_labels,
            box_margin=runtime.box_margin,
        )
        for row in worst
    ]
    output = runtime.run(np.stack([person.pixels for person in shown]))
    cases = []
    for row, person, vertices, camera in zip(
        worst, shown, output.vertices, output.camera, strict=True
    ):
        path = people.root / person.record.image
        pixels = read_rgb(path)
        assert pixels is not None  # crop_person has read it
        image = crop_pixels(pixels, person.center, person.side, TILE_PX)
        cases.append(
            WorstCase(
                case_title(errors[row], scorer.worst_by, path.name),
                image,
                draw_mesh(image, vertices, camera, scorer.body.data.faces),
                _truth_tile(image, person, scorer, vertices, camera),
            )
        )
    return worst_cases_picture(
        cases,
        f'The {len(cases)} worst of {len(errors)} people of {name}: image, prediction, truth',
    )


def _truth_tile(
    image: np.ndarray, person: Person, scorer: Scorer, vertices: np.ndarray, camera: np.ndarray
) -> np.ndarray | None:
    """The truth over a crop (T, T, 3): segments, or mesh or joints at the predicted pelvis."""
    if scorer.needs_labels:
        return draw_labels(image, person.labels['segments'], person.center, person.side)
    truth = scorer.truth_at(person.record, vertices)
    if truth is None:
        return None
    if truth.vertices is None or truth.faces is None:
        return draw_skeleton(image, truth.joints, camera)
    return draw_mesh(image, truth.vertices, camera, truth.faces, is_true=True)


if __name__ == '__main__':
    raise SystemExit(main())
