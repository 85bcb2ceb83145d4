"""The command lines of the programs that are nodes: their own options, and what ROS 2 takes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from rclpy.utilities import remove_ros_args

__all__ = ['node_parser', 'parse_words']

ROS_ARGUMENTS = """ROS 2's own, all of them behind --ros-args:
  -r image:=/camera/image_raw  another name for a topic
  -r __ns:=/robot              namespace of the node and of its topics
  -p use_sim_time:=true        time from /clock, as where a bag is played"""


def node_parser(program: str, description: str, more: str = '') -> argparse.ArgumentParser:
    """A parser whose --help shows what goes behind --ros-args as well.

    Args:
        program: its name.
        description: what it does, in one line.
        more: what follows ROS 2's own arguments, e.g. the program's parameters.
    """
    return _Parser(
        program, description=description, epilog=f'{ROS_ARGUMENTS}\n{more}'.rstrip(),
        formatter_class=argparse.RawDescriptionHelpFormatter)


def parse_words(parser: argparse.ArgumentParser,
                argv: Sequence[str] | None) -> argparse.Namespace:
    """The program's own options; what follows --ros-args is left to rclpy.

    Args:
        parser: made by `node_parser`.
        argv: the words; None: those of this process. A mistake ends it with exit code 2.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        words = remove_ros_args(words)
    except RuntimeError as error:  # rclpy's RCLInvalidROSArgsError is not public
        parser.error(' '.join(str(error).split()))
    options, unknown = parser.parse_known_args(words)
    if unknown:
        parser.error(f'unrecognized arguments: {" ".join(unknown)} (those of ROS 2 as -p and -r '
                     'go behind --ros-args)')
    return options


class _Parser(argparse.ArgumentParser):
    """Says a mistake in one line; argparse puts all of the usage before it."""

    def error(self, message: str) -> NoReturn:
        """Ends the process with code 2."""
        self.exit(2, f'{self.prog}: {message}; --help says more\n')
