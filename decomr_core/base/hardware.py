"""The hardware of a measurement, for reports with times or scores."""

from __future__ import annotations

import platform
from pathlib import Path

__all__ = ['cpu_name']


def cpu_name() -> str:
    """The model name of the CPU from Linux, otherwise the platform's name of it."""
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:
        lines = []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor() or platform.machine()
