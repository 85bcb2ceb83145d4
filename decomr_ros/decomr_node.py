"""`decomr`: the lifecycle node. Images in, human meshes and IUV images out.

| state | what exists |
|---|---|
| unconfigured | parameters, /diagnostics |
| inactive | the network in its runtime, warmed up, and the publishers |
| active | the subscriptions, and the worker thread that runs the pipeline |

Each subscription has a thread that only takes its messages. The worker thread decodes, processes
and publishes the newest image. One more thread configures the node. The executor's thread does
everything else, also while the node is being configured. A transition that fails logs the reason
in one line and leaves the node in its state: correct the parameter and configure again. Parameters
that change while the node is active apply from the next image on, all of them at once.
"""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from std_msgs.msg import Header

from decomr_ros.health.diagnostics import (
    FrameStatistics,
    NodeState,
    error_cause,
    status_message,
    status_of,
)
from decomr_ros.health.graph_warnings import update_graph_warnings
from decomr_ros.health.parameter_checks import UNUSED, unused_parameters
from decomr_ros.health.rate_log import RateLog
from decomr_ros.inputs.frame import Frame
from decomr_ros.inputs.inputs import Inputs
from decomr_ros.inputs.stamp_checks import StampChecks
from decomr_ros.messages.meshes import nanoseconds_from_stamp
from decomr_ros.node.managed_node import FAILURE, SUCCESS, ManagedNode
from decomr_ros.node.standing_warnings import StandingWarnings
from decomr_ros.node.timing import create_steady_timer
from decomr_ros.node_parts import NodeParts
from decomr_ros.pipeline.frame_worker import FrameWorker, log_late_inference
from decomr_ros.pipeline.stages import export_if_missing, free_memory, freeze_objects
from decomr_ros.programs.command_line import node_parser, parse_arguments
from decomr_ros.programs.core_log import pass_on_warnings
from decomr_ros.programs.process import run_node
from decomr_ros.programs.ros_arguments import ignored_files_text
from decomr_ros.settings.parameters import (
    ENTRIES,
    NodeParameters,
    declare_parameters,
    read_parameters,
)

if TYPE_CHECKING:
    import numpy as np
    from rclpy.event_handler import QoSMessageLostInfo

    from decomr_core.base.structures import HumanMesh, StageTimes
    from decomr_ros.outputs.outputs import Outputs
    from decomr_ros.pipeline.stages import MeshPipeline

__all__ = ['DecomrNode', 'main']

STATUS_PERIOD_S = 1.0
# The warnings that apply in every state.
IGNORED_FILES, UNKNOWN_PARAMETERS = 'parameter_files', 'unknown_parameters'
# How long a stop waits for the image that the worker processes, s.
STOP_TIMEOUT_S = 5.0
# How long the last messages may take to reach reliable subscribers, s.
SEND_TIMEOUT_S = 0.5
# Time after a signal within which the process ends, s, regardless of what the libraries do;
ENDS_WITHIN_S = 1.6
# the share of it for an inference that is running, s,
LAST_IMAGE_S = 0.6
# and for everything that ends in order, s.
CLOSE_S = 1.2

HELP_WIDTH = 99
PARAMETERS_HELP = """  -p detector_stride:=5        a parameter of the node
  --params-file FILE           parameters from a file such as config/node/decomr.yaml

parameters, which docs/parameters.md and config/node/decomr.yaml explain:"""


