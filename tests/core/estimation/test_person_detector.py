"""The person detector: its people, its boxes, images of all kinds, damaged files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decomr_core.base import assets
from decomr_core.estimation import person_detector
from decomr_core.estimation.person_detector import INPUT_SIZE, RUNTIMES, PersonDetector
from decomr_core.people.appearance import box_descriptors
from decomr_core.people.detection import Detections, box_overlaps

# Of Debian's package opencv-doc.
PEDESTRIANS = Path('/usr/share/doc/opencv-doc/examples/data/vtest.avi')
CLIP = assets.DATA_FOLDER / 'demo_clip.mp4'


@pytest.fixture(scope='module')
def detector() -> PersonDetector:
    return PersonDetector()


@pytest.fixture(scope='module')
def image() -> np.ndarray:
    """A frame of the demo's clip, RGB, with two people in it."""
    video = cv2.VideoCapture(str(CLIP))
    for _ in range(40):
        _, frame = video.read()
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


@pytest.mark.skipif(not PEDESTRIANS.is_file(), reason='apt-get install opencv-doc')
def test_the_pedestrians_of_a_real_video_are_found(detector: PersonDetector) -> None:
    image = cv2.cvtColor(cv2.VideoCapture(str(PEDESTRIANS)).read()[1], cv2.COLOR_BGR2RGB)
    found = detector(image)
    # By hand: two people who stand alone.
    people = np.array([[255, 220, 283, 312], [643, 243, 685, 322]], np.float32)
    assert (box_overlaps(people, found.boxes)[0].max(axis=1) > 0.6).all()
    assert (np.diff(found.scores) <= 0).all() and (found.scores >= 0.3).all()


@pytest.mark.parametrize('runtime', RUNTIMES)
def test_every_runtime_finds_exactly_the_two_people(image: np.ndarray, runtime: str) -> None:
    found = PersonDetector(runtime=runtime)(image)
    reference = PersonDetector()(image)
    assert len(found.boxes) == len(reference.boxes) == 2
    assert (box_overlaps(found.boxes, reference.boxes)[0].max(axis=1) > 0.9).all()


def test_an_image_stored_as_bgr_is_the_same_image(
    detector: PersonDetector, image: np.ndarray
) -> None:
    found = detector(image)
    assert len(found.boxes)
    as_bgr = np.ascontiguousarray(image[..., ::-1])[..., ::-1]
    again = detector(as_bgr)
    assert np.array_equal(again.boxes, found.boxes)
    assert np.array_equal(again.scores, found.scores)
    assert np.array_equal(
        box_descriptors(as_bgr, found.boxes), box_descriptors(image, found.boxes)
    )


@settings(max_examples=20, deadline=None)
@given(width=st.integers(1, 900), height=st.integers(1, 900), tiles=st.integers(1, 3))
def test_boxes_lie_inside_the_image_for_every_network_output(
    detector: PersonDetector, width: int, height: int, tiles: int
) -> None:
    rng = np.random.default_rng([width, height])
    inner = PersonDetector.__new__(PersonDetector)
    inner.tiles, inner.min_score, inner.max_overlap = tiles, 0.3, 0.45
    low = rng.uniform(-300, 500, (200, 2))
    boxes = np.concatenate([low, low + rng.uniform(-5, 300, (200, 2))], axis=1)
    inner._forward = lambda canvas: (boxes.astype(np.float32), rng.random(200).astype(np.float32))
    found = inner(np.zeros((height, width, 3), np.uint8))
    low, high = found.boxes[:, :2], found.boxes[:, 2:]
    assert (low >= -0.5).all() and (high <= [width - 0.5, height - 0.5]).all()
    assert (high > low).all() and (np.diff(found.scores) <= 0).all()
    overlap = box_overlaps(found.boxes, found.boxes)[0]
    assert (overlap[~np.eye(len(overlap), dtype=bool)] <= 0.45 + 1e-4).all()
    assert (found.scores >= 0.3).all()
    doubtful = found.doubtful.scores
    assert (doubtful >= 0.15).all() and (doubtful < 0.3).all()


def test_detections_below_the_minimum_score_are_doubtful(
    detector: PersonDetector, image: np.ndarray
) -> None:
    found = detector(image)
    raised = found.with_min_score(float(found.scores[0]))
    assert len(raised.scores) == 1
    everybody = np.concatenate([raised.scores, raised.doubtful.scores])
    assert np.array_equal(everybody, np.concatenate([found.scores, found.doubtful.scores]))
    assert len(raised.doubtful.boxes) == len(raised.doubtful.scores)


def test_a_detector_without_doubtful_detections_gets_none() -> None:
    found = Detections(np.zeros((2, 4), np.float32), np.float32([0.9, 0.2])).with_min_score(0.5)
    assert found.scores.tolist() == pytest.approx([0.9]) and found.doubtful is None


