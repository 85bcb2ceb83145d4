"""Declares parameters as the fields of a dataclass, one entry per parameter.

The entry generates the descriptor that `ros2 param describe` shows, the check of every change, the
lines of the YAML file and the row of the table in the documentation.
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

__all__ = [
    'Effect',
    'ParameterEntry',
    'descriptor',
    'entries',
    'parameter',
    'problem',
    'table_text',
    'unknown_text',
    'watch_changes',
    'yaml_text',
]

# Names of the types in ROS.
TYPE_NAMES: dict[type, str] = {bool: 'bool', int: 'integer', float: 'double', str: 'string'}
ARTICLES: dict[type, str] = {int: 'an'}
# Maximum line length of the YAML file.
YAML_WIDTH = 96
# Parameters that rclpy declares in every node, some of them only in newer distributions.
RCLPY_PARAMETERS = ('use_sim_time', 'start_type_description_service')
RCLPY_PREFIX = 'qos_overrides.'


class Effect(enum.Enum):
    """When a changed parameter takes effect."""

    NEXT_IMAGE = 'next image'
    """At any time, whatever the state."""
    CONFIGURE = 'configure'
    """Only while the node is unconfigured; rejected in the other states."""
    START = 'start'
    """Never: the parameter is read only when the process starts."""


@dataclass(frozen=True)
class ParameterEntry:
    """The definition of one parameter."""

    name: str
    default: bool | int | float | str
    meaning: str
    """A phrase without an initial capital and a final full stop, with the unit."""
    effect: Effect
    choices: tuple[str, ...] = ()
    """The allowed values of a string; empty: any."""
    range: tuple[float, float] | None = None
    """The smallest and the largest value of a number."""

    @property
    def allowed(self) -> str:
        """The choices or the range in words; empty if any value is allowed."""
        if self.range is not None:
            return f'{self.range[0]} to {self.range[1]}'
        return ', '.join(self.choices)


def parameter(
    default: bool | int | float | str,
    meaning: str,
    *,
    effect: Effect = Effect.NEXT_IMAGE,
    choices: tuple[str, ...] = (),
    range: tuple[float, float] | None = None,
) -> Any:  # noqa: A002 - reads well there
    """A field of the dataclass of parameters; the arguments are those of `ParameterEntry`."""
    return field(
        default=default,
        metadata={'meaning': meaning, 'effect': effect, 'choices': tuple(choices), 'range': range},
    )


def entries(table: type) -> list[ParameterEntry]:
    """The parameters of a dataclass whose fields were declared with `parameter`, in order."""
    found = []
    for field_ in fields(table):
        default: Any = field_.default
        found.append(ParameterEntry(field_.name, default, **field_.metadata))
    return found


def descriptor(entry: ParameterEntry) -> ParameterDescriptor:
    """The descriptor that `ros2 param describe` shows."""
    message = ParameterDescriptor(
        description=entry.meaning, read_only=entry.effect is Effect.START
    )
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
    """Why a value is not allowed, in one sentence; empty if it is allowed."""
    seen = f'parameter {entry.name} is {value!r}'
    expected_type: type = type(entry.default)
    if type(value) is not expected_type:
        return f'{seen}, expected {ARTICLES.get(expected_type, "a")} {TYPE_NAMES[expected_type]}'
    if entry.choices and value not in entry.choices:
        return f'{seen}, expected one of: {", ".join(entry.choices)}'
    if entry.range is not None and not _is_within(value, entry.range):
        return f'{seen}, expected {entry.allowed}'
    return ''


def _is_within(value: Any, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def watch_changes(
    node: Node,
    table: type,
    refusals: Callable[[Mapping[str, Any]], list[str]],
    is_configured: Callable[[], bool],
    changed: Callable[[frozenset[str]], None],
) -> None:
    """Checks every set of changes as a whole and reports accepted changes.

    Args:
        node: the parameters are declared on it.
        table: the dataclass of the parameters.
        refusals: returns the problems of the values by name; changes that add a problem are
            rejected.
        is_configured: whether parameters that take effect in configure are in use.
        changed: called with the names after a change, on the executor's thread.
    """
    known = {entry.name: entry for entry in entries(table)}

    def check(changes: list[Parameter]) -> SetParametersResult:
        """Rejects all changes, with every reason, if one is not allowed."""
        present = {name: node.get_parameter(name).value for name in known}
        new = {change.name: change.value for change in changes if change.name in known}
        own_name = node.get_fully_qualified_name()
        how = with_ros2_command(
            f'ros2 lifecycle set {own_name} cleanup', f'with the service {own_name}/change_state'
        )
        reasons = [
            f'parameter {name} takes effect when the node is configured; deactivate and '
            f'clean up the node first ({how})'
            for name, value in new.items()
            if known[name].effect is Effect.CONFIGURE
            and value != present[name]
            and is_configured()
        ]
        before = refusals(present)
        reasons += [reason for reason in refusals({**present, **new}) if reason not in before]
        return SetParametersResult(successful=not reasons, reason='; '.join(reasons))

    def after(changes: list[Parameter]) -> None:
        """Reports the names of the table's parameters."""
        names = frozenset(change.name for change in changes) & known.keys()
        if names:
            changed(names)

    node.add_on_set_parameters_callback(check)
    _call_after_changes(node, after)
    _add_names_to_refusals(node, known)


