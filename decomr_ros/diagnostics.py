"""What the node counts, its line of rates in the log, and its status on /diagnostics."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

if TYPE_CHECKING:
    from rclpy.node import Node

    from decomr_core.structures import StageTimes
    from decomr_ros.frame_worker import WorkerCounts

__all__ = ['FrameRecord', 'FrameStatistics', 'publish_status']

# Rates and percentiles are over the last frames only: 10 s of a 60 Hz camera.
WINDOW = 600


class FrameRecord(NamedTuple):
    """One processed frame."""

    finished_s: float
    """Monotonic time."""
    latency_ms: float
    """From the image's stamp to the published mesh."""
    people: int
    stages_ms: dict[str, float]


class FrameStatistics:
    """The last frames; written by the worker thread, read by the timers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: deque[FrameRecord] = deque(maxlen=WINDOW)
        self.published = 0
        self.last_problem = ''

    def add(self, latency_ms: float, people: int, times: StageTimes) -> None:
        """Counts a frame whose meshes have just been published."""
        with self._lock:
            self.published += 1
            self._records.append(FrameRecord(time.monotonic(), latency_ms, people,
                                             dict(times.stages_ms)))

    def add_problem(self, problem: str) -> None:
        """Remembers why a frame could not be processed."""
        with self._lock:
            self.last_problem = problem

    def values(self, counts: WorkerCounts, period_s: float) -> dict[str, str]:
        """Everything worth telling about the last `period_s`, as text by name."""
        with self._lock:
            since_s = time.monotonic() - period_s
            records = [record for record in self._records if record.finished_s > since_s]
        values = {
            'frames_received': counts.received, 'frames_skipped_for_newer':
            counts.skipped_for_newer, 'frames_failed': counts.failed,
            'meshes_published': self.published, 'rate_hz': f'{len(records) / period_s:.1f}'}
        if records:
            latencies = [record.latency_ms for record in records]
            values['people'] = records[-1].people
            values['latency_p50_ms'] = f'{np.percentile(latencies, 50):.1f}'
            values['latency_p99_ms'] = f'{np.percentile(latencies, 99):.1f}'
            for stage in records[-1].stages_ms:
                mean_ms = np.mean([record.stages_ms.get(stage, 0.0) for record in records])
                values[f'{stage}_ms'] = f'{mean_ms:.1f}'
        if self.last_problem:
            values['last_problem'] = self.last_problem
        return {name: str(value) for name, value in values.items()}


def publish_status(node: Node, publisher: object, state: str, values: dict[str, str]) -> None:
    """One DiagnosticArray with the node's status.

    Args:
        node: whose name and clock it carries.
        publisher: of /diagnostics.
        state: label of the lifecycle state.
        values: details.
    """
    is_failing = int(values.get('frames_failed', 0)) > 0
    status = DiagnosticStatus(
        name=node.get_fully_qualified_name(), hardware_id='decomr',
        level=DiagnosticStatus.WARN if is_failing else DiagnosticStatus.OK,
        message=f'{state}; {values["last_problem"]}' if is_failing else state,
        values=[KeyValue(key=key, value=value) for key, value in values.items()])
    message = DiagnosticArray(status=[status])
    message.header.stamp = node.get_clock().now().to_msg()
    publisher.publish(message)
