"""Long commands report their progress; Ctrl-C keeps the finished measurements."""

from __future__ import annotations

import json

import pytest

from decomr_core import cli, runtimes
from decomr_core.commands import bench, network_bench


def found(case: network_bench.NetworkCase) -> dict:
    """The report of a benchmark process, without starting one."""
    return {
        'precision': 'f32',
        'first_result_s': 1.0,
        'memory_mib': 300.0,
        'batches': [
            {
                'batch': batch,
                'median_ms': 10.0 * batch,
                'p90_ms': 1.0,
                'p99_ms': 1.0,
                'people_per_s': 100.0,
            }
            for batch in case.batches
        ],
    }


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runtimes whose process was started; that of onnxruntime is interrupted by Ctrl-C."""
    started: list[str] = []

    def run(case: network_bench.NetworkCase, cache: object) -> dict:
        started.append(case.runtime)
        if case.runtime == 'onnxruntime':
            raise KeyboardInterrupt
        return found(case)

    monkeypatch.setattr(network_bench, '_measure_in_child', run)
    monkeypatch.setattr(network_bench, 'peak_gflops', lambda precision='f32': 100.0)
    monkeypatch.setattr(network_bench, 'gflop_of', lambda preset: 1.0)
    monkeypatch.setattr(network_bench, 'check_runtime', lambda name: None)
    monkeypatch.setattr(runtimes, 'available_runtimes', lambda: ['torch', 'onnxruntime'])
    return started


def test_each_runtime_is_reported_as_it_finishes(measured: list[str], capsys) -> None:
    assert cli.main(['bench', '--batch', '1', '2', '--runtime', 'torch', 'openvino']) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if 'ms' in line]
    assert told == [
        'bench: rt in torch f32: 10.00 ms for 1, 20.00 ms for 2 people',
        'bench: rt in openvino f32: 10.00 ms for 1, 20.00 ms for 2 people',
    ]
    assert measured == ['torch', 'torch', 'openvino', 'openvino']


def test_an_interrupted_measurement_shows_what_is_finished(measured: list[str], capsys) -> None:
    assert cli.main(['bench', '--batch', '1', '--json']) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith('| `rt` | torch f32 | 1 |') for line in lines)
    assert any('interrupted' in line and '1 of 2' in line for line in lines[:-1])
    report = json.loads(lines[-1])
    assert [row['runtime'] for row in report['results']] == ['torch']


def test_an_interruption_before_the_first_result_is_a_one_line_error(
    measured: list[str], capsys
) -> None:
    assert cli.main(['bench', '--batch', '1', '--runtime', 'onnxruntime', 'torch']) == 2
    assert capsys.readouterr().err.splitlines()[-1] == 'decomr bench: interrupted'


def test_given_boxes_are_not_reported_as_a_detector(capsys) -> None:
    """With given boxes, the 0.08 ms of `detect` are not the time of a detector."""
    report = {
        'runtime': 'torch',
        'precision': 'f32',
        'people': 1,
        'width': 64,
        'height': 64,
        'hardware': {'cpus': 2, 'cpu': 'x'},
        'images_per_s': 9.0,
        'median_ms': {'detect': 0.08, 'network': 7.0},
        'p99_ms': {'detect': 1, 'network': 8},
    }
    lines = bench.bench_text(report).splitlines()
    detect = next(line for line in lines if line.startswith('detect'))
    assert '0.08' not in detect
    assert 'boxes are given' in detect and '--detector person' in detect
    timed = {name: {**report[name], 'detector person': 30.0} for name in ('median_ms', 'p99_ms')}
    text = bench.bench_text({**report, **timed})
    assert 'boxes are given' not in text
    assert any(line.split()[:3] == ['detector', 'person', '30.00'] for line in text.splitlines())
    assert not any(line.startswith('detect ') for line in text.splitlines())


@pytest.mark.full_size
def test_uv_report_prints_its_duration_and_steps(tmp_path, tiny_body, tiny_uv_map, capsys) -> None:
    tiny_body.save(tmp_path / 'body.npz')
    tiny_uv_map.save(tmp_path / 'uv.npz')
    assert (
        cli.main(
            [
                'uv',
                'report',
                '--body',
                str(tmp_path / 'body.npz'),
                '--uv',
                str(tmp_path / 'uv.npz'),
            ]
        )
        == 0
    )
    told = capsys.readouterr().err
    assert 'some minutes' in told and '--sources' in told
    for step in ('counting edges', 'measuring paths', 'measuring round trips'):
        assert step in told
