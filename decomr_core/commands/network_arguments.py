"""The arguments of the commands of `decomr` that take a network: predict, export, bench etc.

`cli.py` runs these commands.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from decomr_core.base.arguments import add_runtime, boxes, numbers, positive
from decomr_core.base.config import PRESETS

__all__ = [
    'add_bench',
    'add_convert',
    'add_export',
    'add_predict',
    'add_prepare',
    'common_options',
    'network_options',
]

Commands = argparse._SubParsersAction
Parents = list[argparse.ArgumentParser]


def common_options() -> argparse.ArgumentParser:
    """The options of all commands, as a parent of their parsers."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        '--json', action='store_true', help='print one JSON object on the last line'
    )
    common.add_argument('--verbose', action='store_true', help='log progress')
    return common


def network_options() -> argparse.ArgumentParser:
    """The options that name a network and its body, as a parent of the commands' parsers."""
    network = argparse.ArgumentParser(add_help=False)
    network.add_argument('--weights', default='rt', help='rt (shipped) or a .safetensors file')
    network.add_argument(
        '--body', default='builtin', help='body of the weights: builtin or an npz file'
    )
    network.add_argument('--uv', default='builtin', help='its UV map: builtin or an npz file')
    return network


def add_predict(commands: Commands, parents: Parents) -> argparse.ArgumentParser:
    """Adds `decomr predict`; returns its parser."""
    predict = commands.add_parser(
        'predict', parents=parents, help='estimate the people in one image'
    )
    predict.add_argument('image', type=Path, help='image file')
    predict.add_argument('--out', type=Path, required=True, help='folder for the results')
    source = predict.add_mutually_exclusive_group()
    source.add_argument(
        '--boxes',
        type=boxes,
        action='extend',
        metavar='X0,Y0,X1,Y1',
        help="boxes of the people, image px; several: 'BOX;BOX', BOX BOX, or the option again",
    )
    source.add_argument('--detector', default='person', help='person or whole-frame (person)')
    camera = predict.add_mutually_exclusive_group()
    camera.add_argument('--fov', type=float, help='horizontal field of view, degrees')
    camera.add_argument(
        '--intrinsics',
        type=numbers(4),
        metavar='FX,FY,CX,CY',
        help='calibration, px; without --fov or calibration, meshes have no position',
    )
    add_runtime(predict)
    return predict


def add_export(commands: Commands, parents: Parents) -> argparse.ArgumentParser:
    """Adds `decomr export`; returns its parser."""
    export = commands.add_parser(
        'export', parents=parents, help='write ONNX and OpenVINO models, or a TensorRT engine'
    )
    target = export.add_mutually_exclusive_group(required=True)
    target.add_argument('--out', type=Path, help='new folder for the results')
    target.add_argument(
        '--tensorrt',
        action='store_true',
        help="build the engine for this machine's NVIDIA GPU, for --runtime tensorrt",
    )
    export.add_argument(
        '--people', type=positive, metavar='N', help='largest batch of the engine, people (4)'
    )
    export.add_argument(
        '--precision',
        help='precision of the engine: f32, tf32, fp16, or auto: '
        'fp16 if the export passed its limit in fp16, otherwise f32 (auto)',
    )
    return export


def add_prepare(commands: Commands, parents: Parents) -> argparse.ArgumentParser:
    """Adds `decomr prepare`; returns its parser."""
    prepare = commands.add_parser(
        'prepare',
        parents=parents,
        help='export and compile the network in advance',
        description='Exports the network and compiles it for this CPU into the cache '
        '(DECOMR_CACHE or ~/.cache/decomr), which the first start would do otherwise. '
        'make setup does this.',
    )
    prepare.add_argument('--weights', default='rt', help='rt (shipped) or a .safetensors file')
    prepare.add_argument(
        '--installed',
        action='store_true',
        help='write into the virtual environment instead, for all of its users',
    )
    return prepare


def add_bench(commands: Commands, parents: Parents) -> argparse.ArgumentParser:
    """Adds `decomr bench`; returns its parser."""
    bench = commands.add_parser(
        'bench',
        parents=parents,
        help='time each stage',
        description='Times each stage from image to meshes. With --batch or --preset, times the '
        'network alone in each runtime, which takes some minutes. Each result is '
        'printed as it finishes, and Ctrl-C keeps the finished ones.',
    )
    add_runtime(
        bench,
        '; with --batch or --preset, several as NAME[:PRECISION], by default all installed ones',
        nargs='+',
    )
    bench.add_argument(
        '--preset',
        nargs='+',
        metavar='NAME|FILE',
        help=f'networks to time alone (rt): {", ".join(PRESETS)}, or weights files',
    )
    bench.add_argument(
        '--batch', nargs='+', type=positive, metavar='N', help='batch sizes, people (1)'
    )
    bench.add_argument('--people', type=int, default=1, help='people in the image (1)')
    bench.add_argument(
        '--size',
        type=numbers(2, 'x'),
        default=(1280, 720),
        metavar='WxH',
        help='size of the image, px (1280x720)',
    )
    bench.add_argument('--detector', help='also time this detector on the same image')
    bench.add_argument('--repeats', type=int, default=50, help='number of timed runs (50)')
    bench.add_argument('--threads', type=int, default=0, help='CPU threads; 0: all')
    return bench


def add_convert(commands: Commands, parents: Parents) -> argparse.ArgumentParser:
    """Adds `decomr convert`; returns its parser."""
    convert = commands.add_parser(
        'convert', parents=parents, help='convert an official checkpoint into a weights file'
    )
    convert.add_argument('checkpoint', type=Path, help=".pt file of the authors' release")
    convert.add_argument(
        '--uv',
        type=Path,
        required=True,
        help='UV map of its training: the official .obj, or an npz file',
    )
    convert.add_argument(
        '--body', type=Path, required=True, help='SMPL as npz (decomr body import)'
    )
    convert.add_argument(
        '--reference',
        type=Path,
        metavar='MESH.obj',
        help="the release's reference_mesh.obj; default: the body's template",
    )
    convert.add_argument('--out', type=Path, required=True, help='safetensors file to write')
    return convert
