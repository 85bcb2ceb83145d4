"""Makes meshes from a running camera, a camera driver that is started, or a video file.

    ros2 launch decomr decomr.launch.py image:=/camera/image_raw
    ros2 launch decomr decomr.launch.py camera:=usb_cam rviz:=true
    ros2 launch decomr decomr.launch.py video:=people.mp4 record:=true

Without `camera_info`, the topic beside the image is used: /camera/camera_info. All topics of the
node, and of a camera or video that is started, are in `namespace`. docs/launch.md has the details.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node

from decomr_ros.topics.input_topics import camera_info_beside
from decomr_ros.topics.lost_images import PROFILE_VARIABLES

SHARE = Path(get_package_share_directory('decomr'))
TRUE, FALSE = ('true', '1', 'yes'), ('', 'false', '0', 'no')

# Name, default and meaning of each argument.
ARGUMENTS = (
    (
        'image',
        '',
        'image topic; empty: image, or the topic of the camera or video that is started',
    ),
    ('camera_info', '', 'camera_info topic; empty: camera_info beside the image topic'),
    ('camera', 'none', 'driver to start: usb_cam, v4l2, realsense, or none'),
    ('device', '/dev/video0', 'device of usb_cam and v4l2'),
    ('width', '640', 'image width that the driver is asked for, px'),
    ('height', '480', 'image height that the driver is asked for, px'),
    ('fps', '30', 'frame rate that the driver is asked for, Hz'),
    (
        'camera_params_file',
        '',
        'YAML file of driver parameters; takes precedence over the arguments above; empty: none',
    ),
    ('video', '', 'video file or folder of images to play as the camera; empty: none'),
    ('loop', 'false', 'true: the video starts again at its end'),
    ('namespace', '', 'namespace of the node and its topics'),
    ('params_file', str(SHARE / 'config' / 'decomr.yaml'), 'YAML file of node parameters'),
    (
        'parameters',
        '',
        "node parameters that take precedence over the file, e.g. '{detector_stride: 5}'",
    ),
    ('model', '', 'node parameter weights: rt or a .safetensors file; empty: as in params_file'),
    (
        'runtime',
        '',
        'node parameter: openvino, onnxruntime, torch or tensorrt; empty: as in params_file',
    ),
    ('reliability', '', 'node parameter: auto, best_effort or reliable; empty: as in params_file'),
    (
        'boxes',
        '',
        'topic with the boxes of another detector; sets use_boxes; empty: as in params_file',
    ),
    (
        'markers',
        'false',
        'true: start no network; make markers and /tf from human_meshes of a bag or another '
        'machine',
    ),
    ('rviz', 'false', 'true: start RViz'),
    ('fixed_frame', '', "RViz's fixed frame; empty: the frame of the first image"),
    (
        'record',
        '',
        'true: record a rosbag2 in a new folder decomr_DATE_TIME in the current directory; or '
        'the folder; empty: no recording',
    ),
    (
        'record_also',
        '',
        'topics to record besides meshes, topology, calibration and status: iuv, image, '
        'image/compressed (if the camera publishes it), or any topic by name such as /tf_static',
    ),
    (
        'record_max_error_mm',
        '0.5',
        'largest rounding error of recorded vertices, mm; 0: exact, recorded by ros2 bag record '
        'if it is installed',
    ),
    ('use_sim_time', 'false', 'true: take the time from /clock'),
)


class Driver(NamedTuple):
    """A camera driver that is started on request."""

    package: str
    executable: str
    image: str
    """Its image topic, relative to its namespace; camera_info is beside it."""
    apt: str
    """Debian package, the distribution's name left open."""


# The frame of the images. REP-105 does not name it; this is the most common name.
FRAME_ID = 'camera_color_optical_frame'

# v4l2 and usb_cam publish image_raw in their namespace, realsense_ros below the node's name.
DRIVERS = {
    'usb_cam': Driver('usb_cam', 'usb_cam_node_exe', 'image_raw', 'ros-$ROS_DISTRO-usb-cam'),
    'v4l2': Driver('v4l2_camera', 'v4l2_camera_node', 'image_raw', 'ros-$ROS_DISTRO-v4l2-camera'),
    'realsense': Driver(
        'realsense2_camera',
        'realsense2_camera_node',
        'camera/color/image_raw',
        'ros-$ROS_DISTRO-realsense2-camera',
    ),
}


def generate_launch_description() -> LaunchDescription:
    """The arguments, the Fast DDS profile for large messages, and the nodes."""
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, default, description in ARGUMENTS
            ),
            *(
                SetEnvironmentVariable(
                    name,
                    EnvironmentVariable(name, default_value=str(SHARE / 'config' / 'fastdds.xml')),
                )
                for name in PROFILE_VARIABLES
            ),
            OpaqueFunction(function=_nodes),
        ]
    )


