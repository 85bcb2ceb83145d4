from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decomr_core.people.detection import Detections
from decomr_core.people.tracking import Tracker, TrackerConfig

SIZE = 320, 240
LEFT, RIGHT = [10, 10, 50, 110], [200, 20, 240, 130]


def seen(*boxes: list[float], scores: list[float] | None = None) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores or [0.9] * len(boxes), np.float32),
    )


def step(tracker: Tracker, detections: Detections) -> dict[int, np.ndarray]:
    """Tracks one image, with detection if due; returns the predicted boxes by id."""
    is_due = tracker.is_detection_due(SIZE)
    expected = tracker.predict(SIZE, detections=detections if is_due else None)
    return dict(zip(expected.track_ids, expected.boxes, strict=True))


def test_people_keep_their_ids_for_every_order_of_detections() -> None:
    tracker = Tracker(TrackerConfig(detect_every=1))
    first = step(tracker, seen(LEFT, RIGHT))
    moved = step(tracker, seen([205, 22, 245, 131], [14, 11, 54, 111]))
    np.testing.assert_allclose([first[0], first[1]], [LEFT, RIGHT], atol=0.01)
    # Between where they were and where a noisy detector sees them.
    assert LEFT[0] + 1 < moved[0][0] < 14 and RIGHT[0] + 1 < moved[1][0] < 205


def test_boxes_follow_a_detector_that_agrees_with_itself() -> None:
    tracker = Tracker(TrackerConfig(detect_every=1))
    for image in range(30):
        box = np.array(LEFT) + [2 * image, 0, 2 * image, 0]
        boxes = step(tracker, seen(list(box)))
    assert boxes[0] == pytest.approx(box, abs=2.5)


def test_a_detection_of_another_size_is_another_person() -> None:
    """An established track is not associated with a child in front of the person."""
    tracker = Tracker(TrackerConfig(detect_every=1))
    for _ in range(20):
        step(tracker, seen(LEFT))
    assert set(step(tracker, seen([20, 55, 44, 110]))) == {0, 1}


@pytest.mark.parametrize(('height_noise', 'numbers'), [(0.08, {0, 1}), (0.3, {0})])
def test_the_size_tolerance_depends_on_the_detector(
    height_noise: float, numbers: set[int]
) -> None:
    tracker = Tracker(TrackerConfig(detect_every=1))
    for _ in range(20):
        step(tracker, replace(seen(LEFT), height_noise=height_noise))
    smaller = replace(seen([16, 30, 46, 90]), height_noise=height_noise)
    assert set(step(tracker, smaller)) == numbers


def test_a_track_missed_a_few_times_keeps_its_id_and_then_ends() -> None:
    tracker = Tracker(TrackerConfig(detect_every=1, max_missed=2))
    step(tracker, seen(LEFT, RIGHT))
    assert set(step(tracker, seen(LEFT))) == {0, 1}
    assert set(step(tracker, seen(LEFT))) == {0, 1}
    assert set(step(tracker, seen(LEFT, RIGHT))) == {0, 1}
    for _ in range(3):
        left = step(tracker, seen(LEFT))
    assert set(left) == {0}


def test_a_doubtful_detection_continues_a_track_and_begins_none() -> None:
    tracker = Tracker(TrackerConfig(detect_every=1))
    step(tracker, seen(LEFT))
    doubtful = replace(seen(), doubtful=seen(LEFT, RIGHT, scores=[0.2, 0.2]))
    for _ in range(5):
        assert set(step(tracker, doubtful)) == {0}
    assert tracker.tracks[0].score == pytest.approx(0.9), 'of the last sure detection'
    assert tracker.tracks[0].is_tentative, 'doubtful detections confirm nothing'
    assert set(step(tracker, seen(RIGHT))) == {0, 1}


def test_a_track_with_only_doubtful_detections_ends_eventually() -> None:
    """For example a sign post that was detected as a person once."""
    tracker = Tracker(TrackerConfig(detect_every=1, max_doubtful_s=1.0))
    doubtful = replace(seen(), doubtful=seen(LEFT, scores=[0.2]))

    def images_until_it_ends(answers: Detections, most: int = 90) -> int:
        return next((image for image in range(most) if not step(tracker, answers)), most)

    for _ in range(3):
        step(tracker, seen(LEFT))
    # Thirty images of a second, and the one miss that the detector may make.
    assert images_until_it_ends(doubtful) == pytest.approx(31, abs=1)
    step(tracker, seen(LEFT))
    for _ in range(5):
        assert images_until_it_ends(doubtful, most=20) == 20
        assert len(step(tracker, seen(LEFT))) == 1, 'a sure detection begins the time anew'


