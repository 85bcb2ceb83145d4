"""Checks of the ROS arguments of the command line.

rclpy silently ignores parameter files and remappings for other nodes, and has no interface to
query them.
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
# A rule `NODE:FROM:=TO`, where `NODE:` and the prefix `rostopic://` are optional.
RULE = re.compile(r'(?:(?P<node>\w+):)?(?:rostopic://)?(?P<name>[^:]+):=.*')
# Wildcards of sections: one token of a name, and any number of tokens.
ONE, ANY = r'/\w+', r'(?:/\w+)*'


def is_remapped(arguments: Sequence[str], node_name: str, *topic: str) -> bool:
    """Whether the command line remaps a topic, possibly to its own name.

    Args:
        arguments: command-line arguments.
        node_name: of the node, without its namespace.
        topic: names that a rule may use for the topic, e.g. camera_info and /robot/camera_info.
    """
    rules = (RULE.fullmatch(text) for text in _values(arguments, REMAP))
    return any(
        rule and rule['name'] in topic and rule['node'] in (None, node_name) for rule in rules
    )


def ignored_files_text(arguments: Sequence[str], node_name: str) -> str:
    """A warning about parameter files without values for a node; ROS 2 ignores them silently.

    Args:
        arguments: command-line arguments.
        node_name: with its namespace, e.g. /robot/decomr.

    Returns:
        One line with the remedy; empty if every file has a section for the node.
    """
    texts = []
    for file in _values(arguments, PARAMETER_FILE):
        sections = list(_sections(_content(file)))
        if any(section_fits(section, node_name) for section in sections):
            continue
        has = f'sections for {", ".join(sections)}' if sections else 'no section'
        texts.append(
            f'the parameter file {file} has {has}, but none for this node ({node_name}): '
            'all of its values are ignored'
        )
    if not texts:
        return ''
    return (
        f'{"; ".join(texts)}; name the section {node_name}, or /** for every node, or rename '
        'the node (-r __node:=NAME, -r __ns:=/NAMESPACE)'
    )


def section_fits(section: str, node_name: str) -> bool:
    """Whether a section of a parameter file applies to a node, by the rules of rcl.

    Args:
        section: its name; `*` matches one token of a name, `**` any number of tokens.
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
    """The content of a YAML file; None if it cannot be read, which rclpy has already rejected."""
    try:
        return yaml.safe_load(Path(file).read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None


def _values(arguments: Sequence[str], options: Sequence[str]) -> Iterator[str]:
    """The values of these options after --ros-args."""
    is_ros, option = False, ''
    for word in arguments:
        if is_ros and option in options:
            yield word
            option = ''
        elif word in (BEGIN, END):
            is_ros, option = word == BEGIN, ''
        else:
            option = word
