"""The command that turns a public data set into an npz."""

from __future__ import annotations

import json
from pathlib import Path

import fake_datasets as fake
import numpy as np
import pytest

from decomr_core.body_models import BodyModel
from training.datasets.readers.npz_format import read_npz
from training.datasets.registry import PUBLIC_DATASETS, load_people
from training.preprocess import main


def write(name: str, root: Path, body: BodyModel) -> str:
    """A tiny data set of that name; returns a split that it has."""
    if name == 'lsp':
        fake.write_lsp(root, 3, [0, 1, 2])
    elif name == 'lsp_extended':
        fake.write_lsp_extended(root, 3, high_resolution=True)
    elif name == 'mpi_inf_3dhp':
        fake.write_mpi_train(root, 11, as_video=False)
    elif name == 'surreal':
        fake.write_surreal(root, body, 'train', 11)
    elif name == 'pw3d':
        fake.write_pw3d(root, 2)
    elif name == 'h36m':
        fake.write_h36m(root, (9, 11), 6)
        return 'p2'
    else:
        {'coco': fake.write_coco, 'mpii': fake.write_mpii, 'up3d': fake.write_up3d}[name](root)
    return PUBLIC_DATASETS[name].splits[0]


@pytest.mark.parametrize('name', sorted(PUBLIC_DATASETS))
def test_both_formats_give_the_same_people(
    tmp_path: Path, tiny_body: BodyModel, name: str, capsys: pytest.CaptureFixture
) -> None:
    root, out = tmp_path / 'set', tmp_path / 'set.npz'
    split = write(name, root, tiny_body)
    words = [name, '--root', str(root), '--out', str(out), '--split', split, '--json']
    assert main(words) == 0
    printed = capsys.readouterr().out.strip().splitlines()
    direct, exchanged = load_people(name, root, split=split), load_people(name, root, out)
    assert json.loads(printed[-1])['kept'] == len(exchanged) == len(direct) > 0
    assert printed[0].startswith(f'{out}: {len(direct)} of ')
    for one, other in zip(direct, exchanged, strict=True):
        assert (one.image, one.gender, one.mask) == (other.image, other.gender, other.mask)
        for field in ('center', 'side', 'keypoints_2d', 'keypoints_3d', 'pose', 'shape'):
            ours, theirs = getattr(one, field), getattr(other, field)
            assert (ours is None) == (theirs is None)
            if ours is not None:
                np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ('words', 'complaint'),
    [
        (['nothing'], "there is no data set 'nothing'; take one of coco"),
        (['coco', '--split', 'test'], "no split 'test'; take one of train, val"),
        (
            ['coco'],
            'person_keypoints_train2014.json is missing; the expected layout of COCO 2014 '
            'keypoints',
        ),
    ],
)
def test_a_user_error_is_one_line_with_exit_code_2(
    tmp_path: Path, words: list[str], complaint: str, capsys: pytest.CaptureFixture
) -> None:
    assert main([*words, '--root', str(tmp_path), '--out', str(tmp_path / 'out.npz')]) == 2
    written = capsys.readouterr()
    assert written.out == ''
    assert complaint in written.err
    assert written.err.count('\n') == 1
    assert not (tmp_path / 'out.npz').exists()


def test_the_counts_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    fake.write_lsp(tmp_path, 3, [0, 2])
    assert main(['lsp', '--root', str(tmp_path), '--out', str(tmp_path / 'lsp.npz')]) == 0
    assert capsys.readouterr().out == (
        f'{tmp_path / "lsp.npz"}: 2 of 3 people (1 unreadable images, 2 unknown genders)\n'
    )
    assert len(read_npz(tmp_path / 'lsp.npz', tmp_path)) == 2


def test_the_help_names_every_data_set_and_its_splits(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(['--help'])
    text = ' '.join(capsys.readouterr().out.split())
    for name, dataset in PUBLIC_DATASETS.items():
        assert f'{name} ({", ".join(dataset.splits)})' in text
