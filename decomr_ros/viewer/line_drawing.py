"""Lines from the robot to people in a viser scene, with their distance as a label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from decomr_ros.viewer.distances import NearestLine

__all__ = ['LineDrawing']

NEAR_COLOR, FAR_COLOR = (225, 0, 0), (0, 130, 0)
LINE_PX, LABEL_SCALE = 4.0, 0.8


class _Handles(NamedTuple):
    """The viser handles of one line."""

    line: Any
    label: Any


class LineDrawing:
    """The lines in a scene, by person: red if the person is near, otherwise green."""

    def __init__(self, scene: Any) -> None:
        """Draws nothing yet.

        Args:
            scene: viser.SceneApi.
        """
        self._scene = scene
        self._drawn: dict[int, _Handles] = {}

    def show(self, lines: Mapping[int, NearestLine]) -> None:
        """Moves, adds and removes lines.

        Args:
            lines: those to be seen, in the frame of the scene.
        """
        for track_id, line in lines.items():
            points = line.points[None].astype(np.float32)
            color = NEAR_COLOR if line.is_near else FAR_COLOR
            colors = np.tile(np.array(color, np.uint8), (1, 2, 1))
            if track_id in self._drawn:
                self._move(self._drawn[track_id], points, colors, line.label)
            else:
                self._drawn[track_id] = self._add(track_id, points, colors, line.label)
        for track_id in set(self._drawn) - set(lines):
            for handle in self._drawn.pop(track_id):
                handle.remove()

    def _add(self, track_id: int, points: np.ndarray, colors: np.ndarray, label: str) -> _Handles:
        name = f'/distances/{track_id}'
        return _Handles(
            self._scene.add_line_segments(
                f'{name}/line', points, colors=colors, thickness=LINE_PX, thickness_units='screen'
            ),
            self._scene.add_label(
                f'{name}/label',
                label,
                position=points[0].mean(axis=0),
                font_screen_scale=LABEL_SCALE,
                anchor='bottom-center',
            ),
        )

    @staticmethod
    def _move(handles: _Handles, points: np.ndarray, colors: np.ndarray, label: str) -> None:
        handles.line.points = points
        handles.line.colors = colors
        handles.label.position = points[0].mean(axis=0)
        if handles.label.text != label:
            handles.label.text = label
