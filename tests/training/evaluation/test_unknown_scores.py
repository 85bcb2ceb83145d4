"""Scores of a network without foreground: what cannot be measured is unknown, not perfect."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from decomr_core.base.config import network_config
from training.ablations import results as ablation_results
from training.ablations.results import AblationResults, Cell, Run
from training.evaluate import evaluate_network
from training.evaluation.report import report_table, summarize


def test_a_network_without_foreground_has_an_unknown_uv_error():
    """Where prediction and truth share no foreground there is nothing to compare u and v on."""
    report = {
        'images': 2,
        'dataset': 'synthetic',
        'weights': 'w',
        'runtime': 'torch',
        'box_scales': [{'box_scale': 1.0, 'uv_error': None}],
    }
    for errors, shown in (([np.nan, np.nan], 'unknown'), ([np.nan, 0.25], '0.250')):
        scores, intervals = summarize({'uv_error': np.array(errors)})
        assert scores['uv_error'] == (None if shown == 'unknown' else 0.25)
        text = report_table({**report, 'network': scores, 'intervals': intervals})
        assert re.search(rf'uv_error +{shown}', text)
    assert text.splitlines()[-1].endswith('unknown')


def test_the_scores_of_a_network_without_foreground_mark_the_uv_error_as_unknown():
    from decomr_core.base.structures import NetworkOutput
    from training.synthetic.synthetic_batch import SyntheticBatch

    count = 2
    vertices, joints = torch.randn(count, 20, 3), torch.randn(count, 24, 3)
    empty = torch.zeros(count)
    batch = SyntheticBatch(
        torch.zeros(count, 32, 32, 3, dtype=torch.uint8),
        torch.full((count, 3, 8, 8), 0.9),
        empty,
        vertices,
        joints,
        empty,
        empty,
        empty,
        empty,
    )

    class Blind(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.unused = torch.nn.Parameter(torch.zeros(1))
            self.config = network_config('paper')

        def forward(self, images):
            return NetworkOutput(torch.zeros(count, 3, 8, 8), vertices, joints, empty)

    scores = evaluate_network(Blind(), batch)
    assert scores['foreground_iou'] == 0 and scores['uv_error'] is None


def test_an_ablation_takes_scores_that_are_unknown_for_some_images(tmp_path, monkeypatch):
    run = Run(Cell('own', 'global'), 0)
    empty = {'config': {'seeds': [0]}, 'runs': {}, 'cells': {}}
    monkeypatch.setattr(ablation_results, '_empty_results', lambda _: empty)
    monkeypatch.setattr(AblationResults, 'grid', [run.cell])
    results = AblationResults(tmp_path, {})
    (tmp_path / run.name).mkdir()
    results.add(run, {'uv_error': np.array([np.nan, 0.25]), 'mpjpe_mm': np.ones(2)}, {})
    assert results.values['cells'][run.cell.name]['scores']['uv_error']['mean'] == 0.25


def test_any_other_score_that_is_not_a_number_stays_an_error():
    with pytest.raises(ValueError, match='not finite'):
        summarize({'mpjpe_mm': np.array([np.nan, 1])})
