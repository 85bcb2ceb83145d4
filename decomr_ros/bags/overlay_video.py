"""Renders a recorded bag as a video: its meshes over their images.

The images come from the bag itself; otherwise from a second bag, or from a video file with the
stamps of its frames; otherwise the background is plain and has the size of the recorded
calibration.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from decomr_core.base.files import replacing
from decomr_core.base.structures import person_or_people
from decomr_core.drawing import draw_boxes, draw_meshes
from decomr_ros.bags.mcap_reading import read_topic_types
from decomr_ros.bags.recording import Latest, Recording, StampedMeshes
from decomr_ros.bags.video_frames import VideoFrames
from decomr_ros.messages.meshes import intrinsics_from_camera_info

__all__ = [
    'KEPT_VIDEO',
    'LONGEST_HOLD_S',
    'VIDEO_SUFFIXES',
    'draw_overlay',
    'overlay_of_run',
    'replay_overlay',
]

# An image without meshes shows the previous ones, like RViz, up to this age, s.
LONGEST_HOLD_S = 0.5
# Older meshes belong to an earlier image, s; less than the frame period at 60 Hz.
SAME_IMAGE_S = 0.01
HELD_OPACITY = 0.35
# Longer pauses between images are shortened to this in the video, s.
LONGEST_PAUSE_S = 2.0
# Number of first images that determine the frame rate of the video.
RATE_SAMPLE = 16
FALLBACK_RATE_HZ = 10.0
BACKGROUND = 40
# The demo's recording of a webcam.
KEPT_VIDEO = 'source.avi'
# OpenCV rejects other suffixes, after printing many lines.
VIDEO_SUFFIXES = ('.mp4', '.avi', '.mkv', '.mov')
STAMPS_HINT = 'give a file written by video_source --stamps or by the demo (source_stamps.csv)'
Frames = Iterator[tuple[int, np.ndarray]]


def replay_overlay(
    bag: Path,
    out: Path,
    video: Path | None = None,
    stamps: Path | None = None,
    namespace: str | None = None,
    image_topic: str | None = None,
    is_rectified: bool = False,
) -> dict[str, Any]:
    """Renders the meshes of a bag into a video.

    Args:
        bag: folder or .mcap file.
        out: the video to write, with one of `VIDEO_SUFFIXES`; it appears when it is complete.
        video: a video file, or a bag with the images; None: the images in `bag`.
        stamps: file with the stamps of a video file: lines of frame index, stamp (ns), as
            `video_source --stamps` writes them. None: the first frame has the stamp of the first
            meshes, and the others follow at the video's frame rate.
        namespace: of the node, if the bag contains several.
        image_topic: image topic to use; None: that of the meshes' camera.
        is_rectified: the images are rectified: P of camera_info is used instead of K.

    Returns:
        out, background (source of the images), pictures and pictures_with_people (numbers of
        images), frames (of the video, which repeats or skips images to follow their stamps),
        rate_hz, width, height.

    Raises:
        FileNotFoundError: there is no bag or no video.
        ValueError: nothing can be drawn; the error says what is missing.
    """
    recording = Recording(bag, namespace)
    background, frames = _frames(recording, video, stamps, image_topic)
    meshes = Latest((found.stamp_ns, found) for found in recording.stamped_meshes())
    infos = recording.camera_infos()
    first = next(infos, None)
    # The calibration of the first images may have been recorded after them.
    cameras = Latest(itertools.chain([(0, first[1])] if first else [], infos))
    sample = list(itertools.islice(frames, RATE_SAMPLE))
    rate_hz = _median_rate_hz([stamp_ns for stamp_ns, _ in sample])
    images = with_meshes = with_people = 0
    with _ConstantRateVideo(out, rate_hz) as writer:
        for stamp_ns, image in itertools.chain(sample, frames):
            shown, camera = _recent_meshes(meshes, stamp_ns), cameras.at(stamp_ns)
            if shown is None and meshes.is_over and video is not None:
                break  # a video may go on long after the recording
            height, width = image.shape[:2]
            intrinsics = (
                intrinsics_from_camera_info(camera[1], width, height, is_rectified)
                if camera is not None
                else None
            )
            writer.add(draw_overlay(image, shown, recording.faces, intrinsics, stamp_ns), stamp_ns)
            images += 1
            with_meshes += shown is not None
            with_people += bool(shown and shown.meshes)
        if not sample:
            raise ValueError(f'{background} contains no image; nothing can be drawn')
        if not with_meshes:
            raise ValueError(_time_text(bag, background, stamps))
    width, height = writer.size
    return {
        'out': str(out),
        'background': background,
        'pictures': images,
        'pictures_with_people': with_people,
        'frames': writer.num_frames,
        'rate_hz': rate_hz,
        'width': width,
        'height': height,
    }


def overlay_of_run(
    video: Path, stamps: Path, bag: Path, overlay: Path, camera: dict[str, Any]
) -> None:
    """Draws the meshes of a bag over the frames of the video that a demo played.

    The result has one frame for each published frame.

    Args:
        video: the played video.
        stamps: the source's file with lines of frame index, stamp (ns).
        bag: the recorded bag.
        overlay: the .mp4 file to write.
        camera: `intrinsics` (9 numbers, px), `width`, `height` (px) and `rate_hz` of the source.

    Raises:
        ValueError: the video cannot be written, or the bag contains no topology.
    """
    size = camera['width'], camera['height']
    writer = _video_writer(overlay, camera['rate_hz'], size)
    recording = Recording(bag)
    meshes = Latest((found.stamp_ns, found) for found in recording.stamped_meshes())
    intrinsics = np.array(camera['intrinsics']).reshape(3, 3)
    try:
        for stamp_ns, image in _published_frames(video, stamps, size):
            writer.write(
                draw_overlay(
                    image, _recent_meshes(meshes, stamp_ns), recording.faces, intrinsics, stamp_ns
                )
            )
    finally:
        writer.release()


def draw_overlay(
    image: np.ndarray,
    meshes: StampedMeshes | None,
    faces: np.ndarray,
    intrinsics: np.ndarray | None,
    stamp_ns: int | None = None,
) -> np.ndarray:
    """Draws people and a line of text over an image.

    Meshes of an earlier image are faint and labelled with their age.

    Args:
        image: (H, W, 3) uint8 RGB.
        meshes: the people; None if there are no meshes.
        faces: (F, 3).
        intrinsics: (3, 3) px; None: weak perspective.
        stamp_ns: of the image; None: that of the meshes.

    Returns:
        (H, W, 3) uint8 BGR, as OpenCV writes it.
    """
    text = 'no mesh'
    if meshes is not None:
        age_s = 0.0 if stamp_ns is None else (stamp_ns - meshes.stamp_ns) / 1e9
        is_held = age_s > SAME_IMAGE_S
        note = f'{age_s:.1g} s old' if is_held else ''
        opacity = {'opacity': HELD_OPACITY} if is_held else {}
        image = draw_meshes(image, meshes.meshes, faces, intrinsics, **opacity)
        image = draw_boxes(image, meshes.meshes, note)
        count = len(meshes.meshes)
        text = f'{count} {person_or_people(count)}, {meshes.latency_ms:.0f} ms'
        text += f', {note}' if note else ''
    frame = np.ascontiguousarray(image[..., ::-1])
    for color, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(
            frame, text, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, color, thickness, cv2.LINE_AA
        )
    return frame


def _frames(
    recording: Recording, video: Path | None, stamps: Path | None, image_topic: str | None
) -> tuple[str, Frames]:
    """The source of the images in words, and the images with their stamps."""
    source: Recording | _ImageBag = recording
    if video is not None and (
        video.suffix == '.mcap' or (video.is_dir() and next(video.glob('*.mcap'), None))
    ):
        source = _ImageBag(video, recording.frame_id)
    elif video is not None:
        return str(video), _video_frames(recording, video, stamps)
    topic = image_topic or source.camera_image_topic()
    if topic is not None:
        return f'{source.bag} {topic}', source.images(topic)
    if source is not recording:
        raise ValueError(
            f'{source.bag} contains no image of the camera {recording.frame_id!r}; '
            'choose the topic with --image'
        )
    info = next(recording.camera_infos(), None)
    if info is None or not info[1].width or not info[1].height:
        raise ValueError(
            f'{recording.bag} contains neither images nor a camera_info of the '
            f'camera {recording.frame_id!r}; give the images with --video'
        )
    plain = np.full((info[1].height, info[1].width, 3), BACKGROUND, np.uint8)
    return 'plain', ((found.stamp_ns, plain) for found in recording.stamped_meshes())


def _recent_meshes(meshes: Latest[StampedMeshes], stamp_ns: int) -> StampedMeshes | None:
    """The latest meshes at the stamp of an image; None if they are older than the limit."""
    shown = meshes.at(stamp_ns)
    if shown is None or stamp_ns - shown[0] > LONGEST_HOLD_S * 1e9:
        return None
    return shown[1]


class _ImageBag(Recording):
    """A bag of which only the images are used; it needs no meshes."""

    def __init__(self, bag: Path, frame_id: str) -> None:
        self.bag, self.types, self.frame_id = bag, read_topic_types(bag), frame_id


def _video_frames(recording: Recording, video: Path, stamps: Path | None) -> Frames:
    """RGB frames of a video file with their stamps."""
    frames = VideoFrames(video, is_looping=stamps is not None)
    if stamps is None:
        first_ns = next(recording.stamped_meshes()).stamp_ns
        return (
            (first_ns + round(index / frames.rate_hz * 1e9), frame[..., ::-1].copy())
            for index, frame in frames
        )
    return _stamped(iter(frames), _read_stamps(stamps), video)


def _published_frames(video: Path, stamps: Path, size: tuple[int, int]) -> Frames:
    """RGB frames that a demo's source published, read from the video again, and their stamps."""
    frames, known = iter(VideoFrames(video, is_looping=True, size=size)), _read_stamps(stamps)
    if video.name != KEPT_VIDEO:
        return _stamped(frames, known, video)
    return (
        (stamp_ns, frame[..., ::-1].copy())  # it contains exactly the published frames
        for (_, stamp_ns), (_, frame) in zip(known, frames, strict=False)
    )


