"""Ten thousand malformed messages: none ends the node, each one is counted."""

from __future__ import annotations

import array
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rclpy
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from decomr_core.base.structures import HumanMesh, NetworkOutput
from decomr_core.estimator import HumanMeshEstimator
from decomr_core.runtimes.torch.runtime import TorchRuntime
from decomr_ros.decomr_node import DecomrNode
from decomr_ros.messages.images import image_message

# An image and a calibration each.
NUM_PAIRS = 5000
ENCODINGS = (
    'rgb8',
    'bgr8',
    'rgba8',
    'bgra8',
    'mono8',
    'mono16',
    '16UC1',
    '32FC1',
    'yuv422',
    'yuv422_yuy2',
    'nv12',
    'bayer_rggb8',
    'bayer_gbrg16',
    '8UC3',
    '8UC5',
    '',
    'RGB8',
    'rgb8 ',
    'jpeg',
    '\N{SNOWMAN}',
    'x' * 300,
)
SIZES = (0, 1, 2, 3, 7, 48, 64, 65535, 2**31, 2**32 - 1)
NUMBERS = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    50.0,
    1e-300,
    1e300,
    float('nan'),
    float('inf'),
    float('-inf'),
)

FINITE = NUMBERS[:8]
FOCAL_LENGTHS = (1e-300, 1e-9, 0.5, 50.0, 1e9, 1e300)


def _header(rng: random.Random) -> Header:
    header = Header(frame_id=rng.choice(['', 'camera', '/camera', 'no\nlines', 'é' * 50]))
    header.stamp.sec = rng.choice([0, 1, 1000, -1, -(2**31), 2**31 - 1])
    header.stamp.nanosec = rng.choice([0, 1, 10**9 - 1, 10**9, 2**32 - 1])
    return header


def _image(rng: random.Random) -> Image:
    """Half of the messages have at most one wrong field; the others are random."""
    header, encoding = _header(rng), rng.choice(ENCODINGS)
    if rng.random() < 0.5:
        width, height, channels = (rng.randrange(1, 40) for _ in range(3))
        message = image_message(
            header, np.zeros((height, width, channels % 5 + 1), np.uint8), encoding
        )
        message.encoding = rng.choice([encoding, 'rgb8', 'mono8', 'bgra8'])
        if rng.random() < 0.3:
            message.data = message.data[: rng.randrange(len(message.data) + 1)]
        return message
    data = array.array('B', rng.randbytes(rng.choice([0, 1, 3, 100, 9216])))
    height, width, step = rng.choices(SIZES, k=3)
    return Image(
        header=header,
        encoding=encoding,
        height=height,
        width=width,
        step=step,
        is_bigendian=rng.choice([0, 1, 255]),
        data=data,
    )


def _info(rng: random.Random) -> CameraInfo:
    message = CameraInfo(
        header=_header(rng),
        distortion_model=rng.choice(['plumb_bob', '', 'nonsense']),
        k=np.array(rng.choices(NUMBERS, k=9)),
        p=np.array(rng.choices(NUMBERS, k=12)),
        r=np.array(rng.choices(NUMBERS, k=9)),
        d=rng.choices(NUMBERS, k=rng.randrange(15)),
    )
    if rng.random() < 0.4:  # fits every image: what follows is looked at too
        message.k = np.array(
            [
                rng.choice(FOCAL_LENGTHS),
                0,
                rng.choice(FINITE),
                0,
                rng.choice(FOCAL_LENGTHS),
                rng.choice(FINITE),
                0,
                0,
                1,
            ],
            float,
        )
        message.binning_x = rng.choice([0, 1, 2, 2**32 - 1])
        return message
    message.width, message.height = rng.choices(SIZES, k=2)
    message.binning_x, message.binning_y = rng.choices(SIZES, k=2)
    message.roi.x_offset, message.roi.width = rng.choices(SIZES, k=2)
    message.roi.y_offset, message.roi.height = rng.choices(SIZES, k=2)
    return message


@pytest.fixture
def node(weights: Path, domain: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[DecomrNode]:
    """An active node in this process; its network returns the same each time, immediately."""
    monkeypatch.setenv('ROS_LOCALHOST_ONLY', '1')

    run, answers = TorchRuntime.run, {}

    def answer(self: TorchRuntime, images: np.ndarray) -> NetworkOutput:
        """The output of the network for the first crop, for each crop; everything else is real."""
        if len(images) not in answers:
            answers[len(images)] = run(self, images)
        return answers[len(images)]

    monkeypatch.setattr(TorchRuntime, 'run', answer)
    rclpy.init(args=[])
    node = DecomrNode()
    node.set_parameters(
        [
            Parameter('weights', value=str(weights)),
            Parameter('runtime', value='torch'),
            Parameter('threads', value=1),
            Parameter('detector', value='whole-frame'),
            Parameter('reliability', value='best_effort'),
        ]
    )
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    yield node
    node.close()
    node.destroy_node()
    rclpy.try_shutdown()


def _callback(node: DecomrNode, topic: str) -> object:
    """What the node does with a message on this topic."""
    (callback,) = (
        subscription.callback
        for subscription in node.subscriptions
        if subscription.topic_name == f'/{topic}'
    )
    return callback


@pytest.fixture
def estimated(node: DecomrNode, monkeypatch: pytest.MonkeyPatch) -> list[HumanMesh]:
    """Every mesh that the node makes."""
    estimated, estimate = [], HumanMeshEstimator.estimate

    def noted(*arguments: object, **named: object) -> tuple:
        meshes, times = estimate(*arguments, **named)
        estimated.extend(meshes)
        return meshes, times

    monkeypatch.setattr(HumanMeshEstimator, 'estimate', noted)
    return estimated


@pytest.mark.full_size
def test_each_of_10000_fuzzed_messages_is_counted_and_a_good_one_is_processed(
    node: DecomrNode, estimated: list[HumanMesh]
) -> None:
    rng = random.Random(6)
    take_image, take_info = _callback(node, 'image'), _callback(node, 'camera_info')
    for _ in range(NUM_PAIRS):
        take_info(bytes(serialize_message(_info(rng))))
        take_image(bytes(serialize_message(_image(rng))))
        assert node._worker.wait_until_idle(5)
    counts = node._worker.counts
    assert counts.received == NUM_PAIRS
    assert counts.processed + counts.failed + counts.skipped_for_newer == NUM_PAIRS
    assert counts.processed > NUM_PAIRS / 20  # some of them were sound
    assert counts.failed > NUM_PAIRS / 20
    assert len(estimated) == counts.processed
    assert any(mesh.is_metric for mesh in estimated)
    for mesh in estimated:
        assert np.isfinite(mesh.translation).all()
        assert np.isfinite(mesh.vertices[::500]).all()
    good = image_message(Header(frame_id='camera'), np.zeros((48, 64, 3), np.uint8), 'rgb8')
    take_image(bytes(serialize_message(good)))
    assert node._worker.wait_until_idle(5)
    assert node._worker.counts.processed == counts.processed + 1
