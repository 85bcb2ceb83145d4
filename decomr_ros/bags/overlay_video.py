"""A recorded bag as a video: its meshes over the pictures that they were found in.

The pictures come from the bag itself, else from a second bag or a video file whose frames have
the same stamps, else there is a plain background the size of the recorded calibration.
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
from decomr_ros.bags.mcap_bag import read_topic_types
from decomr_ros.bags.recording import Latest, Recording, SeenMeshes
from decomr_ros.bags.video_frames import VideoFrames
from decomr_ros.messages.meshes import intrinsics_from_camera_info

__all__ = ['KEPT_VIDEO', 'LONGEST_HOLD_S', 'VIDEO_SUFFIXES', 'draw_seen', 'overlay_of_run',
           'replay_overlay']

# An image without meshes of its own shows the last ones, as RViz would, unless they are older, s.
LONGEST_HOLD_S = 0.5
# Meshes older than this are those of an earlier image: less than the interval of 60 Hz, s.
OWN_WITHIN_S = 0.01
HELD_OPACITY = 0.35
# A longer time without pictures is shortened to this in the video, s.
LONGEST_STILL_S = 2.0
# The rate of the video is that of so many first pictures.
RATE_SAMPLE = 16
FALLBACK_RATE_HZ = 10.0
BACKGROUND = 40
# Where a demo keeps what its webcam saw.
KEPT_VIDEO = 'source.avi'
# Files of other names OpenCV refuses, after many lines of its own.
VIDEO_SUFFIXES = ('.mp4', '.avi', '.mkv', '.mov')
STAMPS_HINT = 'give what video_source --stamps or the demo (source_stamps.csv) wrote'
Frames = Iterator[tuple[int, np.ndarray]]


def replay_overlay(bag: Path, out: Path, video: Path | None = None, stamps: Path | None = None,
                   namespace: str | None = None, image_topic: str | None = None,
                   is_rectified: bool = False) -> dict[str, Any]:
    """Renders the meshes of a bag to a video.

    Args:
        bag: folder or .mcap file.
        out: the video to write, with one of `VIDEO_SUFFIXES`; it appears when it is complete.
        video: a video file, or a bag with the pictures; None: pictures of `bag` itself.
        stamps: of a video file: lines of frame index, stamp (ns), as `video_source --stamps`
            writes them; None: the first frame is that of the first meshes, at the video's rate.
        namespace: of the node, where the bag holds several.
        image_topic: pictures to use; None: of the meshes' camera.
        is_rectified: the pictures are: P of camera_info holds, not K.

    Returns:
        out, background (where the pictures came from), pictures and pictures_with_people of it,
        frames (of the video, which repeats or skips pictures to keep the time of their stamps),
        rate_hz, width, height.

    Raises:
        FileNotFoundError: there is no bag or no video.
        ValueError: nothing can be drawn; says what is missing.
    """
    recording = Recording(bag, namespace)
    background, frames = _frames(recording, video, stamps, image_topic)
    seen = Latest((found.stamp_ns, found) for found in recording.seen())
    infos = recording.camera_infos()
    first = next(infos, None)
    # The calibration of the first pictures may have been recorded after them.
    cameras = Latest(itertools.chain([(0, first[1])] if first else [], infos))
    sample = list(itertools.islice(frames, RATE_SAMPLE))
    rate_hz = _usual_rate_hz([stamp_ns for stamp_ns, _ in sample])
    pictures = with_meshes = with_people = 0
    with _SteadyVideo(out, rate_hz) as writer:
        for stamp_ns, picture in itertools.chain(sample, frames):
            shown, camera = _held(seen, stamp_ns), cameras.at(stamp_ns)
            if shown is None and seen.is_over and video is not None:
                break  # a video may go on long after the recording
            height, width = picture.shape[:2]
            intrinsics = (intrinsics_from_camera_info(camera[1], width, height, is_rectified)
                          if camera is not None else None)
            writer.add(draw_seen(picture, shown, recording.faces, intrinsics, stamp_ns),
                       stamp_ns)
            pictures += 1
            with_meshes += shown is not None
            with_people += bool(shown and shown.meshes)
        if not sample:
            raise ValueError(f'{background} holds no picture; nothing can be drawn')
        if not with_meshes:
            raise ValueError(_time_text(bag, background, stamps))
    width, height = writer.size
    return {'out': str(out), 'background': background, 'pictures': pictures,
            'pictures_with_people': with_people, 'frames': writer.num_frames, 'rate_hz': rate_hz,
            'width': width, 'height': height}


def overlay_of_run(video: Path, stamps: Path, bag: Path, overlay: Path,
                   camera: dict[str, Any]) -> None:
    """Draws the meshes of a bag over the frames of the video that a demo played.

    Each published frame is one frame of the result.

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
    writer = _video_writer(overlay, camera['rate_hz'], size)
    recording = Recording(bag)
    seen = Latest((found.stamp_ns, found) for found in recording.seen())
    intrinsics = np.array(camera['intrinsics']).reshape(3, 3)
    try:
        for stamp_ns, picture in _published_frames(video, stamps, size):
            writer.write(draw_seen(picture, _held(seen, stamp_ns), recording.faces, intrinsics,
                                   stamp_ns))
    finally:
        writer.release()


