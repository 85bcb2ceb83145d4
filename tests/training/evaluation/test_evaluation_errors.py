"""How the evaluation reports broken, missing and foreign files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
from fabricated_sets import COUNT, FILES, last_json, write_bodies, write_set
from fabricated_sets import run_evaluate as run

from decomr_core.body_models import BodyModel
from decomr_core.uv.uv_map import UVMap
from training import evaluate
from training.datasets.registry import public_dataset
from training.evaluation.sets import EVALUATION_SETS


def complaint_of(capsys) -> str:
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith('error: ')
    return said[-1]


def test_images_that_cannot_be_read_are_left_out_and_counted(
    oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys
) -> None:
    root = write_set('3dpw', tmp_path / '3dpw', people, tiny_body)
    images = sorted((root / 'images').iterdir())
    images[0].unlink()
    images[3].write_bytes(b'')
    images[5].write_bytes(b'no image')
    assert run(files, '3dpw', '--root', root, '--json') == 0
    report = last_json(capsys)
    assert report['images'] == COUNT - 3 and report['unreadable'] == 3
    assert report['left_out'] == {'unreadable_images': 3}
    assert 'image_00003.jpg' in report['unreadable_examples'][1]
    assert report['network']['mpjpe_mm'] < 0.05


def test_annotations_can_be_in_another_folder(
    oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys
) -> None:
    root = write_set('3dpw', tmp_path / '3dpw', people, tiny_body)
    other = (root / FILES['3dpw']).rename(tmp_path / 'mine.npz')
    assert run(files, '3dpw', '--root', root, '--annotations', other, '--json') == 0
    assert last_json(capsys)['annotations'] == 'mine.npz'
    assert run(files, '3dpw', '--root', root, '--annotations', tmp_path / 'no.npz') == 2
    assert 'no.npz' in complaint_of(capsys)


def test_a_mask_of_another_size_counts_as_unreadable(
    oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys
) -> None:
    root = write_set('lsp', tmp_path / 'lsp', people, tiny_body)
    cv2.imwrite(str(root / 'data/lsp/im0002_segmentation.png'), np.zeros((5, 5), np.uint8))
    (root / 'data/lsp/im0004_part_segmentation.png').unlink()
    assert run(files, 'lsp', '--root', root, '--json') == 0
    assert last_json(capsys)['unreadable'] == 2


MISTAKES = {
    'no images at all': (
        {'imgname': [f'gone/{index}.jpg' for index in range(COUNT)]},
        'none of 12 people could be scored; the first: {root}/gone/0.jpg is '
        'missing or not an image; is {root} the folder of the images? the '
        'expected layout of 3DPW is sequenceFiles',
    ),
    'half a person': ({'center': np.zeros((COUNT - 1, 2))}, 'center in'),
    'no numbers': (
        {'pose': np.full((COUNT, 72), np.nan)},
        '{root}/3dpw_test.npz has no people who can be scored by the protocol of 3dpw: '
        'images/image_00000.jpg has no pose and shape of finite numbers; 0 of 12 '
        'people (12 nan poses)',
    ),
    'no poses': ({'pose': None}, 'has no pose and shape'),
    'no squares': ({'scale': np.zeros(COUNT)}, '0 of 12 people (12 invalid boxes'),
    'no gender': (
        {'gender': None},
        'image_00000.jpg has no gender that is male or female; 0 of '
        '12 people (12 unknown genders)',
    ),
    'no images named': ({'imgname': None}, 'has no imgname'),
    'numbers for names': ({'imgname': np.arange(COUNT)}, 'has the type int64, expected text'),
    'nobody': (
        {
            'imgname': np.array([], str),
            'center': np.zeros((0, 2)),
            'scale': np.zeros(0),
            'pose': np.zeros((0, 72)),
            'shape': np.zeros((0, 10)),
            'gender': np.array([], str),
        },
        'has no usable people: 0 of 0 people',
    ),
}


@pytest.mark.parametrize('mistake', MISTAKES)
def test_broken_annotations_are_named(
    mistake: str, oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys
) -> None:
    changes, complaint = MISTAKES[mistake]
    root = write_set('3dpw', tmp_path / '3dpw', people, tiny_body, **changes)
    assert run(files, '3dpw', '--root', root) == 2
    assert complaint.format(root=root) in complaint_of(capsys)


def test_people_who_cannot_be_scored_are_left_out_and_counted(
    oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys, caplog
) -> None:
    root = write_set('3dpw', tmp_path / '3dpw', people, tiny_body)
    arrays = dict(np.load(root / FILES['3dpw']))
    arrays['pose'][2, 7] = np.nan
    arrays['shape'][3, 1] = np.inf
    arrays['gender'][4] = 'x'
    arrays['center'][5] = (-1000, 0)
    arrays['scale'][6] = 0
    arrays['center'][7] = np.nan
    np.savez(root / FILES['3dpw'], **arrays)
    assert run(files, '3dpw', '--data', root, '--json') == 0
    report = last_json(capsys)
    assert report['left_out'] == {'outside_boxes': 1, 'invalid_boxes': 2, 'without_truth': 3}
    assert report['images'] == COUNT - 6 and report['unreadable'] == 0
    assert report['network']['mpjpe_mm'] < 0.05
    said = caplog.text
    assert 'skipped 3 of 10 people of 3dpw without the required truth' in said
    assert 'image_00002.jpg has no pose and shape of finite numbers' in said
    assert 'outside of' in said and 'image_00005.jpg' in said
    assert run(files, '3dpw', '--data', root) == 0
    assert 'left out: 1 outside boxes, 2 invalid boxes, 3 without truth' in capsys.readouterr().out


def test_a_joint_without_annotation_is_named(
    oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys, caplog
) -> None:
    root = write_set('h36m-p2', tmp_path / 'h36m', people, tiny_body, files['joint-regressor'])
    arrays = dict(np.load(root / FILES['h36m-p2']))
    arrays['S'][4, 18, 3] = 0  # head of Human3.6M
    arrays['S'][6, 2, 1] = np.nan
    np.savez(root / FILES['h36m-p2'], **arrays)
    assert run(files, 'h36m-p2', '--root', root, '--json') == 0
    assert last_json(capsys)['left_out'] == {'without_truth': 2}
    assert 'image_00004.jpg has no 3D annotation (S) of the joint head' in caplog.text
    arrays['S'][:, 18, 3] = 0
    np.savez(root / FILES['h36m-p2'], **arrays)
    assert run(files, 'h36m-p2', '--root', root) == 2
    said = complaint_of(capsys)
    assert 'joint head' in said and 'image_00000.jpg' in said
    del arrays['S']
    np.savez(root / FILES['h36m-p2'], **arrays)
    assert run(files, 'h36m-p2', '--root', root) == 2
    assert 'joint right_ankle' in complaint_of(capsys)


def test_a_damaged_video_leaves_out_only_its_people(
    oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys, caplog
) -> None:
    root = write_set(
        'surreal',
        tmp_path / 'surreal',
        people,
        tiny_body,
        imgname=None,
        videoname=['run0/a.mp4'] * 3 + ['run0/b.mp4'] * (COUNT - 3),
        framenum=np.arange(COUNT),
    )
    (root / 'data/cmu/val/run0').mkdir(parents=True)
    (root / 'data/cmu/val/run0/a.mp4').write_bytes(b'no video')
    (root / 'frames/val/run0').mkdir(parents=True)
    for index, image in enumerate(sorted((root / 'images').iterdir())[3:], start=3):
        image.rename(root / f'frames/val/run0/b_{index:06d}.jpg')
    assert run(files, 'surreal', '--data', root, '--json') == 0
    report = last_json(capsys)
    assert report['left_out'] == {'unreadable_images': 3} and report['images'] == COUNT - 3
    assert 'a.mp4 cannot be read as a video' in caplog.text


@pytest.mark.parametrize('name', EVALUATION_SETS)
def test_a_missing_data_set_is_reported_with_the_expected_files(
    name: str, files, oracle, tmp_path: Path, capsys
) -> None:
    assert run(files, name, '--root', tmp_path) == 2
    said = complaint_of(capsys)
    assert FILES[name] in said and 'licence' in said and 'http' in said
    test_set = EVALUATION_SETS[name]
    assert (
        f'python -m training.preprocess {test_set.dataset} --split {test_set.split} --root '
        f'{tmp_path} --out {tmp_path}/{test_set.annotations[0]};' in said
    )
    assert test_set.split in public_dataset(test_set.dataset).splits
    assert all(item in said for item in public_dataset(test_set.dataset).layout)
    assert ('UPi-S1h' in said) == (name == 'lsp')
    assert run(files, name, '--root', tmp_path / 'gone') == 2
    assert f'there is no folder {tmp_path}/gone' in complaint_of(capsys)
    assert run(files, name) == 2
    assert '--data FOLDER' in complaint_of(capsys)


def test_the_truth_of_3dpw_needs_the_bodies_and_the_regressor(
    oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys
) -> None:
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
    assert f'{half} has not all bodies: the truth of 3dpw needs smpl_female.npz' in complaint_of(
        capsys
    )


def test_surfaces_of_another_mesh_are_rejected_with_both_hashes(
    oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys
) -> None:
    root = write_set('up-3d', tmp_path / 'up', people, tiny_body)
    folder = write_bodies(tiny_body, tmp_path / 'smpl')
    faces = np.roll(tiny_body.data.faces, 1, axis=1)
    other = BodyModel(dataclasses.replace(tiny_body.data, faces=faces))
    other.save(folder / 'smpl_neutral.npz')
    assert run({**files, 'body-folder': folder}, 'up-3d', '--root', root) == 2
    said = complaint_of(capsys)
    assert tiny_body.hash[:16] in said and other.hash[:16] in said


@pytest.mark.parametrize('kind', ['body', 'uv'])
def test_weights_of_another_body_or_map_are_rejected_with_both_hashes(
    kind: str, files, tiny_body: BodyModel, tiny_uv_map: UVMap, tmp_path: Path, capsys
) -> None:
    data = dataclasses.replace(tiny_body.data, v_template=tiny_body.data.v_template * 1.01)
    body = BodyModel(data) if kind == 'body' else tiny_body
    uv_map = dataclasses.replace(tiny_uv_map, uv=1 - tiny_uv_map.uv, body_hash=body.hash)
    body.save(tmp_path / 'body.npz')
    uv_map.save(tmp_path / 'uv.npz')
    mine = {**files, 'body': tmp_path / 'body.npz', 'uv': tmp_path / 'uv.npz'}
    hashes = (body.hash, tiny_body.hash) if kind == 'body' else (uv_map.hash, tiny_uv_map.hash)
    assert run(mine, '--images', 2) == 2
    said = complaint_of(capsys)
    assert all(text[:16] in said for text in hashes)


@pytest.mark.parametrize(
    ('words', 'complaint'),
    [
        (('--out', 'none/report.json'), 'there is no folder'),
        (('--worst', 'worst.txt'), 'end its name in'),
        (('--weights', 'none.safetensors'), 'none.safetensors'),
        (('--body', 'none.npz'), 'none.npz'),
    ],
)
def test_a_user_error_is_one_line_with_exit_code_2(
    words, complaint: str, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert evaluate.main(['--images', '2', *words]) == 2
    assert complaint in complaint_of(capsys)


@pytest.mark.parametrize('words', [['--images', '0'], ['cocoa'], ['--runtime', 'magic']])
def test_a_malformed_option_is_named(words, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        evaluate.main(words)
    assert caught.value.code == 2
    assert words[-1] in capsys.readouterr().err
