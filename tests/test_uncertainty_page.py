"""The page on uncertainty shows the numbers of its JSON file, and those the constants in use."""

from __future__ import annotations

import json

import pytest

from benchmarks.proximity.page import PAGE, RESULTS, page_with_tables
from decomr_core.estimation import uncertainty


def test_the_tables_are_those_of_the_results() -> None:
    results = json.loads(RESULTS.read_text(encoding='utf-8'))
    page = PAGE.read_text(encoding='utf-8')
    assert page_with_tables(page, results) == page


def test_the_results_are_those_of_the_constants_in_use() -> None:
    results = json.loads(RESULTS.read_text(encoding='utf-8'))
    for name, value in results['constants'].items():
        used = getattr(uncertainty, name)
        assert (list(used) if isinstance(used, tuple) else used) == value, name


def test_the_intervals_contain_the_truth_as_often_as_they_say() -> None:
    distances = json.loads(RESULTS.read_text(encoding='utf-8'))['distances']
    for groups in distances.values():
        assert 0.93 <= groups['all']['covered'] <= 0.97


def test_a_page_without_a_place_for_a_table_is_rejected() -> None:
    results = json.loads(RESULTS.read_text(encoding='utf-8'))
    with pytest.raises(ValueError, match='no section between <!-- distances'):
        page_with_tables('# Another page', results)
