"""UV space: the chart of the body surface, location maps in it, and the warp from the image."""

from __future__ import annotations
