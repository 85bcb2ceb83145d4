"""Benchmarks of the node in real processes: latency, many people, long-term operation.

    python -m benchmarks.node latency --out latency.json    # 1280x720 at 30 Hz, about 2 minutes
    python -m benchmarks.node people --out people.json      # 1, 5, 10, 20 people, about 2 minutes
    python -m benchmarks.node soak --seconds 1800 --out soak.json       # default: 60 s

A camera, the node and a listener run in separate processes, which end with this one. The images
show people from the demo clip. `latency` and `people` give the node the boxes of these people
instead of running the detector, so that the results do not depend on it. `soak` runs the
unmodified node with its default parameters. Results are not meaningful if `stolen_percent` is
high: processor time that the host of a virtual machine gave to others.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.node_programs import LISTENING, START_TIMEOUT_S
from benchmarks.node_report import latency_report, people_report, soak_report, transport_report
from benchmarks.node_scene import crowd, people_entering_and_leaving
from decomr_core.base.assets import DATA_FOLDER
from decomr_core.commands.bench import measured_on
from decomr_core.runtimes import RUNTIMES
from decomr_ros.programs.child_processes import ChildProcesses
from decomr_ros.settings.parameters import NodeParameters

CLIP = DATA_FOLDER / 'demo_clip.mp4'
FASTDDS = Path(__file__).resolve().parents[1] / 'config' / 'node' / 'fastdds.xml'
CROWDS = (1, 5, 10, 20)
# Time for the last messages to arrive, s.
DRAIN_S = 1.0
SAMPLE_PERIOD_S = 5.0
TRANSPORT_FRAMES = 300


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = _parse(arguments)
    measure = {'latency': measure_latency, 'people': measure_people, 'soak': measure_soak}
    before = _processor_time()
    try:
        report = measure[options.what](options)
    except (RuntimeError, ValueError, OSError) as error:
        sys.stderr.write(f'benchmarks.node: {error}\n')
        return 1
    total, stolen = (now - then for now, then in zip(_processor_time(), before, strict=True))
    report = {
        'what': options.what,
        **report,
        **measured_on(_packages(options.runtime)),
        'stolen_percent': round(100 * stolen / max(total, 1), 2),
    }
    options.out.write_text(json.dumps(report, indent=1) + '\n', encoding='utf-8')
    shown = {name: value for name, value in report.items() if name != 'samples'}
    sys.stdout.write(json.dumps(shown) + '\n')
    return 0


def measure_latency(options: argparse.Namespace) -> dict[str, Any]:
    """Latency of images alone, then of the node with one person, without and with markers."""
    count = round(options.seconds * options.rate)
    with Stage(options) as stage:
        image, boxes = crowd(1, CLIP)
        stage.show(image[None], boxes)
        stage.run(min(count, TRANSPORT_FRAMES), ('image',), with_node=False, whole=True)
        report: dict[str, Any] = {
            'rate_hz': options.rate,
            'size': list(image.shape[1::-1]),
            'transport_alone': transport_report(stage.received('image')),
        }
        for name, topics in (
            ('meshes', ('human_meshes',)),
            ('meshes_and_markers', ('human_meshes', 'markers')),
        ):
            published = stage.run(count, topics)
            report[name] = latency_report(published, stage.records(), stage.trace())
    medians = [
        report[name]['outside_network_ms']['p50'] for name in ('meshes', 'meshes_and_markers')
    ]
    report['markers_add_ms'] = round(medians[1] - medians[0], 2)
    return report


def measure_people(options: argparse.Namespace) -> dict[str, Any]:
    """Latency for increasing numbers of people, at a rate that the node can keep up with."""
    count = round(options.seconds * options.rate)
    crowds = {}
    for people in CROWDS:
        with Stage(options) as stage:
            image, boxes = crowd(people, CLIP)
            stage.show(image[None], boxes)
            published = stage.run(count, ('human_meshes',), ids=True)
            crowds[people] = {
                **latency_report(published, stage.records(), stage.trace()),
                **people_report(stage.records(), people),
            }
    first, last = (
        crowds[people]['stamp_to_publish_ms']['p50'] for people in (CROWDS[0], CROWDS[-1])
    )
    return {
        'rate_hz': options.rate,
        'crowds': crowds,
        'latency_growth': round(last / first, 2),
        'people_growth': CROWDS[-1] / CROWDS[0],
    }


def measure_soak(options: argparse.Namespace) -> dict[str, Any]:
    """Memory and latency of the unmodified node over time, with people who come and go."""
    count = round(options.seconds * options.rate)
    with Stage(options) as stage:
        stage.show(np.stack(list(people_entering_and_leaving(CLIP))))
        samples: list[dict[str, float]] = []
        published = stage.run(count, ('human_meshes',), observed=False, samples=samples)
        return {
            'rate_hz': options.rate,
            'seconds': options.seconds,
            **soak_report(published, stage.records(), samples),
            'samples': samples,
        }


class Stage:
    """Runs the processes in their own ROS domain, with a folder for their files."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Creates the folder; `options` is the parsed command line."""
        self._options = options
        self._temporary = tempfile.TemporaryDirectory(prefix='decomr_node_bench_')
        self._folder = Path(self._temporary.name)
        self._environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
        self._environment.setdefault('ROS_DOMAIN_ID', str(random.SystemRandom().randint(1, 100)))
        for name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'):
            self._environment[name] = str(FASTDDS)

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self._temporary.cleanup()

    def show(self, frames: np.ndarray, boxes: np.ndarray | None = None) -> None:
        """Sets the camera's frames, (N, H, W, 3) uint8 BGR, and the boxes in them, (P, 4) px."""
        np.save(self._folder / 'frames.npy', frames)
        if boxes is not None:
            np.save(self._folder / 'boxes.npy', boxes)

    def run(
        self,
        count: int,
        topics: Sequence[str],
        *,
        with_node: bool = True,
        observed: bool = True,
        ids: bool = False,
        whole: bool = False,
        samples: list[dict[str, float]] | None = None,
    ) -> dict[str, Any]:
        """Runs camera, node and listener until the camera has published all images.

        Args:
            count: number of images.
            topics: topics that the listener subscribes to.
            with_node: whether the node runs; otherwise only the listener receives the images.
            observed: whether the node records the times of its estimates and is given the boxes.
            ids: whether the listener records the ids in each message.
            whole: whether the listener deserialises each message.
            samples: list to which the node's memory, threads and files are appended over time.

        Returns:
            The camera's report.

        Raises:
            RuntimeError: a process ended too early, or the processes did not discover each other.
        """
        start = self._folder / 'start'
        start.unlink(missing_ok=True)
        flags = [flag for flag, is_set in (('--ids', ids), ('--whole', whole)) if is_set]
        with ChildProcesses(self._folder, self._environment) as children:
            if with_node:
                children.start('node', *self._node_arguments(observed))
            children.start(
                'camera',
                '-m',
                'benchmarks.node_programs',
                'camera',
                '--frames',
                self._folder / 'frames.npy',
                '--count',
                count,
                '--rate',
                self._options.rate,
                '--start-file',
                start,
            )
            children.start(
                'listener',
                '-m',
                'benchmarks.node_programs',
                'listener',
                '--topics',
                *topics,
                *flags,
                '--out',
                self._folder / 'received.npz',
            )
            running = ['camera', 'listener', *(['node'] if with_node else [])]
            self._wait_for_discovery(children, running)
            start.touch()
            self._watch(children, running, samples)
            output = children.stop('camera')
            time.sleep(DRAIN_S)
            for name in reversed(running[1:]):
                children.stop(name)
        return json.loads(output.splitlines()[-1])

    def records(self) -> dict[str, Any]:
        """The records of the last run's listener; JSON decoded."""
        return _load(self._folder / 'received.npz')

    def received(self, topic: str) -> np.ndarray:
        """(N, 4) int64 ns of a topic; see `benchmarks.node_programs.listener`."""
        return self.records()[topic]

    def trace(self) -> dict[str, Any]:
        """The records of the last run's node."""
        return _load(self._folder / 'trace.npz')

    def _node_arguments(self, observed: bool) -> list[object]:
        options = self._options
        parameters = {
            'runtime': options.runtime,
            'max_people': max(CROWDS),
            'threads': options.threads,
            'exit_on_failed_autostart': 'true',
        }
        ros = [
            '--ros-args',
            *(word for name, value in parameters.items() for word in ('-p', f'{name}:={value}')),
        ]
        if not observed:
            return ['-m', 'decomr_ros.decomr_node', *ros]
        return [
            '-m',
            'benchmarks.node_programs',
            'node',
            '--trace',
            self._folder / 'trace.npz',
            '--boxes',
            self._folder / 'boxes.npy',
            *ros,
        ]

    def _wait_for_discovery(self, children: ChildProcesses, running: Sequence[str]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while LISTENING not in children.log('listener') or (
            'node' in running and 'active' not in children.log('node')
        ):
            children.check(*running)
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f'the processes did not discover each other within {START_TIMEOUT_S:g} s'
                )
            time.sleep(0.1)
        time.sleep(DRAIN_S)

    @staticmethod
    def _watch(
        children: ChildProcesses, running: Sequence[str], samples: list[dict[str, float]] | None
    ) -> None:
        """Waits for the end of the camera; samples the node's resources if requested."""
        started = due = time.monotonic()
        while children.is_running('camera'):
            children.check(*running[1:])
            if samples is not None and time.monotonic() >= due:
                due += SAMPLE_PERIOD_S
                samples.append(
                    {
                        'seconds': round(time.monotonic() - started, 1),
                        **_resources(children.pid('node')),
                    }
                )
            time.sleep(0.2)


