"""Photographs with 2D ground truth: read, measured, reported, drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from decomr_core.base.structures import HumanMesh
from decomr_core.body_models import BodyModel
from decomr_core.estimator import HumanMeshEstimator
from decomr_core.people.detection import Detections, GivenBoxes
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap
from tests.core.fake_people import FakeRuntime
from training import evaluate
from training.datasets.coco_photographs import outline_mask, read_photographs
from training.datasets.readers.coco import COCO_JOINTS
from training.evaluation.photograph_scores import (
    IN_BODY,
    IN_COCO,
    LIMB_JOINTS,
    MeshMeasure,
    count_found,
    in_image,
    iuv_foreground,
    measure_photographs,
    photograph_report,
    score_person,
)

WIDTH, HEIGHT = 320, 240
BOX = np.array([100.0, 20.0, 200.0, 220.0])
IMAGE = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)


@pytest.fixture(scope='module')
def runtime(tiny_body: BodyModel, tiny_uv_map: UVMap) -> FakeRuntime:
    return FakeRuntime(Topology.from_body(tiny_body, tiny_uv_map), (0.9, 0.05, -0.1))


@pytest.fixture(scope='module')
def estimator(runtime: FakeRuntime) -> HumanMeshEstimator:
    return HumanMeshEstimator(runtime)


@pytest.fixture
def mesh(estimator: HumanMeshEstimator) -> HumanMesh:
    (mesh,), _ = estimator.estimate(IMAGE, BOX[None])
    return mesh


def runs_of(mask: np.ndarray) -> dict[str, Any]:
    """COCO's runs of a mask (H, W): down the columns, first those outside."""
    flat = mask.T.ravel()
    ends = np.flatnonzero(np.diff(flat.astype(int))) + 1
    counts = np.diff(np.concatenate([[0], ends, [len(flat)]])).tolist()
    return {'counts': [0, *counts] if flat[0] else counts, 'size': list(mask.shape)}


def annotation(mesh: HumanMesh, outline: Any, **more: Any) -> dict[str, Any]:
    """A person of COCO whose ground truth is the rendered mesh."""
    joints = np.zeros((len(COCO_JOINTS), 3))
    joints[IN_COCO] = np.column_stack([in_image(mesh.joints[IN_BODY], mesh), np.full(12, 2)])
    x_min, y_min, x_max, y_max = BOX + 0.5
    return {
        'image_id': 1,
        'iscrowd': 0,
        'bbox': [x_min, y_min, x_max - x_min, y_max - y_min],
        'keypoints': joints.ravel().tolist(),
        'segmentation': outline,
        **more,
    }


def write_set(root: Path, annotations: list[dict[str, Any]], images: int = 1) -> Path:
    (root / 'annotations').mkdir(parents=True)
    (root / 'val2017').mkdir()
    for number in range(1, images + 1):
        cv2.imwrite(str(root / f'val2017/{number}.png'), IMAGE)
    content = {
        'images': [
            {'id': number, 'file_name': f'{number}.png'} for number in range(1, images + 1)
        ],
        'annotations': annotations,
    }
    (root / 'annotations/person_keypoints_val2017.json').write_text(json.dumps(content))
    return root


def test_a_prediction_that_is_the_truth_scores_one_in_everything(
    tmp_path: Path, estimator: HumanMeshEstimator, runtime: FakeRuntime, mesh: HumanMesh
) -> None:
    mask = MeshMeasure(estimator).silhouette(mesh, WIDTH, HEIGHT)
    assert mask.sum() > 500
    root = write_set(tmp_path / 'coco', [annotation(mesh, runs_of(mask))], images=3)
    own = HumanMeshEstimator(runtime, FoundOnFirstImage())
    scores = measure_photographs(estimator, own, read_photographs(root))
    report = photograph_report(scores)
    for group in ('', 'tall_', 'whole_'):
        for name in ('pck_10', 'pck_20', 'mask_iou'):
            assert report['network'][group + name] == 1, name
        assert report['counts'][f'{group}people'] == 1
    for name in ('recall', 'precision', 'tall_recall', 'tall_precision', 'tall_pck_20_own_boxes'):
        assert report['network'][name] == 1, name
    assert report['network']['stretched_faces'] == report['network']['folded_faces'] == 0
    assert report['counts']['images_without_people'] == 2
    assert report['counts']['false_detections_there'] == 0
    assert (report['images'], report['people'], report['unreadable']) == (3, 1, 0)
    for name, score in report['network'].items():
        low, high = report['intervals'][name]
        assert low <= score <= high


