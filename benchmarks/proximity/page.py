"""Regenerates the tables of docs/uncertainty.md: python -m benchmarks.proximity.page."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

__all__ = ['PAGE', 'RESULTS', 'page_with_tables']

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE, RESULTS = ROOT / 'docs/uncertainty.md', ROOT / 'benchmarks/results/proximity.json'
MARKS = '<!-- {0}: made by benchmarks/proximity/page.py -->', '<!-- end of {0} -->'


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser('python -m benchmarks.proximity.page', description=__doc__)
    parser.add_argument('--page', type=Path, default=PAGE)
    page = parser.parse_args().page
    results = json.loads(RESULTS.read_text(encoding='utf-8'))
    page.write_text(page_with_tables(page.read_text(encoding='utf-8'), results), encoding='utf-8')
    return 0


def page_with_tables(page: str, results: dict[str, Any]) -> str:
    """The text of the page with the tables of these results."""
    weights = f'Weights with SHA-256 `{results["weights_sha256"][:16]}...`, {results["date"]}.'
    for name, table in (
        ('distances', distance_table(results['distances'])),
        ('approach', approach_table(results['approach'])),
    ):
        first, last = (mark.format(name) for mark in MARKS)
        pattern = re.compile(re.escape(first) + '.*?' + re.escape(last), re.S)
        if not pattern.search(page):
            raise ValueError(f'the page has no section between {first} and {last}')
        text = f'{first}\n\n{table}\n\n{weights}\n\n{last}'
        page = pattern.sub(lambda _, text=text: text, page)  # type: ignore[misc]
    return page


def distance_table(distances: dict[str, Any]) -> str:
    """Coverage, median error and median width by group, with and without depth."""
    before, after = distances['without_depth'], distances['with_depth']
    lines = [
        '| | covered with depth | median error, m | width, m | without depth | median error, m '
        '| width, m |',
        '|---|--:|--:|--:|--:|--:|--:|',
    ]
    for name in before:
        cells = [
            text
            for row in (after[name], before[name])
            for text in (
                f'{row["covered"]:.1%}'.replace('%', ' %'),
                f'{row["median_error"]:.3f}',
                f'{row["median_width"]:.2f}',
            )
        ]
        lines.append(f'| {name} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def approach_table(rows: list[dict[str, Any]]) -> str:
    """Median and 95th percentile of the errors of all ways, by source and method."""
    methods = [name for name, value in rows[0].items() if isinstance(value, dict)]
    lines = [
        '| meshes | images per s | ' + ' | '.join(methods) + ' |',
        '|---|--:|' + '--:|' * len(methods),
    ]
    for source in dict.fromkeys(row['source'] for row in rows):
        for row in rows:
            if row['source'] == source and row['way'] == 'all':
                errors = (f'{row[m]["error_50"]:.2f}, {row[m]["error_95"]:.2f}' for m in methods)
                name = source.replace('_', ' ')
                lines.append(f'| {name} | {row["images_per_s"]} | {" | ".join(errors)} |')
    return '\n'.join(lines)


if __name__ == '__main__':
    raise SystemExit(main())
