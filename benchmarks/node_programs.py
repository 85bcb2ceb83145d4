"""The processes of the node's benchmarks: a camera, a listener, and an instrumented node.

    python -m benchmarks.node_programs camera --frames FILE.npy --count 1000 --rate 30 ...
    python -m benchmarks.node_programs listener --topics image human_meshes --out FILE.npz
    python -m benchmarks.node_programs node --trace FILE.npz --boxes FILE.npy --ros-args ...

The camera takes as little time as a driver in C++: messages are serialised before they are due,
stamped with the due time, published to within 0.1 ms of it, and passed to the middleware through
rcl, because rclpy would copy each image again. All times are those of the system clock, which the
processes share, in ns.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import struct
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import rclpy
from decomr.msg import HumanMeshArray
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from decomr_core.estimation.detectors import DETECTORS
from decomr_core.estimator import HumanMeshEstimator
from decomr_core.geometry.camera import intrinsics_from_fov
from decomr_core.people.detection import GivenBoxes
from decomr_ros.decomr_node import DecomrNode
from decomr_ros.memory import keep_freed_memory
from decomr_ros.messages.images import image_message
from decomr_ros.messages.meshes import camera_info_message, nanoseconds_from_stamp
from decomr_ros.programs.process import run_node, stop_on_signals

if TYPE_CHECKING:
    import threading

    from rclpy.publisher import Publisher

__all__ = ['LISTENING', 'main']

LISTENING = 'listening'
"""Written to the listener's standard error when it has discovered every publisher."""
FRAME_ID = 'camera_color_optical_frame'
FOV_DEG = 60.0
TOPICS = {'image': Image, 'human_meshes': HumanMeshArray, 'markers': MarkerArray}
# Offset of the stamp in a serialised message (plain CDR), bytes: 4 if the message begins with a
# Header; an array of such messages begins with its length.
STAMP_AT = {Image: 4, CameraInfo: 4, HumanMeshArray: 4, MarkerArray: 8}
QUEUE = 10
# Time for the programs to discover each other; includes the export of the network, s.
START_TIMEOUT_S = 180.0
# Discovery is not complete on both sides at the same time, s.
DISCOVERY_S = 0.5
DISCOVERY_NS = round(DISCOVERY_S * 1e9)
# The camera busy-waits for this time before an image is due, because waking up is inaccurate, ns.
BUSY_WAIT_NS = 1_000_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one of the programs; returns its exit code."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    programs = {'camera': camera, 'listener': listener, 'node': observed_node}
    if not argv or argv[0] not in programs:
        sys.stderr.write(f'node_programs: expected one of {", ".join(programs)}\n')
        return 2
    return programs[argv[0]](argv[1:])


def camera(argv: Sequence[str]) -> int:
    """Publishes images at a fixed rate; prints their number and lateness as JSON."""
    parser = argparse.ArgumentParser('node_programs camera')
    parser.add_argument('--frames', required=True, help='(N, H, W, 3) uint8 BGR; repeated')
    parser.add_argument('--count', type=int, required=True)
    parser.add_argument('--rate', type=float, required=True)
    parser.add_argument('--start-file', type=Path, required=True)
    options = parser.parse_args(argv)
    keep_freed_memory()
    stop = stop_on_signals()
    frames = np.load(options.frames, mmap_mode='r')
    return _with_ros('benchmark_camera', lambda node: _publish(node, frames, options, stop))


