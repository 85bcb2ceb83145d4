"""`decomr bag info | replay-overlay | markers | compact`: what is in a recording, and copies."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from decomr_ros.bags.compact import compact_bag
from decomr_ros.bags.markers import add_markers
from decomr_ros.bags.mcap_bag import COMPRESSIONS
from decomr_ros.bags.overlay_video import VIDEO_SUFFIXES, replay_overlay
from decomr_ros.bags.report import bag_info, bag_info_text
from decomr_ros.bags.rounded_meshes import DEFAULT_MAX_ERROR_MM, max_error_mm
from decomr_ros.markers_node import FRAMES, triangle_count

__all__ = ['main']


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one of the commands.

    Args:
        argv: the words after `decomr bag`; None: those of this process.

    Returns:
        The exit code; 2 for a bag or a video that cannot be used.
    """
    options = _parse(argv)
    try:
        text, report = options.handler(options)
    except (OSError, ValueError) as error:
        if os.environ.get('DECOMR_DEBUG'):
            raise
        if isinstance(error, OSError) and error.filename is not None and error.strerror:
            error = f'{error.filename}: {error.strerror}'
        sys.stderr.write(f'decomr bag {options.command}: {" ".join(str(error).split())}\n')
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(f'decomr bag {options.command}: interrupted\n')
        return 2
    sys.stdout.write(f'{text}\n')
    if options.json:
        sys.stdout.write(json.dumps(report) + '\n')
    return 0


def _info(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    report = bag_info(options.bag)
    return bag_info_text(report), report


def _markers(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    report = add_markers(options.bag, options.out, options.namespace, options.triangles,
                         options.tf)
    text = (f'{report["out"]}: {report["size_mb"]:.1f} MB; {report["markers"]} for '
            f'{report["messages"]} messages of meshes, people in {report["with_markers"]} of them')
    if report['without_position']:
        text += (f'; {report["without_position"]} people without a position are left out: they '
                 'were seen without a calibration (camera_info)')
    return text, report


def _replay(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    if options.out.exists():
        raise ValueError(f'{options.out} exists already; give another --out or remove it')
    if not options.out.absolute().parent.is_dir():
        raise ValueError(f'there is no folder {options.out.parent}; create it, or give another '
                         '--out')
    if options.out.suffix.lower() not in VIDEO_SUFFIXES:
        raise ValueError(f'{options.out} ends in none of: {" ".join(VIDEO_SUFFIXES)}')
    if options.stamps is not None and options.video is None:
        raise ValueError('--stamps are of a video file; give it by --video')
    report = replay_overlay(options.bag, options.out, options.video, options.stamps,
                            options.namespace, options.image, options.rectified)
    return (f'{report["out"]}: {report["pictures"]} pictures ({report["background"]}), people in '
            f'{report["pictures_with_people"]} of them; {report["frames"]} frames of '
            f'{report["width"]}x{report["height"]} at {report["rate_hz"]:g} Hz, in which each '
            'picture stays until the next one was taken', report)


def _compact(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    report = compact_bag(options.bag, options.out, options.max_error_mm, options.compression)
    errors = ''.join(f', vertices of {topic} at most {error_mm:g} mm off'
                     for topic, error_mm in report['vertices_max_error_mm'].items()
                     if error_mm)
    return (f'{report["out"]}: {report["messages"]} messages, {report["size_after_mb"]:.1f} MB '
            f'instead of {report["size_before_mb"]:.1f} MB{errors}', report)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument('bag', type=Path, metavar='BAG', help='folder of a bag, or a .mcap file')
    common.add_argument('--json', action='store_true',
                        help='print one JSON object on the last line')
    parser = argparse.ArgumentParser('decomr bag', description=__doc__.partition('\n')[0])
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    commands.add_parser('info', parents=[common], help='topics, rates, gaps, who was seen when'
                        ).set_defaults(handler=_info)
    _add_markers(commands, common)
    replay = commands.add_parser('replay-overlay', parents=[common],
                                 help='render the meshes over their pictures to a video')
    replay.set_defaults(handler=_replay)
    replay.add_argument('--out', type=Path, required=True, metavar='OUT.mp4', help='to write')
    replay.add_argument('--video', type=Path, metavar='VIDEO|BAG',
                        help='the pictures, where the bag holds none')
    replay.add_argument('--stamps', type=Path, metavar='FILE',
                        help='of a video file: lines of frame index, stamp (ns); default: it '
                             'starts with the first meshes and has its own rate')
    replay.add_argument('--namespace', help='of the node, where the bag holds several')
    replay.add_argument('--image', metavar='TOPIC', help="pictures to use; default: the camera's")
    replay.add_argument('--rectified', action='store_true',
                        help='the pictures are: P of camera_info holds, not K')
    compact = commands.add_parser('compact', parents=[common], help='a smaller copy: meshes '
                                  'rounded to less than a millimetre, compressed with zstd')
    compact.set_defaults(handler=_compact)
    compact.add_argument('--out', type=Path, required=True, metavar='FOLDER', help='of the copy')
    compact.add_argument('--max-error-mm', type=max_error_mm, default=DEFAULT_MAX_ERROR_MM,
                         help='vertices may move so far, mm '
                              f'({DEFAULT_MAX_ERROR_MM:g}); 0: not at all')
    compact.add_argument('--compression', choices=list(COMPRESSIONS),
                         help='(zstd where its Python package is installed, else lz4)')
    return parser.parse_args(argv)


def _add_markers(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    markers = commands.add_parser('markers', parents=[common],
                                  help='copy the bag with markers and /tf in it, for Foxglove')
    markers.set_defaults(handler=_markers)
    markers.add_argument('--out', type=Path, required=True, metavar='FOLDER',
                         help='of the copy, new')
    markers.add_argument('--namespace', help='of the node, where the bag holds several')
    markers.add_argument('--triangles', type=triangle_count, default=4000, metavar='N',
                         help='per person, about; 0: all (4000)')
    markers.add_argument('--tf', choices=FRAMES, default='bodies',
                         help='frames: none, bodies, or joints too (bodies)')


if __name__ == '__main__':
    raise SystemExit(main())
