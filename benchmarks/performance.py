"""Speed of the networks in every runtime, and of each stage around them.

    python -m benchmarks.performance --out benchmarks/results/performance.json
    python -m benchmarks.performance --page docs/performance.md

The first command measures, which takes minutes and needs an otherwise idle machine, and writes
JSON. The second one regenerates the tables of the page from that file.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.official_structure import OfficialStructure
from decomr_core.commands.bench import bench_estimator
from decomr_core.commands.network_bench import bench_networks, bench_table, latency_row, untrained
from decomr_core.estimation.loading import load_runtime
from decomr_core.measures.parity import parity_crops
from decomr_core.networks.checkpoint import load_with_topology
from decomr_core.runtimes import DEFAULT_RUNTIME, available_runtimes

RESULTS = Path(__file__).parent / 'results' / 'performance.json'
BATCHES = (1, 4, 8)
PRESETS = ('rt', 'paper')
REPEATS = {'rt': 100, 'paper': 20}
# The default runtime with its default precision, then this and the other runtimes in float32.
RUNTIMES = ('openvino', 'openvino:f32', 'onnxruntime', 'torch')
MARKS = '<!-- {0}: made by benchmarks/performance.py -->', '<!-- end of {0} -->'
OFFICIAL = 'official structure'


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.performance',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--out', type=Path, help='measure, and write JSON to this file')
    parser.add_argument(
        '--presets', nargs='+', choices=PRESETS, default=PRESETS, help='networks to measure'
    )
    parser.add_argument(
        '--paper',
        metavar='FILE',
        help='trained weights of the preset paper; '
        'random weights fail the parity check, so half precision is not used',
    )
    parser.add_argument('--page', type=Path, help='page whose tables are regenerated')
    parser.add_argument(
        '--results', type=Path, default=RESULTS, help='JSON file with the results for the page'
    )
    options = parser.parse_args(arguments)
    if options.out is None and options.page is None:
        parser.error('nothing to do: give --out or --page')
    if options.out is not None:
        measured = json.dumps(measure(options.presets, options.paper), indent=1)
        options.out.write_text(measured + '\n', encoding='utf-8')
    if options.page is not None:
        results = json.loads((options.out or options.results).read_text(encoding='utf-8'))
        text = options.page.read_text(encoding='utf-8')
        for name, drawn in (
            ('networks', networks_text(results)),
            ('stages', stages_text(results)),
        ):
            text = replaced(text, name, drawn)
        options.page.write_text(text, encoding='utf-8')
    return 0


def measure(presets: Sequence[str], paper: str | None = None) -> dict[str, Any]:
    """The results for the page; `paper` is the weights file of the preset paper."""
    installed = available_runtimes()
    runtimes = [name for name in RUNTIMES if name.partition(':')[0] in installed]
    networks = {}
    for preset in presets:
        weights = paper if preset == 'paper' and paper else preset
        official_ms = measure_official(weights, REPEATS[preset])
        networks[preset] = {
            **bench_networks(runtimes, [weights], BATCHES, REPEATS[preset]),
            'official_ms': official_ms,
            'is_trained': preset == 'rt' or bool(paper),
        }
    runtime = load_runtime(DEFAULT_RUNTIME)
    stages = [bench_estimator(runtime, num_people=count, repeats=200) for count in (1, 4, 8)]
    return {'networks': networks, 'stages': stages}


def measure_official(weights: str, repeats: int) -> float:
    """Median time of the official structure in PyTorch, eager, float32, one person, ms."""
    network = untrained(weights) if weights == 'paper' else load_with_topology(weights)[0]
    structure = OfficialStructure(network).eval()
    size = network.config.crop_size
    crop = torch.from_numpy(parity_crops(size)[:1])
    with torch.inference_mode():
        return latency_row(lambda: structure(crop), 1, repeats)['median_ms']


def networks_text(results: dict[str, Any]) -> str:
    """The table and the ratios of each preset, all from one run."""
    parts = []
    for preset, report in results['networks'].items():
        parts += [bench_table(report), '', ratios_text(preset, report), '']
    return '\n'.join(parts).strip()


def ratios_text(preset: str, report: dict[str, Any]) -> str:
    """The default runtime relative to the official structure, and many people relative to one."""
    rows = [row for row in report['results'] if row['runtime'] == DEFAULT_RUNTIME]
    precision = rows[0]['precision']
    times = {row['batch']: row['median_ms'] for row in rows if row['precision'] == precision}
    most = max(BATCHES)
    weights = '' if report['is_trained'] else ' (random weights)'
    return (
        f'`{preset}`{weights}, one person: {DEFAULT_RUNTIME} in {precision} is '
        f'{report["official_ms"] / times[1]:.1f} times as fast as the {OFFICIAL} in PyTorch '
        f'(eager, float32, {report["official_ms"]:.1f} ms); {most} people take it '
        f'{times[most] / times[1]:.1f} times as long as one.'
    )


def stages_text(results: dict[str, Any]) -> str:
    """A table of the stages from image to meshes."""
    names = list(results['stages'][0]['median_ms'])
    lines = ['| people | ' + ' | '.join(names) + ' |', '|--:|' + '--:|' * len(names)]
    for report in results['stages']:
        shown = (f'{report["median_ms"][name]:.2f}' for name in names)
        lines.append(f'| {report["people"]} | {" | ".join(shown)} |')
    report = results['stages'][0]
    return '\n'.join(
        [
            *lines,
            '',
            f'Medians in ms at {report["width"]}x{report["height"]} with '
            f'`rt` in {report["runtime"]} {report["precision"]}, boxes given; '
            f'{report["hardware"]["cpus"]} cores of {report["hardware"]["cpu"]}; '
            f'{report["date"]}.',
        ]
    )


def replaced(text: str, name: str, drawn: str) -> str:
    """The page with the section of that name replaced.

    Raises:
        SystemExit: the page has no such section.
    """
    first, last = (mark.format(name) for mark in MARKS)
    pattern = re.compile(re.escape(first) + '.*?' + re.escape(last), re.S)
    if not pattern.search(text):
        sys.exit(f'error: the page has no section between {first} and {last}')
    return pattern.sub(lambda _: f'{first}\n\n{drawn}\n\n{last}', text)


if __name__ == '__main__':
    raise SystemExit(main())
