"""Benchmark of the prediction of joints, on motion capture with positions in the world.

    python -m benchmarks.prediction --clips FOLDER --out benchmarks/results/prediction.json

The folder contains ASF and AMC files of the CMU Graphics Lab Motion Capture Database
(mocap.cs.cmu.edu) with 120 frames per second; the result is from all clips of subjects 2 and 3.
A pose file for training does not serve: it has no positions and no constant time step.

Each prediction starts from an image and is compared with the joints of the same clip 0.1, 0.2 and
0.3 s later. There are two sources of positions and velocities:

* `exact`: the joints of the image, and their difference from the last image.
* `smoothed`: the output of `MeshSmoother` for joints with noise, from a static camera.

`still` predicts that people stand still, `constant` a constant velocity of each joint, `root_only`
the constant velocity of the root for all joints. A number is the time in seconds in which the
velocity of each joint decays to 1 / e. With two numbers, the first is this time for the velocity
of the root, and the second for the velocities relative to it.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import math
import platform
from pathlib import Path
from typing import Any

import numpy as np

from decomr_core.base.hardware import cpu_name
from decomr_core.base.structures import HumanMesh
from decomr_core.body_models.joints import JOINT_NAMES
from decomr_core.people.prediction import DAMPING_S, ROOT_DAMPING_S, predict_joints
from decomr_core.people.smoothing import MeshSmoother
from training.synthetic.motion.asf_amc import find_asf, read_asf_amc
from training.synthetic.motion.rig import find_joints

CLIP_HZ, IMAGES_HZ = 120, 30
METRES = 0.0254 / 0.45
"""CMU's unit of length."""
HORIZONS_S = (0.1, 0.2, 0.3)
DAMPINGS_S = (0.2, 0.5, 1.0, 2.0)
PAIRS_S = tuple(itertools.product((1.0, 2.0, 4.0, math.inf), (0.1, 0.15, 0.2, 0.3, 0.5)))
METHODS = {
    'still': None,
    'constant': (math.inf, math.inf),
    'root_only': (math.inf, 0.0),
    **{str(damping): (damping, damping) for damping in DAMPINGS_S},
    **{f'{root} {relative}': (root, relative) for root, relative in PAIRS_S},
}
"""Damping of the root and of velocities relative to it, s; 0: the latter are ignored."""
DEFAULT = f'{ROOT_DAMPING_S} {DAMPING_S}'
"""The method of `predict_joints`."""
SETTLED_S = 1.0
"""Time at the beginning of a clip that is not evaluated."""
ROOT_NOISE_M, BODY_NOISE_M = (0.003, 0.003, 0.02), 0.006
"""Standard deviations of the noise of each image: the root, whose last axis is the depth, and each
root-relative coordinate. Errors of a network that last for many images are not simulated."""
SOURCES = ('exact', 'smoothed')
GROUPS = {
    'all': tuple(range(len(JOINT_NAMES))),
    'pelvis': (JOINT_NAMES.index('pelvis'),),
    'wrists': (JOINT_NAMES.index('left_wrist'), JOINT_NAMES.index('right_wrist')),
}


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        'python -m benchmarks.prediction',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--clips', type=Path, required=True, help='folder with ASF and AMC files')
    parser.add_argument('--out', type=Path, required=True, help='JSON file to write')
    options = parser.parse_args(arguments)
    paths = sorted(options.clips.glob('*.amc'))
    if not paths:
        parser.error(f'there is no AMC file in {options.clips}')
    clips = {path.stem: read_joints(path) for path in paths}
    results = {
        'hardware': cpu_name(),
        'python': platform.python_version(),
        'numpy': np.__version__,
        'date': datetime.date.today().isoformat(),
        'data': 'mocap.cs.cmu.edu, funded by NSF EIA-0196217',
        'images_per_s': IMAGES_HZ,
        'horizons_s': HORIZONS_S,
        'default': DEFAULT,
        'joints': int(np.isfinite(next(iter(clips.values()))[0, :, 0]).sum()),
        'noise_m': {'root': ROOT_NOISE_M, 'body': BODY_NOISE_M},
        'clips_s': {name: round(len(joints) / CLIP_HZ, 1) for name, joints in clips.items()},
        **{source: measure(clips, source) for source in SOURCES},
    }
    options.out.write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')
    return 0


def read_joints(path: Path) -> np.ndarray:
    """The joints (T, J, 3) of a clip in the world, m; those that it lacks are NaN."""
    motion = read_asf_amc(find_asf(path), path)
    positions = np.empty((len(motion.rotations), len(motion.names), 3))
    with path.open(encoding='utf-8') as lines:
        roots = [line.split()[1:4] for line in lines if line.startswith('root ')]
    positions[:, 0] = np.array(roots, float)
    for joint, parent in enumerate(motion.parents):
        if parent >= 0:
            bone = motion.rotations[:, parent] @ motion.offsets[joint]
            positions[:, joint] = positions[:, parent] + bone
    joints = np.full((len(positions), len(JOINT_NAMES), 3), np.nan)
    for name, index in find_joints(motion, {}).items():
        joints[:, JOINT_NAMES.index(name)] = positions[:, index] * METRES
    return joints


