"""What the command line gives behind --ros-args, where rclpy itself does not tell.

rclpy reads parameter files and remappings, and ignores silently what is for another node.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

__all__ = ['ignored_files_text', 'is_remapped', 'section_fits']

BEGIN, END = '--ros-args', '--'
REMAP, PARAMETER_FILE = ('-r', '--remap'), ('--params-file',)
PARAMETERS = 'ros__parameters'
# A rule `NODE:FROM:=TO`; the name of the node may be missing. `rostopic://` is a prefix of ROS.
RULE = re.compile(r'(?:(?P<node>\w+):)?(?:rostopic://)?(?P<name>[^:]+):=.*')
# The wildcards of sections: one part of a name, and any number of them.
ONE, ANY = r'/\w+', r'(?:/\w+)*'


def is_remapped(words: Sequence[str], node_name: str, *topic: str) -> bool:
    """Whether a rule of the command line is for a topic, also one that leaves its name as it is.

    Args:
        words: of the command line.
        node_name: of the node, without its namespace.
        topic: the names by which a rule may call it, e.g. camera_info and /robot/camera_info.
    """
    rules = (RULE.fullmatch(text) for text in _values(words, REMAP))
    return any(rule and rule['name'] in topic and rule['node'] in (None, node_name)
               for rule in rules)


def ignored_files_text(words: Sequence[str], node_name: str) -> str:
    """Which parameter files hold nothing for a node; ROS 2 ignores them silently.

    Args:
        words: of the command line.
        node_name: with its namespace, e.g. /robot/decomr.

    Returns:
        One line that says what to do; empty where every file has a section for the node.
    """
    texts = []
    for file in _values(words, PARAMETER_FILE):
        sections = list(_sections(_content(file)))
        if any(section_fits(section, node_name) for section in sections):
            continue
        has = f'sections for {", ".join(sections)}' if sections else 'no section'
        texts.append(f'the parameter file {file} has {has}, but none for this node, {node_name}: '
                     'all of its values are ignored')
    if not texts:
        return ''
    return (f'{"; ".join(texts)}; name the section {node_name}, or /** for every node, or rename '
            f'the node (-r __node:=NAME, -r __ns:=/NAMESPACE)')


def section_fits(section: str, node_name: str) -> bool:
    """Whether a section of a parameter file is for a node, as rcl decides.

    Args:
        section: its name, where `*` is one part of a name and `**` any number of them.
        node_name: with its namespace, e.g. /robot/decomr.
    """
    parts = [part for part in section.split('/') if part]
    pattern = ''.join({'*': ONE, '**': ANY}.get(part, f'/{re.escape(part)}') for part in parts)
    return re.fullmatch(pattern, node_name) is not None


def _sections(content: Any, above: str = '') -> Iterator[str]:
    """Names of the nodes for which a parameter file has values; namespaces may be nested."""
    if not isinstance(content, dict):
        return
    for name, inner in content.items():
        if name == PARAMETERS:
            yield above
        else:
            yield from _sections(inner, f'{above}/{str(name).lstrip("/")}')


def _content(file: str) -> Any:
    """What a YAML file holds; None where it cannot be read, which rclpy has refused before."""
    try:
        return yaml.safe_load(Path(file).read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None


def _values(words: Sequence[str], options: Sequence[str]) -> Iterator[str]:
    """What follows these options behind --ros-args."""
    is_ros, option = False, ''
    for word in words:
        if is_ros and option in options:
            yield word
            option = ''
        elif word in (BEGIN, END):
            is_ros, option = word == BEGIN, ''
        else:
            option = word
