"""People as REP-155 (ROS4HRI) wants them: /humans/bodies/tracked and topics of each body.

`hri_msgs` is not everywhere; this file alone imports it. REP-155 puts these topics in the global
namespace; the name of a body carries the namespace of the node instead (`body_name`).

| topic | type |
|---|---|
| `/humans/bodies/tracked` | hri_msgs/IdsList, with every image |
| `/humans/bodies/<body>/roi` | hri_msgs/NormalizedRegionOfInterest2D |
| `/humans/bodies/<body>/cropped` | sensor_msgs/Image, rgb8 |
| `/humans/bodies/<body>/skeleton2d` | hri_msgs/Skeleton2D |

The REP's text has sensor_msgs/RegionOfInterest for `roi`, but libhri reads the normalized one; the
plain one is taken where hri_msgs has no other. The topics of a body exist while it is seen; they
are filled while somebody subscribes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
# hri_msgs/Skeleton2D's constants and the joints of SMPL that they are. Nose, eyes and ears are
# no joints of SMPL: they stay at confidence 0.
SKELETON_JOINTS = {
    'NECK': 'neck', **{f'{side.upper()}_{joint.upper()}': f'{side}_{joint}'
                       for side in ('right', 'left')
                       for joint in ('shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle')}}
NUM_SKELETON_POINTS = 18


class Rep155Bodies:
    """The publishers of everybody in view; those of people who left are destroyed."""

    def __init__(self, node: Node) -> None:
        """Makes the publisher of the list.

        Raises:
            ImportError: hri_msgs is not installed.
        """
        self._node, self._messages = node, _hri_messages()
        self._region_type = getattr(self._messages, 'NormalizedRegionOfInterest2D',
                                    RegionOfInterest)
        self._bodies: dict[str, dict[str, Publisher]] = {}
        self._list = self._make(self._messages.IdsList, 'tracked')

    def publish(self, header: Header, image: np.ndarray, meshes: Mapping[int, HumanMesh],
                intrinsics: np.ndarray | None) -> None:
        """Publishes the list, and what is subscribed of each body.

        Args:
            header: stamp and frame of the image.
            image: (H, W, 3) uint8 RGB.
            meshes: people by id; their position need not be known.
            intrinsics: (3, 3) px, or None.
        """
        bodies = {body_name(self._node.get_namespace(), track_id): mesh
                  for track_id, mesh in meshes.items()}
        self._follow(bodies)
        self._list.publish(self._messages.IdsList(header=header, ids=list(bodies)))
        for body, mesh in bodies.items():
            made: dict[str, Callable[[], Any]] = {
                'roi': lambda mesh=mesh: self._region(header, image, mesh),
                'cropped': lambda mesh=mesh: _cropped(header, image, mesh),
                'skeleton2d': lambda mesh=mesh: self._skeleton(header, image, mesh, intrinsics)}
            for topic, make in made.items():
                publisher = self._bodies[body][topic]
                if publisher.get_subscription_count() and (message := make()) is not None:
                    publisher.publish(message)

    def clear(self, header: Header) -> None:
        """Says that nobody is tracked any more; the bodies' topics end."""
        self._follow({})
        self._list.publish(self._messages.IdsList(header=header, ids=[]))

    def destroy(self) -> None:
        """Destroys all publishers."""
        self._follow({})
        self._node.destroy_publisher(self._list)

    def _follow(self, bodies: Mapping[str, HumanMesh]) -> None:
        """Makes publishers for people who came, destroys those of people who left."""
        for body in [body for body in self._bodies if body not in bodies]:
            for publisher in self._bodies.pop(body).values():
                self._node.destroy_publisher(publisher)
        types = {'roi': self._region_type, 'cropped': Image,
                 'skeleton2d': self._messages.Skeleton2D}
        for body in bodies:
            if body not in self._bodies:
                self._bodies[body] = {topic: self._make(type_, f'{body}/{topic}')
                                      for topic, type_ in types.items()}

    def _make(self, type_: type, topic: str) -> Publisher:
        # Without events it never enters the executor's wait set: people come and go on the
        # worker thread.
        return self._node.create_publisher(
            type_, f'{BODIES}/{topic}', QOS,
            event_callbacks=PublisherEventCallbacks(use_default_callbacks=False))

    def _region(self, header: Header, image: np.ndarray, mesh: HumanMesh) -> Any:
        """The person's box, in the type that this hri_msgs has."""
        height, width = image.shape[:2]
        if self._region_type is RegionOfInterest:
            left, top, right, bottom = _whole_pixels(mesh.box, width, height)
            return RegionOfInterest(x_offset=left, y_offset=top, width=right - left,
                                    height=bottom - top)
        # The edges of the image are half a pixel outside of its first and last pixel's centre.
        shares = np.clip((mesh.box + 0.5) / ((width, height) * 2), 0, 1)
        left, top, right, bottom = shares.tolist()
        return self._region_type(header=header, xmin=left, ymin=top, xmax=right, ymax=bottom,
                                 c=min(max(float(mesh.score), 0.0), 1.0))

    def _skeleton(self, header: Header, image: np.ndarray, mesh: HumanMesh,
                  intrinsics: np.ndarray | None) -> Any:
        """The joints in the image, in the order of hri_msgs/Skeleton2D."""
        message_type = self._messages.Skeleton2D
        places = {name: getattr(message_type, name) for name in SKELETON_JOINTS}
        points = skeleton_points(mesh, image.shape[1], image.shape[0], intrinsics, places)
        point_type = self._messages.NormalizedPointOfInterest2D
        return message_type(header=header, skeleton=[point_type(x=x, y=y, c=c)
                                                     for x, y, c in points.tolist()])


def cut_out(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The part (h, w, 3) of an image (H, W, 3) in a box (4,), px; may be empty."""
    left, top, right, bottom = _whole_pixels(box, image.shape[1], image.shape[0])
    return image[top:bottom, left:right]


def skeleton_points(mesh: HumanMesh, width: int, height: int, intrinsics: np.ndarray | None,
                    places: Mapping[str, int]) -> np.ndarray:
    """The skeleton of REP-155 in an image.

    Args:
        mesh: a person.
        width: of the image, px.
        height: of the image, px.
        intrinsics: (3, 3) px, or None.
        places: index of each of `SKELETON_JOINTS` in the result.

    Returns:
        (18, 3) x and y as a share of the image from its top left corner, and the confidence: the
        person's score, 0 for joints that are unknown or outside the image (x and y are then 0).
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
    """The person's part of the image; None where it holds no pixel."""
    part = cut_out(image, mesh.box)
    return image_message(header, part, 'rgb8') if part.size else None


def _whole_pixels(box: np.ndarray, width: int, height: int) -> tuple[int, int, int, int]:
    """First column and row, and those behind the last, of the pixels that a box (4,) touches."""
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
            'rep155 to false') from error
    return hri_msgs.msg
