"""MoveIt's move_group of your robot, whose octomap contains people.

    ros2 launch decomr moveit_people_octomap.launch.py robot:=panda octomap_frame:=panda_link0

It runs beside `decomr_node` with `use_depth`, whose topics `obstacles` and `points_without_people`
it uses. `robot` has a configuration package made by the MoveIt Setup Assistant. In a launch file
of your own, `MoveItConfigsBuilder(...).sensors_3d(FILE)` does the same.
"""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SENSORS = (
    Path(get_package_share_directory('decomr'))
    / 'config'
    / 'planners'
    / 'moveit_people_octomap.yaml'
)
# Name, default and meaning of each argument.
ARGUMENTS = (
    ('robot', None, 'name of the robot; its package is ROBOT_moveit_config unless given'),
    ('moveit_config', '', 'configuration package of the robot; empty: ROBOT_moveit_config'),
    ('sensors_file', str(SENSORS), 'YAML file with the sensors of the octomap'),
    ('octomap_frame', None, 'fixed frame of the octomap, such as the base of the arm'),
    ('octomap_resolution', '0.05', 'side of the cells of the octomap, m'),
    ('use_sim_time', 'false', 'true: take the time from /clock'),
)


def generate_launch_description() -> LaunchDescription:
    """The arguments, and move_group."""
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=text)
                for name, default, text in ARGUMENTS
            ),
            OpaqueFunction(function=_move_group),
        ]
    )


def _move_group(context: LaunchContext) -> list[Action]:
    given = {name: LaunchConfiguration(name).perform(context) for name, _, _ in ARGUMENTS}
    try:
        from moveit_configs_utils import MoveItConfigsBuilder
    except ImportError as error:
        raise RuntimeError(
            'the package moveit_configs_utils is not installed; '
            'sudo apt-get install ros-$ROS_DISTRO-moveit'
        ) from error
    builder = MoveItConfigsBuilder(given['robot'], package_name=given['moveit_config'] or None)
    configuration = builder.sensors_3d(given['sensors_file']).to_moveit_configs()
    octomap = {
        'octomap_frame': given['octomap_frame'],
        'octomap_resolution': float(given['octomap_resolution']),
        'use_sim_time': given['use_sim_time'] == 'true',
    }
    return [
        Node(
            package='moveit_ros_move_group',
            executable='move_group',
            parameters=[configuration.to_dict(), octomap],
        )
    ]
