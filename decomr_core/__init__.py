"""DecoMR: human meshes and IUV images from camera images. No ROS and no training in here."""

from __future__ import annotations

__version__ = '0.1.0'

__all__ = ['__version__']