def test_a_track_without_doubtful_detections_ends_sooner() -> None:
    tracker = Tracker(TrackerConfig(detect_every=1, max_missed=3, max_missed_by_all=1))
    for answers, ends_after in ((seen(), 4), (replace(seen(), doubtful=seen()), 2)):
        tracker.reset()
        for _ in range(3):
            step(tracker, seen(LEFT))
        left = [len(step(tracker, answers)) for _ in range(5)]
        assert left == [1] * (ends_after - 1) + [0] * (6 - ends_after)


def test_a_confident_detection_is_preferred_to_a_doubtful_one() -> None:
    tracker = Tracker(TrackerConfig(detect_every=1))
    for _ in range(3):
        step(tracker, seen(LEFT))
    beside = [16, 12, 56, 112]
    boxes = step(tracker, replace(seen(beside), doubtful=seen(LEFT, scores=[0.2])))
    assert set(boxes) == {0} and boxes[0][0] > LEFT[0] + 1


def test_a_new_track_gets_an_unused_id() -> None:
    tracker = Tracker(TrackerConfig(detect_every=1, max_missed=0))
    step(tracker, seen(LEFT))
    step(tracker, seen())
    assert set(step(tracker, seen(LEFT))) == {1}
    tracker.reset()
    assert set(step(tracker, seen(LEFT))) == {2}


def test_the_detector_runs_on_every_nth_image_and_while_there_are_no_tracks() -> None:
    tracker = Tracker(TrackerConfig(detect_every=3))
    asked = []
    for _ in range(9):
        asked.append(tracker.is_detection_due(SIZE))
        found = seen(LEFT) if len(asked) > 2 else seen()
        tracker.predict(SIZE, detections=found if asked[-1] else None)
    assert asked == [True, True, True, False, False, True, False, False, True]


@pytest.mark.parametrize(
    ('rate_hz', 'period_s', 'every'),
    [(2, 0.5, 1), (2, 1.0, 2), (10, 0.5, 5), (30, 0.5, 10), (2, 0.0, 10)],
)
def test_the_detector_runs_after_its_stride_or_its_period_whichever_is_first(
    rate_hz: float, period_s: float, every: int
) -> None:
    tracker = Tracker(TrackerConfig(detect_every=10, detect_period_s=period_s))
    asked = []
    for image in range(60):
        # Stamps of a real camera: up to a hundredth of the interval early or late.
        time_s = (image + 0.01 * (image % 3 - 1)) / rate_hz
        if is_due := tracker.is_detection_due(SIZE, time_s):
            asked.append(image)
        tracker.predict(SIZE, time_s, seen(LEFT) if is_due else None)
        tracker.update(np.array([LEFT], np.float32), np.array([0.5]))
    assert asked == list(range(0, 60, every))


def test_a_person_with_hardly_any_foreground_is_not_shown() -> None:
    for foreground, is_shown in ((0.01, False), (0.05, True)):
        tracker = Tracker(TrackerConfig(detect_every=1))
        step(tracker, seen(LEFT))
        shown = tracker.update(np.array([LEFT], np.float32), np.array([foreground]))
        assert shown.tolist() == [is_shown]


def test_another_image_size_ends_all_tracks() -> None:
    tracker = Tracker(TrackerConfig(detect_every=100))
    step(tracker, seen(LEFT))
    assert not tracker.is_detection_due(SIZE)
    assert tracker.is_detection_due((640, 480))
    assert len(tracker.predict(SIZE).track_ids) == 1
    assert len(tracker.predict((640, 480)).track_ids) == 0 and tracker.tracks == []


def test_the_mesh_updates_the_box_between_detections() -> None:
    tracker = Tracker(TrackerConfig(detect_every=5))
    step(tracker, seen(LEFT, RIGHT))
    tracker.update(
        np.array([[16, 10, 56, 110], [300, 0, 310, 5]], np.float32), np.array([0.5, 0.0])
    )
    boxes = step(tracker, seen())
    assert LEFT[0] + 1 < boxes[0][0] < 16
    assert boxes[1] == pytest.approx(RIGHT), 'a mesh without foreground must not move the box'
    for _ in range(30):
        tracker.update(
            np.array([[16, 10, 56, 110], [300, 0, 310, 5]], np.float32), np.array([0.5, 0.0])
        )
        boxes = step(tracker, seen([16, 10, 56, 110], RIGHT))
    assert boxes[0] == pytest.approx([16, 10, 56, 110], abs=1.5)


