"""Precomputed data of many rendered people: one file per shard, each with a tag of its origin."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from decomr_core.base.files import replacing
from training.records.tensor_batch import TensorBatch

__all__ = ['read_shards', 'write_shards']

Batch = TypeVar('Batch', bound=TensorBatch)
TAG_SHOWN = 12
logger = logging.getLogger(__name__)


def write_shards(
    out: Path, names: Sequence[str], make: Callable[[int], TensorBatch], origin: str, tag: str
) -> None:
    """Writes files one after the other; existing ones are kept.

    Args:
        out: folder of the files.
        names: their names, without suffix.
        make: the content of a file, by its number.
        origin: what the tag identifies, such as `encoder`.
        tag: hash of what made the content.

    Raises:
        ValueError: an existing file is damaged or has another tag.
        OSError: the folder cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        path = out / f'{name}.safetensors'
        if path.exists():
            _check_tag(path, origin, tag)
            continue
        content = make(number)
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
    parts = []
    for folder in folders:
        paths = sorted(folder.glob('*.safetensors'))
        if not paths:
            raise FileNotFoundError(
                f'{folder} has no files of {program}; write some: python -m {program} --out FOLDER'
            )
        for path in paths:
            _check_tag(path, origin, tag)
            parts.append(kind(**load_file(path)))
    return kind.concatenate(parts)


def _check_tag(path: Path, origin: str, tag: str) -> None:
    try:
        with safe_open(path, 'pt') as file:
            found = (file.metadata() or {}).get(origin, '')
    except SafetensorError as error:
        raise ValueError(f'{path} is damaged ({error}); delete it and write it again') from error
    if found != tag:
        raise ValueError(
            f'{path} was made with another {origin} ({found[:TAG_SHOWN]}) than that of the '
            f'weights ({tag[:TAG_SHOWN]}); use another folder'
        )
