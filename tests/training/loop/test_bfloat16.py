"""bfloat16 is used only where the device computes it in hardware."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from training.loop import bfloat16
from training.loop.train_config import TrainConfig


def test_the_advice_names_a_precision_that_a_run_accepts() -> None:
    name, _, value = bfloat16.EMULATED_TEXT.rpartition('--')[2].partition(' ')
    assert name == 'train.precision'
    assert replace(TrainConfig(), precision=value).precision == value


def test_devices_other_than_cpus_have_bfloat16() -> None:
    assert bfloat16.has_bfloat16('cuda')


def test_a_cpu_has_bfloat16_exactly_if_it_has_avx512() -> None:
    has_avx512 = 'AVX512' in torch.backends.cpu.get_cpu_capability()
    if torch.backends.cpu.get_cpu_capability() not in ('AVX2', 'AVX512', 'DEFAULT'):
        pytest.skip('no x86-64 CPU')
    assert bfloat16.has_bfloat16('cpu') == has_avx512
