"""Statistics of the processed images and the node's status on /diagnostics.

The level follows REP-107. OK: meshes are published on time. WARN: meshes are late, some images
fail, or an input is wrong or unused. ERROR: the node is active but publishes no meshes, or a
transition failed. STALE: the node is not active, so its earlier results are out of date.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

if TYPE_CHECKING:
    from rclpy.node import Node

    from decomr_core.base.structures import StageTimes
    from decomr_ros.pipeline.frame_worker import WorkerCounts

__all__ = [
    'FrameRecord',
    'FrameStatistics',
    'NodeState',
    'error_cause',
    'status_message',
    'status_of',
]

# Rates, percentiles and failures cover the last seconds of this length.
WINDOW_S = 5.0
# Length of the history, images: more than any camera sends in that time.
HISTORY_LENGTH = 2000
# Attribute of an exception that holds its cause.
CAUSE = 'cause'


class FrameRecord(NamedTuple):
    """One processed image."""

    finished_s: float
    """Monotonic time of publication."""
    latency_ms: float
    """From the image's stamp to the publication of its meshes."""
    people: int
    stages_ms: dict[str, float]


@dataclass(frozen=True)
class NodeState:
    """What the status of the node depends on."""

    state: str
    """Label of the lifecycle state."""
    last_failure: str = ''
    """Why the last transition failed; empty if it succeeded."""
    frame_age_s: float = 0.0
    """Time since meshes were published, or since the activation if there were none."""
    image_age_s: float = 0.0
    """Time since an image arrived, or since the activation if there was none."""
    warn_s: float = 1.0
    """`frame_age_s` from which the level is WARN."""
    error_s: float = 5.0
    """`frame_age_s` from which the level is ERROR."""
    image_topic: str = 'image'
    failed: int = 0
    """Number of images that failed in the last `WINDOW_S`."""
    last_problem: str = ''
    """Why the last of them failed."""
    rates: str = ''
    """The rates in words, for the level OK."""
    warnings: str = ''
    """Summary of the active warnings; empty if there are none."""


def status_of(node: NodeState) -> tuple[bytes, str]:
    """The level of the status and a message that gives the reason."""
    also = f'; {node.warnings}' if node.warnings else ''
    if node.last_failure:
        return DiagnosticStatus.ERROR, f'{node.state}; {node.last_failure}'
    if node.state != 'active':
        return DiagnosticStatus.STALE, f'{node.state}; no meshes are published in this state'
    if node.frame_age_s >= min(node.warn_s, node.error_s):
        level = (
            DiagnosticStatus.ERROR if node.frame_age_s >= node.error_s else DiagnosticStatus.WARN
        )
        if node.image_age_s >= min(node.warn_s, node.error_s):
            return level, f'no image on {node.image_topic} for {node.image_age_s:.1f} s{also}'
        why = f'; {node.last_problem}' if node.failed else ''
        return level, f'images arrive, but no meshes for {node.frame_age_s:.1f} s{why}{also}'
    if node.failed:
        return DiagnosticStatus.WARN, (
            f'{node.failed} images failed in the last {WINDOW_S:g} s; {node.last_problem}{also}'
        )
    if node.warnings:
        return DiagnosticStatus.WARN, f'{node.warnings}; {node.rates}'
    return DiagnosticStatus.OK, f'active; {node.rates}'


