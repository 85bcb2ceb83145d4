"""The commands `decomr body` and `decomr uv`.

Each command imports only the modules that it needs, so that it starts quickly.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from decomr_core.base.arguments import output_file, output_picture, positive

__all__ = ['Report', 'add_body', 'add_uv']

Report = dict[str, Any]
"""The JSON object printed by `--json`."""


def add_uv(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Adds `decomr uv build | import | report`, with the common options."""
    uv_map = commands.add_parser('uv', help='UV maps').add_subparsers(
        dest='what', required=True, metavar='build|import|report'
    )
    build = uv_map.add_parser('build', parents=[common], help='build the UV map of a body')
    build.set_defaults(handler=_uv_build)
    build.add_argument('--out', type=output_file, required=True, help='npz file to write')
    build.add_argument(
        '--stress',
        type=float,
        metavar='WEIGHT',
        help='weight of preserving the distances on the mesh (30); 0: none',
    )
    imported = uv_map.add_parser(
        'import', parents=[common], help="import the UV map from an OBJ of the body's mesh"
    )
    imported.set_defaults(handler=_uv_import)
    imported.add_argument('template', type=Path, help='OBJ with v, vt and f of the same mesh')
    imported.add_argument('--out', type=output_file, required=True, help='npz file to write')
    imported.add_argument(
        '--flip-v',
        action='store_true',
        help='v of the OBJ counts from the bottom, as in Blender, SMPL textures '
        'and the meshes of decomr predict; by default it counts from the '
        'top, as in the official DecoMR template',
    )
    report = uv_map.add_parser('report', parents=[common], help='measure a UV map')
    report.set_defaults(handler=_uv_report)
    report.add_argument('--uv', default='builtin', help='builtin, makehuman or an npz file')
    report.add_argument(
        '--sources',
        type=positive,
        metavar='N',
        help='rows of the distance matrices; default: all (some minutes)',
    )
    report.add_argument(
        '--plot',
        type=output_picture,
        metavar='FILE.png',
        help='image file for plots of the chart, the distances and the distortion',
    )
    for command in (build, imported, report):
        command.add_argument('--body', default='builtin', help='builtin or an npz file')


