"""The public data sets by name; each can be read from two kinds of files.

Annotations come either from the npz files that SPIN, GraphCMR and DecoMR share, or from the data
set's original files. Reading those takes minutes; `python -m training.preprocess` converts them
into such an npz once.
"""

from __future__ import annotations

from pathlib import Path

from training.datasets.readers.coco import COCO
from training.datasets.readers.h36m import H36M
from training.datasets.readers.lsp import LSP
from training.datasets.readers.lsp_extended import LSP_EXTENDED
from training.datasets.readers.mpi_inf_3dhp import MPI_INF_3DHP
from training.datasets.readers.mpii import MPII
from training.datasets.readers.npz_format import read_npz
from training.datasets.readers.public_dataset import PublicDataset
from training.datasets.readers.pw3d import PW3D
from training.datasets.readers.surreal import SURREAL
from training.datasets.readers.up3d import UP3D
from training.records.person_records import PersonRecords

__all__ = ['PUBLIC_DATASETS', 'load_people', 'public_dataset']

PUBLIC_DATASETS = {
    dataset.name: dataset
    for dataset in (H36M, UP3D, SURREAL, LSP, LSP_EXTENDED, MPII, COCO, MPI_INF_3DHP, PW3D)
}


def public_dataset(name: str) -> PublicDataset:
    """The data set with a name.

    Raises:
        ValueError: there is no such data set.
    """
    if name not in PUBLIC_DATASETS:
        raise ValueError(
            f'there is no data set {name!r}; take one of {", ".join(sorted(PUBLIC_DATASETS))}'
        )
    return PUBLIC_DATASETS[name]


def load_people(
    name: str,
    root: str | Path,
    annotations: str | Path | None = None,
    *,
    split: str = '',
    fits: str | Path | None = None,
    use_openpose: bool = False,
    check_images: bool = True,
) -> PersonRecords:
    """Reads the people of a data set.

    Args:
        name: name of the data set.
        root: its folder; image paths are relative to it.
        annotations: an npz in the exchange format; None reads the data set's original files.
        split: part of the original files; '' for the first.
        fits: SPIN's fits for the people of the npz (see `read_npz`).
        use_openpose: see `read_npz`.
        check_images: whether to check every image file.

    Raises:
        FileNotFoundError: a file or folder is missing.
        ValueError: there is no such data set or split, or a file has unexpected content.
    """
    dataset = public_dataset(name)
    if annotations is None:
        if fits is not None:
            raise ValueError(
                f'fits of {name} need annotations in the exchange format, with the '
                'same people; give the npz that they were made for'
            )
        return dataset.records(root, split, check_images)
    dataset.find(Path(root))
    if not Path(annotations).is_file():
        raise FileNotFoundError(
            f'{annotations} is missing; download it from SPIN '
            f'(dataset_extras), or make it: python -m training.preprocess '
            f'{name} --root {root} --out {annotations}'
        )
    return read_npz(
        annotations, root, name, fits=fits, use_openpose=use_openpose, check_images=check_images
    )
