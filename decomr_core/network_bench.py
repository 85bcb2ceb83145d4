"""What `decomr bench --batch` does: how fast each runtime runs each network on this machine.

Every runtime and preset is measured in two processes of its own. The first begins with an empty
cache, so that its first result includes the export; the second finds the cache filled, and gives
first result, latencies and memory.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from decomr_core.bench import measured_on
from decomr_core.config import network_config
from decomr_core.runtimes import RUNTIMES, load_runtime

__all__ = ['bench_networks', 'bench_table', 'gflop_of', 'peak_gflops']

WARM_UP = 5
KIB_PER_MIB = 1024
PEAK_SIZE, PEAK_REPEATS = 2048, 8
MAX_CHILD_S = 900


@dataclass(frozen=True)
class NetworkCase:
    """What one process measures.

    Attributes:
        runtime: a name of `RUNTIMES`.
        weights: a shipped network by name, or a file.
        batches: numbers of people that run at a time.
        repeats: runs of each that are timed.
        threads: CPU threads; 0: all.
    """

    runtime: str
    weights: str
    batches: tuple[int, ...]
    repeats: int
    threads: int = 0


def bench_networks(runtimes: Sequence[str], presets: Sequence[str] = ('rt',),
                   batches: Sequence[int] = (1,), repeats: int = 50,
                   threads: int = 0) -> dict[str, Any]:
    """Times networks in runtimes, each in processes of its own.

    Args:
        runtimes: names of `RUNTIMES`, all of them installed.
        presets: `rt` runs the shipped weights; others run random ones, which take as long.
        batches: numbers of people at a time.
        repeats: runs of each batch that are timed, after a few that are not.
        threads: CPU threads; 0: all.

    Returns:
        `results`, one dict per runtime, preset and batch: latencies in ms (median, p90, p99),
        people per second, time to the first result with an empty and with a filled cache, memory
        of the process in MiB, GFLOP and share of the peak; `peak_gflops`; hardware, versions and
        date.

    Raises:
        ValueError: a number is not positive or a preset is unknown.
        RuntimeError: a measurement failed; says how.
    """
    if repeats < 1 or not batches or min(batches) < 1:
        raise ValueError('repeats and batches must be at least 1')
    peak, results = peak_gflops(), []
    with tempfile.TemporaryDirectory(prefix='decomr-bench-') as folder:
        for preset in presets:
            weights, gflop = _weights_of(preset, Path(folder)), gflop_of(preset)
            for runtime in runtimes:
                case = NetworkCase(runtime, weights, tuple(batches), repeats, threads)
                cache = Path(folder) / f'{runtime}-{preset}'
                cold, cached = (_in_own_process(case, cache) for _ in range(2))
                for row in cached['batches']:
                    rate = gflop * row['people_per_s']
                    results.append({
                        'runtime': runtime, 'preset': preset, 'precision': cached['precision'],
                        **row, 'first_result_cold_s': cold['first_result_s'],
                        'first_result_cached_s': cached['first_result_s'],
                        'memory_mib': cached['memory_mib'], 'gflop': round(gflop, 2),
                        'share_of_peak': round(rate / peak, 3)})
    packages = {name: RUNTIMES[name][0] for name in runtimes} | {'torch': 'torch'}
    return {'results': results, 'peak_gflops': round(peak, 1), 'repeats': repeats,
            'threads': threads or len(os.sched_getaffinity(0)), **measured_on(packages)}


def bench_table(report: dict[str, Any]) -> str:
    """The report of `bench_networks` as a Markdown table."""
    lines = ['| preset | runtime | people | median, ms | p90 | p99 | people/s | first result, s: '
             'new, cached | memory, MiB | of peak |', '|---|---|' + '--:|' * 8]
    for row in report['results']:
        lines.append(
            f'| `{row["preset"]}` | {row["runtime"]} {row["precision"]} | {row["batch"]} '
            f'| {row["median_ms"]:.2f} | {row["p90_ms"]:.2f} | {row["p99_ms"]:.2f} '
            f'| {row["people_per_s"]:.0f} | {row["first_result_cold_s"]:.1f}, '
            f'{row["first_result_cached_s"]:.1f} | {row["memory_mib"]:.0f} '
            f'| {100 * row["share_of_peak"]:.0f} % |')
    hardware = report['hardware']
    versions = ', '.join(f'{name} {version}' for name, version in report['versions'].items())
    return '\n'.join([*lines, '', f'{report["threads"]} threads on {hardware["cpus"]} cores of '
                      f'{hardware["cpu"]} (a matrix product reaches {report["peak_gflops"]:.0f} '
                      f'GFLOP/s in float32), load {hardware["load_before"]:.1f} before; '
                      f'{versions}; {report["date"]}.'])


def peak_gflops() -> float:
    """What a large float32 matrix product reaches on this CPU, the best of some, GFLOP/s."""
    import torch

    left, right = torch.rand(2, PEAK_SIZE, PEAK_SIZE).unbind()
    best = float('inf')
    for _ in range(PEAK_REPEATS):
        start = time.perf_counter()
        torch.mm(left, right)
        best = min(best, time.perf_counter() - start)
    return 2 * PEAK_SIZE ** 3 / best / 1e9


def gflop_of(preset: str) -> float:
    """Multiplications and additions of one person in convolutions and matrix products, 1e9."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    network = _untrained(preset)
    size = network.config.crop_size
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, size, size))
    return counter.get_total_flops() / 1e9


