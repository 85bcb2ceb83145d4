"""Meshes from a camera that already publishes images.

    ros2 launch decomr decomr.launch.py image:=/camera/image_raw

`camera_info` is looked for beside the image unless given: /camera/camera_info. All topics of the
node are in `namespace`; `rviz:=true` shows them, `record:=FOLDER` writes them to a rosbag2.
"""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(get_package_share_directory('decomr'))
PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')

# Name, default and meaning of each argument.
ARGUMENTS = (
    ('image', 'image', 'image topic'),
    ('camera_info', '', 'camera_info topic; empty: camera_info beside the image topic'),
    ('namespace', '', 'namespace of the node and of its topics'),
    ('params_file', str(SHARE / 'config' / 'decomr.yaml'), 'YAML file of node parameters'),
    ('model', '', 'weights: rt or a .safetensors file; empty: as params_file says'),
    ('runtime', '', 'openvino, onnxruntime, torch or tensorrt; empty: as params_file says'),
    ('reliability', '', 'of the image: auto, best_effort or reliable; empty: as params_file says'),
    ('rviz', 'false', 'whether to start RViz'),
    ('record', '', 'folder of a rosbag2 to write; empty: none'),
    ('use_sim_time', 'false', 'whether time comes from /clock'),
)


def generate_launch_description() -> LaunchDescription:
    """The arguments, the Fast DDS profile for large messages, and the nodes."""
    return LaunchDescription([
        *(DeclareLaunchArgument(name, default_value=default, description=description)
          for name, default, description in ARGUMENTS),
        *(SetEnvironmentVariable(name, EnvironmentVariable(
            name, default_value=str(SHARE / 'config' / 'fastdds.xml')))
          for name in PROFILE_VARIABLES),
        OpaqueFunction(function=_nodes)])


def _nodes(context: LaunchContext) -> list[Action]:
    given = {name: LaunchConfiguration(name).perform(context) for name, _, _ in ARGUMENTS}
    namespace = given['namespace']
    use_sim_time = {'use_sim_time': given['use_sim_time'].lower() in ('true', '1')}
    camera_info = given['camera_info'] or _beside(given['image'])
    overrides = {'weights': given['model'], 'runtime': given['runtime'],
                 'reliability': given['reliability']}
    overrides = {name: value for name, value in overrides.items() if value}
    nodes = [Node(
        package='decomr', executable='decomr_node', name='decomr', namespace=namespace,
        output='screen', parameters=[given['params_file'], overrides, use_sim_time],
        remappings=[('image', given['image']), ('camera_info', camera_info)])]
    if given['record']:
        nodes.append(Node(
            package='decomr', executable='recorder', name='recorder', namespace=namespace,
            output='screen', arguments=['--out', given['record']], parameters=[use_sim_time]))
    if given['rviz'].lower() in ('true', '1'):
        nodes.append(Node(
            package='rviz2', executable='rviz2', name='rviz', namespace=namespace,
            arguments=['-d', str(SHARE / 'rviz' / 'decomr.rviz')], parameters=[use_sim_time],
            remappings=[('image', given['image'])]))
    return nodes


def _beside(image_topic: str) -> str:
    """camera_info as image_transport places it: in the namespace of the image topic."""
    return f'{image_topic.rpartition("/")[0]}/camera_info'.removeprefix(
        '' if image_topic.startswith('/') else '/')