class FrameStatistics:
    """Counts and recent history of the images; thread-safe.

    Written by the worker and the executor, read by the timers.

    Attributes:
        published: number of mesh messages.
        empty: number of mesh messages without people.
        failures: number of failed images by cause.
        lost: number of images that were lost in transport, as counted by the middleware; None if
            it does not count them.
        last_problem: why the last failed image failed; empty if none failed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: deque[FrameRecord] = deque(maxlen=HISTORY_LENGTH)
        self._arrivals_s: deque[float] = deque(maxlen=HISTORY_LENGTH)
        self._failures_s: deque[float] = deque(maxlen=HISTORY_LENGTH)
        self._losses_s: deque[float] = deque(maxlen=HISTORY_LENGTH)
        self._activated_s = time.monotonic()
        self.published = self.empty = 0
        self.failures: Counter[str] = Counter()
        self.lost: int | None = None
        self.last_problem = ''

    def activate(self) -> None:
        """Clears the history and restarts the ages and rates; the counts stay."""
        with self._lock:
            self._activated_s = time.monotonic()
            for times in (self._records, self._arrivals_s, self._failures_s, self._losses_s):
                times.clear()

    def add_arrival(self) -> None:
        """Records the arrival of an image."""
        with self._lock:
            self._arrivals_s.append(time.monotonic())

    def add(self, latency_ms: float, people: int, times: StageTimes) -> None:
        """Counts an image whose meshes have just been published."""
        with self._lock:
            self.published += 1
            self.empty += people == 0
            self._records.append(
                FrameRecord(time.monotonic(), latency_ms, people, dict(times.stages_ms))
            )

    def add_lost(self, count: int) -> None:
        """Counts images lost in transport; 0 states that the middleware counts them."""
        with self._lock:
            self.lost = (self.lost or 0) + count
            self._losses_s.extend([time.monotonic()] * min(count, HISTORY_LENGTH))

    def add_failure(self, error: Exception) -> None:
        """Counts a failed image by the cause that `error_cause` has set."""
        with self._lock:
            self.failures[getattr(error, CAUSE, 'other')] += 1
            self._failures_s.append(time.monotonic())
            self.last_problem = ' '.join(str(error).split())

    def ages_s(self) -> tuple[float, float]:
        """Seconds since meshes were published and since an image arrived, or since `activate`."""
        with self._lock:
            now_s = time.monotonic()
            frame_s = self._records[-1].finished_s if self._records else self._activated_s
            image_s = self._arrivals_s[-1] if self._arrivals_s else self._activated_s
        return now_s - frame_s, now_s - image_s

    def recent_failures(self) -> int:
        """Number of images that failed in the last `WINDOW_S`."""
        with self._lock:
            return len(_since(self._failures_s, time.monotonic() - WINDOW_S))

    def recent_losses(self) -> tuple[int, int]:
        """Numbers of images that were lost and that arrived in the last `WINDOW_S`."""
        with self._lock:
            since_s = time.monotonic() - WINDOW_S
            return len(_since(self._losses_s, since_s)), len(_since(self._arrivals_s, since_s))

    def rates_hz(self, period_s: float = WINDOW_S) -> tuple[float, float]:
        """Images received and mesh messages published per second in the last `period_s`."""
        with self._lock:
            now_s = time.monotonic()
            # A node that was activated recently has a shorter history.
            span_s = min(period_s, max(now_s - self._activated_s, 1e-3))
            finished_s = [record.finished_s for record in self._records]
            return (_rate_hz(self._arrivals_s, now_s, span_s), _rate_hz(finished_s, now_s, span_s))

    def values(self, counts: WorkerCounts, period_s: float = WINDOW_S) -> dict[str, str]:
        """The values for /diagnostics as text by name, with means over the last `period_s`.

        The counts start when the node is configured.
        """
        rate_in_hz, rate_hz = self.rates_hz(period_s)
        with self._lock:
            since_s = time.monotonic() - period_s
            records = [record for record in self._records if record.finished_s > since_s]
            failures = {
                f'frames_failed_{cause}': count for cause, count in sorted(self.failures.items())
            }
        values: dict[str, int | str] = {
            'frames_received': counts.received,
            'frames_skipped_for_newer': counts.skipped_for_newer,
            'frames_failed': counts.failed,
            **failures,
            'frames_lost_in_transport': 'unknown' if self.lost is None else self.lost,
            'meshes_published': self.published,
            'meshes_published_without_people': self.empty,
            'rate_in_hz': f'{rate_in_hz:.1f}',
            'rate_hz': f'{rate_hz:.1f}',
        }
        if records:
            values['people'] = records[-1].people
            latencies = [record.latency_ms for record in records]
            for part in (50, 95, 99):
                values[f'latency_p{part}_ms'] = f'{np.percentile(latencies, part):.1f}'
            for stage in dict.fromkeys(stage for record in records for stage in record.stages_ms):
                mean_ms = np.mean([record.stages_ms.get(stage, 0.0) for record in records])
                values[f'{stage}_ms'] = f'{mean_ms:.1f}'
        if self.last_problem:
            values['last_problem'] = self.last_problem
        return {name: str(value) for name, value in values.items()}


@contextmanager
def error_cause(cause: str) -> Iterator[None]:
    """Sets the cause of an exception that leaves this block, unless it already has one."""
    try:
        yield
    except Exception as error:
        if not hasattr(error, CAUSE):
            setattr(error, CAUSE, cause)
        raise


def status_message(
    node: Node, level: bytes, message: str, values: Mapping[str, str]
) -> DiagnosticArray:
    """A DiagnosticArray with the node's status.

    Args:
        node: its name and clock are used.
        level: of DiagnosticStatus.
        message: summary of the status.
        values: details by key.
    """
    status = DiagnosticStatus(
        name=node.get_fully_qualified_name(),
        hardware_id='decomr',
        level=level,
        message=message,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
    array = DiagnosticArray(status=[status])
    array.header.stamp = node.get_clock().now().to_msg()
    return array


def _rate_hz(times_s: Sequence[float], now_s: float, span_s: float) -> float:
    """Number of events per second in the last `span_s`."""
    recent = _since(times_s, now_s - span_s)
    if len(recent) == HISTORY_LENGTH:  # the history is shorter than span_s
        span_s = max(now_s - recent[0], 1e-3)
    return len(recent) / span_s


def _since(times_s: Sequence[float], start_s: float) -> list[float]:
    return [time_s for time_s in times_s if time_s > start_s]
