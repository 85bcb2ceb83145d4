"""A rosbag2 recording in MCAP that can be read at any time, even after SIGKILL.

The mcap library writes chunks one after the other and adds the end that readers require only when
the file is closed. Here every flush also writes a minimal end (DataEnd, Footer without summary,
magic bytes: 50 bytes, as in the MCAP specification), which the next chunk overwrites.
`metadata.yaml` is replaced with each flush, too. The bag on disk is therefore complete up to the
last flush, whatever happens to the process. `recover_bag` repairs the remaining cases: a full
disk, or a power failure during a write.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml
from mcap import writer as mcap_writer
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.reader import make_reader
from mcap.records import Channel, Schema
from mcap.writer import CompressionType, Writer

from decomr_core.base.files import replacing
from decomr_ros.bags.topics import QOS_KEY, BagTopic, qos_text, topic_of_channel

__all__ = [
    'COMPRESSIONS',
    'BagMessage',
    'BagTopic',
    'BagWriter',
    'Recovery',
    'read_bag',
    'read_topic_types',
    'read_topics',
    'recover_bag',
]

MAGIC = b'\x89MCAP0\r\n'
# Header of every record: opcode (one byte) and length (64 bits).
RECORD = struct.Struct('<BQ')
# The end of a file: no checksum, no summary, no summary offsets.
END = (
    RECORD.pack(Opcode.DATA_END, 4)
    + struct.pack('<I', 0)
    + RECORD.pack(Opcode.FOOTER, 20)
    + struct.pack('<QQI', 0, 0, 0)
    + MAGIC
)
# The writer closes a chunk at this size, bytes; the recorder flushes far earlier.
CHUNK_SIZE = 8 * 1024 * 1024
# The package that mcap compresses with; None if it is not installed.
ZSTANDARD = getattr(mcap_writer, 'zstandard', None)
# Exceptions caused by a damaged chunk; the last ones come from its decompression.
DAMAGE = (McapError, struct.error, RuntimeError, *([ZSTANDARD.ZstdError] if ZSTANDARD else []))
# Chunk compressions by name, the smallest result first.
COMPRESSIONS = {
    'zstd': CompressionType.ZSTD,
    'lz4': CompressionType.LZ4,
    'none': CompressionType.NONE,
}
# The newest metadata.yaml that Humble reads; newer distributions read it too.
METADATA_VERSION = 5


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


class BagWriter:
    """Writes one bag.

    Attributes:
        folder: of the bag, with metadata.yaml and one .mcap file.
        counts: number of messages written so far by topic name.
    """

    def __init__(
        self, folder: str | Path, topics: Sequence[BagTopic], compression: str | None = None
    ) -> None:
        """Creates the folder and an empty bag, which can already be read.

        Args:
            folder: must not exist, or must be empty.
            topics: to be recorded; `add_topic` adds more later.
            compression: of the chunks, one of `COMPRESSIONS`; None: zstd if the Python package
                zstandard is installed, otherwise lz4.

        Raises:
            FileExistsError: the folder is not empty.
        """
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        if any(self.folder.iterdir()):
            raise FileExistsError(
                f'{self.folder} is not empty; choose another folder for the bag or remove this one'
            )
        self.counts = {topic.name: 0 for topic in topics}
        self._topics = list(topics)
        self._first_ns = self._last_ns = 0
        self._file = _TerminatedFile(self.folder / f'{self.folder.name}_0.mcap')
        # The writer requires no more than tell, write and flush; its stub says IO[Any].
        kind = COMPRESSIONS[compression or ('zstd' if ZSTANDARD else 'lz4')]
        self._writer = Writer(self._file, CHUNK_SIZE, kind)  # type: ignore[arg-type]
        self._writer.start(profile='ros2', library='decomr')
        self._channels = {topic.name: self._register(topic) for topic in topics}
        self.flush()

    def add_topic(self, topic: BagTopic) -> None:
        """Adds a topic, whose messages can be written from now on."""
        if topic.name not in self.counts:
            self.counts[topic.name] = 0
            self._topics.append(topic)
            self._channels[topic.name] = self._register(topic)

    def write(self, topic: str, data: bytes, receive_ns: int, publish_ns: int) -> None:
        """Adds a serialised message; it is safe on disk after the next flush.

        Args:
            topic: name of one of the bag's topics.
            data: serialised message (CDR), as from a raw subscription.
            receive_ns: time of reception, ns since the epoch.
            publish_ns: time of publication, ns since the epoch.
        """
        self._writer.add_message(
            self._channels[topic], receive_ns, data, publish_ns, self.counts[topic]
        )
        self.counts[topic] += 1
        self._first_ns = min(self._first_ns or receive_ns, receive_ns)
        self._last_ns = max(self._last_ns, receive_ns)

    def flush(self) -> None:
        """Makes everything written so far readable on disk."""
        self._writer.flush()
        self._write_metadata()

    def close(self) -> None:
        """Writes the summary and closes the file."""
        self._writer.finish()
        self._file.close()
        self._write_metadata()

    def _register(self, topic: BagTopic) -> int:
        schema = self._writer.register_schema(
            topic.type_name, 'ros2msg', topic.definition.encode()
        )
        return self._writer.register_channel(
            topic.name, 'cdr', schema, {**topic.metadata, QOS_KEY: qos_text(topic)}
        )

    def _write_metadata(self) -> None:
        _write_metadata(self.folder, self._topics, self.counts, self._first_ns, self._last_ns)


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
        _write_metadata(path.parent, topics, counts, min(times, default=0), max(times, default=0))
        repaired.append(metadata.name)
    return Recovery(counts, tuple(repaired))


class _TerminatedFile:
    """A file that has a valid end after every flush; the next bytes overwrite this end.

    Not an io.RawIOBase, for which the mcap writer would add a buffer.
    """

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self._pending: list[bytes] = []
        self._written = self._position = 0

    def tell(self) -> int:
        """Number of bytes written, without the end."""
        return self._position

    def write(self, data: bytes) -> int:
        """Buffers the bytes until the next flush."""
        self._pending.append(bytes(data))
        self._position += len(data)
        return len(data)

    def flush(self) -> None:
        """Writes the buffered bytes and an end."""
        self._send(END)

    def close(self) -> None:
        """Writes the buffered bytes, which include the writer's own end with a summary."""
        self._send(b'')
        os.close(self._handle)

    def _send(self, end: bytes) -> None:
        # A single system call, so that SIGKILL cannot separate the data from the end.
        data = b''.join([*self._pending, end])
        sent = 0
        while sent < len(data):
            sent += os.pwrite(self._handle, data[sent:], self._written + sent)
        self._written += len(data) - len(end)
        self._pending = []


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


