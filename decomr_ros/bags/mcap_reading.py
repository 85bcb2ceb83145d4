"""Reads rosbag2 recordings in MCAP, and repairs those cut off by a full disk or power failure."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.reader import make_reader
from mcap.records import Channel, Schema

from decomr_ros.bags.mcap_writing import END, MAGIC, RECORD, ZSTANDARD, write_metadata
from decomr_ros.bags.topics import BagTopic, topic_of_channel

__all__ = ['BagMessage', 'Recovery', 'read_bag', 'read_topic_types', 'read_topics', 'recover_bag']

# Exceptions caused by a damaged chunk; the last ones come from its decompression.
DAMAGE = (McapError, struct.error, RuntimeError, *([ZSTANDARD.ZstdError] if ZSTANDARD else []))


class BagMessage(NamedTuple):
    """One message read back."""

    topic: str
    data: bytes
    """Serialised (CDR)."""
    receive_ns: int
    """Time of reception by the recorder, ns since the epoch."""
    publish_ns: int
    """Time of publication, ns since the epoch."""
    type_name: str = ''
    """E.g. sensor_msgs/msg/Image."""


class Recovery(NamedTuple):
    """The result of `recover_bag`."""

    counts: dict[str, int]
    """Number of messages by topic."""
    repaired: tuple[str, ...]
    """Names of the repaired files; empty if the bag was intact."""


def read_bag(bag: str | Path, topics: Sequence[str] | None = None) -> Iterator[BagMessage]:
    """The messages of a bag in the order of reception.

    Args:
        bag: its folder, or one .mcap file; several files are read one after the other.
        topics: names of the topics to read; None: all.

    Raises:
        FileNotFoundError: there is no .mcap file in the folder.
        ValueError: a file is empty, truncated or damaged.
    """
    for path in _mcap_paths(bag):
        try:
            with path.open('rb') as handle:
                for schema, channel, message in make_reader(handle).iter_messages(topics):
                    yield BagMessage(
                        channel.topic,
                        message.data,
                        message.log_time,
                        message.publish_time,
                        schema.name if schema else '',
                    )
        except DAMAGE as error:
            raise ValueError(_damage_text(path, error)) from error


def read_topics(bag: str | Path) -> dict[str, BagTopic]:
    """All topics of a bag by name, with type, definition and QoS.

    Raises:
        FileNotFoundError: there is no .mcap file in the folder.
        ValueError: a file is empty, truncated or damaged.
    """
    topics: dict[str, BagTopic] = {}
    found: Collection[tuple[Channel, Schema | None]]
    for path in _mcap_paths(bag):
        try:
            with path.open('rb') as handle:
                summary = make_reader(handle).get_summary()
                if summary is not None and summary.channels:
                    found = [
                        (channel, summary.schemas[channel.schema_id])
                        for channel in summary.channels.values()
                    ]
                else:  # the writer was killed before it wrote the summary
                    handle.seek(0)
                    found = {
                        channel.topic: (channel, schema)
                        for schema, channel, _ in make_reader(handle).iter_messages()
                    }.values()
        except DAMAGE as error:
            raise ValueError(_damage_text(path, error)) from error
        topics.update(
            (channel.topic, topic_of_channel(channel, schema)) for channel, schema in found
        )
    return topics


def read_topic_types(bag: str | Path) -> dict[str, str]:
    """The types of all topics of a bag by name, e.g. sensor_msgs/msg/Image.

    Raises:
        FileNotFoundError: there is no .mcap file in the folder.
        ValueError: a file is empty, truncated or damaged.
    """
    return {name: topic.type_name for name, topic in read_topics(bag).items()}


def recover_bag(bag: str | Path) -> Recovery:
    """Repairs a bag: removes an incomplete last record, adds an end, rewrites metadata.yaml.

    Complete records are not changed, so a second call changes nothing.

    Args:
        bag: its folder, or its .mcap file; for a file, metadata.yaml beside it is repaired, but
            not created.

    Raises:
        FileNotFoundError: there is no .mcap file in the folder.
        ValueError: the file is not MCAP, or one of several, or its messages cannot be read.
    """
    path, *others = _mcap_paths(bag)
    if others:
        raise ValueError(
            f'{bag} contains {len(others) + 1} .mcap files; move the damaged one '
            'into a separate folder and recover that folder'
        )
    repaired = []
    with path.open('rb') as handle:
        end = _end_of_data(handle, path)
        is_complete = _has_end(handle, end)
    if not is_complete:
        with path.open('r+b') as writable:
            writable.seek(end)
            writable.write(END)
            writable.truncate()
        repaired.append(path.name)
    topics, counts, times = _read_back(path)
    metadata = path.parent / 'metadata.yaml'
    has_metadata = Path(bag).is_dir() or (metadata.exists() and _mcap_paths(path.parent) == [path])
    if has_metadata and _count_in_metadata(metadata) != sum(counts.values()):
        write_metadata(path, topics, counts, min(times, default=0), max(times, default=0))
        repaired.append(metadata.name)
    return Recovery(counts, tuple(repaired))


def _end_of_data(handle: io.BufferedReader, path: Path) -> int:
    """Offset behind the last complete record of an MCAP file's data section, bytes."""
    size = handle.seek(0, os.SEEK_END)
    handle.seek(0)
    if handle.read(len(MAGIC)) != MAGIC:
        raise ValueError(
            f'{path} does not begin with the magic bytes of MCAP; it cannot be recovered'
        )
    position = len(MAGIC)
    while position + RECORD.size <= size:
        handle.seek(position)
        opcode, length = RECORD.unpack(handle.read(RECORD.size))
        if opcode == Opcode.DATA_END or position + RECORD.size + length > size:
            break
        position += RECORD.size + length
    return position


