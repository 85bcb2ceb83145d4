"""The configuration of the rendered people; `data` in the configuration of a training run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from training.synthetic.bodies.pose_rules import sample_wide_poses
from training.synthetic.bodies.poses import sample_poses
from training.synthetic.scenes.viewpoints import SMALLEST_CUT, UPPER_SHARE
from training.targets.iuv_target import IUV_STRIDE

__all__ = ['POSE_GENERATORS', 'AssetFiles', 'SyntheticConfig', 'missing_assets']

POSE_GENERATORS = {'usual': sample_poses, 'wide': sample_wide_poses}
"""Pose generators by the values of `SyntheticConfig.rules`."""


class AssetFiles(TypedDict, total=False):
    """The fields of `SyntheticConfig` that name files of real clothes, places and poses.

    Programs pass them on as keyword arguments: `SyntheticConfig(**files)`.
    """

    wardrobe: str
    panoramas: str
    poses_file: str


@dataclass(frozen=True)
class SyntheticConfig:
    """Appearance of the rendered people. All shares are in [0, 1].

    Attributes:
        size: S, side of the images, px; a multiple of 4.
        batch_size: B; 8 is fastest on a CPU because of its caches.
        shape_std: standard deviation of the adults' shape components.
        ages_share: share of people who are either children (about 1 m and taller) or old; two of
            five of them are old.
        occluder_share: share of images with an object in front of the person.
        passer_by_share: share of images with a second person.
        is_crowded: scenes with several people, robot arms and furniture in front, low light; up
            to three quarters of a person may be hidden.
        has_furniture: render chairs, sofas, benches, beds and tables with people who sit or lie.
        has_folds: render folds in skirts, dresses and coats, and wrinkles in garments.
        distorted_share: share of images with the barrel distortion of a wide-angle lens.
        boxed_share: share of images that are cropped around the visible part of the person and
            black outside of it (see `visible_parts.py`); for networks with a `box_margin`.
        rules: name of the pose generator: `usual`, that of the held-out set, or `wide`, with
            additional people who sit, kneel, lie, carry and work.
        possible_only: whether to resample impossible poses and to exclude impossible recorded
            ones (see `plausible_poses.py`).
        poses_file: npz of recorded poses (see `recorded_poses.py`); empty for generated poses
            only.
        recorded_share: share of people with a recorded pose, if there is a file.
        wardrobe: npz of garments (see `wardrobe.py`); empty for painted clothes only.
        dressed_share: share of people who wear garments, if there is a file.
        padded_share: share of these with thick or wide clothes, thick hair, helmets or gloves.
        panoramas: folder of panoramas (see `panoramas.py`); empty for generated scenes only.
        panorama_share: share of images with a panorama and its light.
        upper_share: share of crops that show only the upper part of the person, as for people
            close to the camera.
        smallest_cut: smallest part that such a crop keeps, from the top of the person down, as a
            share of the person's height in the image.
    """

    size: int = 128
    batch_size: int = 8
    shape_std: float = 1.0
    ages_share: float = 0.0
    occluder_share: float = 0.25
    passer_by_share: float = 0.35
    is_crowded: bool = False
    has_furniture: bool = False
    has_folds: bool = False
    distorted_share: float = 0.0
    boxed_share: float = 0.0
    rules: str = 'usual'
    possible_only: bool = False
    poses_file: str = ''
    recorded_share: float = 0.5
    wardrobe: str = ''
    dressed_share: float = 0.8
    padded_share: float = 0.0
    panoramas: str = ''
    panorama_share: float = 0.6
    upper_share: float = UPPER_SHARE
    smallest_cut: float = SMALLEST_CUT

    def __post_init__(self) -> None:
        """Checks sizes and names.

        Raises:
            ValueError: `size`, `batch_size` or `rules` is out of its range.
        """
        if self.size < 2 * IUV_STRIDE or self.size % IUV_STRIDE:
            raise ValueError(
                f'size is {self.size} px; take a multiple of {IUV_STRIDE}, '
                f'{2 * IUV_STRIDE} or more'
            )
        if self.batch_size < 1:
            raise ValueError(f'batch_size is {self.batch_size}; take 1 or more')
        if self.rules not in POSE_GENERATORS:
            raise ValueError(f'rules is {self.rules!r}; take one of {", ".join(POSE_GENERATORS)}')


def missing_assets(config: SyntheticConfig) -> list[str]:
    """Texts about the asset files that the config does not name.

    Each says what the renderings lack without the file, and where to get one.
    """
    known = (
        (
            'wardrobe',
            "garments (people wear painted clothes); to bake MakeHuman's (CC0): "
            'python -m tools.bake_wardrobe FOLDER --out FILE',
        ),
        (
            'panoramas',
            'real places and light; give a folder of equirectangular images, for '
            "example Poly Haven's (CC0)",
        ),
        (
            'poses_file',
            'recorded poses; to make the file: '
            'python -m training.preprocess motion FILES --out FILE',
        ),
    )
    return [
        f'data.{name} is empty, so the renderings lack {lacks}'
        for name, lacks in known
        if not getattr(config, name)
    ]
