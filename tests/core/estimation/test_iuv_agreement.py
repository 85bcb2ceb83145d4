from __future__ import annotations

import numpy as np
import pytest
from fake_people import FakeRuntime
from hypothesis import given
from hypothesis import strategies as st

from decomr_core.base.structures import HumanMesh
from decomr_core.body_models import BodyModel
from decomr_core.estimation.iuv_agreement import covered_share, foreground_share
from decomr_core.estimator import HumanMeshEstimator
from decomr_core.people.detection import Detections
from decomr_core.people.tracking import Tracker, TrackerConfig
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap

SIZE = 64


def board(
    foreground: np.ndarray,
    left: float,
    right: float,
    top: float = -0.8,
    bottom: float = 0.8,
    translation: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> HumanMesh:
    """A flat mesh over a part of the crop, crop frame, whose IUV image (64, 64) is given."""
    x, y = np.meshgrid(np.linspace(left, right, 40), np.linspace(top, bottom, 40))
    weak, crop = np.array([0.8, 0.1, -0.2], np.float32), np.stack([x, y], axis=-1).reshape(-1, 2)
    vertices = np.concatenate([crop / weak[0] - weak[1:], np.zeros((1600, 1))], axis=1)
    return HumanMesh(
        track_id=0,
        score=1.0,
        box=np.array([100.0, 100, 164, 164]),
        vertices=(vertices + translation).astype(np.float32),
        joints=vertices[:24],
        translation=np.array(translation, np.float32),
        is_metric=any(translation),
        visibility=np.ones(1600, bool),
        weak_camera=weak,
        crop_center=np.array([131.5, 131.5]),
        crop_side=64.0,
        iuv=np.stack([foreground.astype(np.float32)] * 3),
    )


def person(left: float, right: float, top: float = -0.8, bottom: float = 0.8) -> np.ndarray:
    """Foreground (64, 64) of a person at this position, crop frame."""
    place = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1
    return ((place >= top) & (place <= bottom))[:, None] & ((place >= left) & (place <= right))


def test_a_mesh_on_the_person_covers_the_person_at_every_position() -> None:
    for translation in ((0.0, 0.0, 0.0), (0.7, -0.4, 3.0)):
        mesh = board(person(-0.3, 0.3), -0.3, 0.3, translation=translation)
        assert covered_share(mesh) == pytest.approx(1)


def test_the_visible_part_counts_for_a_person_behind_a_table() -> None:
    assert covered_share(board(person(-0.3, 0.3, bottom=-0.4), -0.3, 0.3)) == pytest.approx(1)


def test_a_mesh_that_covers_half_of_the_person_covers_half() -> None:
    mesh = board(person(-0.4, 0.4), -0.4, 0.0)
    assert covered_share(mesh) == pytest.approx(0.6, abs=0.07), 'and a rim of a cell or two'


@given(st.floats(-3, 3), st.floats(0.01, 3), st.booleans())
def test_every_mesh_and_image_give_a_share(left: float, width: float, is_there: bool) -> None:
    share = covered_share(board(person(-0.3, 0.3) & is_there, left, left + width))
    assert 0 <= share <= 1
    if not is_there or left > 0.5 or left + width < -0.5:
        assert share == 0


def test_the_foreground_share_depends_on_the_box_alone() -> None:
    mesh = board(person(-1, 0, -1, 1), -0.3, 0.3)
    assert foreground_share(mesh) == pytest.approx(0.5, abs=0.02)


def test_a_mesh_beside_its_person_is_hidden_and_its_track_continues(
    tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    runtime = FakeRuntime(Topology.from_body(tiny_body, tiny_uv_map), (0.9, 0.05, -0.1))
    image = np.zeros((480, 640, 3), np.uint8)

    def detector(_: np.ndarray) -> Detections:
        return Detections(np.array([[100, 100, 200, 400]], np.float32), np.array([0.9]))

    for config, is_shown in ((None, False), (TrackerConfig(min_covered=0), True)):
        estimator = HumanMeshEstimator(runtime, detector, Tracker(config))
        assert [mesh.track_id for mesh in estimator.estimate(image)[0]] == [0]
        runtime.weak_camera[1] = 1.5
        assert [mesh.track_id for mesh in estimator.estimate(image)[0]] == [0] * is_shown
        runtime.weak_camera[1] = 0.05
        assert [mesh.track_id for mesh in estimator.estimate(image)[0]] == [0]
    untracked = HumanMeshEstimator(runtime, detector)
    runtime.weak_camera[1] = 1.5
    assert len(untracked.estimate(image)[0]) == 1, 'who asks for one image gets all meshes'


def test_an_invalid_share_is_rejected() -> None:
    with pytest.raises(ValueError, match='min_covered is 1.2'):
        TrackerConfig(min_covered=1.2)
