"""Files that are not bags are distinguished from damaged bags."""

from __future__ import annotations

from pathlib import Path

import pytest

from decomr_ros import bag_commands


@pytest.mark.parametrize('content', [b'# decomr\nA ROS 2 node', b'\x89PNG\r\n\x1a\n' + bytes(99)])
def test_a_file_that_is_not_an_mcap_is_not_offered_for_repair(
    tmp_path: Path, content: bytes, capsys
) -> None:
    path = tmp_path / 'README.md'
    path.write_bytes(content)
    assert bag_commands.main(['info', str(path)]) == 2
    told = capsys.readouterr().err
    assert f'{path} is not an MCAP file' in told and '.mcap' in told
    assert '--recover' not in told and told.count('\n') == 1


def test_the_beginning_of_an_mcap_file_is_a_damaged_bag(tmp_path: Path, capsys) -> None:
    path = tmp_path / 'bag_0.mcap'
    for content in b'\x89MCAP0\r\n' + bytes(50), b'\x89MCA':
        path.write_bytes(content)
        assert bag_commands.main(['info', str(path)]) == 2
        assert 'truncated or damaged' in capsys.readouterr().err
