"""Fixtures of the ROS tests. Without rclpy the tests are skipped with a reason."""

from __future__ import annotations

import fcntl
import gc
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

rclpy = pytest.importorskip(
    'rclpy',
    reason='ROS 2 is not installed here; run `make setup`, then the tests with '
    '`scripts/with-env python -m pytest`',
)

from rcl_interfaces.msg import Log  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402

from decomr_core.base.structures import HumanMesh  # noqa: E402
from decomr_ros.calibration import calibration_wait  # noqa: E402

if TYPE_CHECKING:
    from decomr_core.body_models import BodyModel
    from decomr_core.uv.uv_map import UVMap
    from tests.ros.inner_node import InnerNode

# Fast DDS allows domains 0 to 232; the ports of those above 101 may be taken by other programs.
NUM_DOMAINS = 101


def make_mesh(track_id: int = 3, num_vertices: int = 20, seed: int = 0) -> HumanMesh:
    """A person with random values whose crop covers x and y from 16 to 48 px."""
    rng = np.random.default_rng(seed)
    return HumanMesh(
        track_id=track_id,
        score=0.75,
        box=np.array([18, 17, 46, 47], np.float32),
        vertices=rng.standard_normal((num_vertices, 3)).astype(np.float32),
        joints=rng.standard_normal((24, 3)).astype(np.float32),
        translation=np.array([0.25, -0.5, 3.0]),
        is_metric=True,
        visibility=rng.random(num_vertices) > 0.5,
        weak_camera=np.array([0.9, 0.01, -0.02], np.float32),
        crop_center=np.array([32, 32], np.float32),
        crop_side=32.0,
        iuv=np.full((3, 8, 8), 0.5, np.float32),
    )


