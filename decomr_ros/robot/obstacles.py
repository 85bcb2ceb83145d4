"""The topics `obstacles` and `obstacles/clearing`: people for motion planners.

`obstacles` fills the region in which the surface of each person is with a probability of 95 % (see
`decomr_core.geometry.obstacles`). `obstacles/clearing` contains the ends of rays from the camera
through places that people have left (see `decomr_core.geometry.left_places`). Both are published
with every image, also without points: a planner repeats the last message that it has received.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from decomr_core.base.structures import person_or_people
from decomr_core.estimation.person_mask import person_mask
from decomr_core.geometry.left_places import LeftPlaces
from decomr_core.geometry.obstacles import (
    BodyRegion,
    Padding,
    body_region,
    obstacle_points,
    ray_axes,
)
from decomr_core.geometry.seen_rays import SeenRays, cell_shape, cell_side
from decomr_ros.messages.meshes import nanoseconds_from_stamp
from decomr_ros.messages.points import POINT_XYZ_ID, point_cloud_message
from decomr_ros.node.installation import install_hint
from decomr_ros.node.qos import make_publisher, topic_below
from decomr_ros.pipeline.transforms import TransformUnknown

if TYPE_CHECKING:
    from rclpy.lifecycle import LifecycleNode, LifecyclePublisher

    from decomr_core.base.structures import HumanMesh
    from decomr_core.estimation.uncertainty import PositionUncertainty
    from decomr_core.uv.topology import Topology
    from decomr_ros.node.standing_warnings import StandingWarnings
    from decomr_ros.pipeline.frame_result import FrameResult
    from decomr_ros.pipeline.transforms import Transforms
    from decomr_ros.settings.parameters import NodeParameters

__all__ = ['CLEARING_TOPIC', 'OBSTACLE_TOPIC', 'ObstacleOutput']

OBSTACLE_TOPIC = 'obstacles'
CLEARING_TOPIC = 'obstacles/clearing'
QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
CELL_M = 0.05
"""Every cell of this size inside an obstacle contains a point, unless `MOST_POINTS` limits them;
metres. Usual cells of costmaps and octomaps are as large or larger."""
MOST_POINTS = 100_000
"""Largest number of points in a message: 1.6 MB."""
WARNINGS = ('obstacles', 'obstacle_frame')


class ObstacleOutput:
    """Publishes both topics while one of them has subscribers."""

    def __init__(
        self,
        node: LifecycleNode,
        parameters: NodeParameters,
        topology: Topology,
        transforms: Transforms | None,
        warnings: StandingWarnings,
    ) -> None:
        """Creates the publishers.

        Args:
            node: their owner.
            parameters: the parameters.
            topology: topology of the meshes.
            transforms: looks up `obstacle_frame`; None: it is empty.
            warnings: states the problems.
        """
        self._node, self._parameters = node, parameters
        self._transforms, self._warnings = transforms, warnings
        self._obstacles = make_publisher(node, PointCloud2, OBSTACLE_TOPIC, QOS)
        self._clearing = make_publisher(node, PointCloud2, topic_below(node, CLEARING_TOPIC), QOS)
        self._left = LeftPlaces()
        self._last_time_s, self._last_frame_id = -math.inf, ''
        self._last_header = Header()
        self._values: dict[str, str] = {}

    @property
    def needs_motion(self) -> bool:
        """Always False: velocities of people are not used."""
        return False

    def publish(self, result: FrameResult) -> None:
        """Publishes both clouds of an image, if they have subscribers and the frame is known."""
        if not self._parameters.publish_obstacles or not self._has_subscribers():
            self._values = {}
            self._warnings.end(*WARNINGS)
            return
        header = result.header
        target_from_camera = self._target_from_camera(header)
        if target_from_camera is None:
            self._values = {}
            return
        self._last_header = header
        self._warn_of_people_without_position(result)
        regions = [
            _region(mesh, result.uncertainties[track_id])
            for track_id, mesh in result.people.items()
        ]
        points, cells_m = obstacle_points(regions, CELL_M, MOST_POINTS)
        ids = np.repeat(np.array([*result.people], np.int32), [len(part) for part in points])
        together = np.concatenate([np.zeros((0, 3), np.float32), *points])
        if self._obstacles.get_subscription_count():
            self._send(self._obstacles, header, together, ids, target_from_camera)
        if self._clearing.get_subscription_count():
            ends = self._free_rays(result, regions, points, together, cells_m, target_from_camera)
            none = np.full(len(ends), -1, np.int32)
            self._send(self._clearing, header, ends, none, target_from_camera)
        self._values = {
            'obstacle_points': str(len(together)),
            'obstacle_cell_m': f'{max(cells_m, default=CELL_M):.3f}',
            'places_to_clear': str(len(self._left)),
        }

    def update(self, parameters: NodeParameters) -> None:
        """Applies changed parameters; people are removed if the output is switched off."""
        if self._parameters.publish_obstacles and not parameters.publish_obstacles:
            self.clear(self._last_header)
        self._parameters = parameters

    def clear(self, header: Header) -> None:
        """Publishes two empty clouds: the node pauses, and nothing is known any more.

        No place is shown as free, because the camera does not look.
        """
        self._values = {}
        frame_id = self._parameters.obstacle_frame or header.frame_id
        if not self._parameters.publish_obstacles or not frame_id:
            return
        for publisher in (self._obstacles, self._clearing):
            if publisher.get_subscription_count():
                nothing = Header(stamp=header.stamp, frame_id=frame_id)
                publisher.publish(point_cloud_message(nothing, np.zeros(0, POINT_XYZ_ID)))

    def values(self) -> dict[str, str]:
        """Number of points, side of the cells, and number of places that are not yet cleared."""
        return self._values

    def destroy(self) -> None:
        """Destroys the publishers."""
        for publisher in (self._obstacles, self._clearing):
            self._node.destroy_lifecycle_publisher(publisher)

    def _has_subscribers(self) -> bool:
        return bool(
            self._obstacles.get_subscription_count() or self._clearing.get_subscription_count()
        )

    def _target_from_camera(self, header: Header) -> np.ndarray | None:
        """The transform (4, 4) to the frame of the clouds; None, with a warning: unknown."""
        if not header.frame_id:  # `Inputs` has warned of it
            return None
        frame_id = self._parameters.obstacle_frame
        if not frame_id or self._transforms is None:
            return np.eye(4)
        if not self._transforms.is_available:
            self._warnings.set(
                'obstacle_frame',
                f'obstacle_frame is {frame_id!r}, but the package tf2_ros is not installed: '
                f'obstacles are not published; {install_hint("tf2_ros_py")}',
            )
            return None
        try:
            found = self._transforms.lookup(frame_id, header.frame_id, header)
        except TransformUnknown as error:
            self._warnings.set(
                'obstacle_frame',
                f'obstacles are not published: {frame_id} from {header.frame_id} is not known: '
                f'{error}',
                1,
            )
            return None
        self._warnings.end_soon('obstacle_frame')
        return found.matrix

    def _warn_of_people_without_position(self, result: FrameResult) -> None:
        missing = len(result.meshes) - len(result.people)
        if not missing:
            self._warnings.end_soon('obstacles')
            return
        self._warnings.set(
            'obstacles',
            f'{missing} {person_or_people(missing)} in the image without a position: obstacles '
            'lack them, so their surroundings are unknown, not free, and nothing is cleared; '
            'people have a position as soon as camera_info provides a calibration',
            1,
        )

    def _free_rays(
        self,
        result: FrameResult,
        regions: list[BodyRegion],
        points: list[np.ndarray],
        together: np.ndarray,
        cells_m: list[float],
        target_from_camera: np.ndarray,
    ) -> np.ndarray:
        """The ends of the rays of an image, (N, 3) metres, camera optical frame.

        `together` (M, 3) are the points of all people.
        """
        fixed_from_camera = self._fixed_from_camera(result, target_from_camera)
        # A planner in 2D would also clear beside and below a ray that passes over somebody.
        is_everybody_known = len(result.people) == len(result.meshes)
        if fixed_from_camera is None or result.intrinsics is None or not is_everybody_known:
            return np.zeros((0, 3), np.float32)
        height, width = result.image.shape[:2]
        rays = SeenRays.of_people(
            result.intrinsics,
            width,
            height,
            points,
            cells_m,
            [_cells_with(mesh, width, height) for mesh in result.people.values()],
        )
        return self._left.update(
            regions,
            together,
            rays,
            fixed_from_camera,
            self._last_time_s,
            None if result.depth is None else result.depth.depths_at,
        )

    def _fixed_from_camera(
        self, result: FrameResult, target_from_camera: np.ndarray
    ) -> np.ndarray | None:
        """The pose (4, 4) of the camera in the frame in which places are remembered.

        None: it is unknown at present. All places are forgotten if the time jumps back or the
        camera changes.
        """
        time_s = nanoseconds_from_stamp(result.header.stamp) / 1e9
        frame_id = result.header.frame_id
        if time_s < self._last_time_s or frame_id != self._last_frame_id:
            self._left = LeftPlaces()
        self._last_time_s, self._last_frame_id = time_s, frame_id
        return result.fixed_from_camera if self._parameters.smoothing_frame else target_from_camera

    def _send(
        self,
        publisher: LifecyclePublisher,
        header: Header,
        points: np.ndarray,
        ids: np.ndarray,
        target_from_camera: np.ndarray,
    ) -> None:
        """Publishes points (N, 3) of the camera optical frame with their ids (N,)."""
        frame_id = self._parameters.obstacle_frame
        if frame_id:
            points = points @ target_from_camera[:3, :3].T + target_from_camera[:3, 3]
            header = Header(stamp=header.stamp, frame_id=frame_id)
        cloud = np.zeros(len(points), POINT_XYZ_ID)
        cloud['x'], cloud['y'], cloud['z'] = points.T
        cloud['id'] = ids
        publisher.publish(point_cloud_message(header, cloud))


def _region(mesh: HumanMesh, uncertainty: PositionUncertainty) -> BodyRegion:
    """The region in which the surface of a person is with a probability of 95 %."""
    position = np.asarray(mesh.translation, np.float64)
    distance = float(np.linalg.norm(position))
    ray = position / distance if distance > 1e-6 else np.array([0.0, 0.0, 1.0])
    # The covariance is the same in all directions across the ray.
    across = ray_axes(ray)[0]
    visible, hidden = (
        Padding(uncertainty.reach(ray, is_seen), uncertainty.reach(across, is_seen))
        for is_seen in (True, False)
    )
    is_visible = np.asarray(mesh.visibility, bool)
    return body_region(mesh.vertices, is_visible, ray, visible, hidden)


def _cells_with(mesh: HumanMesh, width: int, height: int) -> np.ndarray:
    """The cells (rows, columns) of the image that show a person, and those beside them: bool."""
    side, (rows, columns) = cell_side(width), cell_shape(width, height)
    mask = person_mask(mesh, (columns * side, rows * side), (columns, rows))
    return cv2.dilate(mask, np.ones((3, 3), np.uint8)).astype(bool)
