"""`decomr predict`: reads one image, writes overlay, IUV image and meshes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from decomr_core.base.structures import HumanMesh, person_or_people
from decomr_core.drawing import compose_iuv, draw_boxes, draw_meshes
from decomr_core.estimation.detectors import load_detector
from decomr_core.estimator import HumanMeshEstimator
from decomr_core.geometry.camera import intrinsics_from_fov
from decomr_core.people.detection import clip_boxes
from decomr_core.runtimes import Runtime
from decomr_core.uv.topology import Topology

__all__ = ['predict_image', 'prediction_text', 'read_image', 'write_obj']


def predict_image(
    image: np.ndarray,
    out: str | Path,
    network: Runtime,
    *,
    boxes: Sequence[Sequence[float]] | None = None,
    detector: str = 'person',
    fov_deg: float | None = None,
    intrinsics: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Estimates the people in an image and writes overlay.png, iuv.png and mesh_N.obj.

    Args:
        image: (H, W, 3) uint8 RGB.
        out: folder of the results, created if missing.
        network: a loaded runtime.
        boxes: (x_min, y_min, x_max, y_max) of each person, image px; None: use the detector.
        detector: `person` or `whole-frame`.
        fov_deg: horizontal field of view, degrees; None: unknown.
        intrinsics: fx, fy, cx, cy in px; None: unknown.

    Returns:
        A report of people and files, ready for JSON.

    Raises:
        OSError: the results cannot be written.
    """
    height, width = image.shape[:2]
    matrix = None
    if fov_deg is not None:
        matrix = intrinsics_from_fov(width, height, fov_deg)
    elif intrinsics is not None:
        fx, fy, cx, cy = intrinsics
        matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
    finder = None if boxes is not None else load_detector(detector)
    estimator = HumanMeshEstimator(network, finder)
    meshes, times = estimator.estimate(
        image, None if boxes is None else np.array(boxes, np.float32), intrinsics=matrix
    )
    # The ids match the numbers of the files and give each person a colour.
    meshes = [replace(mesh, track_id=index) for index, mesh in enumerate(meshes)]
    out = _folder(out)
    faces = estimator.topology.faces
    overlay = draw_boxes(draw_meshes(image, meshes, faces, matrix), meshes)
    report = {
        'width': width,
        'height': height,
        'runtime': network.name,
        'precision': network.precision,
        'intrinsics': None if matrix is None else matrix.ravel().tolist(),
        'overlay': _write_image(out / 'overlay.png', overlay),
        'iuv': _write_image(out / 'iuv.png', compose_iuv(meshes, height, width)),
        'boxes_given': boxes is not None,
        'boxes_outside': _outside(boxes, width, height),
        'people': [],
        'stages_ms': times.stages_ms,
        'total_ms': times.total_ms,
    }
    for old in out.glob('mesh_*.obj'):
        old.unlink()
    for index, mesh in enumerate(meshes):
        path = out / f'mesh_{index}.obj'
        write_obj(path, mesh, estimator.topology)
        report['people'].append(_person(mesh, path))
    return report


def prediction_text(report: dict[str, Any]) -> str:
    """The report of `predict_image` for a terminal."""
    count = len(report['people'])
    lines = [
        f'{count} {person_or_people(count)} in '
        f'{report["width"]}x{report["height"]} px, {report["runtime"]} '
        f'{report["precision"]}'
    ]
    for box in report['boxes_outside']:
        lines.append(
            f'  box {_box_text(box)} is outside the image of {report["width"]}x'
            f'{report["height"]} px and is ignored; boxes are in px from the top left'
        )
    if not count and not report['boxes_given']:
        lines.append(
            '  no people detected; try --detector whole-frame, or give their boxes: '
            '--boxes X0,Y0,X1,Y1'
        )
    for person in report['people']:
        place = person['translation_m']
        where = (
            'no calibration, no position'
            if place is None
            else ('at ' + ', '.join(f'{axis:.2f}' for axis in place) + ' m')
        )
        lines.append(
            f'  box {_box_text(person["box"])}: score {person["score"]:.2f}, '
            f'{where} -> {person["mesh"]}'
        )
    stages = ', '.join(f'{name} {ms:.1f}' for name, ms in report['stages_ms'].items())
    lines.append(f'times in ms: {stages}; total {report["total_ms"]:.1f}')
    lines.append(f'written: {report["overlay"]}, {report["iuv"]}')
    return '\n'.join(lines)


def read_image(path: str | Path) -> np.ndarray:
    """Reads an image file as (H, W, 3) uint8 RGB.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: OpenCV cannot read it as an image.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'no image at {path}')
    image = (
        cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
        if (path.stat().st_size)
        else None
    )
    if image is None:
        raise ValueError(
            f'{path} is not an image that OpenCV {cv2.__version__} can read; give a '
            'JPEG or PNG file'
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def write_obj(path: str | Path, mesh: HumanMesh, topology: Topology) -> None:
    """Writes a mesh with its texture coordinates as a Wavefront OBJ.

    The vertices are those of the mesh: metres, x right, y down, z forward. v of the texture is
    flipped, because OBJ counts it from the bottom.
    """
    uv = topology.uv_map.uv * (1, -1) + (0, 1)
    corners = np.stack([topology.faces, topology.uv_map.faces], axis=-1).reshape(-1, 6) + 1
    frame = 'camera optical frame' if mesh.is_metric else 'relative to the root'
    with Path(path).open('w', encoding='ascii') as handle:
        handle.write(f'# body {topology.name}; metres, x right, y down, z forward, {frame}\n')
        np.savetxt(handle, mesh.vertices, 'v %.5f %.5f %.5f')
        np.savetxt(handle, uv, 'vt %.5f %.5f')
        np.savetxt(handle, corners, 'f %d/%d %d/%d %d/%d')


def _folder(path: str | Path) -> Path:
    """Creates the folder if missing."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f'cannot create the folder {path} ({error.strerror}); give a writable one'
        ) from error
    return path


def _outside(
    boxes: Sequence[Sequence[float]] | None, width: int, height: int
) -> list[list[float]]:
    """The given boxes that are entirely outside of an image of this size, px."""
    if boxes is None:
        return []
    is_inside = clip_boxes(np.array(boxes, np.float32), width, height)[1]
    return [
        [float(edge) for edge in box]
        for box, inside in zip(boxes, is_inside, strict=True)
        if not inside
    ]


def _box_text(box: Sequence[float]) -> str:
    # Integers, because a float just below 0 would print as -0.
    return ', '.join(str(round(edge)) for edge in box)


def _write_image(path: Path, image: np.ndarray) -> str:
    """Writes an (H, W, 3) uint8 RGB image and returns its path as text."""
    if not cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
        raise OSError(f'cannot write {path}; check free space and permissions')
    return str(path)


def _person(mesh: HumanMesh, path: Path) -> dict[str, Any]:
    """The entry of one person in the report."""
    return {
        'box': [round(float(edge), 2) for edge in mesh.box],
        'score': round(mesh.score, 4),
        'is_metric': mesh.is_metric,
        'translation_m': [round(float(axis), 4) for axis in mesh.translation]
        if (mesh.is_metric)
        else None,
        'weak_camera': [round(float(number), 5) for number in mesh.weak_camera],
        'visible_share': round(float(mesh.visibility.mean()), 4),
        'mesh': str(path),
    }