@pytest.fixture(autouse=True)
def no_wait_for_a_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes in this process do not wait for a calibration."""
    monkeypatch.setattr(calibration_wait, 'WAIT_S', 0.0)


@pytest.fixture(autouse=True)
def signal_handlers() -> Iterator[None]:
    """Restores the signal handlers that a command in this process has changed."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Process:
    """A program in its own process; its output is kept for error messages."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        self.log = log
        with log.open('w') as handle:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                stdout=handle,
                stderr=subprocess.STDOUT,
                env={**os.environ, 'OMP_NUM_THREADS': '1'},
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log.read_text()

    def wait_for(self, text: str, timeout_s: float = 60.0) -> None:
        wait_until(
            lambda: text in self.output or self.process.poll() is not None,
            timeout_s,
            lambda: f'no {text!r} in: {self.output}',
        )
        assert text in self.output, self.output

    def stop(self, number: int = signal.SIGINT, timeout_s: float = 10.0) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout_s)


@contextmanager
def own_domain() -> Iterator[int]:
    """A ROS domain that no other test on this machine uses, and its environment variable.

    A lock on a file reserves it: tests run side by side, also those of another checkout.
    """
    for domain in random.SystemRandom().sample(range(NUM_DOMAINS), NUM_DOMAINS):
        path = Path(tempfile.gettempdir(), f'decomr_test_domain_{domain}')
        try:
            lock = path.open('w')
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another test's, perhaps of another user
            continue
        with lock, pytest.MonkeyPatch.context() as patch:
            patch.setenv('ROS_DOMAIN_ID', str(domain))
            yield domain
        return
    raise RuntimeError(f'all {NUM_DOMAINS} ROS domains are in use by other tests')


class RosTest:
    """A node inside the test, and programs beside it, in a domain of their own."""

    def __init__(self, folder: Path) -> None:
        # rcl finds the way to /rosout by a node's name: one of the test before that is collected
        # during this one would take the way of this one's with it.
        gc.collect()
        # What is left stays. To search it again and again, here and in each node within the test,
        # takes 0.2 s each time: modules, networks, everything that hypothesis knows.
        gc.freeze()
        self.folder = folder
        self.processes: list[Process] = []
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node: Node = rclpy.create_node('test', context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._others: list[Node] = []

    def start(self, *arguments: object) -> Process:
        log = self.folder / f'process_{len(self.processes)}.log'
        self.processes.append(Process([str(argument) for argument in arguments], log))
        return self.processes[-1]

    def add(self, node: Node) -> None:
        """Spins another node beside that of the test."""
        self._executor.add_node(node)
        self._others.append(node)

    def hear_log(self) -> list[str]:
        """The texts that nodes log from now on; it grows while the test spins.

        Unlike captured output, it loses nothing if it is read while other threads write.
        """
        texts: list[str] = []
        self.node.create_subscription(Log, '/rosout', lambda line: texts.append(line.msg), 100)
        return texts

    def spin_until(self, condition: Callable[[], object], timeout_s: float = 60.0) -> None:
        def is_done() -> bool:
            self._executor.spin_once(timeout_sec=0.05)
            return bool(condition())

        wait_until(
            is_done,
            timeout_s,
            lambda: '\n'.join(f'--- {process.output[-3000:]}' for process in self.processes),
            period_s=0.0,
        )

    def spin(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._executor.spin_once(timeout_sec=0.05)

    def close(self) -> None:
        # Killed at once, each would leave 67 MiB of shared memory of Fast DDS in /dev/shm.
        for process in self.processes:
            if process.process.poll() is None:
                process.process.send_signal(signal.SIGINT)
        for process in self.processes:
            try:
                process.process.wait(5)
            except subprocess.TimeoutExpired:
                process.stop(signal.SIGKILL)
        self._executor.shutdown()
        for node in (*self._others, self.node):
            node.destroy_node()
        rclpy.shutdown(context=self.context)


def wait_until(
    condition: Callable[[], object],
    timeout_s: float,
    describe: Callable[[], str] = str,
    period_s: float = 0.02,
) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f'not within {timeout_s} s. {describe()}'
        time.sleep(period_s)


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """A folder of six images of 160x120 px of noise."""
    folder = tmp_path / 'image_folder'
    folder.mkdir()
    for index in range(6):
        image = np.random.default_rng(index).integers(0, 256, (120, 160, 3), np.uint8)
        cv2.imwrite(str(folder / f'{index}.png'), image)
    return folder


@pytest.fixture(scope='session')
def shared_memory() -> Iterator[None]:
    """Removes the shared memory of Fast DDS that killed processes have left, 67 MiB each.

    A process that lives holds a lock on the file beside its segment.
    """
    yield
    for path in Path('/dev/shm').glob('fastrtps_*_el'):
        with suppress(OSError), path.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.with_name(path.name.removesuffix('_el')).unlink(missing_ok=True)
            path.unlink()


@pytest.fixture
def domain(shared_memory: None) -> Iterator[int]:
    with own_domain() as domain:
        yield domain


@pytest.fixture
def ros(tmp_path: Path, domain: int) -> Iterator[RosTest]:
    test = RosTest(tmp_path)
    yield test
    test.close()


@pytest.fixture
def inner(
    ros: RosTest, monkeypatch: pytest.MonkeyPatch, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> Iterator[InnerNode]:
    """The node in the test's process, not configured, with a fake network."""
    from decomr_core.uv.topology import Topology
    from tests.ros.inner_node import InnerNode

    inner = InnerNode(ros, monkeypatch, Topology.from_body(tiny_body, tiny_uv_map))
    yield inner
    inner.node.close()


@pytest.fixture(scope='session')
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network for the built-in body, `small.safetensors`, and a cache with its export.

    Made once, also where several processes run tests side by side.
    """
    from decomr_core.body_models import load_body
    from decomr_core.export.cached_exports import exported_model
    from decomr_core.networks.checkpoint import save_checkpoint
    from decomr_core.uv.uv_map import load_uv_map
    from tests.core.small_networks import lively_network, small_config

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if 'PYTEST_XDIST_WORKER' in os.environ else base) / 'exported'
    with Path(f'{folder}.lock').open('w') as lock, pytest.MonkeyPatch.context() as patch:
        fcntl.flock(lock, fcntl.LOCK_EX)
        weights = folder / 'small.safetensors'
        if not weights.is_file():
            folder.mkdir(exist_ok=True)
            body = load_body()
            network = lively_network(small_config('rt'), body, load_uv_map('builtin', body))
            save_checkpoint(weights, network, {})
        patch.setenv('DECOMR_CACHE', str(folder / 'cache'))
        exported_model(weights)
    return folder


@pytest.fixture
def weights(exported: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small untrained network; the cache that nodes use contains its export."""
    monkeypatch.setenv('DECOMR_CACHE', str(exported / 'cache'))
    return exported / 'small.safetensors'
