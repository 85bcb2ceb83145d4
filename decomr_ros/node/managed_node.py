"""A lifecycle node that logs failed transitions and can start itself.

rclpy discards exceptions of a transition. Here they are logged, and the transition fails: the
node keeps its state, so that the cause can be corrected and the transition repeated. A slow
transition does not block other services: see `transition_thread`.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn

from decomr_ros.node.installation import with_ros2_command
from decomr_ros.node.timing import create_steady_timer
from decomr_ros.node.transition_thread import TransitionThread

__all__ = ['FAILURE', 'SUCCESS', 'ManagedNode']

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE

# Errors whose text is written for users; other errors are logged with a traceback.
EXPECTED_ERRORS = (ValueError, OSError, RuntimeError, ImportError)


class ManagedNode(LifecycleNode):
    """Base class of lifecycle nodes.

    Attributes:
        exit_code: set when the process should end.
        last_failure: why the last transition failed; empty if it succeeded.
        progress: current step of a slow transition; empty outside of one.
    """

    def __init__(self, name: str, **options: Any) -> None:
        """Creates the node.

        Args:
            name: of the node.
            options: arguments of rclpy's Node.
        """
        super().__init__(name, **options)
        self.exit_code: int | None = None
        self.last_failure = ''
        self.progress = ''
        self._answer_invalid_transitions()
        self._transitions = TransitionThread(self, self._service_change_state)
        self._call_once_spinning(self._transitions.start)

    @property
    def state_label(self) -> str:
        """Label of the lifecycle state, e.g. `active`."""
        return self._state_machine.current_state[1]

    @property
    def is_ending(self) -> bool:
        """Whether the node is shutting down; slow transitions should then stop."""
        return self._transitions.is_ending

    def attempt(
        self,
        transition: str,
        work: Callable[[], None],
        undo: Callable[[], None] | None = None,
        *,
        is_slow: bool = False,
    ) -> TransitionCallbackReturn:
        """Performs a transition; after an exception, logs it and restores the previous state.

        Args:
            transition: its name, for the log.
            work: performs the transition.
            undo: restores the previous state.
            is_slow: whether the work may take seconds. It then runs on the calling thread,
                otherwise on the executor's thread.
        """
        self.last_failure = ''
        try:
            if is_slow:
                work()
            else:
                self.run_in_executor(work)
            return SUCCESS
        except Exception as error:  # noqa: BLE001 - the node must stay alive after any error
            self._log_failure(transition, error)
        finally:
            self.progress = ''
        # Outside the handler: the exception references its frames, e.g. a partly loaded network.
        if undo is not None:
            self.run_in_executor(undo)
        return FAILURE

    def run_in_executor(self, work: Callable[[], None]) -> None:
        """Runs a part of a transition on the executor's thread, not concurrent with callbacks."""
        self._transitions.run_in_executor(work)

    def report(self, progress: str) -> None:
        """Logs the current step of a slow transition and stores it in `progress`."""
        self.progress = progress
        self.get_logger().info(progress)

    def autostart(self, exits_on_failure: Callable[[], bool]) -> None:
        """Configures and activates the node as soon as it spins.

        Args:
            exits_on_failure: whether the process should end after a failure.
        """

        def start() -> None:
            """Called once."""
            if self.state_label != 'unconfigured':
                return  # a lifecycle manager was faster
            if self.trigger_configure() == SUCCESS and self.trigger_activate() == SUCCESS:
                return
            if self.is_ending:
                return
            if exits_on_failure():
                self.exit_code = 1
                return
            name = self.get_fully_qualified_name()
            advice = with_ros2_command(
                f'correct the parameters (ros2 param set {name} ...), then run ros2 lifecycle set '
                f'{name} configure, and the same with activate',
                'stop the node and start it with correct parameters (-p NAME:=VALUE after '
                f'--ros-args), or call its services {name}/set_parameters and change_state',
            )
            self.get_logger().error(f'autostart failed; {advice}')

        self._call_once_spinning(lambda: self._transitions.submit(start))

    def end_transitions(self) -> None:
        """Waits for a running transition; no further transition is performed."""
        self._transitions.stop()

    def _call_once_spinning(self, call: Callable[[], None]) -> None:
        """Has the executor call a function once."""

        def call_once() -> None:
            """Destroys the timer at its first call."""
            self.destroy_timer(timer)
            call()

        timer = create_steady_timer(self, 0.0, call_once)

    def _answer_invalid_transitions(self) -> None:
        """Makes the service answer requests for transitions that the state does not allow.

        rclpy's service raises an exception for them, and the caller waits forever.
        """
        change = self._service_change_state.callback

        def answer(
            request: ChangeState.Request, response: ChangeState.Response
        ) -> ChangeState.Response:
            """Performs the transition, or answers that it failed."""
            try:
                return change(request, response)
            except Exception as error:  # noqa: BLE001 - rclpy's RCLError is not public
                self.get_logger().error(f'transition {request.transition.id} rejected: {error}')
                response.success = False
                return response

        self._service_change_state.callback = answer

    def _log_failure(self, transition: str, error: Exception) -> None:
        """Logs the reason in one line; unexpected errors with a traceback."""
        text = ''.join(traceback.format_exception(error)).rstrip()
        if isinstance(error, EXPECTED_ERRORS) and str(error):
            self.last_failure = f'{transition} failed: {" ".join(str(error).split())}'
            self.get_logger().error(self.last_failure)
            self.get_logger().debug(text)
        else:
            self.last_failure = f'{transition} failed, please report this: {error!r}'
            self.get_logger().error(f'{self.last_failure}\n{text}')
