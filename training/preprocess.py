"""Converts a public data set into one npz that training and evaluation read quickly.

    python -m training.preprocess coco --root data/coco --out data/coco_train.npz
    python -m training.preprocess motion walk.bvh --out poses.npz

The second command converts motion capture files into an npz of poses.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path

from decomr_core.base.arguments import USER_ERROR
from training.datasets.readers.npz_format import write_npz
from training.datasets.registry import PUBLIC_DATASETS, public_dataset
from training.synthetic.motion import command as motion_command

__all__ = ['main']


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    logging.basicConfig(level=logging.WARNING, format='%(message)s')
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ['motion']:
        return motion_command.main(arguments[1:])
    known = '; '.join(
        f'{name} ({", ".join(dataset.splits)})' for name, dataset in PUBLIC_DATASETS.items()
    )
    parser = argparse.ArgumentParser(
        prog='python -m training.preprocess',
        epilog=f'data sets and splits: {known}. For motion capture files see: motion --help.',
        description='Converts a public data set into an npz. Video frames are extracted into '
        'the folder of the data set.',
    )
    parser.add_argument('dataset', help='name of the data set (listed below), or motion')
    parser.add_argument('--root', type=Path, required=True, help='folder of the data set')
    parser.add_argument('--out', type=Path, required=True, help='npz file to write')
    parser.add_argument('--split', default='', help='part of the data set; default: the first')
    parser.add_argument('--json', action='store_true', help='print the counts as JSON')
    options = parser.parse_args(arguments)
    try:
        dataset = public_dataset(options.dataset)
        records = dataset.records(options.root, options.split)
        write_npz(records, options.out)
    except (ValueError, OSError, ImportError) as error:
        sys.stderr.write(f'training.preprocess: {" ".join(str(error).split())}\n')
        return USER_ERROR
    print(f'{options.out}: {records.counts.text(len(records))}')
    if options.json:
        print(
            json.dumps({'out': str(options.out), 'kept': len(records), **asdict(records.counts)})
        )
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
