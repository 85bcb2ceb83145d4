"""What the evaluation says about broken, missing and foreign files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
from fabricated_sets import (
    COUNT,
    FILES,
    OracleRuntime,
    last_json,
    write_bodies,
    write_set,
)
from fabricated_sets import run_evaluate as run

from decomr_core.body_models import BodyModel
from decomr_core.topology import Topology
from decomr_core.uv.uv_map import UVMap
from training import evaluate
from training.evaluation_sets import EVALUATION_SETS


def complaint_of(capsys) -> str:
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith('error: ')
    return said[-1]


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


def test_annotations_can_lie_elsewhere(oracle, people, files, tiny_body: BodyModel,
                                       tmp_path: Path, capsys) -> None:
    root = write_set('3dpw', tmp_path / '3dpw', people, tiny_body)
    other = (root / FILES['3dpw']).rename(tmp_path / 'mine.npz')
    assert run(files, '3dpw', '--root', root, '--annotations', other, '--json') == 0
    assert last_json(capsys)['annotations'] == 'mine.npz'
    assert run(files, '3dpw', '--root', root, '--annotations', tmp_path / 'no.npz') == 2
    assert 'no.npz' in complaint_of(capsys)


def test_a_mask_of_another_size_counts_as_unreadable(
        oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys) -> None:
    root = write_set('lsp', tmp_path / 'lsp', people, tiny_body)
    cv2.imwrite(str(root / 'data/lsp/im0002_segmentation.png'), np.zeros((5, 5), np.uint8))
    (root / 'data/lsp/im0004_part_segmentation.png').unlink()
    assert run(files, 'lsp', '--root', root, '--json') == 0
    assert last_json(capsys)['unreadable'] == 2


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
