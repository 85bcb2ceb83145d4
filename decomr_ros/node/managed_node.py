"""A lifecycle node whose transitions never fail without a word, and which can start itself.

rclpy swallows what a transition raises; here it is logged, and the transition fails: the node
stays in the state it was in, and can be corrected and tried again. A slow transition blocks no
other service: see `transition_thread`.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lifecycle_msgs.srv import ChangeState
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn

from decomr_ros.node.installation import with_ros2_command
from decomr_ros.node.transition_thread import TransitionThread

if TYPE_CHECKING:
    from rclpy.timer import Timer

__all__ = ['FAILURE', 'SUCCESS', 'ManagedNode']

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE

# What our own code says in words for a user; the traceback of anything else helps to report it.
TOLD_IN_WORDS = (ValueError, OSError, RuntimeError, ImportError)


class ManagedNode(LifecycleNode):
    """What every lifecycle node of ours does alike.

    Attributes:
        exit_code: set when the process should end.
        last_failure: why the last transition failed; empty where it did not.
        progress: what a slow transition is doing at present; empty outside of one.
    """

    def __init__(self, name: str, **options: Any) -> None:
        """Makes the node.

        Args:
            name: of the node.
            options: what rclpy's Node takes.
        """
        super().__init__(name, **options)
        self.exit_code: int | None = None
        self.last_failure = ''
        # Steady time: with use_sim_time and no clock yet, ROS time stands still.
        self._steady_clock = Clock(clock_type=ClockType.STEADY_TIME)
        self.progress = ''
        self._refuse_politely()
        self._transitions = TransitionThread(self, self._service_change_state)
        self._once_it_spins(self._transitions.start)

    @property
    def state_label(self) -> str:
        """The lifecycle state, e.g. `active`."""
        return self._state_machine.current_state[1]

    @property
    def is_ending(self) -> bool:
        """Whether the node ends, so that nobody waits for a transition any more."""
        return self._transitions.is_ending

    def attempt(self, transition: str, work: Callable[[], None],
                undo: Callable[[], None] | None = None, *, is_slow: bool = False
                ) -> TransitionCallbackReturn:
        """Does the work of a transition; where it raises an error, says so and undoes it.

        Args:
            transition: its name, for the log.
            work: what is to be done.
            undo: brings the node back to the state before.
            is_slow: whether the work may take seconds. It is then done on the thread that the
                transition was asked for on, beside the executor's; else on the executor's.
        """
        self.last_failure = ''
        try:
            if is_slow:
                work()
            else:
                self.in_executor(work)
            return SUCCESS
        except Exception as error:  # noqa: BLE001 - whatever it is, the node must stay alive
            self._log_failure(transition, error)
        finally:
            self.progress = ''
        # Only now, as the error would keep what it was raised in alive: a half loaded network.
        if undo is not None:
            self.in_executor(undo)
        return FAILURE

    def in_executor(self, work: Callable[[], None]) -> None:
        """Does the part of a transition that the executor's callbacks must not see half done."""
        self._transitions.in_executor(work)

    def report(self, progress: str) -> None:
        """Says in the log, and in `progress`, what a slow transition is doing."""
        self.progress = progress
        self.get_logger().info(progress)

    def start_itself(self, ends_on_failure: Callable[[], bool]) -> None:
        """Configures and activates the node once it spins.

        Args:
            ends_on_failure: whether the process should end where that fails.
        """
        def start() -> None:
            """Runs once."""
            if self.state_label != 'unconfigured':
                return  # a lifecycle manager was faster
            if self.trigger_configure() == SUCCESS and self.trigger_activate() == SUCCESS:
                return
            if self.is_ending:
                return
            if ends_on_failure():
                self.exit_code = 1
                return
            name = self.get_fully_qualified_name()
            advice = with_ros2_command(
                f'correct it (ros2 param set {name} ...), then: ros2 lifecycle set {name} '
                'configure, and activate',
                'end the node and start it with the right parameters (-p NAME:=VALUE behind '
                f'--ros-args), or use its services {name}/set_parameters and change_state')
            self.get_logger().error(f'autostart failed; {advice}')

        self._once_it_spins(lambda: self._transitions.submit(start))

    def end_transitions(self) -> None:
        """Waits for a transition that is under way; there is none afterwards."""
        self._transitions.stop()

    def every(self, period_s: float, call: Callable[[], None]) -> Timer:
        """A timer of steady time."""
        return self.create_timer(period_s, call, clock=self._steady_clock)

    def _once_it_spins(self, call: Callable[[], None]) -> None:
        """Has the executor call something once."""
        def call_once() -> None:
            """The first time is the last one."""
            self.destroy_timer(timer)
            call()

        timer = self.every(0.0, call_once)

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

    def _log_failure(self, transition: str, error: Exception) -> None:
        """One line that says why; more only of what nobody expected."""
        text = ''.join(traceback.format_exception(error)).rstrip()
        if isinstance(error, TOLD_IN_WORDS) and str(error):
            self.last_failure = f'{transition} failed: {" ".join(str(error).split())}'
            self.get_logger().error(self.last_failure)
            self.get_logger().debug(text)
        else:
            self.last_failure = f'{transition} failed, please report this: {error!r}'
            self.get_logger().error(f'{self.last_failure}\n{text}')
