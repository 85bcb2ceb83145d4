"""`python -m training.preprocess motion`: motion files to one npz of poses."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from training.synthetic.motion.asf_amc import find_asf, read_asf_amc
from training.synthetic.motion.bvh import read_bvh
from training.synthetic.motion.pose_table import (
    PoseTable,
    concatenate,
    read_pose_table,
    write_pose_table,
)
from training.synthetic.motion.rest_pose import is_at_rest
from training.synthetic.motion.retarget import retarget
from training.synthetic.motion.rig import read_joint_names
from training.synthetic.motion.select import MIN_MOVE_MM, choose_frames

__all__ = ['main']

PROGRAM = 'training.preprocess motion'
USER_ERROR = 2
MOTION = ('.bvh', '.amc')


def main(arguments: list[str]) -> int:
    """The command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        _check(options)
        files = _motion_files(options.inputs)
        told = read_joint_names(options.joint_names) if options.joint_names else {}
        tables = [_read_npz(path) for path in options.inputs if path.suffix.lower() == '.npz']
        num_frames = sum(map(len, tables))
        for path, folder in files:
            table, count = _read_motion(path, folder, told, options)
            tables.append(table)
            num_frames += count
        table = concatenate(tables)
        write_pose_table(table, options.out)
    except (ValueError, OSError) as error:
        sys.stderr.write(f'{PROGRAM}: {" ".join(str(error).split())}\n')
        return USER_ERROR
    counts = {'kept': len(table), 'frames': num_frames, 'clips': len(np.unique(table.clip)),
              'actions': len(np.unique(table.action))}
    print('{out}: {kept} poses of {frames} frames, {clips} clips, {actions} actions'.format(
        out=options.out, **counts))
    if options.json:
        print(json.dumps({'out': str(options.out), **counts}))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f'python -m {PROGRAM}',
        description='Turns motion files into the npz of data.poses_file. An npz of that kind '
                    'among the inputs is taken over, so files are merged and added to.')
    parser.add_argument('inputs', type=Path, nargs='+', metavar='FILE_OR_FOLDER',
                        help='BVH, AMC (its ASF is found beside it, or named too), such npz, or '
                             'a folder of motion files')
    parser.add_argument('--out', type=Path, required=True, help='npz to write')
    parser.add_argument('--action', help='what is done in the motion files; default: the name of '
                                         'the folder each lies in')
    parser.add_argument('--source', help='where the motion files come from; default: the name of '
                                         'the folder')
    parser.add_argument('--joint-names', type=Path, metavar='YAML',
                        help='what joints are called that are not recognised')
    parser.add_argument('--rest-frame', type=int, metavar='FRAME',
                        help='frame, from 0, of each motion file in which the person stands with '
                             'the arms held out; default: the pose in which all angles are zero')
    parser.add_argument('--min-move-mm', type=float, default=MIN_MOVE_MM,
                        help='how far the mean joint moves from one pose kept to the next; 0 '
                             'keeps all frames (default: %(default)s)')
    parser.add_argument('--json', action='store_true', help='print the counts as JSON')
    return parser


def _check(options: argparse.Namespace) -> None:
    """Raises ValueError for options out of range."""
    if not 0 <= options.min_move_mm < np.inf:
        raise ValueError(f'--min-move-mm is {options.min_move_mm}; it starts at 0')
    if options.rest_frame is not None and options.rest_frame < 0:
        raise ValueError(f'--rest-frame is {options.rest_frame}; frames are counted from 0')
    for name in ('action', 'source'):
        if getattr(options, name) is not None and not getattr(options, name).strip():
            raise ValueError(f'--{name} is empty')
    if options.out.suffix.lower() != '.npz':
        raise ValueError(f'--out is {options.out}; give it a name that ends in .npz')


def _motion_files(inputs: list[Path]) -> list[tuple[Path, Path]]:
    """The motion files among the inputs, each with the folder that its clip's name begins in."""
    files: dict[Path, tuple[Path, Path]] = {}
    for path in inputs:
        if not path.exists():
            raise FileNotFoundError(f'there is no file or folder {path}')
        if path.is_dir():
            there = sorted(file for file in path.rglob('*') if file.suffix.lower() in MOTION)
            if not there:
                raise ValueError(f'{path} holds no motion: no file in it ends in '
                                 f'{" or ".join(MOTION)}')
            for file in there:
                files.setdefault(file.resolve(), (file, path))
        elif path.suffix.lower() in MOTION:
            files.setdefault(path.resolve(), (path, path.parent))
        elif path.suffix.lower() not in ('.asf', '.npz'):
            raise ValueError(f'{path}: expected .bvh, .amc with its .asf, or .npz')
    if not files and not any(path.suffix.lower() == '.npz' for path in inputs):
        raise ValueError('an ASF is a skeleton only; give the AMC files of its motion')
    return list(files.values())


def _read_motion(path: Path, folder: Path, told: dict[str, str],
                 options: argparse.Namespace) -> tuple[PoseTable, int]:
    """The poses of a motion file that are kept, and how many frames it has."""
    if path.suffix.lower() == '.bvh':
        motion = read_bvh(path)
    else:
        motion = read_asf_amc(find_asf(path, options.inputs), path)
    poses = retarget(motion, told, options.rest_frame)
    frames = choose_frames(poses, is_at_rest(motion, options.rest_frame), options.min_move_mm)
    texts = (options.action or path.resolve().parent.name,
             path.relative_to(folder).with_suffix('').as_posix(),
             options.source or folder.resolve().name)
    columns = [np.full(len(frames), text or 'motion') for text in texts]
    return PoseTable(poses[frames], *columns, frames), len(poses)


def _read_npz(path: Path) -> PoseTable:
    """The poses of an npz; tells what it leaves behind."""
    table, unused = read_pose_table(path)
    if unused:
        sys.stderr.write(f'{PROGRAM}: {path}: {", ".join(unused)} not taken over\n')
    return table
