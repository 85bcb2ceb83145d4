"""Messages of the topics `proximity` and `proximity/markers`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from builtin_interfaces.msg import Duration
from decomr.msg import Proximity
from geometry_msgs.msg import Point, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

__all__ = ['clearing_markers', 'point_message', 'proximity_markers', 'transformed_point']

NAMESPACE = 'proximity'
LIFETIME = Duration(sec=1)
"""RViz removes a line that is not updated in this time, e.g. when the camera stops."""
LINE_WIDTH_M, TEXT_HEIGHT_M = 0.015, 0.12
NEAR, FAR = ColorRGBA(r=0.9, g=0.1, b=0.1, a=1.0), ColorRGBA(r=0.1, g=0.7, b=0.2, a=1.0)
"""Colours of lines below and above the threshold."""


def point_message(point: np.ndarray) -> Point:
    """The message of a point (3,)."""
    x, y, z = point.tolist()
    return Point(x=x, y=y, z=z)


def transformed_point(transform: np.ndarray, point: np.ndarray) -> np.ndarray:
    """A point (3,) after a rigid transform (4, 4)."""
    return transform[:3, :3] @ point + transform[:3, 3]


def clearing_markers(header: Header) -> MarkerArray:
    """Deletes all markers."""
    return MarkerArray(markers=[Marker(header=header, ns=NAMESPACE, action=Marker.DELETEALL)])


def proximity_markers(
    header: Header, proximities: Sequence[Proximity], warning_m: float
) -> MarkerArray:
    """The nearest line of each person, with its distance and interval.

    Args:
        header: of the points.
        proximities: sorted by distance.
        warning_m: lines below this distance are red.
    """
    array = clearing_markers(header)
    shown = set()
    for proximity in proximities:
        if proximity.id in shown:
            continue
        shown.add(proximity.id)
        color = NEAR if proximity.distance < warning_m else FAR
        array.markers += _Line(header, proximity, color).markers()
    return array


@dataclass(frozen=True)
class _Line:
    """The nearest line of one person."""

    header: Header
    proximity: Proximity
    color: ColorRGBA

    def markers(self) -> list[Marker]:
        """The line and its text."""
        body, robot = self.proximity.body_point, self.proximity.robot_point
        line = self._marker('', Marker.LINE_LIST)
        line.scale = Vector3(x=LINE_WIDTH_M, y=0.0, z=0.0)
        line.points = [body, robot]
        text = self._marker('/text', Marker.TEXT_VIEW_FACING)
        text.scale = Vector3(x=0.0, y=0.0, z=TEXT_HEIGHT_M)
        text.pose.position = Point(
            x=(body.x + robot.x) / 2, y=(body.y + robot.y) / 2, z=(body.z + robot.z) / 2
        )
        text.text = (
            f'{self.proximity.distance:.2f} m '
            f'({self.proximity.distance_low:.2f} to {self.proximity.distance_high:.2f})'
        )
        return [line, text]

    def _marker(self, suffix: str, type_: int) -> Marker:
        return Marker(
            header=self.header,
            ns=NAMESPACE + suffix,
            id=self.proximity.id,
            type=type_,
            action=Marker.ADD,
            color=self.color,
            lifetime=LIFETIME,
        )
