"""A costmap of nav2 that contains people alone, to see what a planner gets.

    ros2 launch decomr nav2_people_layer.launch.py global_frame:=odom base_frame:=base_link

It runs beside `decomr_node` and uses its topics `obstacles` and `obstacles/clearing`. On a robot,
copy `people_layer` from config/planners/nav2_people_layer.yaml into the parameters of nav2.
"""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

PARAMETERS = (
    Path(get_package_share_directory('decomr')) / 'config' / 'planners' / 'nav2_people_layer.yaml'
)
# Name, default and meaning of each argument.
ARGUMENTS = (
    ('params_file', str(PARAMETERS), 'YAML file with the parameters of the costmap'),
    ('global_frame', 'odom', 'frame of the costmap'),
    ('base_frame', 'base_link', 'frame of the robot, the middle of the costmap'),
    ('use_sim_time', 'false', 'true: take the time from /clock'),
)


def generate_launch_description() -> LaunchDescription:
    """The costmap and the manager that activates it."""
    simulated = ParameterValue(LaunchConfiguration('use_sim_time'), value_type=bool)
    frames = {
        'global_frame': LaunchConfiguration('global_frame'),
        'robot_base_frame': LaunchConfiguration('base_frame'),
        'use_sim_time': simulated,
    }
    # A costmap of its own has no bond with the manager.
    manager = {
        'use_sim_time': simulated,
        'autostart': True,
        'node_names': ['costmap'],
        'bond_timeout': 0.0,
    }
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=text)
                for name, default, text in ARGUMENTS
            ),
            Node(
                package='nav2_costmap_2d',
                executable='nav2_costmap_2d',
                parameters=[LaunchConfiguration('params_file'), frames],
            ),
            Node(
                package='nav2_lifecycle_manager',
                executable='lifecycle_manager',
                name='lifecycle_manager_people',
                parameters=[manager],
            ),
        ]
    )
