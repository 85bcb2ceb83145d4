"""`decomr view`: its responses to other clients than browsers, and to a silent topic."""

from __future__ import annotations

import http.client

import pytest

pytest.importorskip('viser', reason='decomr view needs viser: pip install viser')

from sensor_msgs.msg import Image  # noqa: E402

from tests.ros.conftest import RosTest  # noqa: E402
from tests.ros.other_programs.test_view import free_port  # noqa: E402


def head(port: int) -> int | None:
    """The status of a HEAD request; None where the connection is closed instead."""
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=20)
    try:
        connection.request('HEAD', '/')
        return connection.getresponse().status
    except http.client.RemoteDisconnected:
        return None
    finally:
        connection.close()


def test_a_request_that_is_rejected_is_one_line_without_a_traceback(ros: RosTest) -> None:
    port = free_port()
    page = ros.start('-m', 'decomr_ros.view', '--port', port)
    page.wait_for('in a browser')
    assert head(port) is None or head(port) >= 200
    page.wait_for('a request was rejected')
    assert 'expected GET; got HEAD' in page.output
    assert page.stop() == 0
    assert 'Traceback' not in page.output and 'Error' not in page.output, page.output


@pytest.mark.full_size
def test_a_silent_image_topic_is_reported_with_the_published_ones(ros: RosTest) -> None:
    camera = ros.node.create_publisher(Image, 'camera/image_raw', 5)
    page = ros.start('-m', 'decomr_ros.view', '--port', free_port())
    page.wait_for('no image on /image yet')
    line = next(line for line in page.output.splitlines() if 'no image on /image yet' in line)
    assert 'WARN' in line and '--image TOPIC' in line
    assert '/camera/image_raw (sensor_msgs/msg/Image from /test)' in line
    images = ros.node.create_publisher(Image, 'image', 5)

    def is_told() -> bool:
        images.publish(Image(height=1, width=1, encoding='mono8', step=1, data=[1]))
        return 'images arrive on /image now' in page.output

    ros.spin_until(is_told, 30)
    assert page.stop() == 0, page.output
    assert page.output.count('no image on') == 1
    ros.node.destroy_publisher(camera)
