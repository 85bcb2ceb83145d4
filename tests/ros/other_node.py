"""A node in its own context, which looks like another process in the graph."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import rclpy
from rclpy.node import Node


@contextmanager
def other_node(name: str, namespace: str = '') -> Iterator[Node]:
    """It may have topics of other types than the test's own nodes, which share a participant."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node(name, namespace=namespace, context=context)
    try:
        yield node
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)