class FoundOnFirstImage:
    """A detector that finds a person on its first image and none later."""

    def __init__(self) -> None:
        self._boxes = [BOX[None].astype(np.float32)]

    def __call__(self, image: np.ndarray) -> Detections:
        boxes = self._boxes.pop() if self._boxes else np.zeros((0, 4), np.float32)
        return Detections(boxes, np.ones(len(boxes), np.float32))


@settings(max_examples=30, deadline=None)
@given(shifts=hnp.arrays(float, (12, 2), elements=st.floats(-60, 60)), known=hnp.arrays(bool, 12))
def test_joints_are_right_within_shares_of_the_longer_side(
    estimator: HumanMeshEstimator,
    tmp_path_factory: pytest.TempPathFactory,
    shifts: np.ndarray,
    known: np.ndarray,
) -> None:
    (mesh,), _ = estimator.estimate(IMAGE, BOX[None])
    person = annotation(mesh, [])
    joints = np.array(person['keypoints']).reshape(-1, 3)
    joints[IN_COCO, :2] += shifts
    joints[IN_COCO, 2] = np.where(known, 1, 0)
    person['keypoints'] = joints.ravel().tolist()
    root = write_set(tmp_path_factory.mktemp('set') / 'coco', [person])
    (photograph,) = read_photographs(root)
    scores = score_person(mesh, photograph.people[0], MeshMeasure(estimator), (WIDTH, HEIGHT))
    right = {10: 0, 20: 0}
    for shift, is_known in zip(shifts, known, strict=True):
        if is_known:
            error = (shift[0] ** 2 + shift[1] ** 2) ** 0.5
            right[10] += error < 20  # of a box 200 px tall
            right[20] += error < 40
    assert scores['joints'] == known.sum()
    assert abs(scores['pck_10_right'] - right[10]) <= sum(
        abs(np.hypot(*shift) - 20) < 1e-3 for shift in shifts
    )
    assert abs(scores['pck_20_right'] - right[20]) <= sum(
        abs(np.hypot(*shift) - 40) < 1e-3 for shift in shifts
    )
    assert 'mask_iou' not in scores


def test_a_person_without_a_mesh_has_all_joints_wrong_and_covers_nothing(
    tmp_path: Path, estimator: HumanMeshEstimator, mesh: HumanMesh
) -> None:
    root = write_set(tmp_path / 'coco', [annotation(mesh, [[100, 20, 200, 20, 150, 220]])])
    (photograph,) = read_photographs(root)
    scores = score_person(None, photograph.people[0], MeshMeasure(estimator), (WIDTH, HEIGHT))
    assert scores['has_mesh'] == scores['pck_20_right'] == scores['mask_iou'] == 0
    assert scores['iuv_iou'] == 0 and scores['joints'] == 12


@pytest.mark.parametrize('is_mirrored', [False, True])
@pytest.mark.parametrize('is_from_behind', [False, True])
def test_facing_compares_the_order_of_the_shoulders(
    tmp_path: Path,
    estimator: HumanMeshEstimator,
    mesh: HumanMesh,
    is_mirrored: bool,
    is_from_behind: bool,
) -> None:
    left, right = (IN_COCO[LIMB_JOINTS.index(f'{side}_shoulder')] for side in ('left', 'right'))
    ours = [IN_BODY[LIMB_JOINTS.index(f'{side}_shoulder')] for side in ('left', 'right')]
    person = annotation(mesh, [])
    joints = np.array(person['keypoints']).reshape(-1, 3)
    places = [130.0, 170.0] if is_from_behind else [170.0, 130.0]
    joints[[left, right], 0] = places
    person['keypoints'] = joints.ravel().tolist()
    (photograph,) = read_photographs(write_set(tmp_path / 'coco', [person]))
    wanted = [1.0, -1.0] if is_from_behind == is_mirrored else [-1.0, 1.0]
    mesh.joints[ours, 0] = wanted
    scores = score_person(mesh, photograph.people[0], MeshMeasure(estimator), (WIDTH, HEIGHT))
    assert scores['facing'] == (not is_mirrored)
    assert ('facing_from_behind' in scores) == is_from_behind


def test_detections_are_counted_once_and_not_in_crowds(
    tmp_path: Path, runtime: FakeRuntime, mesh: HumanMesh
) -> None:
    crowd = {
        'image_id': 1,
        'iscrowd': 1,
        'bbox': [220, 100, 90, 60],
        'segmentation': {'counts': [], 'size': [HEIGHT, WIDTH]},
    }
    small = annotation(mesh, [], bbox=[10, 10, 20, 40])
    root = write_set(tmp_path / 'coco', [annotation(mesh, []), small, crowd])
    (photograph,) = read_photographs(root)
    boxes = np.array([BOX, BOX + 8, [230, 110, 260, 150], [30, 190, 60, 230]], np.float32)
    own = HumanMeshEstimator(runtime, GivenBoxes(boxes, [0.6, 0.9, 0.8, 0.7]))
    meshes, _ = own.estimate(IMAGE)
    counts = count_found(meshes, photograph)
    assert counts['people'] == 2 and counts['found'] == 1
    assert counts['wrong'] == 2  # the worse box of the person, and the one on nobody
    assert (counts['tall_people'], counts['tall_found'], counts['tall_wrong']) == (1, 1, 1)
    assert counts['tall_joints'] == 12