def _publish(
    node: Node, frames: np.ndarray, options: argparse.Namespace, stop: threading.Event
) -> int:
    qos = QoSProfile(depth=QUEUE, reliability=ReliabilityPolicy.RELIABLE)
    images = node.create_publisher(Image, 'image', qos)
    infos = node.create_publisher(CameraInfo, 'camera_info', qos)
    image = _serialized_image(frames[0])
    height, width = frames.shape[1:3]
    info = bytearray(
        serialize_message(
            camera_info_message(
                Header(frame_id=FRAME_ID),
                intrinsics_from_fov(width, height, FOV_DEG),
                width,
                height,
            )
        )
    )
    _wait(lambda: options.start_file.exists(), stop, 'the start file')
    lateness_ms, due_ns = [], time.time_ns() + DISCOVERY_NS
    # The image before its calibration, as image_transport publishes them.
    parts = [
        (image, SerializedPublisher(images), Image),
        (info, SerializedPublisher(infos), CameraInfo),
    ]
    for index in range(options.count):
        if len(frames) > 1:
            image[-frames[0].size :] = frames[index % len(frames)].tobytes()
        for buffer, _, kind in parts:
            struct.pack_into('<iI', buffer, STAMP_AT[kind], *divmod(due_ns, 10**9))
        stop.wait(max(0.0, (due_ns - BUSY_WAIT_NS - time.time_ns()) / 1e9))
        while time.time_ns() < due_ns:
            pass
        if stop.is_set():
            break
        lateness_ms.append((time.time_ns() - due_ns) / 1e6)
        due_ns += round(1e9 / options.rate)
        for buffer, publisher, _ in parts:
            publisher.publish(buffer)
    stop.wait(DISCOVERY_S)
    sys.stdout.write(
        json.dumps(
            {
                'frames_published': len(lateness_ms),
                'late_p99_ms': round(float(np.percentile(lateness_ms or [0], 99)), 2),
            }
        )
        + '\n'
    )
    return 0


class SerializedPublisher:
    """Publishes serialised messages without copying them."""

    def __init__(self, publisher: Publisher) -> None:
        """Stores the handle of an rclpy publisher, which must outlive this object."""
        self._publish = ctypes.CDLL('librcl.so').rcl_publish_serialized_message
        self._handle = ctypes.c_void_p(publisher.handle.pointer)

    def publish(self, message: bytearray) -> None:
        """Publishes a message in CDR.

        Raises:
            RuntimeError: the middleware rejects it.
        """
        buffer = (ctypes.c_uint8 * len(message)).from_buffer(message)
        array = _SerializedMessage(ctypes.addressof(buffer), len(message), len(message))
        code = self._publish(self._handle, ctypes.byref(array), None)
        if code:
            raise RuntimeError(f'rcl_publish_serialized_message returned {code}')


class _SerializedMessage(ctypes.Structure):
    """rcl_serialized_message_t; its allocator is not used for publishing."""

    _fields_ = (
        ('buffer', ctypes.c_void_p),
        ('length', ctypes.c_size_t),
        ('capacity', ctypes.c_size_t),
        ('allocator', ctypes.c_void_p * 5),
    )


def _serialized_image(frame: np.ndarray) -> bytearray:
    return bytearray(serialize_message(image_message(Header(frame_id=FRAME_ID), frame, 'bgr8')))


def listener(argv: Sequence[str]) -> int:
    """Records the times of messages until it is stopped.

    Writes for each topic (N, 4) int64 `TOPIC`: the stamp and the times of publication, of
    arrival in this process and of the call of the callback, ns; `ids`, if requested, as JSON; and
    `diagnostics`, a JSON list of [time ns, {key: value}].
    """
    parser = argparse.ArgumentParser('node_programs listener')
    parser.add_argument('--topics', nargs='*', choices=TOPICS, default=[])
    parser.add_argument('--ids', action='store_true', help='also record the ids of the meshes')
    parser.add_argument('--whole', action='store_true', help='deserialise each message')
    parser.add_argument('--out', required=True)
    options = parser.parse_args(argv)
    stop = stop_on_signals()
    return _with_ros('benchmark_listener', lambda node: _listen(node, options, stop))