def draw_seen(picture: np.ndarray, seen: SeenMeshes | None, faces: np.ndarray,
              intrinsics: np.ndarray | None, stamp_ns: int | None = None) -> np.ndarray:
    """The people over a picture, and a line of text.

    Meshes of an earlier image are faint, and labelled with their age.

    Args:
        picture: (H, W, 3) uint8 RGB.
        seen: the people; None where nothing is known.
        faces: (F, 3).
        intrinsics: (3, 3) px; None: weak perspective.
        stamp_ns: of the picture; None: that of the meshes.

    Returns:
        (H, W, 3) uint8 BGR, as OpenCV writes it.
    """
    text = 'no mesh'
    if seen is not None:
        age_s = 0.0 if stamp_ns is None else (stamp_ns - seen.stamp_ns) / 1e9
        is_held = age_s > OWN_WITHIN_S
        note = f'{age_s:.1g} s old' if is_held else ''
        opacity = {'opacity': HELD_OPACITY} if is_held else {}
        picture = draw_meshes(picture, seen.meshes, faces, intrinsics, **opacity)
        picture = draw_boxes(picture, seen.meshes, note)
        count = len(seen.meshes)
        text = f'{count} {person_or_people(count)}, {seen.latency_ms:.0f} ms'
        text += f', {note}' if note else ''
    frame = np.ascontiguousarray(picture[..., ::-1])
    for color, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(frame, text, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, color, thickness,
                    cv2.LINE_AA)
    return frame


def _frames(recording: Recording, video: Path | None, stamps: Path | None,
            image_topic: str | None) -> tuple[str, Frames]:
    """Where the pictures come from, and the pictures with their stamps."""
    source = recording
    if video is not None and (video.suffix == '.mcap' or
                              (video.is_dir() and next(video.glob('*.mcap'), None))):
        source = _OtherBag(video, recording.frame_id)
    elif video is not None:
        return str(video), _video_frames(recording, video, stamps)
    topic = image_topic or source.picture_topic()
    if topic is not None:
        return f'{source.bag} {topic}', source.pictures(topic)
    if source is not recording:
        raise ValueError(f'{source.bag} holds no picture of the camera {recording.frame_id!r}; '
                         'name the topic by --image')
    info = next(recording.camera_infos(), None)
    if info is None or not info[1].width or not info[1].height:
        raise ValueError(f'{recording.bag} holds neither pictures nor a camera_info of '
                         f'{recording.frame_id!r}; give the pictures by --video')
    plain = np.full((info[1].height, info[1].width, 3), BACKGROUND, np.uint8)
    return 'plain', ((found.stamp_ns, plain) for found in recording.seen())


def _held(seen: Latest[SeenMeshes], stamp_ns: int) -> SeenMeshes | None:
    """The people to show in a picture: those of the last meshes, unless they are too old."""
    shown = seen.at(stamp_ns)
    if shown is None or stamp_ns - shown[0] > LONGEST_HOLD_S * 1e9:
        return None
    return shown[1]


class _OtherBag(Recording):
    """A bag that is asked for its pictures alone: it needs no meshes."""

    def __init__(self, bag: Path, frame_id: str) -> None:
        self.bag, self.types, self.frame_id = bag, read_topic_types(bag), frame_id


def _video_frames(recording: Recording, video: Path, stamps: Path | None) -> Frames:
    """RGB frames of a video file with the stamps they were published with."""
    frames = VideoFrames(video, is_looping=stamps is not None)
    if stamps is None:
        first_ns = next(recording.seen()).stamp_ns
        return ((first_ns + round(index / frames.rate_hz * 1e9), frame[..., ::-1].copy())
                for index, frame in frames)
    return _stamped(iter(frames), _read_stamps(stamps), video)


def _published_frames(video: Path, stamps: Path, size: tuple[int, int]) -> Frames:
    """RGB frames that a demo's source published and their stamps, read again from the video."""
    frames, known = iter(VideoFrames(video, is_looping=True, size=size)), _read_stamps(stamps)
    if video.name != KEPT_VIDEO:
        return _stamped(frames, known, video)
    return ((stamp_ns, frame[..., ::-1].copy())  # its frames are those that were published
            for (_, stamp_ns), (_, frame) in zip(known, frames, strict=False))


