"""The benchmark of the node: its statistics, its images, and that it leaves no process."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import node
from benchmarks.node import CLIP, Stage, main
from benchmarks.node_report import latency_report, people_report, soak_report, transport_report
from benchmarks.node_scene import PAUSE_FRAMES, PERSON_PX, crowd, people_entering_and_leaving

MS = 10**6
FRAMES = 30


def _heard(latency_ms: float, failed: int = 0) -> dict:
    """The records of a listener for a camera at 10 Hz with meshes after `latency_ms`."""
    stamps = 10**18 + np.arange(FRAMES) * 100 * MS
    published = stamps + int(latency_ms * MS)
    rows = np.stack([stamps, published, published + MS, published + 2 * MS], axis=1)
    values = {
        'frames_received': str(FRAMES + failed),
        'frames_skipped_for_newer': '0',
        'frames_failed': str(failed),
        'meshes_published': str(FRAMES),
        'people': '1',
    }
    return {'human_meshes': rows, 'diagnostics': [[0, {'people': '0'}], [1, values]]}


def _trace(heard: dict) -> dict:
    """Estimates of 6 ms, 5 in the network, that end 1 ms before the message is published."""
    ended = heard['human_meshes'][:, 1] - MS
    return {
        'started': ended - 6 * MS,
        'ended': ended,
        'stages': [{'crop': 1.0, 'network': 5.0}] * FRAMES,
    }


def test_the_parts_of_the_latency_add_up_to_the_time_outside_the_network() -> None:
    heard = _heard(12, failed=2)
    report = latency_report({'frames_published': FRAMES + 3}, heard, _trace(heard))
    assert report['stamp_to_publish_ms']['p50'] == 12
    assert report['outside_network_ms'] == {'p50': 7, 'p90': 7, 'p99': 7}
    assert report['network_ms']['p50'] == 5
    assert sum(part['p50'] for part in report['where_ms'].values()) == 7
    assert report['publish_to_subscriber_ms']['p50'] == 1
    assert report['frames_lost_in_transport'] == 1
    assert report['frames_failed'] == 2
    assert report['frames_unexplained'] == 0
    assert transport_report(heard['human_meshes'])['to_callback_ms']['p50'] == 14


def test_a_person_without_an_id_is_detected() -> None:
    ids = [[0, 1]] * 20 + [[0, 0], [0], [0, -1]]
    report = people_report({'ids': ids}, 2)
    assert report['messages'] - report['with_everybody'] == 3
    assert report['different_ids'] == 3


def test_growing_memory_and_latency_are_detected() -> None:
    heard = _heard(12)
    heard['human_meshes'][:, 1] += np.arange(FRAMES) * MS  # 1 ms more each 0.1 s
    samples = [
        {
            'seconds': second,
            'memory_mib': 400.0 + second,
            'own_memory_mib': 300.0,
            'threads': 9 + second // 60,
            'files': 20,
        }
        for second in range(0, 101, 5)
    ]
    report = soak_report({'frames_published': FRAMES}, heard, samples)
    assert report['memory_mib']['spread_percent'] == pytest.approx(100 * 75 / 425, abs=0.01)
    assert report['memory_mib']['per_hour'] == 3600
    assert report['own_memory_mib']['spread_percent'] == 0
    assert report['threads'] == {'first': 9, 'last': 10, 'most': 10}


def test_the_people_of_the_crowd_do_not_overlap() -> None:
    image, boxes = crowd(20, CLIP)
    assert image.shape == (720, 1280, 3)
    np.testing.assert_allclose(boxes[:, 3] - boxes[:, 1], PERSON_PX, atol=1)
    assert (boxes[:, :2] > -1).all()
    assert (boxes[:, 2:] < (1280, 720)).all()
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    overlaps = np.maximum(high - low, 0).prod(2)
    assert not overlaps[~np.eye(20, dtype=bool)].any()
    for box in boxes.astype(int):  # somebody stands there, on more than the gray around
        assert image[box[1] : box[3], max(0, box[0]) : box[2]].std() > 10
    with pytest.raises(ValueError, match='expected 1 to 20'):
        crowd(21, CLIP)


def test_there_are_no_people_between_two_passes_of_the_clip() -> None:
    frames = list(people_entering_and_leaving(CLIP))
    assert all(frame.std() == 0 for frame in frames[-PAUSE_FRAMES:])
    assert frames[0].std() > 0


@pytest.mark.full_size
def test_a_node_that_does_not_start_ends_the_benchmark_with_a_message_and_leaves_no_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'soak.json'
    started = time.monotonic()
    assert main(['soak', '--seconds', '5', '--runtime', 'quantum', '--out', str(out)]) == 1
    assert time.monotonic() - started < 30
    said = capsys.readouterr().err
    assert 'quantum' in said
    assert said.count('\n') == 1
    assert not out.exists()
    assert not _children()


def test_a_report_contains_the_processor_time_taken_by_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter([(1000, 10), (3000, 60)])
    monkeypatch.setattr(node, '_processor_time', lambda: next(ticks))
    monkeypatch.setattr(node, 'measure_soak', lambda options: {'samples': []})
    assert main(['soak', '--out', str(tmp_path / 'soak.json')]) == 0
    report = json.loads((tmp_path / 'soak.json').read_text())
    assert report['stolen_percent'] == 2.5
    assert report['versions']['rclpy']


@pytest.mark.full_size
def test_images_alone_arrive_at_a_listener(domain: int) -> None:
    options = argparse.Namespace(rate=50.0, runtime='torch', threads=1)
    with Stage(options) as stage:
        stage.show(np.zeros((1, 48, 64, 3), np.uint8))
        published = stage.run(40, ('image',), with_node=False)
        images = stage.received('image')
    assert published['frames_published'] == 40
    assert len(images) == 40
    assert (np.diff(images[:, 0]) > 0).all()
    assert (np.diff(images, axis=1) >= 0).all()  # stamped, published, received, seen
    assert not _children()


def test_a_time_of_zero_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(['soak', '--seconds', '0', '--out', 'soak.json'])
    assert ended.value.code == 2
    assert 'above 0' in capsys.readouterr().err


def _children() -> list[str]:
    """Programs of the benchmark that were started here and still run."""
    tasks = Path('/proc/self/task')
    numbers = ' '.join((task / 'children').read_text() for task in tasks.iterdir()).split()
    commands = [Path(f'/proc/{number}/cmdline').read_text() for number in numbers]
    return [
        json.dumps(command)
        for command in commands
        if 'benchmarks.node' in command or 'decomr_node' in command
    ]
