from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest
from fake_people import CROP_SIZE, FakeRuntime, fitted_weak_camera

from decomr_core.body_models import BodyModel
from decomr_core.estimator import EstimatorConfig, HumanMeshEstimator, load_estimator
from decomr_core.geometry.camera import intrinsics_from_fov, project_perspective
from decomr_core.people.detection import Detections, GivenBoxes
from decomr_core.people.tracking import Tracker, TrackerConfig
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap

IMAGE = np.full((480, 640, 3), 100, np.uint8)
INTRINSICS = intrinsics_from_fov(640, 480, 60)
WEAK = (0.9, 0.05, -0.1)


@pytest.fixture(scope='module')
def topology(tiny_body: BodyModel, tiny_uv_map: UVMap) -> Topology:
    return Topology.from_body(tiny_body, tiny_uv_map)


@pytest.fixture
def runtime(topology: Topology) -> FakeRuntime:
    return FakeRuntime(topology, WEAK)


def test_a_person_of_known_position_is_located_there(topology: Topology) -> None:
    translation = np.array([0.6, 0.1, 3.0])
    points = (topology.v_template * (1, -1, -1)).astype(np.float32)
    box, weak = fitted_weak_camera(points, translation, INTRINSICS)
    estimator = HumanMeshEstimator(FakeRuntime(topology, tuple(weak)))
    (mesh,), _ = estimator.estimate(IMAGE, box[None], intrinsics=INTRINSICS)
    assert mesh.is_metric
    assert np.abs(mesh.translation - translation).max() < 0.05
    assert np.allclose(mesh.vertices, points + mesh.translation, atol=1e-5)
    seen, expected = (
        project_perspective(p, INTRINSICS) for p in (mesh.vertices, points + translation)
    )
    assert np.linalg.norm(seen - expected, axis=1).mean() < 2  # px


def test_without_calibration_the_mesh_is_relative(runtime: FakeRuntime) -> None:
    estimator = HumanMeshEstimator(runtime)
    for intrinsics in (None, np.zeros((3, 3))):
        (mesh,), _ = estimator.estimate(
            IMAGE, np.array([[100, 100, 200, 400]]), intrinsics=intrinsics
        )
        assert not mesh.is_metric and not mesh.translation.any()
        assert np.array_equal(mesh.vertices, runtime.vertices)


def test_every_field_has_its_shape_and_every_stage_its_time(
    runtime: FakeRuntime, topology: Topology
) -> None:
    boxes = np.array([[100, 100, 200, 400], [300, 50, 420, 460]])
    meshes, times = HumanMeshEstimator(runtime).estimate(
        IMAGE, boxes, np.array([0.5, 0.75]), INTRINSICS
    )
    for mesh, box, score in zip(meshes, boxes, (0.5, 0.75), strict=True):
        assert mesh.track_id == -1 and mesh.score == score
        assert np.array_equal(mesh.box, box)
        assert mesh.vertices.shape == topology.v_template.shape
        assert mesh.visibility.shape == (len(topology.v_template),)
        assert mesh.visibility.dtype == bool and 0.2 < mesh.visibility.mean() < 0.7
        assert mesh.iuv.shape[0] == 3
    assert list(times.stages_ms) == ['detect', 'crop', 'network', 'place', 'track']
    assert times.total_ms > 0