def _resources(pid: int) -> dict[str, float]:
    """Resident memory (total and anonymous, MiB), threads and open files of a process."""
    lines = Path(f'/proc/{pid}/status').read_text(encoding='utf-8').splitlines()
    values = dict(line.split(':', 1) for line in lines)
    resident, own = (
        round(int(values[name].split()[0]) / 1024, 1) for name in ('VmRSS', 'RssAnon')
    )
    return {
        'memory_mib': resident,
        'own_memory_mib': own,
        'threads': int(values['Threads']),
        'files': len(os.listdir(f'/proc/{pid}/fd')),
    }


def _processor_time() -> tuple[int, int]:
    """Time of all processors in ticks: total, and stolen by the host of a virtual machine."""
    line = Path('/proc/stat').read_text(encoding='utf-8').partition('\n')[0]
    ticks = [int(word) for word in line.split()[1:9]]
    return sum(ticks), ticks[7]


def _load(path: Path) -> dict[str, Any]:
    """The content of an npz file; strings are decoded as JSON."""
    with np.load(path) as file:
        return {
            name: json.loads(str(value)) if value.dtype.kind == 'U' else value
            for name, value in file.items()
        }


def _packages(runtime: str) -> dict[str, str]:
    name = runtime.partition(':')[0]
    return {name: RUNTIMES[name][0], 'numpy': 'numpy', 'rclpy': 'ros-jazzy-rclpy'}


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.node',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('what', choices=('latency', 'people', 'soak'))
    parser.add_argument('--out', type=Path, required=True, help='JSON file to write')
    parser.add_argument(
        '--seconds',
        type=float,
        help='duration of each run; default: latency 33.4, people 15, soak 60',
    )
    parser.add_argument('--rate', type=float, help='image rate, Hz; default: people 8, others 30')
    parser.add_argument('--runtime', default=NodeParameters().runtime)
    parser.add_argument(
        '--threads', type=int, default=0, help='CPU threads of the runtime; 0: the runtime decides'
    )
    options = parser.parse_args(arguments)
    defaults = {'latency': (33.4, 30.0), 'people': (15.0, 8.0), 'soak': (60.0, 30.0)}
    seconds, rate = defaults[options.what]
    options.seconds = seconds if options.seconds is None else options.seconds
    options.rate = rate if options.rate is None else options.rate
    if options.seconds <= 0 or options.rate <= 0:
        parser.error(
            f'--seconds is {options.seconds:g} and --rate is {options.rate:g}, expected '
            'numbers above 0'
        )
    return options


if __name__ == '__main__':
    raise SystemExit(main())
