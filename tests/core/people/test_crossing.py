"""Identities of crossing people, without a network: a mesh shows the person in front."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from decomr_core.people.detection import Detections, box_overlaps
from decomr_core.people.tracking import Tracker, TrackerConfig

SIZE, FPS, FRAMES = (640, 480), 15, 120
# Where each starts, px; how fast, px per frame; how tall, px. The last is in front.
PEOPLE = ((60, 4.3, 170), (590, -4.4, 190), (200, 2.6, 210), (430, -3.0, 240))
DESCRIPTORS = np.eye(4, 24, dtype=np.float32) * 0.6 + 0.16
DESCRIPTORS /= np.linalg.norm(DESCRIPTORS, axis=1, keepdims=True)


def true_boxes(frame: int) -> np.ndarray:
    """(4, 4) boxes of the people, image px."""
    boxes = [
        [x + speed * frame - tall / 5, 440 - tall, x + speed * frame + tall / 5, 440]
        for x, speed, tall in PEOPLE
    ]
    return np.array(boxes, np.float32)


def detections_of(
    boxes: np.ndarray, rng: np.random.Generator, has_descriptors: bool
) -> Detections:
    """Of two people who overlap by half only the front one; 10 % are missed; noise of 4 %."""
    order = [index for index in (3, 2, 1, 0) if rng.random() > 0.1]
    kept: list[int] = []
    for index in order:
        if not kept or box_overlaps(boxes[[index]], boxes[kept])[1].max() < 0.5:
            kept.append(index)
    noise = rng.normal(0, 0.04, (len(kept), 2)) * (boxes[kept, 3:] - boxes[kept, 1:2])
    return Detections(
        boxes[kept] + np.tile(noise, 2).astype(np.float32),
        np.full(len(kept), 0.9, np.float32),
        DESCRIPTORS[kept] if has_descriptors else None,
    )


def seen_by_mesh(box: np.ndarray, boxes: np.ndarray) -> int:
    """The person whom the mesh of a crop shows: the largest share of the box, front to back."""
    shares = box_overlaps(box[None], boxes)[0][0]
    return int(np.argmax(shares * (1 + 0.3 * np.arange(4))))


def run_crossing(seed: int, detect_every: int, has_descriptors: bool = True) -> list[Counter[int]]:
    """How often each id was shown for each person."""
    rng = np.random.default_rng(seed)
    tracker = Tracker(TrackerConfig(detect_every=detect_every))
    shown_as: list[Counter[int]] = [Counter() for _ in PEOPLE]
    for frame in range(FRAMES):
        boxes = true_boxes(frame)
        is_due = tracker.is_detection_due(SIZE, frame / FPS)
        expected = tracker.predict(
            SIZE, frame / FPS, detections_of(boxes, rng, has_descriptors) if is_due else None
        )
        who = [seen_by_mesh(box, boxes) for box in expected.boxes]
        seen = boxes[who] + rng.normal(0, 2, (len(who), 4)).astype(np.float32)
        shown = tracker.update(
            seen,
            np.full(len(who), 0.5),
            None,
            (lambda who=who: DESCRIPTORS[who]) if has_descriptors else None,
        )
        for index in np.flatnonzero(shown):
            shown_as[who[index]][expected.track_ids[index]] += 1
    return shown_as


@pytest.mark.parametrize('detect_every', [1, 5, 10])
def test_four_people_who_cross_keep_their_ids(detect_every: int) -> None:
    rights, total = 0, 0
    for seed in range(5):
        shown_as = run_crossing(seed, detect_every)
        mains = [counter.most_common(1)[0] for counter in shown_as]
        assert len({number for number, _ in mains}) == 4
        rights += sum(count for _, count in mains)
        total += sum(sum(counter.values()) for counter in shown_as)
    assert rights >= 0.95 * total
    # They do show: behind one another, hidden for a fifth of the time at most.
    assert total >= 0.8 * 5 * FRAMES * len(PEOPLE)


def test_people_of_equal_appearance_mostly_keep_their_ids_by_their_motion() -> None:
    shown_as = [counter for seed in range(5) for counter in run_crossing(seed, 1, False)]
    right = sum(counter.most_common(1)[0][1] for counter in shown_as)
    assert right >= 0.85 * sum(sum(counter.values()) for counter in shown_as)


def test_twenty_people_all_have_ids_and_people_beyond_the_limit_are_counted() -> None:
    boxes = np.array([[30 * n, 100, 30 * n + 25, 180] for n in range(20)], np.float32)
    everybody = Detections(boxes, np.full(20, 0.9, np.float32))
    for room, left_out in ((30, 0), (12, 8)):
        tracker = Tracker(TrackerConfig(max_tracks=room))
        tracker.predict(SIZE, detections=everybody)
        assert [track.track_id for track in tracker.tracks] == list(range(min(room, 20)))
        assert tracker.people_left_out == left_out


def test_late_detections_are_associated_with_the_positions_at_their_time() -> None:
    tracker = Tracker(TrackerConfig(detect_every=5))
    start = np.array([[100, 100, 140, 220]], np.float32)
    tracker.predict(SIZE, 0.0, Detections(start, np.ones(1, np.float32)))
    tracker.update(start, np.array([0.5]))
    then_s = tracker.now_s
    for step in range(1, 8):
        tracker.predict(SIZE, step / 20)
        tracker.update(start + [15 * step, 0, 15 * step, 0], np.array([0.5]))
    assert tracker.tracks[0].box[0] > 190
    late = Detections(start, np.ones(1, np.float32), None, then_s)
    expected = tracker.predict(SIZE, 8 / 20, late)
    (track,) = tracker.tracks
    assert track.track_id == 0 and track.num_detections == 2
    assert expected.boxes[0, 0] == pytest.approx(220, abs=15), 'the motion since then stays'


def test_a_person_hidden_for_two_seconds_keeps_the_id_and_gets_a_new_one_later() -> None:
    box = np.array([[300, 100, 340, 220]], np.float32)
    for hidden_s, number in ((1.5, 0), (3.0, 1)):
        tracker = Tracker(TrackerConfig(detect_every=1))
        for frame in range(round(hidden_s * FPS) + 20):
            is_seen = int(not 10 <= frame < 10 + hidden_s * FPS)
            tracker.predict(
                SIZE, frame / FPS, Detections(box[:is_seen], np.ones(is_seen, np.float32))
            )
            shown = tracker.update(
                np.tile(box, (len(tracker.tracks), 1)), np.full(len(tracker.tracks), 0.5 * is_seen)
            )
            assert is_seen or frame == 10 or not shown.any()
        assert [track.track_id for track in tracker.tracks] == [number]
