"""What a measurement was made on: named in every report that holds times or scores."""

from __future__ import annotations

import platform
from pathlib import Path

__all__ = ['cpu_name']


def cpu_name() -> str:
    """The CPU's name, where Linux tells it."""
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:
        lines = []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor() or platform.machine()
