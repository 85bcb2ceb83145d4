"""The page on performance shows the numbers of its JSON file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import performance

ROOT = Path(__file__).resolve().parent.parent


def test_the_tables_are_those_of_the_results() -> None:
    results = json.loads(performance.RESULTS.read_text(encoding='utf-8'))
    page = (ROOT / 'docs/performance.md').read_text(encoding='utf-8')
    for name, text in (
        ('networks', performance.networks_text(results)),
        ('stages', performance.stages_text(results)),
    ):
        assert performance.replaced(page, name, text) == page


def test_a_page_without_a_place_for_a_table_is_rejected() -> None:
    with pytest.raises(SystemExit, match='no section between <!-- networks'):
        performance.replaced('# Another page', 'networks', 'text')


def test_no_requested_measurement_is_a_usage_error(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        performance.main([])
    assert 'give --out or --page' in capsys.readouterr().err
