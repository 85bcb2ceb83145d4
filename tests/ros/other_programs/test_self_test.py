"""The self-test of `decomr doctor` reports what the node did."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.ros.decomr_node.test_node_bad_models import BROKEN_CODE, begin_with

# The node takes images, but never publishes a mesh.
SILENT = """
import decomr_ros.outputs.outputs
decomr_ros.outputs.outputs.Outputs.publish_meshes = lambda *_: None
"""


def tried(domain: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, '-m', 'decomr_ros.self_test'], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.full_size
def test_a_node_that_works_answers_with_people(domain: int) -> None:
    found = tried(domain)
    assert found['problem'] is None
    assert found['people'] >= 1 and found['seconds'] > 0


@pytest.mark.full_size
@pytest.mark.parametrize(
    ('code', 'said'), [(BROKEN_CODE, 'please report this'), (SILENT, '/image; its status: ')]
)
def test_a_node_that_does_not_answer_is_a_problem(
    domain: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    begin_with(code, tmp_path / 'start', monkeypatch)
    found = tried(domain)
    assert found['people'] is None
    assert said in found['problem']


@pytest.mark.full_size
def test_a_node_in_the_same_domain_does_not_answer_for_the_tested_one(
    domain: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = subprocess.Popen(
        [sys.executable, '-m', 'decomr_ros.decomr_node'],
        env=os.environ | {'ROS_DOMAIN_ID': '77', 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'},
    )
    try:
        begin_with(
            SILENT + 'import random\nrandom.SystemRandom.randint = lambda *_: 77\n',
            tmp_path / 'start',
            monkeypatch,
        )
        assert tried(domain)['people'] is None
    finally:
        other.terminate()
        other.wait(20)
