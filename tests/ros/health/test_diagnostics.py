"""The status of the node on /diagnostics, in every state."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from decomr_core.base.structures import StageTimes
from decomr_core.runtimes.gpu_memory import free_unused_memory, gpu_memory
from decomr_ros.health import diagnostics
from decomr_ros.health.diagnostics import FrameStatistics, NodeState, error_cause, status_of
from decomr_ros.messages.images import image_message
from decomr_ros.node.qos import UnsupportedEventTypeError
from decomr_ros.outputs.outputs import Outputs
from decomr_ros.pipeline import mesh_pipeline
from decomr_ros.pipeline.frame_worker import WorkerCounts
from tests.core.fake_tensorrt import FakeGpu
from tests.ros.conftest import RosTest
from tests.ros.inner_node import HEIGHT, WIDTH, BrokenRuntime, InnerNode, values_of

OK, WARN, ERROR, STALE = (
    DiagnosticStatus.OK,
    DiagnosticStatus.WARN,
    DiagnosticStatus.ERROR,
    DiagnosticStatus.STALE,
)
WELL = NodeState('active', frame_age_s=0.1, image_age_s=0.05, rates='in 30.0 Hz, out 30.0 Hz')


class Clock:
    """A time that the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        monkeypatch.setattr(diagnostics, 'time', SimpleNamespace(monotonic=lambda: self.now_s))


@pytest.mark.parametrize(
    ('change', 'level', 'message'),
    [
        ({}, OK, 'active; in 30.0 Hz, out 30.0 Hz'),
        ({'state': 'inactive'}, STALE, 'inactive; no meshes are published in this state'),
        (
            {'state': 'unconfigured', 'last_failure': 'configure failed: no weights'},
            ERROR,
            'unconfigured; configure failed: no weights',
        ),
        ({'frame_age_s': 1.5}, WARN, 'images arrive, but no meshes for 1.5 s'),
        (
            {'frame_age_s': 5.5, 'failed': 3, 'last_problem': 'odd'},
            ERROR,
            'images arrive, but no meshes for 5.5 s; odd',
        ),
        (
            {'frame_age_s': 7.0, 'image_age_s': 6.5, 'image_topic': '/camera/image'},
            ERROR,
            'no image on /camera/image for 6.5 s',
        ),
        ({'failed': 3, 'last_problem': 'odd'}, WARN, '3 images failed in the last 5 s; odd'),
        ({'warnings': 'no camera_info'}, WARN, 'no camera_info; in 30.0 Hz, out 30.0 Hz'),
        (
            {'frame_age_s': 7.0, 'image_age_s': 6.5, 'warnings': '/image is another type'},
            ERROR,
            'no image on image for 6.5 s; /image is another type',
        ),
        (
            {'state': 'inactive', 'warnings': 'a file'},
            STALE,
            'inactive; no meshes are published in this state',
        ),
        (
            {'state': 'inactive', 'frame_age_s': 99.0, 'failed': 1},
            STALE,
            'inactive; no meshes are published in this state',
        ),
    ],
)
def test_the_level_and_the_message_state_the_problem(
    change: dict[str, object], level: bytes, message: str
) -> None:
    assert status_of(replace(WELL, **change)) == (level, message)


def test_rates_delays_and_failures_are_those_of_the_last_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    statistics = FrameStatistics()
    statistics.activate()
    for index in range(40):  # 10 Hz come, every second one is published
        clock.now_s += 0.1
        statistics.add_arrival()
        if index % 2:
            statistics.add(
                latency_ms=10.0 + index,
                people=index % 4 // 2,
                times=StageTimes({'network': 4.0, 'detect': index % 4}),
            )
    assert statistics.rates_hz() == (pytest.approx(10, abs=0.3), pytest.approx(5, abs=0.3))
    clock.now_s += 3.0
    assert statistics.ages_s() == (pytest.approx(3.0), pytest.approx(3.0))
    values = statistics.values(WorkerCounts(40, 20, 20, 0))
    assert float(values['rate_in_hz']) == pytest.approx(4, abs=0.3)  # 20 in 5 s
    lately = [10.0 + index for index in range(21, 40, 2)]
    assert float(values['latency_p50_ms']) == pytest.approx(np.median(lately), abs=1.1)
    assert float(values['latency_p95_ms']) == pytest.approx(np.percentile(lately, 95), abs=1.1)
    assert values['network_ms'] == '4.0'
    assert float(values['detect_ms']) == pytest.approx(2.0, abs=0.2)
    assert (values['meshes_published'], values['meshes_published_without_people']) == ('20', '10')
    assert (values['frames_received'], values['frames_skipped_for_newer']) == ('40', '20')
    clock.now_s += 10.0
    assert statistics.rates_hz() == (0.0, 0.0)
    assert 'latency_p50_ms' not in statistics.values(WorkerCounts())


