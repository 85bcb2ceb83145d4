"""Converts a checkpoint of the official release into a weights file of the `paper` preset.

The tensors are the same up to their names, with one exception. The first layer in UV space reads
the reference map, the location map of the template. The official map is in the body frame (y up),
ours is in the root frame (y down), so the weights of these three channels are rotated. The
converted network gives the official outputs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from decomr_core.base.assets import file_hash
from decomr_core.base.config import network_config
from decomr_core.body_models import BodyModel, load_body
from decomr_core.body_models.frames import ROOT_FROM_BODY
from decomr_core.networks.checkpoint import save_checkpoint, tensor_problems
from decomr_core.networks.decomr import DecoMR
from decomr_core.networks.pretrained import load_official, official_name
from decomr_core.uv.obj_template import read_obj_vertices
from decomr_core.uv.uv_map import UVMap, load_uv_map

__all__ = ['convert_official']

PRESET = 'paper'
REFERENCE_WEIGHT = 'lnet.projection.0.weight'
"""(512, 259 + 256 + 3, 1, 1): UV features, global code, reference map."""
MAX_REFERENCE_ERROR_M = 1e-4
"""OBJ files round coordinates to 6 digits; the error of another template is centimetres."""
REFERENCE_ADVICE = 'give reference_mesh.obj of the official release'
NAMES_SHOWN = 5


def convert_official(
    checkpoint: str | Path,
    uv: str | Path,
    body: str | Path,
    out: str | Path,
    reference: str | Path | None = None,
) -> dict[str, Any]:
    """Writes an official checkpoint as a weights file; leaves no file behind if it fails.

    Args:
        checkpoint: the official file, a dict with the state dicts `CNet` and `LNet`.
        uv: the UV map it was trained with: the official OBJ template or an npz file of decomr.
        body: the body it was trained for (SMPL), by name or path.
        out: the safetensors file to write.
        reference: the OBJ mesh from which the reference map was made (the release's
            `reference_mesh.obj`); None takes the body's template.

    Returns:
        A summary of input and output, ready for JSON.

    Raises:
        FileNotFoundError: an input is missing.
        ValueError: an input is damaged, or they do not belong together.
    """
    out = Path(out)
    _check_out(out)
    body_model = load_body(body)
    uv_map = _load_uv(uv, body_model)
    official_from_root = _official_from_root(body_model, reference)
    tensors = load_official(checkpoint)
    with torch.random.fork_rng(devices=[]):  # leaves the caller's random state unchanged
        network = DecoMR(network_config(PRESET), body_model, uv_map)
    _check_tensors(checkpoint, network.state_dict(), tensors)
    weight = tensors[REFERENCE_WEIGHT].float().clone()
    weight[:, -3:, 0, 0] = weight[:, -3:, 0, 0] @ official_from_root
    network.load_state_dict({**tensors, REFERENCE_WEIGHT: weight})
    source = {
        'file': Path(checkpoint).name,
        'hash': file_hash(checkpoint),
        'release': 'https://github.com/zengwang430521/DecoMR',
    }
    save_checkpoint(out, network.eval(), {'converted_from': source})
    return {
        'out': str(out),
        'preset': PRESET,
        'checkpoint': source['file'],
        'checkpoint_hash': source['hash'],
        'body': body_model.name,
        'body_hash': body_model.hash,
        'uv_hash': uv_map.hash,
        'parameters': sum(parameter.numel() for parameter in network.parameters()),
    }


def _check_out(out: Path) -> None:
    """Checks the name and the folder of the output before anything is read."""
    if out.suffix != '.safetensors':
        raise ValueError(
            f'{out} is not a name for a weights file; give one that ends in .safetensors'
        )
    if not out.resolve().parent.is_dir():
        raise FileNotFoundError(
            f'there is no folder {out.resolve().parent} for {out.name}; create it first'
        )


def _load_uv(uv: str | Path, body: BodyModel) -> UVMap:
    """Loads a UV map from an OBJ template or an npz file and checks it against the body."""
    if Path(uv).suffix.lower() != '.obj':
        return load_uv_map(uv, body)
    from decomr_core.uv.uv_import import import_uv_map

    return import_uv_map(uv, body)


def _official_from_root(body: BodyModel, reference: str | Path | None) -> Tensor:
    """(3, 3): maps points of our reference map to points of the official one.

    It has no translation, because empty texels are zero in both maps.
    """
    ours = np.asarray(body.v_template, np.float64) @ ROOT_FROM_BODY.T
    if reference is None:
        return torch.tensor(ROOT_FROM_BODY, dtype=torch.float32)
    points = read_obj_vertices(reference, REFERENCE_ADVICE)
    if points.shape != ours.shape:
        raise ValueError(
            f"{reference} has {len(points)} vertices, but the body '{body.name}' has "
            f'{len(ours)}; give the reference mesh of this body'
        )
    transposed = np.linalg.lstsq(ours, points, rcond=None)[0]
    error = np.abs(ours @ transposed - points).max()
    if not error < MAX_REFERENCE_ERROR_M:
        raise ValueError(
            f"{reference} is not a rotated or scaled template of the body '{body.name}': a vertex "
            f'is {error:.4f} m off; import the SMPL file with which the checkpoint was trained'
        )
    return torch.from_numpy(transposed.T.copy()).float()


def _check_tensors(
    path: str | Path, expected: dict[str, Tensor], loaded: dict[str, Tensor]
) -> None:
    """Checks that no tensor is missing, misshapen or not finite."""
    problems = tensor_problems(
        {official_name(key): tensor for key, tensor in expected.items()},
        {official_name(key): tensor for key, tensor in loaded.items()},
    )
    if problems:
        raise ValueError(
            f'{path} is not a checkpoint of the official network: {problems}; '
            "take one of the release's DecoMR checkpoints"
        )
    broken = sorted(
        official_name(key) for key, tensor in loaded.items() if not torch.isfinite(tensor).all()
    )
    if broken:
        names = ', '.join(broken[:NAMES_SHOWN]) + (', ...' if len(broken) > NAMES_SHOWN else '')
        raise ValueError(
            f'{path} has values that are not finite in {len(broken)} tensors '
            f'({names}); download it again'
        )
