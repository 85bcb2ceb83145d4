"""Writes the table of the node's parameters into its page and its parameter file.

`python -m decomr_ros.parameters --page docs/parameters.md --yaml config/decomr.yaml`
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
    """The page of the documentation with the present table between its marks.

    Raises:
        ValueError: the page has no such marks.
    """
    first, last = MARKS
    pattern = re.compile(f'{re.escape(first)}.*?{re.escape(last)}', re.S)
    if not pattern.search(page):
        raise ValueError(f'the page has no part between {first} and {last}; put these two lines '
                         'where the table belongs')
    return pattern.sub(lambda _: f'{first}\n\n{table_text(NodeParameters)}\n\n{last}', page)


def yaml_file_text(file: str) -> str:
    """The parameter file with every parameter and its default behind its first lines.

    Raises:
        ValueError: the file is of another form.
    """
    head, start, _ = file.partition(YAML_START)
    if not start:
        raise ValueError(f'the file has no line {YAML_START.rstrip()!r}; put it before the '
                         'parameters')
    return head + start + yaml_text(NodeParameters)


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the table of the documentation and the parameter file.

    Returns:
        The exit code: 2 for a mistake of the user.
    """
    parser = argparse.ArgumentParser('python -m decomr_ros.parameters', description=main.__doc__)
    parser.add_argument('--page', type=Path, help='file in Markdown to bring up to date')
    parser.add_argument('--yaml', type=Path, help='parameter file to bring up to date')
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
