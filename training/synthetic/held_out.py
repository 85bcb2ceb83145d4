"""The fixed rendered people on which networks are validated and evaluated."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from decomr_core.body_models import BodyModel
from decomr_core.uv.uv_map import UVMap
from training.synthetic.people import SyntheticPeople
from training.synthetic.scenes.viewpoints import SMALLEST_CUT, UPPER_SHARE
from training.synthetic.synthetic_batch import SyntheticBatch
from training.synthetic.synthetic_config import SyntheticConfig

__all__ = ['HELD_OUT_SEED', 'check_seed', 'held_out_set']

HELD_OUT_SEED = 2020
"""Training rejects this seed, so no held-out image is ever trained on."""

HELD_OUT_BATCH = 8
"""People per rendered batch. Fixed, because the random numbers of a person depend on the number
and the size of the batch."""


def check_seed(seed: int) -> None:
    """Checks the seed of people for training.

    Raises:
        ValueError: it is that of the held-out people.
    """
    if seed == HELD_OUT_SEED:
        raise ValueError(f'seed {seed} is reserved for the held-out set; take another')


def held_out_set(
    config: SyntheticConfig,
    body: BodyModel,
    uv_map: UVMap,
    count: int = 500,
    frame_scale: float = 1.0,
    with_assets: bool = False,
) -> SyntheticBatch:
    """Renders the held-out people.

    They do not depend on the options with which training makes its people harder (framing,
    crowds, furniture, folds, lenses, boxes, ages, pose generator, pose check): these have fixed
    values. The other fields of the config apply.

    Args:
        config: config of the training.
        body: a body model.
        uv_map: its UV map.
        count: number of people. A larger set begins with the whole batches of a smaller one.
        frame_scale: factor on the sides of the crops, for wider margins around the people.
        with_assets: whether to use the config's files of poses, garments and panoramas; everybody
            then wears garments. Otherwise all are generated.

    Raises:
        ValueError: the body and the UV map have different faces.
    """
    fixed: dict[str, Any] = {
        'upper_share': UPPER_SHARE,
        'smallest_cut': SMALLEST_CUT,
        'is_crowded': False,
        'has_furniture': False,
        'has_folds': False,
        'distorted_share': 0.0,
        'boxed_share': 0.0,
        'ages_share': 0.0,
        'rules': 'usual',
        'possible_only': False,
    }
    if with_assets:
        config = replace(config, dressed_share=1.0, **fixed)
    else:
        config = replace(config, poses_file='', wardrobe='', panoramas='', **fixed)
    people = SyntheticPeople(config, body, uv_map, HELD_OUT_SEED, frame_scale=frame_scale)
    parts = [
        people.batch(number, min(HELD_OUT_BATCH, count - first))
        for number, first in enumerate(range(0, count, HELD_OUT_BATCH))
    ]
    return SyntheticBatch.concatenate(parts)
