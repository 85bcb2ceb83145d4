from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import cv2
import pytest
from decomr.msg import HumanMeshArray
from rosbags.rosbag2 import Reader

from decomr_ros import demo
from decomr_ros.demo import loading_time_s, summary_text
from decomr_ros.programs import demo_video
from tests.ros.conftest import RosTest

KEYS = {
    'frames_published',
    'frames_received',
    'frames_skipped_for_newer',
    'meshes',
    'fps',
    'latency_ms',
    'people_max',
    'bag',
    'overlay',
}


def test_the_demo_plays_records_draws_and_sums_up(
    ros: RosTest, weights: Path, image_folder: Path
) -> None:
    out = ros.folder / 'out'
    # Long enough that what is lost while the node meets the source is few of all.
    run = ros.start(
        '-m',
        'decomr_ros.demo',
        '--video',
        image_folder,
        '--seconds',
        6,
        '--out',
        out,
        '--weights',
        weights,
        '--runtime',
        'openvino',
        '--detector',
        'whole-frame',
        '--json',
    )
    ros.spin_until(lambda: run.process.poll() is not None, 90)
    assert run.process.returncode == 0, run.output
    report = json.loads(run.output.splitlines()[-1])
    assert set(report) >= KEYS
    assert report['frames_received'] >= 0.95 * report['frames_published'] > 10
    assert report['frames_received'] == (
        report['meshes'] + report['frames_skipped_for_newer'] + report['frames_failed']
    )
    assert report['people_max'] == 1
    assert 0 < report['latency_ms']['p50'] <= report['latency_ms']['p99']
    with Reader(report['bag']) as reader:
        counts = {name: topic.msgcount for name, topic in reader.topics.items()}
    assert counts['/human_meshes'] == report['meshes'] > 0
    assert counts['/topology'] == 1
    assert counts == report['bag_messages']
    overlay = cv2.VideoCapture(report['overlay'])
    assert overlay.get(cv2.CAP_PROP_FRAME_COUNT) == report['frames_published']
    assert overlay.get(cv2.CAP_PROP_FRAME_WIDTH) == 160


@pytest.mark.full_size
def test_sigint_ends_the_demo_in_order_and_leaves_no_process(
    ros: RosTest, weights: Path, image_folder: Path
) -> None:
    out = ros.folder / 'out'
    # Its path tells this demo's node from those of tests that run at the same time.
    own = Path(shutil.copy(weights, ros.folder))
    run = ros.start(
        '-m',
        'decomr_ros.demo',
        '--video',
        image_folder,
        '--seconds',
        100,
        '--out',
        out,
        '--weights',
        own,
        '--runtime',
        'openvino',
        '--detector',
        'whole-frame',
        '--no-overlay',
        '--json',
    )
    meshes: list[HumanMeshArray] = []
    ros.node.create_subscription(HumanMeshArray, 'human_meshes', meshes.append, 10)
    ros.spin_until(
        lambda: (
            'ready' in _text(out / 'recorder.log')
            and len(meshes) >= 5
            or run.process.poll() is not None
        ),
        60,
    )
    assert run.stop(timeout_s=30) == 0, run.output
    report = json.loads(run.output.splitlines()[-1])
    assert report['meshes'] == report['meshes_published'] > 0
    assert report['overlay'] is None
    # ww: whole lines, which ps cuts off after 80 characters else.
    running = subprocess.run(['ps', '-ewwo', 'args'], capture_output=True, text=True, check=True)
    assert str(out) not in running.stdout
    assert str(own) not in running.stdout, 'the node is not told of --out'


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (['--video', '/nowhere.mp4'], 'there is no video /nowhere.mp4'),
        (['--video', '{image_folder}', '--weights', '/nowhere.safetensors'], 'no weights at'),
    ],
)
def test_a_user_error_is_one_line_with_exit_code_2(
    image_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    words = [word.format(image_folder=image_folder) for word in arguments]
    assert demo.main([*words, '--out', str(tmp_path / 'out')]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count('\n') == 1


def test_a_folder_that_is_not_a_bag_is_not_removed(
    image_folder: Path, tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'bag').mkdir()
    (tmp_path / 'bag' / 'thesis.txt').write_text('years of work')
    assert (
        demo.main(
            ['--video', str(image_folder), '--out', str(tmp_path), '--weights', str(weights)]
        )
        == 2
    )
    assert 'thesis.txt' in capsys.readouterr().err
    assert (tmp_path / 'bag' / 'thesis.txt').exists()


@pytest.mark.parametrize('name', ['bag/my_recording.mcap', 'overlay.mp4'])
def test_files_that_the_demo_did_not_write_are_not_removed(
    image_folder: Path,
    tmp_path: Path,
    weights: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    (tmp_path / 'bag').mkdir()
    (tmp_path / name).write_text('mine')
    assert (
        demo.main(
            ['--video', str(image_folder), '--out', str(tmp_path), '--weights', str(weights)]
        )
        == 2
    )
    assert 'no demo wrote' in capsys.readouterr().err
    assert (tmp_path / name).read_text() == 'mine'


def test_a_file_that_is_not_a_video_keeps_the_earlier_results(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ('source.log', 'overlay.mp4', 'notes.md'):
        (tmp_path / name).write_text('# before')
    assert (
        demo.main(
            [
                '--video',
                str(tmp_path / 'notes.md'),
                '--out',
                str(tmp_path),
                '--weights',
                str(weights),
            ]
        )
        == 2
    )
    assert 'cannot read' in capsys.readouterr().err
    assert (tmp_path / 'overlay.mp4').read_text() == '# before'


@pytest.mark.full_size
def test_a_network_that_cannot_be_loaded_ends_the_demo_with_the_reason(
    ros: RosTest, image_folder: Path
) -> None:
    broken = ros.folder / 'broken.safetensors'
    broken.write_bytes(b'nothing')
    run = ros.start(
        '-m',
        'decomr_ros.demo',
        '--video',
        image_folder,
        '--weights',
        broken,
        '--out',
        ros.folder / 'out',
    )
    assert run.process.wait(60) == 1
    _, last = run.output.splitlines()  # the first says what is being played
    assert 'broken.safetensors' in last


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'frames_published': 0}, 'published nothing'),
        ({'frames_received': 0}, 'received no image'),
        ({'meshes': 0, 'meshes_published': 0}, 'the node published nothing'),
        ({'meshes': 9}, 'the bag holds 9'),
        ({'meshes': 11}, 'the bag holds 11'),
    ],
)
def test_a_run_without_frames_or_with_missing_messages_is_a_failure(
    change: dict[str, int], said: str
) -> None:
    good = {'frames_published': 10, 'frames_received': 10, 'meshes': 10, 'meshes_published': 10}
    assert demo.find_problems(good) == []
    (problem,) = demo.find_problems({**good, **change})
    assert said in problem


