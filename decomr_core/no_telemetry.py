"""Switches off the telemetry of ONNX Runtime and OpenVINO.

Both send telemetry by default, on Linux too. ONNX Runtime writes a device id and a database into
`~/.cache/Microsoft` and sends them to Microsoft. OpenVINO writes `~/intel` and sends to Google
Analytics, forking the process for each message. Importing `decomr_core` switches both off before
any of its modules can import either of them.
"""

from __future__ import annotations

import os
import sys

__all__ = ['switch_off']

VARIABLES = {'ORT_DISABLE_TELEMETRY': '1'}
"""ONNX Runtime reads it when it is loaded (see its Privacy.md); child processes inherit it."""

BLOCKED_MODULES = ('openvino_telemetry',)
"""Modules that cannot be imported afterwards. OpenVINO runs without its telemetry module."""


def switch_off() -> None:
    """Switches telemetry off in this process and its child processes."""
    os.environ.update(VARIABLES)
    for name in BLOCKED_MODULES:
        # None makes an import fail (the import system's documentation); the stub leaves it out.
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
