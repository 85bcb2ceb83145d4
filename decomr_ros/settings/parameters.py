"""The node's parameters: names, defaults, meaning, limits, and when a change takes effect.

To add a parameter, add an entry to `NodeParameters` and run `python -m decomr_ros.parameters
--page docs/parameters.md --yaml config/node/decomr.yaml`, which updates the page and the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from decomr_core.estimation.detectors import DETECTORS
from decomr_core.runtimes import DEFAULT_RUNTIME, RUNTIMES
from decomr_ros.messages.box_image import FITS
from decomr_ros.messages.box_messages import BOXES_TYPES
from decomr_ros.settings.parameter_table import (
    Effect,
    descriptor,
    entries,
    parameter,
    problem,
    unknown_text,
    watch_changes,
)
from decomr_ros.settings.robot_parts import parse_robot_parts
from decomr_ros.topics.subscriptions import RELIABILITIES

if TYPE_CHECKING:
    from rclpy.node import Node

__all__ = [
    'CHOICES',
    'ENTRIES',
    'NodeParameters',
    'declare_parameters',
    'find_problems',
    'read_parameters',
]


@dataclass(frozen=True)
class NodeParameters:
    """The values of the node's parameters; each entry gives the meaning."""

    autostart: bool = parameter(
        True,
        'configure and activate at start, without waiting for a lifecycle manager',
        effect=Effect.START,
    )
    exit_on_failed_autostart: bool = parameter(
        False,
        'end the process if autostart fails; otherwise the node stays unconfigured, so '
        'that parameters can be corrected',
        effect=Effect.START,
    )
    weights: str = parameter(
        'rt',
        'trained network: rt (shipped) or the path of a .safetensors file',
        effect=Effect.CONFIGURE,
    )
    runtime: str = parameter(
        DEFAULT_RUNTIME,
        'inference engine that runs the network',
        choices=tuple(RUNTIMES),
        effect=Effect.CONFIGURE,
    )
    device: str = parameter(
        '',
        'where the network runs: cpu, cuda or cuda:N; empty: tensorrt on the first GPU, the other '
        'runtimes on the CPU',
        effect=Effect.CONFIGURE,
    )
    threads: int = parameter(
        0,
        'CPU threads of the runtime; 0: the runtime decides',
        range=(0, 256),
        effect=Effect.CONFIGURE,
    )
    detector: str = parameter(
        'person',
        'how people are found: person (EfficientDet), whole-frame (one person fills the image)',
        choices=tuple(DETECTORS),
        effect=Effect.CONFIGURE,
    )
    detector_tiles: int = parameter(
        1,
        'n: the person detector also runs on n x n overlapping tiles of the image, to find '
        'people smaller than a tenth of its height; each tile takes as long as the whole '
        'image',
        range=(1, 4),
        effect=Effect.CONFIGURE,
    )
    detector_stride: int = parameter(
        10,
        'the detector runs on every n-th processed image; skipped images do not count. '
        'Between detections the tracker moves the boxes. While nobody is tracked, the '
        'detector runs on every image. The person detector runs in the background: n images '
        'are counted from its last result',
        range=(1, 1000),
    )
    detector_period_s: float = parameter(
        0.5,
        'longest time between two images on which the detector runs, s; it takes precedence '
        'if detector_stride images take longer; 0: no limit',
        range=(0.0, 60.0),
    )
    box_scale: float = parameter(
        1.2,
        'side of the square crop divided by the longer side of the person box',
        range=(0.5, 3.0),
    )
    box_extra_margin: float = parameter(
        0.0,
        'the network sees this much more around the person box, as a share of its longer side: '
        'for a detector whose boxes cut off arms or legs. 0: as much as in its training',
        range=(0.0, 1.0),
    )
    min_score: float = parameter(
        0.0, 'detections with a lower confidence are ignored', range=(0.0, 1.0)
    )
    max_people: int = parameter(
        30,
        'largest number of people. People who are already tracked come first, then the best '
        'detections; /diagnostics counts the others',
        range=(1, 100),
    )
    reliability: str = parameter(
        'auto',
        'QoS of the subscriptions; auto: reliable if all publishers of the topic are '
        'reliable, otherwise best_effort, which is compatible with all of them',
        choices=RELIABILITIES,
        effect=Effect.CONFIGURE,
    )
    image_transport: str = parameter(
        'raw',
        'raw: sensor_msgs/Image on image; compressed: sensor_msgs/CompressedImage (JPEG, '
        'PNG) on image/compressed, which follows the remapping of image',
        choices=('raw', 'compressed'),
        effect=Effect.CONFIGURE,
    )
    image_is_rectified: bool = parameter(
        False, 'the image topic is rectified: use P of camera_info instead of K'
    )
    undistort: bool = parameter(
        False,
        'remove the lens distortion of camera_info from the image before anything else '
        '(2 to 6 ms of a CPU core for 1280x720); iuv, overlay and boxes then refer to the '
        'undistorted image',
    )
    use_boxes: bool = parameter(
        False,
        'use boxes of people from the topic boxes, published by another detector; the '
        "node's own detector runs only while no boxes are recent enough",
        effect=Effect.CONFIGURE,
    )
    boxes_type: str = parameter(
        'auto',
        'message type of boxes; auto: the type that is published; '
        'vision_msgs/Detection3DArray: from depthai_ros_driver, whose boxes are in px',
        choices=BOXES_TYPES,
        effect=Effect.CONFIGURE,
    )
    boxes_width: int = parameter(
        0,
        'width of the image that boxes refer to, px, if the detector resizes it; 0: the '
        'width of image',
        range=(0, 65536),
    )
    boxes_height: int = parameter(
        0,
        'height of the image that boxes refer to, px, if the detector resizes it; 0: the '
        'height of image',
        range=(0, 65536),
    )
    boxes_fit: str = parameter(
        'stretch',
        'how the detector fits image into boxes_width x boxes_height: stretch; '
        'pad_end (scale, pad right or bottom); pad_center (scale, pad both sides); '
        'crop_center (scale, keep the middle)',
        choices=FITS,
    )
    boxes_max_age_s: float = parameter(
        0.5,
        'largest difference between the stamps of image and boxes, s. Boxes with the stamp '
        'of the image come first, then the nearest',
        range=(0.0, 10.0),
    )
    person_class_ids: str = parameter(
        'person, 0',
        'class ids of people in boxes, separated by commas; case does not matter. '
        "Numbers, such as COCO's 0, are used in messages without class names. Empty: "
        'every detection is a person',
    )
    use_depth: bool = parameter(
        False,
        'correct the distance of each mesh with depth (sensor_msgs/Image, 16UC1 or 32FC1, '
        'aligned with image)',
        effect=Effect.CONFIGURE,
    )
    publish_iuv: bool = parameter(
        True, 'publish iuv and iuv/compressed (PNG) while they have subscribers'
    )
    publish_markers: bool = parameter(True, 'publish markers while it has subscribers')
    publish_overlay: bool = parameter(
        True, 'publish overlay and overlay/compressed (JPEG) while they have subscribers'
    )
    overlay_jpeg_quality: int = parameter(
        80, 'JPEG quality of overlay/compressed: lower is smaller and coarser', range=(1, 100)
    )
    iuv_encoding: str = parameter(
        'rgb8',
        'encoding of iuv; rgb8: foreground, u, v times 255; 32FC3: foreground, u, v in '
        '[0, 1]; iuv/compressed is always rgb8',
        choices=('rgb8', '32FC3'),
    )
    smoothing: bool = parameter(True, 'smooth the meshes of each person over time (1 Euro filter)')
    smoothing_min_cutoff_hz: float = parameter(
        0.2,
        'cutoff frequency of the smoothing for a person at rest, Hz: lower is steadier',
        range=(0.01, 100.0),
    )
    smoothing_beta: float = parameter(
        5.0,
        'increase of the cutoff frequency with the speed of the person, Hz per m/s: higher '
        'means less delay',
        range=(0.0, 1000.0),
    )
    smoothing_body_beta: float = parameter(
        1.5,
        'increase of the cutoff frequency with the speed of body parts relative to the '
        'root, Hz per m/s: their noise is larger',
        range=(0.0, 1000.0),
    )
    smoothing_frame: str = parameter(
        '',
        'fixed frame, such as odom or map, in which meshes are smoothed while the robot '
        'moves; needs tf2_ros; empty: the camera frame',
        effect=Effect.CONFIGURE,
    )
    log_period_s: float = parameter(
        5.0, 'time between two log lines with rates, s', range=(0.5, 3600.0)
    )
    frame_age_warn_s: float = parameter(
        1.0,
        'time without meshes after which the status on /diagnostics is WARN, s',
        range=(0.01, 3600.0),
    )
    frame_age_error_s: float = parameter(
        5.0,
        'time without meshes after which the status on /diagnostics is ERROR, s; at least '
        'frame_age_warn_s',
        range=(0.01, 3600.0),
    )
    marker_triangles: int = parameter(
        0,
        'approximate number of triangles per person in markers; 0: all. They are selected '
        'when the node is configured, which then takes some seconds longer',
        range=(0, 1000000),
        effect=Effect.CONFIGURE,
    )
    publish_points: bool = parameter(
        True, 'publish vertices, a point cloud, while it has subscribers'
    )
    publish_tf: bool = parameter(
        False, 'publish the frame of each person on /tf; needs the package tf2_msgs'
    )
    tf_joints: bool = parameter(False, 'with publish_tf: also publish the frames of the joints')
    rep155: bool = parameter(
        False, 'publish /humans/bodies/... of REP-155; needs the package hri_msgs'
    )
    publish_motion: bool = parameter(
        True, 'publish motion (velocities, predictions, uncertainty) while it has subscribers'
    )
    publish_proximity: bool = parameter(
        True,
        'publish proximity and proximity/markers while they have subscribers and the robot is '
        'given by robot_parts or use_robot_description; needs tf2_ros for frames other than that '
        'of the image',
    )
    robot_parts: str = parameter(
        '',
        'parts of the robot as spheres and capsules in tf frames: FRAME RADIUS, or FRAME RADIUS '
        'X Y Z for a capsule from the origin of the frame to this point, m; separated by '
        'semicolons',
        effect=Effect.CONFIGURE,
    )
    use_robot_description: bool = parameter(
        False,
        'use the collision geometry of the URDF on the topic robot_description for proximity',
        effect=Effect.CONFIGURE,
    )
    robot_links: str = parameter(
        '',
        'links of robot_description that proximity uses, separated by commas; empty: all that '
        'have collision geometry',
        effect=Effect.CONFIGURE,
    )
    proximity_frame: str = parameter(
        '',
        'frame of the points in proximity, such as base_link; empty: the frame of the image',
        effect=Effect.CONFIGURE,
    )
    proximity_warning_m: float = parameter(
        1.0,
        'nearest lines in proximity/markers are red below this distance, m',
        range=(0.0, 100.0),
    )
    publish_obstacles: bool = parameter(
        True, 'publish obstacles and obstacles/clearing while they have subscribers'
    )
    obstacle_frame: str = parameter(
        '',
        'frame of obstacles and obstacles/clearing, such as odom; needs tf2_ros; empty: the frame '
        'of the image',
        effect=Effect.CONFIGURE,
    )
    publish_depth_without_people: bool = parameter(
        True,
        'with use_depth: publish depth_without_people and points_without_people while they have '
        'subscribers',
    )

    def __post_init__(self) -> None:
        """Rejects values that are not allowed or that contradict each other.

        Raises:
            ValueError: the error gives the allowed values.
        """
        problems = find_problems(asdict(self))
        if problems:
            raise ValueError('; '.join(problems))