def add_body(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Adds `decomr body info | import`, with the common options."""
    body = commands.add_parser('body', help='body models').add_subparsers(
        dest='what', required=True, metavar='info|import'
    )
    info = body.add_parser('info', parents=[common], help='properties of a body model')
    info.set_defaults(handler=_body_info)
    info.add_argument('body', nargs='?', default='builtin', help='builtin or an npz file')
    imported = body.add_parser(
        'import', parents=[common], help="convert SMPL's .pkl or npz into decomr's npz"
    )
    imported.set_defaults(handler=_body_import)
    imported.add_argument('file', type=Path, help='official SMPL .pkl, or an npz')
    imported.add_argument('--out', type=output_file, required=True, help='npz file to write')
    imported.add_argument(
        '--gender',
        choices=('neutral', 'male', 'female'),
        help='gender of the body; default: from an official file name',
    )
    imported.add_argument('--name', help='name of the body; default: the name of the file')


def _uv_build(options: argparse.Namespace) -> tuple[str, Report]:
    from decomr_core.body_models import load_body
    from decomr_core.uv.chart.build_uv_map import build_uv_map

    body = load_body(options.body)
    with _progress() as show:
        uv_map = build_uv_map(
            body, show, **({} if options.stress is None else {'stress_weight': options.stress})
        )
    uv_map.save(options.out)
    report = {
        'out': str(options.out),
        'body': body.name,
        'body_hash': body.hash,
        'uv_hash': uv_map.hash,
        'uv_vertices': len(uv_map.uv),
        'faces': len(uv_map.faces),
    }
    return f'{options.out}: UV map of {body.name}, {len(uv_map.uv)} UV vertices', report


def _uv_import(options: argparse.Namespace) -> tuple[str, Report]:
    from decomr_core.body_models import load_body
    from decomr_core.uv.uv_import import describe_uv_map, import_uv_map

    body = load_body(options.body)
    uv_map = import_uv_map(options.template, body, options.flip_v)
    text, found = describe_uv_map(body, uv_map)
    uv_map.save(options.out)
    report = {
        'out': str(options.out),
        'template': str(options.template),
        'body': body.name,
        'body_hash': body.hash,
        'uv_hash': uv_map.hash,
        'is_v_flipped': options.flip_v,
        **found,
    }
    return f'{options.out}: UV map of {body.name} from {options.template}\n{text}', report


def _uv_report(options: argparse.Namespace) -> tuple[str, Report]:
    from decomr_core.body_models import load_body
    from decomr_core.uv.quality import report_uv_map
    from decomr_core.uv.uv_map import load_uv_map

    body = load_body(options.body)
    uv_map = load_uv_map(options.uv, body)
    if options.sources is None:
        sys.stderr.write(
            'measuring the UV map takes some minutes; --sources N uses fewer '
            'rows and takes less time\n'
        )
    with _progress() as show:
        report = report_uv_map(body, uv_map, options.sources, show)
    if options.plot is not None:
        from decomr_core.uv.plots import plot_uv_map, save_figure

        save_figure(plot_uv_map(body, uv_map, report), options.plot)
    return '\n'.join(f'{name:28}{_rounded(value)}' for name, value in report.items()), report


def _body_info(options: argparse.Namespace) -> tuple[str, Report]:
    from decomr_core.base.assets import find_body
    from decomr_core.body_models.body_data import BodyData

    path = find_body(options.body)
    body = BodyData.load(path)
    size = body.v_template.max(0) - body.v_template.min(0)
    report = {
        'path': str(path),
        'name': body.name,
        'gender': body.gender or 'unknown',
        'hash': body.hash,
        'vertices': len(body.v_template),
        'faces': len(body.faces),
        'joints': len(body.parents),
        'has_pose_blend_shapes': body.posedirs is not None,
        'height_m': round(float(size[1]), 4),
        'arm_span_m': round(float(size[0]), 4),
    }
    return '\n'.join(f'{name:24}{value}' for name, value in report.items()), report


def _body_import(options: argparse.Namespace) -> tuple[str, Report]:
    from dataclasses import replace

    from decomr_core.body_models.body_data import BodyData

    if not options.file.exists():
        raise FileNotFoundError(
            f'no body at {options.file}; SMPL as a .pkl or npz file is at '
            'https://smpl.is.tue.mpg.de, after registration (docs/uv.md says which file)'
        )
    body = BodyData.load(options.file)
    body = replace(body, name=options.name or body.name, gender=options.gender or body.gender)
    body.save(options.out)
    gender = body.gender or 'unknown'
    report = {
        'out': str(options.out),
        'name': body.name,
        'gender': gender,
        'hash': body.hash,
        'vertices': len(body.v_template),
        'faces': len(body.faces),
    }
    hint = '' if body.gender else ' (set it with --gender)'
    return (
        f'{options.out}: body {body.name}, gender {gender}{hint}, {len(body.v_template)} '
        f'vertices; build its UV map: decomr uv build --body {options.out} --out FILE'
    ), report


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """A progress bar on stderr, or one line per step if stderr is not a terminal.

    Yields:
        A function that takes the name of the step and the completed fraction in [0, 1].
    """
    from tqdm import tqdm

    printed: list[str] = []
    with tqdm(
        total=1.0, disable=None, bar_format='{desc:22}{percentage:3.0f} %|{bar}| {elapsed}'
    ) as bar:

        def show(step: str, fraction: float) -> None:
            """Shows the step and the completed fraction in [0, 1]."""
            if bar.disable and printed[-1:] != [step]:
                sys.stderr.write(f'{step} ({100 * fraction:.0f} %)\n')
                printed.append(step)
            bar.set_description_str(step)
            bar.update(fraction - bar.n)

        yield show


def _rounded(value: object) -> str:
    """A value of a report rounded for the terminal; --json keeps all digits."""
    if isinstance(value, dict):
        return '; '.join(f'{name}: {_rounded(item)}' for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return ', '.join(map(_rounded, value))
    return f'{value:.4g}' if isinstance(value, float) else str(value)