def _time_text(bag: Path, background: str, stamps: Path | None) -> str:
    source = background if stamps is None else f'{background} with the stamps of {stamps}'
    return (f'no picture of {source} has a stamp within {LONGEST_HOLD_S:g} s after one of the '
            f'meshes of {bag}; give what was played or recorded together with it')


def _read_stamps(path: Path) -> list[tuple[int, int]]:
    """Frame index and stamp, ns, of each line of a file."""
    known = []
    for number, line in enumerate(path.read_text(errors='replace').splitlines(), 1):
        words = line.split(',')
        if len(words) != 2 or not all(word.strip().isdecimal() for word in words):
            raise ValueError(f'{path} is no file of stamps: line {number} is {line[:40]!r}, '
                             f'expected a frame index and its stamp in ns, as 7,{10**18}; '
                             f'{STAMPS_HINT}')
        known.append((int(words[0]), int(words[1])))
    if not known:
        raise ValueError(f'{path} is empty; {STAMPS_HINT}')
    return known


def _stamped(frames: Iterator[tuple[int, np.ndarray]], known: list[tuple[int, int]],
             video: Path) -> Frames:
    previous = -1
    for index, stamp_ns in known:
        found, frame = next(frames)
        while found != index:
            if found < previous and index > previous:  # it started again without reaching it
                raise ValueError(f'{video} has no frame {index}, which its stamps name; give the '
                                 'video that was played')
            previous = found
            found, frame = next(frames)
        previous = found
        yield stamp_ns, frame[..., ::-1].copy()


def _usual_rate_hz(stamps_ns: list[int]) -> float:
    """The usual rate of some pictures, Hz."""
    intervals = np.diff(stamps_ns)
    intervals = intervals[intervals > 0]
    if not len(intervals):
        return FALLBACK_RATE_HZ
    return float(np.clip(round(1e9 / float(np.median(intervals)), 2), 1.0, 240.0))


class _SteadyVideo:
    """Writes pictures with stamps into a video of a constant rate, whole or not at all."""

    def __init__(self, path: Path, rate_hz: float) -> None:
        self._path, self._rate_hz = path, rate_hz
        self._file = replacing(path, is_synced=False)
        self._writer: cv2.VideoWriter | None = None
        self._waiting: np.ndarray | None = None
        self._written, self._start_ns, self._last_ns = 0, 0, 0
        self.size = (0, 0)

    @property
    def num_frames(self) -> int:
        """How many the video has when it is complete."""
        return self._written + (self._waiting is not None)

    def __enter__(self) -> _SteadyVideo:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        if self._writer is None:
            return
        if kind is None:
            self._writer.write(self._waiting)
        self._writer.release()
        self._file.__exit__(kind, error, traceback)

    def add(self, frame: np.ndarray, stamp_ns: int) -> None:
        """Takes the next (H, W, 3) uint8 BGR frame; a resolution that changes is scaled back."""
        if self._writer is None:
            self._open(frame)
            self._start_ns = self._last_ns = stamp_ns
        still_ns = stamp_ns - self._last_ns
        # Time that went back, or stood still for long, is taken out of the video.
        if still_ns < 0 or still_ns > LONGEST_STILL_S * 1e9:
            usual_ns = 1e9 / self._rate_hz if still_ns < 0 else LONGEST_STILL_S * 1e9
            self._start_ns += round(still_ns - usual_ns)
        self._last_ns = stamp_ns
        due = round((stamp_ns - self._start_ns) / 1e9 * self._rate_hz)
        while self._waiting is not None and self._written < due:
            self._writer.write(self._waiting)
            self._written += 1
        if frame.shape[1::-1] != self.size:
            frame = cv2.resize(frame, self.size)
        self._waiting = frame

    def _open(self, frame: np.ndarray) -> None:
        self.size = frame.shape[1], frame.shape[0]
        part = self._file.__enter__()
        self._writer = _video_writer(part, self._rate_hz, self.size, self._path)


def _video_writer(path: Path, rate_hz: float, size: tuple[int, int],
                  result: Path | None = None) -> cv2.VideoWriter:
    """An open video; `result` is what the file becomes, for the error.

    Raises:
        ValueError: it cannot be written.
    """
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), rate_hz, size)
    if not writer.isOpened():
        raise ValueError(f'OpenCV cannot write {result or path}; check the folder and the disk, '
                         'and that the name ends in .mp4')
    return writer
