"""The path of an image through the node: apply parameters, estimate, publish."""

from __future__ import annotations

from typing import TYPE_CHECKING

from std_msgs.msg import Header

from decomr_ros.health.diagnostics import FrameStatistics, error_cause
from decomr_ros.messages.meshes import nanoseconds_from_stamp

if TYPE_CHECKING:
    from rclpy.duration import Duration
    from rclpy.node import Node

    from decomr_core.base.structures import StageTimes
    from decomr_ros.inputs.frame import Frame
    from decomr_ros.inputs.stamp_checks import StampChecks
    from decomr_ros.node.standing_warnings import StandingWarnings
    from decomr_ros.node_parts import NodeParts
    from decomr_ros.pipeline.frame_result import FrameResult
    from decomr_ros.settings.parameters import NodeParameters

__all__ = ['ImagePath']


class ImagePath:
    """Processes the images of a configured node one after another; the worker's thread."""

    def __init__(
        self,
        node: Node,
        parts: NodeParts,
        parameters: NodeParameters,
        statistics: FrameStatistics,
        stamps: StampChecks,
        warnings: StandingWarnings,
    ) -> None:
        """Starts before the first image.

        Args:
            node: its clock measures the latency.
            parts: the pipeline, inputs and outputs.
            parameters: those that the parts were made with.
            statistics: counts the images.
            stamps: checks the stamps.
            warnings: states the problems.
        """
        self._clock = node.get_clock()
        self._parts, self._parameters = parts, parameters
        self._statistics, self._stamps, self._warnings = statistics, stamps, warnings
        self._last_stamp_ns = 0  # of the newest image; 0: none, or a driver without a clock
        self._last_frame_id = ''  # of the newest image that has one

    def process(self, frame: Frame, parameters: NodeParameters) -> None:
        """Turns one image into meshes and publishes them.

        Args:
            frame: the image with its calibration, boxes and depth.
            parameters: the present parameters; changed ones apply from this image on.
        """
        parts = self._parts
        self._apply(parameters)
        time_s = self._advance_to(frame.header)
        parts.pipeline.measures_motion = parts.robot_outputs.needs_motion
        with error_cause('estimation'):
            result, times = parts.pipeline.process(frame, time_s, parts.fixed_frame)
            self._warnings.set('no_foreground', parts.pipeline.no_foreground_text(), 1)
        try:
            self._publish(result, times)
        finally:  # also if an output fails
            parts.pipeline.finish()
        self._warnings.end_soon('image')

    def clear(self, timeout: Duration) -> None:
        """Removes the markers and waits until the last messages are sent, before a pause.

        Args:
            timeout: how long to wait for reliable subscribers.
        """
        outputs = self._parts.outputs
        header = Header(stamp=self._clock.now().to_msg(), frame_id=self._last_frame_id)
        outputs.clear(header)
        self._parts.robot_outputs.clear(header)
        outputs.wait_until_sent(timeout)

    def _publish(self, result: FrameResult, times: StageTimes) -> None:
        """Publishes the meshes, then the less urgent outputs."""
        header, meshes, outputs = result.header, result.meshes, self._parts.outputs
        with error_cause('publishing'):
            outputs.publish_meshes(header, meshes)
            # In integers: rclpy.time.Time refuses stamps before its epoch.
            latency_ns = self._clock.now().nanoseconds - nanoseconds_from_stamp(header.stamp)
            self._statistics.add(latency_ns / 1e6, len(meshes), times)
            # Before the images, which take longest: a robot waits for them.
            self._parts.robot_outputs.publish(result)
            outputs.publish_other_outputs(result)

    def _apply(self, parameters: NodeParameters) -> None:
        """Applies parameters that have changed since the last image."""
        if parameters is self._parameters:
            return
        parts = self._parts
        with error_cause('parameters'):
            parts.pipeline.update(parameters)
            parts.outputs.update(parameters)
            parts.robot_outputs.update(parameters)
        self._warnings.set('outputs', parts.outputs.missing, is_logged=True)
        parts.inputs.parameters = parameters
        self._parameters = parameters

    def _advance_to(self, header: Header) -> float | None:
        """Begins anew if the stamp of an image jumps back, as in a bag that starts again.

        Args:
            header: of the next image.

        Returns:
            The stamp, s; None: it is 0, as of a driver without a clock.
        """
        stamp_ns = nanoseconds_from_stamp(header.stamp)
        if self._stamps.image_jumps_back(stamp_ns, self._last_stamp_ns):
            self._parts.pipeline.reset()
            if self._parts.transforms is not None:
                self._parts.transforms.clear()
        self._last_stamp_ns = stamp_ns
        self._last_frame_id = header.frame_id or self._last_frame_id
        return None if stamp_ns == 0 else stamp_ns / 1e9
