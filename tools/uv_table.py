"""Compares UV maps of the built-in body: python -m tools.uv_table.

Measures the conventional map (several charts, the MakeHuman layout), the map built without the
term that optimises the reported metric, and the shipped map. Writes
benchmarks/results/uv_builtin.json, the table in docs/uv.md and its pictures. Takes about five
minutes.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
from pathlib import Path

import numpy as np
import scipy
from matplotlib.figure import Figure
from PIL import Image

from decomr_core.base.hardware import cpu_name
from decomr_core.body_models import BodyModel, load_body
from decomr_core.uv.chart.build_uv_map import build_uv_map
from decomr_core.uv.location_map import weight_map
from decomr_core.uv.plots import plot_uv_map, plot_weight_map, save_figure
from decomr_core.uv.quality import report_uv_map
from decomr_core.uv.uv_map import UVMap, load_uv_map

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'benchmarks' / 'results' / 'uv_builtin.json'
PAGE = ROOT / 'docs' / 'uv.md'
START, END = '<!-- table: python -m tools.uv_table -->', '<!-- end of table -->'
WEIGHT_MAP_RESOLUTION = 128
NUM_COLOURS = 256
# Paper, Table 1, on SMPL's 6,890 vertices: S1 and S2.
PAPER_CONVENTIONAL, PAPER_CONTINUOUS = (0.2132, 0.8306), (0.7758, 0.9458)
HEADER = (
    '| map | S1 / S2, edges | S1 / S2, lengths | area std | angle, ° | share | pieces | '
    'seam / height | 64 texels, mm | 128 | 256 |'
)


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description='Compares UV maps of the built-in body.')
    parser.add_argument(
        '--sources', type=int, help='number of rows of the distance matrices; default: all'
    )
    sources = parser.parse_args().sources
    body = load_body()
    shipped = load_uv_map('builtin', body)
    maps = {
        'conventional': load_uv_map('makehuman', body),
        'ours_without_stress': build_uv_map(body, stress_weight=0.0),
        'ours': shipped,
    }
    reports = {name: report_uv_map(body, uv_map, sources) for name, uv_map in maps.items()}
    RESULTS.write_text(
        json.dumps(_results(body, shipped, reports), indent=2) + '\n', encoding='utf-8'
    )
    before, _, rest = PAGE.read_text(encoding='utf-8').partition(START)
    _, _, after = rest.partition(END)
    PAGE.write_text(f'{before}{START}\n{_table(reports)}\n{END}{after}', encoding='utf-8')
    weights = weight_map(body, shipped, WEIGHT_MAP_RESOLUTION)
    figures = {
        'uv': plot_uv_map(body, shipped, reports['ours']),
        'uv_conventional': plot_uv_map(body, maps['conventional'], reports['conventional']),
        'weight_map': plot_weight_map(weights.numpy()),
    }
    for name, figure in figures.items():
        _save_small(figure, PAGE.with_name(f'{name}.png'))


def _save_small(figure: Figure, path: Path) -> None:
    """Writes a figure with 256 colours, which takes a third of the size and looks the same."""
    save_figure(figure, str(path))
    with Image.open(path) as picture:
        small = picture.convert('RGB').quantize(NUM_COLOURS)
    small.save(path, optimize=True)


def _results(body: BodyModel, shipped: UVMap, reports: dict[str, dict]) -> dict:
    return {
        'date': datetime.date.today().isoformat(),
        'machine': cpu_name(),
        'python': platform.python_version(),
        'numpy': np.__version__,
        'scipy': scipy.__version__,
        'body': body.name,
        'body_hash': body.hash,
        'uv_hash': shipped.hash,
        'maps': reports,
    }


def _table(reports: dict[str, dict]) -> str:
    rows = [
        HEADER,
        '|' + '---|' * HEADER.count(' | ') + '---|',
        _paper_row("SMPL's default (paper)", PAPER_CONVENTIONAL),
        _paper_row("the paper's continuous map on SMPL", PAPER_CONTINUOUS),
        _row('conventional: MakeHuman layout of our body', reports['conventional']),
        _row('ours, nothing trained on S1 and S2', reports['ours_without_stress']),
        _row('**ours, shipped**', reports['ours']),
    ]
    return '\n'.join(rows)


def _paper_row(name: str, scores: tuple[float, float]) -> str:
    return f'| {name} | {scores[0]:.4f} / {scores[1]:.4f} |' + ' |' * (HEADER.count(' | ') - 1)


def _row(name: str, report: dict) -> str:
    trips = ' | '.join(
        f'{mean:.2f} / {largest:.1f}' for mean, largest in report['roundtrip_mm'].values()
    )
    return (
        f'| {name} | {report["s1_hop"]:.4f} / {report["s2_hop"]:.4f} '
        f'| {report["s1_geo"]:.4f} / {report["s2_geo"]:.4f} '
        f'| {report["area_std_weighted"]:.3f} | {report["angle_deg"]:.1f} '
        f'| {report["coverage"]:.3f} | {report["pieces"]} '
        f'| {report["seam_length_per_height"]:.2f} | {trips} |'
    )


if __name__ == '__main__':
    main()
