"""The public names of `decomr_core`: quick to import, lazy, and the same for type checkers."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

import decomr_core
from tests.test_import_rule import ROOT

HEAVY = ('torch', 'numpy', 'cv2', 'scipy', 'openvino', 'onnxruntime')


def loaded_after(code: str) -> set[str]:
    """Which of the heavy packages a new Python has loaded after some code."""
    code = f'import sys; {code}; print(*(name for name in {HEAVY} if sys.modules.get(name)))'
    return set(
        subprocess.run(
            [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split()
    )


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_after('import decomr_core; dir(decomr_core)') == set()


def test_the_estimator_is_loaded_without_torch() -> None:
    loaded = loaded_after('from decomr_core import load_estimator')
    assert 'numpy' in loaded and 'torch' not in loaded


@pytest.mark.parametrize('name', decomr_core.__all__)
def test_each_public_name_exists_and_is_documented(name: str) -> None:
    assert name in dir(decomr_core)
    value = getattr(decomr_core, name)
    assert value.__doc__
    assert value is getattr(decomr_core, name)


def test_a_star_import_gives_the_public_names() -> None:
    names: dict[str, object] = {}
    exec('from decomr_core import *', names)
    assert set(decomr_core.__all__) <= set(names)


def test_a_wrong_name_is_an_error_that_lists_the_right_ones() -> None:
    with pytest.raises(AttributeError, match="no attribute 'load_estimators'.*load_estimator, "):
        _ = decomr_core.load_estimators


def test_type_checkers_see_the_modules_that_are_loaded() -> None:
    tree = ast.parse((ROOT / 'decomr_core/__init__.py').read_text('utf-8'))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert seen == {name: f'decomr_core.{module}' for name, module in decomr_core.MODULES.items()}
