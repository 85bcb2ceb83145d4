"""`decomr`: predict | demo | export | convert | bench | uv | body | doctor.

A mistake of the user is one line on stderr and exit code 2; DECOMR_DEBUG=1 shows where it came
from. Modules are imported by the command that needs them, so that each starts quickly.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decomr_core import __version__
from decomr_core.arguments import (
    boxes,
    each_box_with_its_option,
    numbers,
    output_file,
    output_picture,
    positive,
)

if TYPE_CHECKING:
    from decomr_core.runtimes import Runtime

__all__ = ['main']

PLUGIN_COMMANDS = {'demo': ('decomr_ros.demo', 'a video through real ROS 2: bag, overlay, rates')}
"""Commands that other packages bring: the module whose `main(argv)` runs them, and their help.
They are found by name when they are called; this package works without them."""

USER_ERROR, FAILURE = 2, 1

Report = dict[str, Any]
Handler = Callable[[argparse.Namespace], tuple[str, Report]]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the words after `decomr`; None: those of this process.

    Returns:
        The exit code: 0, 1 where something is broken, 2 for a mistake of the user.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv and argv[0] in PLUGIN_COMMANDS:
        return _run_plugin(argv[0], argv[1:])
    options = _parser().parse_args(each_box_with_its_option(argv))
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING,
                        format='%(levelname)s %(message)s')
    try:
        text, report = options.handler(options)
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        if os.environ.get('DECOMR_DEBUG'):
            raise
        return _complain(options.command, error)
    except KeyboardInterrupt:
        return _complain(options.command, 'interrupted')
    sys.stdout.write(text.rstrip() + '\n')
    if options.json:
        sys.stdout.write(json.dumps(report) + '\n')
    return FAILURE if report.get('problems') else 0


def _predict(options: argparse.Namespace) -> tuple[str, Report]:
    from decomr_core.predict import predict_image, prediction_text, read_image

    image = read_image(options.image)
    report = {'image': str(options.image), **predict_image(
        image, options.out, _load_network(options), boxes=options.boxes,
        detector=options.detector, fov_deg=options.fov, intrinsics=options.intrinsics)}
    return prediction_text(report), report


def _load_network(options: argparse.Namespace, **more: Any) -> Runtime:
    from decomr_core.runtimes import DEFAULT_RUNTIME, load_runtime

    return load_runtime(options.runtime or DEFAULT_RUNTIME, options.weights, body=options.body,
                        uv_map=options.uv, **more)


def _export(options: argparse.Namespace) -> tuple[str, Report]:
    from decomr_core.assets import find_weights
    from decomr_core.export import export_weights

    if options.out.exists():
        raise ValueError(f'{options.out} exists already; give a folder that does not')
    export_weights(find_weights(options.weights), options.out, options.body, options.uv)
    info = json.loads((options.out / 'info.json').read_text())
    files = sorted(path.name for path in options.out.iterdir())
    errors = ', '.join(f'{name} {parity["vertices_mean_mm"]:.4f} mm'
                       for name, parity in info['parity'].items())
    report = {'out': str(options.out), 'files': files, **info}
    return (f'{options.out}: {", ".join(files)}\nmean vertex error against PyTorch: {errors}',
            report)


def _convert(options: argparse.Namespace) -> tuple[str, Report]:
    from decomr_core.convert import convert_official

    report = convert_official(options.checkpoint, options.uv, options.body, options.out,
                              options.reference)
    return (f'{options.out}: the official network for the body {report["body"]}; use it with '
            f'--weights {options.out} --body {options.body} --uv FILE.npz', report)


def _bench(options: argparse.Namespace) -> tuple[str, Report]:
    from decomr_core.bench import bench_estimator, bench_text

    network = _load_network(options, num_threads=options.threads)
    report = bench_estimator(network, num_people=options.people, image_size=options.size,
                             repeats=options.repeats, detector=options.detector)
    return bench_text(report), {'weights': options.weights, **report}


def _uv_build(options: argparse.Namespace) -> tuple[str, Report]:
    from decomr_core.body_models import load_body
    from decomr_core.uv.build_uv_map import build_uv_map

    body = load_body(options.body)
    with _progress() as show:
        uv_map = build_uv_map(body, show, **(
            {} if options.stress is None else {'stress_weight': options.stress}))
    uv_map.save(options.out)
    report = {'out': str(options.out), 'body': body.name, 'body_hash': body.hash,
              'uv_hash': uv_map.hash, 'uv_vertices': len(uv_map.uv), 'faces': len(uv_map.faces)}
    return f'{options.out}: UV map of {body.name}, {len(uv_map.uv)} UV vertices', report


def _uv_import(options: argparse.Namespace) -> tuple[str, Report]:
    from decomr_core.body_models import load_body
    from decomr_core.uv.uv_import import describe_uv_map, import_uv_map

    body = load_body(options.body)
    uv_map = import_uv_map(options.template, body, options.flip_v)
    text, found = describe_uv_map(body, uv_map)
    uv_map.save(options.out)
    report = {'out': str(options.out), 'template': str(options.template), 'body': body.name,
              'body_hash': body.hash, 'uv_hash': uv_map.hash, 'is_v_flipped': options.flip_v,
              **found}
    return f'{options.out}: UV map of {body.name} from {options.template}\n{text}', report


def _uv_report(options: argparse.Namespace) -> tuple[str, Report]:
    from decomr_core.body_models import load_body
    from decomr_core.uv.quality import report_uv_map
    from decomr_core.uv.uv_map import load_uv_map

    body = load_body(options.body)
    uv_map = load_uv_map(options.uv, body)
    with _progress() as show:
        report = report_uv_map(body, uv_map, options.sources, show)
    if options.plot is not None:
        from decomr_core.uv.plots import plot_uv_map, save_figure

        save_figure(plot_uv_map(body, uv_map, report), options.plot)
    return '\n'.join(f'{name:28}{_rounded(value)}' for name, value in report.items()), report


def _body_info(options: argparse.Namespace) -> tuple[str, Report]:
    from decomr_core.assets import find_body
    from decomr_core.body_models.body_data import BodyData

    path = find_body(options.body)
    body = BodyData.load(path)
    size = body.v_template.max(0) - body.v_template.min(0)
    report = {'path': str(path), 'name': body.name, 'gender': body.gender or 'unknown',
              'hash': body.hash,
              'vertices': len(body.v_template), 'faces': len(body.faces),
              'joints': len(body.parents), 'has_pose_blend_shapes': body.posedirs is not None,
              'height_m': round(float(size[1]), 4), 'arm_span_m': round(float(size[0]), 4)}
    return '\n'.join(f'{name:24}{value}' for name, value in report.items()), report


def _body_import(options: argparse.Namespace) -> tuple[str, Report]:
    from dataclasses import replace

    from decomr_core.body_models.body_data import BodyData

    body = BodyData.load(options.file)
    body = replace(body, name=options.name or body.name, gender=options.gender or body.gender)
    body.save(options.out)
    gender = body.gender or 'unknown'
    report = {'out': str(options.out), 'name': body.name, 'gender': gender, 'hash': body.hash,
              'vertices': len(body.v_template), 'faces': len(body.faces)}
    hint = '' if body.gender else ' (say it with --gender)'
    return (f'{options.out}: body {body.name}, gender {gender}{hint}, {len(body.v_template)} '
            f'vertices; make its UV map: decomr uv build --body {options.out} --out FILE'), report


def _doctor(options: argparse.Namespace) -> tuple[str, Report]:
    from decomr_core.doctor import main_text, report

    found = report()
    return main_text(found), found


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument('--json', action='store_true',
                        help='print one JSON object on the last line')
    common.add_argument('--verbose', action='store_true', help='say what is being done')
    network = argparse.ArgumentParser(add_help=False)
    network.add_argument('--weights', default='rt', help='rt (shipped) or a .safetensors file')
    network.add_argument('--body', default='builtin', help='that the weights are for: builtin '
                                                           'or an npz file')
    network.add_argument('--uv', default='builtin', help='its UV map: builtin or an npz file')
    parser = argparse.ArgumentParser(
        prog='decomr', description='Human meshes and IUV images from camera images.')
    parser.add_argument('--version', action='version', version=f'decomr {__version__}')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    _add_estimation(commands, common, network)
    _add_conversion(commands, common)
    _add_uv(commands, common)
    _add_body(commands, common)
    commands.add_parser('doctor', parents=[common], help='what is installed, and what is missing'
                        ).set_defaults(handler=_doctor)
    for name, (_, help_text) in PLUGIN_COMMANDS.items():
        commands.add_parser(name, add_help=False, help=help_text)
    return parser


def _add_estimation(commands: argparse._SubParsersAction, common: argparse.ArgumentParser,
                    network: argparse.ArgumentParser) -> None:
    both = [common, network]
    predict = commands.add_parser('predict', parents=both, help='the people in one picture')
    predict.set_defaults(handler=_predict)
    predict.add_argument('image', type=Path, help='picture file')
    predict.add_argument('--out', type=Path, required=True, help='folder of the results')
    where = predict.add_mutually_exclusive_group()
    where.add_argument('--boxes', type=boxes, action='extend', metavar='X0,Y0,X1,Y1',
                       help="boxes of the people, image px; several: 'BOX;BOX', BOX BOX, or the "
                            'option again')
    where.add_argument('--detector', default='hog', help='hog or whole-frame (hog)')
    camera = predict.add_mutually_exclusive_group()
    camera.add_argument('--fov', type=float, help='horizontal field of view, degrees')
    camera.add_argument('--intrinsics', type=numbers(4), metavar='FX,FY,CX,CY',
                        help='calibration, px; without it meshes have no position')
    predict.add_argument('--runtime', default=None, help='openvino, torch or onnxruntime')

    export = commands.add_parser('export', parents=both, help='write ONNX and OpenVINO models')
    export.set_defaults(handler=_export)
    export.add_argument('--out', type=Path, required=True, help='new folder of the results')

    bench = commands.add_parser('bench', parents=both, help='how long each stage takes')
    bench.set_defaults(handler=_bench)
    bench.add_argument('--runtime', default=None, help='openvino, torch or onnxruntime')
    bench.add_argument('--people', type=int, default=1, help='people in the image (1)')
    bench.add_argument('--size', type=numbers(2, 'x'), default=(1280, 720), metavar='WxH',
                       help='size of the image, px (1280x720)')
    bench.add_argument('--detector', help='time this detector as well, on every image')
    bench.add_argument('--repeats', type=int, default=50, help='images (50)')
    bench.add_argument('--threads', type=int, default=0, help='CPU threads; 0: all')


def _add_conversion(commands: argparse._SubParsersAction,
                    common: argparse.ArgumentParser) -> None:
    convert = commands.add_parser('convert', parents=[common],
                                  help='turn an official checkpoint into our weights file')
    convert.set_defaults(handler=_convert)
    convert.add_argument('checkpoint', type=Path, help=".pt file of the authors' release")
    convert.add_argument('--uv', type=Path, required=True,
                         help='UV map it was trained with: the official .obj, or an npz')
    convert.add_argument('--body', type=Path, required=True, help='SMPL as npz (decomr body '
                                                                  'import)')
    convert.add_argument('--reference', type=Path, metavar='MESH.obj',
                         help="the release's reference_mesh.obj; default: the body's template")
    convert.add_argument('--out', type=Path, required=True, help='safetensors file to write')


def _add_uv(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    uv_map = commands.add_parser('uv', help='UV maps').add_subparsers(
        dest='what', required=True, metavar='build|import|report')
    build = uv_map.add_parser('build', parents=[common], help='make the UV map of a body')
    build.set_defaults(handler=_uv_build)
    build.add_argument('--out', type=output_file, required=True, help='npz file to write')
    build.add_argument('--stress', type=float, metavar='WEIGHT',
                       help='pull towards the distances on the mesh (30); 0: none')
    imported = uv_map.add_parser('import', parents=[common],
                                 help="take the UV map of an OBJ of the body's mesh")
    imported.set_defaults(handler=_uv_import)
    imported.add_argument('template', type=Path, help='OBJ with v, vt and f of the same mesh')
    imported.add_argument('--out', type=output_file, required=True, help='npz file to write')
    imported.add_argument('--flip-v', action='store_true',
                          help='count v from the bottom, as Blender, textures of SMPL and decomr '
                               'predict do; without it from the top, as the official DecoMR '
                               'template does')
    report = uv_map.add_parser('report', parents=[common], help='measure a UV map')
    report.set_defaults(handler=_uv_report)
    report.add_argument('--uv', default='builtin', help='builtin, makehuman or an npz file')
    report.add_argument('--sources', type=positive, metavar='N',
                        help='rows of the distance matrices; default: all, a minute')
    report.add_argument('--plot', type=output_picture, metavar='FILE.png',
                        help='picture of the chart, the distances and the distortion')
    for command in (build, imported, report):
        command.add_argument('--body', default='builtin', help='builtin or an npz file')


def _add_body(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    body = commands.add_parser('body', help='body models').add_subparsers(
        dest='what', required=True, metavar='info|import')
    info = body.add_parser('info', parents=[common], help='what a body model is')
    info.set_defaults(handler=_body_info)
    info.add_argument('body', nargs='?', default='builtin', help='builtin or an npz file')
    imported = body.add_parser('import', parents=[common],
                               help="turn SMPL's .pkl or npz into our npz")
    imported.set_defaults(handler=_body_import)
    imported.add_argument('file', type=Path, help='official SMPL .pkl, or an npz')
    imported.add_argument('--out', type=output_file, required=True, help='npz file to write')
    imported.add_argument('--gender', choices=('neutral', 'male', 'female'),
                          help='of the body; default: as the name of an official file says')
    imported.add_argument('--name', help='what the body is called; default: as the file')


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """A bar on stderr, on a terminal only; gives the function that moves it."""
    from tqdm import tqdm

    with tqdm(total=1.0, disable=None, bar_format='{desc:22}{percentage:3.0f} %|{bar}| '
                                                  '{elapsed}') as bar:
        def show(word: str, part: float) -> None:
            """Says what is being done and moves the bar to the done part in [0, 1]."""
            bar.set_description_str(word)
            bar.update(part - bar.n)

        yield show


def _run_plugin(command: str, argv: list[str]) -> int:
    """Runs a command of another package, which is imported only now."""
    module = PLUGIN_COMMANDS[command][0]
    try:
        plugin = importlib.import_module(module)
    except ImportError as error:
        if os.environ.get('DECOMR_DEBUG'):
            raise
        return _complain(command, f'this command needs ROS 2 and the built package ({error}); '
                                  'in a checkout run make setup, then scripts/with-env decomr '
                                  f'{command}')
    return plugin.main(argv)


def _rounded(value: object) -> str:
    """A value of a report for a reader; --json keeps every digit."""
    if isinstance(value, dict):
        return '; '.join(f'{name}: {_rounded(item)}' for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return ', '.join(map(_rounded, value))
    return f'{value:.4g}' if isinstance(value, float) else str(value)


def _complain(command: str, error: object) -> int:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        error = f'{error.filename}: {error.strerror}'
    sys.stderr.write(f'decomr {command}: {" ".join(str(error).split()) or repr(error)}\n')
    return USER_ERROR


if __name__ == '__main__':
    raise SystemExit(main())
