"""Everything that exists while the node is configured, and how it is released."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from decomr_ros.health.rate_log import RateLog
from decomr_ros.inputs import depth_input
from decomr_ros.outputs.outputs import Outputs
from decomr_ros.pipeline.depth_correction import DepthCorrection
from decomr_ros.pipeline.fixed_frame import FixedFrame
from decomr_ros.pipeline.stages import MeshPipeline

if TYPE_CHECKING:
    from decomr_ros.inputs.inputs import Inputs
    from decomr_ros.node.managed_node import ManagedNode
    from decomr_ros.node.standing_warnings import StandingWarnings
    from decomr_ros.settings.parameters import NodeParameters

__all__ = ['NodeParts']


@dataclass(frozen=True)
class NodeParts:
    """The parts of a configured node.

    Attributes:
        inputs: the subscriptions.
        pipeline: from an image to its meshes.
        outputs: the publishers.
        fixed_frame: the pose of the camera in the frame of smoothing.
        rate_log: the periodic log lines.
    """

    inputs: Inputs
    pipeline: MeshPipeline
    outputs: Outputs
    fixed_frame: FixedFrame
    rate_log: RateLog

    @classmethod
    def make(
        cls,
        node: ManagedNode,
        settings: NodeParameters,
        warnings: StandingWarnings,
        inputs: Inputs,
        rate_log: Callable[[], RateLog],
        releases: ExitStack,
    ) -> NodeParts:
        """Loads the network and makes the other parts; this takes seconds.

        Args:
            node: owner of the parts.
            settings: the parameters.
            warnings: states the problems of the parts.
            inputs: the subscriptions.
            rate_log: makes the periodic log lines.
            releases: gets the release of each part as soon as it exists, so that closing it
                releases everything, also after an error.

        Raises:
            FileNotFoundError: the weights do not exist.
            ValueError: a value is wrong, or the weights are damaged.
            RuntimeError: the runtime or the package of an output is not installed.
        """
        releases.callback(inputs.close)
        depth = (
            DepthCorrection(
                node.resolve_topic_name(depth_input.TOPIC),
                warnings,
                lambda text: node.get_logger().info(text),
            )
            if settings.use_depth
            else None
        )
        pipeline = MeshPipeline(settings, depth)
        releases.callback(pipeline.close)
        outputs = Outputs(node, settings, pipeline.topology)
        releases.callback(outputs.destroy)
        fixed_frame = FixedFrame(node, settings.smoothing_frame, warnings)
        releases.callback(fixed_frame.destroy)
        log = rate_log()
        releases.callback(log.destroy)
        return cls(inputs, pipeline, outputs, fixed_frame, log)
