"""The folder of a training run: config, checkpoint, log and TensorBoard files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from decomr_core.base.files import replacing

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ['RunFolder', 'without_folders']

CHECKPOINT, CONFIG, LOG, NETWORK = (
    'checkpoint.pt',
    'config.json',
    'log.jsonl',
    'network.safetensors',
)
CURVES = 'tensorboard'


class RunFolder:
    """Reads and writes the files of a run; a file is replaced only when its successor is complete.

    Args:
        path: the folder; created if it is missing.
        is_writing: False for processes that do not write.
        has_tensorboard: whether to write curves and images for TensorBoard.
    """

    def __init__(self, path: Path, is_writing: bool = True, has_tensorboard: bool = False) -> None:
        self.path, self.is_writing = path, is_writing
        self.has_tensorboard = has_tensorboard
        self._curves: SummaryWriter | None = None

    @property
    def has_checkpoint(self) -> bool:
        """Whether the folder has a checkpoint."""
        return (self.path / CHECKPOINT).is_file()

    def open(self, config: dict[str, Any]) -> None:
        """Creates the folder and writes the resolved config as a file for `--config`.

        Args:
            config: configs by their groups on the command line.
        """
        if not self.is_writing:
            return
        self.path.mkdir(parents=True, exist_ok=True)
        with replacing(self.path / CONFIG) as part:
            part.write_text(json.dumps(config, indent=2) + '\n', encoding='utf-8')
        if self.has_tensorboard:
            self._curves = _summary_writer(self.path / CURVES)

    @property
    def network_path(self) -> Path:
        """The weights file."""
        return self.path / NETWORK

    @property
    def log_path(self) -> Path:
        """The log file: one JSON object per line."""
        return self.path / LOG

    def log(self, step: int, seconds: float, entry: dict[str, Any]) -> None:
        """Appends a line to the log, and adds its numbers to the TensorBoard curves."""
        with self.log_path.open('a', encoding='utf-8') as handle:
            row = {'step': step, 'seconds': round(seconds, 1), **entry}
            handle.write(json.dumps(row) + '\n')
        if self._curves is not None:
            for name, value in _flat(entry):
                self._curves.add_scalar(name, value, step)

    def log_image(self, step: int, name: str, image: np.ndarray) -> None:
        """Adds an image (H, W, 3) uint8 RGB to TensorBoard, if enabled."""
        if self._curves is not None:
            self._curves.add_image(name, image, step, dataformats='HWC')
            self._curves.flush()

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Replaces the checkpoint atomically.

        Raises:
            RuntimeError: the checkpoint could not be written (full disk); the previous one is
                kept.
        """
        target = self.path / CHECKPOINT
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with replacing(target) as part:
                torch.save(state, part)
        except (OSError, RuntimeError) as error:
            kept = (
                'the previous checkpoint is kept'
                if target.is_file()
                else 'there is no checkpoint yet'
            )
            raise RuntimeError(
                f'cannot write {target}: {error}; {kept}; free disk space and '
                'continue with --resume'
            ) from error

    def load_checkpoint(self, device: torch.device) -> dict[str, Any]:
        """Reads the last checkpoint.

        Raises:
            FileNotFoundError: there is no checkpoint.
            ValueError: the file is damaged.
        """
        path = self.path / CHECKPOINT
        if not path.is_file():
            raise FileNotFoundError(f'no checkpoint at {path}; start the run without --resume')
        try:
            return torch.load(path, map_location=device, weights_only=True)
        except Exception as error:
            # A damaged file can raise almost any error; to the user they all mean the same.
            raise ValueError(
                f'{path} is damaged ({type(error).__name__}); start again without '
                '--resume in another folder'
            ) from error

    def close(self) -> None:
        """Closes the TensorBoard files."""
        if self._curves is not None:
            self._curves.close()


def without_folders(config: dict[str, Any]) -> dict[str, Any]:
    """A config as it is stored with weights: paths are reduced to file names."""
    return {
        key: without_folders(value)
        if isinstance(value, dict)
        else Path(value).name
        if isinstance(value, str)
        else value
        for key, value in config.items()
    }


def _summary_writer(folder: Path) -> SummaryWriter:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            f'tensorboard: true needs TensorBoard ({error}): pip install '
            'tensorboard, or set it to false'
        ) from error
    return SummaryWriter(str(folder))


def _flat(entry: dict[str, Any], prefix: str = '') -> list[tuple[str, float]]:
    """The numbers in nested dicts, with slash-separated keys."""
    found: list[tuple[str, float]] = []
    for name, value in entry.items():
        if isinstance(value, dict):
            found += _flat(value, f'{prefix}{name}/')
        elif isinstance(value, int | float):
            found.append((f'{prefix}{name}', float(value)))
    return found
