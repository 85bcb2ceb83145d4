"""What the ROS tests share. Without rclpy they cannot run, and say so."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed; run: scripts/with-env python -m '
                                    'pytest (after make setup)')

from decomr_core.structures import HumanMesh


def make_mesh(track_id: int = 3, num_vertices: int = 20, seed: int = 0) -> HumanMesh:
    """A person of random numbers whose crop covers x and y from 16 to 48 px."""
    rng = np.random.default_rng(seed)
    return HumanMesh(
        track_id=track_id, score=0.75, box=np.array([18, 17, 46, 47], np.float32),
        vertices=rng.standard_normal((num_vertices, 3)).astype(np.float32),
        joints=rng.standard_normal((24, 3)).astype(np.float32),
        translation=np.array([0.25, -0.5, 3.0]), is_metric=True,
        visibility=rng.random(num_vertices) > 0.5,
        weak_camera=np.array([0.9, 0.01, -0.02], np.float32),
        crop_center=np.array([32, 32], np.float32), crop_side=32.0,
        iuv=np.full((3, 8, 8), 0.5, np.float32))


@pytest.fixture
def mesh() -> HumanMesh:
    return make_mesh()