def test_a_new_track_without_detection_or_mesh_is_hidden_and_ends() -> None:
    tracker = Tracker(TrackerConfig(detect_every=1))
    step(tracker, seen(LEFT, RIGHT))
    assert set(step(tracker, seen())) == {0, 1}
    shown = tracker.update(np.array([track.box for track in tracker.tracks]), np.array([0.5, 0.0]))
    assert shown.tolist() == [True, False]
    assert set(step(tracker, seen(LEFT))) == {0}


@pytest.mark.parametrize('box', [[0, 0, 80, 200], [45, 10, 85, 110]])
def test_a_mesh_of_another_size_or_position_does_not_update_the_box(box: list[float]) -> None:
    tracker = Tracker()
    before = step(tracker, seen(LEFT))[0]
    tracker.update(np.array([box], np.float32), np.array([0.5]))
    assert tracker.tracks[0].box == pytest.approx(before)


def test_the_mesh_of_an_occluded_person_updates_nothing_and_is_shown_only_where_it_fits() -> None:
    tracker = Tracker(TrackerConfig(detect_every=10))
    behind, front = [40, 10, 80, 100], [60, 10, 104, 120]
    before = step(tracker, seen(behind, front))
    for shift, is_shown in ((4, True), (15, False)):
        meshes = np.array([behind, front], np.float32) + [[shift, 0, shift, 0], [0] * 4]
        shown = tracker.update(meshes, np.array([0.5, 0.5]))
        assert shown.tolist() == [is_shown, True]
        assert tracker.tracks[0].box == pytest.approx(before[0])


def test_the_track_of_a_person_who_leaves_the_image_ends() -> None:
    tracker = Tracker()
    step(tracker, seen(LEFT))
    tracker.update(np.array([[400, 0, 440, 100]], np.float32), np.array([0.5]))
    assert tracker.tracks == []


def test_two_tracks_on_one_person_become_one() -> None:
    tracker = Tracker(TrackerConfig(detect_every=1))
    step(tracker, seen(LEFT, RIGHT))
    both_left = np.array([LEFT, [12, 10, 52, 110]], np.float32)
    shown = tracker.update(both_left, np.array([0.5, 0.5]))
    assert shown.tolist() == [True, False]
    assert set(step(tracker, seen(LEFT))) == {0, 1}, 'the detector saw two people just before'
    shown = tracker.update(both_left, np.array([0.5, 0.5]))
    assert shown.tolist() == [True, False]
    assert set(step(tracker, seen(LEFT))) == {0}


def test_a_deferred_update_changes_the_tracks_as_an_immediate_one_does() -> None:
    """By `flush`, by access to the tracks, or by the next image."""
    meshes, foregrounds = np.array([[16, 10, 56, 110], RIGHT], np.float32), np.array([0.5, 0.5])
    descriptors = np.full((2, 24), 24**-0.5, np.float32)
    described, moved = [], []

    def describe() -> np.ndarray:
        described.append(1)
        return descriptors

    for finish in (None, Tracker.flush, lambda tracker: tracker.tracks, lambda tracker: None):
        tracker = Tracker(TrackerConfig(detect_every=5), defers_updates=finish is not None)
        before = step(tracker, seen(LEFT, RIGHT))
        described.clear()
        assert tracker.update(meshes, foregrounds, None, describe).all()
        assert len(described) == (finish is None), 'what is deferred does not delay the meshes'
        if finish is not None:
            finish(tracker)
        moved.append(tracker.predict(SIZE).boxes)
        assert len(described) == 1
        assert tracker.tracks[0].descriptor == pytest.approx(descriptors[0])
    for boxes in moved:
        np.testing.assert_array_equal(boxes[0], moved[0][0])
        assert boxes[0][0] > before[0][0]


@pytest.mark.parametrize('defers_updates', [False, True])
def test_asking_whether_a_detection_is_due_changes_nothing(defers_updates: bool) -> None:
    """Two trackers get the same video; the second is queried about every possible next image."""
    results = []
    for asks in (0, 3):
        tracker = Tracker(
            TrackerConfig(detect_every=4, detect_period_s=0.4), defers_updates=defers_updates
        )
        results.append([])
        for image in range(40):
            time_s = image / 20
            for _ in range(asks):
                for size, other_s in (
                    (SIZE, time_s),
                    ((640, 480), time_s),
                    (SIZE, time_s + 9),
                    (SIZE, time_s - 9),
                    (SIZE, None),
                ):
                    tracker.is_detection_due(size, other_s)
            is_due = tracker.is_detection_due(SIZE, time_s)
            box = [LEFT[0] + image, LEFT[1], LEFT[2] + image, LEFT[3]]
            expected = tracker.predict(SIZE, time_s, seen(box, RIGHT) if is_due else None)
            shown = tracker.update(np.array([box, RIGHT], np.float32), np.array([0.5, 0.5]))
            results[-1].append(
                (
                    is_due,
                    expected.track_ids,
                    expected.boxes.tolist(),
                    expected.crop_boxes.tolist(),
                    shown.tolist(),
                    tracker.now_s,
                )
            )
    assert results[0] == results[1]
    assert {is_due for is_due, *_ in results[0]} == {False, True}


