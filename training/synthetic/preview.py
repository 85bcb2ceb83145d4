"""Command line that draws a contact sheet of rendered people and measures their rate."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from decomr_core.body_models import MIRRORED_JOINTS, PARENTS, load_body
from decomr_core.uv.uv_map import load_uv_map
from training.synthetic.held_out import HELD_OUT_SEED
from training.synthetic.people import SyntheticPeople
from training.synthetic.synthetic_batch import SyntheticBatch
from training.synthetic.synthetic_config import (
    POSE_GENERATORS,
    AssetFiles,
    SyntheticConfig,
    missing_assets,
)

__all__ = ['add_asset_options', 'asset_values', 'contact_sheet', 'main']

LEFT_COLOR, RIGHT_COLOR, MIDDLE_COLOR = (255, 60, 60), (60, 255, 60), (255, 255, 60)


def add_asset_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options for files of real clothes, places and poses."""
    parser.add_argument('--wardrobe', metavar='FILE', default='', help='npz of garments')
    parser.add_argument(
        '--panoramas',
        metavar='FOLDER',
        default='',
        help='folder of panoramas, for backgrounds and light',
    )
    parser.add_argument(
        '--poses-file',
        metavar='FILE',
        default='',
        help='npz of recorded poses, for half of the people',
    )


def asset_values(options: argparse.Namespace) -> AssetFiles:
    """The values of the options of `add_asset_options`."""
    return {
        'wardrobe': options.wardrobe,
        'panoramas': options.panoramas,
        'poses_file': options.poses_file,
    }


def contact_sheet(batch: SyntheticBatch, columns: int = 4) -> np.ndarray:
    """Draws three tiles per person: image, IUV (red u, green v, blue 1 - u), and points.

    The points are the mesh in the weak-perspective camera (cyan) and the true joints: red on the
    person's left, green on the right, small if outside the image.

    Args:
        batch: B people.
        columns: people per row.

    Returns:
        (rows S, columns 3 S, 3) uint8 RGB.
    """
    tiles = [
        np.hstack(
            [batch.images[index].numpy(), _iuv_tile(batch, index), _points_tile(batch, index)]
        )
        for index in range(len(batch))
    ]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[first : first + columns]) for first in range(0, len(tiles), columns)]
    return np.vstack(rows)


def main(arguments: list[str] | None = None) -> None:
    """Renders people, writes the contact sheet, prints the rate and the resampled poses."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.num < 1 or options.seed == HELD_OUT_SEED:
        parser.error(
            f'--num is {options.num} and --seed is {options.seed}; take --num 1 or more; '
            f'seed {HELD_OUT_SEED} is reserved for the held-out set'
        )
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    try:
        config = SyntheticConfig(
            size=options.size,
            rules=options.rules,
            possible_only=True,
            has_furniture=True,
            has_folds=True,
            distorted_share=options.distorted_share,
            boxed_share=options.boxed_share,
            padded_share=options.padded_share,
            is_crowded=options.crowded,
            **asset_values(options),
        )
        body = load_body(options.body)
        people = SyntheticPeople(
            config, body, load_uv_map(options.uv_map, body=body), options.seed
        )
    except (ValueError, OSError) as error:
        parser.error(str(error))
    for line in missing_assets(config):
        print(line)
    wall, busy = time.perf_counter(), time.process_time()
    chunks = -(-options.num // config.batch_size)
    batch = SyntheticBatch.concatenate([people.batch(number) for number in range(chunks)])
    wall, busy = time.perf_counter() - wall, time.process_time() - busy
    print(
        f'{len(batch)} people at {config.size} px: {len(batch) / busy:.0f} images/s per core '
        f'({len(batch) / wall:.0f} in wall time); {people.pose_counts}'
    )
    if options.preview:
        sheet = contact_sheet(batch)
        if not cv2.imwrite(str(options.preview), sheet[..., ::-1]):
            parser.error(f'cannot write {options.preview}')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m training.synthetic.preview',
        description='Renders people on one CPU core and measures the rate.',
    )
    parser.add_argument('--preview', type=Path, help='PNG file of the contact sheet')
    parser.add_argument('--num', type=int, default=32, help='number of people')
    parser.add_argument('--size', type=int, default=128, help='side of the images, px')
    parser.add_argument('--seed', type=int, default=1, help='seed of the people')
    parser.add_argument(
        '--rules', choices=list(POSE_GENERATORS), default='wide', help='pose generator'
    )
    parser.add_argument(
        '--crowded', action='store_true', help='several people, objects in front, low light'
    )
    parser.add_argument(
        '--distorted-share',
        type=float,
        default=0.1,
        help='share of images with the distortion of a wide-angle lens',
    )
    parser.add_argument(
        '--boxed-share',
        type=float,
        default=0.0,
        help='share of images that are black outside of the person box',
    )
    parser.add_argument(
        '--padded-share',
        type=float,
        default=0.0,
        help='share of people in thick or wide clothes, of those in garments',
    )
    parser.add_argument('--body', default='builtin', help='body model: a name or an npz')
    parser.add_argument('--uv-map', default='builtin', help='UV map: a name or an npz')
    add_asset_options(parser)
    return parser


def _pixels(crop_xy: np.ndarray, size: int) -> np.ndarray:
    """Nearest pixels (..., 2) int of crop positions."""
    return np.rint((crop_xy + 1) * (size / 2) - 0.5).astype(int)


def _iuv_tile(batch: SyntheticBatch, index: int) -> np.ndarray:
    size = batch.images.shape[1]
    share, u, v = batch.iuv[index].numpy()
    shown = (share > 0.5).astype(np.float32)
    color = np.stack([u, v, 1 - u], axis=-1) * shown[..., None] * 255
    return cv2.resize(color.astype(np.uint8), (size, size), interpolation=cv2.INTER_NEAREST)


def _points_tile(batch: SyntheticBatch, index: int) -> np.ndarray:
    image = batch.images[index].numpy().copy() // 2
    size = len(image)
    scale, *shift = batch.camera[index].tolist()
    mesh = _pixels(scale * (batch.vertices[index, ::7, :2].numpy() + shift), size)
    mesh = mesh[((mesh >= 0) & (mesh < size)).all(1)]
    image[mesh[:, 1], mesh[:, 0]] = (40, 170, 190)
    seen = _pixels(batch.joints_2d[index, :, :2].numpy(), size)
    for joint, parent in enumerate(PARENTS):
        mirrored = MIRRORED_JOINTS[joint]
        color = (
            MIDDLE_COLOR if mirrored == joint else LEFT_COLOR if joint < mirrored else RIGHT_COLOR
        )
        if parent >= 0:
            cv2.line(image, seen[parent].tolist(), seen[joint].tolist(), color, 1)
        radius = 2 if batch.joints_2d[index, joint, 2] > 0 else 1
        cv2.circle(image, seen[joint].tolist(), radius, color, -1)
    return image


if __name__ == '__main__':
    main()
