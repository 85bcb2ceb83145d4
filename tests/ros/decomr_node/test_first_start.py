"""The node responds while it configures, logs what it waits for, and needs no HOME."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State, Transition
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters

from tests.ros.conftest import Process, RosTest
from tests.ros.decomr_node.test_node_bad_models import begin_with
from tests.ros.node_client import Lifecycle, start_node

ANSWER_S = 1.0
ENDS_S = 2.5
# Nobody can create anything there, not even root.
UNWRITABLE = '/dev/null/home'
# A runtime that loads until a file is there.
SLOW = """
import pathlib, time
import decomr_core.estimation.loading as loading

load_runtime = loading.load_runtime

def load_slowly(*arguments, **options):
    print('loading', flush=True)
    while not pathlib.Path({!r}).exists():
        time.sleep(0.01)
    return load_runtime(*arguments, **options)

loading.load_runtime = load_slowly
"""


@pytest.fixture
def go_on(ros: RosTest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file; nodes that start now load their network only once it is there."""
    path = ros.folder / 'go on'
    begin_with(SLOW.format(str(path)), ros.folder / 'start', monkeypatch)
    yield path
    path.touch()


def test_services_and_diagnostics_answer_while_the_node_configures(
    ros: RosTest, weights: Path, go_on: Path
) -> None:
    said: list[DiagnosticArray] = []
    ros.node.create_subscription(DiagnosticArray, '/diagnostics', said.append, 10)
    node = start_node(ros, weights)
    remote = Lifecycle(ros)
    node.wait_for('loading')
    assert 'configuring: weights' in node.output, 'it says so before, not afterwards'
    for ask in (remote.state, remote.get_parameters) * 5:
        started_s = time.monotonic()
        answer = ask()
        assert time.monotonic() - started_s < ANSWER_S
        if ask == remote.state:
            assert answer == State.TRANSITION_STATE_CONFIGURING
    said.clear()
    ros.spin_until(lambda: said, 10)
    assert said[-1].status[0].message.startswith('configuring; configuring: weights')
    go_on.touch()
    ros.spin_until(lambda: remote.state() == State.PRIMARY_STATE_ACTIVE)
    ros.spin_until(lambda: 'configuring' not in said[-1].status[0].message, 10)


def test_a_parameter_that_configure_uses_is_rejected_meanwhile(
    ros: RosTest, weights: Path, go_on: Path
) -> None:
    node = start_node(ros, weights)
    Lifecycle(ros)
    client = ros.node.create_client(SetParameters, '/decomr/set_parameters')
    ros.spin_until(client.service_is_ready)
    node.wait_for('loading')
    answer = client.call_async(
        SetParameters.Request(
            parameters=[
                ParameterMessage(
                    name='weights',
                    value=ParameterValue(
                        type=ParameterType.PARAMETER_STRING, string_value='other'
                    ),
                ),
                ParameterMessage(
                    name='max_people',
                    value=ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=7),
                ),
            ]
        )
    )
    ros.spin_until(answer.done)
    weights_result, people_result = answer.result().results
    assert not weights_result.successful and 'weights takes effect when' in weights_result.reason
    assert people_result.successful


def test_a_transition_requested_by_service_blocks_no_other_service(
    ros: RosTest, weights: Path, go_on: Path
) -> None:
    node = start_node(ros, weights, autostart=False)
    remote = Lifecycle(ros)
    changed = remote._change.call_async(
        remote._change.srv_type.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
    )
    ros.spin_until(lambda: 'loading' in node.output)
    started_s = time.monotonic()
    assert remote.state() == State.TRANSITION_STATE_CONFIGURING
    assert time.monotonic() - started_s < ANSWER_S
    assert not changed.done()
    go_on.touch()
    ros.spin_until(changed.done)
    assert changed.result().success
    assert remote.state() == State.PRIMARY_STATE_INACTIVE
    assert remote.change(Transition.TRANSITION_ACTIVATE)
    assert remote.change(Transition.TRANSITION_DEACTIVATE)
    assert remote.change(Transition.TRANSITION_CLEANUP)
    assert not remote.change(Transition.TRANSITION_ACTIVATE)
    assert remote.state() == State.PRIMARY_STATE_UNCONFIGURED


@pytest.mark.full_size
def test_a_missing_export_is_announced_and_its_steps_are_logged(
    ros: RosTest, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('DECOMR_CACHE', str(ros.folder / 'cache'))
    node = start_node(ros, weights)
    remote = Lifecycle(ros)
    waits: list[float] = []

    def is_active() -> bool:
        started_s = time.monotonic()
        state = remote.state()
        waits.append(time.monotonic() - started_s)
        return state == State.PRIMARY_STATE_ACTIVE

    ros.spin_until(is_active, 120)
    assert max(waits) < ANSWER_S
    order = [
        node.output.index(text)
        for text in (
            'no exported model of weights',
            'step 1 of 3',
            'step 2 of 3',
            'step 3 of 3',
            'configured: ',
            'active: ',
        )
    ]
    assert order == sorted(order)


@pytest.mark.full_size
def test_sigint_while_exporting_ends_the_node_in_time(
    ros: RosTest, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('DECOMR_CACHE', str(ros.folder / 'cache'))
    node = start_node(ros, weights)
    node.wait_for('step 1 of 3')
    child = _child_of(node)
    started_s = time.monotonic()
    assert node.stop() == 0
    assert time.monotonic() - started_s < ENDS_S
    assert 'Traceback' not in node.output
    ros.spin_until(lambda: not Path(f'/proc/{child}').exists())
    assert list((ros.folder / 'cache/exports').iterdir()) == [], 'nothing half made is left'


@pytest.mark.full_size
def test_without_a_writable_home_the_node_works_with_one_warning(
    ros: RosTest, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ('DECOMR_CACHE', 'XDG_CACHE_HOME', 'ROS_LOG_DIR', 'ROS_HOME'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('HOME', UNWRITABLE)
    (ros.folder / 'tmp').mkdir()
    monkeypatch.setenv('TMPDIR', str(ros.folder / 'tmp'))
    node = start_node(ros, weights)
    node.wait_for('active: ', 120)
    assert node.output.count(f'the cache {UNWRITABLE}/.cache/decomr is not writable') == 1
    assert 'DECOMR_CACHE' in node.output
    assert node.output.count(f'{UNWRITABLE}/.ros/log is not writable') == 1
    assert 'ROS_LOG_DIR' in node.output
    assert node.stop() == 0


def _child_of(node: Process) -> int:
    pid = node.process.pid
    found = [path.read_text().split() for path in Path(f'/proc/{pid}/task').glob('*/children')]
    return int([child for children in found for child in children][0])
