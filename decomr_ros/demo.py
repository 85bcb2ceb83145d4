"""`decomr demo`: plays a video through real ROS 2 and prints a one-screen summary.

It starts three processes: `video_source` publishes the video like a camera, `decomr_node`
estimates meshes, `recorder` writes them to a rosbag2. When the video ends, on SIGINT, or after
`--seconds`, they are stopped in this order. Then the bag is read, `overlay.mp4` is drawn from it,
and the summary is printed. The mesh statistics come from the recorded meshes; the numbers of
received, skipped and published images come from the node's recorded status. The two must agree.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decomr_core.base.assets import find_weights
from decomr_ros.bags.overlay_video import KEPT_VIDEO, LONGEST_HOLD_S, overlay_of_run
from decomr_ros.bags.report import summarize_bag
from decomr_ros.node.installation import fast_dds_profile
from decomr_ros.programs.child_processes import ChildProcesses
from decomr_ros.programs.demo_video import check_video, find_video
from decomr_ros.programs.process import stop_on_signals
from decomr_ros.recorder import READY
from decomr_ros.settings.parameters import CHOICES, NodeParameters

if TYPE_CHECKING:
    import threading

__all__ = ['loading_time_s', 'main', 'run_demo', 'summary_text']

# Time for the node to load its network; at the first start this may include the export, s.
START_TIMEOUT_S = 300.0
# The source starts when this file exists: the recorder is ready.
START_FILE = 'recorder_is_ready'
# Name of the recorder's files.
OWN_BAG_FILE = re.compile(r'bag_\d+\.mcap')
# Time after the end of the source for the meshes of the last image to be published, s.
DRAIN_S = 0.5
# The summary explains a mesh rate below this share of the image rate.
KEEPS_UP = 0.9


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the demo and prints its summary; with --json also one object on the last line.

    Returns:
        The exit code: 0 if meshes were published and all of them are in the bag, 2 for a user
        error, otherwise 1.
    """
    options = _parse(argv)
    try:
        options.video = find_video(options.video)
        check_video(options.video)
        find_weights(options.weights)
        _clear_folder(options.out)
        report = run_demo(options, stop_on_signals())
    except (OSError, ValueError) as error:
        sys.stderr.write(f'decomr demo: {error}\n')
        return 2
    except RuntimeError as error:
        sys.stderr.write(f'decomr demo: {error}\n')
        return 1
    problems = find_problems(report)
    sys.stdout.write(summary_text(report) + '\n')
    for problem in problems:
        sys.stderr.write(f'decomr demo: {problem}\n')
    if options.json:
        sys.stdout.write(json.dumps(report) + '\n')
    return 1 if problems else 0


def run_demo(options: argparse.Namespace, stop: threading.Event) -> dict[str, Any]:
    """Runs the three processes to the end of the video, then evaluates their results.

    Args:
        options: parsed command line.
        stop: set to end early.

    Returns:
        The report, as printed by `--json`.

    Raises:
        RuntimeError: a process failed; the error names it and quotes its last log line.
    """
    out, started_ns = options.out, time.time_ns()
    environment = _environment()
    sys.stderr.write(f'playing {options.video}; the summary is printed at its end\n')
    with ChildProcesses(out, environment) as children:
        source = _play_video(children, options, stop)
    report = {
        'frames_published': source['frames_published'],
        **summarize_bag(out / 'bag', started_ns),
    }
    report.update(
        loading_s=loading_time_s(out / 'source_stamps.csv', started_ns),
        bag=str(out / 'bag'),
        video=str(options.video),
        source_fps=source['fps'],
        ros_domain_id=int(environment['ROS_DOMAIN_ID']),
    )
    if report['meshes'] and not options.no_overlay:
        kept = out / KEPT_VIDEO
        overlay_of_run(
            kept if kept.exists() else options.video,
            out / 'source_stamps.csv',
            out / 'bag',
            out / 'overlay.mp4',
            source,
        )
    overlay = out / 'overlay.mp4'
    report['overlay'] = str(overlay) if overlay.exists() else None
    return report


