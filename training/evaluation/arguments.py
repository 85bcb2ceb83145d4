"""The arguments of `training.evaluate`: the network, the data set, and the results."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from decomr_core.base.arguments import positive
from decomr_core.estimation.detectors import DETECTORS
from decomr_core.runtimes import RUNTIMES
from training.evaluation.sets import EVALUATION_SETS
from training.evaluation.worst_cases import WORST
from training.synthetic.preview import add_asset_options

__all__ = ['PHOTOGRAPHS', 'SYNTHETIC', 'SYNTHETIC_IMAGES', 'evaluation_parser']

SYNTHETIC, PHOTOGRAPHS = 'synthetic', 'coco'
"""The data sets beside `EVALUATION_SETS`: rendered people, and photographs of COCO."""
SYNTHETIC_IMAGES = 500
"""Number of rendered images to score on unless another is given."""


def evaluation_parser(description: str) -> ArgumentParser:
    """The parser of the command line, with this description of the program."""
    parser = ArgumentParser(prog='python -m training.evaluate', description=description)
    parser.add_argument(
        'dataset',
        nargs='?',
        default=SYNTHETIC,
        choices=(SYNTHETIC, PHOTOGRAPHS, *EVALUATION_SETS),
        help='what to score on',
    )
    _add_network(parser)
    _add_data(parser)
    _add_results(parser)
    return parser


def _add_network(parser: ArgumentParser) -> None:
    parser.add_argument('--weights', default='rt', help='rt (shipped) or a safetensors file')
    parser.add_argument(
        '--runtime', default='torch', choices=tuple(RUNTIMES), help='what runs the network (torch)'
    )
    parser.add_argument('--device', default='cpu', help='torch only: cpu or cuda (cpu)')
    parser.add_argument(
        '--body', default='builtin', help='body of the weights: builtin or an npz file'
    )
    parser.add_argument('--uv', default='builtin', help='its UV map: builtin or an npz file')


def _add_data(parser: ArgumentParser) -> None:
    parser.add_argument(
        '--data',
        '--root',
        type=Path,
        dest='root',
        metavar='FOLDER',
        help="folder of the data set's npz and images",
    )
    parser.add_argument(
        '--annotations',
        type=Path,
        metavar='FILE',
        help='annotations of the data set; default: its folder and published name',
    )
    parser.add_argument(
        '--detector',
        default='person',
        choices=tuple(DETECTORS),
        help='coco only: person detector for whole images (person)',
    )
    parser.add_argument(
        '--sheets',
        type=Path,
        metavar='FOLDER',
        help='coco only: write contact sheets of people and images',
    )
    parser.add_argument(
        '--body-folder',
        type=Path,
        help='folder of smpl_neutral.npz, smpl_male.npz, smpl_female.npz',
    )
    parser.add_argument(
        '--joint-regressor',
        type=Path,
        metavar='J_regressor_h36m.npy',
        help="regressor from SMPL's vertices to Human3.6M's joints",
    )
    parser.add_argument(
        '--images',
        type=positive,
        metavar='N',
        help=f'number of images, evenly spread; default: all ({SYNTHETIC_IMAGES} for synthetic)',
    )
    add_asset_options(parser)


def _add_results(parser: ArgumentParser) -> None:
    parser.add_argument(
        '--scales', action='store_true', help='also score with tighter and wider crops'
    )
    parser.add_argument(
        '--worst',
        type=Path,
        metavar='FILE.png',
        help=f'write a picture of the {WORST} worst cases',
    )
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    parser.add_argument('--out', type=Path, help='also write the JSON object to this file')