def _has_end(handle: io.BufferedReader, position: int) -> bool:
    """Whether a complete end follows the data: summary, footer, magic bytes."""
    size = handle.seek(0, os.SEEK_END)
    while position + RECORD.size <= size:
        handle.seek(position)
        opcode, length = RECORD.unpack(handle.read(RECORD.size))
        position += RECORD.size + length
        if opcode == Opcode.FOOTER:
            handle.seek(position)
            return handle.read() == MAGIC
    return False


def _read_back(path: Path) -> tuple[list[BagTopic], dict[str, int], list[int]]:
    """The topics of a file, the number of messages of each, and all times of reception, ns."""
    topics: dict[str, BagTopic] = {}
    counts: dict[str, int] = {}
    times = []
    try:
        with path.open('rb') as handle:
            for schema, channel, message in make_reader(handle).iter_messages():
                topics.setdefault(channel.topic, topic_of_channel(channel, schema))
                counts[channel.topic] = counts.get(channel.topic, 0) + 1
                times.append(message.log_time)
    except DAMAGE as error:
        raise ValueError(
            f'{path} is damaged in the middle ({type(error).__name__}: {error}), '
            'which cannot be repaired'
        ) from error
    return list(topics.values()), counts, times


def _count_in_metadata(path: Path) -> int | None:
    """The number of messages according to metadata.yaml; None if it cannot be read."""
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
        return content['rosbag2_bagfile_information']['message_count']
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None


def _mcap_paths(bag: str | Path) -> list[Path]:
    """The files of a bag in the order of their numbers (BAG_0.mcap, ..., BAG_10.mcap)."""
    if Path(bag).is_file():
        return [Path(bag)]
    paths = sorted(Path(bag).glob('*.mcap'), key=lambda path: (len(path.name), path.name))
    if not Path(bag).exists():
        raise FileNotFoundError(f'there is no {bag}; give the folder of a bag')
    if not paths:
        raise FileNotFoundError(f'no .mcap file in {bag}; give the folder of a bag')
    return paths


def _damage_text(path: Path, error: Exception) -> str:
    if path.stat().st_size == 0:
        return f'{path} is empty: nothing was recorded; make a new recording'
    with path.open('rb') as handle:
        if not MAGIC.startswith(handle.read(len(MAGIC))):
            return (
                f'{path} is not an MCAP file; give the folder of a bag with MCAP storage, or '
                'one of its .mcap files'
            )
    return (
        f'{path} is truncated or damaged ({type(error).__name__}: {error}); repair a copy of '
        f'it with python -m decomr_ros.recorder --recover {path.parent}'
    )
