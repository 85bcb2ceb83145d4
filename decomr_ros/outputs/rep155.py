"""Publishes people as specified by REP-155 (ROS4HRI): the list of bodies and topics of each body.

`hri_msgs` is optional and imported only here. REP-155 puts these topics in the global namespace;
therefore the name of a body contains the namespace of the node (`body_name`).

| topic | type |
|---|---|
| `/humans/bodies/tracked` | hri_msgs/IdsList, with every image |
| `/humans/bodies/<body>/roi` | hri_msgs/NormalizedRegionOfInterest2D |
| `/humans/bodies/<body>/cropped` | sensor_msgs/Image, rgb8 |
| `/humans/bodies/<body>/skeleton2d` | hri_msgs/Skeleton2D |

For `roi` the REP specifies sensor_msgs/RegionOfInterest, but libhri reads the normalized type. The
former is used only if hri_msgs lacks the latter. The topics of a body exist while the body is in
view; messages are published while there are subscribers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image, RegionOfInterest

from decomr_core.body_models.joints import JOINT_NAMES
from decomr_core.drawing import points_in_image
from decomr_ros.messages.images import image_message
from decomr_ros.node.installation import install_hint
from decomr_ros.node.qos import PublisherEventCallbacks
from decomr_ros.outputs.body_frames import body_name

if TYPE_CHECKING:
    from types import ModuleType

    from rclpy.node import Node
    from rclpy.publisher import Publisher
    from std_msgs.msg import Header

    from decomr_core.base.structures import HumanMesh

__all__ = ['BODIES', 'Rep155Bodies', 'SKELETON_JOINTS', 'cut_out', 'skeleton_points']

BODIES = '/humans/bodies'
QOS = QoSProfile(depth=5)
# Constants of hri_msgs/Skeleton2D and the corresponding joints of SMPL. SMPL has no nose, eyes and
# ears; their confidence is 0.
SKELETON_JOINTS = {
    'NECK': 'neck',
    **{
        f'{side.upper()}_{joint.upper()}': f'{side}_{joint}'
        for side in ('right', 'left')
        for joint in ('shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle')
    },
}
NUM_SKELETON_POINTS = 18


class Rep155Bodies:
    """The publishers of all people in view; those of people who have left are destroyed."""

    def __init__(self, node: Node) -> None:
        """Creates the publisher of the list.

        Raises:
            ImportError: hri_msgs is not installed.
        """
        self._node, self._messages = node, _hri_messages()
        self._region_type = getattr(
            self._messages, 'NormalizedRegionOfInterest2D', RegionOfInterest
        )
        self._bodies: dict[str, dict[str, Publisher]] = {}
        self._list = self._make(self._messages.IdsList, 'tracked')

    def publish(
        self,
        header: Header,
        image: np.ndarray,
        meshes: Mapping[int, HumanMesh],
        intrinsics: np.ndarray | None,
    ) -> None:
        """Publishes the list, and for each body the topics with subscribers.

        Args:
            header: stamp and frame of the image.
            image: (H, W, 3) uint8 RGB.
            meshes: people by id, with or without a position.
            intrinsics: (3, 3) px; None without a calibration.
        """
        bodies = {
            body_name(self._node.get_namespace(), track_id): mesh
            for track_id, mesh in meshes.items()
        }
        self._update_publishers(bodies)
        self._list.publish(self._messages.IdsList(header=header, ids=list(bodies)))
        for body, mesh in bodies.items():
            makers: dict[str, Callable[[], Any]] = {
                'roi': partial(self._region, header, image, mesh),
                'cropped': partial(_cropped, header, image, mesh),
                'skeleton2d': partial(self._skeleton, header, image, mesh, intrinsics),
            }
            for topic, make in makers.items():
                publisher = self._bodies[body][topic]
                if publisher.get_subscription_count() and (message := make()) is not None:
                    publisher.publish(message)

    def clear(self, header: Header) -> None:
        """Publishes an empty list and destroys the publishers of the bodies."""
        self._update_publishers({})
        self._list.publish(self._messages.IdsList(header=header, ids=[]))

    def destroy(self) -> None:
        """Destroys all publishers."""
        self._update_publishers({})
        self._node.destroy_publisher(self._list)

    def _update_publishers(self, bodies: Mapping[str, HumanMesh]) -> None:
        """Creates publishers for new people and destroys those of people who have left."""
        for body in [body for body in self._bodies if body not in bodies]:
            for publisher in self._bodies.pop(body).values():
                self._node.destroy_publisher(publisher)
        types = {
            'roi': self._region_type,
            'cropped': Image,
            'skeleton2d': self._messages.Skeleton2D,
        }
        for body in bodies:
            if body not in self._bodies:
                self._bodies[body] = {
                    topic: self._make(type_, f'{body}/{topic}') for topic, type_ in types.items()
                }

    def _make(self, type_: type, topic: str) -> Publisher:
        # Without events, publishers are not in the executor's wait set, so the worker thread can
        # create and destroy them.
        return self._node.create_publisher(
            type_,
            f'{BODIES}/{topic}',
            QOS,
            event_callbacks=PublisherEventCallbacks(use_default_callbacks=False),
        )

    def _region(self, header: Header, image: np.ndarray, mesh: HumanMesh) -> Any:
        """The person's box in the type of `roi`."""
        height, width = image.shape[:2]
        if self._region_type is RegionOfInterest:
            left, top, right, bottom = _whole_pixels(mesh.box, width, height)
            return RegionOfInterest(
                x_offset=left, y_offset=top, width=right - left, height=bottom - top
            )
        # The image extends half a pixel beyond the centres of its outer pixels.
        shares = np.clip((mesh.box + 0.5) / ((width, height) * 2), 0, 1)
        left, top, right, bottom = shares.tolist()
        return self._region_type(
            header=header,
            xmin=left,
            ymin=top,
            xmax=right,
            ymax=bottom,
            c=min(max(float(mesh.score), 0.0), 1.0),
        )

    def _skeleton(
        self, header: Header, image: np.ndarray, mesh: HumanMesh, intrinsics: np.ndarray | None
    ) -> Any:
        """The joints in the image, in the order of hri_msgs/Skeleton2D."""
        message_type = self._messages.Skeleton2D
        places = {name: getattr(message_type, name) for name in SKELETON_JOINTS}
        points = skeleton_points(mesh, image.shape[1], image.shape[0], intrinsics, places)
        point_type = self._messages.NormalizedPointOfInterest2D
        return message_type(
            header=header, skeleton=[point_type(x=x, y=y, c=c) for x, y, c in points.tolist()]
        )


