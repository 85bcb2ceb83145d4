"""What a demo run left behind, read from its bag: the numbers, and a video with the meshes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from decomr.msg import HumanMeshArray
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.serialization import deserialize_message

from decomr_ros.bags.mcap_bag import read_bag
from decomr_ros.bags.overlay_video import LONGEST_HOLD_S, draw_seen
from decomr_ros.bags.recording import Latest, Recording
from decomr_ros.bags.video_frames import VideoFrames
from decomr_ros.messages.meshes import nanoseconds_from_stamp

__all__ = ['loading_time_s', 'make_overlay', 'summarize_bag', 'summary_text']

MESHES, STATUS = '/human_meshes', '/diagnostics'
NODE = '/decomr'
# A machine that manages less than this share of the images is told what that means.
KEEPS_UP = 0.9
# What the node counts itself.
COUNTS = ('frames_received', 'frames_skipped_for_newer', 'frames_failed', 'meshes_published')


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


def loading_time_s(stamps: Path, started_ns: int) -> float | None:
    """From the start of the demo to the first image, which waits until the node is ready, s.

    Args:
        stamps: the source's file of frame index, stamp (ns).
        started_ns: when the demo was started, ns since the epoch.

    Returns:
        None where no image was published.
    """
    lines = stamps.read_text().split('\n', 1) if stamps.exists() else ['']
    if not lines[0]:
        return None
    return round((int(lines[0].split(',')[1]) - started_ns) / 1e9, 2)


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
        f'{report["first_mesh_s"]} s after the start' + _loading_text(report),
        f'latency    p50 {latency["p50"]} ms, p99 {latency["p99"]} ms, from image stamp to '
        'published mesh',
        f'people     {report["people"]} meshes of people, at most {report["people_max"]} in one '
        'frame',
        f'bag        {report["bag"]} ({size_mb:.0f} MB): ' + ', '.join(
            f'{name} {count}' for name, count in sorted(report['bag_messages'].items())),
        f'overlay    {report["overlay"] or "none"}']
    if report['meshes'] and report['fps'] < KEEPS_UP * report['source_fps']:
        lines.append(_slow_text(report))
    if published and share < 0.95:
        lines.append('           few frames arrived: is the Fast DDS profile set '
                     '(FASTRTPS_DEFAULT_PROFILES_FILE)? is the machine overloaded?')
    return '\n'.join(lines)


def _loading_text(report: dict[str, Any]) -> str:
    loading_s = report['loading_s']
    return '' if loading_s is None else (f', {loading_s} s of them for starting the processes and '
                                         'loading the networks')


def _slow_text(report: dict[str, Any]) -> str:
    """What it means that the machine does not keep up, and what to try."""
    return (
        f'rate       this machine managed {report["fps"]:.1f} of {report["source_fps"]:.1f} '
        'images a second. In overlay.mp4 the others\n'
        f'           show the last meshes for up to {LONGEST_HOLD_S:g} s, faint and with their '
        'age: they lag behind people who move.\n'
        '           Try: end other programs; a smaller image; the node with max_people:=3, or on '
        'a GPU.\n'
        '           If boxes still leave people: --detector-stride 1 looks for people in every '
        'image')


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
        ValueError: the video cannot be written, or the bag holds no topology.
    """
    size = camera['width'], camera['height']
    writer = cv2.VideoWriter(str(overlay), cv2.VideoWriter.fourcc(*'mp4v'), camera['rate_hz'],
                             size)
    if not writer.isOpened():
        raise ValueError(f'OpenCV cannot write {overlay}; check the folder and the disk')
    recording = Recording(bag)
    seen = Latest((found.stamp_ns, found) for found in recording.seen())
    intrinsics = np.array(camera['intrinsics']).reshape(3, 3)
    try:
        for frame, stamp_ns in _published_frames(video, stamps, size):
            shown = seen.at(stamp_ns)
            if shown is not None and stamp_ns - shown[0] > LONGEST_HOLD_S * 1e9:
                shown = None
            writer.write(draw_seen(np.ascontiguousarray(frame[..., ::-1]),
                                   shown[1] if shown else None, recording.faces, intrinsics,
                                   stamp_ns))
    finally:
        writer.release()


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


def _counts_from_status(data: bytes) -> dict[str, int]:
    """The node's own counts, if this is its status."""
    return {value.key: int(value.value)
            for status in deserialize_message(data, DiagnosticArray).status
            if status.name == NODE
            for value in status.values if value.key in COUNTS}