@pytest.mark.parametrize('order', ['C', 'F'])
def test_a_placed_mesh_is_the_network_s_own_moved_by_its_translation(
    runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    output = runtime.run(np.zeros((1, CROP_SIZE, CROP_SIZE, 3), np.uint8))
    # Each person's numbers one row of coordinates after the other, as a runtime may leave them.
    vertices = np.asarray(output.vertices[0], np.float32, order=order)[None]
    before = vertices.copy()
    monkeypatch.setattr(runtime, 'run', lambda _: dataclasses.replace(output, vertices=vertices))
    (mesh,), _ = HumanMeshEstimator(runtime).estimate(
        IMAGE, [[100, 100, 200, 400]], intrinsics=INTRINSICS
    )
    assert mesh.translation[2] > 1
    assert np.array_equal(mesh.vertices, before[0] + mesh.translation)
    assert mesh.vertices.dtype == np.float32
    assert np.array_equal(vertices, before)


def test_no_detections_give_no_meshes_and_run_no_network(runtime: FakeRuntime) -> None:
    estimator = HumanMeshEstimator(runtime)
    warm_up = runtime.num_crops
    for boxes in (np.zeros((0, 4)), [], np.array([[700, 0, 800, 100]])):
        meshes, times = estimator.estimate(IMAGE, boxes, intrinsics=INTRINSICS)
        assert meshes == [] and 'detect' in times.stages_ms
    assert runtime.num_crops == warm_up


@pytest.mark.parametrize('shape', [(1, 1, 3), (6000, 8000, 3), (2, 900, 3)])
def test_images_of_any_size_give_a_result(
    runtime: FakeRuntime, shape: tuple[int, int, int]
) -> None:
    estimator = HumanMeshEstimator(runtime)
    box = np.array([[0, 0, shape[1], shape[0]]])
    (mesh,), _ = estimator.estimate(
        np.zeros(shape, np.uint8), box, intrinsics=intrinsics_from_fov(shape[1], shape[0], 60)
    )
    assert np.isfinite(mesh.vertices).all() and np.isfinite(mesh.translation).all()


def test_vertices_outside_the_image_are_not_visible(runtime: FakeRuntime) -> None:
    estimator = HumanMeshEstimator(runtime)
    whole, cut = (
        estimator.estimate(image, np.array([[100, 100, 200, 400]]))[0][0].visibility
        for image in (IMAGE, IMAGE[:, :150])
    )
    assert cut.sum() < whole.sum()


def test_wrong_input_is_rejected_with_a_description(runtime: FakeRuntime) -> None:
    estimator = HumanMeshEstimator(runtime)
    with pytest.raises(ValueError, match='float64, expected uint8'):
        estimator.estimate(IMAGE / 255, np.zeros((0, 4)))
    with pytest.raises(ValueError, match='neither boxes nor a detector'):
        estimator.estimate(IMAGE)
    with pytest.raises(ValueError, match='scores has shape'):
        estimator.estimate(IMAGE, np.array([[0, 0, 9, 9]]), np.ones(2))
    for wrong in ({'max_people': 0}, {'extra_margin': -0.1}, {'extra_margin': float('inf')}):
        with pytest.raises(ValueError, match='max_people at least 1'):
            EstimatorConfig(**wrong)


@pytest.mark.parametrize('name', ['vertices', 'weak_camera'])
def test_non_finite_outputs_are_rejected(runtime: FakeRuntime, name: str) -> None:
    estimator = HumanMeshEstimator(runtime)
    getattr(runtime, name).flat[0] = np.nan
    with pytest.raises(RuntimeError, match='not finite; the weights are damaged'):
        estimator.estimate(IMAGE, np.array([[100, 100, 200, 400]]))


def test_a_person_with_a_non_positive_scale_is_left_out(
    runtime: FakeRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    estimator = HumanMeshEstimator(runtime)
    runtime.weak_camera[0] = -0.1
    with caplog.at_level(logging.WARNING):
        meshes, _ = estimator.estimate(IMAGE, np.array([[100, 100, 200, 400]]))
    assert meshes == [] and 'left out' in caplog.text


def test_the_best_detections_are_taken_and_weak_ones_dropped(runtime: FakeRuntime) -> None:
    detector = GivenBoxes([[0, 0, 50, 90], [100, 0, 150, 90], [200, 0, 250, 90]], [0.9, 0.8, 0.3])
    estimator = HumanMeshEstimator(runtime, detector, None, EstimatorConfig(min_score=0.5))
    assert [mesh.score for mesh in estimator.estimate(IMAGE)[0]] == pytest.approx([0.9, 0.8])
    estimator = HumanMeshEstimator(runtime, detector, None, EstimatorConfig(max_people=1))
    assert [mesh.score for mesh in estimator.estimate(IMAGE)[0]] == pytest.approx([0.9])


def test_a_person_keeps_the_id_while_the_detector_does_not_run(runtime: FakeRuntime) -> None:
    calls = []

    def detector(image: np.ndarray) -> Detections:
        calls.append(len(calls))
        return Detections(np.array([[100, 100, 200, 400]], np.float32), np.array([0.9]))

    estimator = HumanMeshEstimator(runtime, detector, Tracker(TrackerConfig(detect_every=4)))
    ids = [estimator.estimate(IMAGE)[0][0].track_id for _ in range(9)]
    assert ids == [0] * 9 and len(calls) == 3
    estimator.reset()
    assert estimator.estimate(IMAGE)[0][0].track_id == 1


def test_a_deferred_update_gives_the_same_meshes_of_a_video(runtime: FakeRuntime) -> None:
    shown = []
    for defers_updates, flushes in ((False, False), (True, False), (True, True)):
        detections = Detections(
            np.array([[100, 100, 200, 400], [350, 100, 450, 400]], np.float32),
            np.ones(2, np.float32),
        )
        tracker = Tracker(TrackerConfig(detect_every=3), defers_updates=defers_updates)
        estimator = HumanMeshEstimator(runtime, lambda image, found=detections: found, tracker)
        shown.append([])
        for image in range(8):
            meshes, _ = estimator.estimate(IMAGE, intrinsics=INTRINSICS, time_s=image / 30)
            if flushes:
                tracker.flush()
            shown[-1].append([(mesh.track_id, mesh.box.tolist()) for mesh in meshes])
    assert shown[0] == shown[1] == shown[2]
    assert {number for number, _ in shown[0][-1]} == {0, 1}


def test_given_boxes_are_tracked(runtime: FakeRuntime) -> None:
    estimator = HumanMeshEstimator(runtime, None, Tracker())
    for shift in range(5):
        (mesh,), _ = estimator.estimate(IMAGE, np.array([[100 + shift, 100, 200 + shift, 400]]))
        assert mesh.track_id == 0


def test_given_boxes_are_tracked_by_their_time(runtime: FakeRuntime) -> None:
    """After a gap or a jump back in time, all tracks have ended."""
    estimator = HumanMeshEstimator(runtime, None, Tracker(TrackerConfig(max_gap_s=2.0)))
    box = np.array([[100, 100, 200, 400]])
    ids = [
        estimator.estimate(IMAGE, box, time_s=time_s)[0][0].track_id
        for time_s in (0.0, 0.1, 0.2, 9.0, 9.1, 3.0)
    ]
    assert ids == [0, 0, 0, 1, 1, 2]


def test_the_crop_has_the_configured_scale(runtime: FakeRuntime) -> None:
    estimator = HumanMeshEstimator(runtime, config=EstimatorConfig(crop_scale=1.5))
    shapes, run = [], runtime.run
    runtime.run = lambda images: (shapes.append(images.shape), run(images))[1]
    (mesh,), _ = estimator.estimate(IMAGE, np.array([[100, 100, 150, 200]]))
    assert mesh.crop_side == pytest.approx(150)
    assert shapes == [(1, CROP_SIZE, CROP_SIZE, 3)]


@pytest.mark.parametrize('tracker', [None, Tracker()])
def test_the_crop_is_black_outside_the_box_if_the_network_was_trained_so(
    runtime: FakeRuntime, tracker: Tracker | None
) -> None:
    runtime.box_margin = 0.05
    crops: list[np.ndarray] = []
    run = runtime.run
    runtime.run = lambda images: crops.append(images) or run(images)  # type: ignore[method-assign]
    config = EstimatorConfig(crop_scale=2.0, extra_margin=0.2)
    estimator = HumanMeshEstimator(runtime, tracker=tracker, config=config)
    white = np.full((400, 400, 3), 255, np.uint8)
    estimator.estimate(white, np.array([[180, 150, 220, 250]], np.float32))
    is_white = crops[-1][0].all(-1)
    # The square has 64 px for 200 px of the image; 90 x 150 px of it stay.
    assert is_white.any(0).sum() * 200 / 64 == pytest.approx(90, abs=200 / 64)
    assert is_white.any(1).sum() * 200 / 64 == pytest.approx(150, abs=200 / 64)


def test_an_estimator_of_unknown_parts_is_rejected_by_name() -> None:
    with pytest.raises(ValueError, match="detector is 'yolo'"):
        load_estimator(detector='yolo')
    with pytest.raises(ValueError, match="runtime is 'tpu', expected one of: torch, openvino"):
        load_estimator(runtime='tpu')
    with pytest.raises(FileNotFoundError, match='no weights at'):
        load_estimator('/nowhere/rt.safetensors', runtime='openvino')