def test_failures_are_counted_by_cause_and_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    statistics = FrameStatistics()
    for cause, inner_cause in (('size', ''), ('size', ''), ('estimation', 'publishing')):
        with pytest.raises(ValueError, match='broken') as raised, error_cause(cause):
            if inner_cause:
                with error_cause(inner_cause):
                    raise ValueError('broken\nbadly')
            raise ValueError('broken\nbadly')
        statistics.add_failure(raised.value)
    statistics.add_failure(KeyError('new'))
    values = statistics.values(WorkerCounts(failed=4))
    assert {name: value for name, value in values.items() if name.startswith('frames_failed')} == {
        'frames_failed': '4',
        'frames_failed_size': '2',
        'frames_failed_publishing': '1',
        'frames_failed_other': '1',
    }
    assert statistics.recent_failures() == 4
    clock.now_s += 6.0
    assert statistics.recent_failures() == 0
    assert statistics.values(WorkerCounts())['last_problem'] == "'new'"
    statistics.add_failure(KeyError('before'))
    statistics.activate()
    assert statistics.recent_failures() == 0


def test_the_status_is_right_in_every_state(inner: InnerNode) -> None:
    status = inner.status()
    assert (status.level, status.name) == (STALE, '/decomr')
    assert status.message.startswith('unconfigured')
    assert 'runtime' not in values_of(status)

    camera = inner.activate()
    for _ in range(3):
        camera.show(HEIGHT, WIDTH)
    status = inner.status()
    assert status.level == OK, status.message
    assert status.message.startswith('active; in ')
    values = values_of(status)
    assert (values['runtime'], values['precision'], values['weights']) == ('fake', 'f32', 'rt')
    assert values['device'] == 'cpu'
    assert len(values['model_sha256']) == 16
    int(values['model_sha256'], 16)
    assert (values['people'], values['frames_received'], values['meshes_published']) == (
        '2',
        '3',
        '3',
    )
    assert values['frames_lost_in_transport'] == '0'
    assert float(values['last_frame_age_s']) < 2
    assert 'gpu_memory_used_mib' not in values
    for name in ('rate_in_hz', 'rate_hz', 'network_ms', 'detector_ms'):
        assert float(values[name]) >= 0
    assert float(values['rate_in_hz']) > 0 and float(values['rate_hz']) > 0
    for name in ('latency_p50_ms', 'latency_p95_ms'):  # the camera's stamps are of 1970
        assert float(values[name]) > 1e9

    inner.node.trigger_deactivate()
    status = inner.status()
    assert (status.level, status.message) == (
        STALE,
        'inactive; no meshes are published in this state',
    )
    assert values_of(status)['runtime'] == 'fake'
    inner.node.trigger_cleanup()
    assert 'runtime' not in values_of(inner.status())
    inner.activate().show(HEIGHT, WIDTH)  # it counts anew
    assert values_of(inner.status())['frames_received'] == '1'
    inner.node.trigger_deactivate()
    inner.node.trigger_cleanup()
    inner.runtime_class = BrokenRuntime
    inner.node.trigger_configure()
    status = inner.status()
    assert status.level == ERROR
    assert status.message.startswith('unconfigured; configure failed')
    inner.node.trigger_shutdown()
    assert inner.status().message.startswith('finalized')


def test_failed_images_are_reported_by_cause(ros: RosTest, inner: InnerNode) -> None:
    camera = inner.activate()
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    odd = image_message(camera.header(), image, 'rgb8')
    odd.encoding = 'no_such_encoding'
    short = image_message(camera.header(), image, 'rgb8')
    short.step = 1
    for number, message in enumerate((odd, short), 1):
        camera.send(message)
        ros.spin_until(lambda number=number: inner.node._worker.counts.failed == number)
    camera.show(HEIGHT, WIDTH)
    status = inner.status()
    assert status.level == WARN
    assert status.message.startswith('2 images failed in the last 5 s')
    values = values_of(status)
    assert (
        values['frames_failed'],
        values['frames_failed_encoding'],
        values['frames_failed_size'],
    ) == ('2', '1', '1')