ENTRIES = {entry.name: entry for entry in entries(NodeParameters)}
CHOICES = {name: entry.choices for name, entry in ENTRIES.items() if entry.choices}


def find_problems(values: Mapping[str, Any]) -> list[str]:
    """The problems of the values by name, one sentence each."""
    problems = [
        found for name, entry in ENTRIES.items() if (found := problem(entry, values[name]))
    ]
    if not problems:
        try:
            parse_robot_parts(values['robot_parts'])
        except ValueError as error:
            problems.append(f'parameter {error}')
    warn_s, error_s = values['frame_age_warn_s'], values['frame_age_error_s']
    if not problems and warn_s > error_s:
        problems.append(
            f'parameter frame_age_warn_s is {warn_s}, expected at most '
            f'frame_age_error_s, which is {error_s}; set both at once'
        )
    return problems


def declare_parameters(
    node: Node, is_configured: Callable[[], bool], changed: Callable[[frozenset[str]], None]
) -> str:
    """Declares every parameter with its description and checks all later changes.

    Logs a warning about given parameters that do not exist.

    Args:
        node: their owner.
        is_configured: whether parameters that take effect in configure are in use.
        changed: called with the names of parameters after a change.

    Returns:
        The warning; empty if there is none.
    """
    for entry in ENTRIES.values():
        node.declare_parameter(entry.name, entry.default, descriptor(entry))
    watch_changes(node, NodeParameters, find_problems, is_configured, changed)
    if unknown := unknown_text(node, NodeParameters):
        node.get_logger().warning(unknown)
    return unknown


def read_parameters(node: Node) -> NodeParameters:
    """The current values.

    Raises:
        ValueError: one of them is not allowed.
    """
    return NodeParameters(**{name: node.get_parameter(name).value for name in ENTRIES})