def test_the_foreground_is_enlarged_to_the_pixels_of_the_crop(mesh: HumanMesh) -> None:
    mask = iuv_foreground(mesh, WIDTH, HEIGHT)
    cell = mesh.crop_side / 16  # the fake's foreground is rows 3 to 12 and columns 6 to 9
    corner = np.asarray(mesh.crop_center) - mesh.crop_side / 2
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    expected = [
        corner[1] + 3 * cell,
        corner[1] + 13 * cell,
        corner[0] + 6 * cell,
        corner[0] + 10 * cell,
    ]
    seen = [rows[0], rows[-1] + 1, columns[0], columns[-1] + 1]
    # Three quarters fall below a half within a third of a cell.
    assert np.abs(np.array(seen) - expected).max() < cell / 2


@given(hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_run_lengths_are_decoded_to_the_mask(mask: np.ndarray) -> None:
    height, width = mask.shape
    assert np.array_equal(outline_mask(runs_of(mask), width, height), mask)


def test_polygons_are_decoded_to_the_mask() -> None:
    mask = outline_mask([[2, 3, 6, 3, 6, 8, 2, 8], [0, 0, 1, 0, 1, 1, 0, 1]], 10, 12)
    assert mask[3:8, 2:6].all() and mask[0, 0]
    assert mask.sum() <= (6 * 5 + 4)


@pytest.mark.parametrize(
    ('outline', 'said'),
    [
        ({'counts': 'abc', 'size': [HEIGHT, WIDTH]}, 'compressed'),
        ({'counts': [3], 'size': [3, 1]}, '3'),
    ],
)
def test_outlines_of_another_kind_or_size_are_rejected(outline: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        outline_mask(outline, WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        ('no json', 'not JSON'),
        ('{}', "no 'images'"),
        ('{"images": [], "annotations": [1]}', 'layout'),
        ('{"images": [{"id": 1}], "annotations": []}', 'layout'),
        (
            '{"images": [{"id": 1, "file_name": "1.png"}], "annotations": [{"image_id": 1}]}',
            'layout',
        ),
        ('{"images": [{"id": 1, "file_name": "none.png"}], "annotations": []}', 'none.png'),
    ],
)
def test_files_of_another_format_are_rejected(tmp_path: Path, content: str, said: str) -> None:
    root = write_set(tmp_path / 'coco', [])
    (root / 'annotations/person_keypoints_val2017.json').write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        read_photographs(root)


def test_missing_and_several_annotations_are_reported(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='cocodataset.org'):
        read_photographs(tmp_path)
    root = write_set(tmp_path / 'coco', [])
    (root / 'annotations/person_keypoints_train2017.json').write_text('{}')
    with pytest.raises(ValueError, match='--annotations'):
        read_photographs(root)


def test_the_command_reports_draws_and_leaves_out_unreadable_images(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    runtime: FakeRuntime,
    mesh: HumanMesh,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = write_set(tmp_path / 'coco', [annotation(mesh, [])], images=3)
    (root / 'val2017/2.png').write_bytes(b'no image')
    monkeypatch.setattr(evaluate, '_load_network', lambda options: runtime)
    sheets = tmp_path / 'sheets'
    assert (
        evaluate.main(
            [
                'coco',
                '--data',
                str(root),
                '--detector',
                'whole-frame',
                '--sheets',
                str(sheets),
                '--json',
            ]
        )
        == 0
    )
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (report['images'], report['unreadable'], report['people']) == (2, 1, 1)
    assert report['counts']['false_detections_there'] == 1
    assert report['network']['precision'] == 0
    for name in ('people.png', 'images.png'):
        assert cv2.imread(str(sheets / name)).std() > 10
    assert evaluate.main(['coco', '--data', str(root), '--detector', 'whole-frame']) == 0
    assert 'images without people' in capsys.readouterr().out
    for wrong in (
        ['coco'],
        ['coco', '--data', str(root), '--worst', str(tmp_path / 'w.png')],
        ['coco', '--data', str(root), '--scales'],
    ):
        assert evaluate.main(wrong) == 2
        assert capsys.readouterr().err.startswith('error: ')
