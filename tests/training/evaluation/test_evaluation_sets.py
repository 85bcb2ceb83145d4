"""Which people of each test set are measured, and by which joints."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import cv2
import fake_datasets as fake
import numpy as np
import pytest
import torch
from fabricated_sets import COUNT, FILES, last_json, write_set
from fabricated_sets import run_evaluate as run

from decomr_core.body_models import BodyModel
from training import preprocess
from training.datasets.registry import PUBLIC_DATASETS
from training.evaluation.sets import EVALUATION_SETS, evaluation_people
from training.records.root_frame import root_frame_body

HEAD, HEAD_TOP = 18, 13
"""Where the exchanged annotations have the head of Human3.6M and the head top of LSP."""
PEOPLE = {
    'h36m-p1': 8,
    'h36m-p2': 4,
    '3dpw': 5,
    'mpi-inf-3dhp': 2,
    'surreal': 1,
    'up-3d': 1,
    'lsp': 2,
}
"""How many there are in the made-up data sets."""


def write_published(name: str, root: Path, body: BodyModel, hdf5: dict) -> None:
    """A test set as its authors publish it."""
    if name.startswith('h36m'):
        fake.write_h36m(root, (9, 11), 7)
    elif name == '3dpw':
        fake.write_pw3d(root, 3)
    elif name == 'mpi-inf-3dhp':
        hdf5 |= fake.write_mpi_test(root, 4)
        (root / 'mpi_inf_3dhp_test_set/TS1/annot_data.mat').touch()
    elif name == 'surreal':
        fake.write_surreal(root, body, 'val', 4)
    elif name == 'up-3d':
        fake.write_up3d(root)
    else:
        fake.write_lsp(root, 1003, images=[1000, 1002])
        (root / 'data/lsp').mkdir(parents=True)
        for stem in ('im1001', 'im1003'):
            for kind in ('segmentation', 'part_segmentation'):
                cv2.imwrite(
                    str(root / f'data/lsp/{stem}_{kind}.png'),
                    np.eye(fake.SIZE_PX[1], fake.SIZE_PX[0], dtype=np.uint8) * 3,
                )


@pytest.mark.parametrize('name', EVALUATION_SETS)
def test_each_set_is_measured_from_the_original_files_after_one_command(
    name: str, oracle, files, hdf5, tiny_body: BodyModel, tmp_path: Path, capsys
) -> None:
    root, test_set = tmp_path / 'set', EVALUATION_SETS[name]
    write_published(name, root, tiny_body, hdf5)
    out = root / test_set.annotations[0]
    assert (
        preprocess.main(
            [test_set.dataset, '--split', test_set.split, '--root', str(root), '--out', str(out)]
        )
        == 0
    )
    assert run(files, name, '--data', root, '--json') == 0
    report = last_json(capsys)
    assert report['images'] == PEOPLE[name] and report['left_out'] == {}
    assert all(np.isfinite(value) for value in report['network'].values())
    people = evaluation_people(name, root)
    own = PUBLIC_DATASETS[test_set.dataset].records(root, test_set.split)
    for one, other in zip(people, own, strict=True):
        assert (one.image, one.mask, one.part_mask, one.gender) == (
            other.image,
            other.mask,
            other.part_mask,
            other.gender,
        )
        np.testing.assert_allclose(one.center, other.center, rtol=1e-6)
        assert one.side == pytest.approx(other.side)


def test_the_square_is_the_one_of_the_file(people, tiny_body: BodyModel, tmp_path: Path) -> None:
    root = write_set(
        'h36m-p1',
        tmp_path / 'h36m',
        people,
        tiny_body,
        center=np.arange(2.0 * COUNT).reshape(COUNT, 2) + 30,
        scale=np.linspace(0.3, 0.5, COUNT),
    )
    record = evaluation_people('h36m-p1', root)[3]
    np.testing.assert_allclose(record.center, [36, 37])
    assert record.side == pytest.approx(200 * np.linspace(0.3, 0.5, COUNT)[3])


@pytest.mark.parametrize('name', ['3dpw', 'surreal', 'up-3d'])
def test_bodies_of_the_files_are_the_people_in_the_root_frame(
    name: str, people, tiny_body: BodyModel, tmp_path: Path
) -> None:
    read = evaluation_people(name, write_set(name, tmp_path / name, people, tiny_body))
    vertices, _ = root_frame_body(
        tiny_body, torch.from_numpy(read.pose), torch.from_numpy(read.shape)
    )
    assert (vertices - people.vertices).abs().max() < 1e-4
    genders = ['neutral'] * 2 if name == 'up-3d' else ['male', 'female']
    assert [record.gender for record in read] == genders * (COUNT // 2)
    assert read.counts.unknown_genders == 0


def test_up_3d_needs_no_genders(
    oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys
) -> None:
    root = write_set('up-3d', tmp_path / 'up', people, tiny_body, gender=None)
    assert run(files, 'up-3d', '--data', root, '--json') == 0
    report = last_json(capsys)
    assert report['images'] == COUNT and report['network']['surface_error_mm'] < 0.05


@pytest.mark.parametrize('name', ['h36m-p1', 'h36m-p2', 'mpi-inf-3dhp'])
def test_the_last_of_the_14_joints_is_the_head_of_human36m_and_not_the_head_top(
    name: str, oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys
) -> None:
    root = write_set(name, tmp_path / name, people, tiny_body, files['joint-regressor'])
    arrays = dict(np.load(root / FILES[name]))
    arrays['S'][:, HEAD_TOP] = (0.5, 0.5, 0.5, 1)  # a place that would cost centimetres
    np.savez(root / FILES[name], **arrays)
    assert run(files, name, '--data', root, '--json') == 0
    assert last_json(capsys)['network']['mpjpe_mm'] < 0.05
    arrays['S'][:, HEAD, 2] += 0.14
    np.savez(root / FILES[name], **arrays)
    assert run(files, name, '--data', root, '--json') == 0
    network = last_json(capsys)['network']
    assert network['mpjpe_mm'] == pytest.approx(140 / 14, abs=0.05)
    assert ('mpjpe_17_mm' in network) == (name == 'mpi-inf-3dhp')
    assert network.get('mpjpe_17_mm', 140 / 17) == pytest.approx(140 / 17, abs=0.05)


def test_the_joints_of_3dpw_are_read_off_the_true_mesh_with_the_head_of_human36m(
    oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys
) -> None:
    root = write_set('3dpw', tmp_path / '3dpw', people, tiny_body)
    regressor = np.load(files['joint-regressor'])
    head, jaw = 3, 4  # vertices that no other joint knows of
    regressor[[9, 10]], regressor[:, [head, jaw]] = 0, 0
    regressor[9, jaw], regressor[10, head] = 1, 1
    np.save(tmp_path / 'mine.npy', regressor)
    for vertex, expected in ((jaw, 0), (head, 140 / 14)):
        vertices = people.vertices.clone()
        vertices[:, vertex, 2] += 0.14
        oracle.people = dataclasses.replace(people, vertices=vertices)
        assert (
            run(
                {**files, 'joint-regressor': tmp_path / 'mine.npy'},
                '3dpw',
                '--data',
                root,
                '--json',
            )
            == 0
        )
        assert last_json(capsys)['network']['mpjpe_mm'] == pytest.approx(expected, abs=0.05)


def test_protocol_2_is_the_frontal_camera_alone(
    oracle, people, files, tiny_body: BodyModel, tmp_path: Path, capsys
) -> None:
    root = write_set('h36m-p1', tmp_path / 'h36m', people, tiny_body, files['joint-regressor'])
    arrays = dict(np.load(root / FILES['h36m-p1']))
    images = sorted((root / 'images').iterdir())
    names = [
        f'images/S9_Directions_1.{camera}_{1 + 5 * frame:06d}.jpg'
        for frame in range(2)
        for camera in (54138969, 55011271, 58860488, 60457274)
    ]
    names += [
        f'images/s_11_act_02_subact_01_ca_{camera:02d}_000001.jpg' for camera in (1, 2, 3, 4)
    ]
    for image, name in zip(images, names, strict=True):
        image.rename(root / name)
    np.savez(root / FILES['h36m-p1'], **{**arrays, 'imgname': names})
    assert run(files, 'h36m-p1', '--data', root, '--json') == 0
    assert last_json(capsys)['images'] == COUNT
    words = 'h36m-p2', '--data', root, '--annotations', root / FILES['h36m-p1'], '--json'
    assert run(files, *words) == 0
    report = last_json(capsys)
    assert report['images'] == 3 and report['left_out'] == {}
    frontal = evaluation_people('h36m-p2', root, root / FILES['h36m-p1'])
    assert [record.image for record in frontal] == names[3::4]
    np.savez(root / FILES['h36m-p1'], **{**arrays, 'imgname': names[:3] * 4})
    assert run(files, *words) == 2
    assert 'no image of the frontal camera' in capsys.readouterr().err


@pytest.mark.parametrize('name', EVALUATION_SETS)
def test_the_guide_has_the_commands_of_each_set(name: str) -> None:
    guide = (Path(__file__).parents[3] / 'docs/evaluation.md').read_text(encoding='utf-8')
    guide = ' '.join(guide.replace('\\\n', ' ').split())
    test_set = EVALUATION_SETS[name]
    assert f'python -m training.evaluate {name} --data ' in guide
    assert f'python -m training.preprocess {test_set.dataset} --split {test_set.split} ' in guide
    assert f'/{test_set.annotations[0]} python -m training.evaluate {name} ' in guide
    licence = PUBLIC_DATASETS[test_set.dataset].licence
    assert re.search(r'https?://[^ ,]*[^ ,/]', licence).group() in guide
    if test_set.genders:
        assert '--body-folder SMPL $NET $REG' in guide.split(f'training.evaluate {name} ')[1][:60]