def test_the_default_video_is_debians_then_the_shipped_one_then_an_error_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    debian, carried = tmp_path / 'vtest.avi', tmp_path / 'clip.mp4'
    monkeypatch.setattr(demo_video, 'DEBIAN_VIDEO', debian)
    monkeypatch.setattr(demo_video, 'SHIPPED_VIDEO', carried)
    with pytest.raises(FileNotFoundError, match='apt-get install opencv-doc'):
        demo_video.find_video(None)
    carried.touch()
    assert demo_video.find_video(None) == carried
    debian.touch()
    assert demo_video.find_video(None) == debian
    assert demo_video.find_video('clip') == carried


def _report(folder: Path, **change: object) -> dict[str, object]:
    """The report of a run that kept up, with changes."""
    return {
        'frames_published': 100,
        'frames_received': 100,
        'frames_skipped_for_newer': 0,
        'frames_failed': 0,
        'meshes': 100,
        'fps': 10.0,
        'source_fps': 10.0,
        'people': 90,
        'people_max': 2,
        'first_mesh_s': 17.7,
        'loading_s': 17.2,
        'video': 'clip.mp4',
        'latency_ms': {'p50': 30.0, 'p99': 60.0},
        'bag': str(folder),
        'bag_messages': {},
        'overlay': 'overlay.mp4',
        **change,
    }


def test_the_summary_explains_a_slow_machine_and_the_remedy(tmp_path: Path) -> None:
    slow = summary_text(_report(tmp_path, meshes=19, fps=1.9))
    assert 'processed 1.9 of 10.0 images per second' in slow
    assert 'up to 0.5 s, faint and with their age' in slow and '--detector-stride 1' in slow
    assert 'managed' not in summary_text(_report(tmp_path, fps=9.8))


def test_the_summary_explains_the_first_seconds(tmp_path: Path) -> None:
    stamps = tmp_path / 'stamps.csv'
    assert loading_time_s(stamps, 0) is None
    stamps.write_text('0,18700000000\n1,18800000000\n')
    assert loading_time_s(stamps, 1_500_000_000) == 17.2
    assert (
        'the first 17.7 s after the start, of which 17.2 s to start the processes and load '
        'the networks'
    ) in summary_text(_report(tmp_path))
    assert 'load' not in summary_text(_report(tmp_path, loading_s=None))


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ''
