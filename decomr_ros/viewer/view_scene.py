"""The page of `decomr view`: people, camera and latency in a browser, with viser.

The scene is in the camera optical frame (REP-103: x right, y down, z forward), viewed from behind
the camera. The faces of a person are sent once; after that only vertices and joints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from decomr_core.base.structures import HumanMesh
from decomr_core.drawing import color_of_track
from decomr_ros.viewer.line_drawing import LineDrawing
from decomr_ros.viewer.refused_requests import quiet_refusals

if TYPE_CHECKING:
    from decomr_ros.viewer.distances import ShownDistances

__all__ = ['ViewScene', 'placed_vertices']

# People without a position are shown in a row: distance from the camera and spacing, m.
ROW_DISTANCE_M, ROW_STEP_M = 3.0, 1.0
# Distance of the image from the camera, m: large enough to see it, but nearer than people.
FRUSTUM_M = 0.5
# Maximum width of the image on the page, px.
IMAGE_WIDTH_PX = 640
JOINT_COLOR, BONE_COLOR = (255, 230, 90), (255, 170, 40)
JOINT_SIZE_M, BONE_PX = 0.03, 2.0
GRID_M = 12.0
# Distance of the ground grid below the camera, m.
GROUND_M = 1.5
NOT_A_SAFETY_DEVICE = 'Not a safety device: people can be missed, and distances can be wrong.'
EYE, LOOK_AT = (1.9, -1.1, -0.9), (0.0, 0.1, 3.0)


@dataclass
class _Person:
    """The viser handles of one person."""

    mesh: Any
    joints: Any
    bones: Any


class ViewScene:
    """A web server with one scene.

    Attributes:
        address: URL of the page.
    """

    def __init__(self, host: str, port: int) -> None:
        """Starts the server.

        Args:
            host: address to listen on; 0.0.0.0: all addresses.
            port: TCP port.

        Raises:
            RuntimeError: viser is not installed.
            OSError: the port is in use.
        """
        viser = _viser()
        _check_port(host, port)
        quiet_refusals()
        self._server = viser.ViserServer(host=host, port=port, verbose=False)
        # Sharing would send the camera's images to the internet through a third-party server.
        self._server.gui.configure_theme(show_share_button=False)
        self.address = f'http://{"localhost" if host == "0.0.0.0" else host}:{port}'
        self._faces = np.zeros((0, 3), np.uint32)
        self._bones = np.zeros((0, 2), int)
        self._people: dict[int, _Person] = {}
        self._lines = LineDrawing(self._server.scene)
        self._camera: Any = None
        self._camera_shape: tuple[float, float] = (0.0, 0.0)
        self._make_scene()
        self._make_controls()

    @property
    def num_people(self) -> int:
        """Number of people on the page."""
        return len(self._people)

    def set_topology(self, faces: np.ndarray, joint_parents: Sequence[int]) -> None:
        """Sets the data that all meshes share and removes all people.

        Args:
            faces: (F, 3) vertex indices.
            joint_parents: (J,) parent of each joint, -1 for the root.
        """
        self._faces = np.ascontiguousarray(faces, np.uint32)
        self._bones = np.array(
            [(joint, parent) for joint, parent in enumerate(joint_parents) if parent >= 0], int
        ).reshape(-1, 2)
        self.show_people([])

    def show_people(self, meshes: Sequence[HumanMesh]) -> None:
        """Updates the page: moves, adds and removes people.

        Args:
            meshes: the people in the newest image.
        """
        with self._server.atomic():
            shown = set()
            for index, mesh in enumerate(meshes):
                key = mesh.track_id if mesh.track_id >= 0 else -1 - index
                shown.add(key)
                vertices, joints = placed_vertices(mesh, index, len(meshes))
                if key in self._people:
                    self._move(self._people[key], vertices, joints)
                else:
                    self._people[key] = self._add(key, vertices, joints)
            for key in set(self._people) - shown:
                person = self._people.pop(key)
                for handle in (person.mesh, person.joints, person.bones):
                    handle.remove()

    def show_camera(self, intrinsics: np.ndarray, width: int, height: int) -> None:
        """Draws the camera's field of view.

        Args:
            intrinsics: (3, 3), px.
            width: of the image, px.
            height: of the image, px.
        """
        shape = 2 * float(np.arctan(height / 2 / intrinsics[1, 1])), width / height
        if shape != self._camera_shape:
            self._camera_shape = shape
            if self._camera is not None:
                self._camera.remove()
            self._camera = self._server.scene.add_camera_frustum(
                '/camera',
                fov=shape[0],
                aspect=shape[1],
                scale=FRUSTUM_M,
                color=(60, 60, 60),
                format='jpeg',
            )

    def show_image(self, image: np.ndarray) -> None:
        """Shows the image in the camera's frustum; without a calibration it is not shown.

        Args:
            image: (H, W, 3) uint8 RGB.
        """
        if self._camera is None or not self._has_image.value:
            return
        step = -(-image.shape[1] // IMAGE_WIDTH_PX)
        self._camera.image = np.ascontiguousarray(image[::step, ::step])

    def show_text(self, text: str) -> None:
        """Shows a line of text (Markdown) in the panel."""
        if self._text.content != text:
            self._text.content = text

    def show_distances(self, shown: ShownDistances) -> None:
        """Draws the nearest line of each person, removes those of others, and shows the text.

        Args:
            shown: lines in the camera optical frame, and text.
        """
        with self._server.atomic():
            self._lines.show(shown.lines)
            if self._distance_text.content != shown.text:
                self._distance_text.content = shown.text

    def close(self) -> None:
        """Stops the server."""
        self._server.stop()

    def _make_scene(self) -> None:
        scene = self._server.scene
        scene.set_up_direction('-y')
        scene.add_frame('/origin', axes_length=0.2, axes_radius=0.006)
        scene.add_grid(
            '/ground',
            width=GRID_M,
            height=GRID_M,
            plane='xz',
            position=(0.0, GROUND_M, GRID_M / 2 - 1),
        )
        camera = self._server.initial_camera
        camera.position, camera.look_at, camera.up = EYE, LOOK_AT, (0.0, -1.0, 0.0)

    def _make_controls(self) -> None:
        gui = self._server.gui
        self._text = gui.add_markdown('waiting for human_meshes')
        self._distance_text = gui.add_markdown('')
        gui.add_markdown(NOT_A_SAFETY_DEVICE)
        self._has_meshes = gui.add_checkbox('Meshes', True)
        self._has_joints = gui.add_checkbox('Joints', False)
        self._has_image = gui.add_checkbox('Image', True)
        for box in (self._has_meshes, self._has_joints):
            box.on_update(lambda _: self._apply_switches())
        self._has_image.on_update(lambda _: self._remove_image())

    def _apply_switches(self) -> None:
        for person in list(self._people.values()):
            person.mesh.visible = self._has_meshes.value
            person.joints.visible = person.bones.visible = self._has_joints.value

    def _remove_image(self) -> None:
        if self._camera is not None and not self._has_image.value:
            self._camera.image = None

    def _add(self, key: int, vertices: np.ndarray, joints: np.ndarray) -> _Person:
        scene, name = self._server.scene, f'/people/{key}'
        return _Person(
            mesh=scene.add_mesh_simple(
                f'{name}/mesh',
                vertices,
                self._faces,
                color=color_of_track(key),
                side='double',
                cast_shadow=False,
                receive_shadow=False,
                visible=self._has_meshes.value,
            ),
            joints=scene.add_point_cloud(
                f'{name}/joints',
                joints,
                colors=JOINT_COLOR,
                point_size=JOINT_SIZE_M,
                point_shape='circle',
                precision='float32',
                visible=self._has_joints.value,
            ),
            bones=scene.add_line_segments(
                f'{name}/bones',
                joints[self._bones],
                colors=BONE_COLOR,
                thickness=BONE_PX,
                thickness_units='screen',
                visible=self._has_joints.value,
            ),
        )

    def _move(self, person: _Person, vertices: np.ndarray, joints: np.ndarray) -> None:
        person.mesh.vertices = vertices
        if self._has_joints.value:
            person.joints.points = joints
            person.bones.points = joints[self._bones]


def placed_vertices(mesh: HumanMesh, index: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and joints at the position at which the page shows them.

    Args:
        mesh: a person.
        index: among the people of the image, from 0.
        count: number of people.

    Returns:
        (V, 3) and (J, 3) float32, metres, camera optical frame. People without a position (not
        metric) are in a row in front of the camera.
    """
    offset = np.zeros(3)
    if not mesh.is_metric:
        offset = np.array([(index - (count - 1) / 2) * ROW_STEP_M, 0.0, ROW_DISTANCE_M])
    return (
        (np.asarray(mesh.vertices) + offset).astype(np.float32),
        (np.asarray(mesh.joints) + offset).astype(np.float32),
    )


def _viser() -> Any:
    try:
        import viser
    except ImportError as error:
        raise RuntimeError(f'decomr view needs viser ({error}); run: pip install viser') from None
    return viser


def _check_port(host: str, port: int) -> None:
    """Checks that the port is free; viser would silently use the next free one.

    Raises:
        OSError: the port is in use, or the address does not belong to this machine.
    """
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise OSError(
                f'cannot listen on {host}:{port} ({error.strerror}); choose another --port'
            ) from error
