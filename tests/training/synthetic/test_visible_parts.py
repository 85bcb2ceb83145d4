"""Rendered people that are framed by what is visible of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from decomr_core.body_models import load_body
from decomr_core.geometry.crop import CROP_SCALE
from decomr_core.uv.uv_map import load_uv_map
from training.records.person_boxes import box_of_mask
from training.synthetic import visible_parts
from training.synthetic.people import SyntheticPeople
from training.synthetic.synthetic_batch import SyntheticBatch
from training.synthetic.synthetic_config import SyntheticConfig

CONFIG = SyntheticConfig(size=128, batch_size=16, is_crowded=True, upper_share=0.5)


def render(boxed_share: float) -> SyntheticBatch:
    """The same people with and without boxes."""
    body = load_body('builtin')
    config = dataclasses.replace(CONFIG, boxed_share=boxed_share)
    return SyntheticPeople(config, body, load_uv_map('builtin', body), seed=3).batch(0)


@pytest.fixture(scope='module')
def plain() -> SyntheticBatch:
    return render(0.0)


def test_images_that_keep_their_framing_differ_only_outside_of_the_box(
    plain: SyntheticBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visible_parts, 'CROPPED_SHARE', 0.0)
    boxed = render(1.0)
    for name in ('iuv', 'mask', 'vertices', 'joints', 'joints_2d', 'camera'):
        assert torch.equal(getattr(boxed, name), getattr(plain, name)), name
    is_same = (boxed.images == plain.images).all(-1).numpy()
    assert not is_same.all() and not boxed.images.numpy()[~is_same].any()


def test_cropped_people_fill_the_image_and_their_labels_follow(
    plain: SyntheticBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visible_parts, 'CROPPED_SHARE', 1.0)
    cropped = render(1.0)
    assert torch.equal(cropped.vertices, plain.vertices)
    zooms = cropped.camera[:, 0] / plain.camera[:, 0]
    assert zooms.max() > 1.3, 'some people are mostly hidden'
    for index in range(len(plain)):
        box = box_of_mask(cropped.mask[index].numpy())
        old = box_of_mask(plain.mask[index].numpy())
        assert box is not None and old is not None
        side = max(box[2:] - box[:2])
        limit = max(old[2:] - old[:2]) * visible_parts.LARGEST_ZOOM
        assert side == pytest.approx(min(2 / CROP_SCALE, limit), rel=0.3)
        # The same surface points are visible, at the places to which the camera moves them.
        moved = points_of(cropped, index)[1] - points_of(plain, index)[1] * float(zooms[index])
        assert np.abs(moved).max() < 0.08
        # So do the joints, with the same deviation from the weak perspective.
        after, before = (
            people.joints_2d[index, :, :2] - projected_joints(people, index)
            for people in (cropped, plain)
        )
        assert torch.allclose(after, before * zooms[index], atol=1e-3)
        is_inside = cropped.joints_2d[index, :, 2] > 0
        assert (cropped.joints_2d[index, is_inside, :2].abs() <= 1).all()
        assert (plain.joints_2d[index, is_inside, 2] > 0).all(), 'nothing outside was seen'


def projected_joints(people: SyntheticBatch, index: int) -> torch.Tensor:
    """Joints (24, 2) of a person in its weak-perspective camera, crop frame."""
    scale, *offset = people.camera[index]
    return scale * (people.joints[index, :, :2] + torch.stack(offset))


def points_of(people: SyntheticBatch, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean u, v of the visible surface, and the mean position of its cells minus the camera's
    projection of the root, crop frame."""
    iuv = people.iuv[index].numpy()
    rows, columns = np.nonzero(iuv[0] > 0.5)
    size = iuv.shape[1]
    places = np.stack([columns, rows], axis=1) * 2 / size + 1 / size - 1
    scale, *offset = people.camera[index].tolist()
    return iuv[1:, rows, columns].mean(1), places.mean(0) - scale * np.array(offset)


def test_the_surface_of_a_cropped_person_is_the_same_surface(
    plain: SyntheticBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visible_parts, 'CROPPED_SHARE', 1.0)
    cropped = render(1.0)
    for index in range(len(plain)):
        np.testing.assert_allclose(
            points_of(cropped, index)[0], points_of(plain, index)[0], atol=0.05
        )


def test_evaluation_blackens_outside_of_the_exact_box(plain: SyntheticBatch) -> None:
    exact = plain.in_boxes(0.0).images.numpy()
    for pixels, before, mask in zip(exact, plain.images.numpy(), plain.mask.numpy(), strict=True):
        assert np.array_equal(pixels[mask > 0], before[mask > 0])
        rows, columns = np.nonzero(pixels.any(-1))
        people = np.nonzero(mask)
        assert rows.min() >= people[0].min() and columns.max() <= people[1].max()
    assert plain.in_boxes(None) is plain
