"""Progress and remaining time of a run: a bar on a terminal, otherwise log lines."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from tqdm import tqdm

__all__ = ['TrainProgress', 'duration_text']

logger = logging.getLogger(__name__)


class TrainProgress:
    """Reports the progress of a run.

    Attributes:
        step: number of finished steps, including those before a resume.
    """

    def __init__(self, total: int, step: int, is_shown: bool) -> None:
        """Starts the clock.

        Args:
            total: number of steps of the whole run.
            step: number of steps that are already finished.
            is_shown: whether to report anything; only one process of a group does.
        """
        self.step = step
        self._total, self._first, self._is_shown = total, step, is_shown
        self._started_s = time.monotonic()
        self._bar = tqdm(
            total=total, initial=step, unit='step', disable=None if is_shown else True
        )

    def start(self, log: Path, log_every: int) -> None:
        """Logs the number of steps and the place of the losses."""
        if self._is_shown and self.step < self._total:
            logger.info(
                '%d steps; losses in %s, every %d steps', self._total - self.step, log, log_every
            )

    def update(self) -> None:
        """Counts a finished step; the first one logs an estimate of the remaining time."""
        self.step += 1
        self._bar.update()
        if self._logs_lines and self.step == self._first + 1 < self._total:
            logger.info(
                'step %d of %d took %s: about %s left',
                self.step,
                self._total,
                f'{time.monotonic() - self._started_s:.1f} s',
                self._left(),
            )

    def entry(self, loss: float, images_per_s: float) -> None:
        """Reports the sum of the losses, and the mean rate since the start of the run."""
        self._bar.set_postfix_str(f'loss {loss:.4f}, {images_per_s:.0f} images/s')
        if self._logs_lines:
            logger.info(
                'step %d of %d: loss %.4f, %.1f images/s, %s left',
                self.step,
                self._total,
                loss,
                images_per_s,
                self._left(),
            )

    @property
    def _logs_lines(self) -> bool:
        """Whether to log lines, because there is no terminal for the bar."""
        return self._is_shown and bool(self._bar.disable)

    def _left(self) -> str:
        per_step_s = (time.monotonic() - self._started_s) / (self.step - self._first)
        return duration_text(per_step_s * (self._total - self.step))


def duration_text(seconds: float) -> str:
    """A duration in at most two units, for example 1 h 20 min."""
    rounded = round(seconds)
    if rounded < 1:
        return 'less than a second'
    if rounded < 60:
        return f'{rounded} s'
    if rounded < 3600:
        return f'{rounded // 60} min {rounded % 60} s'
    return f'{rounded // 3600} h {rounded % 3600 // 60} min'
