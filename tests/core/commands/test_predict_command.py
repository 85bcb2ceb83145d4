"""`decomr predict`: the files that it writes, boxes and options, and mistakes in them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from decomr_core.body_models import BodyModel
from decomr_core.commands import predict
from decomr_core.uv.uv_map import UVMap
from tests.core.commands.command_runs import fake_network, last_json, picture, run

__all__ = ['fake_network', 'picture']  # the fixtures


def test_predict_writes_the_images_and_one_mesh_per_person(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_body: BodyModel
) -> None:
    out = tmp_path / 'out'
    assert (
        run(
            'predict',
            picture,
            '--out',
            out,
            '--json',
            '--fov',
            60,
            '--boxes',
            '20,20,120,220',
            '150,10,290,230',
        )
        == 0
    )
    report = last_json(capsys)
    assert [person['box'] for person in report['people']] == [
        [20, 20, 120, 220],
        [150, 10, 290, 230],
    ]
    assert all(person['translation_m'][2] > 0.5 for person in report['people'])
    assert list(report['stages_ms']) == ['detect', 'crop', 'network', 'place', 'track']
    assert cv2.imread(str(out / 'iuv.png')).shape == (240, 320, 3)
    overlay, plain = (cv2.imread(str(path)) for path in (out / 'overlay.png', picture))
    assert 0.02 < (overlay != plain).any(-1).mean() < 0.6
    lines = (out / 'mesh_1.obj').read_text().splitlines()
    counts = {kind: sum(line.startswith(f'{kind} ') for line in lines) for kind in 'vf'}
    assert counts == {'v': len(tiny_body.v_template), 'f': len(tiny_body.faces)}


def test_an_obj_holds_the_mesh_and_its_texture_coordinates(
    picture: Path, tmp_path: Path, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    run('predict', picture, '--out', tmp_path, '--boxes', '20,20,120,220')
    words = [line.split() for line in (tmp_path / 'mesh_0.obj').read_text().splitlines()]
    vertices = np.array([word[1:] for word in words if word[0] == 'v'], float)
    uv = np.array([word[1:] for word in words if word[0] == 'vt'], float)
    faces = (
        np.array(
            [[corner.split('/') for corner in word[1:]] for word in words if word[0] == 'f'], int
        )
        - 1
    )
    assert np.allclose(vertices, tiny_body.data.v_template * (1, -1, -1), atol=1e-4)
    assert np.array_equal(faces[..., 0], tiny_body.data.faces)
    assert np.allclose(
        uv[faces[..., 1]] * (1, -1) + (0, 1), tiny_uv_map.uv[tiny_uv_map.faces], atol=1e-4
    )


def test_a_second_prediction_leaves_no_mesh_of_the_first(picture: Path, tmp_path: Path) -> None:
    run('predict', picture, '--out', tmp_path, '--boxes', '20,20,120,220', '150,10,290,230')
    run('predict', picture, '--out', tmp_path, '--boxes', '20,20,120,220')
    assert [path.name for path in tmp_path.glob('*.obj')] == ['mesh_0.obj']


FIRST, SECOND = '20,20,120,220', '-5,10,290,230'


@pytest.mark.parametrize(
    'words',
    [
        ['PICTURE', '--boxes', FIRST, SECOND],
        ['--boxes', FIRST, SECOND, 'PICTURE'],
        ['--boxes', f'{FIRST};{SECOND}', 'PICTURE'],
        ['--boxes', f'{FIRST}; {SECOND}', 'PICTURE'],
        ['--boxes', FIRST, 'PICTURE', '--boxes', SECOND],
        [f'--boxes={FIRST}', 'PICTURE', f'--boxes={SECOND}'],
    ],
)
def test_boxes_are_parsed_before_and_after_the_image(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    words = [str(picture) if word == 'PICTURE' else word for word in words]
    assert run('predict', '--out', tmp_path, '--json', *words) == 0
    assert [person['box'] for person in last_json(capsys)['people']] == [
        [20, 20, 120, 220],
        [-0.5, 10, 290, 230],
    ]  # cut off at the edge of the first pixels


@pytest.mark.parametrize(
    'words',
    [
        ['PICTURE', '--boxes', FIRST, '1,2,3'],
        ['--boxes', 'PICTURE'],
        ['PICTURE', '--boxes', f'{FIRST};'],
        ['--boxes', FIRST, '1,2,3', 'PICTURE'],
    ],
)
def test_an_invalid_box_is_rejected_with_the_syntax_of_several(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    words = [str(picture) if word == 'PICTURE' else word for word in words]
    with pytest.raises(SystemExit) as caught:
        run('predict', '--out', tmp_path, *words)
    assert caught.value.code == 2
    assert "several boxes: --boxes 'X0,Y0,X1,Y1;X0,Y0,X1,Y1'" in capsys.readouterr().err


def test_a_folder_that_cannot_be_created_is_a_one_line_error_without_errno(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'file').touch()
    for out in (tmp_path / 'file' / 'out', tmp_path / 'file'):
        assert run('predict', picture, '--out', out) == 2
        said = capsys.readouterr().err
        assert said.startswith(f'decomr predict: cannot create the folder {out}')
        assert 'give a writable one' in said
        assert 'Errno' not in said and said.count('\n') == 1


def test_without_calibration_there_is_no_position(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run('predict', picture, '--out', tmp_path, '--json', '--detector', 'whole-frame') == 0
    (person,) = last_json(capsys)['people']
    assert person['translation_m'] is None and not person['is_metric']


def test_an_image_without_people_gives_no_people(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run('predict', picture, '--out', tmp_path, '--json') == 0
    assert last_json(capsys)['people'] == []
    assert not cv2.imread(str(tmp_path / 'iuv.png')).any()


def test_the_network_is_selected_by_name(
    picture: Path, tmp_path: Path, fake_network: list[tuple]
) -> None:
    run(
        'predict',
        picture,
        '--out',
        tmp_path,
        '--runtime',
        'torch',
        '--weights',
        'w',
        '--body',
        'b',
        '--uv',
        'u',
    )
    assert fake_network == [(('torch', 'w'), {'body': 'b', 'uv_map': 'u'})]


@pytest.mark.parametrize(
    ('words', 'complaint'),
    [
        (['none.png'], 'no image at none.png'),
        ([__file__], 'is not an image that OpenCV'),
        (['PICTURE', '--detector', 'yolo'], 'expected one of: person, whole-frame'),
        (['PICTURE', '--fov', '400'], 'expected 1 to 179'),
        (['PICTURE', '--intrinsics', '-5,5,1,1'], 'focal lengths'),
        (['PICTURE', '--boxes', '50,0,10,9'], 'no side negative'),
    ],
)
def test_a_user_error_is_one_line_with_exit_code_2(
    picture: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    complaint: str,
) -> None:
    words = [str(picture) if word == 'PICTURE' else word for word in words]
    if '--intrinsics' in words:  # argparse takes a word that starts with - for an option
        words = [words[0], f'--intrinsics={words[2]}']
    assert run('predict', *words, '--out', tmp_path / 'out') == 2
    said = capsys.readouterr().err
    assert said.startswith('decomr predict: ') and complaint in said
    assert said.count('\n') == 1


def test_an_empty_file_is_not_an_image(tmp_path: Path) -> None:
    (tmp_path / 'empty.png').touch()
    with pytest.raises(ValueError, match='is not an image'):
        predict.read_image(tmp_path / 'empty.png')


@pytest.mark.parametrize(
    'words', [['--boxes', '1,2,3'], ['--fov', 'wide'], ['--boxes', 'a,b,c,d']]
)
def test_a_malformed_option_is_named(
    picture: Path, tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run('predict', picture, '--out', tmp_path, *words)
    assert caught.value.code == 2
    assert f'error: argument {words[0]}: ' in capsys.readouterr().err


def test_given_runtime_options_reach_the_runtime(
    picture: Path, tmp_path: Path, fake_network: list[tuple]
) -> None:
    here = ('--out', tmp_path / 'out', '--boxes', '20,20,120,220')
    assert run('predict', picture, *here) == 0
    assert (
        run(
            'predict',
            picture,
            *here,
            '--runtime',
            'torch',
            '--device',
            'cuda:1',
            '--precision',
            'fp16',
        )
        == 0
    )
    assert (
        run(
            'predict',
            picture,
            *here,
            '--runtime',
            'onnxruntime',
            '--provider',
            'cuda',
            '--device',
            1,
        )
        == 0
    )
    files = {'body': 'builtin', 'uv_map': 'builtin'}
    assert [options for _, options in fake_network] == [
        files,
        {**files, 'device': 'cuda:1', 'precision': 'fp16'},
        {**files, 'provider': 'cuda', 'device': 1},
    ]
