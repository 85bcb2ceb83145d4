"""Reports about a bag: topics, rates, gaps, when each person was seen; statistics of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from decomr.msg import HumanMeshArray, MeshTopology
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.serialization import deserialize_message

from decomr_ros.bags.mcap_reading import read_bag, read_topics
from decomr_ros.bags.recording import MESHES, TOPOLOGY, find_mesh_topics
from decomr_ros.bags.rounded_meshes import MAX_ERROR_KEY
from decomr_ros.messages.meshes import nanoseconds_from_stamp

__all__ = ['bag_info', 'bag_info_text', 'summarize_bag']

# A gap is longer than this, s, and longer than this multiple of the median interval.
GAP_S, GAP_INTERVALS = 0.25, 4.0
# Of a run: the node's topics and name, and the counts in its status.
RUN_MESHES, RUN_STATUS, RUN_NODE = '/human_meshes', '/diagnostics', '/decomr'
COUNTS = ('frames_received', 'frames_skipped_for_newer', 'frames_failed', 'meshes_published')


def bag_info(bag: Path) -> dict[str, Any]:
    """Reads the whole bag once.

    Args:
        bag: folder or .mcap file.

    Returns:
        bag, size_mb, start_ns and duration_s (by the recorder's clock), messages; topics: name,
        type, count and rate_hz of each; meshes: for each mesh topic the result of
        `_MeshLog.report`.

    Raises:
        FileNotFoundError: there is no bag.
        ValueError: it is damaged, contains no meshes, or meshes of another topology.
    """
    recorded = read_topics(bag)
    types = {name: topic.type_name for name, topic in recorded.items()}
    logs = {
        topic: _MeshLog(topic, float(recorded[topic].metadata.get(MAX_ERROR_KEY, 0)))
        for topic in find_mesh_topics(bag, types)
    }
    times: dict[str, list[int]] = {topic: [] for topic in types}
    topologies: dict[str, MeshTopology] = {}
    for message in read_bag(bag):
        times.setdefault(message.topic, []).append(message.receive_ns)
        if message.type_name == MESHES:
            logs[message.topic].add(
                deserialize_message(message.data, HumanMeshArray), message.publish_ns
            )
        elif message.type_name == TOPOLOGY:
            topologies[message.topic.rpartition('/')[0]] = deserialize_message(
                message.data, MeshTopology
            )
    for topic, log in logs.items():
        log.topology = topologies.get(topic.rpartition('/')[0])
        log.check(bag)
    everything = [moment for moments in times.values() for moment in moments]
    files = [bag] if bag.is_file() else list(bag.iterdir())
    return {
        'bag': str(bag),
        'size_mb': round(sum(path.stat().st_size for path in files) / 1e6, 3),
        'start_ns': min(everything),
        'messages': len(everything),
        'duration_s': round((max(everything) - min(everything)) / 1e9, 3),
        'topics': [
            {
                'name': name,
                'type': types[name],
                'count': len(moments),
                'rate_hz': _mean_rate_hz(moments),
            }
            for name, moments in sorted(times.items())
        ],
        'meshes': [log.report() for log in logs.values()],
    }


def bag_info_text(report: dict[str, Any]) -> str:
    """The report of `bag_info` as text."""
    lines = [
        f'{report["bag"]}: {report["duration_s"]:.1f} s, {report["messages"]} messages, '
        f'{report["size_mb"]:.1f} MB'
    ]
    lines += [
        f'  {topic["name"]:<32}{topic["count"]:>8}{topic["rate_hz"]:>8.1f} Hz  {topic["type"]}'
        for topic in report['topics']
    ]
    for log in report['meshes']:
        lines.append(
            f'{log["topic"]}: {log["rate_hz"]:.1f} Hz, latency p50 '
            f'{log["latency_p50_ms"]:.0f} ms, people in {log["with_people"]} of '
            f'{log["messages"]} images, at most {log["people_max"]} at once, body '
            f'{log["body"] or "unknown (no topology recorded)"}, frame {log["frame_id"]},'
            f' vertices {_error_text(log["vertices_max_error_mm"])}'
        )
        lines += [
            f'  person {person["id"]:>4}: {person["first_s"]:8.2f} s to '
            f'{person["last_s"]:8.2f} s, {person["images"]} images'
            for person in log['people']
        ]
        lines += [
            f'  gap of {gap["length_s"]:.2f} s at {gap["start_s"]:.2f} s' for gap in log['gaps']
        ] or ['  no gaps']
    return '\n'.join(lines)


def summarize_bag(bag: Path, started_ns: int) -> dict[str, Any]:
    """The statistics of a run.

    Args:
        bag: of the run.
        started_ns: start of the demo, ns since the epoch.

    Returns:
        frames_received, frames_skipped_for_newer, frames_failed and meshes_published, as counted
        by the node; meshes: number of messages on human_meshes in the bag; people: number of
        meshes in them, people_max: largest number in one message; fps: messages per second from
        the first to the last; latency_ms: from the image's stamp to the publication of its meshes
        (DDS source timestamp); first_mesh_s: from the start of the demo to the first message;
        bag_messages: number of messages by topic.
    """
    counts = dict.fromkeys(COUNTS, 0)
    topics: dict[str, int] = {}
    log = _MeshLog(RUN_MESHES)
    for message in read_bag(bag):
        topics[message.topic] = topics.get(message.topic, 0) + 1
        if message.topic == RUN_MESHES:
            log.add(deserialize_message(message.data, HumanMeshArray), message.publish_ns)
        elif message.topic == RUN_STATUS:
            counts.update(_counts_from_status(message.data))
    return {
        **counts,
        'meshes': len(log.counts),
        'people': sum(log.counts),
        'people_max': max(log.counts, default=0),
        'fps': _mean_rate_hz(log.published_ns),
        'latency_ms': {
            f'p{part}': round(float(np.percentile(log.latencies_ms, part)), 2)
            if log.latencies_ms
            else None
            for part in (50, 99)
        },
        'first_mesh_s': (
            round((log.published_ns[0] - started_ns) / 1e9, 2) if log.published_ns else None
        ),
        'bag_messages': topics,
    }


class _MeshLog:
    """Statistics of one mesh topic."""

    def __init__(self, topic: str, max_error_mm: float = 0.0) -> None:
        self.topic, self._max_error_mm = topic, max_error_mm
        self.topology: MeshTopology | None = None
        self._stamps_ns: list[int] = []
        self.published_ns: list[int] = []
        self.latencies_ms: list[float] = []
        self.counts: list[int] = []
        self._people: dict[int, list[int]] = {}
        self._hashes: set[str] = set()
        self._frame_id = ''

    def add(self, array: HumanMeshArray, publish_ns: int) -> None:
        """Adds the meshes of one image."""
        stamp_ns = nanoseconds_from_stamp(array.header.stamp)
        self._stamps_ns.append(stamp_ns)
        self.published_ns.append(publish_ns)
        self.latencies_ms.append((publish_ns - stamp_ns) / 1e6)
        self.counts.append(len(array.meshes))
        self._hashes.add(array.topology_hash)
        self._frame_id = array.header.frame_id
        for mesh in array.meshes:
            self._people.setdefault(mesh.id, []).append(stamp_ns)

    def check(self, bag: Path) -> None:
        """Compares the meshes with their topology.

        Raises:
            ValueError: they belong to another body.
        """
        if self.topology is None:
            return
        others = self._hashes - {self.topology.hash}
        if others:
            raise ValueError(
                f'{bag}: the meshes on {self.topic} belong to the body '
                f'{min(others)[:12]}, the topology to {self.topology.hash[:12]}; '
                'record both topics of one node'
            )

    def report(self) -> dict[str, Any]:
        """Rates, gaps and people; times in seconds from the stamp of the first image."""
        first = self._stamps_ns[0]

        def seconds(stamp_ns: int) -> float:
            """Time since the first image, s."""
            return round((stamp_ns - first) / 1e9, 3)

        intervals = np.diff(self._stamps_ns) / 1e9
        limit_s = max(GAP_S, GAP_INTERVALS * float(np.median(intervals))) if len(intervals) else 0
        return {
            'topic': self.topic,
            'frame_id': self._frame_id,
            'body': self.topology.body_name if self.topology is not None else None,
            'messages': len(self._stamps_ns),
            'rate_hz': _mean_rate_hz(self._stamps_ns),
            'vertices_max_error_mm': self._max_error_mm,
            'latency_p50_ms': round(float(np.median(self.latencies_ms)), 2),
            'with_people': sum(count > 0 for count in self.counts),
            'people_max': max(self.counts),
            'gaps': [
                {
                    'start_s': seconds(self._stamps_ns[index]),
                    'length_s': round(float(intervals[index]), 3),
                }
                for index in np.flatnonzero(intervals > limit_s)
            ],
            'people': [
                {
                    'id': number,
                    'first_s': seconds(stamps[0]),
                    'last_s': seconds(stamps[-1]),
                    'images': len(stamps),
                }
                for number, stamps in sorted(self._people.items())
            ],
        }


def _counts_from_status(data: bytes) -> dict[str, int]:
    """The counts in the node's status; empty if the message is from another node."""
    return {
        value.key: int(value.value)
        for status in deserialize_message(data, DiagnosticArray).status
        if status.name == RUN_NODE
        for value in status.values
        if value.key in COUNTS
    }


def _error_text(max_error_mm: float) -> str:
    return f'rounded (error at most {max_error_mm:g} mm)' if max_error_mm else 'as published'


def _mean_rate_hz(moments_ns: list[int]) -> float:
    span_s = (moments_ns[-1] - moments_ns[0]) / 1e9 if len(moments_ns) > 1 else 0.0
    return round((len(moments_ns) - 1) / span_s, 2) if span_s > 0 else 0.0
