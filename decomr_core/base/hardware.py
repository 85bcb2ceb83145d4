"""The CPU: its name for reports, and what it computes exactly."""

from __future__ import annotations

import platform
from pathlib import Path

__all__ = ['cpu_name', 'has_int8_dot_products']

INT8_FLAGS = {'avx512_vnni', 'avx_vnni', 'amx_int8', 'asimddp'}
"""Instructions of x86-64 and ARM that add products of 8-bit numbers in 32 bits."""


def cpu_name() -> str:
    """The model name of the CPU from Linux, otherwise the platform's name of it."""
    names = _values('model name')
    return names[0] if names else platform.processor() or platform.machine()


def has_int8_dot_products() -> bool:
    """Whether the CPU adds products of 8-bit numbers without saturation.

    Other CPUs add pairs of products in 16 bits, where large sums are cut off: a quantised network
    then loses accuracy. True where the instructions of the CPU are unknown.
    """
    flags = _values('flags') or _values('Features')
    return not flags or not INT8_FLAGS.isdisjoint(flags[0].split())


def _values(name: str) -> list[str]:
    """The values of an entry of /proc/cpuinfo, one per core; empty where there is none."""
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:
        return []
    pairs = (line.partition(':') for line in lines)
    return [value.strip() for key, _, value in pairs if key.strip() == name]
