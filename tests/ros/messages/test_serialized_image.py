from __future__ import annotations

import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from decomr_ros.messages.images import image_message, rgb_from_image_message
from decomr_ros.messages.serialized_image import SerializedImage, image_from_bytes

FIELDS = ('header', 'height', 'width', 'encoding', 'is_bigendian', 'step')
NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=0x17F), max_size=9)


@settings(max_examples=80, deadline=None)
@given(
    frame_id=NAMES,
    encoding=NAMES,
    size=st.integers(0, 9),
    sec=st.integers(-(2**31), 2**31 - 1),
    number=st.integers(0, 2**32 - 1),
)
def test_every_field_is_found_where_the_message_library_puts_it(
    frame_id: str, encoding: str, size: int, sec: int, number: int
) -> None:
    message = Image(
        header=Header(frame_id=frame_id),
        height=number,
        width=size,
        step=3 * size,
        encoding=encoding,
        is_bigendian=number % 256,
        data=array.array('B', range(size)),
    )
    message.header.stamp.sec, message.header.stamp.nanosec = sec, number
    seen = image_from_bytes(bytes(serialize_message(message)))
    assert isinstance(seen, SerializedImage)
    assert all(getattr(seen, name) == getattr(message, name) for name in FIELDS)
    assert bytes(seen.data) == message.data.tobytes()
    assert seen.as_message() == message


def test_the_pixels_are_those_of_the_serialised_message() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    data = bytes(serialize_message(image_message(Header(frame_id='camera'), rgb, 'rgb8')))
    seen = rgb_from_image_message(image_from_bytes(data))
    assert np.array_equal(seen, rgb)
    assert np.shares_memory(seen, np.frombuffer(data, np.uint8))


def test_another_representation_is_left_to_the_message_library() -> None:
    message = image_message(Header(frame_id='camera'), np.zeros((2, 2, 1), np.uint8), 'mono8')
    little = bytes(serialize_message(message))
    # Big-endian CDR, as another machine may send it.
    texts = b'\0\0\0\7camera\0\0', b'\0\0\0\6mono8\0'
    big = (
        b'\0\0\0\0'
        + bytes(8)
        + texts[0]
        + b'\0\0\0\2\0\0\0\2'
        + texts[1]
        + b'\0\0'
        + b'\0\0\0\2'
        + b'\0\0\0\4'
        + bytes(4)
    )
    assert len(big) == len(little)
    assert image_from_bytes(big) == message


def test_a_message_without_its_end_is_rejected_at_every_length() -> None:
    data = bytes(
        serialize_message(
            image_message(Header(frame_id='camera'), np.zeros((2, 2, 1), np.uint8), 'mono8')
        )
    )
    for length in range(4, len(data)):
        with pytest.raises(Exception, match='failed to deserialize ROS message'):
            image_from_bytes(data[:length])
