"""What `decomr bench --batch` measures and reports."""

from __future__ import annotations

import functools
import json
from dataclasses import asdict

import pytest

from decomr_core.cli import main
from decomr_core.commands import network_bench
from decomr_core.commands.network_bench import NetworkCase, bench_networks, bench_table, gflop_of
from decomr_core.estimation.loading import load_runtime
from decomr_core.runtimes import RUNTIMES


@pytest.fixture(scope='module', autouse=True)
def small_products():
    """Measures the peak of the CPU briefly: here any number will do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network_bench, 'PEAK_SIZE', 512)
        patch.setattr(network_bench, 'PEAK_REPEATS', 3)
        yield


def in_this_process(case, _):
    """The output of the process of a case, without starting it."""
    case = json.loads(json.dumps(asdict(case)))
    found = network_bench.measure(NetworkCase(**{**case, 'batches': tuple(case['batches'])}))
    return json.loads(json.dumps(found))


@pytest.fixture(scope='module')
def report():
    """One case of four starts its process: the second one of `small`, with its file."""
    apart = network_bench._measure_in_child
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            network_bench,
            '_measure_in_child',
            lambda case, cache: (
                in_this_process if case.weights == 'rt' or case.repeats == 1 else apart
            )(case, cache),
        )
        return bench_networks(['torch'], ['rt', 'small'], [1, 2], repeats=3)


@pytest.mark.full_size
def test_every_preset_and_batch_size_is_measured(report):
    rows = report['results']
    assert [(row['preset'], row['batch']) for row in rows] == [
        ('rt', 1),
        ('rt', 2),
        ('small', 1),
        ('small', 2),
    ]
    for row in rows:
        assert 0 < row['median_ms'] <= row['p90_ms'] <= row['p99_ms']
        assert row['people_per_s'] == pytest.approx(
            1e3 * row['batch'] / row['median_ms'], rel=1e-2, abs=0.06
        )
        assert row['first_result_cold_s'] > 0.05 and row['first_result_cached_s'] > 0.05
        assert 100 < row['memory_mib'] < 8000
        rate = row['gflop'] * row['people_per_s']
        assert row['share_of_peak'] == pytest.approx(rate / report['peak_gflops']['f32'], abs=0.01)
    assert report['peak_gflops']['f32'] > 1 and report['hardware']['cpu']
    assert report['versions'].keys() >= {'decomr', 'python', 'torch'}


@pytest.mark.full_size
def test_the_table_has_one_row_per_measurement_and_names_the_hardware(report):
    lines = bench_table(report).splitlines()
    assert lines[2].startswith('| `rt` | torch f32 | 1 |')
    assert len({line.count('|') for line in lines[:6]}) == 1
    assert report['hardware']['cpu'] in lines[-1] and report['date'] in lines[-1]


@pytest.mark.full_size
def test_the_operations_are_counted():
    """The paper's network needs 54.4 GFLOP in the authors' order of layers, `rt` a sixteenth."""
    assert gflop_of('paper') == pytest.approx(46.6, rel=0.01)
    assert gflop_of('small') < gflop_of('rt') < 3.5


@pytest.mark.full_size
def test_a_failed_measurement_is_reported_with_its_cause(monkeypatch):
    monkeypatch.setattr(network_bench, '_weights_of', lambda *_: 'nowhere.safetensors')
    with pytest.raises(RuntimeError, match='torch with nowhere.safetensors .*nowhere') as failed:
        bench_networks(['torch'], repeats=1)
    assert 'Error' not in str(failed.value)


@pytest.mark.parametrize('numbers', [{'repeats': 0}, {'batches': ()}, {'batches': (0,)}])
def test_invalid_numbers_are_rejected(numbers):
    with pytest.raises(ValueError, match='at least 1'):
        bench_networks(['torch'], **numbers)


def test_the_command_prints_one_json_object_last(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(
        network_bench,
        'bench_networks',
        lambda *given: (
            asked.append(given[:5])
            or {
                'results': [],
                'problems': [],
                'threads': 2,
                'peak_gflops': {'f32': 1.0},
                'versions': {},
                'date': 'today',
                'hardware': {'cpu': 'x', 'cpus': 2, 'load_before': 0.0},
            }
        ),
    )
    assert main(['bench', '--runtime', 'torch', '--batch', '1', '8', '--json']) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])['threads'] == 2
    assert asked == [(['torch'], ['rt'], [1, 8], 50, 0)]


@pytest.mark.full_size
def test_a_runtime_is_measured_in_the_requested_precision(trained, cache, cpu_export, monkeypatch):
    pytest.importorskip('openvino')
    monkeypatch.setattr(network_bench, '_measure_in_child', in_this_process)
    monkeypatch.setattr(
        network_bench,
        'load_runtime',
        functools.partial(load_runtime, body=trained['body'], uv_map=trained['uv_map']),
    )
    report = bench_networks(['openvino:f32'], [trained['weights']], repeats=1)
    (row,) = report['results']
    assert (row['runtime'], row['precision'], row['preset']) == ('openvino', 'f32', 'rt')
    assert report['versions'].keys() >= {'openvino'}


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['--runtime', 'nonsense'], ['torch', 'openvino', 'onnxruntime', 'tensorrt']),
        (
            ['--runtime', 'torch', 'nonsense:f32', '--batch', '1'],
            ['torch', 'openvino', 'onnxruntime'],
        ),
        (['--runtime', 'absent', '--preset', 'rt'], ['not installed (pip install absent)']),
    ],
)
def test_an_impossible_runtime_is_rejected_before_anything_is_measured(
    words, said, monkeypatch, capsys
):
    monkeypatch.setitem(RUNTIMES, 'absent', ('no_such_module', 'pip install absent'))
    for measured in ('peak_gflops', 'gflop_of', '_measure_in_child'):
        monkeypatch.setattr(network_bench, measured, lambda *_: pytest.fail('measured'))
    assert main(['bench', *words]) == 2
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert [word for word in said if word not in error] == []


def test_several_runtimes_require_a_benchmark_of_the_network_alone(capsys):
    assert main(['bench', '--runtime', 'torch', 'openvino']) == 2
    assert 'add --batch or --preset' in capsys.readouterr().err


def test_a_network_that_is_neither_preset_nor_file_is_rejected(capsys):
    assert main(['bench', '--preset', 'huge', '--runtime', 'torch']) == 2
    assert 'huge' in capsys.readouterr().err.splitlines()[-1]
