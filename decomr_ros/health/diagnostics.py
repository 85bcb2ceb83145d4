"""What the node counts, and what it says of itself on /diagnostics: rates, delays, losses, causes.

The level follows REP-107. OK: meshes come as they should. WARN: they come late, some images fail,
or something that the node was given is not used. ERROR: they do not come although the node is
active, or a transition has failed. STALE: the node is not active, so that nothing it published
before holds any more.
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

__all__ = ['FrameRecord', 'FrameStatistics', 'Situation', 'failing_as', 'judge', 'status_message']

# Rates, percentiles and failures are those of the last time so long, s.
WINDOW_S = 5.0
# So many images are remembered: more than come in that time from any camera.
NUM_REMEMBERED = 2000
# The attribute under which an error carries its cause.
CAUSE = 'cause'


class FrameRecord(NamedTuple):
    """One processed frame."""

    finished_s: float
    """Monotonic time."""
    latency_ms: float
    """From the image's stamp to the published mesh."""
    people: int
    stages_ms: dict[str, float]


@dataclass(frozen=True)
class Situation:
    """What the level of a status depends on."""

    state: str
    """Label of the lifecycle state."""
    last_failure: str = ''
    """Why the last transition failed; empty where it did not."""
    frame_age_s: float = 0.0
    """Since meshes were published, or since the activation if none were."""
    image_age_s: float = 0.0
    """Since an image arrived, likewise."""
    warn_s: float = 1.0
    """A frame older than this is WARN."""
    error_s: float = 5.0
    """A frame older than this is ERROR."""
    image_topic: str = 'image'
    failed: int = 0
    """Images that failed lately."""
    last_problem: str = ''
    """Why the last of them failed."""
    rates: str = ''
    """A phrase for when all is well."""
    warnings: str = ''
    """What the node works on with although it is wrong; empty if nothing is."""


def judge(situation: Situation) -> tuple[bytes, str]:
    """The level of a status and a message that says why."""
    now = situation
    also = f'; {now.warnings}' if now.warnings else ''
    if now.last_failure:
        return DiagnosticStatus.ERROR, f'{now.state}; {now.last_failure}'
    if now.state != 'active':
        return DiagnosticStatus.STALE, f'{now.state}; no meshes are made in this state'
    if now.frame_age_s >= min(now.warn_s, now.error_s):
        level = (DiagnosticStatus.ERROR if now.frame_age_s >= now.error_s
                 else DiagnosticStatus.WARN)
        if now.image_age_s >= min(now.warn_s, now.error_s):
            return level, f'no image on {now.image_topic} for {now.image_age_s:.1f} s{also}'
        why = f'; {now.last_problem}' if now.failed else ''
        return level, f'images come, but no meshes for {now.frame_age_s:.1f} s{why}{also}'
    if now.failed:
        return DiagnosticStatus.WARN, (f'{now.failed} images failed in the last {WINDOW_S:g} s; '
                                       f'{now.last_problem}{also}')
    if now.warnings:
        return DiagnosticStatus.WARN, f'{now.warnings}; {now.rates}'
    return DiagnosticStatus.OK, f'active; {now.rates}'


