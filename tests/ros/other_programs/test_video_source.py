from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import rclpy
from sensor_msgs.msg import CameraInfo, Image

from decomr_core.geometry.camera import intrinsics_from_fov
from decomr_ros.bags.video_frames import Calibration, VideoFrames, read_calibration
from decomr_ros.messages.images import rgb_from_image_message
from decomr_ros.video_source import main
from tests.ros.conftest import RosTest

CALIBRATION = """
image_width: 320
image_height: 240
camera_name: test
camera_matrix: {rows: 3, cols: 3, data: [300, 0, 159.5, 0, 310, 119.5, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.2, 0, 0, 0]}
"""


def _read(image_folder: Path) -> list[np.ndarray]:
    return [cv2.imread(str(path)) for path in sorted(image_folder.iterdir())]


def test_images_and_calibration_arrive_unchanged_in_order_at_the_rate(
    ros: RosTest, image_folder: Path
) -> None:
    images, infos = [], []
    ros.node.create_subscription(Image, 'image', images.append, 50)
    ros.node.create_subscription(CameraInfo, 'camera_info', infos.append, 50)
    source = ros.start(
        '-m',
        'decomr_ros.video_source',
        image_folder,
        '--rate',
        20,
        '--fov',
        70,
        '--frame-id',
        'eye',
        '--wait-for-subscriber',
        '--stamps',
        ros.folder / 'stamps',
    )
    ros.spin_until(lambda: source.process.poll() is not None)
    ros.spin_until(lambda: len(images) == len(infos) == 6, 5)
    assert source.process.returncode == 0, source.output
    for image, info, frame in zip(images, infos, _read(image_folder), strict=True):
        np.testing.assert_array_equal(rgb_from_image_message(image), frame[..., ::-1])
        assert image.header == info.header
        assert image.header.frame_id == 'eye'
        np.testing.assert_allclose(info.k, intrinsics_from_fov(160, 120, 70).ravel())
    report = json.loads(source.output.splitlines()[-1])
    assert report['frames_published'] == 6
    stamps = [image.header.stamp.sec + image.header.stamp.nanosec / 1e9 for image in images]
    lines = (ros.folder / 'stamps').read_text().splitlines()
    assert [int(line.split(',')[0]) for line in lines] == list(range(6))
    assert int(lines[0].split(',')[1]) / 1e9 == pytest.approx(stamps[0], abs=1e-6)
    # Never faster than asked for: no burst after a delay.
    assert (np.diff(stamps) > 0.7 / 20).all()


def test_sigint_ends_an_endless_video_with_its_count_and_exit_code_0(
    ros: RosTest, image_folder: Path
) -> None:
    images: list[Image] = []
    ros.node.create_subscription(Image, 'image', images.append, 10)
    source = ros.start(
        '-m',
        'decomr_ros.video_source',
        image_folder,
        '--loop',
        '--rate',
        50,
        '--keep',
        ros.folder / 'kept.avi',
    )
    ros.spin_until(lambda: len(images) > 6)  # it has begun again
    assert source.stop() == 0, source.output
    count = json.loads(source.output.splitlines()[-1])['frames_published']
    assert count > 6
    capture = cv2.VideoCapture(str(ros.folder / 'kept.avi'))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == count


# Remapping, and the two topics then.
TOPICS = [
    ((), '/image', '/camera_info'),
    (('--ros-args', '-r', 'image:=/camera/image_raw'), '/camera/image_raw', '/camera/camera_info'),
]


@pytest.mark.parametrize(('remapping', 'image', 'camera_info'), TOPICS)
def test_the_first_line_names_the_video_its_rate_and_the_topics(
    ros: RosTest, image_folder: Path, remapping: tuple[str, ...], image: str, camera_info: str
) -> None:
    source = ros.start(
        '-m',
        'decomr_ros.video_source',
        image_folder,
        '--loop',
        '--rate',
        12.5,
        '--wait-for-subscriber',
        *remapping,
    )
    # Also while it waits: without a subscriber it plays nothing, and the reason is the topic.
    source.wait_for(
        f'playing {image_folder} at 12.5 Hz: images on {image}, calibration on {camera_info}\n'
    )
    images: list[Image] = []
    ros.node.create_subscription(Image, image, images.append, 10)
    ros.spin_until(lambda: images)
    assert source.stop() == 0, source.output
    assert source.output.count('playing') == 1


