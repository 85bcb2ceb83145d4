"""The stages of the pipeline in their order, with a network of known outputs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from std_msgs.msg import Header

from decomr_core.body_models import BodyModel
from decomr_core.geometry.camera import intrinsics_from_fov
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap
from decomr_ros.calibration.calibration import Calibration
from decomr_ros.inputs.depth_image import DepthImage
from decomr_ros.node.standing_warnings import StandingWarnings
from decomr_ros.pipeline import mesh_pipeline
from decomr_ros.pipeline.depth_correction import DepthCorrection
from decomr_ros.pipeline.mesh_pipeline import MeshPipeline
from decomr_ros.settings.parameters import NodeParameters
from tests.core.fake_people import FakeRuntime
from tests.ros.inner_node import keep_frozen

HEIGHT, WIDTH = 240, 320
INTRINSICS = intrinsics_from_fov(WIDTH, HEIGHT, 60)
NO_FIXED_FRAME = SimpleNamespace(from_camera=lambda header: None)


def frame(depth_m: float | None) -> SimpleNamespace:
    """An image in front of a depth camera that measures the same distance everywhere."""
    depth = (
        None
        if depth_m is None
        else DepthImage(
            np.full((HEIGHT, WIDTH), depth_m, np.float32),
            1.0,
            np.ones(2),
            Calibration(WIDTH, HEIGHT, INTRINSICS),
        )
    )
    return SimpleNamespace(
        rgb=np.full((HEIGHT, WIDTH, 3), 120, np.uint8),
        intrinsics=INTRINSICS,
        boxes=None,
        depth=depth,
        header=Header(frame_id='camera'),
    )


def test_meshes_are_corrected_by_depth_and_smoothed_afterwards(
    monkeypatch: pytest.MonkeyPatch, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    topology = Topology.from_body(tiny_body, tiny_uv_map)
    monkeypatch.setattr(
        mesh_pipeline, 'load_runtime', lambda *_, **__: FakeRuntime(topology, (0.9, 0.0, -0.1))
    )
    keep_frozen(monkeypatch)
    log: list[str] = []

    def distances_m(is_smooth: bool, *depths_m: float | None) -> tuple[list[float], dict]:
        pipeline = MeshPipeline(
            NodeParameters(detector='whole-frame', smoothing=is_smooth),
            DepthCorrection('/depth', StandingWarnings(log.append), log.append),
        )
        found = []
        for number, depth_m in enumerate(depths_m):
            result, _ = pipeline.process(frame(depth_m), 1 + number / 30, NO_FIXED_FRAME)
            pipeline.finish()
            (mesh,) = result.meshes
            assert mesh.has_measured_depth == (depth_m is not None)
            found.append(float(mesh.translation[2]))
        return found, pipeline.status()

    (own_m,), status = distances_m(False, None)
    assert status['depth_corrected'] == '0'
    near_m, far_m = 0.8 * own_m, 1.2 * own_m
    (first_m, second_m), status = distances_m(False, near_m, far_m)
    assert first_m < own_m < second_m and second_m - first_m == pytest.approx(
        far_m - near_m, rel=0.01
    )
    assert status['depth_corrected'] == '2'
    assert log.count('distances are corrected by /depth') == 1
    smooth_m, _ = distances_m(True, near_m, far_m)
    assert smooth_m[0] == pytest.approx(first_m)
    assert first_m < smooth_m[1] < second_m - 0.01, 'a jump of the depth is smoothed as well'