def _play_video(
    children: ChildProcesses, options: argparse.Namespace, stop: threading.Event
) -> dict[str, Any]:
    """Runs recorder, node and source to the end of the video; returns the source's report."""
    out = options.out
    children.start('recorder', '-m', 'decomr_ros.recorder', '--out', out / 'bag', '--also', 'iuv')
    children.start(
        'node', '-m', 'decomr_ros.decomr_node', '--ros-args', *_node_parameters(options)
    )
    children.start('source', '-m', 'decomr_ros.video_source', *_source_arguments(options))
    # Neither the first image nor the first meshes may be missed.
    while not stop.is_set() and READY not in children.log('recorder'):
        children.check('node', 'recorder', 'source')
        stop.wait(0.05)
    (out / START_FILE).touch()
    while children.is_running('source') and not stop.is_set():
        children.check('node', 'recorder')
        stop.wait(0.1)
    source = json.loads(children.stop('source').splitlines()[-1])
    time.sleep(DRAIN_S)
    children.stop('node')
    children.stop('recorder')
    return source


def loading_time_s(stamps: Path, started_ns: int) -> float | None:
    """Time from the start of the demo to the first image, s.

    The source publishes the first image when the node and the recorder are ready.

    Args:
        stamps: the source's file with lines of frame index, stamp (ns).
        started_ns: start of the demo, ns since the epoch.

    Returns:
        None if no image was published.
    """
    lines = stamps.read_text().split('\n', 1) if stamps.exists() else ['']
    if not lines[0]:
        return None
    return round((int(lines[0].split(',')[1]) - started_ns) / 1e9, 2)


def summary_text(report: dict[str, Any]) -> str:
    """The report on one screen."""
    published, received = report['frames_published'], report['frames_received']
    share = received / published if published else 0.0
    latency = report['latency_ms']
    size_mb = sum(path.stat().st_size for path in Path(report['bag']).iterdir()) / 1e6
    failed = f', {report["frames_failed"]} failed' if report['frames_failed'] else ''
    lines = [
        f'video      {report["video"]}',
        f'frames in  {published} published at {report["source_fps"]:.1f} Hz, {received} received '
        f'({100 * share:.1f} %), {report["frames_skipped_for_newer"]} skipped for a newer '
        f'one{failed}',
        f'frames out {report["meshes"]} mesh messages, {report["fps"]:.1f} Hz, the first '
        f'{report["first_mesh_s"]} s after the start' + _loading_text(report),
        f'latency    p50 {latency["p50"]} ms, p99 {latency["p99"]} ms, from the stamp of the '
        'image to the publication of its meshes',
        f'people     {report["people"]} meshes of people, at most {report["people_max"]} in one '
        'frame',
        f'bag        {report["bag"]} ({size_mb:.0f} MB): '
        + ', '.join(f'{name} {count}' for name, count in sorted(report['bag_messages'].items())),
        f'overlay    {report["overlay"] or "none"}',
    ]
    if report['meshes'] and report['fps'] < KEEPS_UP * report['source_fps']:
        lines.append(_slow_text(report))
    if published and share < 0.95:
        lines.append(
            '           many frames were lost: check that the Fast DDS profile is set '
            '(FASTRTPS_DEFAULT_PROFILES_FILE) and that the machine is not overloaded'
        )
    return '\n'.join(lines)


def _loading_text(report: dict[str, Any]) -> str:
    loading_s = report['loading_s']
    return (
        ''
        if loading_s is None
        else (f', of which {loading_s} s to start the processes and load the networks')
    )


def _slow_text(report: dict[str, Any]) -> str:
    """The consequences of a low mesh rate, and what to try."""
    return (
        f'rate       this machine processed {report["fps"]:.1f} of {report["source_fps"]:.1f} '
        'images per second. In overlay.mp4 the others\n'
        f'           show the last meshes for up to {LONGEST_HOLD_S:g} s, faint and with their '
        'age: these lag behind people who move.\n'
        '           Try: close other programs; use smaller images; run the node with '
        'max_people:=3 or on a GPU.\n'
        '           If boxes still drift off people, --detector-stride 1 runs the detector on '
        'every image'
    )


def find_problems(report: dict[str, Any]) -> list[str]:
    """The reasons why a run is a failure, one sentence each."""
    problems = []
    if not report['frames_published']:
        problems.append('the video source published nothing; see source.log in --out')
    elif not report['frames_received']:
        problems.append('the node received no image; see node.log in --out')
    elif not report['meshes']:
        problems.append('the node published nothing; see node.log in --out')
    if report['meshes'] != report['meshes_published']:
        problems.append(
            f'the bag holds {report["meshes"]} mesh messages, but the node published '
            f'{report["meshes_published"]}; see recorder.log in --out'
        )
    return problems