MISTAKES = [
    (['/nowhere.mp4'], 'there is no video /nowhere.mp4'),
    (['{text}'], 'cannot open'),
    (['{empty}'], 'empty contains no images'),
    (['{image_folder}', '--rate', '0'], "'0' is not a number above 0"),
    (['{image_folder}', '--seconds', 'nan'], "'nan' is not a number above 0"),
    (['{image_folder}', '--keep', 'kept.txt'], 'does not end in .avi'),
    (['{image_folder}', '--keep', '/nowhere/kept.avi'], 'cannot write /nowhere/kept.avi'),
    (['{image_folder}', '--calibration', '{text}'], 'is not a calibration file'),
    (['{image_folder}', '--wait-for-subscriber', '--wait-timeout', '0.2'], 'start the node'),
    (['{image_folder}', '--fov', '200'], 'expected 1 to 179'),
]


def _words(arguments: list[str], folder: Path, image_folder: Path) -> list[str]:
    text, empty = folder / 'text.mp4', folder / 'empty'
    text.write_text('this is no video')
    empty.mkdir()
    return [word.format(text=text, empty=empty, image_folder=image_folder) for word in arguments]


@pytest.mark.parametrize(('arguments', 'said'), MISTAKES)
def test_a_user_error_is_one_line_with_exit_code_2(
    domain: int,
    tmp_path: Path,
    image_folder: Path,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    words = _words(arguments, tmp_path, image_folder)
    try:
        code = main(words)
    except SystemExit as end:  # argparse's
        code = end.code
    assert code == 2
    out, err = capfd.readouterr()
    assert said in err.splitlines()[-1]
    assert out == ''


# A mistake of the command line, and one that is found later, by the node.
@pytest.mark.parametrize(('arguments', 'said'), [MISTAKES[3], MISTAKES[9]])
def test_a_process_also_ends_without_a_traceback(
    ros: RosTest, image_folder: Path, arguments: list[str], said: str
) -> None:
    source = ros.start(
        '-m', 'decomr_ros.video_source', *_words(arguments, ros.folder, image_folder)
    )
    assert source.process.wait(60) == 2
    assert said in source.output.splitlines()[-1]
    assert 'Traceback' not in source.output


def test_a_looped_and_resized_video_counts_from_0_again(image_folder: Path) -> None:
    frames = iter(VideoFrames(image_folder, is_looping=True, size=(32, 24)))
    seen = [next(frames) for _ in range(8)]
    assert [index for index, _ in seen] == [0, 1, 2, 3, 4, 5, 0, 1]
    assert {frame.shape for _, frame in seen} == {(24, 32, 3)}


def test_a_calibration_follows_the_images_when_they_are_resized(tmp_path: Path) -> None:
    (tmp_path / 'camera.yaml').write_text(CALIBRATION)
    calibration = read_calibration(tmp_path / 'camera.yaml')
    assert calibration.distortion == [0.1, -0.2, 0, 0, 0]
    assert calibration.distortion_model == 'plumb_bob'
    np.testing.assert_array_equal(calibration.intrinsics_at(320, 240), calibration.intrinsics)
    half = calibration.intrinsics_at(160, 120)
    np.testing.assert_allclose(half, [[150, 0, 79.5], [0, 155, 59.5], [0, 0, 1]])
    whole = Calibration((160, 120), half, []).intrinsics_at(320, 240)
    np.testing.assert_allclose(whole, calibration.intrinsics)


def test_the_lens_of_a_calibration_reaches_the_camera_info(
    tmp_path: Path, ros: RosTest, image_folder: Path
) -> None:
    fisheye = CALIBRATION.replace('[0.1, -0.2, 0, 0, 0]', '[0.1, -0.2, 0, 0]').replace(
        'plumb_bob', 'equidistant'
    )
    (tmp_path / 'camera.yaml').write_text(fisheye)
    heard: list[CameraInfo] = []
    ros.node.create_subscription(CameraInfo, 'camera_info', heard.append, 10)
    ros.start(
        '-m',
        'decomr_ros.video_source',
        image_folder,
        '--calibration',
        tmp_path / 'camera.yaml',
        '--wait-for-subscriber',
    )
    ros.node.create_subscription(Image, 'image', lambda message: None, 10)
    ros.spin_until(lambda: heard, 20)
    assert heard[0].distortion_model == 'equidistant'
    assert list(heard[0].d) == [0.1, -0.2, 0, 0]


def test_the_source_waits_for_the_named_node(ros: RosTest, image_folder: Path) -> None:
    heard: list[Image] = []
    ros.node.create_subscription(Image, 'image', heard.append, 10)
    source = ros.start('-m', 'decomr_ros.video_source', image_folder, '--wait-for-node', 'eater')
    ros.spin_until(lambda: ros.node.count_publishers('image'))
    # That nothing comes can only be waited for: longer than it waits for a mere subscriber, which
    # is here already.
    ros.spin(0.5)
    assert not heard, source.output
    eater = rclpy.create_node('eater', context=ros.context)
    eaten: list[Image] = []
    eater.create_subscription(Image, 'image', eaten.append, 10)
    ros.add(eater)
    ros.spin_until(lambda: len(eaten) == 6, 20)
