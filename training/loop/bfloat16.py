"""Whether a device computes bfloat16 in hardware."""

from __future__ import annotations

import torch

__all__ = ['EMULATED_TEXT', 'has_bfloat16']

EMULATED_TEXT = (
    'this CPU computes bfloat16 in software, which can be ten times slower than float32; use '
    '--train.precision fp32'
)
"""Advice for a run with the precision `bf16` on a CPU without it."""


def has_bfloat16(device_type: str) -> bool:
    """Whether bfloat16 is at least about as fast as float32.

    Args:
        device_type: `cpu`, `cuda`, ...; only CPUs are examined, others always have it.
    """
    if device_type != 'cpu':
        return True
    # PyTorch has no public function for this. oneDNN has fast kernels from AVX-512 on.
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
