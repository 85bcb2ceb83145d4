"""`video_source`: publishes a video file or a webcam as a camera: `image` and `camera_info`.

It replaces a camera driver. Images are published at the video's frame rate and stamped with the
time of publication. A video file has no calibration: unless one is given, a horizontal field of
view of 60 degrees is assumed. This scales all distances: by 0.5 to 2 if the true field of view is
between 90 and 30 degrees.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from decomr_core.base.arguments import positive
from decomr_core.geometry.camera import intrinsics_from_fov
from decomr_ros.bags.video_frames import Calibration, VideoFrames, read_calibration
from decomr_ros.memory import keep_freed_memory
from decomr_ros.messages.images import image_message
from decomr_ros.messages.meshes import camera_info_message
from decomr_ros.programs.command_line import node_parser, parse_arguments
from decomr_ros.programs.log_folder import ensure_log_folder
from decomr_ros.programs.process import stop_on_signals
from decomr_ros.topics.input_topics import camera_info_topic

if TYPE_CHECKING:
    import threading

__all__ = ['VideoSource', 'main']

DEFAULT_FOV_DEG = 60.0
# Time to send the last images before the process ends, s.
LINGER_S = 0.5
# A frame that is late by more than this share of the frame period delays all later ones.
LATENESS = 0.25
# Time until the subscriber has discovered this publisher, s.
DISCOVERY_S = 0.2


class VideoSource(Node):
    """Publishes frames with their calibration.

    Attributes:
        stamps: (index in the video, ns since the epoch) of each published frame.
        camera: width, height (px) and intrinsics (9 numbers, px) of the last frame.
    """

    def __init__(
        self,
        frame_id: str,
        reliability: str,
        calibration: Calibration | None,
        fov_deg: float,
        arguments: Sequence[str] = (),
    ) -> None:
        """Creates the publishers; camera_info is in the namespace of the image topic.

        Args:
            frame_id: of the images: the camera's optical frame.
            reliability: reliable or best_effort.
            calibration: of the camera; None: derived from the field of view.
            fov_deg: horizontal field of view, degrees.
            arguments: command-line arguments.
        """
        super().__init__('video_source', start_parameter_services=False)
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy[reliability.upper()])
        self._image_publisher = self.create_publisher(Image, 'image', qos)
        self._info_publisher = self.create_publisher(
            CameraInfo, camera_info_topic(self, self._image_publisher.topic_name, arguments), qos
        )
        self._frame_id, self._fov_deg, self._calibration = frame_id, fov_deg, calibration
        self.stamps: list[tuple[int, int]] = []
        self.camera: dict[str, object] = {}

    @property
    def frames_published(self) -> int:
        """Number of frames published so far."""
        return len(self.stamps)

    def log_start(self, video: str, rate_hz: float) -> None:
        """Logs the video, its rate and the topics after remapping.

        Args:
            video: file, folder or device.
            rate_hz: images per second.
        """
        self.get_logger().info(
            f'playing {video} at {rate_hz:.4g} Hz: images on {self._image_publisher.topic_name}, '
            f'calibration on {self._info_publisher.topic_name}'
        )

    @property
    def has_subscriber(self) -> bool:
        """Whether the image topic has a subscriber."""
        return self._image_publisher.get_subscription_count() > 0

    def is_subscribed_by(self, node_name: str) -> bool:
        """Whether a node of this name subscribes to the image topic."""
        return any(
            other.node_name == node_name
            for other in self.get_subscriptions_info_by_topic(self._image_publisher.topic_name)
        )

    def publish(self, index: int, frame: np.ndarray) -> None:
        """Publishes a frame and its camera_info, both stamped with the current time.

        Args:
            index: of the frame in the video.
            frame: (H, W, 3) uint8 BGR.
        """
        height, width = frame.shape[:2]
        stamp = self.get_clock().now()
        header = Header(stamp=stamp.to_msg(), frame_id=self._frame_id)
        if self._calibration is None:
            intrinsics = intrinsics_from_fov(width, height, self._fov_deg)
            info = camera_info_message(header, intrinsics, width, height)
        else:
            intrinsics = self._calibration.intrinsics_at(width, height)
            info = camera_info_message(
                header,
                intrinsics,
                width,
                height,
                self._calibration.distortion,
                self._calibration.distortion_model,
            )
        self._info_publisher.publish(info)
        self._image_publisher.publish(image_message(header, frame, 'bgr8'))
        self.camera = {'width': width, 'height': height, 'intrinsics': intrinsics.ravel().tolist()}
        self.stamps.append((index, stamp.nanoseconds))


def main(argv: Sequence[str] | None = None) -> int:
    """Publishes a video; prints a report as one JSON object on the last line.

    Returns:
        The exit code: 0 also after SIGINT, 2 for a user error.
    """
    keep_freed_memory()
    stop = stop_on_signals()
    options = _parse(argv)
    ensure_log_folder()
    rclpy.init(
        args=None if argv is None else list(argv), signal_handler_options=SignalHandlerOptions.NO
    )
    try:
        calibration = read_calibration(options.calibration) if options.calibration else None
        size = (options.width, options.height) if options.width and options.height else None
        frames = VideoFrames(options.video, options.loop, size)
        arguments = list(sys.argv[1:] if argv is None else argv)
        source = VideoSource(
            options.frame_id, options.reliability, calibration, options.fov, arguments
        )
        report = _play(source, frames, options, stop)
    except (OSError, ValueError) as error:
        sys.stderr.write(f'video_source: {error}\n')
        return 2
    finally:
        rclpy.try_shutdown()
    sys.stdout.write(json.dumps(report) + '\n')
    return 0


def _play(
    source: VideoSource, frames: VideoFrames, options: argparse.Namespace, stop: threading.Event
) -> dict[str, object]:
    rate_hz = options.rate or frames.rate_hz
    source.log_start(options.video, rate_hz)
    _wait_for_start(source, options, stop)
    video_file = _VideoFile(options.keep, frames.rate_hz)
    period_s = 1.0 / rate_hz
    started = due = time.monotonic()
    try:
        for index, frame in frames:
            if not frames.is_live:
                stop.wait(max(0.0, due - time.monotonic()))
                # A frame that is very late delays all later ones, so that no burst follows.
                if time.monotonic() - due > LATENESS * period_s:
                    due = time.monotonic()
                due += period_s
            if stop.is_set() or (
                options.seconds and time.monotonic() - started >= options.seconds
            ):
                break
            source.publish(index, frame)
            video_file.add(frame)
        seconds = time.monotonic() - started
        stop.wait(LINGER_S)
    finally:
        video_file.close()
        if options.stamps:
            Path(options.stamps).write_text(
                ''.join(f'{index},{stamp_ns}\n' for index, stamp_ns in source.stamps)
            )
    return {
        'frames_published': source.frames_published,
        'seconds': round(seconds, 3),
        'fps': round(source.frames_published / max(seconds, 1e-9), 3),
        'rate_hz': rate_hz,
        **source.camera,
    }


def _wait_for_start(
    source: VideoSource, options: argparse.Namespace, stop: threading.Event
) -> None:
    """Waits for the conditions that the options name, or for a signal.

    Raises:
        TimeoutError: a condition was not met in time.
    """
    deadline = time.monotonic() + options.wait_timeout
    name = options.wait_for_node
    advice = 'start the node with the same ROS_DOMAIN_ID and namespace'
    waits = [
        (
            options.wait_for_subscriber,
            lambda: source.has_subscriber,
            f'image has no subscriber; {advice}',
        ),
        (
            name,
            lambda: source.is_subscribed_by(name),
            f'{name} has not subscribed to image; {advice}',
        ),
        (
            options.start_file,
            lambda: Path(options.start_file).exists(),
            f'{options.start_file} does not exist',
        ),
    ]
    for is_requested, is_met, problem in waits:
        while is_requested and not is_met() and not stop.is_set():
            if time.monotonic() > deadline:
                raise TimeoutError(f'{problem} (waited {options.wait_timeout:g} s)')
            stop.wait(0.05)
    if options.wait_for_subscriber or name:
        # Discovery is complete here slightly before it is complete in the subscriber.
        stop.wait(DISCOVERY_S)


class _VideoFile:
    """Writes the published frames to an AVI (motion JPEG: cheap to encode) if a path is given."""

    def __init__(self, path: str | None, rate_hz: float) -> None:
        self._path, self._rate_hz = path, rate_hz
        self._writer: cv2.VideoWriter | None = None

    def add(self, frame: np.ndarray) -> None:
        """Writes a frame (H, W, 3) uint8 BGR; the first one determines the size of the video."""
        if self._path is None:
            return
        if self._writer is None:
            code = cv2.VideoWriter.fourcc(*'MJPG')
            self._writer = cv2.VideoWriter(self._path, code, self._rate_hz, frame.shape[1::-1])
            if not self._writer.isOpened():
                raise ValueError(
                    f'OpenCV cannot write {self._path}; check that its folder '
                    'exists and that the disk is not full'
                )
        self._writer.write(frame)

    def close(self) -> None:
        """Closes the file, if there is one."""
        if self._writer is not None:
            self._writer.release()


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = node_parser('video_source', __doc__.partition('\n')[0])
    _add_playing(parser)
    _add_camera(parser)
    _add_start(parser)
    _add_files(parser)
    options = parse_arguments(parser, argv)
    if bool(options.width) != bool(options.height):
        parser.error('--width and --height must be given together')
    return options


def _add_playing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('video', help='video file, folder of pictures, or /dev/videoN')
    parser.add_argument('--loop', action='store_true', help='start again at the end')
    parser.add_argument('--seconds', type=_above_zero, help='stop after this time')
    parser.add_argument('--rate', type=_above_zero, help='Hz; default: the rate of the video')
    parser.add_argument(
        '--width', type=positive, help='width to resize images to, px (with --height)'
    )
    parser.add_argument(
        '--height', type=positive, help='height to resize images to, px (with --width)'
    )


def _add_camera(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--fov',
        type=float,
        default=DEFAULT_FOV_DEG,
        help=f'horizontal field of view, degrees ({DEFAULT_FOV_DEG:g})',
    )
    parser.add_argument(
        '--calibration', help='YAML file of ROS camera_calibration; takes precedence over --fov'
    )
    parser.add_argument(
        '--frame-id',
        default='camera_color_optical_frame',
        help='frame of the images (camera_color_optical_frame)',
    )
    parser.add_argument(
        '--reliability',
        choices=('reliable', 'best_effort'),
        default='reliable',
        help='QoS of the publishers (reliable, which every subscriber accepts)',
    )


def _add_start(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--wait-for-node',
        metavar='NAME',
        help='start when a node of this name subscribes to image',
    )
    parser.add_argument(
        '--wait-for-subscriber', action='store_true', help='start when image has a subscriber'
    )
    parser.add_argument('--start-file', metavar='FILE', help='start when this file exists')
    parser.add_argument(
        '--wait-timeout',
        type=float,
        default=60.0,
        help='longest time to wait for the start conditions, s (60)',
    )


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--stamps', metavar='FILE', help='write a line for each frame: index,stamp (ns)'
    )
    parser.add_argument(
        '--keep', metavar='FILE.avi', type=_avi, help='also write the frames to a video file'
    )


def _above_zero(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number above 0')
    return number


def _avi(text: str) -> str:
    if not text.lower().endswith('.avi'):
        raise argparse.ArgumentTypeError(f'{text!r} does not end in .avi')
    return text


if __name__ == '__main__':
    raise SystemExit(main())
