"""The node's parameters: names, defaults, meaning and limits, declared and checked in one place.

They are read when the node is configured; a change after that waits for the next configure.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)

from decomr_core.detection import DETECTORS
from decomr_core.runtimes import DEFAULT_RUNTIME, RUNTIMES

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.parameter import Parameter

__all__ = ['NodeParameters', 'declare_parameters', 'read_parameters']

CHOICES = {
    'runtime': tuple(RUNTIMES),
    'detector': tuple(DETECTORS),
    'reliability': ('best_effort', 'reliable'),
    'iuv_encoding': ('rgb8', '32FC3'),
}
RANGES = {
    'detector_stride': (1, 1000),
    'threads': (0, 256),
    'max_people': (1, 100),
    'box_scale': (0.5, 3.0),
    'min_score': (0.0, 1.0),
    'log_period_s': (0.5, 3600.0),
}
DESCRIPTIONS = {
    'autostart': 'configure and activate without waiting for a lifecycle manager',
    'exit_on_failed_autostart': 'end the process where the autostart fails, instead of waiting '
                                'for corrected parameters and a configure',
    'weights': 'trained network: rt (shipped) or the path of a .safetensors file',
    'runtime': 'what runs the network',
    'threads': 'CPU threads of the runtime; 0 leaves it to the runtime',
    'detector': 'how people are found: hog (OpenCV), whole-frame (one person fills the image)',
    'detector_stride': 'the detector runs on every n-th image (hog: beside the network, so its '
                       'boxes come some images later), the tracker carries the boxes in '
                       'between; on every image while nobody is tracked',
    'box_scale': 'side of the square crop over the longer side of the person box',
    'min_score': 'detections below this confidence are dropped',
    'max_people': 'only so many people, the best detections first',
    'reliability': 'QoS of the image and camera_info subscriptions',
    'image_is_rectified': 'the image topic is rectified: use P of camera_info, not K',
    'publish_iuv': 'publish iuv while somebody subscribes to it',
    'publish_markers': 'publish markers while somebody subscribes to them',
    'publish_overlay': 'publish overlay while somebody subscribes to it',
    'iuv_encoding': 'rgb8: foreground, u, v times 255; 32FC3: as they are, in [0, 1]',
    'log_period_s': 'time between two lines of rates in the log, s',
}


@dataclass(frozen=True)
class NodeParameters:
    """What `DESCRIPTIONS` says, with the defaults.

    `reliability` is best_effort by default because it hears every camera driver: a reliable
    subscription gets nothing at all from a best effort publisher, and many drivers are best
    effort. Where images are lost (large ones, without the Fast DDS profile, over a radio),
    choose reliable.
    """

    autostart: bool = True
    exit_on_failed_autostart: bool = False
    weights: str = 'rt'
    runtime: str = DEFAULT_RUNTIME
    threads: int = 0
    detector: str = 'hog'
    detector_stride: int = 10
    box_scale: float = 1.2
    min_score: float = 0.0
    max_people: int = 10
    reliability: str = 'best_effort'
    image_is_rectified: bool = False
    publish_iuv: bool = True
    publish_markers: bool = True
    publish_overlay: bool = True
    iuv_encoding: str = 'rgb8'
    log_period_s: float = 5.0

    def __post_init__(self) -> None:
        """Refuses a value outside of its choices.

        Raises:
            ValueError: says which are allowed.
        """
        for name in CHOICES:
            problem = _problem(name, getattr(self, name))
            if problem:
                raise ValueError(problem)


def declare_parameters(node: Node) -> None:
    """Declares every parameter with its description; refuses wrong values from then on."""
    for field in fields(NodeParameters):
        node.declare_parameter(field.name, field.default, _descriptor(field.name))

    def check(parameters: list[Parameter]) -> SetParametersResult:
        """Refuses the change with the reasons if a value is not allowed."""
        problems = [problem for parameter in parameters
                    if (problem := _problem(parameter.name, parameter.value))]
        return SetParametersResult(successful=not problems, reason='; '.join(problems))

    node.add_on_set_parameters_callback(check)


def read_parameters(node: Node) -> NodeParameters:
    """The present values.

    Raises:
        ValueError: one of them is not allowed.
    """
    return NodeParameters(**{field.name: node.get_parameter(field.name).value
                             for field in fields(NodeParameters)})


def _descriptor(name: str) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=DESCRIPTIONS[name])
    if name in CHOICES:
        descriptor.additional_constraints = f'one of: {", ".join(CHOICES[name])}'
    if name in RANGES:
        low, high = RANGES[name]
        if isinstance(low, int):
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
        else:
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    return descriptor


def _problem(name: str, value: Any) -> str:
    """Why a value is not allowed; empty if it is."""
    if name in CHOICES and value not in CHOICES[name]:
        return f'parameter {name} is {value!r}, expected one of: {", ".join(CHOICES[name])}'
    return ''