def test_a_box_inside_another_box_is_kept() -> None:
    """A person in front of a larger person is a separate detection."""
    boxes = np.array([[0, 0, 100, 300], [30, 150, 70, 290], [2, 0, 100, 300]], np.float32)
    kept = person_detector._best(boxes, np.array([0.9, 0.5, 0.8], np.float32), 0.3, 0.45)
    assert kept.tolist() == [0, 1]


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(2, 4))
def test_tiles_cover_the_image(width: int, height: int, count: int) -> None:
    tiles = person_detector._tiles(width, height, count)
    assert len(tiles) == count**2
    for first, last, length in ((0, 2, width), (1, 3, height)):
        spans = sorted({(tile[first], tile[last]) for tile in tiles})
        assert spans[0][0] == 0 and spans[-1][1] == length
        assert all(start < end for start, end in spans)
        assert all(after[0] <= before[1] for before, after in zip(spans, spans[1:], strict=False))


def test_people_too_small_for_the_whole_image_are_found_in_its_tiles(
    detector: PersonDetector, image: np.ndarray
) -> None:
    scene = np.full((3600, 5120, 3), 110, np.uint8)
    scene[3000:3480, 4300:4940] = image
    people = detector(image).boxes + np.float32([4300, 3000] * 2)
    assert len(people) == 2 > len(detector(scene).boxes)
    found = PersonDetector(tiles=4)(scene).boxes
    assert len(found) == 2
    assert (box_overlaps(people, found)[0].max(axis=1) > 0.8).all()


@pytest.mark.parametrize('tiles', [2, 3, 4])
def test_tiles_give_no_partial_detections(
    detector: PersonDetector, image: np.ndarray, tiles: int
) -> None:
    found, whole = PersonDetector(tiles=tiles)(image), detector(image)
    assert len(found.boxes) == len(whole.boxes)
    assert (box_overlaps(whole.boxes, found.boxes)[0].max(axis=1) > 0.8).all()


@pytest.mark.parametrize(
    'shape', [(1, 1, 3), (1, 5000, 3), (5000, 1, 3), (40, 3000, 3), (6000, 8000, 3)]
)
def test_an_empty_image_of_any_size_has_no_detections(
    detector: PersonDetector, shape: tuple[int, int, int]
) -> None:
    found = detector(np.full(shape, 128, np.uint8))
    assert found.boxes.shape == (0, 4) and found.scores.shape == (0,)


@pytest.mark.parametrize(
    ('image', 'said'),
    [
        (np.zeros((9, 9), np.uint8), 'shape'),
        (np.zeros((9, 9, 4), np.uint8), 'shape'),
        (np.zeros((9, 9, 3)), 'uint8'),
        (np.zeros((0, 9, 3), np.uint8), 'pixel'),
    ],
)
def test_an_array_that_is_not_an_image_is_rejected(
    detector: PersonDetector, image: np.ndarray, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        detector(image)


@pytest.mark.parametrize('runtime', RUNTIMES)
@pytest.mark.parametrize('precision', ['int8', 'float'])
@pytest.mark.parametrize('damage', ['missing', 'truncated', 'empty', 'another'])
def test_a_damaged_file_is_a_one_line_error_with_the_command_that_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str, precision: str, damage: str
) -> None:
    is_int8 = precision == 'int8'
    monkeypatch.setattr(person_detector, 'has_int8_dot_products', lambda: is_int8)
    whole = assets.find_detector(precision).read_bytes()
    path = tmp_path / f'person_detector{"_int8" if is_int8 else ""}.onnx'
    if damage != 'missing':
        path.write_bytes(
            {'truncated': whole[: len(whole) // 2], 'empty': b'', 'another': another_model()}[
                damage
            ]
        )
    monkeypatch.setattr(assets, 'DATA_FOLDER', tmp_path)
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        PersonDetector(runtime=runtime)
    text = str(caught.value)
    assert 'python -m tools.bake_person_detector object_detector.tflite' in text
    assert str(path) in text and '\n' not in text


def another_model() -> bytes:
    """A valid ONNX file that is not a detector."""
    from onnx import TensorProto, helper

    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in 'ab']
    graph = helper.make_graph(
        [helper.make_node('Relu', ['a'], ['b'])], 'another', ports[:1], ports[1:]
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8
    ).SerializeToString()


@pytest.mark.parametrize(
    'options',
    [
        {'tiles': 0},
        {'min_score': 0},
        {'max_overlap': 1.5},
        {'runtime': 'tensorrt'},
        {'runtime': 'openvino', 'provider': 'cuda'},
        {'runtime': 'onnxruntime', 'provider': 'rocm'},
    ],
)
def test_invalid_options_are_rejected(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=str(next(reversed(options.values())))):
        PersonDetector(**options)


def test_a_missing_gpu_is_an_error() -> None:
    with pytest.raises(RuntimeError, match='cuda'):
        PersonDetector(provider='cuda')


def test_both_files_are_for_the_same_input() -> None:
    onnx = pytest.importorskip('onnx')
    for precision in ('int8', 'float'):
        graph = onnx.load(assets.find_detector(precision)).graph
        shape = [size.dim_value for size in graph.input[0].type.tensor_type.shape.dim]
        assert shape == [1, INPUT_SIZE[1], INPUT_SIZE[0], 3]
