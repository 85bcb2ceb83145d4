"""The video that `decomr demo` plays: the requested one, Debian's, or the shipped clip."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

from decomr_core.base.assets import DATA_FOLDER
from decomr_core.base.cache import cache_folder

__all__ = ['check_video', 'find_video']

DEBIAN_VIDEO = Path('/usr/share/doc/opencv-doc/examples/data/vtest.avi')
SHIPPED_VIDEO = DATA_FOLDER / 'demo_clip.mp4'
# Value of --video that selects the shipped clip.
CLIP = 'clip'


def find_video(video: str | None) -> Path:
    """The video to play: the requested one, otherwise Debian's, otherwise the shipped clip.

    Raises:
        FileNotFoundError: it does not exist.
    """
    if video == CLIP and not Path(CLIP).exists():
        return SHIPPED_VIDEO
    if video is not None:
        if not Path(video).exists():
            raise FileNotFoundError(
                f'there is no video {video}; give a video file, a folder of '
                'pictures, a device such as /dev/video0, or '
                f'{CLIP} for the shipped clip'
            )
        return Path(video)
    packed = DEBIAN_VIDEO.with_name(DEBIAN_VIDEO.name + '.gz')
    if packed.exists() and not DEBIAN_VIDEO.exists():
        unpacked = cache_folder() / DEBIAN_VIDEO.name
        with gzip.open(packed) as source, unpacked.open('wb') as target:
            shutil.copyfileobj(source, target)
        return unpacked
    for path in (DEBIAN_VIDEO, SHIPPED_VIDEO):
        if path.exists():
            return path
    raise FileNotFoundError(
        'there is no demo video on this machine; install one with apt-get '
        'install opencv-doc, or give your own: --video FILE or /dev/video0'
    )


def check_video(video: Path) -> None:
    """Rejects a file that is not a video, before the results of an earlier demo are deleted.

    Raises:
        ValueError: OpenCV cannot read a frame of it.
    """
    if not video.is_file():
        return  # a camera, or a folder of pictures
    import cv2

    capture = cv2.VideoCapture(str(video))
    is_readable = capture.isOpened() and capture.read()[0]
    capture.release()
    if not is_readable:
        raise ValueError(
            f'OpenCV cannot read {video} as a video; check the file, or convert it to mp4 or avi'
        )
