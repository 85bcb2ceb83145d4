"""Everything that exists while the node is configured, and how it is released."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from decomr_ros.health.rate_log import RateLog
from decomr_ros.inputs import depth_input
from decomr_ros.outputs.outputs import Outputs
from decomr_ros.pipeline.depth_correction import DepthCorrection
from decomr_ros.pipeline.fixed_frame import FixedFrame
from decomr_ros.pipeline.mesh_pipeline import MeshPipeline
from decomr_ros.pipeline.transforms import Transforms
from decomr_ros.robot.robot_outputs import RobotOutputs

if TYPE_CHECKING:
    from decomr_ros.health.diagnostics import FrameStatistics
    from decomr_ros.inputs.inputs import Inputs
    from decomr_ros.node.managed_node import ManagedNode
    from decomr_ros.node.standing_warnings import StandingWarnings
    from decomr_ros.pipeline.frame_worker import FrameWorker
    from decomr_ros.settings.parameters import NodeParameters

__all__ = ['NodeParts']


@dataclass(frozen=True)
class NodeParts:
    """The parts of a configured node.

    Attributes:
        inputs: the subscriptions.
        pipeline: from an image to its meshes.
        outputs: the publishers.
        robot_outputs: the publishers of what a robot acts on.
        fixed_frame: the pose of the camera in the frame of smoothing.
        transforms: looks up frames; None: no parameter needs one.
        rate_log: the periodic log lines.
    """

    inputs: Inputs
    pipeline: MeshPipeline
    outputs: Outputs
    robot_outputs: RobotOutputs
    fixed_frame: FixedFrame
    transforms: Transforms | None
    rate_log: RateLog

    @classmethod
    def make(
        cls,
        node: ManagedNode,
        parameters: NodeParameters,
        warnings: StandingWarnings,
        inputs: Inputs,
        worker: FrameWorker,
        statistics: FrameStatistics,
        releases: ExitStack,
    ) -> NodeParts:
        """Loads the network and makes the other parts; this takes seconds.

        Args:
            node: owner of the parts.
            parameters: the parameters.
            warnings: states the problems of the parts.
            inputs: the subscriptions.
            worker: counts the images, for the periodic log lines.
            statistics: of the images, for the same lines.
            releases: receives the release of each part as soon as the part exists. Closing it
                releases all of them, also after an error in this function.

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
            if parameters.use_depth
            else None
        )
        pipeline = MeshPipeline(parameters, depth)
        releases.callback(pipeline.close)
        outputs = Outputs(node, parameters, pipeline.topology)
        releases.callback(outputs.destroy)
        transforms = Transforms(node) if _needs_transforms(parameters) else None
        if transforms is not None:
            releases.callback(transforms.destroy)
        robot_outputs = RobotOutputs(node, parameters, pipeline.topology, transforms, warnings)
        releases.callback(robot_outputs.destroy)
        fixed_frame = FixedFrame(transforms, parameters.smoothing_frame, warnings)
        rate_log = RateLog(node, parameters.log_period_s, inputs, worker, statistics)
        releases.callback(rate_log.destroy)
        return cls(inputs, pipeline, outputs, robot_outputs, fixed_frame, transforms, rate_log)


def _needs_transforms(parameters: NodeParameters) -> bool:
    """Whether a parameter refers to a frame other than that of the image."""
    return bool(
        parameters.smoothing_frame
        or parameters.robot_parts
        or parameters.use_robot_description
        or parameters.proximity_frame
        or parameters.obstacle_frame
    )
