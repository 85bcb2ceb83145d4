"""The base class of batches of people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import Field, fields
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

__all__ = ['TensorBatch']

Batch = TypeVar('Batch', bound='TensorBatch')


class TensorBatch:
    """Base of dataclasses whose fields are all tensors with the B people as first axis.

    Attributes:
        images: (B, S, S, 3) uint8 RGB; a subclass without images overrides `__len__`.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    images: Tensor

    def __len__(self) -> int:
        """B, the number of people."""
        return len(self.images)

    def to(self: Batch, device: torch.device | str) -> Batch:
        """The same batch on a device."""
        return type(self)(*(getattr(self, item.name).to(device) for item in fields(self)))

    def part(self: Batch, index: Tensor | slice) -> Batch:
        """The people at an index (K,), as a batch."""
        return type(self)(*(getattr(self, item.name)[index] for item in fields(self)))

    @classmethod
    def concatenate(cls: type[Batch], batches: Sequence[Batch]) -> Batch:
        """Concatenates batches."""
        return cls(
            *(torch.cat([getattr(batch, item.name) for batch in batches]) for item in fields(cls))
        )
