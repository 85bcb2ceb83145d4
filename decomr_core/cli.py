"""`decomr`: predict, demo, view, markers, bag, export, prepare, convert, bench, uv, body, doctor.

User errors are one line on stderr with exit code 2; DECOMR_DEBUG=1 shows the traceback. Each
command imports only the modules that it needs, so that it starts quickly.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from decomr_core import __version__
from decomr_core.base.arguments import USER_ERROR, given_runtime_options, split_boxes
from decomr_core.commands.asset_commands import Report, add_body, add_uv
from decomr_core.commands.network_arguments import (
    add_bench,
    add_convert,
    add_export,
    add_predict,
    add_prepare,
    common_options,
    network_options,
)

if TYPE_CHECKING:
    from decomr_core.runtimes import Runtime

__all__ = ['main']

PLUGIN_COMMANDS = {
    'demo': ('decomr_ros.demo', 'run a video through ROS 2 and write bag, overlay and rates'),
    'bag': ('decomr_ros.bag_commands', 'report on a recorded bag, or write a video of it'),
    'view': ('decomr_ros.view', 'serve a web page with the live meshes'),
    'markers': (
        'decomr_ros.markers_node',
        'publish markers and /tf for meshes from a bag or a network',
    ),
}
"""Commands of other packages: the module whose `main(argv)` runs them, and their help text. The
module is imported by name when the command is called; this package works without it."""

FAILURE = 1

Handler = Callable[[argparse.Namespace], tuple[str, Report]]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the arguments after `decomr`; None: those of this process.

    Returns:
        The exit code: 0 for success, 1 if `decomr doctor` or a measurement reports problems, 2 for
        a user error.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv and argv[0] in PLUGIN_COMMANDS:
        return _run_plugin(argv[0], argv[1:])
    options = _parser().parse_args(split_boxes(argv))
    logging.basicConfig(
        level=logging.INFO if options.verbose else logging.WARNING,
        format='%(levelname)s %(message)s',
    )
    # An export takes a while. Without progress messages the program would seem to hang.
    logging.getLogger('decomr_core.export.export').setLevel(logging.INFO)
    try:
        text, report = options.handler(options)
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        if os.environ.get('DECOMR_DEBUG'):
            raise
        return _print_error(options.command, error)
    except KeyboardInterrupt:
        return _print_error(options.command, 'interrupted')
    sys.stdout.write(text.rstrip() + '\n')
    if options.json:
        sys.stdout.write(json.dumps(report) + '\n')
    return FAILURE if report.get('problems') else 0


def _predict(options: argparse.Namespace) -> tuple[str, Report]:
    from decomr_core.commands.predict import predict_image, prediction_text, read_image

    image = read_image(options.image)
    report = {
        'image': str(options.image),
        **predict_image(
            image,
            options.out,
            _load_network(options),
            boxes=options.boxes,
            detector=options.detector,
            fov_deg=options.fov,
            intrinsics=options.intrinsics,
        ),
    }
    return prediction_text(report), report


def _load_network(options: argparse.Namespace, **more: Any) -> Runtime:
    from decomr_core.estimation.loading import load_runtime
    from decomr_core.runtimes import DEFAULT_RUNTIME

    return load_runtime(
        options.runtime or DEFAULT_RUNTIME,
        options.weights,
        body=options.body,
        uv_map=options.uv,
        **given_runtime_options(options),
        **more,
    )


def _export_tensorrt(options: argparse.Namespace) -> tuple[str, Report]:
    from decomr_core.export.tensorrt_build import build_engine

    given = {'max_people': options.people, 'precision': options.precision}
    report = build_engine(
        options.weights,
        options.body,
        options.uv,
        **{name: value for name, value in given.items() if value is not None},
    )
    return (
        f'{report["out"]}: TensorRT {report["tensorrt"]} engine for {report["gpu"]}, up to '
        f'{report["max_people"]} people at once, {report["precision"]}\nvertex error '
        f'against PyTorch in the median image: {report["vertices_median_mm"]:.4f} mm',
        report,
    )


def _export(options: argparse.Namespace) -> tuple[str, Report]:
    if options.tensorrt:
        return _export_tensorrt(options)
    if options.people is not None or options.precision is not None:
        raise ValueError(
            '--people and --precision apply to the engine; give --tensorrt, not --out'
        )
    from decomr_core.base.assets import find_weights
    from decomr_core.export.export import export_weights

    if options.out.exists():
        raise ValueError(f'{options.out} exists already; give a new folder')
    export_weights(find_weights(options.weights), options.out, options.body, options.uv)
    info = json.loads((options.out / 'info.json').read_text())
    files = sorted(path.name for path in options.out.iterdir())
    errors = ', '.join(
        f'{name} {parity["vertices_mean_mm"]:.4f} mm' for name, parity in info['parity'].items()
    )
    report = {'out': str(options.out), 'files': files, **info}
    return (
        f'{options.out}: {", ".join(files)}\nmean vertex error against PyTorch: {errors}',
        report,
    )


def _prepare(options: argparse.Namespace) -> tuple[str, Report]:
    from decomr_core.base.cache import installed_cache
    from decomr_core.estimation.prepare import prepare

    folder = installed_cache() if options.installed else None
    if options.installed and folder is None:
        raise ValueError(
            '--installed needs a virtual environment, but this Python is not in one; '
            'set DECOMR_CACHE to a folder instead, here and where nodes are started'
        )
    report = prepare(options.weights, folder)
    compiled = '' if report['compiled'] else ', without OpenVINO, which is not installed'
    return f'{report["cache"]}: prepared for a quick start{compiled}', report


def _convert(options: argparse.Namespace) -> tuple[str, Report]:
    from decomr_core.networks.official_release import convert_official

    report = convert_official(
        options.checkpoint, options.uv, options.body, options.out, options.reference
    )
    return (
        f'{options.out}: the official network for the body {report["body"]}; use it with '
        f'--weights {options.out} --body {options.body} --uv FILE.npz',
        report,
    )


def _bench(options: argparse.Namespace) -> tuple[str, Report]:
    from decomr_core.commands.bench import bench_estimator, bench_text

    if options.batch or options.preset:
        return _bench_networks(options)
    if options.runtime and len(options.runtime) > 1:
        raise ValueError(
            'several runtimes can be timed only on the network alone: add --batch or --preset'
        )
    options.runtime = options.runtime[0] if options.runtime else None
    network = _load_network(options, num_threads=options.threads)
    report = bench_estimator(
        network,
        num_people=options.people,
        image_size=options.size,
        repeats=options.repeats,
        detector=options.detector,
    )
    return bench_text(report), {'weights': options.weights, **report}


def _bench_networks(options: argparse.Namespace) -> tuple[str, Report]:
    from decomr_core.commands.network_bench import bench_networks, bench_table
    from decomr_core.runtimes import available_runtimes

    given = given_runtime_options(options)
    if given:
        raise ValueError(
            f'--{" and --".join(given)} cannot be used with --batch or --preset, '
            'which take a precision with the runtime, as in openvino:f32, and '
            'measure on the CPU; for a GPU: python -m benchmarks.gpu'
        )
    report = bench_networks(
        options.runtime or available_runtimes(),
        options.preset or ['rt'],
        options.batch or [1],
        options.repeats,
        options.threads,
        lambda text: sys.stderr.write(f'{text}\n'),
    )
    return bench_table(report), report


def _doctor(options: argparse.Namespace) -> tuple[str, Report]:
    from decomr_core.commands.doctor import main_text, report

    found = report()
    return main_text(found), found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='decomr', description='Human meshes and IUV images from camera images.'
    )
    parser.add_argument('--version', action='version', version=f'decomr {__version__}')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    common, network = common_options(), network_options()
    add_predict(commands, [common, network]).set_defaults(handler=_predict)
    add_export(commands, [common, network]).set_defaults(handler=_export)
    add_prepare(commands, [common]).set_defaults(handler=_prepare)
    add_bench(commands, [common, network]).set_defaults(handler=_bench)
    add_convert(commands, [common]).set_defaults(handler=_convert)
    add_uv(commands, common)
    add_body(commands, common)
    commands.add_parser('doctor', parents=[common], help='check the installation').set_defaults(
        handler=_doctor
    )
    for name, (_, help_text) in PLUGIN_COMMANDS.items():
        commands.add_parser(name, add_help=False, help=help_text)
    return parser


def _run_plugin(command: str, argv: list[str]) -> int:
    """Imports and runs a command of another package."""
    module = PLUGIN_COMMANDS[command][0]
    try:
        plugin = importlib.import_module(module)
    except ImportError as error:
        if os.environ.get('DECOMR_DEBUG'):
            raise
        return _print_error(
            command,
            f'this command needs ROS 2 and the built package ({error}); '
            'in a checkout run make setup, then scripts/with-env decomr '
            f'{command}',
        )
    return plugin.main(argv)


def _print_error(command: str, error: object) -> int:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        error = f'{error.filename}: {error.strerror}'
    sys.stderr.write(f'decomr {command}: {" ".join(str(error).split()) or repr(error)}\n')
    return USER_ERROR


if __name__ == '__main__':
    raise SystemExit(main())
