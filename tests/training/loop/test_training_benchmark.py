"""The benchmark of a training step runs as the documentation says it does."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from benchmarks import training as benchmark
from training.loop import trainer

PAGE = Path(__file__).parents[3] / 'docs' / 'training.md'
# Appended to what is documented; the last of two equal options holds.
SMALL = '--batch 2 --steps 1 --threads 1'


@pytest.mark.usefixtures('small_trainer')
def test_the_documented_command_runs_and_reports_every_part(monkeypatch, capsys):
    """In small: thin networks, two images a step, one step."""
    thin = {name: trainer.network_config(name) for name in benchmark.PRESETS}
    monkeypatch.setattr(benchmark, 'PRESETS', thin)
    (documented,) = re.findall(r'`python benchmarks/training\.py ([^`]*)`', PAGE.read_text())
    words = shlex.split(f'{documented} {SMALL}')
    monkeypatch.setattr('sys.argv', ['training.py', *words])
    benchmark.main()
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(report['seconds']) == {'data', 'forward', 'backward', 'optimizer'}
    assert report['preset'] == 'paper'
