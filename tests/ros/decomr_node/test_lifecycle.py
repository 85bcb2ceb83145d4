"""What the transitions acquire and release, and how the process ends."""

from __future__ import annotations

import gc
import time
from pathlib import Path

import numpy as np
import pytest
from lifecycle_msgs.msg import State, Transition

from decomr_ros.messages.images import image_message
from decomr_ros.node.managed_node import FAILURE, SUCCESS
from decomr_ros.outputs.outputs import Outputs
from decomr_ros.pipeline import network_memory
from tests.ros.conftest import RosTest
from tests.ros.decomr_node.test_node_bad_models import begin_with
from tests.ros.inner_node import HEIGHT, WIDTH, BrokenRuntime, InnerNode
from tests.ros.node_client import Camera, Lifecycle, start_node

# A process ends within 2 s of SIGINT; half a second is for a machine that does other things.
ENDS_S = 2.5
# Work in C that no signal interrupts, as when a library computes or loads a network.
BUSY = """
import hashlib

def compute(*_, **__):
    print('computing', flush=True)
    hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)

"""
BUSY_CONFIGURE = (
    BUSY
    + """
import decomr_core.estimation.loading
decomr_core.estimation.loading.load_runtime = compute
"""
)
BUSY_INFERENCE = (
    BUSY
    + """
import decomr_core.estimator
decomr_core.estimator.HumanMeshEstimator.estimate = compute
"""
)


def num_entities(inner: InnerNode) -> list[int]:
    """Its publishers, subscriptions and timers."""
    node = inner.node
    return [len(list(some)) for some in (node.publishers, node.subscriptions, node.timers)]


@pytest.mark.parametrize(
    'part',
    [
        'node_parts.MeshPipeline',
        'node_parts.Outputs',
        'node_parts.FixedFrame',
        'node_parts.RateLog',
    ],
)
def test_if_a_part_cannot_be_created_the_earlier_ones_are_released(
    inner: InnerNode, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setattr(network_memory, 'gc', gc)  # as in a process of its own

    inner.status()  # it spins, and what it does once is done
    before = num_entities(inner)
    with monkeypatch.context() as patch:
        patch.setattr(
            f'decomr_ros.{part}', lambda *_: (_ for _ in ()).throw(RuntimeError('cannot be made'))
        )
        assert inner.node.trigger_configure() == FAILURE
    assert 'cannot be made' in inner.node.last_failure
    assert inner.is_freed()
    assert num_entities(inner) == before
    assert inner.activate().show(HEIGHT, WIDTH).meshes, 'and it can be configured again'


def test_deactivate_keeps_the_network_and_cleanup_frees_it(
    inner: InnerNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_memory, 'gc', gc)  # as in a process of its own
    inner.status()  # it spins, and what it does once is done
    before = num_entities(inner)
    camera = inner.activate()
    assert camera.show(HEIGHT, WIDTH).meshes
    assert inner.node.trigger_deactivate() == SUCCESS
    assert not inner.is_freed()
    assert inner.activate_configured().show(HEIGHT, WIDTH).meshes
    assert len(inner.runtimes) == 1
    assert inner.node.trigger_deactivate() == SUCCESS
    assert inner.node.trigger_cleanup() == SUCCESS
    assert inner.is_freed()
    assert num_entities(inner) == before
    assert inner.activate().show(HEIGHT, WIDTH).meshes  # and once more
    assert len(inner.runtimes) == 2
    assert inner.node.trigger_shutdown() == SUCCESS
    assert inner.is_freed()


def test_a_network_that_loads_but_does_not_run_is_freed_again(
    inner: InnerNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_memory, 'gc', gc)  # as in a process of its own
    working, inner.runtime_class = inner.runtime_class, BrokenRuntime
    assert inner.node.trigger_configure() == FAILURE
    assert inner.node.state_label == 'unconfigured'
    assert "please report this: KeyError('no such kernel')" in inner.node.last_failure
    assert len(inner.runtimes) == 1
    assert inner.is_freed()
    inner.runtime_class = working
    assert inner.node.trigger_configure() == SUCCESS
    assert inner.node.last_failure == ''


def test_a_failed_activation_leaves_the_node_inactive_and_can_be_repeated(
    inner: InnerNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(outputs: Outputs) -> None:
        raise RuntimeError('no topology today')

    assert inner.node.trigger_configure() == SUCCESS
    with monkeypatch.context() as patch:
        patch.setattr(Outputs, 'publish_topology', fail)
        assert inner.node.trigger_activate() == FAILURE
    assert inner.node.state_label == 'inactive'
    assert inner.node.last_failure == 'activate failed: no topology today'
    assert inner.node.count_subscribers('image') == 0
    assert inner.activate_configured().show(HEIGHT, WIDTH).meshes


def test_the_first_image_finds_everything_warmed_up(inner: InnerNode) -> None:
    assert inner.node.trigger_configure() == SUCCESS
    assert inner.runtimes[0]().num_crops >= 5  # one person, and several at once
    assert {mesh.id for mesh in inner.activate_configured().show(HEIGHT, WIDTH).meshes} == {0, 1}


def test_sigint_while_configuring_ends_the_process_in_time(
    ros: RosTest, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_with(BUSY_CONFIGURE, ros.folder / 'start', monkeypatch)
    node = start_node(ros, weights)
    node.wait_for('computing')
    started = time.monotonic()
    assert node.stop() == 0
    assert 1.0 < time.monotonic() - started < ENDS_S
    last = node.output.splitlines()[-1]
    assert last.startswith('[INFO] exiting 1.6 s after the signal, without waiting for')
    assert 'Traceback' not in node.output


def test_sigint_while_an_inference_runs_ends_the_process_in_time_and_in_order(
    ros: RosTest, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_with(BUSY_INFERENCE, ros.folder / 'start', monkeypatch)
    node = start_node(ros, weights)
    camera = Camera(ros)
    camera.wait()
    camera.send(image_message(camera.header(), np.zeros((48, 64, 3), np.uint8), 'rgb8'))
    node.wait_for('computing')
    started = time.monotonic()
    assert node.stop() == 0
    assert time.monotonic() - started < ENDS_S
    assert '1 images received' in node.output
    assert 'after the signal' not in node.output
    assert 'Traceback' not in node.output
    told = [line for line in node.output.splitlines() if 'without waiting for the last' in line]
    assert len(told) == 1 and '[INFO]' in told[0], node.output
    assert 'ERROR' not in node.output


def test_services_answer_soon_while_large_images_come_at_30_hz(
    ros: RosTest, weights: Path
) -> None:
    start_node(ros, weights)
    remote = Lifecycle(ros)
    camera = Camera(ros)
    camera.wait()
    message = image_message(camera.header(), np.zeros((720, 1280, 3), np.uint8), 'bgr8')
    timer = ros.node.create_timer(1 / 30, lambda: camera.send(message))
    ros.spin_until(lambda: camera.seen)
    waits = []
    for _ in range(10):
        for ask in (remote.state, remote.get_parameters):
            started = time.monotonic()
            ask()
            waits.append(time.monotonic() - started)
    assert remote.state() == State.PRIMARY_STATE_ACTIVE
    assert max(waits) < 1.0
    timer.cancel()
    started = time.monotonic()
    assert remote.change(Transition.TRANSITION_DEACTIVATE)
    assert time.monotonic() - started < 2.0
