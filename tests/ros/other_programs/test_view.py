"""`decomr view`: what is sent to the page, and the page itself in a headless browser."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

viser = pytest.importorskip('viser', reason='decomr view needs viser: pip install viser')

from decomr.msg import HumanMeshArray, MeshTopology  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from decomr_core.geometry.camera import intrinsics_from_fov  # noqa: E402
from decomr_ros import view  # noqa: E402
from decomr_ros.messages.images import image_message  # noqa: E402
from decomr_ros.messages.meshes import camera_info_message, human_mesh_array_message  # noqa: E402
from decomr_ros.viewer import view_scene  # noqa: E402
from tests.ros.browser import find_browser, open_browser  # noqa: E402
from tests.ros.conftest import Process, RosTest, make_mesh  # noqa: E402

FACES = np.arange(18).reshape(6, 3)
PARENTS = [-1, *range(23)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


@pytest.fixture
def scene() -> view_scene.ViewScene:
    scene = view_scene.ViewScene('127.0.0.1', free_port())
    scene.set_topology(FACES, PARENTS)
    yield scene
    scene.close()


def _sent(scene: view_scene.ViewScene, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The messages to the browser from now on."""
    sent: list[Any] = []
    server = scene._server._websock_server
    queue = server.queue_message
    monkeypatch.setattr(
        server, 'queue_message', lambda message: (sent.append(message), queue(message))[1]
    )
    return sent


def _size(message: Any) -> int:
    return sum(
        value.nbytes
        for value in getattr(message, 'updates', {}).values()
        if isinstance(value, np.ndarray)
    )


def test_a_moving_person_sends_only_vertices(
    scene: view_scene.ViewScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.show_people([make_mesh(1, seed=0)])
    sent = _sent(scene, monkeypatch)
    moved = make_mesh(1, seed=1)
    scene.show_people([moved])
    updates = [message for message in sent if _size(message)]
    assert [set(message.updates) for message in updates] == [{'vertices'}]
    assert sum(map(_size, sent)) == moved.vertices.nbytes
    assert not any(type(message).__name__ == 'MeshMessage' for message in sent)


def test_joints_are_sent_only_while_they_are_shown(
    scene: view_scene.ViewScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.show_people([make_mesh(1)])
    scene._has_joints.value = True
    assert scene._people[1].joints.visible and scene._people[1].bones.visible
    sent = _sent(scene, monkeypatch)
    scene.show_people([make_mesh(1, seed=1)])
    assert {name for message in sent for name in getattr(message, 'updates', {})} >= {
        'vertices',
        'points',
    }
    scene._has_meshes.value = False
    assert not scene._people[1].mesh.visible


def test_people_who_left_are_removed_and_a_new_topology_removes_all(
    scene: view_scene.ViewScene,
) -> None:
    scene.show_people([make_mesh(1), make_mesh(2)])
    gone = scene._people[1].mesh
    scene.show_people([make_mesh(2)])
    assert (scene.num_people, gone._impl.removed) == (1, True)
    scene.set_topology(FACES[:2], PARENTS)
    assert scene.num_people == 0


def test_people_without_a_position_stand_in_a_row_before_the_camera() -> None:
    mesh = make_mesh(-1)
    placed = [view_scene.placed_vertices(mesh, place, 2)[0] - mesh.vertices for place in (0, 1)]
    assert np.allclose(placed[0], 0)
    object.__setattr__(mesh, 'is_metric', False)
    places = [view_scene.placed_vertices(mesh, place, 2) for place in (0, 1)]
    assert np.allclose(places[0][0] - mesh.vertices, (-0.5, 0, 3), atol=1e-6)
    assert np.allclose(places[1][1] - mesh.joints, (0.5, 0, 3), atol=1e-6)


def test_the_image_and_the_field_of_view_follow_the_camera(scene: view_scene.ViewScene) -> None:
    image = np.full((480, 1280, 3), 90, np.uint8)
    scene.show_image(image)  # no calibration yet: there is nowhere to show it
    scene.show_camera(intrinsics_from_fov(1280, 480, 60.0), 1280, 480)
    first = scene._camera
    scene.show_image(image)
    assert first.image.shape == (240, 640, 3)
    assert first.aspect == pytest.approx(1280 / 480)
    scene.show_camera(intrinsics_from_fov(1280, 480, 60.0), 1280, 480)
    assert scene._camera is first
    scene.show_camera(intrinsics_from_fov(640, 480, 90.0), 640, 480)
    assert scene._camera.fov == pytest.approx(2 * np.arctan(240 / 320))


def test_without_viser_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ros: RosTest
) -> None:
    monkeypatch.setitem(sys.modules, 'viser', None)
    assert view.main(['--port', str(free_port())]) == 2
    error = capsys.readouterr().err
    assert 'pip install viser' in error
    assert error.count('\n') == 1


def test_a_port_in_use_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], ros: RosTest
) -> None:
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        assert view.main(['--port', str(taken.getsockname()[1])]) == 2
    error = capsys.readouterr().err
    assert 'choose another --port' in error
    assert error.count('\n') == 1


