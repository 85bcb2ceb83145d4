"""Speed of PyTorch on a GPU: CUDA graphs and half precision against the official structure.

    python -m benchmarks.gpu --out benchmarks/results/gpu.json

Every time is wall-clock time from crops on the host to results on the host. With `--device cpu`
the same code runs without graphs; this only checks the code.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.official_structure import OfficialStructure
from decomr_core.base.arguments import positive
from decomr_core.commands.bench import measured_on
from decomr_core.commands.network_bench import latency_row, untrained
from decomr_core.measures.parity import measure_parity, parity_crops
from decomr_core.networks.checkpoint import load_with_topology
from decomr_core.networks.decomr import DecoMR
from decomr_core.runtimes.exported_model import OUTPUT_NAMES
from decomr_core.runtimes.gpu_memory import MIB
from decomr_core.runtimes.torch.cuda import BatchRunner, CudaQueue, find_device
from decomr_core.runtimes.torch.precision import arithmetic, check_precision
from decomr_core.runtimes.torch.runtime import PackedNetwork

BATCHES = (1, 4, 16)
PRESETS = ('rt', 'paper')
REPEATS, WARM_UP = 200, 10

Run = Callable[[np.ndarray], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Case:
    """One way to run a network.

    Attributes:
        structure: `official` or `ours`.
        precision: `f32`, `tf32`, `bf16` or `fp16`.
        is_graph: whether each batch size is one CUDA graph, of a network whose batch
            normalisation is folded into its weights, as in the runtime.
        channels_last: whether the memory format is channels last.
    """

    structure: str
    precision: str = 'f32'
    is_graph: bool = False
    channels_last: bool = False


REFERENCE = Case('ours')
"""The reference of the parity measurement."""

GPU_CASES = (
    Case('official'),
    REFERENCE,
    *(Case('ours', precision, True, True) for precision in ('f32', 'tf32', 'bf16', 'fp16')),
    Case('ours', 'f32', True),
    Case('ours', 'fp16', True),
)
CPU_CASES = (Case('official'), REFERENCE, Case('ours', 'bf16'), Case('ours', 'fp16'))


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.gpu',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--out', type=Path, required=True, help='JSON file to write')
    parser.add_argument(
        '--presets',
        nargs='+',
        choices=PRESETS,
        default=PRESETS,
        help='rt with the shipped weights, paper with random weights (both)',
    )
    parser.add_argument('--weights', type=Path, help='a .safetensors file instead of the presets')
    parser.add_argument('--body', default='builtin', help='body of the file (builtin)')
    parser.add_argument('--uv', default='builtin', help='UV map of the file (builtin)')
    parser.add_argument(
        '--batch',
        nargs='+',
        type=positive,
        default=BATCHES,
        metavar='N',
        help='batch sizes, people (1 4 16)',
    )
    parser.add_argument(
        '--repeats', type=positive, default=REPEATS, help='number of timed runs (200)'
    )
    parser.add_argument('--device', default='cuda', help='cuda, cuda:N or cpu (cuda)')
    options = parser.parse_args(arguments)
    try:
        device = find_device(options.device)
        report = measure(_networks(options), device, options.batch, options.repeats)
        options.out.write_text(json.dumps(report, indent=1) + '\n', encoding='utf-8')
    except (ValueError, OSError, RuntimeError) as error:
        sys.stderr.write(f'benchmarks.gpu: {" ".join(str(error).split())}\n')
        return 2
    sys.stdout.write(table(report) + '\n')
    return 0


def measure(
    networks: Mapping[str, Callable[[], DecoMR]],
    device: torch.device,
    batches: Sequence[int] = BATCHES,
    repeats: int = REPEATS,
) -> dict[str, Any]:
    """Measures networks in all cases that a device supports.

    Args:
        networks: functions that load the networks, by name.
        device: the CPU or a GPU.
        batches: batch sizes.
        repeats: number of timed runs of each.

    Returns:
        `results`, a dict for each network, case and batch size: latency in ms, people per second,
        speed relative to the official structure of the same network and batch size, GPU memory
        in MiB, parity with `REFERENCE`; also hardware, versions and date.
    """
    rows = []
    for name, load in networks.items():
        network = load().to(device)
        crops = parity_crops(network.config.crop_size)
        expected = _all_outputs(_runner(REFERENCE, network, device, batches), crops, batches)
        official_ms: dict[int, float] = {}
        for case in _cases(device):
            for row in _timed(case, network, device, batches, repeats, expected):
                if case.structure == 'official':
                    official_ms[row['batch']] = row['median_ms']
                rows.append(
                    {
                        'network': name,
                        **asdict(case),
                        **row,
                        'ratio_to_official': round(
                            official_ms[row['batch']] / row['median_ms'], 2
                        ),
                    }
                )
        del network
    return {
        'results': rows,
        'repeats': repeats,
        'device': _device(device),
        **measured_on({'torch': 'torch'}),
    }


def table(report: dict[str, Any]) -> str:
    """The report of `measure` as a Markdown table."""
    lines = [
        '| network | structure | precision | graph | channels last | people | median, ms '
        '| p90 | p99 | to official | vertices off, mm | GPU memory, MiB |',
        '|---|---|---|---|---|' + '--:|' * 7,
    ]
    for row in report['results']:
        memory = '' if row['memory_mib'] is None else f'{row["memory_mib"]:.0f}'
        yes = {True: 'yes', False: ''}
        lines.append(
            f'| `{row["network"]}` | {row["structure"]} | {row["precision"]} '
            f'| {yes[row["is_graph"]]} | {yes[row["channels_last"]]} | {row["batch"]} '
            f'| {row["median_ms"]:.3f} | {row["p90_ms"]:.3f} | {row["p99_ms"]:.3f} '
            f'| {row["ratio_to_official"]:.2f} | {row["parity"]["vertices_mean_mm"]:.4f} '
            f'| {memory} |'
        )
    versions = ', '.join(f'{name} {version}' for name, version in report['versions'].items())
    return '\n'.join(
        [
            *lines,
            '',
            f'{report["device"]["name"]}, {report["repeats"]} runs each; '
            f'{versions}; {report["date"]}.',
        ]
    )


def _networks(options: argparse.Namespace) -> dict[str, Callable[[], DecoMR]]:
    """Functions that load the selected networks, by their names in the report."""
    if options.weights is not None:
        return {
            options.weights.name: lambda: load_with_topology(
                options.weights, options.body, options.uv
            )[0]
        }
    return {
        name if name == 'rt' else f'{name}, random weights': functools.partial(_preset, name)
        for name in options.presets
    }


def _preset(name: str) -> DecoMR:
    """The shipped network, or one with random weights, which is equally fast."""
    if name == 'rt':
        return load_with_topology('rt')[0]
    return untrained(name)


def _cases(device: torch.device) -> list[Case]:
    """The cases whose precision the device supports."""
    if device.type == 'cpu':
        return list(CPU_CASES)
    found = []
    for case in GPU_CASES:
        try:
            check_precision(case.precision, device)
        except ValueError as error:
            sys.stderr.write(f'left out: {error}\n')
        else:
            found.append(case)
    return found


def _timed(
    case: Case,
    network: DecoMR,
    device: torch.device,
    batches: Sequence[int],
    repeats: int,
    expected: dict[str, np.ndarray],
) -> list[dict[str, Any]]:
    """Times, memory and parity of one case, a dict for each batch size."""
    is_on_gpu = device.type == 'cuda'
    if is_on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    run = _runner(case, network, device, batches)
    crops = parity_crops(network.config.crop_size)
    parity = measure_parity(_all_outputs(run, crops, batches), expected)
    rows = []
    for batch in batches:
        images = crops[np.arange(batch) % len(crops)]
        rows.append(latency_row(functools.partial(run, images), batch, repeats, WARM_UP, 4))
    memory = torch.cuda.max_memory_reserved(device) / MIB if is_on_gpu else None
    passes = parity.passes('bf16' if case.precision == 'tf32' else case.precision)
    return [
        {**row, 'memory_mib': memory, 'parity': parity.to_dict(), 'passes': passes} for row in rows
    ]


def _all_outputs(run: Run, crops: np.ndarray, batches: Sequence[int]) -> dict[str, np.ndarray]:
    """The outputs for all crops, in batches of the largest size."""
    size = max(batches)
    parts = [run(crops[start : start + size]) for start in range(0, len(crops), size)]
    return {name: np.concatenate([part[name] for part in parts]) for name in OUTPUT_NAMES}


def _runner(case: Case, network: DecoMR, device: torch.device, batches: Sequence[int]) -> Run:
    """A function that maps crops to outputs by name, both on the host."""
    if case.structure == 'official':
        official = OfficialStructure(network)

        def run_official(images: np.ndarray) -> dict[str, np.ndarray]:
            with arithmetic(device, case.precision):
                output = official(torch.from_numpy(images).to(device))
                return {name: getattr(output, name).cpu().numpy() for name in OUTPUT_NAMES}

        return run_official
    packed = PackedNetwork(network, device, case.precision, case.channels_last, case.is_graph)
    if case.is_graph:
        graphs = BatchRunner(packed, network.config.crop_size, max(batches), CudaQueue(device))
        return lambda images: vars(packed.unpack(graphs.run(images)))
    return lambda images: vars(
        packed.unpack(packed(torch.from_numpy(images).to(device)).cpu().numpy())
    )


def _device(device: torch.device) -> dict[str, Any]:
    """Description of the device."""
    if device.type == 'cpu':
        return {'name': 'the CPU, without graphs', 'threads': torch.get_num_threads()}
    properties = torch.cuda.get_device_properties(device)
    return {
        'name': properties.name,
        'memory_mib': properties.total_memory / MIB,
        'compute_capability': f'{properties.major}.{properties.minor}',
        'cuda': torch.version.cuda,
        'cudnn': torch.backends.cudnn.version(),
    }


if __name__ == '__main__':
    raise SystemExit(main())
