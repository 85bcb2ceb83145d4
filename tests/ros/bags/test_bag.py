from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest
import yaml
from mcap.reader import make_reader
from rclpy.serialization import serialize_message
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import Reader
from std_msgs.msg import Header

from decomr_ros.bags import mcap_writing
from decomr_ros.bags.mcap_reading import read_bag, read_topics, recover_bag
from decomr_ros.bags.mcap_writing import BagWriter
from decomr_ros.bags.message_definitions import message_definition
from decomr_ros.bags.topics import BagTopic, qos_text
from decomr_ros.messages.meshes import human_mesh_array_message
from tests.ros.conftest import make_mesh

TYPE = 'decomr/msg/HumanMeshArray'
START_NS = 1_700_000_000_000_000_000


def _topics() -> list[BagTopic]:
    definition = message_definition(TYPE)
    return [
        BagTopic('/human_meshes', TYPE, definition, False),
        BagTopic('/latched', TYPE, definition, True),
    ]


@functools.cache  # padding bytes differ each time
def _data(index: int) -> bytes:
    header = Header(frame_id='camera')
    header.stamp.nanosec = index
    return serialize_message(human_mesh_array_message(header, [make_mesh(index)], 'abc'))


def _write(writer: BagWriter, first: int, last: int) -> None:
    for index in range(first, last):
        writer.write(
            '/human_meshes', _data(index), START_NS + index * 1000, START_NS + index * 1000 - 10
        )


def _read_with_rosbags(folder: Path) -> list[int]:
    """The ids of the people, decoded by definitions that come from the bag alone."""
    with AnyReader([folder]) as reader:
        return [
            reader.deserialize(data, connection.msgtype).meshes[0].id
            for connection, _, data in reader.messages()
            if connection.topic == '/human_meshes'
        ]


def test_a_closed_bag_opens_in_rosbags_with_its_counts_times_and_definitions(
    tmp_path: Path,
) -> None:
    writer = BagWriter(tmp_path / 'bag', _topics())
    writer.write('/latched', _data(99), START_NS, START_NS)
    _write(writer, 0, 10)
    writer.close()
    with Reader(tmp_path / 'bag') as reader:
        assert {name: topic.msgcount for name, topic in reader.topics.items()} == {
            '/human_meshes': 10,
            '/latched': 1,
        }
        assert reader.message_count == 11
        assert reader.start_time == START_NS
        assert reader.end_time == START_NS + 9000 + 1
        durability = {
            connection.topic: connection.ext.offered_qos_profiles[0].durability.name
            for connection in reader.connections
        }
    assert durability == {'/human_meshes': 'VOLATILE', '/latched': 'TRANSIENT_LOCAL'}
    assert _read_with_rosbags(tmp_path / 'bag') == list(range(10))
    message = next(read_bag(tmp_path / 'bag', ['/human_meshes']))
    assert message == ('/human_meshes', _data(0), START_NS, START_NS - 10, TYPE)


def test_chunks_are_zstd_unless_disabled_or_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def chunks(name: str, compression: str | None = None) -> set[str]:
        writer = BagWriter(tmp_path / name, _topics(), compression)
        _write(writer, 0, 10)
        writer.close()
        assert _read_with_rosbags(tmp_path / name) == list(range(10))
        with (tmp_path / name / f'{name}_0.mcap').open('rb') as handle:
            return {chunk.compression for chunk in make_reader(handle).get_summary().chunk_indexes}

    assert chunks('default') == {'zstd'}
    assert [chunks(name, name) for name in ('zstd', 'lz4', 'none')] == [{'zstd'}, {'lz4'}, {''}]
    monkeypatch.setattr(mcap_writing, 'ZSTANDARD', None)
    assert chunks('without') == {'lz4'}


@pytest.mark.parametrize('is_closed', [True, False])
def test_topics_are_read_with_their_channel_metadata(tmp_path: Path, is_closed: bool) -> None:
    plain, latched = _topics()
    plain = plain._replace(metadata={'max_error_mm': '0.42'})
    writer = BagWriter(tmp_path / 'bag', [plain, latched])
    _write(writer, 0, 2)
    writer.write('/latched', _data(0), START_NS, START_NS)
    writer.close() if is_closed else writer.flush()
    assert read_topics(tmp_path / 'bag') == {
        plain.name: plain._replace(depth=10),
        latched.name: latched._replace(depth=1),
    }


def test_a_bag_begins_with_its_earliest_message(tmp_path: Path) -> None:
    """A simulation's clock may go back while it is recorded."""
    writer = BagWriter(tmp_path / 'bag', _topics())
    for index in (5, 2, 9):
        _write(writer, index, index + 1)
    writer.close()
    with Reader(tmp_path / 'bag') as reader:
        assert (reader.start_time, reader.duration) == (START_NS + 2000, 7000 + 1)


def test_a_bag_opens_after_every_flush_while_it_is_being_written(tmp_path: Path) -> None:
    writer = BagWriter(tmp_path / 'bag', _topics())
    with Reader(tmp_path / 'bag') as reader:
        assert reader.message_count == 0
    for last in (3, 4, 9):
        _write(writer, writer.counts['/human_meshes'], last)
        writer.flush()
        assert _read_with_rosbags(tmp_path / 'bag') == list(range(last))
        assert len(list(read_bag(tmp_path / 'bag'))) == last
        with Reader(tmp_path / 'bag') as reader:
            assert reader.message_count == last