def _mcap_path(folder: str | Path) -> Path:
    return _mcap_paths(folder)[0]


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


def _write_metadata(
    folder: Path, topics: Sequence[BagTopic], counts: dict[str, int], first_ns: int, last_ns: int
) -> None:
    """Replaces metadata.yaml atomically."""
    times = {
        'starting_time': {'nanoseconds_since_epoch': first_ns},
        'duration': {'nanoseconds': last_ns - first_ns},
        'message_count': sum(counts.values()),
    }
    path = _mcap_path(folder).name
    information = {
        'version': METADATA_VERSION,
        'storage_identifier': 'mcap',
        **times,
        'relative_file_paths': [path],
        'files': [{'path': path, **times}],
        'compression_format': '',
        'compression_mode': '',
        'topics_with_message_count': [
            {
                'message_count': counts[topic.name],
                'topic_metadata': {
                    'name': topic.name,
                    'type': topic.type_name,
                    'serialization_format': 'cdr',
                    'offered_qos_profiles': qos_text(topic),
                },
            }
            for topic in topics
        ],
    }
    # Not synced: the recorder must not wait for the disk, and the MCAP file has the same data.
    with replacing(folder / 'metadata.yaml', is_synced=False) as part:
        part.write_text(
            yaml.safe_dump({'rosbag2_bagfile_information': information}, sort_keys=False)
        )
