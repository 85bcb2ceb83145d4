"""`decomr`: the lifecycle node. Images in, human meshes and IUV images out.

| state | what exists |
|---|---|
| unconfigured | parameters, /diagnostics |
| inactive | the network in its runtime, warmed up, and the publishers |
| active | the subscriptions, the worker thread that does the inference |

Each subscription has a thread that only takes its messages; the worker thread converts, infers
and publishes the newest image; one more thread configures the node; the executor's thread does
everything else, also while the node configures. A transition that fails says why in one line of
the log and leaves the node where it was: correct the parameter and configure again. Parameters
changed while it is active hold from the next image on, all of them at once.
"""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from std_msgs.msg import Header

from decomr_ros.health.diagnostics import (
    FrameStatistics,
    Situation,
    failing_as,
    judge,
    status_message,
)
from decomr_ros.health.parameter_checks import UNUSED, unused_parameters
from decomr_ros.health.surroundings import look_around
from decomr_ros.inputs.inputs import Frame, Inputs
from decomr_ros.inputs.stamp_checks import StampChecks
from decomr_ros.messages.meshes import nanoseconds_from_stamp
from decomr_ros.node.managed_node import FAILURE, SUCCESS, ManagedNode
from decomr_ros.node.standing_warnings import StandingWarnings, without_numbers
from decomr_ros.outputs.outputs import Outputs
from decomr_ros.pipeline.fixed_frame import FixedFrame
from decomr_ros.pipeline.frame_worker import FrameWorker, WorkerCounts, tell_late_inference
from decomr_ros.pipeline.stages import MeshPipeline, export_if_missing, free_memory, settle_memory
from decomr_ros.programs.command_line import node_parser, parse_words
from decomr_ros.programs.core_log import pass_on_warnings
from decomr_ros.programs.process import run_node
from decomr_ros.programs.ros_arguments import ignored_files_text
from decomr_ros.settings.parameters import (
    ENTRIES,
    NodeParameters,
    declare_parameters,
    read_parameters,
)
from decomr_ros.topics.silent_topics import publishers_text

if TYPE_CHECKING:
    import numpy as np
    from rclpy.event_handler import QoSMessageLostInfo
    from rclpy.timer import Timer

    from decomr_core.base.structures import HumanMesh, StageTimes

__all__ = ['DecomrNode', 'main']

STATUS_PERIOD_S = 1.0
# The warnings that hold in every state.
IGNORED_FILES, UNKNOWN_PARAMETERS = 'parameter_files', 'unknown_parameters'
# One image is never worth more than this when the worker is asked to stop, s.
STOP_TIMEOUT_S = 5.0
# How long the last messages may take to reach reliable subscribers, s.
SEND_TIMEOUT_S = 0.5
# After a signal the process ends within this time, s, whatever the libraries are doing;
ENDS_WITHIN_S = 1.6
# an inference that runs then may take this much of it, s,
LAST_IMAGE_S = 0.6
# and all that is done in order this much, s.
CLOSE_S = 1.2

HELP_WIDTH = 99
PARAMETERS_HELP = """  -p detector_stride:=5        a parameter of the node
  --params-file FILE           parameters from a file such as config/decomr.yaml

parameters, which docs/parameters.md and config/decomr.yaml explain:"""