def _nodes(context: LaunchContext) -> list[Action]:
    given = {name: LaunchConfiguration(name).perform(context) for name, _, _ in ARGUMENTS}
    image, sources = _source(given)
    camera_info = given['camera_info'] or camera_info_beside(image)
    overrides = {
        'weights': given['model'],
        'runtime': given['runtime'],
        'reliability': given['reliability'],
    }
    overrides = {name: value for name, value in overrides.items() if value}
    use_boxes, boxes = _boxes(given)
    overrides |= use_boxes
    overrides |= _mapping('parameters', given['parameters'])
    if _is_true('markers', given):
        node = Node(
            package='decomr',
            executable='markers_node',
            name='decomr_markers',
            namespace=given['namespace'],
            output='screen',
            parameters=[_sim_time(given)],
        )
    else:
        node = Node(
            package='decomr',
            executable='decomr_node',
            name='decomr',
            namespace=given['namespace'],
            output='screen',
            parameters=[given['params_file'], overrides, _sim_time(given)],
            remappings=[('image', image), ('camera_info', camera_info), *boxes],
        )
    return [
        *sources,
        node,
        *_recorder(given, image, camera_info),
        *_rviz(given, image, camera_info),
    ]


def _rviz(given: dict[str, str], image: str, camera_info: str) -> list[Action]:
    """RViz in the given fixed frame, otherwise in the frame of the images."""
    if not _is_true('rviz', given):
        return []
    package, executable, frame = (
        ('rviz2', 'rviz2', ['--fixed-frame', given['fixed_frame']])
        if (given['fixed_frame'])
        else ('decomr', 'camera_rviz', [])
    )
    return [
        Node(
            package=package,
            executable=executable,
            name='rviz',
            namespace=given['namespace'],
            output='screen',
            arguments=['-d', str(SHARE / 'rviz' / 'decomr.rviz'), *frame],
            parameters=[_sim_time(given)],
            remappings=[('image', image), ('camera_info', camera_info)],
        )
    ]


def _source(given: dict[str, str]) -> tuple[str, list[Action]]:
    """The image topic, and what is started to publish it."""
    if given['video'] and given['camera'] != 'none':
        raise RuntimeError('give camera or video, not both')
    if given['video']:
        loop = ['--loop'] if _is_true('loop', given) else []
        return given['image'] or 'image', [
            Node(
                package='decomr',
                executable='video_source',
                name='video_source',
                output='screen',
                namespace=given[
                    'namespace'
                ],  # without simulated time: a video is played in real time
                arguments=[
                    given['video'],
                    *loop,
                    '--wait-for-node',
                    'decomr',
                    '--wait-timeout',
                    '600',
                ],
                remappings=_remappings(given, 'image'),
            )
        ]
    if given['camera'] == 'none':
        return given['image'] or 'image', []
    if given['camera'] not in DRIVERS:
        raise RuntimeError(f'camera is {given["camera"]!r}, expected {", ".join(DRIVERS)} or none')
    driver = DRIVERS[given['camera']]
    try:
        get_package_share_directory(driver.package)
    except PackageNotFoundError:
        raise RuntimeError(
            f'camera:={given["camera"]} needs the package {driver.package}; run: '
            f'sudo apt-get install {driver.apt}'
        ) from None
    files = [given['camera_params_file']] if given['camera_params_file'] else []
    return given['image'] or driver.image, [
        Node(
            package=driver.package,
            executable=driver.executable,
            name='camera',
            output='screen',
            namespace=given['namespace'],
            parameters=[_driver_parameters(given), _sim_time(given), *files],
            remappings=_remappings(given, driver.image),
        )
    ]


def _remappings(given: dict[str, str], image: str) -> list[tuple[str, str]]:
    """Remappings that give the topics of a source that is started the requested names."""
    if not given['image']:
        return []
    camera_info = given['camera_info'] or camera_info_beside(given['image'])
    return [(image, given['image']), (camera_info_beside(image), camera_info)]


def _driver_parameters(given: dict[str, str]) -> dict[str, Any]:
    """Size, rate and device as parameters of the driver."""
    width, height, fps = (_number(name, given) for name in ('width', 'height', 'fps'))
    if given['camera'] == 'usb_cam':
        return {
            'video_device': given['device'],
            'image_width': width,
            'image_height': height,
            'framerate': float(fps),
            'frame_id': FRAME_ID,
        }
    if given['camera'] == 'v4l2':
        return {
            'video_device': given['device'],
            'image_size': [width, height],
            'camera_frame_id': FRAME_ID,
            'output_encoding': 'rgb8',
        }
    return {'rgb_camera.color_profile': f'{width}x{height}x{fps}', 'enable_depth': False}


def _boxes(given: dict[str, str]) -> tuple[dict[str, bool], list[tuple[str, str]]]:
    """Parameters and remappings of the node for the boxes of another detector."""
    return ({'use_boxes': True}, [('boxes', given['boxes'])]) if given['boxes'] else ({}, [])


