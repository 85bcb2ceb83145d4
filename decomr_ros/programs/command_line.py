"""Command lines of programs that are nodes: their own options and ROS arguments."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from rclpy.utilities import remove_ros_args

__all__ = ['node_parser', 'parse_arguments']

ROS_ARGUMENTS = """ROS 2 arguments, all of them after --ros-args:
  -r image:=/camera/image_raw  remap a topic
  -r __ns:=/robot              namespace of the node and its topics
  -p use_sim_time:=true        take the time from /clock, e.g. while a bag is played"""


def node_parser(program: str, description: str, more: str = '') -> argparse.ArgumentParser:
    """A parser whose --help also explains ROS arguments.

    Args:
        program: name of the program.
        description: what it does, in one line.
        more: text after the ROS arguments, e.g. the node's parameters.
    """
    return _Parser(
        program,
        description=description,
        epilog=f'{ROS_ARGUMENTS}\n{more}'.rstrip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def parse_arguments(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None
) -> argparse.Namespace:
    """Parses the program's own options; ROS arguments are left to rclpy.

    A user error ends the process with exit code 2.

    Args:
        parser: from `node_parser`.
        argv: command-line arguments; None: those of this process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        arguments = remove_ros_args(arguments)
    except RuntimeError as error:  # rclpy's RCLInvalidROSArgsError is not public
        parser.error(' '.join(str(error).split()))
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.error(
            f'unrecognized arguments: {" ".join(unknown)} (ROS arguments such as -p and '
            '-r must follow --ros-args)'
        )
    return options


class _Parser(argparse.ArgumentParser):
    """Reports a user error in one line; argparse would print the whole usage before it."""

    def error(self, message: str) -> NoReturn:
        """Ends the process with exit code 2."""
        self.exit(2, f'{self.prog}: {message}; see --help\n')
