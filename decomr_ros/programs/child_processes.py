"""Programs of ours in processes of their own, which never outlive the one that started them."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType

__all__ = ['ChildProcesses']

# A node ends within about a second of SIGINT; then come SIGTERM and SIGKILL, s each.
STOP_TIMEOUT_S = 10.0
PR_SET_PDEATHSIG = 1


class ChildProcesses:
    """Starts, watches and stops them; a context manager that leaves none behind.

    Each writes to NAME.log in the folder; its standard output is returned by `stop`.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        """Keeps what all children share.

        Args:
            folder: of the logs.
            environment: of the children.
        """
        self._folder, self._environment = folder, environment
        self._processes: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> ChildProcesses:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        for process in reversed(self._processes.values()):
            _end(process)

    def start(self, name: str, *arguments: object) -> None:
        """Starts a Python program.

        Args:
            name: what it is called here and in its log.
            arguments: of the Python interpreter.
        """
        with self._log_path(name).open('w') as log:
            # A session of its own: Ctrl-C in the terminal must reach the parent alone, which
            # then stops its children in order.
            self._processes[name] = subprocess.Popen(
                [sys.executable, *map(str, arguments)], env=self._environment, text=True,
                stdout=subprocess.PIPE, stderr=log, start_new_session=True,
                preexec_fn=_die_with_parent)

    def is_running(self, name: str) -> bool:
        """Whether the child has not ended yet."""
        return self._processes[name].poll() is None

    def pid(self, name: str) -> int:
        """The child's process id."""
        return self._processes[name].pid

    def log(self, name: str) -> str:
        """What the child has written to its standard error so far."""
        return self._log_path(name).read_text(errors='replace')

    def check(self, *names: str) -> None:
        """Makes sure that these children run.

        Raises:
            RuntimeError: one has ended; says its last words.
        """
        for name in names:
            if not self.is_running(name):
                raise RuntimeError(self._last_words(name))

    def stop(self, name: str) -> str:
        """Asks a child to end, waits for it, and gives its standard output.

        Raises:
            RuntimeError: it did not end with exit code 0.
        """
        process = self._processes[name]
        output = _end(process)
        if process.returncode != 0:
            raise RuntimeError(self._last_words(name))
        return output

    def _log_path(self, name: str) -> Path:
        return self._folder / f'{name}.log'

    def _last_words(self, name: str) -> str:
        lines = self.log(name).strip().splitlines()
        # The reason is the last line that calls itself an error, else the last line.
        errors = [line for line in lines if 'ERROR' in line]
        # Without the time and the name of the node.
        reason = (errors or lines or ['it said nothing'])[-1].rpartition(']: ')[2]
        code = self._processes[name].returncode
        return f'{name} ended with code {code}: {reason} (see {self._log_path(name)})'


def _end(process: subprocess.Popen[str]) -> str:
    """Ends a process, the harder the longer it takes; gives its standard output."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            process.send_signal(number)
        try:
            return process.communicate(timeout=STOP_TIMEOUT_S)[0] or ''
        except subprocess.TimeoutExpired:
            continue
        except ValueError:
            return ''  # its output has been read before
    return ''


def _die_with_parent() -> None:
    """Asks Linux for a SIGINT when the parent dies, however it dies."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