def _listen(node: Node, options: argparse.Namespace, stop: threading.Event) -> int:
    times: dict[str, list[tuple[int, ...]]] = {name: [] for name in options.topics}
    ids: list[list[int]] = []
    diagnostics: list[tuple[int, dict[str, str]]] = []

    def record(name: str, message: Any, info: dict[str, int]) -> None:
        """Records a message, which is bytes for a raw subscription."""
        now = time.time_ns()
        if isinstance(message, bytes):
            if len(message) < STAMP_AT[TOPICS[name]] + 8:
                return  # an empty array of markers has no stamp
            sec, nanosec = struct.unpack_from('<iI', message, STAMP_AT[TOPICS[name]])
            stamp = sec * 10**9 + nanosec
        else:
            stamp = nanoseconds_from_stamp(message.header.stamp)
        times[name].append((stamp, info['source_timestamp'], info['received_timestamp'], now))
        if options.ids and name == 'human_meshes':
            ids.append([mesh.id for mesh in message.meshes])

    def record_status(message: DiagnosticArray) -> None:
        """Records the values of a status message."""
        diagnostics.extend(
            (time.time_ns(), {value.key: value.value for value in status.values})
            for status in message.status
        )

    for name in options.topics:
        qos = QoSProfile(
            depth=100,
            reliability=ReliabilityPolicy.BEST_EFFORT
            if name == 'image'
            else ReliabilityPolicy.RELIABLE,
        )
        is_raw = not (options.whole or options.ids)
        # rclpy passes the message info to a callback with two parameters, but its stubs lack that;
        # it determines their number by the signature, which a lambda has and a partial may not.
        node.create_subscription(
            TOPICS[name],
            name,
            _with_name(record, name),  # type: ignore[arg-type]
            qos,
            raw=is_raw,
        )
    node.create_subscription(DiagnosticArray, '/diagnostics', record_status, 10)
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def are_all_published() -> bool:
        """Whether every topic has a publisher; spins once."""
        executor.spin_once(0.05)
        return all(map(node.count_publishers, options.topics))

    _wait(are_all_published, stop, f'publishers of {options.topics}')
    sys.stderr.write(f'{LISTENING}\n')
    sys.stderr.flush()
    while not stop.is_set():
        executor.spin_once(0.05)
    rows: dict[str, Any] = {
        name: np.array(found, np.int64).reshape(-1, 4) for name, found in times.items()
    }
    np.savez(options.out, ids=json.dumps(ids), diagnostics=json.dumps(diagnostics), **rows)
    return 0


def _with_name(
    record: Callable[[str, Any, dict[str, int]], None], name: str
) -> Callable[[Any, dict[str, int]], None]:
    """A callback that records the messages of one topic."""
    return lambda message, info: record(name, message, info)


def observed_node(argv: Sequence[str]) -> int:
    """Runs the node and records the time of each estimate; boxes may be given.

    Writes `started` and `ended` (N,) int64 ns of every estimate, and `stages`, a JSON list of
    {stage: ms}.
    """
    parser = argparse.ArgumentParser('node_programs node')
    parser.add_argument('--trace', required=True)
    parser.add_argument('--boxes', help='(N, 4), instead of the detections of detector:=person')
    options, ros_arguments = parser.parse_known_args(argv)
    if options.boxes is not None:
        boxes = np.load(options.boxes)
        DETECTORS['person'] = lambda **_: GivenBoxes(boxes)
    started: list[int] = []
    ended: list[int] = []
    stages: list[dict[str, float]] = []
    estimate = HumanMeshEstimator.estimate

    def timed_estimate(*arguments: Any, **named: Any) -> Any:
        """Estimates, and records the times."""
        started.append(time.time_ns())
        meshes, times = estimate(*arguments, **named)
        ended.append(time.time_ns())
        stages.append(dict(times.stages_ms))
        return meshes, times

    # Without a time limit, so that `run_node` returns and the records can be written.
    with mock.patch.object(HumanMeshEstimator, 'estimate', timed_estimate):
        code = run_node(DecomrNode, ['decomr_node', *ros_arguments])
    count = len(ended)
    np.savez(
        options.trace,
        started=np.array(started[:count], np.int64),
        ended=np.array(ended, np.int64),
        stages=json.dumps(stages),
    )
    return code


def _with_ros(name: str, run: Callable[[Node], int]) -> int:
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node(name, start_parameter_services=False)
    try:
        return run(node)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def _wait(is_met: Callable[[], bool], stop: threading.Event, what: str) -> None:
    """Waits for a condition, or for a signal.

    Raises:
        TimeoutError: the condition was not met in time.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    while not stop.is_set() and not is_met():
        if time.monotonic() > deadline:
            raise TimeoutError(f'waited {START_TIMEOUT_S:g} s for {what}')
        stop.wait(0.02)
    stop.wait(DISCOVERY_S)


if __name__ == '__main__':
    raise SystemExit(main())
