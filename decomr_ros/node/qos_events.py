"""What rclpy calls the events of publishers and subscriptions, under one name for all releases."""

from __future__ import annotations

try:
    from rclpy.event_handler import (
        PublisherEventCallbacks,
        SubscriptionEventCallbacks,
        UnsupportedEventTypeError,
    )
except ImportError:  # Humble
    from rclpy.qos_event import (
        PublisherEventCallbacks,
        SubscriptionEventCallbacks,
        UnsupportedEventTypeError,
    )

__all__ = ['PublisherEventCallbacks', 'SubscriptionEventCallbacks', 'UnsupportedEventTypeError']