def unknown_text(node: Node, table: type) -> str:
    """A warning about given parameters that do not exist; ROS 2 ignores them silently.

    Args:
        node: all of its parameters are declared.
        table: the dataclass of the parameters.

    Returns:
        One line with the most similar name of each; empty if there are none.
    """
    # rclpy has no public interface for them; the name is the same from Foxy to Rolling.
    given = getattr(node, '_parameter_overrides', {})
    unknown = [
        name
        for name in given
        if not node.has_parameter(name)
        and name not in RCLPY_PARAMETERS
        and not name.startswith(RCLPY_PREFIX)
    ]
    if not unknown:
        return ''
    known = [entry.name for entry in entries(table)]
    hints = [_with_nearest(name, known) for name in unknown]
    return f'ignored because there are no such parameters: {", ".join(hints)}'


def table_text(table: type) -> str:
    """The parameters as a Markdown table."""
    rows = [
        '| parameter | type | default | allowed | takes effect | meaning |',
        '|---|---|---|---|---|---|',
    ]
    for entry in entries(table):
        cells = (
            f'`{entry.name}`',
            TYPE_NAMES[type(entry.default)],
            f'`{_yaml_value(entry.default)}`',
            entry.allowed,
            entry.effect.value,
            entry.meaning,
        )
        rows.append(f'| {" | ".join(cell.replace("|", chr(92) + "|") for cell in cells)} |')
    return '\n'.join(rows)


def yaml_text(table: type) -> str:
    """The parameters with their defaults as YAML, indented by four spaces."""
    blocks = []
    for entry in entries(table):
        lines = _wrapped(entry.meaning)
        if entry.allowed:
            lines += _wrapped(f'Allowed: {entry.allowed}')
        blocks.append(
            '\n'.join(
                [
                    *(f'    # {line}' for line in lines),
                    f'    {entry.name}: {_yaml_value(entry.default)}',
                ]
            )
        )
    return '\n\n'.join(blocks) + '\n'


def _call_after_changes(node: Node, after: Callable[[list[Parameter]], None]) -> None:
    """Calls `after` after the values have changed; rclpy before Iron has no hook for that."""
    if hasattr(node, 'add_post_set_parameters_callback'):
        node.add_post_set_parameters_callback(after)
        return
    set_atomically = node.set_parameters_atomically

    def set_and_report(parameter_list: list[Parameter]) -> SetParametersResult:
        """Called by the parameter services, but not by `set_parameters`."""
        result = set_atomically(parameter_list)
        if result.successful:
            after(parameter_list)
        return result

    # rclpy offers no other way to intercept the services.
    node.set_parameters_atomically = set_and_report  # type: ignore[method-assign]


def _add_names_to_refusals(node: Node, known: Mapping[str, ParameterEntry]) -> None:
    """Adds names to rclpy's rejections of types and unknown parameters, which have none."""
    set_atomically = node.set_parameters_atomically

    def set_with_names(parameter_list: list[Parameter]) -> SetParametersResult:
        """Called by the parameter services."""
        names = [change.name for change in parameter_list]
        try:
            result = set_atomically(parameter_list)
        except ParameterNotDeclaredException:
            unknown = [name for name in names if not node.has_parameter(name)]
            raise ParameterNotDeclaredException(
                [_with_nearest(name, known) for name in unknown]
            ) from None
        if not result.successful and not any(name in result.reason for name in names):
            found = [
                text
                for change in parameter_list
                if change.name in known and (text := problem(known[change.name], change.value))
            ]
            result.reason = '; '.join(found) or f'{", ".join(names)}: {result.reason}'
        return result

    # rclpy offers no other way to intercept the services.
    node.set_parameters_atomically = set_with_names  # type: ignore[method-assign]


def _with_nearest(name: str, known: Iterable[str]) -> str:
    """A name that does not exist, with the most similar existing one."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f'{name} (nearest: {near[0]})' if near else name


def _yaml_value(value: bool | int | float | str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}'" if value == '' else str(value)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, YAML_WIDTH - len('    # '), break_on_hyphens=False)
