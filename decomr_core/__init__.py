"""DecoMR: human meshes and IUV images from camera images. No ROS and no training in here."""

from __future__ import annotations

from decomr_core.no_telemetry import switch_off

__version__ = '0.1.0'

__all__ = ['__version__']

switch_off()
