from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from fake_people import FakeRuntime

from decomr_core import __version__, cli, runtimes
from decomr_core.body_models import BodyModel
from decomr_core.commands import predict
from decomr_core.estimation import loading
from decomr_core.uv import round_trip
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap, load_uv_map


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / 'picture.png'
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8))
    return path


@pytest.fixture(autouse=True)
def fake_network(
    monkeypatch: pytest.MonkeyPatch, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> list[tuple]:
    """No weights are needed here; what the runtime was asked for is kept."""
    asked = []
    topology = Topology.from_body(tiny_body, tiny_uv_map)

    def load_runtime(*args: object, **options: object) -> FakeRuntime:
        asked.append((args, options))
        return FakeRuntime(topology, (0.9, 0.0, -0.1))

    monkeypatch.setattr(loading, 'load_runtime', load_runtime)
    monkeypatch.setitem(runtimes.RUNTIMES, 'fake', ('numpy', ''))
    return asked


def run(*words: object) -> int:
    return cli.main([str(word) for word in words])


def last_json(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_predict_writes_the_pictures_and_one_mesh_per_person(
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
def test_boxes_are_understood_wherever_the_picture_stands(
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
def test_what_is_no_box_is_refused_with_how_to_write_several(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    words = [str(picture) if word == 'PICTURE' else word for word in words]
    with pytest.raises(SystemExit) as caught:
        run('predict', '--out', tmp_path, *words)
    assert caught.value.code == 2
    assert "several boxes: --boxes 'X0,Y0,X1,Y1;X0,Y0,X1,Y1'" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_one_line_without_error_numbers(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'file').touch()
    for out in (tmp_path / 'file' / 'out', tmp_path / 'file'):
        assert run('predict', picture, '--out', out) == 2
        said = capsys.readouterr().err
        assert said.startswith(f'decomr predict: cannot create the folder {out}')
        assert 'give a writable one' in said
        assert 'Errno' not in said and said.count('\n') == 1


def test_an_error_of_the_system_names_the_file_and_no_error_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'file').touch()
    path = tmp_path / 'file' / 'body.npz'
    assert run('body', 'import', path, '--out', tmp_path / 'new.npz') == 2
    said = capsys.readouterr().err
    assert str(path) in said and 'Errno' not in said and said.count('\n') == 1


def test_without_calibration_there_is_no_position(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run('predict', picture, '--out', tmp_path, '--json', '--detector', 'whole-frame') == 0
    (person,) = last_json(capsys)['people']
    assert person['translation_m'] is None and not person['is_metric']


def test_a_picture_without_people_is_answered_with_none(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run('predict', picture, '--out', tmp_path, '--json') == 0
    assert last_json(capsys)['people'] == []
    assert not cv2.imread(str(tmp_path / 'iuv.png')).any()


def test_the_network_is_asked_for_by_name(
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
def test_a_mistake_is_one_line_and_exit_code_2(
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


def test_an_empty_file_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / 'empty.png').touch()
    with pytest.raises(ValueError, match='is not an image'):
        predict.read_image(tmp_path / 'empty.png')


@pytest.mark.parametrize(
    'words', [['--boxes', '1,2,3'], ['--fov', 'wide'], ['--boxes', 'a,b,c,d']]
)
def test_a_malformed_option_is_told_by_name(
    picture: Path, tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run('predict', picture, '--out', tmp_path, *words)
    assert caught.value.code == 2
    assert f'error: argument {words[0]}: ' in capsys.readouterr().err


def test_the_traceback_is_shown_to_those_who_ask_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('DECOMR_DEBUG', '1')
    with pytest.raises(FileNotFoundError):
        run('predict', 'none.png', '--out', tmp_path)


def test_bench_times_every_stage(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(
            'bench',
            '--people',
            2,
            '--size',
            '320x240',
            '--repeats',
            3,
            '--detector',
            'person',
            '--json',
        )
        == 0
    )
    report = last_json(capsys)
    assert set(report['median_ms']) == {
        'detect',
        'crop',
        'network',
        'place',
        'track',
        'total',
        'detector person',
    }
    assert report['people'] == 2 and (report['width'], report['height']) == (320, 240)
    assert report['hardware']['cpus'] >= 1 and report['versions']['decomr'] == __version__
    assert run('bench', '--people', 0) == 2


def test_body_info_and_import_tell_what_a_body_is(
    tmp_path: Path, tiny_body: BodyModel, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_body.save(tmp_path / 'body.npz')
    assert run('body', 'info', tmp_path / 'body.npz', '--json') == 0
    report = last_json(capsys)
    assert report['hash'] == tiny_body.hash and report['vertices'] == len(tiny_body.v_template)
    assert 1.0 < report['height_m'] < 2.5
    assert run('body', 'import', tmp_path / 'body.npz', '--out', tmp_path / 'new.npz') == 0
    assert 'decomr uv build --body' in capsys.readouterr().out
    assert BodyModel.load(tmp_path / 'new.npz').hash == tiny_body.hash
    assert run('body', 'info', tmp_path / 'none.npz') == 2


@pytest.fixture
def small_views(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures for what is seen of a body that are as coarse as the small body."""
    monkeypatch.setattr(round_trip, 'VIEW_SIZE_PX', 128)


def test_uv_build_and_report_make_and_measure_a_map(
    tmp_path: Path, tiny_body: BodyModel, small_views: None, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_body.save(tmp_path / 'body.npz')
    assert run('uv', 'build', '--body', tmp_path / 'body.npz', '--out', tmp_path / 'uv.npz') == 0
    load_uv_map(tmp_path / 'uv.npz', tiny_body)
    capsys.readouterr()
    assert (
        run(
            'uv',
            'report',
            '--body',
            tmp_path / 'body.npz',
            '--uv',
            tmp_path / 'uv.npz',
            '--sources',
            20,
            '--json',
        )
        == 0
    )
    report = last_json(capsys)
    assert report['pieces'] == 1 and report['flips'] == 0


def test_the_text_of_a_uv_report_is_rounded_and_its_json_is_not(
    tmp_path: Path,
    tiny_body: BodyModel,
    tiny_uv_map: UVMap,
    small_views: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tiny_body.save(tmp_path / 'body.npz')
    tiny_uv_map.save(tmp_path / 'uv.npz')
    assert (
        run(
            'uv',
            'report',
            '--body',
            tmp_path / 'body.npz',
            '--uv',
            tmp_path / 'uv.npz',
            '--sources',
            20,
            '--json',
        )
        == 0
    )
    *lines, last = capsys.readouterr().out.splitlines()
    report, shown = json.loads(last), dict(line.split(maxsplit=1) for line in lines)
    assert set(shown) == set(report)
    assert max(len(digits) for digits in re.findall(r'\d+', ' '.join(shown.values()))) <= 8
    assert float(shown['coverage']) == pytest.approx(report['coverage'], rel=1e-3)
    assert len(str(report['coverage'])) > len(shown['coverage'])
    mean, largest = report['roundtrip_mm']['64']
    assert shown['roundtrip_mm'].startswith(f'64: {mean:.4g}, {largest:.4g}; 128: ')


def test_options_of_the_runtime_reach_it_where_they_are_given(
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


@pytest.mark.parametrize(
    ('words', 'told'),
    [
        (['--runtime', 'tensorrt', '--device', 'cuda'], 'takes the number of a GPU, such as 0'),
        (
            ['--batch', '1', '--precision', 'f32', '--device', '0'],
            '--precision and --device cannot be used with --batch',
        ),
    ],
)
def test_options_that_do_not_fit_are_told_in_one_line(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run('bench', *words) == 2
    error = capsys.readouterr().err
    assert told in error and error.count('\n') == 1


def test_export_reports_the_mean_vertex_error_of_each_engine(
    trained: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run(
            'export',
            '--weights',
            trained['weights'],
            '--body',
            trained['body'],
            '--uv',
            trained['uv_map'],
            '--out',
            tmp_path / 'new',
            '--json',
        )
        == 0
    )
    *text, report = capsys.readouterr().out.splitlines()
    parity = json.loads(report)['parity']
    told = text[-1].removeprefix('mean vertex error against PyTorch: ')
    assert told.split(', ') == [
        f'{name} {values["vertices_mean_mm"]:.4f} mm' for name, values in parity.items()
    ]


def test_export_refuses_a_folder_that_exists(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run('export', '--out', tmp_path) == 2
    assert 'exists already' in capsys.readouterr().err


def test_a_plugin_command_gets_its_words_as_they_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / 'plugin_for_test.py').write_text(
        'def main(argv):\n    return len(argv)\n', encoding='ascii'
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(cli.PLUGIN_COMMANDS, 'demo', ('plugin_for_test', 'help'))
    assert run('demo', '--video', 'x', '--json') == 3


def test_a_plugin_that_is_missing_is_told_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cli.PLUGIN_COMMANDS, 'demo', ('no_such_module_anywhere', 'help'))
    assert run('demo') == 2
    said = capsys.readouterr().err
    assert 'scripts/with-env decomr demo' in said and 'no_such_module_anywhere' in said
    assert said.count('\n') == 1


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    code = (
        'import sys; from decomr_core.cli import main\n'
        'try: main(["--help"])\nexcept SystemExit: pass\n'
        'print(sorted({"torch", "cv2", "openvino", "scipy"} & set(sys.modules)))'
    )
    done = subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        cwd=Path(cli.__file__).parent.parent,
    )
    assert done.stdout.splitlines()[-1] == '[]', done.stderr
    for command in ('predict', 'demo', 'export', 'convert', 'bench', 'uv', 'body', 'doctor'):
        assert f'\n    {command} ' in done.stdout
