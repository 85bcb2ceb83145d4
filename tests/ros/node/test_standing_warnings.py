"""Problems that do not stop the node: logged once, WARN on /diagnostics until they end."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from decomr.msg import HumanMeshArray
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import String
from visualization_msgs.msg import MarkerArray

from decomr_core.body_models import BodyModel
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap
from decomr_ros.health import diagnostics
from decomr_ros.health.conflicting_publishers import conflict_texts
from decomr_ros.health.diagnostics import FrameStatistics
from decomr_ros.inputs.frame_ids import frame_id_problem
from decomr_ros.messages.images import image_message
from decomr_ros.node import standing_warnings
from decomr_ros.node.installation import fast_dds_profile
from decomr_ros.node.standing_warnings import StandingWarnings
from decomr_ros.settings.parameters import NodeParameters
from decomr_ros.topics.lost_images import lost_images_text
from decomr_ros.topics.silent_topics import other_types_text, owner_name, type_name
from decomr_ros.topics.subscriptions import MatchingSubscription
from tests.ros.conftest import RosTest
from tests.ros.inner_node import HEIGHT, WIDTH, InnerNode, values_of
from tests.ros.node_client import Camera
from tests.ros.other_node import other_node

OK, WARN = DiagnosticStatus.OK, DiagnosticStatus.WARN
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
# A camera's process with a small shared memory, whatever this one has. Large images, best effort.
CARELESS_CAMERA = """
import os
for name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'):
    os.environ.pop(name, None)
import array, time
import rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node('careless')
publisher = node.create_publisher(Image, 'image', qos_profile_sensor_data)
message = Image(height=720, width=1280, encoding='bgr8', step=3840,
                data=array.array('B', bytes(720 * 3840)))
message.header.frame_id = 'camera'
while True:
    message.header.stamp = node.get_clock().now().to_msg()
    publisher.publish(message)
    time.sleep(0.03)
