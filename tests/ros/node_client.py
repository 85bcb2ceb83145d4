"""The node as other programs see it: its process, a camera, its lifecycle services."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from decomr.msg import HumanMeshArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.publisher import Publisher
from rclpy.qos import ReliabilityPolicy
from rclpy.task import Future
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from decomr_core.geometry.camera import intrinsics_from_fov
from decomr_ros.messages.images import image_message
from decomr_ros.messages.meshes import camera_info_message
from tests.ros.conftest import Process, RosTest

FRAME = 'head_camera_optical_frame'
ASK_EVERY_S = 2.0


def start_node(ros: RosTest, weights: Path, **parameters: object) -> Process:
    values = {
        'weights': weights,
        'runtime': 'openvino',
        'threads': 1,
        'detector': 'whole-frame',
        **parameters,
    }
    return ros.start(
        '-m',
        'decomr_ros.decomr_node',
        '--ros-args',
        *(word for name, value in values.items() for word in ('-p', f'{name}:={value}')),
    )


def is_heard(ros: RosTest, publisher: Publisher) -> bool:
    """Whether nothing that the test's publisher sends to the node from now on can be lost.

    The node's `reliability` is `auto`: a subscription becomes reliable once it has heard of the
    publisher, and what is sent then is repeated until it has arrived.
    """
    subscriptions = ros.node.get_subscriptions_info_by_topic(publisher.topic_name)
    is_reliable = any(
        subscription.qos_profile.reliability == ReliabilityPolicy.RELIABLE
        for subscription in subscriptions
        if subscription.node_name == 'decomr'
    )
    return is_reliable and publisher.get_subscription_count() >= len(subscriptions)


class Camera:
    """Publishes single images and waits for their meshes."""

    def __init__(
        self, ros: RosTest, image: str = 'image', camera_info: str = 'camera_info'
    ) -> None:
        self._ros = ros
        self.seen: list[HumanMeshArray] = []
        # Before the publishers: a node that knows those knows of this as well.
        ros.node.create_subscription(HumanMeshArray, 'human_meshes', self.seen.append, 10)
        self._images = ros.node.create_publisher(Image, image, 5)
        self._infos = ros.node.create_publisher(CameraInfo, camera_info, 5)
        self._stamp_s = 1000

    def wait(self) -> None:
        self._ros.spin_until(
            lambda: is_heard(self._ros, self._images) and is_heard(self._ros, self._infos)
        )

    def wait_for_images(self) -> None:
        """Waits until the node has discovered the images; the calibration may follow."""
        self._ros.spin_until(lambda: is_heard(self._ros, self._images))

    def move_camera_info(self, publisher: Publisher) -> None:
        """Publishes the calibration there from now on."""
        self._infos = publisher

    def header(self, step_s: int = 1) -> Header:
        self._stamp_s += step_s
        header = Header(frame_id=FRAME)
        header.stamp.sec, header.stamp.nanosec = self._stamp_s, 17
        return header

    def send(self, message: Image) -> None:
        self._images.publish(message)

    def show(self, height: int, width: int, step_s: int = 1) -> HumanMeshArray:
        """Sends a gray image with its calibration; returns its meshes."""
        header = self.header(step_s)
        self._infos.publish(
            camera_info_message(header, intrinsics_from_fov(width, height, 60), width, height)
        )
        self.send(image_message(header, np.full((height, width, 3), 120, np.uint8), 'bgr8'))
        return self.answer(header)

    def show_until_placed(self, height: int, width: int) -> HumanMeshArray:
        """Sends images until people have a position.

        A calibration may be taken after an image that was sent later, and nobody tells when it
        was.
        """
        answers: list[HumanMeshArray] = []

        def is_placed() -> bool:
            answers.append(self.show(height, width))
            return all(mesh.is_metric for mesh in answers[-1].meshes)

        self._ros.spin_until(is_placed)
        return answers[-1]

    def answer(self, header: Header) -> HumanMeshArray:
        found: list[HumanMeshArray] = []

        def is_there() -> bool:
            found.extend(message for message in self.seen if message.header == header)
            return bool(found)

        self._ros.spin_until(is_there, 15)
        return found[0]


class Lifecycle:
    """The lifecycle services of the node, as `ros2 lifecycle set` calls them."""

    def __init__(self, ros: RosTest) -> None:
        self._ros, self._ask_again_s = ros, 0.0
        make = ros.node.create_client
        self._change = make(ChangeState, '/decomr/change_state')
        self._state = make(GetState, '/decomr/get_state')
        self._parameters = make(SetParameters, '/decomr/set_parameters')
        self._values = make(GetParameters, '/decomr/get_parameters')
        for client in (self._change, self._state, self._parameters, self._values):
            ros.spin_until(client.service_is_ready)
        self._wait_until_known()

    def change(self, transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return self._call(self._change, request).success

    def state(self) -> int:
        return self._call(self._state, GetState.Request()).current_state.id

    def get_parameters(self) -> list[ParameterValue]:
        return self._call(self._values, GetParameters.Request(names=['weights'])).values

    def set_parameter(self, name: str, text: object) -> None:
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=str(text))
        request = SetParameters.Request(parameters=[ParameterMessage(name=name, value=value)])
        assert self._call(self._parameters, request).results[0].successful

    def _wait_until_known(self) -> None:
        """Waits until the node knows of these clients: to others it cannot answer.

        They are announced in the order in which they were made, so what asks is the last one.
        """
        asked: list[Future] = []

        def is_answered() -> bool:
            if not asked or time.monotonic() > self._ask_again_s:
                asked.append(self._values.call_async(GetParameters.Request(names=['weights'])))
                self._ask_again_s = time.monotonic() + ASK_EVERY_S
            return any(future.done() for future in asked)

        self._ros.spin_until(is_answered)

    def _call(self, client: object, request: object) -> object:
        future = client.call_async(request)
        self._ros.spin_until(future.done, 120)  # to configure may take an export
        return future.result()
