"""Switches off what ONNX Runtime and OpenVINO report to their vendors.

Both report by default, on Linux too. ONNX Runtime writes a device id and a database into
`~/.cache/Microsoft` and sends them to Microsoft. OpenVINO writes `~/intel` and sends to Google
Analytics, from a fork of the process for each message. Importing `decomr_core` switches both off,
before any module of ours can import either of them.
"""

from __future__ import annotations

import os
import sys

__all__ = ['switch_off']

VARIABLES = {'ORT_DISABLE_TELEMETRY': '1'}
"""Read by ONNX Runtime when it is loaded (its Privacy.md); child processes inherit it."""

BLOCKED_MODULES = ('openvino_telemetry',)
"""Modules that cannot be imported afterwards. OpenVINO does without this one if it is missing."""


def switch_off() -> None:
    """Switches the reports off in this process and in those that it starts."""
    os.environ.update(VARIABLES)
    for name in BLOCKED_MODULES:
        sys.modules.setdefault(name, None)
