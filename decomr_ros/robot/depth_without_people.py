"""The topics `depth_without_people` and `points_without_people`.

A pixel that shows a person becomes unknown: it is never replaced by the background, because the
robot sees through nobody. Objects before a person, and the background beside and between the
limbs, stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header

from decomr_core.estimation.person_mask import person_mask
from decomr_core.geometry.depth_mask import points_from_depth, remove_from_depth
from decomr_ros.messages.images import image_message
from decomr_ros.messages.points import POINT_XYZ, point_cloud_message
from decomr_ros.node.qos import make_publisher

if TYPE_CHECKING:
    from rclpy.lifecycle import LifecycleNode

    from decomr_core.estimation.uncertainty import PositionUncertainty
    from decomr_core.uv.topology import Topology
    from decomr_ros.calibration.calibration import Calibration
    from decomr_ros.inputs.depth_image import DepthImage
    from decomr_ros.node.standing_warnings import StandingWarnings
    from decomr_ros.pipeline.frame_result import FrameResult
    from decomr_ros.settings.parameters import NodeParameters

__all__ = ['DEPTH_TOPIC', 'POINTS_TOPIC', 'DepthWithoutPeople']

DEPTH_TOPIC = 'depth_without_people'
POINTS_TOPIC = 'points_without_people'
QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
GROWTH_SHARE = 5 / 640
"""How far the mask of a person grows, as a share of the image width: at outlines depth cameras
measure points between the person and the background, and the registration is a few pixels off."""


class DepthWithoutPeople:
    """Publishes both topics while they have subscribers."""

    def __init__(
        self,
        node: LifecycleNode,
        parameters: NodeParameters,
        topology: Topology,
        warnings: StandingWarnings,
    ) -> None:
        """Creates the publishers.

        Args:
            node: their owner.
            parameters: the parameters.
            topology: topology of the meshes.
            warnings: states why nothing is published.
        """
        self._node, self._parameters, self._warnings = node, parameters, warnings
        self._corners = np.ascontiguousarray(topology.faces.T, np.intp)
        self._depths = make_publisher(node, Image, DEPTH_TOPIC, QOS)
        self._points = make_publisher(node, PointCloud2, POINTS_TOPIC, QOS)
        self._places = _PixelPlaces()

    @property
    def needs_motion(self) -> bool:
        """Always False: velocities of people are not used."""
        return False

    def publish(self, result: FrameResult) -> None:
        """Publishes what has subscribers, if there is a depth image."""
        wants_depth, wants_points = (
            publisher.get_subscription_count() > 0 for publisher in (self._depths, self._points)
        )
        if not self._parameters.publish_depth_without_people or not (wants_depth or wants_points):
            self._warnings.end('depth_without_people')
            return
        depth = result.depth
        self._state_missing(result, wants_points)
        if depth is None:
            return
        self._places.set_depth(depth)
        numbers = depth.numbers.copy()
        self._remove_people(numbers, result, depth)
        if wants_depth:
            encoding = depth.encoding or ('32FC1' if numbers.dtype == np.float32 else '16UC1')
            message = image_message(depth.header, _little_endian(numbers)[..., None], encoding)
            self._depths.publish(message)
        if wants_points and result.intrinsics is not None and result.header.frame_id:
            rays = self._places.rays(result.intrinsics)
            points = points_from_depth(numbers, depth.unit_m, rays)
            header = Header(stamp=depth.header.stamp, frame_id=result.header.frame_id)
            self._points.publish(point_cloud_message(header, points.view(POINT_XYZ)[:, 0]))

    def update(self, parameters: NodeParameters) -> None:
        """Applies changed parameters from the next image on."""
        self._parameters = parameters

    def clear(self, header: Header) -> None:
        """Does nothing: both topics contain nobody."""

    def values(self) -> dict[str, str]:
        """There are none; why nothing is published is a warning."""
        return {}

    def destroy(self) -> None:
        """Destroys the publishers."""
        for publisher in (self._depths, self._points):
            self._node.destroy_lifecycle_publisher(publisher)

    def _state_missing(self, result: FrameResult, wants_points: bool) -> None:
        """States why a topic with subscribers is not published; ends the warning otherwise."""
        text = ''
        if not self._parameters.use_depth:
            text = (
                f'{DEPTH_TOPIC} and {POINTS_TOPIC} are not published: use_depth is false; set it '
                'to true and provide the topic depth'
            )
        elif result.depth is None:
            text = (
                f'{DEPTH_TOPIC} and {POINTS_TOPIC} are not published for images without a depth '
                'image of the same time'
            )
        elif wants_points and result.intrinsics is None:
            text = f'{POINTS_TOPIC} is not published: the camera has no calibration (camera_info)'
        if text:
            self._warnings.set('depth_without_people', text, 1)
        else:
            self._warnings.end_soon('depth_without_people')

    def _remove_people(self, numbers: np.ndarray, result: FrameResult, depth: DepthImage) -> None:
        """Sets the pixels (H, W) of all people to unknown, in place."""
        image_size = depth.calibration.width, depth.calibration.height
        growth = max(1, round(GROWTH_SHARE * numbers.shape[1]))
        kernel = np.ones((2 * growth + 1, 2 * growth + 1), np.uint8)
        intervals = {
            id(mesh): _depth_interval(mesh.vertices, result.uncertainties[track_id])
            for track_id, mesh in result.people.items()
        }
        for mesh in result.meshes:
            mask = person_mask(
                mesh, image_size, numbers.shape[::-1], self._corners, result.intrinsics
            )
            mask = cv2.dilate(self._places.distort(mask), kernel)
            remove_from_depth(numbers, depth.unit_m, mask, intervals.get(id(mesh)))


class _PixelPlaces:
    """Where the pixels of a depth image are in the undistorted image; kept between images."""

    def __init__(self) -> None:
        """Starts without a depth image."""
        self._shape: tuple[int, ...] = ()
        self._calibration: Calibration | None = None
        self._image_xy = np.zeros((0, 0, 2), np.float32)
        self._mask_xy: np.ndarray | None = None
        self._intrinsics: np.ndarray | None = None
        self._rays = self._image_xy

    def set_depth(self, depth: DepthImage) -> None:
        """Computes the places if the size of the depth image or the calibration has changed."""
        if self._shape == depth.numbers.shape and self._calibration is depth.calibration:
            return
        self._shape, self._calibration = depth.numbers.shape, depth.calibration
        self._intrinsics = None
        height, width = depth.numbers.shape
        grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
        image_xy = ((grid + 0.5) / depth.scale - 0.5).reshape(-1, 2)
        lens, intrinsics = depth.calibration.lens, depth.calibration.intrinsics
        self._mask_xy = None
        if lens is not None and intrinsics is not None:
            image_xy = lens.undistort(image_xy, intrinsics)
            mask_xy = (image_xy + 0.5) * depth.scale - 0.5
            mask_xy = np.nan_to_num(mask_xy, nan=-1e4).reshape(height, width, 2)
            self._mask_xy = mask_xy.astype(np.float32)
        self._image_xy = image_xy.reshape(height, width, 2)

    def distort(self, mask: np.ndarray) -> np.ndarray:
        """A mask (H, W) uint8 over the undistorted image as the depth camera sees it."""
        if self._mask_xy is None:
            return mask
        x, y = self._mask_xy[..., 0], self._mask_xy[..., 1]
        return cv2.remap(mask, x, y, cv2.INTER_NEAREST)

    def rays(self, intrinsics: np.ndarray) -> np.ndarray:
        """The rays of the pixels: x / z and y / z, (2, H, W) float32."""
        if self._intrinsics is not intrinsics:
            focal, center = intrinsics.diagonal()[:2], intrinsics[:2, 2]
            self._intrinsics = intrinsics
            rays = ((self._image_xy - center) / focal).astype(np.float32)
            self._rays = np.ascontiguousarray(np.moveaxis(rays, -1, 0))
        return self._rays


def _depth_interval(vertices: np.ndarray, uncertainty: PositionUncertainty) -> tuple[float, float]:
    """Smallest and largest depth at which the surface of a person is, 95 % interval, metres."""
    depths = vertices[:, 2]
    optical_axis = np.array([0.0, 0.0, 1.0])
    _, low, _ = uncertainty.interval(float(depths.min()), optical_axis, is_visible=True)
    _, _, high = uncertainty.interval(float(depths.max()), optical_axis, is_visible=True)
    return low, high


def _little_endian(numbers: np.ndarray) -> np.ndarray:
    """The numbers in the byte order of the messages of this node."""
    return numbers.astype(numbers.dtype.newbyteorder('<'), copy=False)