def test_tracks_beyond_a_new_configuration_end_immediately() -> None:
    tracker = Tracker(TrackerConfig(detect_every=5), defers_updates=True)
    step(tracker, seen(LEFT, RIGHT, [100, 20, 140, 130], scores=[0.9, 0.4, 0.8]))
    tracker.update(np.array([LEFT, RIGHT, [100, 20, 140, 130]], np.float32), np.full(3, 0.5))
    assert [track.track_id for track in tracker.tracks] == [0, 1, 2]
    worst = min(tracker.tracks, key=lambda track: track.score).track_id
    tracker.reconfigure(TrackerConfig(detect_every=5), min_score=0.5)
    assert [track.track_id for track in tracker.tracks] == sorted({0, 1, 2} - {worst})
    tracker.reconfigure(TrackerConfig(detect_every=5, max_tracks=1))
    assert len(tracker.tracks) == tracker.config.max_tracks == 1


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 250), st.integers(0, 150)), max_size=5), max_size=8)
)
def test_ids_are_unique_and_the_list_is_bounded(images: list[list[tuple[int, int]]]) -> None:
    tracker = Tracker(TrackerConfig(detect_every=1, max_tracks=4))
    for places in images:
        detections = seen(*([x, y, x + 40, y + 90] for x, y in places))
        ids = list(step(tracker, detections))
        assert len(set(ids)) == len(ids) <= 4
        assert len(tracker.tracks) >= min(4, len(places) > 0)


def test_an_invalid_config_is_rejected() -> None:
    with pytest.raises(ValueError, match='at least 1'):
        TrackerConfig(detect_every=0)
    with pytest.raises(ValueError, match='min_foreground is 1.5'):
        TrackerConfig(min_foreground=1.5)
    with pytest.raises(ValueError, match='max_doubtful_s must be at least 0'):
        TrackerConfig(max_doubtful_s=-1)
    with pytest.raises(ValueError, match='detect_period_s and max_doubtful_s must be at'):
        TrackerConfig(detect_period_s=-1)
    with pytest.raises(ValueError, match='min_shown_foreground is 2'):
        TrackerConfig(min_shown_foreground=2)


def test_a_whole_frame_stays_one_person_whose_box_is_the_frame() -> None:
    """The mesh is far smaller than the image; each image used to begin a new track."""
    tracker = Tracker(TrackerConfig.for_detector('whole-frame', detect_every=5, max_tracks=10))
    whole = [0, 0, 319, 239]
    for _ in range(12):
        assert step(tracker, seen(whole)) == {0: pytest.approx(whole, abs=1e-3)}
        shown = tracker.update(np.array([[150, 100, 170, 140]], np.float32), np.array([0.9]))
        assert shown.all()


@given(
    st.lists(
        st.tuples(st.floats(-0.03, 0.03), st.floats(-0.03, 0.03), st.floats(-0.03, 0.03)),
        min_size=1,
        max_size=20,
    )
)
def test_the_crop_of_a_standing_person_does_not_follow_the_noise_of_the_mesh(
    noise: list[tuple[float, float, float]],
) -> None:
    tracker = Tracker(TrackerConfig(detect_every=100))
    box = np.array([100, 100, 200, 300], np.float32)
    first = tracker.predict((640, 480), detections=seen(list(box))).crop_boxes
    for x, y, size in noise:
        height = 200 * (1 + size)
        center = np.array([150, 200]) + 200 * np.array([x, y])
        half = np.array([50, height / 2])
        tracker.update(
            np.concatenate([center - half, center + half])[None].astype(np.float32), np.ones(1)
        )
        np.testing.assert_array_equal(tracker.predict((640, 480)).crop_boxes, first)


def test_the_crop_of_a_walking_person_follows_the_person() -> None:
    tracker = Tracker(TrackerConfig(detect_every=100))
    for image in range(30):
        box = np.array([100 + 6 * image, 100, 200 + 6 * image, 300], np.float32)
        (crop,) = tracker.predict(
            (640, 480), detections=seen(list(box)) if image == 0 else None
        ).crop_boxes
        assert np.abs(crop - box).max() <= 0.08 * 200 + 12
        tracker.update(box[None], np.ones(1))
    assert crop[0] > 200
