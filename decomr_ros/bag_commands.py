"""`decomr bag info | replay-overlay | markers | compact`: inspects and converts recordings."""

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
from decomr_ros.bags.mcap_writing import COMPRESSIONS
from decomr_ros.bags.overlay_video import VIDEO_SUFFIXES, replay_overlay
from decomr_ros.bags.report import bag_info, bag_info_text
from decomr_ros.bags.rounded_meshes import DEFAULT_MAX_ERROR_MM, max_error_mm
from decomr_ros.markers_node import FRAMES, triangle_count

__all__ = ['main']


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one of the commands.

    Args:
        argv: the arguments after `decomr bag`; None: those of this process.

    Returns:
        The exit code: 2 for a bag or a video that cannot be used.
    """
    options = _parse(argv)
    try:
        text, report = options.handler(options)
    except (OSError, ValueError) as error:
        if os.environ.get('DECOMR_DEBUG'):
            raise
        reason = str(error)
        if isinstance(error, OSError) and error.filename is not None and error.strerror:
            reason = f'{error.filename}: {error.strerror}'
        sys.stderr.write(f'decomr bag {options.command}: {" ".join(reason.split())}\n')
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
    report = add_markers(
        options.bag, options.out, options.namespace, options.triangles, options.tf
    )
    text = (
        f'{report["out"]}: {report["size_mb"]:.1f} MB; {report["markers"]} for '
        f'{report["messages"]} mesh messages, {report["with_markers"]} of them with people'
    )
    if report['without_position']:
        text += (
            f'; {report["without_position"]} meshes without a position are left out: there '
            'was no calibration (camera_info) for their images'
        )
    return text, report


def _replay(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    if options.out.exists():
        raise ValueError(f'{options.out} already exists; choose another --out or remove it')
    if not options.out.absolute().parent.is_dir():
        raise ValueError(
            f'there is no folder {options.out.parent}; create it, or choose another --out'
        )
    if options.out.suffix.lower() not in VIDEO_SUFFIXES:
        raise ValueError(
            f'{options.out} has the suffix {options.out.suffix!r}, expected one of: '
            f'{" ".join(VIDEO_SUFFIXES)}'
        )
    if options.stamps is not None and options.video is None:
        raise ValueError('--stamps belongs to a video file; give the file with --video')
    report = replay_overlay(
        options.bag,
        options.out,
        options.video,
        options.stamps,
        options.namespace,
        options.image,
        options.rectified,
    )
    return (
        f'{report["out"]}: {report["pictures"]} images ({report["background"]}), '
        f'{report["pictures_with_people"]} of them with people; {report["frames"]} frames of '
        f'{report["width"]}x{report["height"]} px at {report["rate_hz"]:g} Hz; each image is '
        'shown until the stamp of the next one',
        report,
    )


def _compact(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    report = compact_bag(options.bag, options.out, options.max_error_mm, options.compression)
    errors = ''.join(
        f', error of vertices on {topic} at most {error_mm:g} mm'
        for topic, error_mm in report['vertices_max_error_mm'].items()
        if error_mm
    )
    return (
        f'{report["out"]}: {report["messages"]} messages, {report["size_after_mb"]:.1f} MB '
        f'instead of {report["size_before_mb"]:.1f} MB{errors}',
        report,
    )


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument('bag', type=Path, metavar='BAG', help='folder of a bag, or a .mcap file')
    common.add_argument(
        '--json', action='store_true', help='print one JSON object on the last line'
    )
    parser = argparse.ArgumentParser('decomr bag', description=__doc__.partition('\n')[0])
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    commands.add_parser(
        'info', parents=[common], help='show topics, rates, gaps, and when each person was seen'
    ).set_defaults(handler=_info)
    _add_markers(commands, common)
    _add_replay(commands, common)
    _add_compact(commands, common)
    return parser.parse_args(argv)


def _add_markers(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    markers = commands.add_parser(
        'markers', parents=[common], help='make a copy with markers and /tf, for Foxglove'
    )
    markers.set_defaults(handler=_markers)
    markers.add_argument(
        '--out', type=Path, required=True, metavar='FOLDER', help='new folder of the copy'
    )
    markers.add_argument('--namespace', help='namespace of the node, if the bag contains several')
    markers.add_argument(
        '--triangles',
        type=triangle_count,
        default=4000,
        metavar='N',
        help='approximate number of triangles per person; 0: all (4000)',
    )
    markers.add_argument(
        '--tf',
        choices=FRAMES,
        default='bodies',
        help='frames on /tf: none, bodies, or bodies and joints (bodies)',
    )


def _add_replay(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    replay = commands.add_parser(
        'replay-overlay', parents=[common], help='render the meshes over their images into a video'
    )
    replay.set_defaults(handler=_replay)
    replay.add_argument(
        '--out', type=Path, required=True, metavar='OUT.mp4', help='video to write'
    )
    replay.add_argument(
        '--video',
        type=Path,
        metavar='VIDEO|BAG',
        help='source of the images if the bag contains none',
    )
    replay.add_argument(
        '--stamps',
        type=Path,
        metavar='FILE',
        help='stamps of a video file: lines of frame index, stamp (ns); default: '
        'its first frame has the stamp of the first meshes, the others '
        'follow at its frame rate',
    )
    replay.add_argument('--namespace', help='namespace of the node, if the bag contains several')
    replay.add_argument(
        '--image', metavar='TOPIC', help="image topic to use; default: the camera's"
    )
    replay.add_argument(
        '--rectified',
        action='store_true',
        help='the images are rectified: use P of camera_info instead of K',
    )


def _add_compact(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    compact = commands.add_parser(
        'compact',
        parents=[common],
        help='make a smaller copy: meshes rounded to less than a millimetre, compressed with zstd',
    )
    compact.set_defaults(handler=_compact)
    compact.add_argument(
        '--out', type=Path, required=True, metavar='FOLDER', help='folder of the copy'
    )
    compact.add_argument(
        '--max-error-mm',
        type=max_error_mm,
        default=DEFAULT_MAX_ERROR_MM,
        help=f'largest rounding error of vertices, mm ({DEFAULT_MAX_ERROR_MM:g}); 0: exact',
    )
    compact.add_argument(
        '--compression',
        choices=list(COMPRESSIONS),
        help='compression of the copy (zstd if the Python package zstandard is '
        'installed, otherwise lz4)',
    )


if __name__ == '__main__':
    raise SystemExit(main())
