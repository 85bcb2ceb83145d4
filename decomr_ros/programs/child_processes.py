"""Child processes that never outlive their parent."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from decomr_core.base.child_python import PR_SET_PDEATHSIG

__all__ = ['ChildProcesses']

# A node ends about a second after SIGINT. After this time follow SIGTERM, then SIGKILL, s each.
STOP_TIMEOUT_S = 10.0


class ChildProcesses:
    """Starts, monitors and stops child processes; a context manager that stops all of them.

    The standard error of a child is written to NAME.log in the folder; `stop` returns its standard
    output.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        """Stores what all children share.

        Args:
            folder: of the logs.
            environment: of the children.
        """
        self._folder, self._environment = folder, environment
        self._processes: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> ChildProcesses:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in reversed(self._processes.values()):
            _end(process)

    def start(self, name: str, *arguments: object) -> None:
        """Starts a Python program.

        Args:
            name: of the child, also in the name of its log.
            arguments: of the Python interpreter.
        """
        with self._log_path(name).open('w') as log:
            # In a new session: Ctrl-C in the terminal must reach only the parent, which then
            # stops its children in order.
            self._processes[name] = subprocess.Popen(
                [sys.executable, *map(str, arguments)],
                env=self._environment,
                text=True,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    def is_running(self, name: str) -> bool:
        """Whether the child is still running."""
        return self._processes[name].poll() is None

    def pid(self, name: str) -> int:
        """The child's process id."""
        return self._processes[name].pid

    def log(self, name: str) -> str:
        """The child's standard error so far."""
        return self._log_path(name).read_text(errors='replace')

    def check(self, *names: str) -> None:
        """Checks that these children are running.

        Raises:
            RuntimeError: one has ended; the error quotes its last log line.
        """
        for name in names:
            if not self.is_running(name):
                raise RuntimeError(self._failure_text(name))

    def stop(self, name: str) -> str:
        """Stops a child with SIGINT, waits for its end, and returns its standard output.

        Raises:
            RuntimeError: its exit code is not 0.
        """
        process = self._processes[name]
        output = _end(process)
        if process.returncode != 0:
            raise RuntimeError(self._failure_text(name))
        return output

    def _log_path(self, name: str) -> Path:
        return self._folder / f'{name}.log'

    def _failure_text(self, name: str) -> str:
        lines = self.log(name).strip().splitlines()
        # The last line with an error, otherwise the last line.
        errors = [line for line in lines if 'ERROR' in line]
        # Without the time and the name of the node.
        reason = (errors or lines or ['its log is empty'])[-1].rpartition(']: ')[2]
        code = self._processes[name].returncode
        return f'{name} ended with exit code {code}: {reason} (see {self._log_path(name)})'


def _end(process: subprocess.Popen[str]) -> str:
    """Ends a process by SIGINT, SIGTERM, SIGKILL in turn; returns its standard output."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            process.send_signal(number)
        try:
            return process.communicate(timeout=STOP_TIMEOUT_S)[0] or ''
        except subprocess.TimeoutExpired:
            continue
        except ValueError:
            return ''  # its output has already been read
    return ''


def _die_with_parent() -> None:
    """Has Linux send SIGINT when the parent ends for any reason."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
