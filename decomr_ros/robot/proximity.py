"""The topics `proximity` and `proximity/markers`: how near people are to the robot.

What is unknown is reported as unknown: a part of the robot without a transform is listed, and
people without a position are counted. Nothing is published if the robot itself is unknown.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from decomr.msg import Proximity, ProximityArray
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from decomr_core.body_models.joints import JOINT_NAMES
from decomr_core.geometry.nearest_points import SurfaceSearch
from decomr_ros.messages.meshes import nanoseconds_from_stamp
from decomr_ros.messages.proximity import (
    clearing_markers,
    point_message,
    proximity_markers,
    transformed_point,
)
from decomr_ros.node.qos import MESH_QOS, make_publisher, topic_below
from decomr_ros.node.timing import NS_PER_S
from decomr_ros.pipeline.transforms import TransformUnknown
from decomr_ros.robot.approach_rates import ApproachRates
from decomr_ros.robot.frame_motion import FrameMotions
from decomr_ros.robot.nearest_pairs import NearestPair, PlacedPart, nearest_pairs
from decomr_ros.robot.robot_description import RobotDescription
from decomr_ros.robot.velocity_delay import VelocityDelay
from decomr_ros.settings.robot_parts import joined_parts, parse_robot_parts

if TYPE_CHECKING:
    from rclpy.lifecycle import LifecycleNode

    from decomr_core.uv.topology import Topology
    from decomr_ros.node.standing_warnings import StandingWarnings
    from decomr_ros.pipeline.frame_result import FrameResult
    from decomr_ros.pipeline.transforms import Transforms
    from decomr_ros.settings.parameters import NodeParameters
    from decomr_ros.settings.robot_parts import RobotPart

__all__ = ['ProximityOutput']

TOPICS = {'proximity': ProximityArray, 'proximity/markers': MarkerArray}
MOST_NAMES = 5
"""Largest number of frames that a warning names."""
RECENT_S = 1.0
"""Time over which /diagnostics shows the smallest distance, s."""
ROBOT, FRAMES, PEOPLE = 'proximity_robot', 'proximity_frames', 'proximity_people'
"""Names of the warnings."""


class ProximityOutput:
    """Publishes the nearest points of people and robot while they have subscribers."""

    def __init__(
        self,
        node: LifecycleNode,
        parameters: NodeParameters,
        topology: Topology,
        transforms: Transforms | None,
        warnings: StandingWarnings,
    ) -> None:
        """Creates the publishers, and subscribes to the URDF if the parameters ask for it.

        Args:
            node: owner of the publishers.
            parameters: the robot and the switch.
            topology: topology of the meshes.
            transforms: looks up the robot's frames; None: no robot is given.
            warnings: states what is unknown.

        Raises:
            ValueError: `robot_parts` is invalid.
        """
        self._node, self._parameters = node, parameters
        self._transforms, self._warnings = transforms, warnings
        self._topology = topology
        self._search: SurfaceSearch | None = None  # made when it is first needed
        self._given_parts = parse_robot_parts(parameters.robot_parts)
        self._motions, self._rates = FrameMotions(), ApproachRates()
        self._delay = VelocityDelay()
        self._recent = _Recent()
        self._publishers = {
            name: make_publisher(node, type_, topic_below(node, name), MESH_QOS)
            for name, type_ in TOPICS.items()
        }
        self._description: RobotDescription | None = None
        if parameters.use_robot_description:
            links = [name.strip() for name in parameters.robot_links.split(',') if name.strip()]
            self._description = RobotDescription(node, links)

    @property
    def needs_motion(self) -> bool:
        """Always False: velocities of people are not used."""
        return False

    def publish(self, result: FrameResult) -> None:
        """Publishes the distances in one image, if somebody subscribes and the robot is known."""
        if not self._has_subscribers:
            self._warnings.end_soon(ROBOT, FRAMES, PEOPLE)
            self._delay.restart()
            return
        parts, problem = self._robot()
        frame_id = self._parameters.proximity_frame or result.header.frame_id
        problem = problem or _problem_of(result.header)
        out_from_camera = np.eye(4)
        if not problem:
            out_from_camera, problem = self._out_from_camera(frame_id, result.header)
        if problem:
            self._warnings.set(ROBOT, f'proximity is not published: {problem}', 1)
            return
        self._warnings.end_soon(ROBOT)
        placed, unknown = self._placed(parts, result.header)
        stamp_ns = nanoseconds_from_stamp(result.header.stamp)
        pairs, rates = self._measured(result, placed, stamp_ns / NS_PER_S)
        array = ProximityArray(
            header=Header(stamp=result.header.stamp, frame_id=frame_id),
            age=(self._node.get_clock().now().nanoseconds - stamp_ns) / NS_PER_S,
            motion_delay=self._delay.at(result.header),
            unplaced_people=len(result.meshes) - len(result.people),
            unknown_frames=list(unknown),
            proximities=[self._message(pair, rates, out_from_camera) for pair in pairs],
        )
        self._recent.add(pairs, is_complete=not (array.unplaced_people or unknown))
        self._warn_of_unknown(result.header.frame_id, array.unplaced_people, unknown)
        if self._is_wanted('proximity'):
            self._publishers['proximity'].publish(array)
        if self._is_wanted('proximity/markers'):
            self._publishers['proximity/markers'].publish(
                proximity_markers(
                    array.header, array.proximities, self._parameters.proximity_warning_m
                )
            )

    def update(self, parameters: NodeParameters) -> None:
        """Applies changed parameters from the next image on."""
        self._parameters = parameters

    def clear(self, header: Header) -> None:
        """Removes the lines: the node pauses."""
        if self._is_wanted('proximity/markers') and header.frame_id:
            self._publishers['proximity/markers'].publish(clearing_markers(header))

    def values(self) -> dict[str, str]:
        """The smallest distance of the last second, for /diagnostics; on any thread."""
        return {'nearest': self._recent.text()} if self._has_subscribers else {}

    def destroy(self) -> None:
        """Destroys the publishers and the subscription."""
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)
        if self._description is not None:
            self._description.destroy()
        self._publishers, self._description = {}, None

    @property
    def _has_subscribers(self) -> bool:
        return any(map(self._is_wanted, TOPICS))

    def _is_wanted(self, name: str) -> bool:
        publisher = self._publishers.get(name)
        return (
            self._parameters.publish_proximity
            and publisher is not None
            and publisher.get_subscription_count() > 0
        )

    def _robot(self) -> tuple[list[RobotPart], str]:
        """The parts of the robot, and why they are unknown; empty if they are known."""
        if self._description is None:
            if self._given_parts:
                return self._given_parts, ''
            return [], 'no robot is given; set robot_parts or use_robot_description'
        described, problem = self._description.found
        return joined_parts(self._given_parts + described), problem

    def _placed(
        self, parts: list[RobotPart], header: Header
    ) -> tuple[list[PlacedPart], dict[str, str]]:
        """The parts in the camera frame at the stamp, and why other frames are unknown."""
        assert self._transforms is not None  # otherwise there are no parts
        placed, unknown = [], {}
        for part in parts:
            try:
                found = self._transforms.lookup(header.frame_id, part.frame, header)
            except TransformUnknown as error:
                unknown[part.frame] = str(error)
                continue
            placed.append(
                PlacedPart(part.frame, part.boxes.moved(found.matrix), found.matrix, found.age_s)
            )
        return placed, unknown

    def _out_from_camera(self, frame_id: str, header: Header) -> tuple[np.ndarray, str]:
        """The transform (4, 4) to the frame of the points, and why it is unknown; empty if not."""
        assert self._transforms is not None  # otherwise there is no robot
        try:
            return self._transforms.lookup(frame_id, header.frame_id, header).matrix, ''
        except TransformUnknown as error:
            return np.eye(4), (
                f'proximity_frame {frame_id} from {header.frame_id} is unknown: {error}'
            )

    def _measured(
        self, result: FrameResult, placed: list[PlacedPart], time_s: float
    ) -> tuple[list[NearestPair], dict[tuple[int, str], float]]:
        """The pairs in an image, the nearest first, and their rates of approach, m/s."""
        self._motions.update(
            {part.frame: (part.camera_from_part, time_s - part.age_s) for part in placed}
        )
        if self._search is None:
            self._search = SurfaceSearch(self._topology.v_template, self._topology.faces)
        pairs = nearest_pairs(result, placed, self._search, self._motions)
        distances = {(pair.track_id, pair.frame): pair.distance_m for pair in pairs}
        return pairs, self._rates.update(distances, time_s)

    def _message(
        self,
        pair: NearestPair,
        rates: Mapping[tuple[int, str], float],
        out_from_camera: np.ndarray,
    ) -> Proximity:
        return Proximity(
            id=pair.track_id,
            robot_frame=pair.frame,
            body_point=point_message(transformed_point(out_from_camera, pair.on_body)),
            robot_point=point_message(transformed_point(out_from_camera, pair.on_robot)),
            distance=pair.distance_m,
            distance_std=pair.std_m,
            distance_low=pair.low_m,
            distance_high=pair.high_m,
            approach_rate=rates.get((pair.track_id, pair.frame), math.nan),
            body_part=JOINT_NAMES[self._topology.vertex_parts[pair.vertex]],
            is_visible=pair.is_visible,
        )

    def _warn_of_unknown(
        self, camera_frame: str, unplaced_people: int, unknown: Mapping[str, str]
    ) -> None:
        """Ends or states the warnings about people and frames that are left out."""
        if unknown:
            # One text for all frames: several in turn would be logged again and again.
            more = len(unknown) - MOST_NAMES
            names = ', '.join([*unknown][:MOST_NAMES]) + (f' and {more} more' if more > 0 else '')
            self._warnings.set(
                FRAMES,
                f'the distance to {names} is unknown: no transform to {camera_frame}: '
                f'{next(iter(unknown.values()))}',
                1,
            )
        else:
            self._warnings.end_soon(FRAMES)
        if unplaced_people:
            self._warnings.set(
                PEOPLE,
                'the distance of people without a position is unknown; people have a position '
                'as soon as camera_info provides a calibration',
                unplaced_people,
            )
        else:
            self._warnings.end_soon(PEOPLE)


def _problem_of(header: Header) -> str:
    """Why the pose of the robot at an image is unknown; empty if it may be known."""
    if nanoseconds_from_stamp(header.stamp) == 0:
        return 'the images have no stamp, so that the pose of the robot is unknown'
    if not header.frame_id:
        return 'the images have no frame_id, so that their place on the robot is unknown'
    return ''


class _Recent:
    """The smallest distance of the last second; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._nearest: list[tuple[float, NearestPair | None, bool]] = []

    def add(self, pairs: list[NearestPair], is_complete: bool) -> None:
        """Adds the pairs of an image, the nearest first.

        Args:
            pairs: of one image.
            is_complete: whether no person and no part is missing.
        """
        with self._lock:
            self._nearest = [
                *self._of_last_second(),
                (time.monotonic(), pairs[0] if pairs else None, is_complete),
            ]

    def text(self) -> str:
        """The nearest pair in words; `unknown` if nothing was measured, or something is missing.

        Without people it says so only if every image of the last second was complete.
        """
        with self._lock:
            recent = self._of_last_second()
        pairs = [pair for _, pair, _ in recent if pair is not None]
        is_complete = bool(recent) and all(complete for _, _, complete in recent)
        if not pairs:
            return 'nobody' if is_complete else 'unknown'
        nearest = min(pairs, key=lambda pair: pair.distance_m)
        text = (
            f'{nearest.distance_m:.2f} m ({nearest.low_m:.2f} to {nearest.high_m:.2f}): person '
            f'{nearest.track_id}, {nearest.frame}'
        )
        return text if is_complete else f'{text}; others are unknown'

    def _of_last_second(self) -> list[tuple[float, NearestPair | None, bool]]:
        start_s = time.monotonic() - RECENT_S
        return [entry for entry in self._nearest if entry[0] >= start_s]