def cut_out(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The part (h, w, 3) of an image (H, W, 3) inside a box (4,), px; may be empty."""
    left, top, right, bottom = _whole_pixels(box, image.shape[1], image.shape[0])
    return image[top:bottom, left:right]


def skeleton_points(
    mesh: HumanMesh,
    width: int,
    height: int,
    intrinsics: np.ndarray | None,
    places: Mapping[str, int],
) -> np.ndarray:
    """The skeleton of REP-155 in an image.

    Args:
        mesh: a person.
        width: of the image, px.
        height: of the image, px.
        intrinsics: (3, 3) px; None without a calibration.
        places: index of each of `SKELETON_JOINTS` in the result.

    Returns:
        (18, 3) x and y as shares of the image from its top left corner, and the confidence: the
        person's score; all 0 for joints that are unknown or outside the image.
    """
    joints = points_in_image(mesh.joints, mesh, intrinsics)[:, :2]
    shares = (joints + 0.5) / (width, height)  # the centre of the top left pixel is (0, 0)
    points = np.zeros((NUM_SKELETON_POINTS, 3))
    for name, joint in SKELETON_JOINTS.items():
        share = shares[JOINT_NAMES.index(joint)]
        if ((share >= 0) & (share <= 1)).all():
            points[places[name]] = *share, np.clip(mesh.score, 0, 1)
    return points


def _cropped(header: Header, image: np.ndarray, mesh: HumanMesh) -> Image | None:
    """The part of the image inside the person's box; None if it is empty."""
    part = cut_out(image, mesh.box)
    return image_message(header, part, 'rgb8') if part.size else None


def _whole_pixels(box: np.ndarray, width: int, height: int) -> tuple[int, int, int, int]:
    """Range of the pixels that a box (4,) touches: left, top, and exclusive right, bottom."""
    edges = np.clip(box + 0.5, 0, (width, height) * 2)
    left, top = np.floor(edges[:2]).astype(int).tolist()
    right, bottom = np.ceil(edges[2:]).astype(int).tolist()
    return left, top, right, bottom


def _hri_messages() -> ModuleType:
    """The module hri_msgs.msg.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import hri_msgs.msg
    except ImportError as error:
        raise ImportError(
            'rep155 is true, but the package hri_msgs is not installed, so nothing can be '
            f'published below {BODIES}; {install_hint("hri_msgs")}, or set '
            'rep155 to false'
        ) from error
    return hri_msgs.msg
