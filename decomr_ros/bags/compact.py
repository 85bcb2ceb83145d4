"""`decomr bag compact`: a smaller copy of a bag: meshes rounded, chunks compressed with zstd.

For recordings of `ros2 bag record`, which stores messages unchanged, and of older recorders.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from decomr_ros.bags.copying import bag_copy
from decomr_ros.bags.mcap_reading import read_bag, read_topics
from decomr_ros.bags.rounded_meshes import (
    MAX_ERROR_KEY,
    MESHES,
    largest_error_m,
    round_meshes,
    step_for_error,
)
from decomr_ros.bags.topics import BagTopic

__all__ = ['compact_bag']


def compact_bag(
    bag: Path, out: Path, max_error_mm: float, compression: str | None = None
) -> dict[str, Any]:
    """Copies the messages of a bag into a new one.

    Args:
        bag: folder with one or more files, or .mcap file; not modified.
        out: folder of the new bag; must not exist, or must be empty.
        max_error_mm: largest rounding error of vertices, mm; 0: exact.
        compression: of the new chunks, as in `BagWriter`.

    Returns:
        out, messages, size_before_mb, size_after_mb, and for each mesh topic
        vertices_max_error_mm, including the error of `bag`.

    Raises:
        FileNotFoundError: there is no bag.
        FileExistsError: the new folder is not empty.
        ValueError: the bag is damaged, or its meshes cannot be read; the new bag is deleted.
    """
    step_m = step_for_error(max_error_mm / 1000) if max_error_mm else None
    topics = [_rounded_topic(topic, step_m) for topic in read_topics(bag).values()]
    with bag_copy(out, topics, compression) as copy:
        for message in read_bag(bag):
            data = message.data
            if message.type_name == MESHES and step_m is not None:
                data = round_meshes(data, step_m)
            copy.write(message.topic, data, message)
    return {
        'out': str(out),
        'messages': copy.num_messages,
        'size_before_mb': _size_mb(bag),
        'size_after_mb': _size_mb(out),
        'vertices_max_error_mm': {
            topic.name: float(topic.metadata.get(MAX_ERROR_KEY, 0))
            for topic in topics
            if topic.type_name == MESHES
        },
    }


def _rounded_topic(topic: BagTopic, step_m: float | None) -> BagTopic:
    """The topic with the error of its vertices in the new bag."""
    if topic.type_name != MESHES or step_m is None:
        return topic
    before, added = float(topic.metadata.get(MAX_ERROR_KEY, 0)), largest_error_m(step_m) * 1000
    # Multiples of a larger power of two are multiples of this one, so nothing changes.
    error_mm = before if added <= before * 1.001 else before + added
    return topic._replace(metadata={**topic.metadata, MAX_ERROR_KEY: f'{error_mm:.3g}'})


def _size_mb(bag: Path) -> float:
    paths = [bag] if bag.is_file() else list(bag.iterdir())
    return round(sum(path.stat().st_size for path in paths) / 1e6, 3)
