"""The topics that `bag.launch.py` renames, also where ROS 2's launch is not installed."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_all_recorded_results_are_renamed():
    tree = ast.parse((ROOT / 'launch' / 'bag.launch.py').read_text('utf-8'))
    renamed = next(
        ast.literal_eval(statement.value)
        for statement in tree.body
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == 'OUR_TOPICS'
    )
    readme = (ROOT / 'README.md').read_text('utf-8')
    rows = re.findall(r'^\| out: ([^|]+)\|', readme, re.MULTILINE)
    published = {name for row in rows for name in re.findall('`([^`]+)`', row)}
    assert len(published) > 15
    assert set(renamed) == {name for name in published if not name.startswith('/')}
