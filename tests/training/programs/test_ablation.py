"""The ablation in miniature: the whole grid, interrupted, resumed, reported."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from decomr_core.base.config import LNET_INPUTS
from decomr_core.networks.checkpoint import read_metadata
from training.ablation import Ablation, AblationConfig, main
from training.ablations import report as ablation_report
from training.ablations.report import find_comparison, finding, plot_ablation, table
from training.ablations.results import AblationResults, Cell, Run, hardware, mean_with_interval
from training.evaluation import synthetic_scores
from training.loop import trainer, training_data
from training.loop.train_config import TrainConfig
from training.loop.trainer import Trainer
from training.synthetic.synthetic_config import SyntheticConfig

SMOKE = Path(__file__).parents[3] / 'config' / 'training' / 'ablation_smoke.yaml'
NAMES = [
    f'{label}_{lnet_input}'
    for label in ('conventional', 'continuous')
    for lnet_input in LNET_INPUTS
]
CNET_STEPS, STEPS = 2, 4


@pytest.fixture(scope='module', autouse=True)
def _small_body(tiny_body, tiny_uv_map, tiny_two_chart_map):
    """The trainer takes the small body, and its map in two charts as the conventional one.

    The picture after every cell is left blank, and the best constant is looked for shortly, as
    neither is looked at.
    """
    maps = {'builtin': tiny_uv_map, 'makehuman': tiny_two_chart_map}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_data, 'load_body', lambda _: tiny_body)
        patch.setattr(trainer, 'load_uv_map', lambda name, body: maps[name])
        patch.setattr(ablation_report, 'plot_ablation', lambda _: Figure())
        patch.setattr(synthetic_scores, 'CONSTANT_STEPS', 5)
        yield


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """The folder of a whole grid."""
    out = tmp_path_factory.mktemp('ablation')
    assert main(['--config', str(SMOKE), '--out', str(out)]) == 0
    return out


def run(out, *more):
    return main(['--config', str(SMOKE), '--out', str(out), *more])


def example(cells, comparisons=(), inputs=LNET_INPUTS):
    """Results as if cells of these PA-MPJPE had been run; MPJPE is twice that."""
    config = {
        'uv_maps': {'conventional': 'makehuman', 'continuous': 'builtin'},
        'lnet_inputs': list(inputs),
        'images': 9,
        'seeds': [3],
        'train': {
            'stages': {'cnet_steps': 10, 'end_to_end_steps': 20},
            'batch_size': 4,
            'preset': 'rt',
            'reuse': 1,
        },
    }
    results = AblationResults(Path('nowhere'), config)
    for (label, lnet_input), value in cells.items():
        scores = {
            name: {
                'mean': factor * value,
                'low': factor * value - 2,
                'high': factor * value + 3,
                'by_seed': [factor * value],
            }
            for name, factor in (
                ('pa_mpjpe_mm', 1),
                ('mpjpe_mm', 2),
                ('vertex_error_mm', 3),
                ('foreground_iou', 0.001),
            )
        }
        cell = Cell(label, lnet_input)
        results.values['cells'][cell.name] = {**vars(cell), 'scores': scores}
    results.values['comparisons'] = list(comparisons)
    return results


@pytest.mark.full_size
def test_the_whole_grid_is_trained_and_scored(finished, tiny_uv_map, tiny_two_chart_map):
    values = json.loads((finished / 'results.json').read_text())
    assert list(values['cells']) == NAMES
    assert list(values['runs']) == [f'{name}_seed0' for name in NAMES]
    for name, cell in values['runs'].items():
        training = read_metadata(finished / name / 'network.safetensors')
        assert training['config']['lnet_input'] == cell['lnet_input']
        is_continuous = cell['uv_map'] == 'continuous'
        assert (
            training['uv_hash']
            == cell['uv_hash']
            == (tiny_uv_map if is_continuous else tiny_two_chart_map).hash
        )
        assert cell['steps'] == CNET_STEPS + training['training']['steps'] == STEPS
        run = json.loads((finished / name / 'config.json').read_text())
        begun_with = Path(run['train']['init'])
        assert begun_with == finished / f'{cell["uv_map"]}_cnet_seed0' / 'network.safetensors'
        for metric, score in values['cells'][name.removesuffix('_seed0')]['scores'].items():
            if metric != 'uv_error' or score['mean'] is not None:  # untrained: it sees nobody
                assert score['low'] <= score['mean'] <= score['high']
    parameters = {cell['lnet_input']: cell['parameters'] for cell in values['runs'].values()}
    assert max(parameters, key=parameters.get) == 'global+local'


@pytest.mark.full_size
def test_the_results_record_how_they_were_made(finished):
    values = json.loads((finished / 'results.json').read_text())
    assert values['images'] == 4
    assert values['budget'] == {
        'cnet_steps': 2,
        'end_to_end_steps': 2,
        'batch_size': 2,
        'training_images': 8,
        'reuse': 1,
    }
    assert re.match(r'\d{4}-\d\d-\d\dT', values['date'])
    assert values['best_constant'].keys() == {'pa_mpjpe_mm', 'mpjpe_mm'}
    for cell in values['runs'].values():
        assert cell['hardware']['cpu'] and cell['hardware']['processes'] == 1
        assert cell['versions'].keys() == {'decomr', 'python', 'torch', 'numpy'}


@pytest.mark.full_size
def test_any_two_cells_are_compared_image_by_image(finished):
    results = AblationResults(finished)
    assert len(results.values['comparisons']) == len(NAMES) * (len(NAMES) - 1) // 2
    cell, minus = Cell('continuous', 'local'), Cell('conventional', 'local')
    assert find_comparison(results, cell, cell, 'mpjpe_mm') is None
    found = find_comparison(results, cell, minus, 'mpjpe_mm')
    means = [
        results.values['cells'][one.name]['scores']['mpjpe_mm']['mean'] for one in (cell, minus)
    ]
    assert found['mean'] == pytest.approx(means[0] - means[1], abs=1e-2)
    turned = find_comparison(results, minus, cell, 'mpjpe_mm')
    assert turned == {
        'mean': -found['mean'],
        'low': -found['high'],
        'high': -found['low'],
        'by_seed': [-found['mean']],
    }


@pytest.mark.full_size
def test_a_finished_grid_is_not_trained_again(finished, monkeypatch):
    def refuse(*_):
        raise AssertionError('a finished cell was trained again')

    before = (finished / 'results.json').read_bytes()
    monkeypatch.setattr(Trainer, '__init__', refuse)
    assert run(finished) == 0
    assert (finished / 'results.json').read_bytes() == before


@pytest.mark.full_size
def test_a_sigterm_keeps_the_running_cell_and_the_same_command_resumes(
    tmp_path, monkeypatch, capsys
):
    steps, optimize = [], Trainer._optimize

    def step(trainer, *arguments):
        steps.append((trainer.out.name, trainer.step))
        if len(steps) == STEPS + 1:  # in the middle of the second cell
            os.kill(os.getpid(), signal.SIGTERM)
        return optimize(trainer, *arguments)

    monkeypatch.setattr(Trainer, '_optimize', step)
    chosen = ('--cells', 'continuous_global', 'continuous_local')
    assert run(tmp_path, *chosen) == 0
    assert 'run the same command to continue' in capsys.readouterr().out
    assert list(json.loads((tmp_path / 'results.json').read_text())['cells']) == [
        'continuous_global'
    ]
    assert (tmp_path / 'continuous_local_seed0' / 'checkpoint.pt').is_file()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert run(tmp_path, *chosen) == 0
    assert steps == [
        (f'continuous_{run}_seed0', step) for run in ('cnet', 'global', 'local') for step in (0, 1)
    ]
    assert list(json.loads((tmp_path / 'results.json').read_text())['cells']) == [
        'continuous_global',
        'continuous_local',
    ]


@pytest.mark.full_size
def test_stage_one_runs_once_per_uv_map_and_is_resumed_after_a_stop(tmp_path, monkeypatch):
    steps, optimize = [], Trainer._optimize

    def step(trainer, *arguments):
        steps.append((trainer.out.name, trainer.step))
        if len(steps) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return optimize(trainer, *arguments)

    monkeypatch.setattr(Trainer, '_optimize', step)
    assert run(tmp_path, '--cells', 'continuous_global') == 0
    assert not (tmp_path / 'continuous_global_seed0').exists()
    assert run(tmp_path, '--cells', 'continuous_global') == 0
    assert run(tmp_path, '--cells', 'continuous_local') == 0
    assert [name for name, _ in steps] == [
        f'continuous_{part}_seed0' for part in ('cnet', 'global', 'local') for _ in range(2)
    ]


def test_two_commands_may_share_a_folder(tmp_path):
    config = example({}).values['config']
    first, second = (AblationResults(tmp_path, config) for _ in range(2))
    for results, label in ((first, 'conventional'), (second, 'continuous')):
        run = Run(Cell(label, 'local'), 3)
        (tmp_path / run.name).mkdir()
        scores = {'pa_mpjpe_mm': np.arange(9.0), 'mpjpe_mm': np.arange(9.0)}
        results.add(run, scores, {})
    values = AblationResults(tmp_path).values
    assert list(values['cells']) == ['conventional_local', 'continuous_local']
    assert len(values['comparisons']) == 1


@pytest.mark.full_size
def test_lost_results_are_recomputed_without_training(tmp_path, monkeypatch):
    assert run(tmp_path, '--cells', 'continuous_global') == 0
    before = json.loads((tmp_path / 'results.json').read_text())['cells']
    (tmp_path / 'results.json').unlink()
    monkeypatch.setattr(Trainer, '_optimize', None)
    assert run(tmp_path, '--cells', 'continuous_global') == 0
    after = json.loads((tmp_path / 'results.json').read_text())['cells']
    assert after['continuous_global']['scores'] == before['continuous_global']['scores']


def _add(results, cell, seed, pa_mpjpe):
    run = Run(cell, seed)
    (results.folder / run.name).mkdir()
    scores = np.asarray(pa_mpjpe, np.float64)
    unknown = np.where(scores > 50, np.nan, 0.5)  # uv_error of people whom nobody sees
    known = dict.fromkeys(('pa_mpjpe_mm', 'mpjpe_mm', 'vertex_error_mm', 'foreground_iou'), scores)
    results.add(run, {**known, 'uv_error': unknown}, {'hardware': hardware()})


def test_a_cell_has_the_mean_of_its_seeds_and_the_mean_of_each(tmp_path):
    config = example({}).values['config'] | {'seeds': [3, 5]}
    results = AblationResults(tmp_path, config)
    first, second = Cell('conventional', 'local'), Cell('continuous', 'local')
    assert [run.name for run in results.runs][:2] == [
        'conventional_global_seed3',
        'conventional_local_seed3',
    ]
    _add(results, first, 3, [10, 20, 30])
    _add(results, first, 5, [40, 50, 60])
    _add(results, second, 3, [9, 19, 29])
    scores = results.values['cells'][first.name]['scores']
    assert scores['pa_mpjpe_mm']['mean'] == 35 and scores['pa_mpjpe_mm']['by_seed'] == [20, 50]
    assert scores['uv_error']['by_seed'] == [0.5, 0.5] and scores['uv_error']['mean'] == 0.5
    # Of the seed that both have.
    found = find_comparison(results, second, first, 'pa_mpjpe_mm')
    assert (found['mean'], found['by_seed']) == (-1, [-1])
    _add(results, second, 5, [43, 53, 63])
    found = find_comparison(results, second, first, 'pa_mpjpe_mm')
    assert (found['mean'], found['by_seed']) == (1, [-1, 3])
    # Student's interval of two values: 12.706 times half of their distance.
    assert found['high'] - 1 == pytest.approx(12.706 * 2, rel=1e-4)
    text = table(results)
    assert '| +1.0 [-24.4, +26.4]; -1.0, +3.0 |' in text and 'seeds 3, 5' in text


def test_several_seeds_need_no_scores_of_single_images(tmp_path):
    config = example({}).values['config'] | {'seeds': [3, 5]}
    results = AblationResults(tmp_path, config)
    first, second = Cell('conventional', 'local'), Cell('continuous', 'local')
    for cell, shift in ((first, 0), (second, 2)):
        for seed in (3, 5):
            _add(results, cell, seed, np.array([10, 20, 30]) + shift + seed)
    before = json.loads(results.path.read_text())
    for path in tmp_path.rglob('scores.npz'):
        path.unlink()
    again = AblationResults(tmp_path)
    again.compare()
    assert again.values['cells'] == before['cells']
    assert again.values['comparisons'] == before['comparisons']
    assert find_comparison(again, second, first, 'mpjpe_mm')['mean'] == 2


def test_seeds_that_disagree_give_no_clear_difference(tmp_path):
    results = AblationResults(tmp_path, example({}).values['config'] | {'seeds': [3, 5, 8]})
    first, second = Cell('conventional', 'global+local'), Cell('continuous', 'global+local')
    for seed, gap in ((3, -6), (5, 2), (8, -3)):
        _add(results, first, seed, [10, 20, 30])
        _add(results, second, seed, np.array([10, 20, 30]) + gap)
    assert finding(results).startswith('No clear')
    for seed, gap in ((3, -6), (5, -5), (8, -6)):
        (tmp_path / Run(second, seed).name).rename(tmp_path / f'old{seed}')
        _add(results, second, seed, np.array([10, 20, 30]) + gap)
    assert finding(results).startswith('PA-MPJPE is 5.7 mm lower')


@pytest.mark.parametrize('seeds', [(), (1, 1), (-1,), (1000,)])
def test_seeds_are_different_numbers_below_those_of_stage_two(seeds):
    with pytest.raises(ValueError, match='seeds is'):
        AblationConfig(seeds=seeds)


@pytest.mark.full_size
def test_a_cell_without_single_scores_is_not_compared(tmp_path, caplog):
    assert run(tmp_path, '--cells', 'continuous_global') == 0
    (tmp_path / 'continuous_global_seed0' / 'scores.npz').write_bytes(b'PK\x03\x04 and no more')
    assert run(tmp_path, '--cells', 'continuous_local') == 0
    assert 'the run does not count' in caplog.text
    assert AblationResults(tmp_path).values['comparisons'] == []


@pytest.mark.full_size
def test_weights_of_another_lnet_input_are_rejected_for_a_run(finished, tmp_path):
    config = TrainConfig(
        preset='small',
        lnet_input='local',
        threads=1,
        data=SyntheticConfig(size=256),
        init=str(finished / 'continuous_global_seed0' / 'network.safetensors'),
    )
    with pytest.raises(ValueError, match="it has lnet_input 'global' instead of 'local'"):
        Trainer(config, tmp_path)


def test_a_cell_that_is_not_in_the_grid_is_rejected_with_the_known_ones(tmp_path, capsys):
    assert run(tmp_path, '--cells', 'continuous_depth') == 2
    error = capsys.readouterr().err
    assert 'no cells continuous_depth' in error and 'conventional_raw+global' in error
    assert error.count('\n') == 1


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{"format_version": 3, "cel', 'is damaged'),
        ('[1, 2]', 'contains a list'),
        ('{"format_version": 3}', 'lacks config, budget'),
    ],
)
@pytest.mark.parametrize('more', [(), ('--report',)])
def test_a_broken_results_file_is_a_clear_error(tmp_path, capsys, content, message, more):
    (tmp_path / 'results.json').write_text(content)
    assert run(tmp_path, *more) == 2
    error = capsys.readouterr().err
    assert message in error and 'move it away and run again' in error
    assert error.count('\n') == 1


@pytest.mark.full_size
def test_results_of_another_format_or_with_half_a_cell_are_rejected(finished, tmp_path):
    values = json.loads((finished / 'results.json').read_text())
    for change, message in (
        (lambda v: v.update(format_version=9), 'format version 9'),
        (lambda v: v.update(cells=[]), 'cells are a list'),
        (lambda v: v['cells'][NAMES[1]].pop('scores'), f'scores of {NAMES[1]}'),
    ):
        changed = json.loads(json.dumps(values))
        change(changed)
        (tmp_path / 'results.json').write_text(json.dumps(changed))
        with pytest.raises(ValueError, match=re.escape(message)):
            AblationResults(tmp_path)


@pytest.mark.full_size
@pytest.mark.parametrize(
    ('more', 'message'),
    [
        (('--ablation.train.seed', '5'), 'train.seed differ'),
        (('--ablation.images', '5'), 'images differ'),
        (('--ablation.uv_maps.continuous', 'other'), 'uv_maps.continuous differ'),
    ],
)
def test_results_of_another_config_are_not_mixed(finished, capsys, more, message):
    assert run(finished, *more) == 2
    assert message in capsys.readouterr().err


@pytest.mark.full_size
def test_the_pace_may_change_between_two_starts(finished):
    assert run(finished, '--ablation.train.save_every', '77') == 0


@pytest.mark.full_size
def test_the_report_can_be_redrawn_alone(finished, capsys, monkeypatch):
    monkeypatch.setattr(ablation_report, 'plot_ablation', plot_ablation)
    (finished / 'ablation.md').unlink()
    (finished / 'ablation.png').unlink()
    assert main(['--report', '--out', str(finished)]) == 0
    assert '| conventional | raw pixels + global |' in capsys.readouterr().out
    assert (finished / 'ablation.md').is_file()
    picture = cv2.imread(str(finished / 'ablation.png'))
    assert picture.shape[1] > 1000 and picture.std() > 10


def test_a_report_without_results_names_the_command(tmp_path, capsys):
    assert main(['--report', '--out', str(tmp_path)]) == 2
    assert 'run the ablation first: python -m training.ablation' in capsys.readouterr().err


@pytest.mark.full_size
def test_the_table_has_the_order_of_the_paper_and_is_markdown(finished):
    text = (finished / 'ablation.md').read_text()
    block = [line for line in text.splitlines() if line.startswith('|')][: 2 + len(NAMES)]
    cells = [[part.strip() for part in line.strip('|').split('|')] for line in block]
    assert {len(row) for row in cells} == {8}
    assert cells[2][7] == '51.9 / 49.1' and cells[-1][7] == '42.2 / 39.3'
    assert set(cells[1]) == {'---'}
    assert [tuple(row[:2]) for row in cells[2:]] == [
        (label, name)
        for label in ('conventional', 'continuous')
        for name in ('global', 'local', 'raw pixels + global', 'global + local')
    ]
    assert all(re.fullmatch(r'\d+\.\d \[\d+\.\d, \d+\.\d\]', row[2]) for row in cells[2:])
    assert 'best constant prediction' in text and 'Table 5' in text


def test_cells_that_were_not_run_are_marked_in_table_and_picture():
    results = example({('continuous', 'local'): 90.0})
    assert '| conventional | global | not run |' in table(results)
    assert '| continuous | local | 90.0 [88.0, 93.0] | 180.0 [178.0, 183.0] |' in table(results)
    assert '| 90.0 | 44.6 / 42.3 |' in table(results)
    assert finding(results) == '1 of 8 cells are done'
    axis = plot_ablation(results).axes[0]
    assert len(axis.patches) == 1
    assert axis.get_title() == 'PA-MPJPE is lowest with local on the continuous map: 90.0 mm'
    assert plot_ablation(example({})).axes[0].get_title() == 'nothing is done yet'


@pytest.mark.parametrize(
    ('low', 'high', 'expected'),
    [
        (-7.0, -3.0, 'PA-MPJPE is 5.0 mm lower on the continuous than on the conventional'),
        (-7.0, 0.5, 'No clear difference between the conventional and the continuous UV map'),
    ],
)
def test_the_finding_follows_the_interval(low, high, expected):
    whole = [('conventional', 'global+local'), ('continuous', 'global+local')]
    difference = {'mean': -5.0, 'low': low, 'high': high, 'by_seed': [-5.0]}
    results = example(
        {whole[0]: 100.0, whole[1]: 95.0},
        [
            {
                'cell': 'continuous_global+local',
                'minus': 'conventional_global+local',
                'pa_mpjpe_mm': difference,
                'mpjpe_mm': difference,
            }
        ],
    )
    assert finding(results).startswith(expected)
    assert plot_ablation(results)._suptitle.get_text().split() == finding(results).split()
    assert '| global + local: continuous minus conventional map | -5.0 [' in table(results)


@pytest.mark.parametrize(
    ('high', 'expected'),
    [
        (-0.5, 'PA-MPJPE is lowest with local on the continuous map: 99.0 mm'),
        (
            0.5,
            'PA-MPJPE is lowest with local on the continuous map: 99.0 mm\n'
            'not clearly below global on the continuous map',
        ),
    ],
)
def test_the_best_cell_is_named_with_its_uncertainty(high, expected):
    difference = {'mean': -1.0, 'low': -3.0, 'high': high, 'by_seed': [-1.0]}
    results = example(
        {('continuous', 'global'): 100.0, ('continuous', 'local'): 99.0},
        [
            {
                'cell': 'continuous_local',
                'minus': 'continuous_global',
                'pa_mpjpe_mm': difference,
                'mpjpe_mm': difference,
            }
        ],
    )
    assert plot_ablation(results).axes[0].get_title() == expected


def test_bars_are_the_means_and_their_whiskers_the_intervals():
    results = example(
        {
            ('conventional', 'global'): 100.0,
            ('continuous', 'global'): 90.0,
            ('continuous', 'local'): 95.0,
        }
    )
    axis = plot_ablation(results).axes[1]
    assert sorted(patch.get_height() for patch in axis.patches) == [180, 190, 200]
    whiskers = np.concatenate(
        [
            bar.errorbar.lines[2][0].get_segments()
            for bar in axis.containers
            if hasattr(bar, 'errorbar')
        ]
    )
    assert {tuple(segment[:, 1]) for segment in whiskers} == {(178, 183), (188, 193), (198, 203)}
    assert 'mm' in axis.get_ylabel() and axis.get_ylim()[0] == 0


def test_the_mean_with_interval_is_that_of_the_mean():
    values = np.random.default_rng(1).normal(100, 20, 400)
    found = mean_with_interval(values)
    assert found['mean'] == pytest.approx(values.mean(), abs=1e-3)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert found['high'] - found['mean'] == pytest.approx(half, rel=0.1)
    assert found['mean'] - found['low'] == pytest.approx(half, rel=0.1)
    assert mean_with_interval(np.full(5, 3.0)) == {'mean': 3, 'low': 3, 'high': 3}


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'lnet_inputs': ('global', 'depth')}, r'take some of \[.global.'),
        ({'lnet_inputs': ()}, 'lnet_inputs is'),
        ({'uv_maps': {}}, 'uv_maps is empty'),
        ({'uv_maps': {'a/b': 'builtin'}}, 'letters, digits'),
        ({'images': 0}, 'images is 0'),
    ],
)
def test_an_invalid_grid_is_rejected(changes, message):
    with pytest.raises(ValueError, match=message):
        AblationConfig(**changes)


def test_a_stop_between_two_cells_ends_before_the_next(tmp_path):
    ablation = Ablation(AblationConfig(), tmp_path)
    ablation.request_stop()
    assert ablation.run() is False
    assert list(tmp_path.iterdir()) == []
