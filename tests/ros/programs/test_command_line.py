"""The command lines of the programs that are nodes."""

from __future__ import annotations

import pytest

from decomr_ros import decomr_node, markers_node, recorder, video_source, view
from decomr_ros.settings.parameters import ENTRIES

PROGRAMS = {
    'decomr_node': decomr_node,
    'recorder': recorder,
    'video_source': video_source,
    'view': view,
    'decomr markers': markers_node,
}


@pytest.mark.parametrize('program', PROGRAMS)
def test_help_shows_the_ros_arguments_and_exits_with_0(
    program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        PROGRAMS[program].main(['--help'])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith('usage: ') and program in text
    assert '--ros-args' in text and 'use_sim_time:=true' in text


def test_the_help_of_the_node_names_its_parameters_and_their_page(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        decomr_node.main(['--help'])
    text = capsys.readouterr().out
    assert 'docs/parameters.md' in text and '-p detector_stride:=5' in text
    assert [name for name in ENTRIES if name not in text] == []


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['-p', 'detector:=person'], 'must follow --ros-args'),
        (['camera'], 'arguments: camera'),
        (['--ros-args', '-p'], 'trailing -p flag'),
    ],
)
def test_arguments_without_effect_are_rejected(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        decomr_node.main(words)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count('\n') == 1
