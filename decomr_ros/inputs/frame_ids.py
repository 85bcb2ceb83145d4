"""The frame of an image as tf2 takes it: not empty, without the leading slash of ROS 1."""

from __future__ import annotations

__all__ = ['frame_id_problem', 'without_slash']


def without_slash(frame_id: str) -> str:
    """The name without leading slashes, which tf2 refuses."""
    return frame_id.lstrip('/')


def frame_id_problem(frame_id: str, topic: str) -> str:
    """What is wrong with the frame of an image.

    Args:
        frame_id: of its header.
        topic: of the images.

    Returns:
        A sentence; empty where nothing is wrong.
    """
    if not without_slash(frame_id):
        return (f'images on {topic} have the frame_id {frame_id!r}: nobody can tell where people '
                "are, so markers, vertices and /tf are not published; set the camera driver's "
                "frame to that of the camera's optical frame (e.g. frame_id, camera_frame_id)")
    if frame_id.startswith('/'):
        return (f'images on {topic} have the frame_id {frame_id!r}, which tf2 refuses: everything '
                f"is published in {without_slash(frame_id)!r}; set the camera driver's frame "
                'without a leading slash')
    return ''
