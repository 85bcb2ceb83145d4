"""What a demo run left behind, read from its bag: the numbers, and a video with the meshes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from decomr.msg import HumanMeshArray, MeshTopology
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.serialization import deserialize_message

from decomr_core.drawing import draw_boxes, draw_meshes
from decomr_core.structures import HumanMesh
from decomr_ros.bag import read_bag
from decomr_ros.messages import human_meshes_from_message, nanoseconds_from_stamp
from decomr_ros.video_frames import VideoFrames

__all__ = ['make_overlay', 'summarize_bag', 'summary_text']

MESHES, TOPOLOGY, STATUS = '/human_meshes', '/topology', '/diagnostics'
NODE = '/decomr'
# What the node counts itself.
COUNTS = ('frames_received', 'frames_skipped_for_newer', 'frames_failed', 'meshes_published')
# A frame that was skipped shows the last mesh, as RViz would, unless that is older, s.
LONGEST_HOLD_S = 0.5


class _Seen(NamedTuple):
    """The meshes of one image."""

    stamp_ns: int
    meshes: list[HumanMesh]
    latency_ms: float


def summarize_bag(bag: Path, started_ns: int) -> dict[str, Any]:
    """The numbers of a run.

    Args:
        bag: of the run.
        started_ns: when the demo was started, ns since the epoch.

    Returns:
        frames_received, frames_skipped_for_newer, frames_failed and meshes_published as the
        node counted them; meshes: messages on human_meshes in the bag; people: meshes of people
        in them, people_max: most in one; fps: messages per second from the first to the last;
        latency_ms: from the image's stamp to the publishing of its meshes (the time that DDS
        stamps them with); first_mesh_s: from the start of the demo to the first message; and
        the messages of each topic.
    """
    counts = dict.fromkeys(COUNTS, 0)
    topics: dict[str, int] = {}
    published_ns, latencies_ms, people = [], [], []
    for message in read_bag(bag):
        topics[message.topic] = topics.get(message.topic, 0) + 1
        if message.topic == MESHES:
            array = deserialize_message(message.data, HumanMeshArray)
            published_ns.append(message.publish_ns)
            latencies_ms.append(
                (message.publish_ns - nanoseconds_from_stamp(array.header.stamp)) / 1e6)
            people.append(len(array.meshes))
        elif message.topic == STATUS:
            counts.update(_counts_from_status(message.data))
    span_s = (published_ns[-1] - published_ns[0]) / 1e9 if len(published_ns) > 1 else 0.0
    return {
        **counts, 'meshes': len(published_ns), 'people': sum(people),
        'people_max': max(people, default=0),
        'fps': round((len(published_ns) - 1) / span_s, 2) if span_s else 0.0,
        'latency_ms': {f'p{part}': round(float(np.percentile(latencies_ms, part)), 2)
                       if latencies_ms else None for part in (50, 99)},
        'first_mesh_s': (round((published_ns[0] - started_ns) / 1e9, 2)
                         if published_ns else None),
        'bag_messages': topics}


def summary_text(report: dict[str, Any]) -> str:
    """The report on one screen."""
    published, received = report['frames_published'], report['frames_received']
    share = received / published if published else 0.0
    latency = report['latency_ms']
    size_mb = sum(path.stat().st_size for path in Path(report['bag']).iterdir()) / 1e6
    failed = f', {report["frames_failed"]} failed' if report['frames_failed'] else ''
    lines = [
        f'video      {report["video"]}',
        f'frames in  {published} published at {report["source_fps"]:.1f} Hz, {received} received '
        f'({100 * share:.1f} %), {report["frames_skipped_for_newer"]} skipped for a newer '
        f'one{failed}',
        f'frames out {report["meshes"]} mesh messages, {report["fps"]:.1f} Hz, the first '
        f'{report["first_mesh_s"]} s after the start',
        f'latency    p50 {latency["p50"]} ms, p99 {latency["p99"]} ms, from image stamp to '
        'published mesh',
        f'people     {report["people"]} meshes of people, at most {report["people_max"]} in one '
        'frame',
        f'bag        {report["bag"]} ({size_mb:.0f} MB): ' + ', '.join(
            f'{name} {count}' for name, count in sorted(report['bag_messages'].items())),
        f'overlay    {report["overlay"] or "none"}']
    if published and share < 0.95:
        lines.append('           few frames arrived: is the Fast DDS profile set '
                     '(FASTRTPS_DEFAULT_PROFILES_FILE)? is the machine overloaded?')
    return '\n'.join(lines)


def make_overlay(video: Path, stamps: Path, bag: Path, overlay: Path,
                 camera: dict[str, Any]) -> None:
    """Draws the meshes of a bag over the frames of its video.

    Args:
        video: what was played.
        stamps: the source's file of frame index, stamp (ns).
        bag: what was recorded.
        overlay: the .mp4 to write.
        camera: `intrinsics` (9 numbers, px), `width`, `height` (px) and `rate_hz` of the source.

    Raises:
        ValueError: the video cannot be written, or is shorter than the stamps say.
    """
    size = camera['width'], camera['height']
    writer = cv2.VideoWriter(str(overlay), cv2.VideoWriter.fourcc(*'mp4v'), camera['rate_hz'],
                             size)
    if not writer.isOpened():
        raise ValueError(f'OpenCV cannot write {overlay}; check the folder and the disk')
    faces, seen = _faces(bag), _seen_in(bag)
    intrinsics = np.array(camera['intrinsics']).reshape(3, 3)
    shown = following = None
    try:
        for frame, stamp_ns in _published_frames(video, stamps, size):
            following = following or next(seen, None)
            while following is not None and following.stamp_ns <= stamp_ns:
                shown, following = following, next(seen, None)
            if shown is not None and stamp_ns - shown.stamp_ns > LONGEST_HOLD_S * 1e9:
                shown = None
            writer.write(_drawn(frame, shown, faces, intrinsics))
    finally:
        writer.release()


def _drawn(frame: np.ndarray, seen: _Seen | None, faces: np.ndarray,
           intrinsics: np.ndarray) -> np.ndarray:
    """A BGR frame with the people over it and a line of text."""
    text = 'no mesh'
    if seen is not None:
        image = np.ascontiguousarray(frame[..., ::-1])
        image = draw_boxes(draw_meshes(image, seen.meshes, faces, intrinsics), seen.meshes)
        frame = np.ascontiguousarray(image[..., ::-1])
        text = f'{len(seen.meshes)} people, {seen.latency_ms:.0f} ms'
    for color, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(frame, text, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, color, thickness,
                    cv2.LINE_AA)
    return frame


def _published_frames(video: Path, stamps: Path,
                      size: tuple[int, int]) -> Iterator[tuple[np.ndarray, int]]:
    """The frames that the source published and their stamps, read again from the video."""
    frames = iter(VideoFrames(video, is_looping=True, size=size))
    kept = video.suffix == '.avi' and video.name == 'source.avi'
    for line in stamps.read_text().splitlines():
        index, stamp_ns = map(int, line.split(','))
        found, frame = next(frames)
        # A kept webcam video counts on; a file starts at 0 again in each loop.
        while not kept and found != index:
            found, frame = next(frames)
        yield frame, stamp_ns


def _seen_in(bag: Path) -> Iterator[_Seen]:
    for message in read_bag(bag, [MESHES]):
        array = deserialize_message(message.data, HumanMeshArray)
        stamp_ns = nanoseconds_from_stamp(array.header.stamp)
        yield _Seen(stamp_ns, human_meshes_from_message(array),
                    (message.publish_ns - stamp_ns) / 1e6)


def _faces(bag: Path) -> np.ndarray:
    message = next(read_bag(bag, [TOPOLOGY]), None)
    if message is None:
        raise ValueError(f'{bag} holds no topology; see recorder.log beside it')
    return np.array(deserialize_message(message.data, MeshTopology).faces,
                    np.int64).reshape(-1, 3)


def _counts_from_status(data: bytes) -> dict[str, int]:
    """The node's own counts, if this is its status."""
    return {value.key: int(value.value)
            for status in deserialize_message(data, DiagnosticArray).status
            if status.name == NODE
            for value in status.values if value.key in COUNTS}