def _time_text(bag: Path, background: str, stamps: Path | None) -> str:
    source = background if stamps is None else f'{background} with the stamps of {stamps}'
    return (
        f'no image of {source} has a stamp within {LONGEST_HOLD_S:g} s after meshes of {bag}; '
        'give the video that was played, or the bag that was recorded, together with it'
    )


def _read_stamps(path: Path) -> list[tuple[int, int]]:
    """Frame index and stamp, ns, of each line of a file."""
    known = []
    for number, line in enumerate(path.read_text(errors='replace').splitlines(), 1):
        words = line.split(',')
        if len(words) != 2 or not all(word.strip().isdecimal() for word in words):
            raise ValueError(
                f'{path} is not a file of stamps: line {number} is {line[:40]!r}, '
                f'expected a frame index and a stamp in ns, such as 7,{10**18}; '
                f'{STAMPS_HINT}'
            )
        known.append((int(words[0]), int(words[1])))
    if not known:
        raise ValueError(f'{path} is empty; {STAMPS_HINT}')
    return known


def _stamped(
    frames: Iterator[tuple[int, np.ndarray]], known: list[tuple[int, int]], video: Path
) -> Frames:
    previous = -1
    for index, stamp_ns in known:
        found, frame = next(frames)
        while found != index:
            if found < previous and index > previous:  # it restarted before this index
                raise ValueError(
                    f'{video} has no frame {index}, which is in the file of stamps; '
                    'give the video that was played'
                )
            previous = found
            found, frame = next(frames)
        previous = found
        yield stamp_ns, frame[..., ::-1].copy()


