"""Weights that give no foreground in any box: the node reports why no people are published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus

from decomr_core.base.structures import NetworkOutput
from tests.core.fake_people import FakeRuntime
from tests.ros.decomr_node.test_node_warnings import log, make
from tests.ros.inner_node import HEIGHT, WIDTH, values_of

__all__ = ['log', 'make']  # the fixtures


class BlindRuntime(FakeRuntime):
    """The outputs of barely trained weights: bodies, but no foreground."""

    is_blind = True

    def run(self, images: np.ndarray) -> NetworkOutput:
        output = super().run(images)
        return replace(output, iuv=np.zeros_like(output.iuv)) if self.is_blind else output


def test_weights_without_foreground_are_a_warning_until_a_person_is_found(
    make: Callable, log: Callable[[], str], monkeypatch
) -> None:
    inner = make(frame_age_warn_s=3600.0, frame_age_error_s=3600.0)
    inner.runtime_class = BlindRuntime
    camera = inner.activate()
    for _ in range(20):
        assert not camera.show(HEIGHT, WIDTH).meshes
    status = inner.status()
    assert status.level == DiagnosticStatus.WARN
    text = values_of(status)['warning_no_foreground']
    assert 'weights rt' in text and 'weights:=' in text and 'no foreground' in text
    assert int(values_of(status)['warning_no_foreground_count']) >= 5
    assert log().count('no foreground') == 1
    monkeypatch.setattr(BlindRuntime, 'is_blind', False)
    camera.show(HEIGHT, WIDTH)
    assert 'warning_no_foreground' not in values_of(inner.status())


def test_weights_that_have_found_a_person_cause_no_warning(make: Callable, monkeypatch) -> None:
    """One false detection, such as a coat, says nothing about the weights."""
    inner = make(frame_age_warn_s=3600.0, frame_age_error_s=3600.0)
    inner.runtime_class = BlindRuntime
    monkeypatch.setattr(BlindRuntime, 'is_blind', False)
    camera = inner.activate()
    camera.show_until_placed(HEIGHT, WIDTH)
    monkeypatch.setattr(BlindRuntime, 'is_blind', True)
    for _ in range(20):
        camera.show(HEIGHT, WIDTH)
    assert 'warning_no_foreground' not in values_of(inner.status())