def _recorder(given: dict[str, str], image: str, camera_info: str) -> list[Action]:
    """The recorder of this package, or `ros2 bag record` for exact meshes if it is installed.

    rosbag2 stores messages unchanged, so it cannot round vertices.
    """
    if given['record'].lower() in FALSE:
        return []
    folder = given['record']
    if folder.lower() in TRUE:
        # With the namespace, because two cameras may start recording in the same second.
        words = [
            'decomr',
            *given['namespace'].strip('/').split('/'),
            time.strftime('%Y-%m-%d_%H-%M-%S'),
        ]
        folder = '_'.join(filter(None, words))
    also = given['record_also'].replace(',', ' ').split()
    error_mm = given['record_max_error_mm']
    if _is_above_zero('record_max_error_mm', given) or not _has_rosbag2():
        return [
            Node(
                package='decomr',
                executable='recorder',
                name='recorder',
                output='screen',
                namespace=given['namespace'],
                parameters=[_sim_time(given)],
                arguments=[
                    '--out',
                    folder,
                    '--max-error-mm',
                    error_mm,
                    *(['--also', *also] if also else []),
                ],
                remappings=[
                    ('image/compressed', f'{image}/compressed'),
                    ('image', image),
                    ('camera_info', camera_info),
                ],
            )
        ]
    names = {'camera_info': camera_info, 'image': image, 'image/compressed': f'{image}/compressed'}
    topics = [
        _absolute(names.get(name, name), given['namespace'])
        for name in ('human_meshes', 'topology', 'camera_info', *also)
    ]
    quality = _qos_file(given['namespace'], topics[2])
    sim_time = ['--use-sim-time'] if _is_true('use_sim_time', given) else []
    # A regular expression, because the option that lists topics differs between Humble and newer.
    expression = f'^({"|".join([*topics, "/diagnostics"])})$'
    return [
        ExecuteProcess(
            cmd=[
                'ros2',
                'bag',
                'record',
                '-s',
                'mcap',
                '-o',
                folder,
                '--max-cache-size',
                '0',
                '--storage-config-file',
                str(SHARE / 'config' / 'rosbag2_mcap.yaml'),
                '--qos-profile-overrides-path',
                quality,
                *sim_time,
                '--regex',
                expression,
            ],
            output='screen',
        )
    ]


def _has_rosbag2() -> bool:
    """Whether `ros2 bag record -s mcap` is installed."""
    try:
        for package in ('ros2bag', 'rosbag2_storage_mcap'):
            get_package_share_directory(package)
    except PackageNotFoundError:
        return False
    return shutil.which('ros2') is not None


def _qos_file(namespace: str, camera_info: str) -> str:
    """Writes rosbag2_qos.yaml with the absolute names of the topics; its path."""
    profiles = yaml.safe_load((SHARE / 'config' / 'rosbag2_qos.yaml').read_text())
    renamed = {
        camera_info if name == '/camera_info' else _absolute(name[1:], namespace): profile
        for name, profile in profiles.items()
    }
    with tempfile.NamedTemporaryFile(
        'w', prefix='decomr_qos_', suffix='.yaml', delete=False
    ) as handle:
        yaml.safe_dump(renamed, handle)
    return handle.name


def _absolute(topic: str, namespace: str) -> str:
    """The absolute name of a topic, which rosbag2 needs."""
    if topic.startswith('/'):
        return topic
    return '/'.join(['', *filter(None, [namespace.strip('/'), topic])])


def _sim_time(given: dict[str, str]) -> dict[str, bool]:
    return {'use_sim_time': _is_true('use_sim_time', given)}


def _is_true(name: str, given: dict[str, str]) -> bool:
    value = given[name].lower()
    if value not in TRUE + FALSE:
        raise RuntimeError(f'{name} is {given[name]!r}, expected true or false')
    return value in TRUE


def _number(name: str, given: dict[str, str]) -> int:
    if not given[name].isdecimal():
        raise RuntimeError(f'{name} is {given[name]!r}, expected a whole number')
    return int(given[name])


def _is_above_zero(name: str, given: dict[str, str]) -> bool:
    try:
        value = float(given[name])
    except ValueError:
        value = -1.0
    if not 0 <= value < float('inf'):
        raise RuntimeError(f'{name} is {given[name]!r}, expected a number, 0 or above')
    return value > 0


def _mapping(name: str, text: str) -> dict[str, Any]:
    """YAML text as a mapping; empty text is an empty one."""
    values = yaml.safe_load(text) if text else {}
    if not isinstance(values, dict):
        raise RuntimeError(
            f'{name} is {text!r}, expected a YAML mapping such as '
            "'{detector_stride: 5, max_people: 3}'"
        )
    return values
