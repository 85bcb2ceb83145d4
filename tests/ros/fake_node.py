"""A node that only records: for outputs whose messages are not installed."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace

import pytest
from builtin_interfaces.msg import Time


class FakePublisher:
    """Records the published messages; its number of subscribers is set by the node."""

    def __init__(self, node: FakeNode, type_: type, topic: str) -> None:
        self.node, self.type, self.topic = node, type_, topic
        self.sent: list[object] = []
        self.is_destroyed = False

    def get_subscription_count(self) -> int:
        return int(self.topic in self.node.subscribed)

    def publish(self, message: object) -> None:
        assert not self.is_destroyed, f'{self.topic} is used after its end'
        self.sent.append(message)


class FakeNode:
    """Has those methods of rclpy's node that the outputs call."""

    def __init__(self, namespace: str = '/') -> None:
        self.namespace = namespace
        self.subscribed: set[str] = set()
        self.made: list[FakePublisher] = []
        self.errors: list[str] = []
        self.warnings: list[str] = []

    @property
    def publishers(self) -> dict[str, FakePublisher]:
        """Those that exist, by topic."""
        return {made.topic: made for made in self.made if not made.is_destroyed}

    def sent(self, topic: str) -> list[object]:
        return [message for made in self.made if made.topic == topic for message in made.sent]

    def create_publisher(
        self, type_: type, topic: str, qos: object, **options: object
    ) -> FakePublisher:
        assert topic not in self.publishers, f'{topic} is made twice'
        self.made.append(FakePublisher(self, type_, topic))
        return self.made[-1]

    def destroy_publisher(self, publisher: FakePublisher) -> None:
        assert not publisher.is_destroyed
        publisher.is_destroyed = True

    create_lifecycle_publisher = create_publisher
    destroy_lifecycle_publisher = destroy_publisher

    def resolve_topic_name(self, topic: str) -> str:
        return topic

    def get_namespace(self) -> str:
        return self.namespace

    def get_clock(self) -> SimpleNamespace:
        return SimpleNamespace(now=lambda: SimpleNamespace(to_msg=lambda: Time(sec=5)))

    def get_logger(self) -> SimpleNamespace:
        return SimpleNamespace(
            error=self.errors.append, warning=lambda text, once=False: self.warnings.append(text)
        )


def stand_in(monkeypatch: pytest.MonkeyPatch, package: str, *types: type) -> None:
    """Makes `from <package>.msg import ...` return these classes."""
    messages = ModuleType(f'{package}.msg')
    for type_ in types:
        setattr(messages, type_.__name__, type_)
    parent = ModuleType(package)
    parent.msg = messages
    monkeypatch.setitem(sys.modules, package, parent)
    monkeypatch.setitem(sys.modules, f'{package}.msg', messages)


def hide(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Makes importing a package fail, installed or not."""
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f'{package}.msg', None)


# The messages as their packages define them (field names and constants only).


@dataclass
class TFMessage:
    transforms: list = field(default_factory=list)


@dataclass
class IdsList:
    header: object = None
    ids: list = field(default_factory=list)


@dataclass
class NormalizedRegionOfInterest2D:
    header: object = None
    xmin: float = 0.0
    ymin: float = 0.0
    xmax: float = 0.0
    ymax: float = 0.0
    c: float = 0.0


@dataclass
class NormalizedPointOfInterest2D:
    x: float = 0.0
    y: float = 0.0
    c: float = 0.0


@dataclass
class Skeleton2D:
    header: object = None
    skeleton: list = field(default_factory=list)


for _index, _name in enumerate(
    (
        'NOSE',
        'NECK',
        'RIGHT_SHOULDER',
        'RIGHT_ELBOW',
        'RIGHT_WRIST',
        'LEFT_SHOULDER',
        'LEFT_ELBOW',
        'LEFT_WRIST',
        'RIGHT_HIP',
        'RIGHT_KNEE',
        'RIGHT_ANKLE',
        'LEFT_HIP',
        'LEFT_KNEE',
        'LEFT_ANKLE',
        'LEFT_EYE',
        'RIGHT_EYE',
        'LEFT_EAR',
        'RIGHT_EAR',
    )
):
    setattr(Skeleton2D, _name, _index)

HRI_MESSAGES = (IdsList, NormalizedRegionOfInterest2D, NormalizedPointOfInterest2D, Skeleton2D)