class FrameStatistics:
    """The last frames; written by the worker and the executor, read by the timers.

    Attributes:
        published: mesh messages so far.
        empty: those of them without anybody.
        failures: images that failed so far, by cause.
        lost: images that the middleware says were lost on their way; None where it cannot tell.
        last_problem: why the last image failed; empty if none did.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: deque[FrameRecord] = deque(maxlen=NUM_REMEMBERED)
        self._arrivals_s: deque[float] = deque(maxlen=NUM_REMEMBERED)
        self._failures_s: deque[float] = deque(maxlen=NUM_REMEMBERED)
        self._losses_s: deque[float] = deque(maxlen=NUM_REMEMBERED)
        self._activated_s = time.monotonic()
        self.published = self.empty = 0
        self.failures: Counter[str] = Counter()
        self.lost: int | None = None
        self.last_problem = ''

    def activate(self) -> None:
        """From now on images are expected; what is older says nothing of now."""
        with self._lock:
            self._activated_s = time.monotonic()
            for times in (self._records, self._arrivals_s, self._failures_s, self._losses_s):
                times.clear()

    def add_arrival(self) -> None:
        """An image has come in."""
        with self._lock:
            self._arrivals_s.append(time.monotonic())

    def add(self, latency_ms: float, people: int, times: StageTimes) -> None:
        """Counts a frame whose meshes have just been published."""
        with self._lock:
            self.published += 1
            self.empty += people == 0
            self._records.append(FrameRecord(time.monotonic(), latency_ms, people,
                                             dict(times.stages_ms)))

    def add_lost(self, count: int) -> None:
        """Counts images lost on their way; 0 says that the middleware can tell."""
        with self._lock:
            self.lost = (self.lost or 0) + count
            self._losses_s.extend([time.monotonic()] * min(count, NUM_REMEMBERED))

    def add_failure(self, error: Exception) -> None:
        """Counts an image that could not be processed, by the cause of `failing_as`."""
        with self._lock:
            self.failures[getattr(error, CAUSE, 'other')] += 1
            self._failures_s.append(time.monotonic())
            self.last_problem = ' '.join(str(error).split())

    def ages_s(self) -> tuple[float, float]:
        """Seconds since meshes were published and since an image came, or since `activate`."""
        with self._lock:
            now_s = time.monotonic()
            frame_s = self._records[-1].finished_s if self._records else self._activated_s
            image_s = self._arrivals_s[-1] if self._arrivals_s else self._activated_s
        return now_s - frame_s, now_s - image_s

    def recent_failures(self) -> int:
        """How many images failed lately."""
        with self._lock:
            return len(_since(self._failures_s, time.monotonic() - WINDOW_S))

    def recent_losses(self) -> tuple[int, int]:
        """How many images were lost on their way lately, and how many came."""
        with self._lock:
            since_s = time.monotonic() - WINDOW_S
            return len(_since(self._losses_s, since_s)), len(_since(self._arrivals_s, since_s))

    def rates_hz(self, period_s: float = WINDOW_S) -> tuple[float, float]:
        """Images that came, and mesh messages that went, per second of the last `period_s`."""
        with self._lock:
            now_s = time.monotonic()
            # A node that was just activated has not had the whole time.
            span_s = min(period_s, max(now_s - self._activated_s, 1e-3))
            finished_s = [record.finished_s for record in self._records]
            return (_rate_hz(self._arrivals_s, now_s, span_s),
                    _rate_hz(finished_s, now_s, span_s))

    def values(self, counts: WorkerCounts, period_s: float = WINDOW_S) -> dict[str, str]:
        """Everything worth telling about the last `period_s`, as text by name.

        The counts are since the node was configured.
        """
        rate_in_hz, rate_hz = self.rates_hz(period_s)
        with self._lock:
            since_s = time.monotonic() - period_s
            records = [record for record in self._records if record.finished_s > since_s]
            failures = {f'frames_failed_{cause}': count for cause, count in
                        sorted(self.failures.items())}
        values = {
            'frames_received': counts.received,
            'frames_skipped_for_newer': counts.skipped_for_newer,
            'frames_failed': counts.failed, **failures,
            'frames_lost_in_transport': 'unknown' if self.lost is None else self.lost,
            'meshes_published': self.published, 'meshes_published_without_people': self.empty,
            'rate_in_hz': f'{rate_in_hz:.1f}', 'rate_hz': f'{rate_hz:.1f}'}
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
def failing_as(cause: str) -> Iterator[None]:
    """Notes in an error that leaves this block what it counts as, unless that is known."""
    try:
        yield
    except Exception as error:
        if not hasattr(error, CAUSE):
            setattr(error, CAUSE, cause)
        raise



def status_message(node: Node, level: bytes, message: str,
                   values: Mapping[str, str]) -> DiagnosticArray:
    """A DiagnosticArray with the node's status.

    Args:
        node: whose name and clock it carries.
        level: of DiagnosticStatus.
        message: why.
        values: details.
    """
    status = DiagnosticStatus(
        name=node.get_fully_qualified_name(), hardware_id='decomr', level=level, message=message,
        values=[KeyValue(key=key, value=value) for key, value in values.items()])
    array = DiagnosticArray(status=[status])
    array.header.stamp = node.get_clock().now().to_msg()
    return array


def _rate_hz(times_s: Sequence[float], now_s: float, span_s: float) -> float:
    """How often it happened per second of the last `span_s`."""
    recent = _since(times_s, now_s - span_s)
    if len(recent) == NUM_REMEMBERED:  # no more is known of a long time
        span_s = max(now_s - recent[0], 1e-3)
    return len(recent) / span_s


def _since(times_s: Sequence[float], start_s: float) -> list[float]:
    return [time_s for time_s in times_s if time_s > start_s]
