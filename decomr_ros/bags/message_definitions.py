"""Message definitions for recordings, so that they can be read without ROS."""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import get_package_share_directory

__all__ = ['SEPARATOR', 'message_definition']

SEPARATOR = '=' * 80


def message_definition(type_name: str) -> str:
    """The text of a message definition, followed by those of all nested messages.

    This is MCAP's schema encoding ros2msg; a reader needs nothing else to decode the bag.

    Args:
        type_name: e.g. sensor_msgs/msg/Image.

    Raises:
        FileNotFoundError: the package does not ship the .msg file.
    """
    texts = {type_name: _definition_text(type_name)}
    waiting = [type_name]
    while waiting:
        name = waiting.pop(0)
        for inner in _inner_types(name, texts[name]):
            if inner not in texts:
                texts[inner] = _definition_text(inner)
                waiting.append(inner)
    first, *others = texts
    parts = [texts[first]]
    for name in others:
        package, _, message = name.split('/')
        parts.append(f'{SEPARATOR}\nMSG: {package}/{message}\n{texts[name]}')
    return '\n'.join(parts)


def _definition_text(type_name: str) -> str:
    package, _, message = type_name.split('/')
    path = Path(get_package_share_directory(package)) / 'msg' / f'{message}.msg'
    return path.read_text(encoding='utf-8')


def _inner_types(type_name: str, text: str) -> list[str]:
    """Names of the message types of a definition's fields."""
    package = type_name.split('/')[0]
    found = []
    for line in text.splitlines():
        field = line.split('#')[0].split()
        if len(field) < 2:
            continue
        name = field[0].split('[')[0].split('<')[0]
        if '/' in name:
            found.append(f'{name.split("/")[0]}/msg/{name.split("/")[-1]}')
        elif name == 'Header':
            found.append('std_msgs/msg/Header')
        elif name[0].isupper():
            found.append(f'{package}/msg/{name}')
    return found
