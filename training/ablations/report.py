"""The report of an ablation: the table of the paper (Table 5) and a bar chart."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from decomr_core.base.config import network_config
from decomr_core.base.files import replacing
from training.ablations.results import AblationResults, Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ['find_comparison', 'finding', 'plot_ablation', 'table', 'write_report']

TABLE_FILE, PICTURE_FILE = 'ablation.md', 'ablation.png'
COLUMNS = {
    'pa_mpjpe_mm': 'PA-MPJPE, mm',
    'mpjpe_mm': 'MPJPE, mm',
    'vertex_error_mm': 'vertex error, mm',
    'foreground_iou': 'foreground IoU',
}
DECIMALS = {'foreground_iou': 3}
INPUT_NAMES = {
    'global': 'global',
    'local': 'local',
    'raw+global': 'raw pixels + global',
    'global+local': 'global + local',
}
# The paper's final input; the UV maps are compared with this input if it is in the grid.
FULL_INPUT = 'global+local'
# One colour per UV map, the conventional one first.
MAP_COLORS = ('#d08a3c', '#3c7ab8', '#5a9a57', '#8a62a8')
PANEL_METRICS = ('pa_mpjpe_mm', 'mpjpe_mm')
BAR_SPAN, DPI = 0.8, 110
# Characters per line of the title.
TITLE_WIDTH = 100
PAPER_TABLE_5 = {
    ('conventional', 'global'): (51.9, 49.1),
    ('conventional', 'local'): (47.4, 44.8),
    ('conventional', 'raw+global'): (46.5, 44.7),
    ('conventional', 'global+local'): (45.1, 42.6),
    ('continuous', 'global'): (49.4, 47.1),
    ('continuous', 'local'): (44.6, 42.3),
    ('continuous', 'raw+global'): (45.5, 42.6),
    ('continuous', 'global+local'): (42.2, 39.3),
}
"""The paper's MPJPE-PA on Human3.6M, protocols P1 and P2, mm; its conventional map is SMPL's."""
SEEDS_COLUMN, PAPER_COLUMN = 'PA-MPJPE by seed, mm', 'paper, MPJPE-PA P1 / P2, mm'
INTERVAL_OF_SEEDS = "Student's over the seeds; then comes the mean of each seed"
INTERVAL_OF_IMAGES = 'by bootstrap over the images'
ABOUT_THE_PAPER = (
    "The paper's column is its Table 5: a larger network on photographs (Human3.6M), trained to "
    'the end, with the conventional map of SMPL. Only the order of the rows can be compared, not '
    'the numbers.'
)


def write_report(results: AblationResults) -> list[Path]:
    """Writes the table and the chart beside the results file, atomically; returns their paths."""
    text, picture = results.folder / TABLE_FILE, results.folder / PICTURE_FILE
    with replacing(text) as part:
        part.write_text(table(results), encoding='utf-8')
    with replacing(picture) as part:
        plot_ablation(results).savefig(part, dpi=DPI)
    return [text, picture]


def table(results: AblationResults) -> str:
    """The report as Markdown: the scores of all cells, differences between them, and notes."""
    lines = [
        f'**{finding(results)}**',
        '',
        f'| UV map | LNet input | {" | ".join((*COLUMNS.values(), SEEDS_COLUMN, PAPER_COLUMN))} |',
        '|---|---|' + '---|' * (len(COLUMNS) + 2),
    ]
    for cell in results.grid:
        scores = results.values['cells'].get(cell.name, {}).get('scores')
        shown = [_interval_text(scores[name], name) if scores else 'not run' for name in COLUMNS]
        shown += [_seeds_text(scores['pa_mpjpe_mm']) if scores else '', _paper_text(cell)]
        lines.append(f'| {cell.uv_map} | {_input_name(cell)} | {" | ".join(shown)} |')
    constant = results.values['best_constant']
    if constant:
        shown = [f'{constant[name]:.1f}' if name in constant else '' for name in COLUMNS]
        lines.append(f'| best constant prediction | | {" | ".join([*shown, "", ""])} |')
    return '\n'.join([*lines, '', *_difference_lines(results), *_notes(results), ''])


def finding(results: AblationResults) -> str:
    """The result of the comparison of the UV maps, in one sentence."""
    pair = _map_pair(results)
    difference = find_comparison(results, *pair, 'pa_mpjpe_mm') if pair else None
    if pair is None or difference is None:
        return f'{len(results.values["cells"])} of {len(results.grid)} cells are done'
    last, first = pair
    with_input = f'with {_input_name(last)}'
    if not _is_clear(difference):
        return (
            f'No clear difference between the {first.uv_map} and the {last.uv_map} UV map '
            f'{with_input}: {_signed(difference)} mm PA-MPJPE'
        )
    word = 'lower' if difference['mean'] < 0 else 'higher'
    return (
        f'PA-MPJPE is {abs(difference["mean"]):.1f} mm {word} on the {last.uv_map} than on '
        f'the {first.uv_map} UV map, {with_input}'
    )


def find_comparison(
    results: AblationResults, cell: Cell, minus: Cell, metric: str
) -> dict[str, Any] | None:
    """The difference between two cells: `mean`, interval (`low`, `high`) and means `by_seed`.

    None if they were not compared.
    """
    for row in results.values['comparisons']:
        if (row['cell'], row['minus']) == (cell.name, minus.name):
            return row[metric]
        if (row['cell'], row['minus']) == (minus.name, cell.name):
            one = row[metric]
            return {
                'mean': -one['mean'],
                'low': -one['high'],
                'high': -one['low'],
                'by_seed': [-mean for mean in one['by_seed']],
            }
    return None


def plot_ablation(results: AblationResults) -> Figure:
    """Draws bars of PA-MPJPE and MPJPE by LNet input, with one colour per UV map."""
    figure = Figure(figsize=(11, 4.8), layout='constrained')
    figure.suptitle(textwrap.fill(finding(results), TITLE_WIDTH))
    for axis, metric in zip(figure.subplots(1, len(PANEL_METRICS)), PANEL_METRICS, strict=True):
        _draw_bars(axis, results, metric)
        _label_axes(axis, results, metric)
    return figure


def _draw_bars(axis: Axes, results: AblationResults, metric: str) -> None:
    """Draws the bars of a metric, with their values, and the best constant prediction."""
    config, cells = results.values['config'], results.values['cells']
    inputs, labels = config['lnet_inputs'], list(config['uv_maps'])
    width = BAR_SPAN / len(labels)
    for number, label in enumerate(labels):
        done = [i for i, name in enumerate(inputs) if Cell(label, name).name in cells]
        scores = [cells[Cell(label, inputs[i]).name]['scores'][metric] for i in done]
        if not scores:
            continue
        means, low, high = (
            np.array([score[key] for score in scores]) for key in ('mean', 'low', 'high')
        )
        places = np.array(done) + (number - (len(labels) - 1) / 2) * width
        axis.bar(
            places,
            means,
            0.92 * width,
            color=MAP_COLORS[number % len(MAP_COLORS)],
            label=f'{label} UV map',
            yerr=[means - low, high - means],
            capsize=3,
            error_kw={'elinewidth': 1},
        )
        for place, mean in zip(places, means, strict=True):
            axis.annotate(
                f'{mean:.1f}',
                (place, 0),
                (0, 4),
                textcoords='offset points',
                ha='center',
                fontsize=8,
                color='white',
            )
    if metric in results.values['best_constant']:
        axis.axhline(
            results.values['best_constant'][metric],
            color='0.4',
            linestyle='--',
            linewidth=1,
            label='best constant prediction',
        )


def _label_axes(axis: Axes, results: AblationResults, metric: str) -> None:
    axis.set_title(_panel_title(results, metric), fontsize=10)
    inputs = results.values['config']['lnet_inputs']
    names = [INPUT_NAMES.get(name, name).replace(' + ', '\n+ ') for name in inputs]
    axis.set_xticks(range(len(inputs)), names)
    axis.set_xlabel('what LNet sees beside the reference map')
    axis.set_ylabel(f'{COLUMNS[metric]} (lower is better)')
    axis.margins(y=0.25)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(loc='upper right', fontsize=8)


def _panel_title(results: AblationResults, metric: str) -> str:
    """The best cell, and the first one from which it does not differ significantly."""
    done = [cell for cell in results.grid if cell.name in results.values['cells']]
    if not done:
        return 'nothing is done yet'
    means = {cell: results.values['cells'][cell.name]['scores'][metric]['mean'] for cell in done}
    best, *others = sorted(done, key=means.__getitem__)
    unclear = [
        cell
        for cell in others
        if (found := find_comparison(results, best, cell, metric)) and not _is_clear(found)
    ]
    doubt = f'\nnot clearly below {_cell_text(unclear[0])}' if unclear else ''
    return (
        f'{COLUMNS[metric].split(",")[0]} is lowest with {_cell_text(best)}: '
        f'{means[best]:.1f} mm{doubt}'
    )


def _cell_text(cell: Cell) -> str:
    return f'{_input_name(cell)} on the {cell.uv_map} map'


def _map_pair(results: AblationResults) -> tuple[Cell, Cell] | None:
    """The cells of the last and the first UV map of the config that are compared."""
    labels, inputs = (list(results.values['config'][key]) for key in ('uv_maps', 'lnet_inputs'))
    if len(labels) < 2:
        return None
    shared = FULL_INPUT if FULL_INPUT in inputs else inputs[-1]
    return Cell(labels[-1], shared), Cell(labels[0], shared)


def _difference_lines(results: AblationResults) -> list[str]:
    """Table rows of the differences between UV maps, and between LNet inputs."""
    labels = list(results.values['config']['uv_maps'])
    rows = []
    for cell in results.grid:
        if cell.uv_map != labels[0]:
            rows.append(
                (
                    f'{_input_name(cell)}: {cell.uv_map} minus {labels[0]} map',
                    cell,
                    Cell(labels[0], cell.lnet_input),
                )
            )
    for cell in results.grid:
        if cell.lnet_input != FULL_INPUT:
            full = Cell(cell.uv_map, FULL_INPUT)
            rows.append(
                (f'{cell.uv_map} map: {_input_name(full)} minus {_input_name(cell)}', full, cell)
            )
    lines = []
    for text, cell, minus in rows:
        found = [
            difference
            for metric in PANEL_METRICS
            if (difference := find_comparison(results, cell, minus, metric)) is not None
        ]
        if len(found) == len(PANEL_METRICS):
            lines.append(f'| {text} | {" | ".join(map(_signed, found))} |')
    if not lines:
        return []
    head = ' | '.join(COLUMNS[metric] for metric in PANEL_METRICS)
    return [
        'Differences on the same images:',
        '',
        f'| | {head} |',
        '|---|' + '---|' * len(PANEL_METRICS),
        *lines,
        '',
    ]


def _notes(results: AblationResults) -> list[str]:
    values = results.values
    budget, train = values['budget'], values['config']['train']
    machines = sorted({_machine_text(run['hardware']) for run in values['runs'].values()})
    seeds = sorted({run['seed'] for run in values['runs'].values()})
    return [
        f'Means over {values["images"]} held-out synthetic images and all seeds. In brackets is '
        f'the 95 % interval, {INTERVAL_OF_SEEDS if len(seeds) > 1 else INTERVAL_OF_IMAGES}. A '
        'difference is called clear if its interval does not contain 0. The best constant '
        'prediction is fitted to the held-out set itself.',
        '',
        f'Every run: preset `{train["preset"]}`{_start_text(train)}, {budget["cnet_steps"]} '
        f'steps of CNet alone (once for each UV map) and {budget["end_to_end_steps"]} of '
        f'everything, batch {budget["batch_size"]}, '
        f'{budget["training_images"]:,} training images, '
        f'{budget["training_images"] // budget["reuse"]:,} of them distinct; seeds '
        f'{", ".join(map(str, seeds))}. {"; ".join([*machines, values.get("date", "undated")])}.',
        '',
        ABOUT_THE_PAPER,
    ]


def _start_text(train: dict[str, Any]) -> str:
    """The initial weights of the cells, for the notes."""
    if not train.get('init'):
        is_pretrained = network_config(train['preset']).is_pretrained
        return f', from random weights{" behind the pretrained encoder" if is_pretrained else ""}'
    part = train.get('init_part', 'all')
    taken = 'the network' if part == 'all' else f'the {part}'
    return f', {taken} beginning with that of `{Path(train["init"]).name}`'


def _machine_text(hardware: dict[str, Any]) -> str:
    count = hardware['processes']
    return (
        f'{count} process{"es" if count > 1 else ""}, {hardware["cpus"]} cores of '
        f'{hardware["cpu"]}, {hardware["gpu"] or "no GPU"}'
    )


def _input_name(cell: Cell) -> str:
    return INPUT_NAMES.get(cell.lnet_input, cell.lnet_input)


def _is_clear(difference: dict[str, Any]) -> bool:
    """Whether the interval does not contain 0."""
    return difference['low'] > 0 or difference['high'] < 0


def _seeds_text(score: dict[str, Any]) -> str:
    return ', '.join(f'{mean:.1f}' for mean in score['by_seed'])


def _paper_text(cell: Cell) -> str:
    numbers = PAPER_TABLE_5.get((cell.uv_map, cell.lnet_input), ())
    return ' / '.join(map(str, numbers))


def _interval_text(score: dict[str, float], name: str) -> str:
    digits = DECIMALS.get(name, 1)
    return f'{score["mean"]:.{digits}f} [{score["low"]:.{digits}f}, {score["high"]:.{digits}f}]'


def _signed(difference: dict[str, Any]) -> str:
    interval = f'{difference["mean"]:+.1f} [{difference["low"]:+.1f}, {difference["high"]:+.1f}]'
    seeds = ', '.join(f'{mean:+.1f}' for mean in difference['by_seed'])
    return f'{interval}; {seeds}' if len(difference['by_seed']) > 1 else interval
