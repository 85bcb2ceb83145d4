"""How far a run is and how long it will take: a bar on a terminal, lines in the log elsewhere."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from tqdm import tqdm

__all__ = ['TrainProgress', 'duration_text']

logger = logging.getLogger(__name__)


class TrainProgress:
    """Tells of the steps of a run as they are done.

    Attributes:
        step: steps done, those before a resumed run included.
    """

    def __init__(self, total: int, step: int, is_shown: bool) -> None:
        """Starts the clock.

        Args:
            total: the last step.
            step: steps done before.
            is_shown: False: says nothing (a process of a team that another one speaks for).
        """
        self.step = step
        self._total, self._first, self._is_shown = total, step, is_shown
        self._started_s = time.monotonic()
        self._bar = tqdm(total=total, initial=step, unit='step',
                         disable=None if is_shown else True)

    def start(self, log: Path, log_every: int) -> None:
        """Says how many steps there are and where the losses go."""
        if self._is_shown and self.step < self._total:
            logger.info('%d steps; losses in %s, every %d steps', self._total - self.step, log,
                        log_every)

    def update(self) -> None:
        """One more step is done; the first says how long all will take."""
        self.step += 1
        self._bar.update()
        if self._is_lines and self.step == self._first + 1 < self._total:
            logger.info('step %d of %d took %s: about %s left', self.step, self._total,
                        f'{time.monotonic() - self._started_s:.1f} s', self._left())

    def entry(self, loss: float, images_per_s: float) -> None:
        """An entry of the log: the sum of the losses, and the rate since the run began."""
        self._bar.set_postfix_str(f'loss {loss:.4f}, {images_per_s:.0f} images/s')
        if self._is_lines:
            logger.info('step %d of %d: loss %.4f, %.1f images/s, %s left', self.step,
                        self._total, loss, images_per_s, self._left())

    @property
    def _is_lines(self) -> bool:
        """Whether there is no terminal, on which the bar would say it."""
        return self._is_shown and bool(self._bar.disable)

    def _left(self) -> str:
        per_step_s = (time.monotonic() - self._started_s) / (self.step - self._first)
        return duration_text(per_step_s * (self._total - self.step))


def duration_text(seconds: float) -> str:
    """A duration for a reader, in its two largest units at most, e.g. 1 h 20 min."""
    whole = round(seconds)
    if whole < 1:
        return 'less than a second'
    if whole < 60:
        return f'{whole} s'
    if whole < 3600:
        return f'{whole // 60} min {whole % 60} s'
    return f'{whole // 3600} h {whole % 3600 // 60} min'
