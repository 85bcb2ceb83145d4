"""Every published protocol on a fabricated test set, through the command line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from fabricated_sets import COUNT, FILES, HEIGHT, SIZE, WIDTH, last_json, write_bodies, write_set
from fabricated_sets import run_evaluate as run

from decomr_core.body_models import BodyModel
from decomr_core.body_models.joint_sets import PELVIS_OF_LSP, evaluated_regressor
from decomr_core.uv.uv_map import UVMap
from training import evaluate
from training.evaluation import synthetic_scores
from training.evaluation.report import bones_of_tracks, summarize
from training.evaluation.sets import evaluation_people, track_of
from training.evaluation.synthetic_scores import score_held_out
from training.records.image_files import read_rgb

ERRORS = {
    'h36m-p1': ('pa_mpjpe_mm', 'mpjpe_mm'),
    'h36m-p2': ('pa_mpjpe_mm', 'mpjpe_mm'),
    '3dpw': ('pa_mpjpe_mm', 'mpjpe_mm'),
    'mpi-inf-3dhp': ('pa_mpjpe_mm', 'pa_mpjpe_17_mm', 'mpjpe_17_mm', 'mpjpe_mm'),
    'surreal': ('surface_error_unaligned_mm', 'surface_error_mm'),
    'up-3d': ('surface_error_unaligned_mm', 'surface_error_mm'),
}


@pytest.mark.parametrize('name', ERRORS)
def test_the_truth_itself_has_no_error_under_each_protocol(
    name: str, oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys
) -> None:
    root = write_set(name, tmp_path / name, people, tiny_body, files['joint-regressor'])
    assert run(files, name, '--root', root, '--json') == 0
    report = last_json(capsys)
    assert report['images'] == COUNT
    assert report['unreadable'] == 0 and report['left_out'] == {}
    assert report['dataset'] == name and report['annotations'] == FILES[name]
    assert report['notes']['joint_regressor'] == 'J_regressor_h36m.npy'
    for score in ERRORS[name]:
        assert report['network'][score] < 0.05
        low, high = report['intervals'][score]
        assert low <= report['network'][score] <= high


@pytest.mark.parametrize('name', ERRORS)
def test_an_error_of_known_size_is_measured(
    name: str, oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys
) -> None:
    root = write_set(name, tmp_path / name, people, tiny_body, files['joint-regressor'])
    # A body 10 % too large: the error is a tenth of the distance from the pelvis.
    oracle.people = dataclasses.replace(people, vertices=people.vertices * 1.1)
    assert run(files, name, '--root', root, '--json') == 0
    report = last_json(capsys)['network']
    if 'pa_mpjpe_mm' in report:
        assert report['pa_mpjpe_mm'] < 0.05  # size does not count after the alignment
    vertices, score = people.vertices.numpy(), ERRORS[name][-1]
    joints = evaluated_regressor(tiny_body, files['joint-regressor'])[:14] @ vertices
    points = vertices if 'surface' in score else joints
    pelvis = joints[:, list(PELVIS_OF_LSP)].mean(axis=1, keepdims=True)
    expected = 1000 * 0.1 * np.linalg.norm(points - pelvis, axis=2).mean()
    assert report[score] == pytest.approx(expected, abs=0.1)
    assert 20 < report[score] < 80


def test_lsp_compares_outlines_and_segments_in_the_original_image(
    oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys
) -> None:
    root = write_set('lsp', tmp_path / 'lsp', people, tiny_body)
    assert run(files, 'lsp', '--root', root, '--json') == 0
    report = last_json(capsys)
    for score in ('foreground_accuracy', 'foreground_f1', 'segments_accuracy', 'segments_f1'):
        assert report['network'][score] > 0.97, score
        assert report['intervals'][score][0] <= report['network'][score]
    assert report['bone_length_variation'] is None
    oracle.people = dataclasses.replace(
        people, camera=people.camera * 0 + torch.tensor([0.9, 2.0, 0.0])
    )  # nobody where somebody is
    assert run(files, 'lsp', '--root', root, '--json') == 0
    assert last_json(capsys)['network']['segments_f1'] < 0.3


def test_ignored_pixels_of_a_part_annotation_do_not_count_as_wrong_segments(
    oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys
) -> None:
    root = write_set('lsp', tmp_path / 'lsp', people, tiny_body)
    run(files, 'lsp', '--root', root, '--json')
    before = last_json(capsys)['network']
    for path in (root / 'data/lsp').glob('*_part_segmentation.png'):
        labels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        labels[:, : WIDTH // 2][labels[:, : WIDTH // 2] == 6] = 255
        cv2.imwrite(str(path), labels)
    run(files, 'lsp', '--root', root, '--json')
    after = last_json(capsys)['network']
    assert after['segments_f1'] > 0.95
    assert after['segments_accuracy'] < before['segments_accuracy'] - 0.01


def test_each_person_is_compared_with_the_body_of_their_gender(
    oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys
) -> None:
    folder = write_bodies(tiny_body, tmp_path / 'smpl')
    data = dataclasses.replace(tiny_body.data, v_template=tiny_body.data.v_template * 1.1)
    BodyModel(data).save(folder / 'smpl_female.npz')
    root = write_set('surreal', tmp_path / 'surreal', people, tiny_body)
    assert run({**files, 'body-folder': folder}, 'surreal', '--root', root, '--json') == 0
    mixed = last_json(capsys)['network']['surface_error_mm']
    np.savez(
        root / FILES['surreal'],
        **{**np.load(root / FILES['surreal']), 'gender': ['female'] * COUNT},
    )
    assert run({**files, 'body-folder': folder}, 'surreal', '--root', root, '--json') == 0
    women = last_json(capsys)['network']['surface_error_mm']
    assert women > 15 and mixed == pytest.approx(women / 2, rel=0.3)


def test_surreal_is_read_from_its_mirrored_videos(
    people, tiny_body: BodyModel, tmp_path: Path
) -> None:
    folder = tmp_path / 'surreal/data/cmu/val/run0'
    folder.mkdir(parents=True)
    writer = cv2.VideoWriter(
        str(folder / 'clip.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 10, (WIDTH, HEIGHT)
    )
    still = write_set('surreal', tmp_path / 'still', people, tiny_body)
    images = [cv2.imread(str(path)) for path in sorted((still / 'images').iterdir())]
    for image in images:
        writer.write(np.ascontiguousarray(image[:, ::-1]))
    writer.release()
    write_set(
        'surreal',
        tmp_path / 'surreal',
        people,
        tiny_body,
        imgname=None,
        videoname=['run0/clip.avi'] * COUNT,
        framenum=np.arange(COUNT),
    )
    people = evaluation_people('surreal', tmp_path / 'surreal')
    for row in (0, 7, 11):
        picture = read_rgb(people.root / people[row].image)[..., ::-1].astype(float)
        differences = [np.abs(picture - image).mean() for image in images]
        assert int(np.argmin(differences)) == row and differences[row] < 8
    (folder / 'clip.avi').unlink()  # what was extracted stays
    assert evaluation_people('surreal', tmp_path / 'surreal')[7].image == people[7].image


@pytest.mark.parametrize('name', [*ERRORS, 'lsp'])
def test_worst_cases_scales_and_the_file_are_written_on_request(
    name: str, oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys
) -> None:
    root = write_set(name, tmp_path / name, people, tiny_body, files['joint-regressor'])
    picture, out = tmp_path / 'worst.png', tmp_path / 'report.json'
    assert run(files, name, '--root', root, '--worst', picture, '--scales', '--out', out) == 0
    drawn = cv2.imread(str(picture))
    assert drawn.shape[1] > 4 * 3 * 100 and drawn.std() > 20
    report = json.loads(out.read_text())
    assert [row['box_scale'] for row in report['box_scales']] == [0.8, 1.0, 1.2, 1.4, 1.6]
    assert set(report['box_scales'][2]) == {'box_scale', *report['network']}
    assert report['box_scales'][2] == {'box_scale': 1.2, **report['network']}
    table = capsys.readouterr().out
    for score in report['network']:
        assert score in table


def test_bones_of_the_truth_keep_their_length_within_a_track(people) -> None:
    one = people.joints[:1].numpy()
    same, other = np.repeat(one, 6, axis=0), np.repeat(1.3 * one, 6, axis=0)
    joints = np.concatenate([same, other])
    report = bones_of_tracks(joints, ['a'] * 6 + ['b'] * 6)
    assert report['mean'] == 0 and report['tracks'] == 2 and len(report['bones']) == 23
    assert bones_of_tracks(joints, ['a'] * 12)['mean'] > 0.05
    assert bones_of_tracks(joints, [''] * 12) is None


def test_tracks_are_people_of_one_sequence(
    people, tiny_body: BodyModel, files, oracle, tmp_path: Path, capsys
) -> None:
    shapes = np.repeat(people.shape[:2].numpy(), COUNT // 2, axis=0)
    root = write_set('3dpw', tmp_path / '3dpw', people, tiny_body, shape=shapes)
    tracks = [track_of('3dpw', record) for record in evaluation_people('3dpw', root)]
    assert len(set(tracks)) == 2 and tracks == sorted(tracks, key=tracks.index)
    assert run(files, '3dpw', '--root', root, '--json') == 0
    assert last_json(capsys)['bone_length_variation']['tracks'] == 2


def test_fewer_images_are_taken_from_the_whole_set(
    oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys
) -> None:
    root = write_set('3dpw', tmp_path / '3dpw', people, tiny_body)
    sorted((root / 'images').iterdir())[-1].unlink()
    assert run(files, '3dpw', '--root', root, '--images', 3, '--json') == 0
    report = last_json(capsys)
    assert report['images'] == 2 and 'image_00011.jpg' in report['unreadable_examples'][0]


def test_the_synthetic_set_keeps_its_report(files, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(synthetic_scores, 'CONSTANT_STEPS', 5)  # how good it is matters elsewhere
    picture = tmp_path / 'worst.png'
    assert run(files, '--images', 5, '--json', '--worst', picture, '--scales') == 0
    report = last_json(capsys)
    assert {'weights', 'images', 'network', 'best_constant', 'pa_ratio'} <= set(report)
    assert list(report['network']) == [
        'pa_mpjpe_mm',
        'mpjpe_mm',
        'vertex_error_mm',
        'foreground_iou',
        'uv_error',
        'stretched_faces',
        'folded_faces',
    ]
    assert set(report['best_constant']) == {'pa_mpjpe_mm', 'mpjpe_mm'}
    ratio = report['network']['pa_mpjpe_mm'] / report['best_constant']['pa_mpjpe_mm']
    assert report['pa_ratio'] == pytest.approx(ratio, abs=1e-3)
    assert report['images'] == 5 and report['dataset'] == 'synthetic'
    assert report['bone_length_variation']['people'] == 5
    assert [row['box_scale'] for row in report['box_scales']] == [0.8, 1.0, 1.2, 1.4, 1.6]
    assert cv2.imread(str(picture)) is not None
    assert run(files, '--images', 5) == 0
    assert 'best constant' in capsys.readouterr().out


def test_every_runtime_can_be_selected(files, oracle, monkeypatch, capsys) -> None:
    asked = []
    monkeypatch.setattr(
        evaluate,
        'load_runtime',
        lambda *words, **options: (asked.append((words, options)), oracle)[1],
    )
    monkeypatch.setattr(evaluate, 'synthetic_report', lambda *_: ({'runs': 'nothing'}, None))
    for name in ('torch', 'openvino', 'onnxruntime'):
        assert run(files, '--images', 2, '--runtime', name, '--json') == 0
        assert last_json(capsys)['runtime'] == 'oracle f32'
    assert [words for words, _ in asked] == [
        (name, str(files['weights'])) for name in ('torch', 'openvino', 'onnxruntime')
    ]
    assert [options.get('device') for _, options in asked] == ['cpu', None, None]


def test_scores_of_a_runtime_are_those_of_the_network(
    files, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    from decomr_core.estimation.loading import load_runtime
    from decomr_core.networks.checkpoint import load_network
    from training.synthetic.held_out import held_out_set
    from training.synthetic.synthetic_config import SyntheticConfig

    held_out = held_out_set(SyntheticConfig(), tiny_body, tiny_uv_map, 4)
    network = load_network(files['weights'], tiny_body, tiny_uv_map)
    expected = evaluate.evaluate_network(network, held_out)
    runtime = load_runtime('torch', files['weights'], body=files['body'], uv_map=files['uv'])
    values, joints = score_held_out(lambda images: runtime.run(images.numpy()), held_out)
    assert joints.shape == (4, 24, 3)
    assert values.keys() == expected.keys()
    assert summarize(values, with_intervals=False)[0] == pytest.approx(expected, abs=1e-3)


def test_images_with_a_larger_margin_show_the_same_people(
    tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    from training.synthetic.held_out import held_out_set
    from training.synthetic.synthetic_config import SyntheticConfig

    usual = held_out_set(SyntheticConfig(size=SIZE), tiny_body, tiny_uv_map, 4)
    wide = held_out_set(SyntheticConfig(size=2 * SIZE), tiny_body, tiny_uv_map, 4, frame_scale=2)
    assert torch.equal(usual.vertices, wide.vertices)
    np.testing.assert_allclose(wide.joints_2d[..., :2] * 2, usual.joints_2d[..., :2], atol=1e-4)
    np.testing.assert_allclose(wide.camera[:, 0] * 2, usual.camera[:, 0], rtol=1e-4)
