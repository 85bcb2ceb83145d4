"""Parameters as the fields of a dataclass: one entry says everything about one of them.

Out of the entry come the descriptor that `ros2 param describe` shows, the check of every change,
the lines of the YAML file and the row of the table in the documentation.
"""

from __future__ import annotations

import difflib
import enum
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import ParameterNotDeclaredException

from decomr_ros.node.installation import with_ros2_command

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.parameter import Parameter

__all__ = ['Effect', 'ParameterEntry', 'descriptor', 'entries', 'parameter', 'problem',
           'table_text', 'unknown_text', 'watch_changes', 'yaml_text']

# What ROS calls the types.
TYPE_NAMES = {bool: 'bool', int: 'integer', float: 'double', str: 'string'}
ARTICLES = {int: 'an'}
# Lines of the YAML file are at most this long.
YAML_WIDTH = 96
# Parameters of every node, which rclpy reads, some of them in newer distributions alone.
RCLPY_PARAMETERS = ('use_sim_time', 'start_type_description_service')
RCLPY_PREFIX = 'qos_overrides.'


class Effect(enum.Enum):
    """When a changed parameter takes effect."""

    NEXT_IMAGE = 'next image'
    """At any time, whatever the state."""
    CONFIGURE = 'configure'
    """Only while the node is unconfigured; refused in the other states."""
    START = 'start'
    """Never: it is read when the process starts."""


@dataclass(frozen=True)
class ParameterEntry:
    """What is known of one parameter."""

    name: str
    default: bool | int | float | str
    meaning: str
    """A phrase without a capital and a full stop, with the unit."""
    effect: Effect
    choices: tuple[str, ...] = ()
    """The values allowed of a string; none: any."""
    range: tuple[float, float] | None = None
    """The smallest and the largest value of a number."""

    @property
    def allowed(self) -> str:
        """The choices or the range, in words; empty where anything goes."""
        if self.range is not None:
            return f'{self.range[0]} to {self.range[1]}'
        return ', '.join(self.choices)


def parameter(default: bool | int | float | str, meaning: str, *,
              effect: Effect = Effect.NEXT_IMAGE, choices: tuple[str, ...] = (),
              range: tuple[float, float] | None = None) -> Any:  # noqa: A002 - reads well there
    """A field of the dataclass of parameters; the arguments are those of `ParameterEntry`."""
    return field(default=default, metadata={'meaning': meaning, 'effect': effect,
                                            'choices': tuple(choices), 'range': range})


def entries(table: type) -> list[ParameterEntry]:
    """The parameters of a dataclass whose fields were made with `parameter`, in its order."""
    return [ParameterEntry(field.name, field.default, **field.metadata)
            for field in fields(table)]


def descriptor(entry: ParameterEntry) -> ParameterDescriptor:
    """What `ros2 param describe` shows of a parameter."""
    message = ParameterDescriptor(description=entry.meaning,
                                  read_only=entry.effect is Effect.START)
    constraints = []
    if entry.choices:
        constraints.append(f'one of: {", ".join(entry.choices)}')
    if entry.effect is Effect.CONFIGURE:
        constraints.append('changed only while the node is unconfigured')
    message.additional_constraints = '; '.join(constraints)
    if entry.range is not None:
        low, high = entry.range
        if isinstance(entry.default, int):
            message.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
        else:
            message.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    return message


def problem(entry: ParameterEntry, value: Any) -> str:
    """Why a value is not allowed, in one sentence; empty if it is."""
    said = f'parameter {entry.name} is {value!r}'
    if type(value) is not type(entry.default):
        wanted = type(entry.default)
        return f'{said}, expected {ARTICLES.get(wanted, "a")} {TYPE_NAMES[wanted]}'
    if entry.choices and value not in entry.choices:
        return f'{said}, expected one of: {", ".join(entry.choices)}'
    if entry.range is not None and not entry.range[0] <= value <= entry.range[1]:
        return f'{said}, expected {entry.allowed}'
    return ''