def measure(case: NetworkCase) -> dict[str, Any]:
    """What a process of its own measures: see `bench_networks`."""
    start = time.perf_counter()
    runtime = load_runtime(case.runtime, case.weights, num_threads=case.threads)
    size = runtime.crop_size
    crops = np.random.default_rng(0).integers(
        0, 256, (max(case.batches), size, size, 3), dtype=np.uint8)
    runtime.run(crops[:1])
    first_result_s = time.perf_counter() - start
    rows = []
    for batch in case.batches:
        times = []
        for _ in range(WARM_UP + case.repeats):
            start = time.perf_counter()
            runtime.run(crops[:batch])
            times.append((time.perf_counter() - start) * 1e3)
        median, p90, p99 = np.percentile(times[WARM_UP:], (50, 90, 99))
        rows.append({'batch': batch, 'median_ms': round(median, 3), 'p90_ms': round(p90, 3),
                     'p99_ms': round(p99, 3), 'people_per_s': round(1e3 * batch / median, 1)})
    return {'batches': rows, 'first_result_s': round(first_result_s, 2),
            'memory_mib': round(_most_memory_mib()), 'precision': runtime.precision}


def _most_memory_mib() -> float:
    """The most memory that this process has had, MiB."""
    status = Path('/proc/self/status')
    if status.is_file():  # getrusage would count what the process had before it became this one
        kib = [line.split()[1] for line in status.read_text().splitlines()
               if line.startswith('VmHWM')]
        if kib:
            return int(kib[0]) / KIB_PER_MIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_MIB


def _in_own_process(case: NetworkCase, cache: Path) -> dict[str, Any]:
    """What `measure` finds in a fresh process whose cache is that folder."""
    command = [sys.executable, '-m', 'decomr_core.network_bench', json.dumps(asdict(case))]
    done = subprocess.run(command, env={**os.environ, 'DECOMR_CACHE': str(cache)}, text=True,
                          capture_output=True, timeout=MAX_CHILD_S, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ['no message'])[-1]
        raise RuntimeError(f'{case.runtime} with {Path(case.weights).name} could not be measured '
                           f'(exit code {done.returncode}): {last}')
    return json.loads(done.stdout.splitlines()[-1])


def _weights_of(preset: str, folder: Path) -> str:
    """Weights of a preset: the shipped ones, or random ones in a new file."""
    if preset == 'rt':
        return preset
    from decomr_core.checkpoint import save_checkpoint

    path = folder / f'{preset}.safetensors'
    save_checkpoint(path, _untrained(preset), {})
    return str(path)


def _untrained(preset: str) -> Any:
    """A network of a preset with random weights, in eval mode."""
    import torch

    from decomr_core.body_models import load_body
    from decomr_core.networks.decomr import DecoMR
    from decomr_core.uv.uv_map import load_uv_map

    body = load_body()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return DecoMR(network_config(preset), body, load_uv_map(body=body)).eval()


if __name__ == '__main__':
    values = json.loads(sys.argv[1])
    print(json.dumps(measure(NetworkCase(**{**values, 'batches': tuple(values['batches'])}))))