def _clear_folder(out: Path) -> None:
    """Creates the folder and removes the results of an earlier demo; nothing else.

    Raises:
        FileExistsError: files that no demo wrote are in the way.
    """
    out.mkdir(parents=True, exist_ok=True)
    bag = out / 'bag'
    if bag.exists():
        foreign = [
            path.name
            for path in bag.iterdir()
            if not OWN_BAG_FILE.fullmatch(path.name) and 'metadata.yaml' not in path.name
        ]
        if foreign:
            raise FileExistsError(
                f'{bag} contains {foreign[0]}, which no demo wrote; choose another --out'
            )
    if (out / 'overlay.mp4').exists() and not (out / 'source.log').exists():
        raise FileExistsError(
            f'{out} contains an overlay.mp4 that no demo wrote; choose another --out'
        )
    shutil.rmtree(bag, ignore_errors=True)
    for name in ('overlay.mp4', KEPT_VIDEO, 'source_stamps.csv', START_FILE):
        (out / name).unlink(missing_ok=True)


def _environment() -> dict[str, str]:
    """Environment of the processes: a separate ROS domain unless set, and the Fast DDS profile."""
    environment = dict(os.environ)
    # Separate from robots and other demos on this network; the default domain is 0.
    environment.setdefault('ROS_DOMAIN_ID', str(random.SystemRandom().randint(1, 100)))
    for name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'):
        environment.setdefault(name, str(fast_dds_profile()))
    return environment


def _node_parameters(options: argparse.Namespace) -> list[str]:
    values = {
        name: getattr(options, name)
        for name in ('weights', 'runtime', 'detector', 'detector_stride')
    }
    values['exit_on_failed_autostart'] = 'true'
    return [word for name, value in values.items() for word in ('-p', f'{name}:={value}')]


def _source_arguments(options: argparse.Namespace) -> list[object]:
    arguments: list[object] = [
        options.video,
        '--fov',
        options.fov,
        '--stamps',
        options.out / 'source_stamps.csv',
        '--wait-timeout',
        START_TIMEOUT_S,
    ]
    if options.calibration:
        arguments += ['--calibration', options.calibration]
    if options.seconds:
        arguments += ['--seconds', options.seconds, '--loop']
    if str(options.video).startswith('/dev/'):
        arguments += ['--keep', options.out / KEPT_VIDEO]
    return [*arguments, '--wait-for-subscriber', '--start-file', options.out / START_FILE]


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    defaults = NodeParameters()
    parser = argparse.ArgumentParser('decomr demo', description=__doc__.partition('\n')[0])
    parser.add_argument(
        '--video',
        help='file, folder of images, /dev/videoN, or clip (the '
        'shipped rendered clip); default: vtest.avi of the '
        'Debian package opencv-doc, otherwise clip',
    )
    parser.add_argument(
        '--seconds',
        type=float,
        help='play this long and repeat a shorter video; default: once to the end',
    )
    parser.add_argument(
        '--out', type=Path, default=Path('demo_output'), help='folder of the results (demo_output)'
    )
    parser.add_argument('--json', action='store_true', help='print one JSON object at the end')
    parser.add_argument(
        '--weights', default=defaults.weights, help='rt (shipped) or a .safetensors file'
    )
    parser.add_argument('--runtime', choices=CHOICES['runtime'], default=defaults.runtime)
    parser.add_argument('--detector', choices=CHOICES['detector'], default=defaults.detector)
    parser.add_argument(
        '--detector-stride',
        type=int,
        default=defaults.detector_stride,
        help=f'detect on every n-th image ({defaults.detector_stride})',
    )
    parser.add_argument(
        '--fov',
        type=float,
        default=60.0,
        help='horizontal field of view of the video, degrees (60); it scales the distances',
    )
    parser.add_argument(
        '--calibration',
        type=Path,
        help='YAML file of ROS camera_calibration; takes precedence over --fov',
    )
    parser.add_argument('--no-overlay', action='store_true', help='do not draw overlay.mp4')
    return parser.parse_args(argv)


if __name__ == '__main__':
    raise SystemExit(main())
