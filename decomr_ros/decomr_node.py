"""`decomr`: the lifecycle node. Images in, human meshes and IUV images out.

| state | what exists |
|---|---|
| unconfigured | parameters, /diagnostics |
| inactive | the network in its runtime, warmed up, and the publishers |
| active | the subscriptions, and the worker thread that runs the pipeline |

| thread | what it does |
|---|---|
| one per subscription | takes the messages of the topic and hands images to the worker |
| worker | decodes, processes and publishes the newest image |
| transitions | configures the node, which takes seconds |
| executor | everything else: timers, services, and all other work of transitions |

A transition that fails logs the reason in one line and leaves the node in its state: correct the
parameter and configure again. Parameters that change while the node is active apply from the next
image on, all of them at once.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn

from decomr_ros.health.diagnostics import FrameStatistics, NodeState, status_message, status_of
from decomr_ros.health.graph_warnings import update_graph_warnings
from decomr_ros.health.parameter_checks import UNUSED, unused_parameters
from decomr_ros.image_path import ImagePath
from decomr_ros.inputs.frame import Frame
from decomr_ros.inputs.inputs import Inputs
from decomr_ros.inputs.stamp_checks import StampChecks
from decomr_ros.node.managed_node import FAILURE, SUCCESS, ManagedNode
from decomr_ros.node.standing_warnings import StandingWarnings
from decomr_ros.node.timing import create_steady_timer
from decomr_ros.node_parts import NodeParts
from decomr_ros.pipeline.first_export import export_if_missing
from decomr_ros.pipeline.frame_worker import FrameWorker, log_late_inference
from decomr_ros.pipeline.network_memory import free_memory, freeze_objects
from decomr_ros.programs.command_line import node_parser, parse_arguments
from decomr_ros.programs.core_log import pass_on_warnings
from decomr_ros.programs.process import run_node
from decomr_ros.programs.ros_arguments import ignored_files_text
from decomr_ros.settings.parameter_help import parameters_help
from decomr_ros.settings.parameters import NodeParameters, declare_parameters, read_parameters
from decomr_ros.settings.robot_parts import parse_robot_parts

if TYPE_CHECKING:
    from rclpy.event_handler import QoSMessageLostInfo


__all__ = ['DecomrNode', 'main']

STATUS_PERIOD_S = 1.0
# The warnings that apply in every state.
IGNORED_FILES, UNKNOWN_PARAMETERS = 'parameter_files', 'unknown_parameters'
# How long a transition waits for the image in progress, s.
STOP_TIMEOUT_S = 5.0
# How long the last messages may take to reach reliable subscribers, s.
SEND_TIMEOUT_S = 0.5
# The process ends at most this long after a signal, s, regardless of what the libraries do.
EXIT_TIMEOUT_S = 1.6
# How long `close` may take out of this time, s.
CLOSE_TIMEOUT_S = 1.2
# How long `close` waits for the image in progress, s.
LAST_IMAGE_TIMEOUT_S = 0.6


class DecomrNode(ManagedNode):
    """Images and their calibration in; meshes, IUV images, markers and the topology out."""

    # `_reset` sets these attributes, at the start and before each configuration.
    _wanted: NodeParameters  # those set now, which the worker applies before the next image
    _statistics: FrameStatistics
    _worker: FrameWorker[Frame]
    _is_closing: bool  # whether `close` was called: the process ends

    def __init__(self, argv: Sequence[str] | None = None, **options: Any) -> None:
        """Declares the parameters; with `autostart`, the node activates itself once it spins.

        Args:
            argv: the command-line arguments given to rclpy; None: those of this process.
            options: arguments of rclpy's Node, such as `context` or `parameter_overrides`.
        """
        super().__init__('decomr', **options)
        self._command_line = [
            *(sys.argv[1:] if argv is None else argv),
            *(options.get('cli_args') or ()),
        ]
        self._warnings = StandingWarnings.of_node(self)
        self._warnings.set(
            IGNORED_FILES, ignored_files_text(self._command_line, self.get_fully_qualified_name())
        )
        self._stamps = StampChecks(self, self._warnings)
        self._parts: NodeParts | None = None  # None: unconfigured
        self._path: ImagePath | None = None  # exists as long as the parts
        self._releases = ExitStack()  # `NodeParts.make` adds the release of each part
        self._reset()
        self._warnings.set(
            UNKNOWN_PARAMETERS,
            declare_parameters(self, self._has_fixed_parameters, self._parameters_changed),
            is_logged=True,
        )
        self._status_publisher = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        create_steady_timer(self, STATUS_PERIOD_S, self._publish_status)
        if self.get_parameter('autostart').value:
            self.autostart(lambda: self.get_parameter('exit_on_failed_autostart').value)

    # Transitions

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Checks the parameters, loads the network, runs it once and creates the publishers."""
        # On the executor's thread, whose timer publishes what is reset.
        self.run_in_executor(self._reset)
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
            """Deactivates and cleans up; what does not exist is skipped."""
            self._stop()
            self._release()

        return self.attempt('shutdown', end)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees everything; the node can be configured again."""
        return self.on_shutdown(state)

    def close(self) -> None:
        """Ends the node while it can still publish: removes the markers and logs the counts.

        `run_node` calls it before `destroy_node`, in any state. It takes at most about
        `CLOSE_TIMEOUT_S` and does not wait longer for the image in progress.
        """
        deadline_s = time.monotonic() + CLOSE_TIMEOUT_S
        self.end_transitions()
        self._is_closing = True
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
        has_ended = self._worker.stop(0.0)
        if has_ended:
            self._release()

    def destroy_node(self) -> None:
        """Ends the threads and destroys the node, also in the state active and without `close`."""
        self.end_transitions()
        if self._parts is not None:
            self._parts.inputs.close()
        has_ended = self._worker.stop(self._stop_timeout_s)
        if has_ended:  # otherwise the worker still uses the parts
            self._release()
        super().destroy_node()

    # An image: `_submit`, then `_process` on the worker thread

    def _submit(self, frame: Frame) -> None:
        """Hands an image to the worker; on the thread of the image subscription."""
        self._statistics.add_arrival()
        self._worker.submit(frame)

    def _process(self, frame: Frame) -> None:
        """Processes one image, on the worker thread.

        An error that leaves it goes to `_image_failed`; the worker continues with the next image.
        """
        assert self._path is not None  # the worker runs only while the node is configured
        self._path.process(frame, self._wanted)

    # Parameters

    def _has_fixed_parameters(self) -> bool:
        """Whether the parameters that take effect in configure are in use, or about to be."""
        return self._parts is not None or self.state_label == 'configuring'

    def _parameters_changed(self, names: frozenset[str]) -> None:
        """Reads all values at once; the worker applies them before the next image."""
        if not self._has_fixed_parameters():
            return  # `_acquire` will read them
        self._wanted = read_parameters(self)
        self._warnings.set(UNUSED, unused_parameters(self._wanted))
        if 'log_period_s' in names and self._parts is not None:
            self._parts.rate_log.set_period(self._wanted.log_period_s)

    # The work of the transitions: `_reset` and `_acquire` configure, `_start` activates, `_stop`
    # deactivates and `_release` cleans up. All but `_acquire` run on the executor's thread.

    def _reset(self) -> None:
        """Puts the node into its initial state, with counts of 0 and a new worker."""
        self._wanted = NodeParameters()
        self._warnings.end_all_but([IGNORED_FILES, UNKNOWN_PARAMETERS])
        self._statistics = FrameStatistics()
        self._worker = FrameWorker(self._process, self._image_failed)
        self._is_closing = False

    def _acquire(self) -> None:
        """Loads the network and creates the other parts; on the thread of transitions.

        Raises:
            FileNotFoundError: the weights do not exist.
            ValueError: a parameter has a wrong value, or the weights are damaged.
            RuntimeError: the export failed, or a package that the parameters need is missing.
        """
        self._wanted = parameters = read_parameters(self)
        self._warnings.set(UNUSED, unused_parameters(parameters))
        self.report(
            f'configuring: weights {parameters.weights} in {parameters.runtime}, detector '
            f'{parameters.detector}'
        )
        export_if_missing(parameters, self.report, lambda: self.is_ending)
        inputs = Inputs(
            self, parameters, self._submit, self._images_lost, self._warnings, self._command_line
        )
        self._parts = NodeParts.make(
            self,
            parameters,
            self._warnings,
            inputs,
            self._worker,
            self._statistics,
            self._releases,
        )
        self._path = ImagePath(
            self, self._parts, parameters, self._statistics, self._stamps, self._warnings
        )
        freeze_objects()
        self.get_logger().info(
            f'configured: weights {parameters.weights} in {parameters.runtime}, detector '
            f'{parameters.detector} on one image in {parameters.detector_stride}'
            + (
                f', at the latest after {parameters.detector_period_s:g} s'
                if parameters.detector_period_s
                else ''
            )
            + _robot_text(parameters)
        )

    def _release(self, is_logged: bool = False) -> None:
        """Frees the network and destroys the other parts, also those of a failed `_acquire`."""
        self._parts = None
        self._path = None
        self._releases.close()
        free_memory()
        if is_logged:
            self.get_logger().info('unconfigured: the network is freed')

    def _start(self) -> None:
        """Publishes the topology, starts the worker and subscribes.

        Raises:
            RuntimeError: an inference from before a deactivation has not ended yet.
        """
        parts = self._parts
        assert parts is not None  # the node is configured
        inputs = parts.inputs
        parts.outputs.publish_topology()
        self._statistics.activate()
        self._worker.start()
        inputs.subscribe()
        if inputs.are_losses_counted:
            self._statistics.add_lost(0)  # shows the count on /diagnostics from the start
        self.get_logger().info(
            f'active: {inputs.image_topic} ({inputs.reliability}) -> '
            f'{self.resolve_topic_name("human_meshes")}'
        )

    @property
    def _stop_timeout_s(self) -> float:
        """How long to wait for the image in progress, s."""
        return LAST_IMAGE_TIMEOUT_S if self._is_closing else STOP_TIMEOUT_S

    def _stop(self) -> None:
        """Unsubscribes, ends the worker and removes the markers; does nothing if that is done."""
        if self._parts is not None:
            self._parts.inputs.close()
        has_ended = self._worker.stop(self._stop_timeout_s)
        if not has_ended:
            log_late_inference(self, self._stop_timeout_s, self._is_closing)
        self._warnings.end_all_but([IGNORED_FILES, UNKNOWN_PARAMETERS, UNUSED, 'outputs'])
        if self._path is not None:
            self._path.clear(Duration(seconds=SEND_TIMEOUT_S))

    # Diagnostics

    def _image_failed(self, error: Exception) -> None:
        """Counts an image whose processing has raised an error; on the worker thread."""
        self._statistics.add_failure(error)
        self._warnings.set('image', f'an image was left out: {error}', 1)

    def _images_lost(self, event: QoSMessageLostInfo) -> None:
        """Counts images lost in transit; on the thread of the image subscription."""
        self._statistics.add_lost(event.total_count_change)

    def _publish_status(self) -> None:
        """Publishes the state, the reason for it and the counts; on the executor's thread."""
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
            values.update(parts.robot_outputs.values())
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


def _robot_text(parameters: NodeParameters) -> str:
    """The robot's part of the log line of the configured node."""
    frames = [part.frame for part in parse_robot_parts(parameters.robot_parts)]
    frames += ['robot_description'] * parameters.use_robot_description
    return f', distances to {", ".join(frames)}' if frames else ''


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the node until SIGINT or SIGTERM.

    Returns:
        The exit code.
    """
    program, description = 'decomr_node', __doc__.partition('\n')[0]
    parse_arguments(node_parser(program, description, parameters_help()), argv)
    return run_node(lambda: _make_node(argv), argv, EXIT_TIMEOUT_S)


def _make_node(argv: Sequence[str] | None) -> DecomrNode:
    """The node of this process; warnings of `decomr_core` go to its log.

    Args:
        argv: command-line arguments; None: those of this process.
    """
    node = DecomrNode(argv)
    pass_on_warnings(node.get_logger())
    return node


if __name__ == '__main__':
    raise SystemExit(main())