class DecomrNode(ManagedNode):
    """Images and their calibration in; meshes, IUV images, markers and the topology out."""

    def __init__(self, words: Sequence[str] | None = None, **options: Any) -> None:
        """Declares the parameters; with `autostart` the transitions follow once it spins.

        Args:
            words: the command line that rclpy was given; None: that of this process.
            options: what rclpy's Node takes, as `context` or `parameter_overrides`.
        """
        super().__init__('decomr', **options)
        self._words = [*(sys.argv[1:] if words is None else words),
                       *(options.get('cli_args') or ())]
        self._warnings = StandingWarnings(lambda text: self.get_logger().warning(text),
                                          lambda text: self.get_logger().info(text))
        self._warnings.hold(IGNORED_FILES, ignored_files_text(
            self._words, self.get_fully_qualified_name()))
        self._stamps = StampChecks(self, self._warnings)
        self._reset()
        self._warnings.hold(UNKNOWN_PARAMETERS, declare_parameters(
            self, self._is_configured, self._parameters_changed), is_logged=True)
        self._status_publisher = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self.every(STATUS_PERIOD_S, self._publish_status)
        if self.get_parameter('autostart').value:
            self.start_itself(lambda: self.get_parameter('exit_on_failed_autostart').value)

    # Transitions

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Checks the parameters, loads the network, runs it once and makes the publishers."""
        self.in_executor(self._reset)  # the status is published while it configures
        return self.attempt('configure', self._acquire, self._release, is_slow=True)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Publishes the topology, subscribes, starts the worker."""
        super().on_activate(state)

        def undo() -> None:
            """Back to inactive."""
            self._stop()
            super(DecomrNode, self).on_deactivate(state)

        return self.attempt('activate', self._start, undo)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribes, stops the worker, clears the markers; the network stays loaded."""
        if self.attempt('deactivate', self._stop) != SUCCESS:
            return FAILURE
        self.get_logger().info('inactive: no images are taken, the network stays loaded')
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees the network and the publishers."""
        return self.attempt('cleanup', lambda: self._release(is_told=True))

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees everything, from any state."""
        def end() -> None:
            """Whatever exists."""
            self._stop()
            self._release()

        return self.attempt('shutdown', end)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees everything; the node can be configured again."""
        return self.on_shutdown(state)

    def close(self) -> None:
        """Ends in order, from any state: the markers disappear, the counts are logged.

        An inference is not waited for long.
        """
        deadline_s = time.monotonic() + CLOSE_S
        self.end_transitions()
        self._stop_timeout_s = LAST_IMAGE_S
        if self._inputs is not None and self._inputs.is_subscribed:
            self.trigger_deactivate()
        counts = self._worker.counts
        self._publish_status()
        left_s = max(0.0, min(SEND_TIMEOUT_S, deadline_s - time.monotonic()))
        self._status_publisher.wait_for_all_acked(Duration(seconds=left_s))
        self.get_logger().info(
            f'{counts.received} images received, {counts.skipped_for_newer} skipped for a newer '
            f'one, {self._statistics.published} mesh messages published, {counts.failed} failed')
        if self._worker.stop(0.0):
            self._release()

    def destroy_node(self) -> None:
        """Ends its threads first, also where nobody has deactivated it."""
        self.end_transitions()
        if self._inputs is not None:
            self._inputs.close()
        if self._worker.stop(self._stop_timeout_s):
            self._release()
        super().destroy_node()

    # The image path

    def _take(self, frame: Frame) -> None:
        self._statistics.add_arrival()
        self._worker.submit(frame)

    def _process(self, frame: Frame) -> None:
        """One image, on the worker thread."""
        self._follow_parameters()
        image, header = frame.rgb, frame.header
        self._watch_time(header)
        with failing_as('estimation'):
            # A stamp of 0 is a driver without a clock: every image is the next one then.
            time_s = (self._last_stamp_ns or None) and self._last_stamp_ns / 1e9
            meshes, times = self._pipeline.estimate(image, frame.intrinsics, frame.boxes, time_s)
            self._warnings.hold('no_foreground', self._pipeline.no_foreground_text(), 1)
            meshes = self._inputs.place(meshes, frame)
            meshes = self._pipeline.smooth(meshes, self._fixed_frame.from_camera(header))
        try:
            self._publish(frame, image, meshes, times)
        finally:  # an output that fails must not keep the detector from looking
            self._pipeline.learn()
        self._warnings.end_soon('image')

    def _publish(self, frame: Frame, image: np.ndarray, meshes: list[HumanMesh],
                 times: StageTimes) -> None:
        header = frame.header
        with failing_as('publishing'):
            self._outputs.publish_meshes(header, meshes)
            # In plain numbers: rclpy.time.Time refuses stamps before its epoch.
            latency_ns = (self.get_clock().now().nanoseconds
                          - nanoseconds_from_stamp(header.stamp))
            self._statistics.add(latency_ns / 1e6, len(meshes), times)
            self._outputs.publish_pictures(header, image, meshes, frame.intrinsics)

    def _follow_parameters(self) -> None:
        """Passes changed parameters on, between two images."""
        wanted = self._wanted
        if wanted is not self._settings:
            with failing_as('parameters'):
                self._pipeline.update(wanted)
                self._outputs.update(wanted)
            self._warnings.hold('outputs', self._outputs.missing, is_logged=True)
            self._inputs.settings = wanted
            self._settings = wanted

    def _watch_time(self, header: Header) -> None:
        """Forgets the tracks where time jumps back: a bag that starts again."""
        stamp_ns = nanoseconds_from_stamp(header.stamp)
        if self._stamps.image_jumps_back(stamp_ns, self._last_stamp_ns):
            self._pipeline.reset()
        self._last_stamp_ns = stamp_ns
        self._last_frame_id = header.frame_id or self._last_frame_id

    # What belongs to the states

    def _is_configured(self) -> bool:
        return self._pipeline is not None or self.state_label == 'configuring'

    def _parameters_changed(self, names: frozenset[str]) -> None:
        """Takes all values over at once; the worker asks for them before each image."""
        if not self._is_configured():
            return
        self._wanted = read_parameters(self)
        self._warnings.hold(UNUSED, unused_parameters(self._wanted))
        if 'log_period_s' in names and self._log_timer is not None:
            self._log_timer.timer_period_ns = int(self._wanted.log_period_s * 1e9)
            self._log_timer.reset()

    def _reset(self) -> None:
        self._settings: NodeParameters | None = None  # of the last image
        self._wanted: NodeParameters | None = None  # of the next image
        self._pipeline: MeshPipeline | None = None
        self._outputs: Outputs | None = None
        self._fixed_frame: FixedFrame | None = None
        self._log_timer: Timer | None = None
        self._inputs: Inputs | None = None
        self._last_stamp_ns, self._last_frame_id = 0, ''
        self._logged, self._logged_problem = WorkerCounts(), ''
        self._warnings.end_all_but([IGNORED_FILES, UNKNOWN_PARAMETERS])
        self._statistics = FrameStatistics()
        self._worker: FrameWorker[Frame] = FrameWorker(self._process, self._frame_failed)
        self._stop_timeout_s = STOP_TIMEOUT_S

    def _acquire(self) -> None:
        self._settings = self._wanted = settings = read_parameters(self)
        self._warnings.hold(UNUSED, unused_parameters(settings))
        self.report(f'configuring: weights {settings.weights} in {settings.runtime}, detector '
                    f'{settings.detector}')
        export_if_missing(settings, self.report, lambda: self.is_ending)
        self._inputs = Inputs(self, settings, self._take, self._images_lost, self._warnings,
                              self._words)
        self._pipeline = MeshPipeline(settings)
        self._outputs = Outputs(self, settings, self._pipeline.topology)
        self._fixed_frame = FixedFrame(self, settings.smoothing_frame, self._warnings)
        self._log_timer = self.every(settings.log_period_s, self._log_rates)
        settle_memory()
        self.get_logger().info(
            f'configured: weights {settings.weights} in {settings.runtime}, detector '
            f'{settings.detector} on one image in {settings.detector_stride}'
            + (f', at the latest after {settings.detector_period_s:g} s'
               if settings.detector_period_s else ''))

    def _start(self) -> None:
        self._outputs.publish_topology()
        self._statistics.activate()
        self._worker.start()
        self._inputs.subscribe()
        if self._inputs.are_losses_counted:
            self._statistics.add_lost(0)
        self.get_logger().info(
            f'active: {self._inputs.image_topic} ({self._inputs.reliability}) -> '
            f'{self.resolve_topic_name("human_meshes")}')

    def _stop(self) -> None:
        if self._inputs is not None:
            self._inputs.close()
        if not self._worker.stop(self._stop_timeout_s):
            tell_late_inference(self, self._stop_timeout_s, self._stop_timeout_s == LAST_IMAGE_S)
        self._warnings.end_all_but([IGNORED_FILES, UNKNOWN_PARAMETERS, UNUSED, 'outputs'])
        if self._outputs is not None:
            self._outputs.clear(Header(stamp=self.get_clock().now().to_msg(),
                                       frame_id=self._last_frame_id))
            self._outputs.wait_until_sent(Duration(seconds=SEND_TIMEOUT_S))

    def _release(self, is_told: bool = False) -> None:
        if self._outputs is not None:
            self._outputs.destroy()
        if self._log_timer is not None:
            self.destroy_timer(self._log_timer)
        if self._fixed_frame is not None:
            self._fixed_frame.destroy()
        if self._pipeline is not None:
            self._pipeline.close()
        self._pipeline = self._outputs = self._log_timer = self._fixed_frame = None
        free_memory()
        if is_told:
            self.get_logger().info('unconfigured: the network is freed')

    # Saying what happens

    def _frame_failed(self, error: Exception) -> None:
        self._statistics.add_failure(error)
        self._warnings.hold('image', f'an image was left out: {error}', 1)

    def _images_lost(self, event: QoSMessageLostInfo) -> None:
        self._statistics.add_lost(event.total_count_change)

    def _publish_status(self) -> None:
        if self.state_label == 'active':
            look_around(self, self._warnings, self._statistics, self._inputs.image_topic,
                        self._wanted)
        values = self._statistics.values(self._worker.counts)
        frame_age_s, image_age_s = self._statistics.ages_s()
        if self.state_label == 'active':
            values['last_frame_age_s'] = f'{frame_age_s:.2f}'
        if self._pipeline is not None:
            values.update(self._pipeline.status())
            values.update(self._inputs.values())
        self._stamps.look_at_clock()
        values.update(self._warnings.values())
        settings = self._wanted or NodeParameters()
        level, message = judge(Situation(
            self.state_label, self.last_failure, frame_age_s, image_age_s,
            settings.frame_age_warn_s, settings.frame_age_error_s,
            self._inputs.image_topic if self._inputs else self.resolve_topic_name('image'),
            self._statistics.recent_failures(),
            self._statistics.last_problem,
            f'in {values["rate_in_hz"]} Hz, out {values["rate_hz"]} Hz',
            self._warnings.summary()))
        if self.progress:
            message = f'{self.state_label}; {self.progress}'
        self._status_publisher.publish(status_message(self, level, message, values))

    def _log_rates(self) -> None:
        if self._inputs is None or not self._inputs.is_subscribed:
            return
        counts, period_s = self._worker.counts, self._wanted.log_period_s
        arrived = counts.received - self._logged.received
        self._logged = counts
        if not arrived:
            topic = self._inputs.image_topic
            there_is = publishers_text(self, topic)
            self.get_logger().warning(
                f'no image on {topic} for {period_s:g} s; {f"{there_is}; " if there_is else ""}is '
                f'the camera running, on this topic, {self._settings.image_transport} '
                f'(image_transport), and does it suit reliability={self._settings.reliability}?')
            return
        values = self._statistics.values(counts, period_s)
        rate_in_hz, rate_hz = values.pop('rate_in_hz'), values.pop('rate_hz')
        problem = without_numbers(values.get('last_problem', ''))
        if problem == self._logged_problem:
            values.pop('last_problem', None)
        self._logged_problem = problem
        self.get_logger().info(f'in {rate_in_hz} Hz, out {rate_hz} Hz; ' + ', '.join(
            f'{name} {value}' for name, value in values.items()))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the node until SIGINT or SIGTERM.

    Returns:
        The exit code.
    """
    names = textwrap.fill(', '.join(ENTRIES), HELP_WIDTH, initial_indent='  ',
                          subsequent_indent='  ')
    parse_words(node_parser('decomr_node', __doc__.partition('\n')[0],
                            f'{PARAMETERS_HELP}\n{names}'), argv)
    return run_node(lambda: _logging_node(argv), argv, ENDS_WITHIN_S)


def _logging_node(argv: Sequence[str] | None) -> DecomrNode:
    """The node of a process, whose log is the node's."""
    node = DecomrNode(argv)
    pass_on_warnings(node.get_logger())
    return node


if __name__ == '__main__':
    raise SystemExit(main())
