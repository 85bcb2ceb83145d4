"""Training images per second that one core prepares: IUV targets of meshes, augmented crops.

    python -m benchmarks.mesh_targets --json > benchmarks/results/mesh_targets.json

Times are CPU times of one thread, so other load on the machine has little influence. The body
model and the decoding of images are not included.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import torch

from decomr_core.base.structures import check_shape
from decomr_core.body_models import BodyModel, load_body
from decomr_core.commands.bench import measured_on
from decomr_core.uv.uv_map import UVMap, load_uv_map
from training.records.augmentation import Augmentation, AugmentationConfig, augment
from training.records.root_frame import root_frame_body
from training.synthetic.bodies.poses import sample_poses
from training.targets.iuv_cache import CACHE_MARGIN, CacheKey, IUVCache, crop_cached_iuv
from training.targets.iuv_target import iuv_target, shrink_iuv
from training.targets.mesh_target import MeshTargetRenderer, fit_camera

__all__ = ['bench', 'main']

SIZE, BATCH, IMAGE_PX, WARM_UP = 224, 8, 1000, 2
CROP_SHARE = 0.6
"""Side of the person's square crop, as a share of the image's side."""


def main(argv: Sequence[str] | None = None) -> None:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.mesh_targets',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--repeats', type=int, default=30, help='number of timed runs (30)')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    arguments = parser.parse_args(argv)
    if arguments.repeats < 1:
        parser.error(f'--repeats is {arguments.repeats}, expected 1 or more')
    report = bench(arguments.repeats)
    print(
        json.dumps(report, indent=2)
        if arguments.json
        else '\n'.join(f'{name:45}{value}' for name, value in report.items())
    )


def bench(repeats: int) -> dict[str, Any]:
    """Measures everything on one thread; medians of `repeats` runs."""
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        return _bench(repeats)
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])


def _bench(repeats: int) -> dict[str, Any]:
    conditions = measured_on(
        {'torch': 'torch', 'numpy': 'numpy', 'opencv': 'opencv-python-headless'}
    )
    body = load_body()
    uv_map = load_uv_map(body=body)
    return {
        'size_px': SIZE,
        'batch': BATCH,
        'threads': 1,
        'repeats': repeats,
        'vertices': body.num_vertices,
        'mesh_target': _mesh_targets(body, uv_map, repeats),
        'cached_target': _cached_targets(body, uv_map, repeats),
        'augment': _augmentation(repeats),
        **conditions,
    }


def _mesh_targets(body: BodyModel, uv_map: UVMap, repeats: int) -> dict[str, float]:
    """Times of camera fit, rasterizer and target of one batch, together and separately."""
    vertices, joints, keypoints = _people(body)
    renderer = MeshTargetRenderer(body, uv_map, SIZE)
    camera = fit_camera(joints, keypoints).camera
    fragments = renderer.fragments(vertices, camera)
    mask = (fragments.face_index >= 0).to(torch.uint8)
    uv, uv_faces = renderer.get_buffer('uv'), renderer.get_buffer('uv_faces')
    batch_ms = _median_ms(lambda: renderer(vertices, joints, keypoints), repeats)
    return {
        'images_per_core_s': round(BATCH * 1e3 / batch_ms, 1),
        'batch_ms': round(batch_ms, 2),
        'fit_ms': round(_median_ms(lambda: fit_camera(joints, keypoints), repeats), 2),
        'rasterize_ms': round(
            _median_ms(lambda: renderer.fragments(vertices, camera), repeats), 2
        ),
        'target_ms': round(
            _median_ms(lambda: iuv_target(fragments, mask, uv, uv_faces), repeats), 2
        ),
    }


def _cached_targets(body: BodyModel, uv_map: UVMap, repeats: int) -> dict[str, float]:
    """Time to read, crop and shrink one cached image, and its size on disk."""
    vertices, joints, keypoints = (values[:1] for values in _people(body))
    keypoints[..., :2] /= CACHE_MARGIN
    resolution = round(SIZE * CACHE_MARGIN)
    iuv = MeshTargetRenderer(body, uv_map, resolution, stride=1)(vertices, joints, keypoints).iuv
    check_shape('iuv', iuv, (1, 3, resolution, resolution))
    augmentation = Augmentation(1.1, 0.3, True)
    with tempfile.TemporaryDirectory() as folder:
        cache = IUVCache(folder, CacheKey(body.hash, uv_map.hash, resolution))
        cache.put('one', iuv[0].numpy())
        file = next(cache.folder.rglob('*.npz'))

        def prepare() -> None:
            """Makes the target of one image."""
            cached = cache.get('one')
            assert cached is not None  # put above
            shrink_iuv(crop_cached_iuv(cached, augmentation, SIZE)[None])

        image_ms = _median_ms(prepare, repeats)
        return {
            'images_per_core_s': round(1e3 / image_ms, 1),
            'image_ms': round(image_ms, 2),
            'file_kb': round(file.stat().st_size / 1e3, 1),
        }


def _augmentation(repeats: int) -> dict[str, float]:
    """Time to make one augmented crop of a large image, with all its labels."""
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(
        rng.integers(0, 256, (IMAGE_PX, IMAGE_PX, 3), dtype=np.uint8), (0, 0), 2
    )
    center, side = np.full(2, IMAGE_PX / 2), IMAGE_PX * CROP_SHARE
    keypoints_2d, keypoints_3d = rng.random((24, 3)) * IMAGE_PX, rng.random((24, 4))
    pose, shape = rng.normal(0, 0.3, (24, 3)), rng.normal(0, 1, 10)
    config = AugmentationConfig()
    image_ms = _median_ms(
        lambda: augment(
            image, center, side, keypoints_2d, keypoints_3d, pose, shape, rng, config, SIZE
        ),
        10 * repeats,
    )
    return {
        'image_px': IMAGE_PX,
        'side_px': side,
        'images_per_core_s': round(1e3 / image_ms, 1),
        'image_ms': round(image_ms, 3),
    }


def _people(body: BodyModel) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Vertices and joints of a batch, root frame, m, and 2D keypoints that fill the crop."""
    rng = np.random.default_rng(0)
    pose = torch.tensor(sample_poses(rng, BATCH)[0], dtype=torch.float32)
    with torch.no_grad():
        vertices, joints = root_frame_body(body, pose, torch.zeros(BATCH, 10))
    low, high = vertices[..., :2].amin(1, keepdim=True), vertices[..., :2].amax(1, keepdim=True)
    scale = 2 / 1.2 / (high - low).amax(2, keepdim=True)
    crop_xy = scale * (joints[..., :2] - (low + high) / 2)
    return vertices, joints, torch.cat([crop_xy, torch.ones(BATCH, 24, 1)], dim=-1)


def _median_ms(run: Callable[[], object], repeats: int) -> float:
    """Median CPU time of a function, ms."""
    times = []
    for _ in range(WARM_UP + repeats):
        start = time.process_time()
        run()
        times.append((time.process_time() - start) * 1e3)
    return float(np.median(times[WARM_UP:]))


if __name__ == '__main__':
    main()
