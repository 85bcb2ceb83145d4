"""The official release's checkpoint -> our weights file of the `paper` preset.

The tensors are the same up to their names, with one exception. The first layer in UV space reads
the reference map: where each texel lies on the template. The official map holds the template in
the body's own frame (y up), ours in the root frame (y down), so the weights of these three
channels are turned; nothing else changes, and the converted network gives the official outputs.
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
from decomr_core.networks.checkpoint import (
    load_official,
    official_name,
    save_checkpoint,
    tensor_problems,
)
from decomr_core.networks.decomr import DecoMR
from decomr_core.uv.obj_template import read_obj_vertices
from decomr_core.uv.uv_map import UVMap, load_uv_map

__all__ = ['convert_official']

PRESET = 'paper'
REFERENCE_WEIGHT = 'lnet.projection.0.weight'
"""(512, 259 + 256 + 3, 1, 1): UV features, global code, reference map."""
MAX_REFERENCE_ERROR_M = 1e-4
"""OBJ files round coordinates to 6 digits; another template is centimetres away."""
REFERENCE_ADVICE = 'give reference_mesh.obj of the official release'
SHOWN = 5


def convert_official(checkpoint: str | Path, uv: str | Path, body: str | Path, out: str | Path,
                     reference: str | Path | None = None) -> dict[str, Any]:
    """Writes an official checkpoint as a weights file of ours; no file is left if it fails.

    Args:
        checkpoint: the official file, a dict with the state dicts `CNet` and `LNet`.
        uv: the UV map it was trained with: the official OBJ template, or an npz of ours.
        body: the body it was trained for (SMPL), by name or path.
        out: the safetensors file to write.
        reference: the OBJ mesh that the reference map was made of (the release's
            `reference_mesh.obj`); None takes the template of the body.

    Returns:
        What was read and written, ready for JSON.

    Raises:
        FileNotFoundError: an input is missing.
        ValueError: an input is damaged, or they do not belong together.
    """
    out = Path(out)
    _check_place(out)
    body_model = load_body(body)
    uv_map = _load_uv(uv, body_model)
    turn = _reference_turn(body_model, reference)
    tensors = load_official(checkpoint)
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
        network = DecoMR(network_config(PRESET), body_model, uv_map)
    _check_tensors(checkpoint, network.state_dict(), tensors)
    weight = tensors[REFERENCE_WEIGHT].float().clone()
    weight[:, -3:, 0, 0] = weight[:, -3:, 0, 0] @ turn
    network.load_state_dict({**tensors, REFERENCE_WEIGHT: weight})
    source = {'file': Path(checkpoint).name, 'hash': file_hash(checkpoint),
              'release': 'https://github.com/zengwang430521/DecoMR'}
    save_checkpoint(out, network.eval(), {'converted_from': source})
    return {'out': str(out), 'preset': PRESET, 'checkpoint': source['file'],
            'checkpoint_hash': source['hash'], 'body': body_model.name,
            'body_hash': body_model.hash, 'uv_hash': uv_map.hash,
            'parameters': sum(parameter.numel() for parameter in network.parameters())}


def _check_place(out: Path) -> None:
    """Raises an error before anything is read if the result could not be written."""
    if out.suffix != '.safetensors':
        raise ValueError(f'{out} is to hold weights; give a name that ends in .safetensors')
    if not out.resolve().parent.is_dir():
        raise FileNotFoundError(f'there is no folder {out.resolve().parent} to write {out.name} '
                                'into; make it first')


def _load_uv(uv: str | Path, body: BodyModel) -> UVMap:
    """The UV map in an OBJ template or in an npz of ours, checked against the body."""
    if Path(uv).suffix.lower() != '.obj':
        return load_uv_map(uv, body)
    from decomr_core.uv.uv_import import import_uv_map

    return import_uv_map(uv, body)


def _reference_turn(body: BodyModel, reference: str | Path | None) -> Tensor:
    """The matrix (3, 3) that takes points of our reference map to the official one's.

    Only a linear one is without effect on the empty texels, which are zero in both maps.
    """
    ours = np.asarray(body.v_template, np.float64) @ ROOT_FROM_BODY.T
    if reference is None:
        return torch.tensor(ROOT_FROM_BODY, dtype=torch.float32)
    points = read_obj_vertices(reference, REFERENCE_ADVICE)
    if points.shape != ours.shape:
        raise ValueError(f"{reference} has {len(points)} vertices, the body '{body.name}' "
                         f'{len(ours)}; give the reference mesh of this body')
    turn = np.linalg.lstsq(ours, points, rcond=None)[0]
    error = np.abs(ours @ turn - points).max()
    if not error < MAX_REFERENCE_ERROR_M:
        raise ValueError(
            f"{reference} is not the template of the body '{body.name}', turned or scaled: a "
            f'vertex is {error:.4f} m off; import the SMPL file that the checkpoint was made with')
    return torch.from_numpy(turn.T.copy()).float()


def _check_tensors(path: str | Path, wanted: dict[str, Tensor], seen: dict[str, Tensor]) -> None:
    """Raises an error unless all tensors are there, of the right shape, and finite."""
    problems = tensor_problems({official_name(key): tensor for key, tensor in wanted.items()},
                               {official_name(key): tensor for key, tensor in seen.items()})
    if problems:
        raise ValueError(f'{path} is not the checkpoint of the official network: {problems}; '
                         "take one of the release's DecoMR checkpoints")
    broken = sorted(official_name(key) for key, tensor in seen.items()
                    if not torch.isfinite(tensor).all())
    if broken:
        raise ValueError(f'{path} holds numbers that are not finite in {len(broken)} tensors '
                         f'({", ".join(broken[:SHOWN])}{", ..." if len(broken) > SHOWN else ""}); '
                         'download it again')
