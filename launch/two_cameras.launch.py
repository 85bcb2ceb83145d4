"""Two cameras, each with its own node in its own namespace.

    ros2 launch decomr two_cameras.launch.py left_image:=/front/image right_image:=/rear/image

The meshes are on /left/human_meshes and /right/human_meshes. The ids of the two cameras are
unrelated. `left_video` and `right_video` play files in place of cameras.
"""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

ONE_CAMERA = Path(get_package_share_directory('decomr')) / 'launch' / 'decomr.launch.py'
# Arguments that exist twice: left_image, right_image. The defaults are those of one camera.
EACH = {
    'namespace': 'namespace of this camera, its node and topics',
    'image': 'image topic; empty: image in its namespace',
    'camera_info': 'camera_info topic; empty: camera_info beside the image topic',
    'video': 'video file or folder of images to play as this camera; empty: none',
    'record': 'true, or the folder of the bag to record; empty: no recording',
}
# Arguments for both. They share the CPU: fewer threads for each node are faster.
BOTH = {
    'params_file': 'YAML file of node parameters',
    'parameters': 'node parameters that take precedence over the file',
    'model': 'node parameter weights: rt or a .safetensors file',
    'runtime': 'node parameter: openvino, onnxruntime, torch or tensorrt',
    'loop': 'true: the videos start again at their end',
    'use_sim_time': 'true: take the time from /clock',
}
SIDES = ('left', 'right')


def generate_launch_description() -> LaunchDescription:
    """The arguments, and the launch file of one camera twice."""
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(
                    f'{side}_{name}',
                    description=f'{side} camera: {text}',
                    default_value=side if name == 'namespace' else '',
                )
                for side in SIDES
                for name, text in EACH.items()
            ),
            *(
                DeclareLaunchArgument(name, description=text, default_value='')
                for name, text in BOTH.items()
            ),
            OpaqueFunction(function=_cameras),
        ]
    )


def _cameras(context: LaunchContext) -> list[Action]:
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    namespaces = [value(f'{side}_namespace').strip('/') for side in SIDES]
    if '' in namespaces or namespaces[0] == namespaces[1]:
        raise RuntimeError(
            f'the namespaces are {" and ".join(map(repr, namespaces))}; two '
            'cameras need two different ones'
        )
    both = {name: value(name) for name in BOTH if value(name)}
    cameras = []
    for side in SIDES:
        own = {name: value(f'{side}_{name}') for name in EACH if value(f'{side}_{name}')}
        # Without forwarding, so that arguments of one camera do not apply to the next.
        cameras.append(
            GroupAction(
                scoped=True,
                forwarding=False,
                actions=[
                    IncludeLaunchDescription(
                        PythonLaunchDescriptionSource(str(ONE_CAMERA)),
                        launch_arguments=[*both.items(), *own.items()],
                    )
                ],
            )
        )
    return cameras
