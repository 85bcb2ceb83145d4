"""Log lines at a fixed period: rates, delays and failures, or why no image arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decomr_ros.node.standing_warnings import without_numbers
from decomr_ros.node.timing import create_steady_timer
from decomr_ros.pipeline.frame_worker import WorkerCounts
from decomr_ros.topics.silent_topics import publishers_text

if TYPE_CHECKING:
    from rclpy.node import Node

    from decomr_ros.health.diagnostics import FrameStatistics
    from decomr_ros.inputs.inputs import Inputs
    from decomr_ros.pipeline.frame_worker import FrameWorker

__all__ = ['RateLog']


class RateLog:
    """The timer that writes these lines while the node is subscribed."""

    def __init__(
        self,
        node: Node,
        period_s: float,
        inputs: Inputs,
        worker: FrameWorker,
        statistics: FrameStatistics,
    ) -> None:
        """Starts the timer.

        Args:
            node: owner of the timer and the log.
            period_s: time between two lines, s.
            inputs: the subscriptions.
            worker: counts the images.
            statistics: of the images.
        """
        self._node, self._inputs = node, inputs
        self._worker, self._statistics = worker, statistics
        self._period_s = period_s
        self._before, self._problem_before = WorkerCounts(), ''
        self._timer = create_steady_timer(node, period_s, self._log)

    def set_period(self, period_s: float) -> None:
        """Changes the time between two lines, s, and restarts it."""
        self._period_s = period_s
        self._timer.timer_period_ns = int(period_s * 1e9)
        self._timer.reset()

    def destroy(self) -> None:
        """Ends the timer."""
        self._node.destroy_timer(self._timer)

    def _log(self) -> None:
        if not self._inputs.is_subscribed:
            return
        counts = self._worker.counts
        arrived = counts.received - self._before.received
        self._before = counts
        if not arrived:
            self._log_silence()
            return
        values = self._statistics.values(counts, self._period_s)
        rate_in_hz, rate_hz = values.pop('rate_in_hz'), values.pop('rate_hz')
        problem = without_numbers(values.get('last_problem', ''))
        if problem == self._problem_before:
            values.pop('last_problem', None)
        self._problem_before = problem
        self._node.get_logger().info(
            f'in {rate_in_hz} Hz, out {rate_hz} Hz; '
            + ', '.join(f'{name} {value}' for name, value in values.items())
        )

    def _log_silence(self) -> None:
        """Says that no image has arrived, and what may be the reason."""
        topic, parameters = self._inputs.image_topic, self._inputs.parameters
        there_is = publishers_text(self._node, topic)
        self._node.get_logger().warning(
            f'no image on {topic} for {self._period_s:g} s; {f"{there_is}; " if there_is else ""}'
            f'is the camera running, on this topic, {parameters.image_transport} '
            f'(image_transport), and does it suit reliability={parameters.reliability}?'
        )
