"""Makes the ROS 2 wheels fit this machine: run once after installing them, by `scripts/setup`.

Their exported CMake files name the include folders of Python and NumPy on the machine that built
the wheels (`/opt/python/...`); building a message package against them fails. Here these become
this interpreter's own.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path

import numpy as np

BUILD_MACHINE_FOLDERS = re.compile(
    r'/opt/python/[^;"]*?(?P<numpy>/numpy/_?core/include)|/opt/python/[^;"]*?/include/python3\.\d+'
)


def fit(text: str) -> str:
    """An exported CMake file with the build machine's include folders replaced by ours."""
    return BUILD_MACHINE_FOLDERS.sub(
        lambda found: np.get_include() if found['numpy'] else sysconfig.get_path('include'), text
    )


def main() -> int:
    """Fits every exported CMake file of this virtual environment."""
    for path in sorted(Path(sys.prefix, 'share').glob('*/cmake/*.cmake')):
        text = path.read_text(encoding='utf-8')
        fitted = fit(text)
        if fitted != text:
            path.write_text(fitted, encoding='utf-8')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
