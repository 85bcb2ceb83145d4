"""`overlay/compressed` and `iuv/compressed`: their content, and that unused they cost nothing."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from decomr_core.base.structures import HumanMesh
from decomr_core.body_models import BodyModel
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap
from decomr_ros.messages.compressed import compressed_message, rgb_from_compressed_message
from decomr_ros.outputs import outputs as outputs_module
from decomr_ros.outputs.outputs import Outputs
from decomr_ros.pipeline.frame_result import FrameResult
from decomr_ros.settings.parameters import NodeParameters
from tests.ros.conftest import RosTest, make_mesh
from tests.ros.fake_node import FakeNode
from tests.ros.inner_node import HEIGHT, WIDTH, InnerNode

HEADER = Header(frame_id='camera')
INTRINSICS = np.array([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]])
# A smooth image: JPEG at full quality keeps it within a few grey levels.
IMAGE = cv2.GaussianBlur(
    np.random.default_rng(3).integers(0, 256, (48, 64, 3), np.uint8), (0, 0), 4
)
IUV, OVERLAY = 'iuv/compressed', 'overlay/compressed'


@pytest.fixture(scope='module')
def topology(tiny_body: BodyModel, tiny_uv_map: UVMap) -> Topology:
    return Topology.from_body(tiny_body, tiny_uv_map)


@pytest.fixture
def person(topology: Topology) -> HumanMesh:
    mesh = make_mesh(4, len(topology.v_template))
    gradient = np.linspace(0, 1, 8, dtype=np.float32)
    iuv = np.stack([np.full((8, 8), 0.9, np.float32), *np.meshgrid(gradient, gradient)])
    return dataclasses.replace(
        mesh, iuv=iuv, vertices=(topology.v_template * (1, -1, -1) + (0, 0, 3)).astype(np.float32)
    )


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


def _publish(
    node: FakeNode, topology: Topology, person: HumanMesh, *topics: str, **parameters: object
) -> None:
    node.subscribed = set(topics)
    Outputs(node, NodeParameters(**parameters), topology).publish_other_outputs(
        FrameResult(HEADER, IMAGE, [person], INTRINSICS)
    )


def _pixels(message: object) -> np.ndarray:
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)


def test_the_compressed_iuv_has_every_number_of_the_raw_one(
    node: FakeNode, topology: Topology, person: HumanMesh
) -> None:
    _publish(node, topology, person, 'iuv', IUV)
    (raw,) = node.sent('iuv')
    (compressed,) = node.sent(IUV)
    assert compressed.header == HEADER
    assert compressed.format == 'rgb8; png compressed bgr8'
    np.testing.assert_array_equal(rgb_from_compressed_message(compressed), _pixels(raw))
    assert _pixels(raw).any()


def test_in_the_png_file_red_is_the_foreground_as_any_viewer_shows_it(
    node: FakeNode, topology: Topology, person: HumanMesh
) -> None:
    _publish(node, topology, person, IUV)
    blue, green, red = cv2.split(
        cv2.imdecode(np.frombuffer(node.sent(IUV)[0].data, np.uint8), cv2.IMREAD_UNCHANGED)
    )
    assert red.max() in (229, 230), '0.9 * 255'
    assert max(green.max(), blue.max()) == 255, 'u and v reach 1, the foreground does not'
    assert len(np.unique(green)) > 4 and len(np.unique(blue)) > 4


def test_the_compressed_iuv_has_8_bits_whatever_the_raw_one_has(
    node: FakeNode, topology: Topology, person: HumanMesh
) -> None:
    _publish(node, topology, person, 'iuv', IUV, iuv_encoding='32FC3')
    (raw,) = node.sent('iuv')
    assert raw.encoding == '32FC3'
    floats = np.frombuffer(raw.data, np.float32).reshape(48, 64, 3)
    seen = rgb_from_compressed_message(node.sent(IUV)[0])
    assert np.abs(seen / 255 - floats).max() <= 0.51 / 255


def test_the_compressed_overlay_is_the_raw_one_but_for_the_loss_of_jpeg(
    node: FakeNode, topology: Topology, person: HumanMesh
) -> None:
    _publish(node, topology, person, 'overlay', OVERLAY, overlay_jpeg_quality=100)
    (raw,) = node.sent('overlay')
    (compressed,) = node.sent(OVERLAY)
    assert compressed.header == HEADER
    assert compressed.format == 'rgb8; jpeg compressed bgr8'
    difference = np.abs(rgb_from_compressed_message(compressed).astype(int) - _pixels(raw))
    assert difference.mean() < 4


def test_a_lower_quality_makes_a_smaller_overlay(topology: Topology, person: HumanMesh) -> None:
    sizes = []
    for quality in (20, 80, 100):
        node = FakeNode()
        _publish(node, topology, person, OVERLAY, overlay_jpeg_quality=quality)
        sizes.append(len(node.sent(OVERLAY)[0].data))
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize('quality', [0, 101])
def test_a_quality_that_jpeg_does_not_have_is_rejected(quality: int) -> None:
    with pytest.raises(ValueError, match='overlay_jpeg_quality is .*expected 1 to 100'):
        NodeParameters(overlay_jpeg_quality=quality)


def test_images_are_rendered_once_for_both_topics_and_not_without_subscribers(
    node: FakeNode, topology: Topology, person: HumanMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    for name in ('compose_iuv', 'draw_meshes', 'compressed_message'):
        original = getattr(outputs_module, name)
        monkeypatch.setattr(
            outputs_module,
            name,
            lambda *words, name=name, original=original: (made.append(name), original(*words))[1],
        )
    _publish(node, topology, person)
    _publish(FakeNode(), topology, person, 'iuv', 'overlay')
    assert made == ['compose_iuv', 'draw_meshes'], 'raw images are not compressed'
    made.clear()
    _publish(FakeNode(), topology, person, 'iuv', IUV, 'overlay', OVERLAY)
    assert sorted(made) == [
        'compose_iuv',
        'compressed_message',
        'compressed_message',
        'draw_meshes',
    ]


def test_the_parameter_of_an_image_also_switches_its_compressed_topic(
    node: FakeNode, topology: Topology, person: HumanMesh
) -> None:
    _publish(node, topology, person, IUV, OVERLAY, publish_iuv=False, publish_overlay=False)
    assert node.sent(IUV) == node.sent(OVERLAY) == []


def test_a_form_that_is_neither_jpeg_nor_png_is_rejected() -> None:
    with pytest.raises(ValueError, match="'webp', expected jpeg or png"):
        compressed_message(HEADER, IMAGE, 'webp')


def test_a_real_node_publishes_both_beside_the_remapped_image(
    ros: RosTest, monkeypatch: pytest.MonkeyPatch, topology: Topology
) -> None:
    inner = InnerNode(ros, monkeypatch, topology, arguments=['-r', 'iuv:=/seen/iuv'])
    seen: dict[str, list[CompressedImage]] = {'seen/iuv/compressed': [], OVERLAY: []}
    for topic, messages in seen.items():
        ros.node.create_subscription(CompressedImage, topic, messages.append, 10)
    camera = inner.activate()
    inner.wait_for_listeners(*seen)
    answer = camera.show(HEIGHT, WIDTH)
    ros.spin_until(
        lambda: all(
            messages and messages[-1].header == answer.header for messages in seen.values()
        )
    )
    for messages in seen.values():
        assert rgb_from_compressed_message(messages[-1]).shape == (HEIGHT, WIDTH, 3)
    inner.node.close()