@pytest.mark.parametrize('cut', [1, 49, 51, 300, 5000])
def test_a_bag_cut_off_anywhere_is_recovered_up_to_its_last_whole_chunk(
    tmp_path: Path, cut: int
) -> None:
    writer = BagWriter(tmp_path / 'bag', _topics(), 'lz4')
    sizes = []
    path = tmp_path / 'bag' / 'bag_0.mcap'
    for last in (5, 10, 15):
        _write(writer, writer.counts['/human_meshes'], last)
        writer.flush()
        sizes.append(path.stat().st_size)
    size = sizes[-1] - cut
    os.truncate(path, size)
    whole = 15 if cut < 300 else 5 * sum(entire <= size for entire in sizes)
    counts, repaired = recover_bag(tmp_path / 'bag')
    assert counts.get('/human_meshes', 0) == whole
    assert repaired[0] == 'bag_0.mcap'
    assert _read_with_rosbags(tmp_path / 'bag') == list(range(whole))
    assert recover_bag(tmp_path / 'bag') == (counts, ())


@pytest.mark.parametrize('is_closed', [True, False])
def test_recovering_a_whole_bag_leaves_every_byte(tmp_path: Path, is_closed: bool) -> None:
    writer = BagWriter(tmp_path / 'bag', _topics())
    _write(writer, 0, 7)
    writer.close() if is_closed else writer.flush()
    before = {path.name: path.read_bytes() for path in (tmp_path / 'bag').iterdir()}
    for bag in (tmp_path / 'bag', tmp_path / 'bag' / 'bag_0.mcap'):
        assert recover_bag(bag) == ({'/human_meshes': 7}, ())
    assert {path.name: path.read_bytes() for path in (tmp_path / 'bag').iterdir()} == before


@pytest.mark.parametrize(
    ('compression', 'frame'), [('lz4', b'\x04"M\x18'), ('zstd', b'\x28\xb5\x2f\xfd')]
)
def test_only_the_damaged_part_of_a_bag_is_repaired(
    tmp_path: Path, compression: str, frame: bytes
) -> None:
    writer = BagWriter(tmp_path / 'bag', _topics(), compression)
    _write(writer, 0, 7)
    writer.close()
    path, metadata = tmp_path / 'bag' / 'bag_0.mcap', tmp_path / 'bag' / 'metadata.yaml'
    before = path.read_bytes()
    metadata.unlink()
    assert recover_bag(path).repaired == (), 'the file alone was asked for'
    assert recover_bag(tmp_path / 'bag').repaired == ('metadata.yaml',)
    assert path.read_bytes() == before
    assert _read_with_rosbags(tmp_path / 'bag') == list(range(7))
    middle = before.index(frame)  # where the compressed messages begin
    path.write_bytes(before[:middle] + bytes(40) + before[middle + 40 :])
    with pytest.raises(ValueError, match='damaged in the middle'):
        recover_bag(tmp_path / 'bag')
    with pytest.raises(ValueError, match='truncated or damaged'):
        list(read_bag(tmp_path / 'bag'))


def test_an_existing_bag_is_never_overwritten(tmp_path: Path) -> None:
    BagWriter(tmp_path / 'bag', _topics()).close()
    with pytest.raises(FileExistsError, match='choose another folder'):
        BagWriter(tmp_path / 'bag', _topics())


def test_a_bag_in_several_files_is_read_in_their_order(tmp_path: Path) -> None:
    for index in (0, 2, 10):
        writer = BagWriter(tmp_path / f'part_{index}', _topics())
        _write(writer, index, index + 2)
        writer.close()
    (tmp_path / 'bag').mkdir()
    for index in (10, 2, 0):
        (tmp_path / f'part_{index}' / f'part_{index}_0.mcap').rename(
            tmp_path / 'bag' / f'bag_{index}.mcap'
        )
    times = [message.receive_ns - START_NS for message in read_bag(tmp_path / 'bag')]
    assert times == [0, 1000, 2000, 3000, 10000, 11000]
    with pytest.raises(ValueError, match='a separate folder'):
        recover_bag(tmp_path / 'bag')


def test_a_file_that_is_not_a_bag_cannot_be_recovered(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='give the folder of a bag'):
        recover_bag(tmp_path)
    (tmp_path / 'some.mcap').write_bytes(b'text')
    with pytest.raises(ValueError, match='does not begin with the magic bytes of MCAP'):
        recover_bag(tmp_path)
    assert (tmp_path / 'some.mcap').read_bytes() == b'text'


def test_a_definition_holds_every_message_it_needs() -> None:
    text = message_definition(TYPE)
    assert [
        line.removeprefix('MSG: ') for line in text.splitlines() if line.startswith('MSG: ')
    ] == ['std_msgs/Header', 'decomr/HumanMesh', 'builtin_interfaces/Time', 'geometry_msgs/Point']


def test_a_latched_topic_stays_latched_as_either_release_of_rosbag2_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, words in (
        ('numbers', {}),
        (
            'words',
            {
                'durability: 1': 'durability: transient_local',
                'durability: 2': 'durability: volatile',
            },
        ),
    ):
        with monkeypatch.context() as patch:

            def text(topic: BagTopic, words: dict[str, str] = words) -> str:
                made = qos_text(topic)
                for number, word in words.items():
                    made = made.replace(number, word)
                return made

            patch.setattr(mcap_writing, 'qos_text', text)
            writer = BagWriter(tmp_path / name, _topics())
            writer.write('/latched', _data(99), START_NS, START_NS)
            _write(writer, 0, 3)
            writer.close()
        (tmp_path / name / 'metadata.yaml').unlink()
        recover_bag(tmp_path / name)
        metadata = yaml.safe_load((tmp_path / name / 'metadata.yaml').read_text())
        topics = metadata['rosbag2_bagfile_information']['topics_with_message_count']
        quality = {
            topic['topic_metadata']['name']: topic['topic_metadata']['offered_qos_profiles']
            for topic in topics
        }
        assert 'durability: 1' in quality['/latched']
        assert 'durability: 2' in quality['/human_meshes']