def measure(clips: dict[str, np.ndarray], source: str) -> dict[str, Any]:
    """Mean errors in mm by method, group of joints and horizon; clips have the same weight.

    `best` is the pair of dampings with the smallest error of all joints, averaged over the
    horizons. `best_without` is the same without the clips of one subject.
    """
    states = {name: observed(joints, source) for name, joints in clips.items()}
    errors = {
        method: {name: clip_errors(clips[name], *states[name], method) for name in clips}
        for method in METHODS
    }

    def best(names: list[str]) -> str:
        """The pair with the smallest error over these clips."""
        return min(
            (f'{root} {relative}' for root, relative in PAIRS_S),
            key=lambda method: np.mean([errors[method][name]['all'] for name in names]),
        )

    subjects = sorted({name[:2] for name in clips})
    return {
        'best': best(list(clips)),
        'best_without': {
            subject: best([name for name in clips if name[:2] != subject])
            for subject in (subjects if len(subjects) > 1 else [])
        },
        'mean_error_mm': {
            method: {
                group: np.mean([clip[group] for clip in by_clip.values()], axis=0)
                .round(1)
                .tolist()
                for group in GROUPS
            }
            for method, by_clip in errors.items()
        },
        'clips_all_joints_mm': {
            name: {
                method: np.round(errors[method][name]['all'], 1).tolist()
                for method in ('still', 'constant', 'root_only', DEFAULT)
            }
            for name in clips
        },
    }


def observed(joints: np.ndarray, source: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is known in each image; NaN if unknown.

    Args:
        joints: (T, J, 3) of a clip, m.
        source: of `SOURCES`.

    Returns:
        Positions (N, J, 3) m, velocities (N, J, 3) and velocities of the root (N, 3) m/s.
    """
    truth = joints[:: CLIP_HZ // IMAGES_HZ]
    velocities = np.full_like(truth, np.nan)
    if source == 'exact':
        velocities[1:] = np.diff(truth, axis=0) * IMAGES_HZ
        return truth, velocities, velocities[:, 0]
    rng, smoother = np.random.default_rng(0), MeshSmoother(measures_motion=True)
    is_present = np.isfinite(truth[0, :, 0])
    positions, root_velocities = np.full_like(truth, np.nan), np.full((len(truth), 3), np.nan)
    for index, points in enumerate(truth):
        root = points[0] + rng.normal(0, ROOT_NOISE_M)
        body = points[is_present] - points[0]
        noisy = root + body + rng.normal(0, BODY_NOISE_M, body.shape)
        (mesh,) = smoother.smooth([mesh_of(noisy, root)], index / IMAGES_HZ)
        positions[index, is_present] = mesh.joints
        if (motion := smoother.motion(0)) is not None:
            velocities[index, is_present] = motion.joint_velocities
            root_velocities[index] = motion.root_velocity
    return positions, velocities, root_velocities


def mesh_of(joints: np.ndarray, root: np.ndarray) -> HumanMesh:
    """A mesh without vertices, with joints (J, 3) and a root (3,), m."""
    return HumanMesh(
        track_id=0,
        score=1.0,
        box=np.zeros(4),
        vertices=np.zeros((0, 3), np.float32),
        joints=joints.astype(np.float32),
        translation=root.astype(np.float32),
        is_metric=True,
        visibility=np.zeros(0, bool),
        weak_camera=np.ones(3),
        crop_center=np.zeros(2),
        crop_side=1.0,
        iuv=np.zeros((3, 1, 1), np.float32),
    )


def clip_errors(
    joints: np.ndarray,
    positions: np.ndarray,
    velocities: np.ndarray,
    root_velocities: np.ndarray,
    method: str,
) -> dict[str, np.ndarray]:
    """Mean distance (H,) of predicted from true joints by group, mm.

    Args:
        joints: (T, J, 3) the truth, m.
        positions: (N, J, 3) in each image, m.
        velocities: (N, J, 3) m/s.
        root_velocities: (N, 3) m/s.
        method: of `METHODS`.
    """
    step = CLIP_HZ // IMAGES_HZ
    ahead = np.round(np.array(HORIZONS_S) * CLIP_HZ).astype(int)
    first, last = round(SETTLED_S * IMAGES_HZ), (len(joints) - 1 - ahead.max()) // step
    distances = []
    for index in range(first, last + 1):
        predicted = predicted_joints(
            positions[index], velocities[index], root_velocities[index], method
        )
        distances.append(np.linalg.norm(predicted - joints[index * step + ahead], axis=-1))
    mean = np.mean(distances, axis=0) * 1e3
    return {
        group: np.nanmean(mean[:, list(numbers)], axis=-1) for group, numbers in GROUPS.items()
    }


def predicted_joints(
    joints: np.ndarray, velocities: np.ndarray, root_velocity: np.ndarray, method: str
) -> np.ndarray:
    """The joints (H, J, 3) at the horizons, m, from those of an image, by a method."""
    dampings = METHODS[method]
    if dampings is None:
        return np.broadcast_to(joints, (len(HORIZONS_S), *joints.shape))
    root_damping_s, damping_s = dampings
    if damping_s == 0:
        velocities, damping_s = np.broadcast_to(root_velocity, velocities.shape), math.inf
    return predict_joints(joints, velocities, HORIZONS_S, root_velocity, root_damping_s, damping_s)


if __name__ == '__main__':
    raise SystemExit(main())
