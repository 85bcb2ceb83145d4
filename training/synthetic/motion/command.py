"""`python -m training.preprocess motion`: converts motion files to one npz of poses."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from decomr_core.base.arguments import USER_ERROR
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
MOTION = ('.bvh', '.amc')


def main(arguments: list[str]) -> int:
    """Runs the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        _check(options)
        files = _motion_files(options.inputs)
        joint_names = read_joint_names(options.joint_names) if options.joint_names else {}
        tables = [_read_npz(path) for path in options.inputs if path.suffix.lower() == '.npz']
        num_frames = sum(map(len, tables))
        for path, folder in files:
            table, count = _read_motion(path, folder, joint_names, options)
            tables.append(table)
            num_frames += count
        table = concatenate(tables)
        write_pose_table(table, options.out)
    except (ValueError, OSError) as error:
        sys.stderr.write(f'{PROGRAM}: {" ".join(str(error).split())}\n')
        return USER_ERROR
    counts = {
        'kept': len(table),
        'frames': num_frames,
        'clips': len(np.unique(table.clip)),
        'actions': len(np.unique(table.action)),
    }
    print(
        f'{options.out}: {counts["kept"]} poses of {counts["frames"]} frames, '
        f'{counts["clips"]} clips, {counts["actions"]} actions'
    )
    if options.json:
        print(json.dumps({'out': str(options.out), **counts}))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f'python -m {PROGRAM}',
        description='Converts motion files to an npz for data.poses_file. The poses of npz files '
        'among the inputs are included, so files can be merged.',
    )
    parser.add_argument(
        'inputs',
        type=Path,
        nargs='+',
        metavar='FILE_OR_FOLDER',
        help='BVH file, AMC file (its ASF beside it or among the inputs), npz '
        'written by this command, or folder of motion files',
    )
    parser.add_argument('--out', type=Path, required=True, help='npz file to write')
    parser.add_argument(
        '--action', help='action in the motion files; default: the name of the folder of each file'
    )
    parser.add_argument(
        '--source', help='source of the motion files; default: the name of the folder'
    )
    parser.add_argument(
        '--joint-names', type=Path, metavar='YAML', help='names of joints that are not recognised'
    )
    parser.add_argument(
        '--rest-frame',
        type=int,
        metavar='FRAME',
        help='frame of each motion file, from 0, in which the person stands with '
        'the arms extended; default: the pose with all angles zero',
    )
    parser.add_argument(
        '--min-move-mm',
        type=float,
        default=MIN_MOVE_MM,
        help='smallest mean movement of the joints between two kept poses; 0 '
        'keeps all frames (default: %(default)s)',
    )
    parser.add_argument('--json', action='store_true', help='print the counts as JSON')
    return parser


def _check(options: argparse.Namespace) -> None:
    """Raises ValueError for options that are out of range."""
    if not 0 <= options.min_move_mm < np.inf:
        raise ValueError(f'--min-move-mm is {options.min_move_mm}; take 0 or more')
    if options.rest_frame is not None and options.rest_frame < 0:
        raise ValueError(f'--rest-frame is {options.rest_frame}; take 0 or more')
    for name in ('action', 'source'):
        if getattr(options, name) is not None and not getattr(options, name).strip():
            raise ValueError(f'--{name} is empty; give a name or remove the option')
    if options.out.suffix.lower() != '.npz':
        raise ValueError(f'--out is {options.out}; end its name in .npz')


def _motion_files(inputs: list[Path]) -> list[tuple[Path, Path]]:
    """The motion files of the inputs, each with the folder to which its clip name is relative."""
    files: dict[Path, tuple[Path, Path]] = {}
    for path in inputs:
        if not path.exists():
            raise FileNotFoundError(f'there is no file or folder {path}')
        if path.is_dir():
            found = sorted(file for file in path.rglob('*') if file.suffix.lower() in MOTION)
            if not found:
                raise ValueError(
                    f'{path} has no motion files; expected files that end in {" or ".join(MOTION)}'
                )
            for file in found:
                files.setdefault(file.resolve(), (file, path))
        elif path.suffix.lower() in MOTION:
            files.setdefault(path.resolve(), (path, path.parent))
        elif path.suffix.lower() not in ('.asf', '.npz'):
            raise ValueError(
                f'{path} has an unknown type; expected .bvh, .amc with its .asf, or .npz'
            )
    if not files and not any(path.suffix.lower() == '.npz' for path in inputs):
        raise ValueError('an ASF has only a skeleton; add the AMC files of its motion')
    return list(files.values())


def _read_motion(
    path: Path, folder: Path, joint_names: dict[str, str], options: argparse.Namespace
) -> tuple[PoseTable, int]:
    """Reads the poses to keep of a motion file, and its number of frames."""
    if path.suffix.lower() == '.bvh':
        motion = read_bvh(path)
    else:
        motion = read_asf_amc(find_asf(path, options.inputs), path)
    poses = retarget(motion, joint_names, options.rest_frame)
    frames = choose_frames(poses, is_at_rest(motion, options.rest_frame), options.min_move_mm)
    texts = (
        options.action or path.resolve().parent.name,
        path.relative_to(folder).with_suffix('').as_posix(),
        options.source or folder.resolve().name,
    )
    action, clip, source = (np.full(len(frames), text or 'motion') for text in texts)
    return PoseTable(poses[frames], action, clip, source, frames), len(poses)


def _read_npz(path: Path) -> PoseTable:
    """Reads the poses of an npz; reports arrays that are ignored."""
    table, unused = read_pose_table(path)
    if unused:
        sys.stderr.write(f'{PROGRAM}: {path}: ignored {", ".join(unused)}\n')
    return table
