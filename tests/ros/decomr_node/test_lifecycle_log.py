"""Every transition logs what the node does and does not do in the new state."""

from __future__ import annotations

from collections.abc import Callable

from decomr_ros.node.managed_node import SUCCESS
from tests.ros.decomr_node.test_node_warnings import log, make

__all__ = ['log', 'make']  # the fixtures


def test_deactivate_and_cleanup_log_what_is_freed(make: Callable, log: Callable[[], str]) -> None:
    inner = make()
    inner.activate()
    assert 'active: /image' in log()
    before = len(log())
    assert inner.node.trigger_deactivate() == SUCCESS
    assert 'inactive: no images are taken, the network stays loaded' in log()[before:]
    assert inner.node.trigger_cleanup() == SUCCESS
    assert 'unconfigured: the network is freed' in log()[before:]
    assert log()[before:].count('[INFO]') == 2