def _median_rate_hz(stamps_ns: list[int]) -> float:
    """The rate that corresponds to the median interval between images, Hz."""
    intervals = np.diff(stamps_ns)
    intervals = intervals[intervals > 0]
    if not len(intervals):
        return FALLBACK_RATE_HZ
    return float(np.clip(round(1e9 / float(np.median(intervals)), 2), 1.0, 240.0))


class _ConstantRateVideo:
    """Writes stamped images into a video of constant frame rate; complete or not at all."""

    def __init__(self, path: Path, rate_hz: float) -> None:
        self._path, self._rate_hz = path, rate_hz
        self._file = replacing(path, is_synced=False)
        self._writer: cv2.VideoWriter | None = None
        self._waiting: np.ndarray | None = None
        self._written, self._start_ns, self._last_ns = 0, 0, 0
        self.size = (0, 0)

    @property
    def num_frames(self) -> int:
        """Number of frames of the complete video."""
        return self._written + (self._waiting is not None)

    def __enter__(self) -> _ConstantRateVideo:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._writer is None:
            return
        if kind is None and self._waiting is not None:
            self._writer.write(self._waiting)
        self._writer.release()
        self._file.__exit__(kind, error, traceback)

    def add(self, frame: np.ndarray, stamp_ns: int) -> None:
        """Adds the next (H, W, 3) uint8 BGR frame, resized to the size of the first one."""
        writer = self._writer
        if writer is None:
            writer = self._writer = self._open(frame)
            self._start_ns = self._last_ns = stamp_ns
        step_ns = stamp_ns - self._last_ns
        # Jumps back in time and long pauses are left out of the video.
        if step_ns < 0 or step_ns > LONGEST_PAUSE_S * 1e9:
            shown_ns = 1e9 / self._rate_hz if step_ns < 0 else LONGEST_PAUSE_S * 1e9
            self._start_ns += round(step_ns - shown_ns)
        self._last_ns = stamp_ns
        due = round((stamp_ns - self._start_ns) / 1e9 * self._rate_hz)
        while self._waiting is not None and self._written < due:
            writer.write(self._waiting)
            self._written += 1
        if frame.shape[1::-1] != self.size:
            frame = cv2.resize(frame, self.size)
        self._waiting = frame

    def _open(self, frame: np.ndarray) -> cv2.VideoWriter:
        self.size = frame.shape[1], frame.shape[0]
        part = self._file.__enter__()
        return _video_writer(part, self._rate_hz, self.size, self._path)


def _video_writer(
    path: Path, rate_hz: float, size: tuple[int, int], result: Path | None = None
) -> cv2.VideoWriter:
    """Opens a video; the error names `result`, the final path of a temporary file.

    Raises:
        ValueError: it cannot be written.
    """
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), rate_hz, size)
    if not writer.isOpened():
        raise ValueError(
            f'OpenCV cannot write {result or path}; check that its folder exists, '
            'that the disk is not full, and that the name ends in .mp4'
        )
    return writer
