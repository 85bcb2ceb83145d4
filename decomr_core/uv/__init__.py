"""UV space: the chart of the body surface, location maps, and the warp from image space."""

from __future__ import annotations
