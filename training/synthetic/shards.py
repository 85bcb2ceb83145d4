"""Precomputed data of many rendered people: one file per shard, each with a tag of its origin."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from decomr_core.base.files import replacing
from training.records.tensor_batch import TensorBatch
from training.synthetic.people import SyntheticPeople
from training.synthetic.synthetic_batch import SyntheticBatch

__all__ = ['SHARD_PEOPLE', 'hash_of_state', 'read_shards', 'shard_paths', 'write_shards']

Batch = TypeVar('Batch', bound=TensorBatch)
SHARD_PEOPLE = 1000
"""Rendered people per file."""
TAG_SHOWN = 12
logger = logging.getLogger(__name__)


def hash_of_state(state: Mapping[str, Tensor]) -> str:
    """The sha256 of weights and their names, as a tag."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(name.encode())
        digest.update(value.float().cpu().numpy().tobytes())
    return digest.hexdigest()


def write_shards(
    out: Path,
    people: SyntheticPeople,
    count: int,
    make: Callable[[SyntheticBatch], TensorBatch],
    origin: str,
    tag: str,
) -> None:
    """Renders people and writes files one after the other; existing ones are kept.

    Args:
        out: folder of the files.
        people: renders the people.
        count: number of people, rounded up to whole files of `SHARD_PEOPLE`.
        make: the content for a rendered batch.
        origin: what the tag identifies, such as `encoder`.
        tag: hash of what made the content.

    Raises:
        ValueError: the number is not positive, or an existing file is damaged or has another tag.
        OSError: the folder cannot be written.
    """
    if count < 1:
        raise ValueError(f'the number of people is {count}; take 1 or more')
    out.mkdir(parents=True, exist_ok=True)
    per_file = SHARD_PEOPLE // people.config.batch_size
    for shard in range(-(-count // SHARD_PEOPLE)):
        path = out / f'seed{people.seed}_{shard:05d}.safetensors'
        if path.exists():
            _check_tag(path, origin, tag)
            continue
        parts = [
            make(people.batch(number))
            for number in range(shard * per_file, (shard + 1) * per_file)
        ]
        content = type(parts[0]).concatenate(parts)
        tensors = {item.name: getattr(content, item.name).contiguous() for item in fields(content)}
        with replacing(path) as temporary:
            save_file(tensors, temporary, {origin: tag})
        logger.info('%s: %d crops', path, len(content))


def read_shards(
    kind: type[Batch], folders: Sequence[Path], origin: str, tag: str, program: str
) -> Batch:
    """Reads all files of some folders.

    Args:
        kind: class of the content.
        folders: folders written by `write_shards`.
        origin: what the tag identifies.
        tag: required tag.
        program: module that writes such folders, for messages.

    Raises:
        FileNotFoundError: a folder has no such files.
        ValueError: a file is damaged or has another tag.
    """
    paths = [path for folder in folders for path in shard_paths(folder, origin, tag, program)]
    return kind.concatenate([kind(**load_file(path)) for path in paths])


def shard_paths(folder: Path, origin: str, tag: str, program: str) -> list[Path]:
    """The files of a folder, after a check of their tags.

    Args:
        folder: written by `write_shards`.
        origin: what the tag identifies.
        tag: required tag.
        program: module that writes such folders, for messages.

    Raises:
        FileNotFoundError: the folder has no such files.
        ValueError: a file is damaged or has another tag.
    """
    paths = sorted(folder.glob('*.safetensors'))
    if not paths:
        raise FileNotFoundError(
            f'{folder} has no files of {program}; write some: python -m {program} --out {folder}'
        )
    for path in paths:
        _check_tag(path, origin, tag)
    return paths


def _check_tag(path: Path, origin: str, tag: str) -> None:
    try:
        with safe_open(path, 'pt') as file:
            found = (file.metadata() or {}).get(origin, '')
    except SafetensorError as error:
        raise ValueError(f'{path} is damaged ({error}); delete it and write it again') from error
    if found != tag:
        raise ValueError(
            f'{path} was made with another {origin} ({found[:TAG_SHOWN]}) than that of the '
            f'network ({tag[:TAG_SHOWN]}); use another folder'
        )
