"""Writes the node's parameters into the documentation page and the parameter file.

`python -m decomr_ros.parameters --page docs/parameters.md --yaml config/node/decomr.yaml`
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from decomr_ros.settings.parameter_table import table_text, yaml_text
from decomr_ros.settings.parameters import NodeParameters

__all__ = ['main', 'page_text', 'yaml_file_text']

MARKS = ('<!-- parameters -->', '<!-- end of parameters -->')
YAML_START = '  ros__parameters:\n'


def page_text(page: str) -> str:
    """The documentation page with the current table between its marks.

    Raises:
        ValueError: the page does not have the marks.
    """
    first, last = MARKS
    pattern = re.compile(f'{re.escape(first)}.*?{re.escape(last)}', re.S)
    if not pattern.search(page):
        raise ValueError(
            f'the page does not have the lines {first} and {last}; insert them '
            'where the table belongs'
        )
    return pattern.sub(lambda _: f'{first}\n\n{table_text(NodeParameters)}\n\n{last}', page)


def yaml_file_text(file: str) -> str:
    """The parameter file: its first lines, then every parameter with its default.

    Raises:
        ValueError: the file has no line `ros__parameters:`.
    """
    head, start, _ = file.partition(YAML_START)
    if not start:
        raise ValueError(
            f'the file has no line {YAML_START.rstrip()!r}; insert it before the parameters'
        )
    return head + start + yaml_text(NodeParameters)


def main(argv: Sequence[str] | None = None) -> int:
    """Updates the documentation page and the parameter file.

    Returns:
        The exit code: 2 for a user error.
    """
    parser = argparse.ArgumentParser(
        'python -m decomr_ros.parameters', description=__doc__.partition('\n')[0]
    )
    parser.add_argument('--page', type=Path, help='Markdown page to update')
    parser.add_argument('--yaml', type=Path, help='parameter file to update')
    options = parser.parse_args(argv)
    if options.page is None and options.yaml is None:
        parser.error('give --page or --yaml')
    try:
        for path, update in ((options.page, page_text), (options.yaml, yaml_file_text)):
            if path is not None:
                path.write_text(update(path.read_text(encoding='utf-8')), encoding='utf-8')
    except (OSError, ValueError) as error:
        sys.stderr.write(f'{error}\n')
        return 2
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