def watch_changes(node: Node, table: type, refusals: Callable[[Mapping[str, Any]], list[str]],
                  is_configured: Callable[[], bool],
                  changed: Callable[[frozenset[str]], None]) -> None:
    """Checks every change of the parameters as a whole, and tells of those that were made.

    Args:
        node: it has declared the parameters.
        table: the dataclass of the parameters.
        refusals: what is wrong with values by name; a change is refused if it brings anything
            new into this list.
        is_configured: whether parameters that are read by configure are in use.
        changed: called with the names after a change, on the executor's thread.
    """
    known = {entry.name: entry for entry in entries(table)}

    def check(changes: list[Parameter]) -> SetParametersResult:
        """Refuses all of the changes, with every reason, if one is not allowed."""
        present = {name: node.get_parameter(name).value for name in known}
        new = {change.name: change.value for change in changes if change.name in known}
        own_name = node.get_fully_qualified_name()
        how = with_ros2_command(f'ros2 lifecycle set {own_name} cleanup',
                                f'by the service {own_name}/change_state')
        reasons = [f'parameter {name} is used by configure; deactivate and clean up the node '
                   f'first ({how})'
                   for name, value in new.items()
                   if known[name].effect is Effect.CONFIGURE and value != present[name]
                   and is_configured()]
        before = refusals(present)
        reasons += [reason for reason in refusals({**present, **new}) if reason not in before]
        return SetParametersResult(successful=not reasons, reason='; '.join(reasons))

    def after(changes: list[Parameter]) -> None:
        """Passes on the names of our own parameters."""
        names = frozenset(change.name for change in changes) & known.keys()
        if names:
            changed(names)

    node.add_on_set_parameters_callback(check)
    _call_after_changes(node, after)
    _name_what_rclpy_refuses(node, known)


def unknown_text(node: Node, table: type) -> str:
    """Which parameters the node was given that it does not have; ROS 2 ignores them silently.

    Args:
        node: it has declared all of its parameters.
        table: the dataclass of the parameters.

    Returns:
        One line with the nearest name of each; empty where there are none.
    """
    # rclpy has no public way to ask for them; the name is the same from Foxy to Rolling.
    given = getattr(node, '_parameter_overrides', {})
    unknown = [name for name in given if not node.has_parameter(name)
               and name not in RCLPY_PARAMETERS and not name.startswith(RCLPY_PREFIX)]
    if not unknown:
        return ''
    known = [entry.name for entry in entries(table)]
    hints = [_with_nearest(name, known) for name in unknown]
    return f'ignored, as there are no such parameters: {", ".join(hints)}'


def table_text(table: type) -> str:
    """The parameters as a table in Markdown."""
    rows = ['| parameter | type | default | allowed | takes effect | meaning |',
            '|---|---|---|---|---|---|']
    for entry in entries(table):
        cells = (f'`{entry.name}`', TYPE_NAMES[type(entry.default)],
                 f'`{_yaml_value(entry.default)}`', entry.allowed, entry.effect.value,
                 entry.meaning)
        rows.append(f'| {" | ".join(cell.replace("|", chr(92) + "|") for cell in cells)} |')
    return '\n'.join(rows)


def yaml_text(table: type) -> str:
    """The parameters with their defaults, one block of YAML each, indented by four spaces."""
    blocks = []
    for entry in entries(table):
        lines = _wrapped(entry.meaning)
        if entry.allowed:
            lines += _wrapped(f'Allowed: {entry.allowed}')
        blocks.append('\n'.join([*(f'    # {line}' for line in lines),
                                 f'    {entry.name}: {_yaml_value(entry.default)}']))
    return '\n\n'.join(blocks) + '\n'


def _call_after_changes(node: Node, after: Callable[[list[Parameter]], None]) -> None:
    """Calls `after` once the values are in place; rclpy before Iron has no hook for that."""
    if hasattr(node, 'add_post_set_parameters_callback'):
        node.add_post_set_parameters_callback(after)
        return
    set_atomically = node.set_parameters_atomically

    def set_and_tell(changes: list[Parameter]) -> SetParametersResult:
        """What the services of the parameters call, and `set_parameters` does not."""
        result = set_atomically(changes)
        if result.successful:
            after(changes)
        return result

    node.set_parameters_atomically = set_and_tell


def _name_what_rclpy_refuses(node: Node, known: Mapping[str, ParameterEntry]) -> None:
    """Puts names into the refusals of rclpy itself, which has none for types and unknown names."""
    set_atomically = node.set_parameters_atomically

    def set_by_name(changes: list[Parameter]) -> SetParametersResult:
        """What the services of the parameters call."""
        names = [change.name for change in changes]
        try:
            result = set_atomically(changes)
        except ParameterNotDeclaredException:
            unknown = [name for name in names if not node.has_parameter(name)]
            raise ParameterNotDeclaredException(
                [_with_nearest(name, known) for name in unknown]) from None
        if not result.successful and not any(name in result.reason for name in names):
            found = [text for change in changes if change.name in known
                     and (text := problem(known[change.name], change.value))]
            result.reason = '; '.join(found) or f'{", ".join(names)}: {result.reason}'
        return result

    node.set_parameters_atomically = set_by_name


def _with_nearest(name: str, known: Iterable[str]) -> str:
    """A name that does not exist, with the one that was meant perhaps."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f'{name} (nearest: {near[0]})' if near else name


def _yaml_value(value: bool | int | float | str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}'" if value == '' else str(value)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, YAML_WIDTH - len('    # '), break_on_hyphens=False)
