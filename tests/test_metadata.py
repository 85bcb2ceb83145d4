"""What pip and the forge read: the package's metadata, and the workflow of the tests."""

from __future__ import annotations

import re
import runpy
from typing import Any

import pytest
import yaml

from tests.test_import_rule import ROOT
from tests.test_repository import requirement_names


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What setup.py passes to setuptools."""
    given: dict[str, Any] = {}
    monkeypatch.setattr('setuptools.setup', given.update)
    monkeypatch.chdir(ROOT)
    runpy.run_path(str(ROOT / 'setup.py'))
    return given


def test_pip_gets_the_readme_and_no_placeholder(metadata: dict[str, Any]) -> None:
    assert metadata['long_description'] == (ROOT / 'README.md').read_text('utf-8')
    assert metadata['long_description_content_type'] == 'text/markdown'
    assert metadata['classifiers'] == sorted(metadata['classifiers'])
    told = str({name: value for name, value in metadata.items() if name != 'long_description'})
    assert 'example.' not in told and 'TODO' not in told


def test_every_installed_package_is_marked_as_typed(metadata: dict[str, Any]) -> None:
    installed = {name.split('.')[0] for name in metadata['packages']}
    built_by_colcon = set(
        re.findall(
            r'ament_python_install_package\((\w+)\)', (ROOT / 'CMakeLists.txt').read_text('utf-8')
        )
    )
    assert installed <= built_by_colcon != set()
    for package in built_by_colcon:
        assert (ROOT / package / 'py.typed').is_file()
    assert all('py.typed' in metadata['package_data'][name] for name in installed)


@pytest.mark.parametrize('runtime', ['openvino', 'onnxruntime'])
def test_a_runtime_that_exports_weights_brings_onnx(
    metadata: dict[str, Any], runtime: str
) -> None:
    names = {re.split('[<>=]', line)[0] for line in metadata['extras_require'][runtime]}
    assert {'onnx', runtime} <= names
    assert 'onnx' in requirement_names('runtime')


def test_the_workflow_runs_the_script_of_the_repository() -> None:
    text = (ROOT / '.github/workflows/ci.yml').read_text('utf-8')
    (job,) = yaml.safe_load(text)['jobs'].values()
    assert [step['run'] for step in job['steps'] if 'run' in step] == ['.ci/run']
    actions = [step['uses'] for step in job['steps'] if 'uses' in step]
    assert actions and all(re.fullmatch(r'actions/[\w-]+@v\d+', action) for action in actions)
    assert 'secrets' not in text
