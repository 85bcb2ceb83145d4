"""Frame ids of images as tf2 requires them: not empty, without the leading slash of ROS 1."""

from __future__ import annotations

__all__ = ['frame_id_problem', 'without_slash']


def without_slash(frame_id: str) -> str:
    """The name without leading slashes, which tf2 rejects."""
    return frame_id.lstrip('/')


def frame_id_problem(frame_id: str, topic: str) -> str:
    """A warning about the frame of an image.

    Args:
        frame_id: of its header.
        topic: of the images.

    Returns:
        A sentence; empty if the frame is valid.
    """
    if not without_slash(frame_id):
        return (
            f'images on {topic} have the frame_id {frame_id!r}: the position of people is '
            'unknown, so markers, vertices and /tf are not published; set the frame in the '
            "camera driver (e.g. frame_id, camera_frame_id) to the camera's optical frame"
        )
    if frame_id.startswith('/'):
        return (
            f'images on {topic} have the frame_id {frame_id!r}, which tf2 rejects: everything '
            f'is published in {without_slash(frame_id)!r}; set the frame in the camera driver '
            'without a leading slash'
        )
    return ''
