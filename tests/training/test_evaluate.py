"""Every published protocol on a fabricated test set, through the command line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from fabricated_sets import (
    COUNT,
    FILES,
    HEIGHT,
    SIZE,
    WIDTH,
    OracleRuntime,
    camera_poses,
    render_people,
    write_bodies,
    write_regressor,
    write_set,
)

from decomr_core.body_models import BodyModel
from decomr_core.checkpoint import save_checkpoint
from decomr_core.config import network_config
from decomr_core.networks import DecoMR
from decomr_core.topology import Topology
from decomr_core.uv.uv_map import UVMap
from training import evaluate
from training.evaluation_report import bones_of_tracks
from training.evaluation_sets import EVALUATION_SETS, evaluation_set, read_picture
from training.synthetic_scores import score_held_out

ERRORS = {'h36m-p1': ('pa_mpjpe_mm', 'mpjpe_mm'), 'h36m-p2': ('pa_mpjpe_mm', 'mpjpe_mm'),
          '3dpw': ('pa_mpjpe_mm', 'mpjpe_mm'), 'mpi-inf-3dhp': ('pa_mpjpe_mm', 'mpjpe_mm'),
          'surreal': ('surface_error_mm',), 'up-3d': ('surface_error_mm',)}


@pytest.fixture(scope='module')
def people(tiny_body: BodyModel, tiny_uv_map: UVMap):
    return render_people(tiny_body, tiny_uv_map)


@pytest.fixture(scope='module')
def files(tiny_body: BodyModel, tiny_uv_map: UVMap, tmp_path_factory) -> dict[str, Path]:
    """What the user brings: body, UV map, weights, the bodies of the truth, the regressor."""
    folder = tmp_path_factory.mktemp('files')
    tiny_body.save(folder / 'body.npz')
    tiny_uv_map.save(folder / 'uv.npz')
    torch.manual_seed(0)
    save_checkpoint(folder / 'weights.safetensors',
                    DecoMR(network_config('rt'), tiny_body, tiny_uv_map).eval(), {})
    return {'body': folder / 'body.npz', 'uv': folder / 'uv.npz',
            'weights': folder / 'weights.safetensors',
            'body-folder': write_bodies(tiny_body, folder / 'smpl'),
            'joint-regressor': write_regressor(tiny_body, folder / 'J_regressor_h36m.npy')}


@pytest.fixture
def oracle(people, tiny_body: BodyModel, tiny_uv_map: UVMap, monkeypatch) -> OracleRuntime:
    """A network that knows the answers, whatever runtime is asked for."""
    runtime = OracleRuntime(people, Topology.from_body(tiny_body, tiny_uv_map))
    monkeypatch.setattr(evaluate, 'load_runtime', lambda *_, **__: runtime)
    return runtime


def run(files: dict[str, Path], *words: object, without: tuple[str, ...] = ()) -> int:
    given = [word for key, path in files.items() if key not in without
             for word in (f'--{key}', str(path))]
    return evaluate.main([*map(str, words), *given])


def last_json(capsys) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def complaint_of(capsys) -> str:
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith('error: ')
    return said[-1]


@pytest.mark.parametrize('name', ERRORS)
def test_the_truth_itself_has_no_error_under_each_protocol(
        name: str, oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys) -> None:
    root = write_set(name, tmp_path / name, people, tiny_body, files['joint-regressor'])
    assert run(files, name, '--root', root, '--json') == 0
    report = last_json(capsys)
    assert report['images'] == COUNT and report['unreadable'] == 0
    assert report['dataset'] == name and report['annotations'] == FILES[name]
    assert report['notes']['joint_regressor'] == 'J_regressor_h36m.npy'
    for score in ERRORS[name]:
        assert report['network'][score] < 0.05
        low, high = report['intervals'][score]
        assert low <= report['network'][score] <= high


@pytest.mark.parametrize('name', ERRORS)
def test_an_error_of_a_known_size_is_measured(
        name: str, oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys) -> None:
    root = write_set(name, tmp_path / name, people, tiny_body, files['joint-regressor'])
    # A body 10 % too large: the error is a tenth of the distance from the pelvis.
    oracle.people = dataclasses.replace(people, vertices=people.vertices * 1.1)
    assert run(files, name, '--root', root, '--json') == 0
    report = last_json(capsys)['network']
    if 'pa_mpjpe_mm' in report:
        assert report['pa_mpjpe_mm'] < 0.05  # size does not count after the alignment
    assert 20 < report[ERRORS[name][-1]] < 80


def test_lsp_compares_outlines_and_segments_in_the_original_image(
        oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys) -> None:
    root = write_set('lsp', tmp_path / 'lsp', people, tiny_body)
    assert run(files, 'lsp', '--root', root, '--json') == 0
    report = last_json(capsys)
    for score in ('foreground_accuracy', 'foreground_f1', 'segments_accuracy', 'segments_f1'):
        assert report['network'][score] > 0.97, score
        assert report['intervals'][score][0] <= report['network'][score]
    assert report['bone_length_variation'] is None
    oracle.people = dataclasses.replace(people, camera=people.camera * 0 + torch.tensor(
        [0.9, 2.0, 0.0]))  # nobody where somebody is
    assert run(files, 'lsp', '--root', root, '--json') == 0
    assert last_json(capsys)['network']['segments_f1'] < 0.3


def test_ignored_pixels_of_a_part_annotation_do_not_count_as_wrong_segments(
        oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys) -> None:
    root = write_set('lsp', tmp_path / 'lsp', people, tiny_body)
    run(files, 'lsp', '--root', root, '--json')
    before = last_json(capsys)['network']
    for path in (root / 'data/lsp').glob('*_part_segmentation.png'):
        labels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        labels[:, :WIDTH // 2][labels[:, :WIDTH // 2] == 6] = 255
        cv2.imwrite(str(path), labels)
    run(files, 'lsp', '--root', root, '--json')
    after = last_json(capsys)['network']
    assert after['segments_f1'] > 0.95
    assert after['segments_accuracy'] < before['segments_accuracy'] - 0.01


def test_each_person_is_compared_with_the_body_of_the_own_gender(
        oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys) -> None:
    folder = write_bodies(tiny_body, tmp_path / 'smpl')
    data = dataclasses.replace(tiny_body.data, v_template=tiny_body.data.v_template * 1.1)
    BodyModel(data).save(folder / 'smpl_female.npz')
    root = write_set('surreal', tmp_path / 'surreal', people, tiny_body)
    assert run({**files, 'body-folder': folder}, 'surreal', '--root', root, '--json') == 0
    mixed = last_json(capsys)['network']['surface_error_mm']
    np.savez(root / FILES['surreal'], **{**np.load(root / FILES['surreal']),
                                         'gender': ['female'] * COUNT})
    assert run({**files, 'body-folder': folder}, 'surreal', '--root', root, '--json') == 0
    women = last_json(capsys)['network']['surface_error_mm']
    assert women > 15 and mixed == pytest.approx(women / 2, rel=0.3)


def test_poses_of_the_files_are_not_turned_a_second_time(people, tiny_body: BodyModel) -> None:
    vertices, _ = tiny_body(torch.from_numpy(camera_poses(people)).float(), people.shape)
    centred, expected = (points - points.mean(1, keepdim=True)
                         for points in (vertices, people.vertices))
    assert (centred - expected).abs().max() < 1e-4


def test_surreal_is_read_from_its_mirrored_videos(
        people, tiny_body: BodyModel, tmp_path: Path) -> None:
    folder = tmp_path / 'surreal/data/cmu/val/run0'
    folder.mkdir(parents=True)
    writer = cv2.VideoWriter(str(folder / 'clip.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 10,
                             (WIDTH, HEIGHT))
    still = write_set('surreal', tmp_path / 'still', people, tiny_body)
    images = [cv2.imread(str(path)) for path in sorted((still / 'images').iterdir())]
    for image in images:
        writer.write(np.ascontiguousarray(image[:, ::-1]))
    writer.release()
    write_set('surreal', tmp_path / 'surreal', people, tiny_body, imgname=None,
              videoname=['run0/clip.avi'] * COUNT, framenum=np.arange(COUNT))
    records = evaluation_set('surreal', tmp_path / 'surreal')
    for row in (0, 7, 11):
        picture = read_picture(records[row])[..., ::-1].astype(float)
        differences = [np.abs(picture - image).mean() for image in images]
        assert int(np.argmin(differences)) == row and differences[row] < 8


@pytest.mark.parametrize('name', [*ERRORS, 'lsp'])
def test_worst_cases_scales_and_the_file_come_when_asked_for(
        name: str, oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys) -> None:
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


def test_tracks_are_people_of_one_sequence(people, tiny_body: BodyModel, files, oracle,
                                           tmp_path: Path, capsys) -> None:
    shapes = np.repeat(people.shape[:2].numpy(), COUNT // 2, axis=0)
    root = write_set('3dpw', tmp_path / '3dpw', people, tiny_body, shape=shapes)
    tracks = [record.track for record in evaluation_set('3dpw', root)]
    assert len(set(tracks)) == 2 and tracks == sorted(tracks, key=tracks.index)
    assert run(files, '3dpw', '--root', root, '--json') == 0
    assert last_json(capsys)['bone_length_variation']['tracks'] == 2


def test_images_that_cannot_be_read_are_left_out_and_counted(
        oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys) -> None:
    root = write_set('3dpw', tmp_path / '3dpw', people, tiny_body)
    images = sorted((root / 'images').iterdir())
    images[0].unlink()
    images[3].write_bytes(b'')
    images[5].write_bytes(b'no picture')
    assert run(files, '3dpw', '--root', root, '--json') == 0
    report = last_json(capsys)
    assert report['images'] == COUNT - 3 and report['unreadable'] == 3
    assert 'image_00003.jpg' in report['unreadable_examples'][1]
    assert report['network']['mpjpe_mm'] < 0.05


def test_a_mask_of_another_size_counts_as_unreadable(
        oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys) -> None:
    root = write_set('lsp', tmp_path / 'lsp', people, tiny_body)
    cv2.imwrite(str(root / 'data/lsp/im0002_segmentation.png'), np.zeros((5, 5), np.uint8))
    (root / 'data/lsp/im0004_part_segmentation.png').unlink()
    assert run(files, 'lsp', '--root', root, '--json') == 0
    assert last_json(capsys)['unreadable'] == 2


def test_fewer_images_are_taken_from_the_whole_set(
        oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys) -> None:
    root = write_set('3dpw', tmp_path / '3dpw', people, tiny_body)
    sorted((root / 'images').iterdir())[-1].unlink()
    assert run(files, '3dpw', '--root', root, '--images', 3, '--json') == 0
    report = last_json(capsys)
    assert report['images'] == 2 and 'image_00011.jpg' in report['unreadable_examples'][0]


MISTAKES = {
    'no images at all': ({'imgname': [f'gone/{index}.jpg' for index in range(COUNT)]},
                         'none of 12 images could be read'),
    'half a person': ({'center': np.zeros((COUNT - 1, 2))}, 'center in'),
    'a NaN': ({'pose': np.where(np.arange(72) == 7, np.nan, 0) * np.ones((COUNT, 1))},
              'pose in {root}/3dpw_test.npz holds nan in row 0 (images/image_00000.jpg), and 12'),
    'a box of no size': ({'scale': np.r_[np.ones(COUNT - 1), 0]}, 'in row 11'),
    'no gender': ({'gender': None}, "lacks the array 'gender'"),
    'another gender': ({'gender': ['m'] * (COUNT - 1) + ['x']}, "gender in {root}/3dpw_test.npz "
                                                               "is 'x' in row 11"),
    'no images named': ({'imgname': None}, "lacks the array 'imgname'"),
    'numbers for names': ({'imgname': np.arange(COUNT)}, 'expected a text for each person'),
    'nobody': ({'imgname': np.array([], str)}, 'has 0 rows')}


@pytest.mark.parametrize('mistake', MISTAKES)
def test_broken_annotations_are_named(
        mistake: str, oracle, people, files, tiny_body: BodyModel, tmp_path: Path,
        capsys) -> None:
    changes, complaint = MISTAKES[mistake]
    root = write_set('3dpw', tmp_path / '3dpw', people, tiny_body, **changes)
    assert run(files, '3dpw', '--root', root) == 2
    assert complaint.format(root=root) in complaint_of(capsys)


def test_a_joint_without_annotation_is_named(
        oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys) -> None:
    root = write_set('h36m-p2', tmp_path / 'h36m', people, tiny_body, files['joint-regressor'])
    arrays = dict(np.load(root / FILES['h36m-p2']))
    arrays['S'][4, 18, 3] = 0  # head of Human3.6M
    np.savez(root / FILES['h36m-p2'], **arrays)
    assert run(files, 'h36m-p2', '--root', root) == 2
    said = complaint_of(capsys)
    assert 'joint head' in said and 'image_00004.jpg' in said


@pytest.mark.parametrize('name', EVALUATION_SETS)
def test_a_missing_data_set_says_what_to_put_where(name: str, files, oracle, tmp_path: Path,
                                                   capsys) -> None:
    assert run(files, name, '--root', tmp_path) == 2
    said = complaint_of(capsys)
    assert FILES[name] in said and 'licence' in said and 'http' in said
    assert run(files, name) == 2
    assert '--root FOLDER' in complaint_of(capsys)


def test_the_truth_of_3dpw_needs_the_bodies_and_the_regressor(
        oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys) -> None:
    root = write_set('3dpw', tmp_path / '3dpw', people, tiny_body)
    assert run(files, '3dpw', '--root', root, without=('joint-regressor',)) == 2
    assert '--joint-regressor J_regressor_h36m.npy' in complaint_of(capsys)
    assert run(files, '3dpw', '--root', root, without=('body-folder',)) == 2
    said = complaint_of(capsys)
    assert 'smpl_male.npz, smpl_female.npz' in said and 'https://smpl.is.tue.mpg.de' in said
    assert 'decomr body import' in said
    half = write_bodies(tiny_body, tmp_path / 'smpl')
    (half / 'smpl_female.npz').unlink()
    assert run({**files, 'body-folder': half}, '3dpw', '--root', root) == 2
    assert f'{half} does not hold: smpl_female.npz' in complaint_of(capsys)


def test_surfaces_of_another_mesh_are_refused_with_both_hashes(
        oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys) -> None:
    root = write_set('up-3d', tmp_path / 'up', people, tiny_body)
    folder = write_bodies(tiny_body, tmp_path / 'smpl')
    faces = np.roll(tiny_body.data.faces, 1, axis=1)
    other = BodyModel(dataclasses.replace(tiny_body.data, faces=faces))
    other.save(folder / 'smpl_neutral.npz')
    assert run({**files, 'body-folder': folder}, 'up-3d', '--root', root) == 2
    said = complaint_of(capsys)
    assert tiny_body.hash[:16] in said and other.hash[:16] in said


@pytest.mark.parametrize('kind', ['body', 'uv'])
def test_weights_of_another_body_or_map_are_refused_with_both_hashes(
        kind: str, files, tiny_body: BodyModel, tiny_uv_map: UVMap, tmp_path: Path, capsys,
        monkeypatch) -> None:
    data = dataclasses.replace(tiny_body.data, v_template=tiny_body.data.v_template * 1.01)
    body = BodyModel(data) if kind == 'body' else tiny_body
    uv_map = dataclasses.replace(tiny_uv_map, uv=1 - tiny_uv_map.uv, body_hash=body.hash)
    body.save(tmp_path / 'body.npz')
    uv_map.save(tmp_path / 'uv.npz')
    mine = {**files, 'body': tmp_path / 'body.npz', 'uv': tmp_path / 'uv.npz'}
    hashes = ((body.hash, tiny_body.hash) if kind == 'body' else
              (uv_map.hash, tiny_uv_map.hash))
    assert run(mine, '--images', 2) == 2
    said = complaint_of(capsys)
    assert all(text[:16] in said for text in hashes)
    # An exported network does not compare: the command does.
    runtime = OracleRuntime(None, Topology.from_body(tiny_body, tiny_uv_map))
    monkeypatch.setattr(evaluate, 'load_runtime', lambda *_, **__: runtime)
    assert run(mine, '--images', 2, '--runtime', 'openvino') == 2
    said = complaint_of(capsys)
    assert all(text[:16] in said for text in hashes)


def test_the_synthetic_set_keeps_its_report(files, tmp_path: Path, capsys) -> None:
    picture = tmp_path / 'worst.png'
    assert run(files, '--images', 5, '--json', '--worst', picture, '--scales') == 0
    report = last_json(capsys)
    assert {'weights', 'images', 'network', 'best_constant', 'pa_ratio'} <= set(report)
    assert list(report['network']) == ['pa_mpjpe_mm', 'mpjpe_mm', 'vertex_error_mm',
                                       'foreground_iou', 'uv_error']
    assert set(report['best_constant']) == {'pa_mpjpe_mm', 'mpjpe_mm'}
    ratio = report['network']['pa_mpjpe_mm'] / report['best_constant']['pa_mpjpe_mm']
    assert report['pa_ratio'] == pytest.approx(ratio, abs=1e-3)
    assert report['images'] == 5 and report['dataset'] == 'synthetic'
    assert report['bone_length_variation']['people'] == 5
    assert [row['box_scale'] for row in report['box_scales']] == [0.8, 1.0, 1.2, 1.4, 1.6]
    assert cv2.imread(str(picture)) is not None
    assert run(files, '--images', 5) == 0
    assert 'best constant' in capsys.readouterr().out


def test_every_runtime_can_be_asked_for(files, oracle, monkeypatch, capsys) -> None:
    asked = []
    monkeypatch.setattr(evaluate, 'load_runtime', lambda *words, **options: (
        asked.append((words, options)), oracle)[1])
    monkeypatch.setattr(evaluate, 'synthetic_report', lambda *_: ({'runs': 'nothing'}, None))
    for name in ('torch', 'openvino', 'onnxruntime'):
        assert run(files, '--images', 2, '--runtime', name, '--json') == 0
        assert last_json(capsys)['runtime'] == 'oracle f32'
    assert [words for words, _ in asked] == [
        (name, str(files['weights'])) for name in ('torch', 'openvino', 'onnxruntime')]
    assert [options.get('device') for _, options in asked] == ['cpu', None, None]


def test_scores_of_a_runtime_are_those_of_the_network(files, tiny_body: BodyModel,
                                                      tiny_uv_map: UVMap) -> None:
    from decomr_core.checkpoint import load_network
    from decomr_core.runtimes import load_runtime
    from training.datasets.synthetic import SyntheticConfig, held_out_set

    held_out = held_out_set(SyntheticConfig(), tiny_body, tiny_uv_map, 4)
    network = load_network(files['weights'], tiny_body, tiny_uv_map)
    expected = evaluate.evaluate_network(network, held_out)
    runtime = load_runtime('torch', files['weights'], body=files['body'], uv_map=files['uv'])
    values, joints = score_held_out(lambda images: runtime.run(images.numpy()), held_out)
    assert joints.shape == (4, 24, 3)
    for name, column in values.items():
        assert column.mean() == pytest.approx(expected[name], abs=1e-3)


def test_pictures_with_more_around_people_show_the_same_people(
        tiny_body: BodyModel, tiny_uv_map: UVMap) -> None:
    from training.datasets.synthetic import SyntheticConfig, held_out_set

    usual = held_out_set(SyntheticConfig(size=SIZE), tiny_body, tiny_uv_map, 4)
    wide = held_out_set(SyntheticConfig(size=2 * SIZE), tiny_body, tiny_uv_map, 4, frame_scale=2)
    assert torch.equal(usual.vertices, wide.vertices)
    np.testing.assert_allclose(wide.joints_2d[..., :2] * 2, usual.joints_2d[..., :2], atol=1e-4)
    np.testing.assert_allclose(wide.camera[:, 0] * 2, usual.camera[:, 0], rtol=1e-4)


@pytest.mark.parametrize(('words', 'complaint'), [
    (('--out', 'none/report.json'), 'there is no folder'),
    (('--worst', 'worst.txt'), 'end its name in'),
    (('--weights', 'none.safetensors'), 'none.safetensors'),
    (('--body', 'none.npz'), 'none.npz')])
def test_a_mistake_is_one_line_and_exit_code_2(words, complaint: str, tmp_path: Path, capsys,
                                               monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert evaluate.main(['--images', '2', *words]) == 2
    assert complaint in complaint_of(capsys)


@pytest.mark.parametrize('words', [['--images', '0'], ['coco'], ['--runtime', 'magic']])
def test_a_malformed_option_is_told_by_name(words, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        evaluate.main(words)
    assert caught.value.code == 2
    assert words[-1] in capsys.readouterr().err
