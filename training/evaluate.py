"""Scores a network on a published test set, on photographs, or on the held-out synthetic people.

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
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from decomr_core.base.arguments import positive
from decomr_core.body_models import load_body
from decomr_core.estimation.detectors import DETECTORS, load_detector
from decomr_core.estimation.loading import load_runtime
from decomr_core.estimator import HumanMeshEstimator
from decomr_core.geometry.crop import crop_pixels
from decomr_core.runtimes import RUNTIMES, Runtime
from decomr_core.uv.uv_map import load_uv_map
from training.datasets.coco_photographs import read_photographs
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
from training.synthetic.preview import add_asset_options, asset_values

__all__ = ['best_constant_joints', 'constant_scores', 'evaluate_network', 'main', 'set_report']

SYNTHETIC, PHOTOGRAPHS = 'synthetic', 'coco'
SYNTHETIC_IMAGES = 500
BOX_SCALES = (0.8, 1.0, 1.2, 1.4, 1.6)
"""Sides of the crop over the person box; training frames by about 1.2."""
PICTURES = ('.png', '.jpg')
SHOWN = 5
SHEET_PEOPLE, SHEET_IMAGES = 96, 48
LEFT_OUT = ('unreadable_images', 'outside_boxes', 'invalid_boxes', 'without_truth')
"""The counts of `ReadCounts` that are people who were not measured."""
logger = logging.getLogger(__name__)


def set_report(name: str, people: PersonRecords, runtime: Runtime, scorer: Scorer,
               limit: int | None = None, scales: tuple[float, ...] = (),
               with_picture: bool = False) -> tuple[dict[str, Any], np.ndarray | None]:
    """Everything that is reported about a published test set.

    Args:
        name: a key of `EVALUATION_SETS`.
        people: who is in it (`evaluation_people`).
        runtime: the network.
        scorer: of the set, for the network's body.
        limit: how many people, evenly spread over the set; None: all.
        scales: sides of the crop over the person box to measure at as well.
        with_picture: whether to draw the worst cases.

    Returns:
        The report, ready for JSON, and the picture (H, W, 3) uint8 RGB or None.

    Raises:
        ValueError: nobody could be measured.
    """
    if limit is not None and limit < len(people):
        people = people.select(np.linspace(0, len(people) - 1, limit).round().astype(int))
    scores = score_people(runtime, people, scorer, files=expected_files(name))
    network, intervals = summarize(scores.values)
    report = {
        'images': len(scores.rows), **_left_out(people.counts, scores.errors),
        'network': network, 'intervals': intervals,
        'bone_length_variation': _bones(name, scores, people, scorer), 'notes': scorer.notes}
    if scales:
        report['box_scales'] = scale_rows(scales, lambda scale: summarize(
            score_people(runtime, people, scorer, scale).values, with_intervals=False)[0])
    picture = _worst_picture(name, runtime, people, scorer, scores) if with_picture else None
    return report, picture


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    options = _parser().parse_args(arguments)
    try:
        report, picture = _evaluate(options)
        if options.worst:
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
    # The data set first: what is missing there is told before a network is exported.
    people, about = None, {}
    if options.dataset == PHOTOGRAPHS:
        return _evaluate_photographs(options), None
    if options.dataset != SYNTHETIC:
        if options.root is None:
            raise ValueError(f'{options.dataset} needs --data FOLDER, the folder of its files')
        place = options.dataset, options.root, options.annotations
        about['annotations'] = annotation_file(*place).name
        scorer = make_scorer(options.dataset, body, options.body_folder, options.joint_regressor)
        people = evaluation_people(*place)
    runtime = _load_network(options)
    scales = BOX_SCALES if options.scales else ()
    if people is None:
        report, picture = synthetic_report(runtime, body, uv_map,
                                           options.images or SYNTHETIC_IMAGES, scales,
                                           bool(options.worst), assets)
    else:
        report, picture = set_report(options.dataset, people, runtime, scorer, options.images,
                                     scales, bool(options.worst))
    return {**_about(options, runtime), **about, **report}, picture


def _assets(options: Namespace) -> dict[str, str]:
    """The files that the synthetic people are dressed from; empty where none is given.

    Raises:
        ValueError: they are given for another data set, or with --scales.
    """
    assets = {name: value for name, value in asset_values(options).items() if value}
    if assets and (options.dataset != SYNTHETIC or options.scales):
        raise ValueError('--wardrobe, --panoramas and --poses-file are for the synthetic people, '
                         'without --scales')
    return assets


def _evaluate_photographs(options: Namespace) -> dict[str, Any]:
    """The report on photographs; writes the contact sheets where they are asked for."""
    if options.root is None:
        raise ValueError(f'{options.dataset} needs --data FOLDER, the folder of its files')
    for option in ('worst', 'scales'):
        if getattr(options, option):
            raise ValueError(f'--{option} is not for {options.dataset}; look at --sheets FOLDER')
    photographs = read_photographs(options.root, options.annotations)
    if options.images is not None and options.images < len(photographs):
        rows = np.linspace(0, len(photographs) - 1, options.images).round().astype(int)
        photographs = [photographs[row] for row in rows]
    detector = load_detector(options.detector)
    runtime = _load_network(options)
    given, own = HumanMeshEstimator(runtime), HumanMeshEstimator(runtime, detector)
    report = photograph_report(measure_photographs(given, own, photographs))
    if options.sheets:
        options.sheets.mkdir(parents=True, exist_ok=True)
        people = people_sheet(given, photographs, SHEET_PEOPLE)
        if people is not None:
            write_picture(options.sheets / 'people.png', people)
        write_picture(options.sheets / 'images.png', image_sheet(own, photographs, SHEET_IMAGES))
    return {**_about(options, runtime), 'detector': options.detector, **report}


def _about(options: Namespace, runtime: Runtime) -> dict[str, str]:
    return {'dataset': options.dataset, 'weights': str(options.weights),
            'runtime': f'{runtime.name} {runtime.precision}'}


def _load_network(options: Namespace) -> Runtime:
    more = {'device': options.device} if options.runtime == 'torch' else {}
    return load_runtime(options.runtime, options.weights, body=options.body, uv_map=options.uv,
                        **more)


def _check_outputs(options: Namespace) -> None:
    """Raises an error now if a result could not be written at the end."""
    for path in (options.out, options.worst):
        if path is not None and not path.resolve().parent.is_dir():
            raise FileNotFoundError(f'there is no folder {path.resolve().parent} to write '
                                    f'{path.name} into; make it first')
    if options.worst is not None and options.worst.suffix.lower() not in PICTURES:
        raise ValueError(f'{options.worst} is to be a picture; end its name in '
                         f'{" or ".join(PICTURES)}')


def _left_out(counts: ReadCounts, errors: list[PersonError]) -> dict[str, Any]:
    """Who was not measured, and why: in the annotations, and among the images."""
    numbers = {kind: getattr(counts, kind) + sum(error.kind == kind for error in errors)
               for kind in LEFT_OUT}
    unreadable = [str(error) for error in errors if error.kind == 'unreadable_images']
    if errors:
        logger.warning('left out %d people, the first: %s', len(errors), errors[0])
    return {'left_out': {kind: number for kind, number in numbers.items() if number},
            'unreadable': numbers['unreadable_images'], 'unreadable_examples': unreadable[:SHOWN]}


def _bones(name: str, scores: Scores, people: PersonRecords,
           scorer: Scorer) -> dict[str, Any] | None:
    """Bone lengths over the tracks of a set; over its people where it knows their meshes."""
    measured = [people[row] for row in scores.rows]
    if EVALUATION_SETS[name].is_video:
        return bones_of_tracks(scores.joints, [track_of(name, record) for record in measured])
    if scorer.true_vertices(measured[:1]) is None:
        return None
    true_joints = [
        scorer.body.joint_regressor @ scorer.true_vertices(measured[start:start + BATCH])
        for start in range(0, len(measured), BATCH)]
    return bones_of_people(scores.joints, torch.cat(true_joints).numpy())


def _worst_picture(name: str, runtime: Runtime, people: PersonRecords, scorer: Scorer,
                   scores: Scores) -> np.ndarray:
    errors = scores.values[scorer.worst_by]
    worst = np.argsort(-errors, kind='stable')[:WORST]
    shown = [crop_person(people[int(scores.rows[row])], people.root, runtime.crop_size,
                         with_labels=scorer.needs_labels) for row in worst]
    output = runtime.run(np.stack([person.pixels for person in shown]))
    cases = []
    for row, person, vertices, camera in zip(worst, shown, output.vertices, output.camera,
                                             strict=True):
        path = people.root / person.record.image
        image = crop_pixels(read_rgb(path), person.center, person.side, TILE_PX)
        cases.append(WorstCase(
            case_title(errors[row], scorer.worst_by, path.name), image,
            draw_mesh(image, vertices, camera, scorer.body.data.faces),
            _truth_tile(image, person, scorer, vertices, camera)))
    return worst_cases_picture(
        cases, f'The {len(cases)} worst of {len(errors)} people of {name}: image, prediction, '
               'truth')


def _truth_tile(image: np.ndarray, person: Person, scorer: Scorer, vertices: np.ndarray,
                camera: np.ndarray) -> np.ndarray | None:
    """The truth over a crop (T, T, 3): segments; or mesh or joints at the predicted pelvis."""
    if scorer.needs_labels:
        return draw_labels(image, person.labels['segments'], person.center, person.side)
    truth = scorer.truth_at(person.record, vertices)
    if truth is None:
        return None
    if truth.vertices is None:
        return draw_skeleton(image, truth.joints, camera)
    return draw_mesh(image, truth.vertices, camera, truth.faces, is_true=True)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog='python -m training.evaluate',
                            description=__doc__.partition('\n')[0])
    parser.add_argument('dataset', nargs='?', default=SYNTHETIC,
                        choices=(SYNTHETIC, PHOTOGRAPHS, *EVALUATION_SETS),
                        help='what to measure on')
    parser.add_argument('--weights', default='rt', help='rt (shipped) or a safetensors file')
    parser.add_argument('--runtime', default='torch', choices=tuple(RUNTIMES),
                        help='what runs the network (torch)')
    parser.add_argument('--device', default='cpu', help='of the torch runtime: cpu or cuda')
    parser.add_argument('--body', default='builtin', help='that the weights are for: builtin or '
                                                          'an npz file')
    parser.add_argument('--uv', default='builtin', help='its UV map: builtin or an npz file')
    parser.add_argument('--data', '--root', type=Path, dest='root', metavar='FOLDER',
                        help="folder of the data set's npz and images")
    parser.add_argument('--annotations', type=Path, metavar='FILE',
                        help='of the data set, if not in its folder under the published name')
    parser.add_argument('--detector', default='person', choices=tuple(DETECTORS),
                        help='of coco: who looks for people on whole images (person)')
    parser.add_argument('--sheets', type=Path, metavar='FOLDER',
                        help='of coco: contact sheets of people and images')
    parser.add_argument('--body-folder', type=Path, help='folder of smpl_neutral.npz, '
                                                         'smpl_male.npz, smpl_female.npz')
    parser.add_argument('--joint-regressor', type=Path, metavar='J_regressor_h36m.npy',
                        help="Human3.6M's joints from SMPL's vertices")
    parser.add_argument('--images', type=positive, metavar='N', help='how many images, evenly '
                        f'spread; default: all, of the synthetic set {SYNTHETIC_IMAGES}')
    add_asset_options(parser)
    parser.add_argument('--scales', action='store_true',
                        help='also measure with tighter and wider crops')
    parser.add_argument('--worst', type=Path, metavar='FILE.png',
                        help=f'picture of the {WORST} worst cases')
    parser.add_argument('--json', action='store_true', help='one JSON object on the last line')
    parser.add_argument('--out', type=Path, help='also write the JSON object to this file')
    return parser


if __name__ == '__main__':
    raise SystemExit(main())