"""


def _wait_for_level(
    ros: RosTest, inner: InnerNode, camera: Camera, level: bytes
) -> DiagnosticStatus:
    """Shows images until the status has this level."""
    found: list[DiagnosticStatus] = []

    def has_level() -> bool:
        camera.show(HEIGHT, WIDTH)
        found.append(inner.status())
        return found[-1].level == level

    ros.spin_until(has_level)
    return found[-1]


def _wait_for_warning(
    ros: RosTest, inner: InnerNode, camera: Camera, name: str, part: str
) -> DiagnosticStatus:
    """Shows images until this warning has this part; names of nodes are known after a while."""
    found: list[DiagnosticStatus] = []

    def has_part() -> bool:
        camera.show(HEIGHT, WIDTH)
        found.append(inner.status())
        return part in values_of(found[-1]).get(f'warning_{name}', '')

    ros.spin_until(has_part)
    assert found[-1].level == WARN
    return found[-1]


# The register of the problems


def test_a_problem_is_logged_once_while_it_lasts_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SimpleNamespace(now_s=1000.0)
    monkeypatch.setattr(standing_warnings, 'time', SimpleNamespace(monotonic=lambda: clock.now_s))
    log: list[str] = []
    warnings = StandingWarnings(log.append)
    assert (warnings.values(), warnings.summary()) == ({'warnings': '0'}, '')
    for _ in range(3):
        warnings.set('frame_id', 'bad frame', 1)
        warnings.set('rivals', 'two nodes')
    assert log == ['bad frame', 'two nodes']
    assert warnings.summary() == 'bad frame (and 1 more: warning_*)'
    assert warnings.values() == {
        'warnings': '2',
        'warning_frame_id': 'bad frame',
        'warning_frame_id_count': '3',
        'warning_rivals': 'two nodes',
    }
    warnings.set('frame_id', '')
    warnings.end('rivals', 'never there')
    assert (warnings.values(), warnings.summary()) == ({'warnings': '0'}, '')
    # What comes and goes does not fill the log; after a while it is news again.
    warnings.set('frame_id', 'bad frame', 1)
    assert warnings.values()['warning_frame_id_count'] == '1'
    assert len(log) == 2
    warnings.end_all_but(['rivals'])
    clock.now_s += 61
    warnings.set('frame_id', 'bad frame', 1)
    assert log == ['bad frame', 'two nodes', 'bad frame']
    warnings.end_all_but(['frame_id'])
    assert warnings.values()['warnings'] == '1'


def test_a_brief_state_of_the_graph_causes_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now_s=1000.0)
    monkeypatch.setattr(standing_warnings, 'time', SimpleNamespace(monotonic=lambda: clock.now_s))
    log: list[str] = []
    warnings = StandingWarnings(log.append)
    for text in ('a node of unknown name', '/camera', '', '/camera', '/camera'):
        warnings.set_if_lasting('rivals', text)
        clock.now_s += 0.6
    assert log == []
    warnings.set_if_lasting('rivals', '/camera')
    assert log == ['/camera']
    warnings.set_if_lasting('rivals', '')
    assert warnings.values() == {'warnings': '0'}


# The frame of the image


def test_images_without_a_frame_id_are_reported(
    ros: RosTest, inner: InnerNode, capfd: pytest.CaptureFixture[str]
) -> None:
    heard: dict[str, list] = {'markers': [], 'vertices': [], 'iuv': []}
    for topic, type_ in (('markers', MarkerArray), ('vertices', PointCloud2), ('iuv', Image)):
        ros.node.create_subscription(type_, topic, heard[topic].append, 10)
    camera = inner.activate()
    inner.wait_for_listeners(*heard)
    placed = camera.show_until_placed(HEIGHT, WIDTH).header
    # The IUV images of earlier images come first, and may come late.
    ros.spin_until(lambda: all(heard.values()) and heard['iuv'][-1].header == placed)
    for messages in heard.values():
        messages.clear()
    header = camera.header()
    header.frame_id = ''
    camera.send(image_message(header, np.zeros((HEIGHT, WIDTH, 3), np.uint8), 'bgr8'))
    answer = camera.answer(header)
    assert (answer.header.frame_id, len(answer.meshes)) == ('', 2)
    ros.spin_until(lambda: heard['iuv'] and heard['markers'])
    assert heard['iuv'][0].header == header
    (removed,) = heard['markers']  # nobody stays in RViz
    assert {marker.action for marker in removed.markers} == {2}
    assert removed.markers[0].header.frame_id
    assert heard['vertices'] == []
    status = inner.status()
    assert status.level == WARN
    assert "images on /image have the frame_id ''" in status.message
    assert 'markers, vertices and /tf are not published' in status.message
    assert values_of(status)['warning_frame_id_count'] == '1'
    assert capfd.readouterr().err.count("frame_id ''") == 1
    assert _wait_for_level(ros, inner, camera, OK)
    ros.spin_until(lambda: heard['vertices'])


def test_a_leading_slash_is_stripped_and_reported(ros: RosTest, inner: InnerNode) -> None:
    camera = inner.activate()
    camera.show_until_placed(HEIGHT, WIDTH)
    header = camera.header()
    header.frame_id = '/front/optical'
    camera.send(image_message(header, np.zeros((HEIGHT, WIDTH, 3), np.uint8), 'bgr8'))
    header.frame_id = 'front/optical'
    assert len(camera.answer(header).meshes) == 2
    status = inner.status()
    assert status.level == WARN
    assert "the frame_id '/front/optical', which tf2 rejects" in status.message
    assert "'front/optical'" in status.message
    _wait_for_level(ros, inner, camera, OK)


def test_a_slash_alone_is_not_a_frame() -> None:
    assert 'the position of people is unknown' in frame_id_problem('/', '/image')
    assert frame_id_problem('camera', '/image') == ''


# Topics of another type


def test_an_image_topic_of_another_type_is_reported_when_it_appears(
    ros: RosTest, inner: InnerNode
) -> None:
    camera = inner.activate()
    camera.show_until_placed(HEIGHT, WIDTH)
    assert inner.status().level == OK
    with other_node('driver', '/front') as driver:
        driver.create_publisher(CompressedImage, '/image', BEST_EFFORT)
        status = _wait_for_warning(
            ros, inner, camera, 'image_type', 'sensor_msgs/msg/CompressedImage from /front/driver'
        )
        text = values_of(status)['warning_image_type']
        assert 'is not of type sensor_msgs/msg/Image, which this node expects as image' in text
        assert 'image_transport:=compressed' in text
        # It does not decide how the images are subscribed to.
        assert values_of(status)['image_reliability'] == 'reliable'
    _wait_for_level(ros, inner, camera, OK)


@pytest.mark.parametrize(
    ('name', 'topic', 'wanted', 'given', 'advice'),
    [
        (
            'image',
            '/cam/compressed',
            Image,
            CompressedImage,
            'set image_transport:=compressed and remap -r image:=/cam',
        ),
        ('image', '/jpegs', Image, CompressedImage, '-r image/compressed:=/jpegs'),
        ('image', '/image', CompressedImage, Image, 'set image_transport:=raw'),
        ('image', '/image', Image, String, '-r image:=TOPIC to a topic of sensor_msgs/msg/Image'),
        ('camera_info', '/camera_info', CameraInfo, Image, 'remap -r camera_info:=TOPIC'),
        ('depth', '/depth', Image, CompressedImage, 'remap -r depth:=TOPIC'),
        ('boxes', '/boxes', HumanMeshArray, Image, 'remap -r boxes:=TOPIC'),
    ],
)
def test_each_input_of_another_type_is_reported_with_the_remedy(
    ros: RosTest, name: str, topic: str, wanted: type, given: type, advice: str
) -> None:
    with other_node('driver') as driver:
        driver.create_publisher(given, topic, 5)
        ros.spin_until(
            lambda: (
                f'{type_name(given)} from /driver'
                in other_types_text(ros.node, name, topic, type_name(wanted))
            )
        )
        text = other_types_text(ros.node, name, topic, type_name(wanted))
        assert advice in text
        assert other_types_text(ros.node, name, topic, type_name(given)) == ''


def test_depth_of_another_type_is_a_warning(
    ros: RosTest, monkeypatch: pytest.MonkeyPatch, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    inner = InnerNode(ros, monkeypatch, Topology.from_body(tiny_body, tiny_uv_map), use_depth=True)
    camera = inner.activate()
    with other_node('driver') as driver:
        driver.create_publisher(CompressedImage, '/depth', 5)
        driver.create_publisher(String, '/camera_info', 5)
        for name, type_ in (('depth', 'CompressedImage'), ('camera_info', 'String')):
            _wait_for_warning(ros, inner, camera, f'{name}_type', f'{type_} from /driver')
    inner.node.close()


def test_a_publisher_of_another_type_does_not_change_the_reliability(ros: RosTest) -> None:
    subscription = MatchingSubscription(ros.node, Image, 'image', print, 5)
    ros.node.create_publisher(Image, 'image', 5)
    with other_node('driver') as driver:
        driver.create_publisher(CompressedImage, '/image', BEST_EFFORT)
        ros.spin_until(lambda: len(ros.node.get_publishers_info_by_topic('/image')) == 2)
        subscription.check()
        assert subscription.reliability == 'reliable'
    subscription.close()


# Nodes that publish the same


def test_a_second_node_on_the_output_topics_is_named(ros: RosTest, inner: InnerNode) -> None:
    camera = inner.activate()
    camera.show_until_placed(HEIGHT, WIDTH)
    assert inner.status().level == OK
    with other_node('meshes_too', '/robot') as rival:
        rival.create_publisher(HumanMeshArray, '/human_meshes', 5)
        status = _wait_for_warning(
            ros,
            inner,
            camera,
            'shared_topics',
            '/robot/meshes_too publishes on /human_meshes like this node (/decomr):',
        )
        assert '-r __ns:=/NAME' in status.message
    _wait_for_level(ros, inner, camera, OK)


def test_the_same_node_started_twice_is_reported(ros: RosTest, inner: InnerNode) -> None:
    camera = inner.activate()
    with other_node('decomr') as twin:
        twin.create_publisher(HumanMeshArray, '/human_meshes', 5)
        _wait_for_warning(
            ros,
            inner,
            camera,
            'shared_topics',
            '/decomr publishes on /human_meshes like this node (/decomr):',
        )


def _frames_text(node: object) -> str:
    return conflict_texts(node, NodeParameters(publish_tf=True))['shared_frames']


@pytest.mark.parametrize(('namespace', 'is_rival'), [('', True), ('/left', False)])
def test_frames_are_shared_with_a_node_whose_people_have_the_same_names(
    ros: RosTest, namespace: str, is_rival: bool
) -> None:
    """The topics differ, but all nodes share /tf."""
    with other_node('second', namespace) as rival, other_node('odometry') as odometry:
        rival.create_publisher(HumanMeshArray, 'other_meshes', 5)
        odometry.create_publisher(String, '/tf', 5)
        ros.spin_until(lambda: ros.node.get_publishers_info_by_topic('/tf'))
        assert _frames_text(ros.node) == ''
        rival.create_publisher(String, '/tf', 5)
        ros.spin_until(
            lambda: (
                {
                    owner_name(info)
                    for topic in ('/tf', f'{namespace}/other_meshes')
                    for info in ros.node.get_publishers_info_by_topic(topic)
                }
                == {'/odometry', f'{namespace}/second'}
            )
        )
        text = _frames_text(ros.node)
        assert (
            '/second publishes the same frames on /tf as this node (/test),' in text
            and 'body_p1' in text
        ) == is_rival
        assert conflict_texts(ros.node, NodeParameters())['shared_frames'] == ''


def test_a_second_list_of_bodies_is_reported_with_both_names(ros: RosTest) -> None:
    ros.node.create_publisher(String, '/humans/bodies/tracked', 5)
    settings = NodeParameters(rep155=True)
    ros.spin_until(lambda: ros.node.get_publishers_info_by_topic('/humans/bodies/tracked'))
    assert conflict_texts(ros.node, settings)['shared_rep155'] == ''
    with other_node('fullbody', '/hri') as rival:
        rival.create_publisher(String, '/humans/bodies/tracked', 5)
        ros.spin_until(
            lambda: (
                '/hri/fullbody publishes /humans/bodies/tracked like this node '
                '(/test): each' in conflict_texts(ros.node, settings)['shared_rep155']
            )
        )
        text = conflict_texts(ros.node, settings)['shared_rep155']
        assert 'set rep155 to false in all but one' in text
        assert conflict_texts(ros.node, NodeParameters())['shared_rep155'] == ''


# Images that are lost in transport


@pytest.mark.parametrize(
    ('lost', 'arrived', 'is_told'),
    [(0, 150, False), (2, 5, False), (3, 100, False), (3, 30, True), (65, 85, True), (9, 0, True)],
)
def test_losses_above_a_share_are_reported(lost: int, arrived: int, is_told: bool) -> None:
    text = lost_images_text(lost, arrived, '/image', ['/cam'])
    assert bool(text) == is_told
    assert ('in the environment of the process of /cam' in text) == is_told
    assert (str(fast_dds_profile()) in text) == is_told


def test_losses_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now_s=1000.0)
    monkeypatch.setattr(diagnostics, 'time', SimpleNamespace(monotonic=lambda: clock.now_s))
    statistics = FrameStatistics()
    statistics.add_lost(7)
    statistics.add_arrival()
    assert statistics.recent_losses() == (7, 1)
    clock.now_s += 6
    assert statistics.recent_losses() == (0, 0)
    assert statistics.lost == 7
    statistics.add_lost(10**9)  # a publisher whose numbers jump
    assert statistics.recent_losses()[0] < 10**4


@pytest.mark.skipif(
    'fastrtps' not in get_rmw_implementation_identifier(),
    reason='another middleware, with other limits',
)
def test_large_images_of_a_process_without_the_profile_are_a_warning_with_the_remedy(
    ros: RosTest, inner: InnerNode
) -> None:
    inner.node.trigger_configure()
    inner.node.trigger_activate()
    ros.start('-c', CARELESS_CAMERA)
    ros.spin_until(lambda: '/careless' in values_of(inner.status()).get('warning_lost_images', ''))
    status = inner.status()
    assert status.level != OK
    values = values_of(status)
    assert int(values['frames_lost_in_transport']) >= 3
    assert 'images on /image are lost in transport' in values['warning_lost_images']
