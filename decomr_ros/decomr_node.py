"""`decomr`: the lifecycle node. Images in, human meshes and IUV images out.

| state | what exists |
|---|---|
| unconfigured | parameters, /diagnostics |
| inactive | the network in its runtime, the publishers |
| active | the subscriptions, the worker thread that does the inference |

The executor's thread only takes messages; the worker thread converts, infers and publishes the
newest image. A transition that fails says why in one line of the log and leaves the node where it
was: correct the parameter and configure again.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.time import Time
from std_msgs.msg import Header

from decomr_ros.diagnostics import FrameStatistics, publish_status
from decomr_ros.frame_worker import FrameWorker, WorkerCounts
from decomr_ros.inputs import Frame, Inputs
from decomr_ros.messages import mesh_topology_message, nanoseconds_from_stamp
from decomr_ros.outputs import Outputs
from decomr_ros.parameters import NodeParameters, declare_parameters, read_parameters
from decomr_ros.pipeline import MeshPipeline
from decomr_ros.process import run_node

if TYPE_CHECKING:
    from rclpy.timer import Timer

__all__ = ['DecomrNode', 'main']

STATUS_PERIOD_S = 1.0
# The same problem is logged once in this time, s.
QUIET_S = 5.0
# One image is never worth more than this when the worker is asked to stop, s.
STOP_TIMEOUT_S = 5.0
# How long the last messages may take to reach reliable subscribers when the process ends.
SEND_TIMEOUT = Duration(seconds=0.5)

# What our own code says in words for a user; the traceback of anything else helps to report it.
TOLD_IN_WORDS = (ValueError, OSError, RuntimeError, ImportError)

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class DecomrNode(LifecycleNode):
    """Images and their calibration in; meshes, IUV images, markers and the topology out.

    Attributes:
        exit_code: set when the process should end.
    """

    def __init__(self) -> None:
        """Declares the parameters; with `autostart` the transitions follow once it spins."""
        super().__init__('decomr')
        self.exit_code: int | None = None
        self._reset()
        declare_parameters(self, self._is_configured, self._parameters_changed)
        # Steady time: with use_sim_time and no clock yet, ROS time stands still.
        self._steady_clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._status_publisher = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._every(STATUS_PERIOD_S, self._publish_status)
        self._refuse_politely()
        if self.get_parameter('autostart').value:
            self._autostart_timer = self._every(0.0, self._autostart)

    # Transitions

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Loads the network and makes the publishers."""
        try:
            self._reset()
            self._settings = read_parameters(self)
            self._inputs = Inputs(self, self._settings, self._worker.submit)
            self._pipeline = MeshPipeline(self._settings)
            self._outputs = Outputs(self, self._settings,
                                    mesh_topology_message(self._pipeline.topology))
            self._log_timer = self._every(self._settings.log_period_s, self._log_rates)
        except Exception as error:  # noqa: BLE001 - whatever it is, the node must stay alive
            self._log_failure('configure', error)
            self._release()
            return FAILURE
        self.get_logger().info(
            f'configured: weights {self._settings.weights} in {self._settings.runtime}, detector '
            f'{self._settings.detector} on one image in {self._settings.detector_stride}')
        return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Publishes the topology, subscribes, starts the worker."""
        super().on_activate(state)
        try:
            self._outputs.publish_topology()
            self._worker.start()
            self._inputs.subscribe()
        except Exception as error:  # noqa: BLE001
            self._log_failure('activate', error)
            self._stop()
            super().on_deactivate(state)
            return FAILURE
        self.get_logger().info(
            f'active: {self._inputs.image_topic} ({self._inputs.reliability}) -> '
            f'{self.resolve_topic_name("human_meshes")}')
        return SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribes, stops the worker, clears the markers."""
        self._stop()
        self._outputs.wait_until_sent(SEND_TIMEOUT)
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees the network and the publishers."""
        self._release()
        return SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees everything, from any state."""
        self._stop()
        self._release()
        return SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees everything; the node can be configured again."""
        return self.on_shutdown(state)

    def close(self) -> None:
        """Ends in order, from any state: the markers disappear, the counts are logged."""
        if self._inputs is not None and self._inputs.is_subscribed:
            self.trigger_deactivate()
        counts = self._worker.counts
        self._publish_status()
        self._status_publisher.wait_for_all_acked(SEND_TIMEOUT)
        self.get_logger().info(
            f'{counts.received} images received, {counts.skipped_for_newer} skipped for a newer '
            f'one, {self._statistics.published} mesh messages published, {counts.failed} failed')
        self._release()

    # The image path

    def _process(self, frame: Frame) -> None:
        """One image, on the worker thread."""
        image, header = frame.rgb, frame.header
        self._watch_time(header)
        meshes, times = self._pipeline.estimate(image, frame.intrinsics, frame.boxes)
        meshes = self._inputs.place(meshes, frame)
        self._outputs.publish_meshes(header, meshes)
        latency = self.get_clock().now() - Time.from_msg(header.stamp)
        self._statistics.add(latency.nanoseconds / 1e6, len(meshes), times)
        self._outputs.publish_pictures(header, image, meshes, frame.intrinsics)

    def _watch_time(self, header: Header) -> None:
        """Forgets the tracks where time jumps back: a bag that starts again."""
        stamp_ns = nanoseconds_from_stamp(header.stamp)
        if stamp_ns < self._last_stamp_ns:
            back_s = (self._last_stamp_ns - stamp_ns) / 1e9
            self.get_logger().info(f'time jumped back by {back_s:.3f} s: the tracks start anew')
            self._pipeline.reset()
        self._last_stamp_ns, self._last_frame_id = stamp_ns, header.frame_id

    def _frame_failed(self, error: Exception) -> None:
        self._statistics.add_problem(str(error))
        self.get_logger().error(f'an image was left out: {error}', throttle_duration_sec=QUIET_S)

    # What belongs to the states

    def _is_configured(self) -> bool:
        return self._pipeline is not None

    def _parameters_changed(self, names: frozenset[str]) -> None:
        if self._is_configured():
            self._settings = self._inputs.settings = read_parameters(self)

    def _refuse_politely(self) -> None:
        """Answers a transition that the present state does not have.

        rclpy's own service raises an error then, and the caller waits for ever.
        """
        change = self._service_change_state.callback

        def answer(request: ChangeState.Request,
                   response: ChangeState.Response) -> ChangeState.Response:
            """The change, or a refusal that says so."""
            try:
                return change(request, response)
            except Exception as error:  # noqa: BLE001 - rclpy's RCLError is not public
                self.get_logger().error(f'transition {request.transition.id} refused: {error}')
                response.success = False
                return response

        self._service_change_state.callback = answer

    def _autostart(self) -> None:
        self.destroy_timer(self._autostart_timer)
        if self._state_machine.current_state[1] != 'unconfigured':
            return  # a lifecycle manager was faster
        has_started = (self.trigger_configure() == SUCCESS
                       and self.trigger_activate() == SUCCESS)
        if has_started:
            return
        if self.get_parameter('exit_on_failed_autostart').value:
            self.exit_code = 1
        else:
            name = self.get_fully_qualified_name()
            self.get_logger().error(f'autostart failed; correct it (ros2 param set {name} ...), '
                                    f'then: ros2 lifecycle set {name} configure')

    def _reset(self) -> None:
        self._settings: NodeParameters | None = None
        self._pipeline: MeshPipeline | None = None
        self._outputs: Outputs | None = None
        self._log_timer: Timer | None = None
        self._inputs: Inputs | None = None
        self._last_stamp_ns, self._last_frame_id = 0, ''
        self._logged = WorkerCounts()
        self._statistics = FrameStatistics()
        self._worker: FrameWorker[Frame] = FrameWorker(self._process, self._frame_failed)

    def _stop(self) -> None:
        if self._inputs is not None:
            self._inputs.close()
        if not self._worker.stop(STOP_TIMEOUT_S):
            self.get_logger().error(f'the inference did not end within {STOP_TIMEOUT_S:g} s')
        if self._outputs is not None:
            self._outputs.clear_markers(Header(stamp=self.get_clock().now().to_msg(),
                                               frame_id=self._last_frame_id))

    def _release(self) -> None:
        if self._outputs is not None:
            self._outputs.destroy()
        if self._log_timer is not None:
            self.destroy_timer(self._log_timer)
        if self._pipeline is not None:
            self._pipeline.close()
        self._pipeline = self._outputs = self._log_timer = None

    # Saying what happens

    def _publish_status(self) -> None:
        values = self._statistics.values(self._worker.counts, STATUS_PERIOD_S)
        if self._inputs is not None:
            values |= self._inputs.values()
        publish_status(self, self._status_publisher, self._state_machine.current_state[1], values)

    def _log_rates(self) -> None:
        if self._inputs is None or not self._inputs.is_subscribed:
            return
        counts, period_s = self._worker.counts, self._settings.log_period_s
        arrived = counts.received - self._logged.received
        self._logged = counts
        if not arrived:
            self.get_logger().warning(
                f'no image on {self._inputs.image_topic} for {period_s:g} s; is the '
                f'camera running, and does reliability={self._inputs.reliability} suit it?')
            return
        values = self._statistics.values(counts, period_s)
        rate_hz = values.pop('rate_hz')
        self.get_logger().info(f'in {arrived / period_s:.1f} Hz, out {rate_hz} Hz; ' + ', '.join(
            f'{name} {value}' for name, value in values.items()))

    def _log_failure(self, transition: str, error: Exception) -> None:
        """One line that says why; more only of what nobody expected."""
        text = ''.join(traceback.format_exception(error)).rstrip()
        if isinstance(error, TOLD_IN_WORDS) and str(error):
            self.get_logger().error(f'{transition} failed: {" ".join(str(error).split())}')
            self.get_logger().debug(text)
        else:
            self.get_logger().error(f'{transition} failed, please report this: {error!r}\n{text}')

    def _every(self, period_s: float, call: Callable[[], None]) -> Timer:
        return self.create_timer(period_s, call, clock=self._steady_clock)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the node until SIGINT or SIGTERM.

    Returns:
        The exit code.
    """
    return run_node(DecomrNode, argv)


if __name__ == '__main__':
    raise SystemExit(main())