@pytest.mark.parametrize('words', [['--port', '0'], ['--port', 'x'], ['--rate', '0']])
def test_a_wrong_number_is_rejected(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match='2'):
        view.main(words)
    assert 'is no' in capsys.readouterr().err


def publish_a_person(ros: RosTest, port: int) -> tuple[Process, Callable[[], Header]]:
    """Starts the page; returns it and a function that publishes one image with a person."""
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    topology = ros.node.create_publisher(MeshTopology, 'robot/topology', latched)
    topology.publish(MeshTopology(hash='abc', faces=FACES.ravel(), joint_parents=PARENTS))
    meshes = ros.node.create_publisher(HumanMeshArray, 'robot/human_meshes', 10)
    infos = ros.node.create_publisher(CameraInfo, 'robot/camera_info', 5)
    images = ros.node.create_publisher(Image, 'robot/image', 5)
    page = ros.start('-m', 'decomr_ros.view', '--port', port, '--namespace', 'robot')
    page.wait_for('in a browser')
    # A wall of triangles, 2 m before the camera, that fills the middle of the view.
    mesh = make_mesh(7)
    wall = np.array(
        [
            [x + 0.3 * (corner == 1), -0.5 + 1.0 * (corner == 2), 2.0]
            for x in np.linspace(-0.9, 0.6, 6)
            for corner in range(3)
        ],
        np.float32,
    )
    object.__setattr__(mesh, 'vertices', np.vstack([wall, wall[:2]]))

    def publish() -> Header:
        header = Header(frame_id='camera', stamp=ros.node.get_clock().now().to_msg())
        infos.publish(camera_info_message(header, intrinsics_from_fov(64, 48, 60.0), 64, 48))
        images.publish(image_message(header, np.full((48, 64, 3), 128, np.uint8), 'bgr8'))
        meshes.publish(human_mesh_array_message(header, [mesh], 'abc'))
        ros.spin(0.1)
        return header

    return page, publish


@pytest.mark.skipif(find_browser() is None, reason='no Chromium here: apt-get install chromium')
def test_the_page_shows_a_person_in_a_browser(ros: RosTest, tmp_path: Path) -> None:
    port = free_port()
    page, publish = publish_a_person(ros, port)
    with open_browser(tmp_path) as browser:
        browser.open(f'http://127.0.0.1:{port}')
        for _ in range(400):
            publish()
            if 'latency' in browser.text():
                break
        assert '1 person,' in browser.text().replace('\n', ' ')
        ros.spin(2.0)
        image = browser.screenshot()
    assert image.std() > 10, 'the page is blank'
    # Coloured pixels left of the panel: the person; the page itself is white and grey.
    colors = image[100:, :500].astype(int)
    assert ((colors.max(2) - colors.min(2)) > 40).sum() > 500
    assert page.stop() == 0, page.output
