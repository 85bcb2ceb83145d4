"""Makes meshes from the images of a bag, or shows its recorded meshes, in simulated time.

    ros2 launch decomr bag.launch.py bag:=FOLDER image:=/camera/image_raw
    ros2 launch decomr bag.launch.py bag:=FOLDER markers:=true rviz:=true

`ros2 bag play --clock` publishes the bag and /clock. The node takes the time from /clock, so that
latencies and timeouts are the same as on the robot. With `markers` no network runs, and the
recorded meshes are shown. All arguments of decomr.launch.py work too.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    TimerAction,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

SHARE = Path(get_package_share_directory('decomr'))
# Name, default and meaning of each argument.
ARGUMENTS = (
    ('bag', None, 'folder of the rosbag2 to play'),
    ('rate', '1.0', 'playback speed: 0.5 is half the speed'),
    ('start_delay', '5.0', 'time for the node to load its network before the playback, s'),
    ('markers', 'false', 'true: show the recorded meshes as markers and /tf; no network runs'),
)
# These topics are published by the node, so the bag's own are renamed.
OUR_TOPICS = (
    'human_meshes',
    'topology',
    'iuv',
    'iuv/compressed',
    'markers',
    'overlay',
    'overlay/compressed',
    'vertices',
    'motion',
    'proximity',
    'proximity/markers',
    'obstacles',
    'obstacles/clearing',
    'depth_without_people',
    'points_without_people',
)


def generate_launch_description() -> LaunchDescription:
    """The node on simulated time and the playback; the end of the bag ends everything."""
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, default, description in ARGUMENTS
            ),
            # First, before anything is started: on an error, launch leaves starting nodes behind.
            OpaqueFunction(function=_check),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(SHARE / 'launch' / 'decomr.launch.py')),
                launch_arguments={'use_sim_time': 'true'}.items(),
            ),
            OpaqueFunction(function=_playback),
        ]
    )


def _check(context: LaunchContext) -> None:
    """Checks that the bag can be played.

    Raises:
        RuntimeError: there is no rosbag2, or no bag.
    """
    bag = LaunchConfiguration('bag').perform(context)
    if shutil.which('ros2') is None:
        raise RuntimeError(
            'there is no ros2 command to play the bag; run: sudo apt-get install '
            'ros-$ROS_DISTRO-ros2bag ros-$ROS_DISTRO-rosbag2-storage-mcap'
        )
    if not Path(bag).exists():
        raise RuntimeError(f'there is no bag {bag}; give bag:=FOLDER')


def _playback(context: LaunchContext) -> list[Action]:
    bag, rate, delay, markers = (
        LaunchConfiguration(name).perform(context) for name, _, _ in ARGUMENTS
    )
    namespace = LaunchConfiguration('namespace').perform(context).strip('/')
    # decomr.launch.py, which is included first, rejects values other than true and false.
    shows_recorded = markers.lower() in ('true', '1', 'yes')
    replaced = ('markers',) if shows_recorded else OUR_TOPICS
    ours = [f'{"/" if namespace else ""}{namespace}/{topic}' for topic in replaced]
    if not shows_recorded:
        ours.append('/diagnostics')
    # Recorded results are renamed, so that they do not mix with the new ones.
    play = ExecuteProcess(
        cmd=[
            'ros2',
            'bag',
            'play',
            bag,
            '--clock',
            '--rate',
            rate,
            '--remap',
            *(f'{topic}:=/recorded{topic}' for topic in ours),
        ],
        output='screen',
    )
    return [
        TimerAction(period=float(delay), actions=[play]),
        RegisterEventHandler(
            OnProcessExit(
                target_action=play, on_exit=[EmitEvent(event=Shutdown(reason='the bag ended'))]
            )
        ),
    ]