def test_an_active_node_without_a_camera_warns_then_reports_an_error(
    ros: RosTest, inner: InnerNode
) -> None:
    inner.set(frame_age_warn_s=0.2, frame_age_error_s=3600.0)
    inner.activate()
    ros.spin_until(lambda: inner.status().level != OK, 5)
    status = inner.status()
    assert (status.level, status.message[:18]) == (WARN, 'no image on /image')
    inner.set(frame_age_warn_s=0.2, frame_age_error_s=0.2)
    assert inner.status().level == ERROR


def test_losses_are_unknown_if_the_middleware_does_not_count_them(
    inner: InnerNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribe = inner.node.create_subscription

    def without_events(*arguments: object, **options: object) -> object:
        if 'event_callbacks' in options:
            raise UnsupportedEventTypeError('message_lost')
        return subscribe(*arguments, **options)

    monkeypatch.setattr(inner.node, 'create_subscription', without_events)
    assert inner.activate().show(HEIGHT, WIDTH).meshes
    assert values_of(inner.status())['frames_lost_in_transport'] == 'unknown'


def test_lost_images_are_added_up(inner: InnerNode) -> None:
    inner.activate()
    for lost in (2, 3):
        inner.node._images_lost(SimpleNamespace(total_count_change=lost))
    assert values_of(inner.status())['frames_lost_in_transport'] == '5'


def test_gpu_memory_is_reported_if_the_network_is_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    emptied: list[bool] = []
    cuda = SimpleNamespace(
        mem_get_info=lambda device: (3 * 2**30, 8 * 2**30),
        is_initialized=lambda: True,
        empty_cache=lambda: emptied.append(True),
    )
    monkeypatch.setitem(sys.modules, 'torch', SimpleNamespace(cuda=cuda))
    assert gpu_memory(SimpleNamespace(device=SimpleNamespace(type='cuda'))) == (5120, 8192)
    assert gpu_memory(SimpleNamespace(device=SimpleNamespace(type='cpu'))) is None
    assert gpu_memory(SimpleNamespace()) is None
    free_unused_memory()
    assert emptied == [True]

    def fail(device: object) -> None:
        raise RuntimeError('CUDA error: the launch timed out')

    cuda.mem_get_info = fail
    assert gpu_memory(SimpleNamespace(device=SimpleNamespace(type='cuda'))) is None


def test_gpu_memory_of_tensorrt_comes_from_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, ours = FakeGpu(), 'decomr_core.runtimes.cuda_device'
    for name, module in gpu.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, ours, raising=False)
    gpu.device_memory[1] = bytearray(300 * 2**20)
    used_mib, total_mib = gpu_memory(SimpleNamespace(gpu=SimpleNamespace(index=0)))
    sys.modules.pop(ours)
    assert used_mib == 300
    assert total_mib == gpu.total_bytes // 2**20


def test_rates_over_a_long_time_are_limited_by_the_history(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = [0.0]
    monkeypatch.setattr(diagnostics.time, 'monotonic', lambda: now_s[0])
    statistics = FrameStatistics()
    for image in range(9000):  # 30 Hz for 300 s
        now_s[0] = image / 30
        statistics.add_arrival()
    assert statistics.rates_hz(300.0)[0] == pytest.approx(30, rel=0.01)
    assert statistics.rates_hz(5.0)[0] == pytest.approx(30, rel=0.02)


def test_a_failing_output_does_not_stop_the_detector(
    ros: RosTest, inner: InnerNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mesh_pipeline, 'SLOW_DETECTORS', ('person',))  # on a thread of its own
    camera = inner.activate()

    def fail(*_: object) -> None:
        raise KeyError('no such field')

    monkeypatch.setattr(Outputs, 'publish_other_outputs', fail)
    assert inner.detector.num_calls == 0
    camera.show(HEIGHT, WIDTH)
    ros.spin_until(lambda: inner.detector.num_calls, 5)
    ros.spin_until(lambda: camera.show(HEIGHT, WIDTH).meshes, 10)
