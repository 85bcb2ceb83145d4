"""Writes rosbag2 recordings in MCAP that can be read at any time, even after SIGKILL.

The mcap library writes chunks one after the other and adds the end that readers require only when
the file is closed. Here every flush also writes a minimal end (DataEnd, Footer without summary,
magic bytes: 50 bytes, as in the MCAP specification), which the next chunk overwrites.
`metadata.yaml` is replaced with each flush, too. The bag on disk is therefore complete up to the
last flush, whatever happens to the process. `recover_bag` in `mcap_reading.py` repairs the
remaining cases: a full disk, or a power failure during a write.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path

import yaml
from mcap import writer as mcap_writer
from mcap.opcode import Opcode
from mcap.writer import CompressionType, Writer

from decomr_core.base.files import replacing
from decomr_ros.bags.topics import QOS_KEY, BagTopic, qos_text

__all__ = ['COMPRESSIONS', 'END', 'MAGIC', 'RECORD', 'ZSTANDARD', 'BagWriter', 'write_metadata']

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
# Chunk compressions by name, the smallest result first.
COMPRESSIONS = {
    'zstd': CompressionType.ZSTD,
    'lz4': CompressionType.LZ4,
    'none': CompressionType.NONE,
}
# The newest metadata.yaml that Humble reads; newer distributions read it too.
METADATA_VERSION = 5


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
        self._path = self.folder / f'{self.folder.name}_0.mcap'
        self._file = _TerminatedFile(self._path)
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
        write_metadata(self._path, self._topics, self.counts, self._first_ns, self._last_ns)


def write_metadata(
    path: Path, topics: Sequence[BagTopic], counts: dict[str, int], first_ns: int, last_ns: int
) -> None:
    """Replaces the metadata.yaml of a bag atomically.

    Args:
        path: the .mcap file of the bag; metadata.yaml is beside it.
        topics: of the bag.
        counts: number of messages by topic name.
        first_ns: time of the first reception, ns since the epoch.
        last_ns: time of the last reception, ns since the epoch.
    """
    times = {
        'starting_time': {'nanoseconds_since_epoch': first_ns},
        'duration': {'nanoseconds': last_ns - first_ns},
        'message_count': sum(counts.values()),
    }
    information = {
        'version': METADATA_VERSION,
        'storage_identifier': 'mcap',
        **times,
        'relative_file_paths': [path.name],
        'files': [{'path': path.name, **times}],
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
    with replacing(path.with_name('metadata.yaml'), is_synced=False) as part:
        part.write_text(
            yaml.safe_dump({'rosbag2_bagfile_information': information}, sort_keys=False)
        )


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