class DecomrNode(ManagedNode):
    """Images and their calibration in; meshes, IUV images, markers and the topology out."""

    _settings: NodeParameters  # of the last image
    _wanted: NodeParameters  # of the next one
    _statistics: FrameStatistics
    _last_stamp_ns: int
    _last_frame_id: str

    def __init__(self, arguments: Sequence[str] | None = None, **options: Any) -> None:
        """Declares the parameters; with `autostart`, the node activates itself once it spins.

        Args:
            arguments: the command line given to rclpy; None: that of this process.
            options: arguments of rclpy's Node, such as `context` or `parameter_overrides`.
        """
        super().__init__('decomr', **options)
        self._arguments = [
            *(sys.argv[1:] if arguments is None else arguments),
            *(options.get('cli_args') or ()),
        ]
        self._warnings = StandingWarnings.of_node(self)
        self._warnings.set(
            IGNORED_FILES, ignored_files_text(self._arguments, self.get_fully_qualified_name())
        )
        self._stamps = StampChecks(self, self._warnings)
        self._parts: NodeParts | None = None
        self._releases = ExitStack()  # of the parts, also of those made before an error
        self._reset()
        self._warnings.set(
            UNKNOWN_PARAMETERS,
            declare_parameters(self, self._is_configured, self._parameters_changed),
            is_logged=True,
        )
        self._status_publisher = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        create_steady_timer(self, STATUS_PERIOD_S, self._publish_status)
        if self.get_parameter('autostart').value:
            self.autostart(lambda: self.get_parameter('exit_on_failed_autostart').value)

    # Transitions

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Checks the parameters, loads the network, runs it once and creates the publishers."""
        self.run_in_executor(self._reset)  # the status is published while it configures
        return self.attempt('configure', self._acquire, self._release, is_slow=True)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Publishes the topology, subscribes, starts the worker."""
        super().on_activate(state)

        def undo() -> None:
            """Returns to inactive."""
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
        return self.attempt('cleanup', lambda: self._release(is_logged=True))

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees everything, from any state."""

        def end() -> None:
            """Ends whatever exists."""
            self._stop()
            self._release()

        return self.attempt('shutdown', end)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees everything; the node can be configured again."""
        return self.on_shutdown(state)

    def close(self) -> None:
        """Ends in order, from any state: removes the markers and logs the counts.

        It waits only briefly for an inference.
        """
        deadline_s = time.monotonic() + CLOSE_S
        self.end_transitions()
        self._stop_timeout_s = LAST_IMAGE_S
        if self._parts is not None and self._parts.inputs.is_subscribed:
            self.trigger_deactivate()
        counts = self._worker.counts
        self._publish_status()
        left_s = max(0.0, min(SEND_TIMEOUT_S, deadline_s - time.monotonic()))
        self._status_publisher.wait_for_all_acked(Duration(seconds=left_s))
        self.get_logger().info(
            f'{counts.received} images received, {counts.skipped_for_newer} skipped for a newer '
            f'one, {self._statistics.published} mesh messages published, {counts.failed} failed'
        )
        if self._worker.stop(0.0):
            self._release()

    def destroy_node(self) -> None:
        """Ends the threads first, also if the node was not deactivated."""
        self.end_transitions()
        if self._parts is not None:
            self._parts.inputs.close()
        if self._worker.stop(self._stop_timeout_s):
            self._release()
        super().destroy_node()

    # The image path

    def _take(self, frame: Frame) -> None:
        self._statistics.add_arrival()
        self._worker.submit(frame)

    def _process(self, frame: Frame) -> None:
        """Processes one image, on the worker thread."""
        parts = self._parts
        assert parts is not None  # the worker runs only while the node is configured
        self._follow_parameters(parts)
        image = frame.rgb
        self._watch_time(frame.header, parts.pipeline)
        with error_cause('estimation'):
            # A driver without a clock stamps 0: each image then follows the one before.
            time_s = (self._last_stamp_ns or None) and self._last_stamp_ns / 1e9
            meshes, times = parts.pipeline.process(frame, time_s, parts.fixed_frame)
            self._warnings.set('no_foreground', parts.pipeline.no_foreground_text(), 1)
        try:
            self._publish(frame, image, meshes, times, parts.outputs)
        finally:  # also if an output fails
            parts.pipeline.finish()
        self._warnings.end_soon('image')

    def _publish(
        self,
        frame: Frame,
        image: np.ndarray,
        meshes: list[HumanMesh],
        times: StageTimes,
        outputs: Outputs,
    ) -> None:
        header = frame.header
        with error_cause('publishing'):
            outputs.publish_meshes(header, meshes)
            # In integers: rclpy.time.Time refuses stamps before its epoch.
            latency_ns = self.get_clock().now().nanoseconds - nanoseconds_from_stamp(header.stamp)
            self._statistics.add(latency_ns / 1e6, len(meshes), times)
            outputs.publish_images(header, image, meshes, frame.intrinsics)

    def _follow_parameters(self, parts: NodeParts) -> None:
        """Applies changed parameters, between two images."""
        wanted = self._wanted
        if wanted is not self._settings:
            with error_cause('parameters'):
                parts.pipeline.update(wanted)
                parts.outputs.update(wanted)
            self._warnings.set('outputs', parts.outputs.missing, is_logged=True)
            parts.inputs.settings = wanted
            self._settings = wanted

    def _watch_time(self, header: Header, pipeline: MeshPipeline) -> None:
        """Ends all tracks if time jumps back, as in a bag that starts again."""
        stamp_ns = nanoseconds_from_stamp(header.stamp)
        if self._stamps.image_jumps_back(stamp_ns, self._last_stamp_ns):
            pipeline.reset()
        self._last_stamp_ns = stamp_ns
        self._last_frame_id = header.frame_id or self._last_frame_id

    # Resources of the states

    def _is_configured(self) -> bool:
        return self._parts is not None or self.state_label == 'configuring'

    def _parameters_changed(self, names: frozenset[str]) -> None:
        """Reads all values at once; the worker applies them before the next image."""
        if not self._is_configured():
            return
        self._wanted = read_parameters(self)
        self._warnings.set(UNUSED, unused_parameters(self._wanted))
        if 'log_period_s' in names and self._parts is not None:
            self._parts.rate_log.set_period(self._wanted.log_period_s)

    def _reset(self) -> None:
        self._settings = self._wanted = NodeParameters()
        self._last_stamp_ns, self._last_frame_id = 0, ''
        self._warnings.end_all_but([IGNORED_FILES, UNKNOWN_PARAMETERS])
        self._statistics = FrameStatistics()
        self._worker: FrameWorker[Frame] = FrameWorker(self._process, self._frame_failed)
        self._stop_timeout_s = STOP_TIMEOUT_S

    def _acquire(self) -> None:
        self._settings = self._wanted = settings = read_parameters(self)
        self._warnings.set(UNUSED, unused_parameters(settings))
        self.report(
            f'configuring: weights {settings.weights} in {settings.runtime}, detector '
            f'{settings.detector}'
        )
        export_if_missing(settings, self.report, lambda: self.is_ending)
        inputs = Inputs(
            self, settings, self._take, self._images_lost, self._warnings, self._arguments
        )
        self._parts = NodeParts.make(
            self,
            settings,
            self._warnings,
            inputs,
            lambda: RateLog(self, settings.log_period_s, inputs, self._worker, self._statistics),
            self._releases,
        )
        freeze_objects()
        self.get_logger().info(
            f'configured: weights {settings.weights} in {settings.runtime}, detector '
            f'{settings.detector} on one image in {settings.detector_stride}'
            + (
                f', at the latest after {settings.detector_period_s:g} s'
                if settings.detector_period_s
                else ''
            )
        )

    def _release(self, is_logged: bool = False) -> None:
        self._parts = None
        self._releases.close()
        free_memory()
        if is_logged:
            self.get_logger().info('unconfigured: the network is freed')

    def _start(self) -> None:
        parts = self._parts
        assert parts is not None  # the node is configured
        inputs = parts.inputs
        parts.outputs.publish_topology()
        self._statistics.activate()
        self._worker.start()
        inputs.subscribe()
        if inputs.are_losses_counted:
            self._statistics.add_lost(0)
        self.get_logger().info(
            f'active: {inputs.image_topic} ({inputs.reliability}) -> '
            f'{self.resolve_topic_name("human_meshes")}'
        )

    def _stop(self) -> None:
        if self._parts is not None:
            self._parts.inputs.close()
        if not self._worker.stop(self._stop_timeout_s):
            log_late_inference(self, self._stop_timeout_s, self._stop_timeout_s == LAST_IMAGE_S)
        self._warnings.end_all_but([IGNORED_FILES, UNKNOWN_PARAMETERS, UNUSED, 'outputs'])
        if self._parts is not None:
            self._parts.outputs.clear(
                Header(stamp=self.get_clock().now().to_msg(), frame_id=self._last_frame_id)
            )
            self._parts.outputs.wait_until_sent(Duration(seconds=SEND_TIMEOUT_S))

    # Diagnostics

    def _frame_failed(self, error: Exception) -> None:
        self._statistics.add_failure(error)
        self._warnings.set('image', f'an image was left out: {error}', 1)

    def _images_lost(self, event: QoSMessageLostInfo) -> None:
        self._statistics.add_lost(event.total_count_change)

    def _publish_status(self) -> None:
        parts = self._parts
        is_active = parts is not None and self.state_label == 'active'
        if parts is not None and is_active:
            update_graph_warnings(
                self, self._warnings, self._statistics, parts.inputs.image_topic, self._wanted
            )
        values = self._statistics.values(self._worker.counts)
        frame_age_s, image_age_s = self._statistics.ages_s()
        if is_active:
            values['last_frame_age_s'] = f'{frame_age_s:.2f}'
        if parts is not None:
            values.update(parts.pipeline.status())
            values.update(parts.inputs.values())
        self._stamps.check_clock()
        values.update(self._warnings.values())
        level, message = status_of(
            NodeState(
                self.state_label,
                self.last_failure,
                frame_age_s,
                image_age_s,
                self._wanted.frame_age_warn_s,
                self._wanted.frame_age_error_s,
                parts.inputs.image_topic if parts else self.resolve_topic_name('image'),
                self._statistics.recent_failures(),
                self._statistics.last_problem,
                f'in {values["rate_in_hz"]} Hz, out {values["rate_hz"]} Hz',
                self._warnings.summary(),
            )
        )
        if self.progress:
            message = f'{self.state_label}; {self.progress}'
        self._status_publisher.publish(status_message(self, level, message, values))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the node until SIGINT or SIGTERM.

    Returns:
        The exit code.
    """
    names = textwrap.fill(
        ', '.join(ENTRIES), HELP_WIDTH, initial_indent='  ', subsequent_indent='  '
    )
    parse_arguments(
        node_parser('decomr_node', __doc__.partition('\n')[0], f'{PARAMETERS_HELP}\n{names}'), argv
    )
    return run_node(lambda: _logging_node(argv), argv, ENDS_WITHIN_S)


def _logging_node(argv: Sequence[str] | None) -> DecomrNode:
    """The node of a process; warnings of the core appear in its log."""
    node = DecomrNode(argv)
    pass_on_warnings(node.get_logger())
    return node


if __name__ == '__main__':
    raise SystemExit(main())
