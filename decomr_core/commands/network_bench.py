"""`decomr bench --batch`: times networks in runtimes on this machine.

Each combination of runtime and preset is measured in two child processes. The first starts with
an empty cache, so its first result includes the export. The second uses the filled cache and
measures first result, latencies and memory.
"""

from __future__ import annotations

import functools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from decomr_core.base.config import PRESETS, network_config
from decomr_core.base.structures import person_or_people
from decomr_core.commands.bench import WARM_UP, measured_on
from decomr_core.estimation.loading import load_runtime
from decomr_core.runtimes import RUNTIMES, check_runtime

__all__ = ['bench_networks', 'bench_table', 'gflop_of', 'latency_row', 'peak_gflops', 'untrained']

KIB_PER_MIB = 1024
PEAK_SIZE, PEAK_REPEATS = 2048, 8
MAX_CHILD_S = 900


@dataclass(frozen=True)
class NetworkCase:
    """The case that one process measures.

    Attributes:
        runtime: a name in `RUNTIMES`.
        weights: a shipped network by name, or a file.
        batches: batch sizes, people.
        repeats: timed runs per batch size.
        threads: CPU threads; 0: all.
        precision: precision option of the runtime; empty: the runtime's default.
    """

    runtime: str
    weights: str
    batches: tuple[int, ...]
    repeats: int
    threads: int = 0
    precision: str = ''


def bench_networks(
    runtimes: Sequence[str],
    presets: Sequence[str] = ('rt',),
    batches: Sequence[int] = (1,),
    repeats: int = 50,
    threads: int = 0,
    report: Callable[[str], object] = lambda text: None,
) -> dict[str, Any]:
    """Times networks in runtimes, each combination in child processes.

    Args:
        runtimes: names of installed `RUNTIMES`, optionally with a precision, as `openvino:fp16`.
        presets: `rt` uses the shipped weights, other presets random weights of equal cost; or
            weights files.
        batches: batch sizes, people.
        repeats: timed runs per batch size, after some untimed ones.
        threads: CPU threads; 0: all.
        report: called with one line per finished combination. Ctrl-C after the first combination
            ends the measurement and keeps the results.

    Returns:
        `results`, one dict per runtime, preset and batch: latencies in ms (median, p90, p99),
        people per second, time to the first result with an empty and with a filled cache, memory
        of the process in MiB, GFLOP and share of the peak of its precision; `peak_gflops` by
        precision; hardware, versions and date; `problems`, texts about missing measurements.

    Raises:
        ValueError: a number is not positive, or a runtime or a preset is unknown.
        RuntimeError: a runtime is not installed, or a measurement failed.
    """
    if repeats < 1 or not batches or min(batches) < 1:
        raise ValueError('repeats and batches must be at least 1')
    for name in runtimes:
        check_runtime(name.partition(':')[0])
    peaks, results, finished = {'f32': peak_gflops()}, [], 0
    interrupted: list[str] = []
    with tempfile.TemporaryDirectory(prefix='decomr-bench-') as folder:
        try:
            for preset in presets:
                weights, gflop = _weights_of(preset, Path(folder)), gflop_of(preset)
                for name in runtimes:
                    runtime, _, precision = name.partition(':')
                    case = NetworkCase(
                        runtime, weights, tuple(batches), repeats, threads, precision
                    )
                    rows = _measured(
                        case,
                        Path(folder) / f'{name}-{Path(preset).stem}',
                        _name_of(preset),
                        gflop,
                        peaks,
                    )
                    results += rows
                    finished += 1
                    report(_row_text(rows))
        except KeyboardInterrupt:
            if not results:
                raise
            interrupted = [
                f'interrupted: {finished} of {len(presets) * len(runtimes)} '
                'combinations of runtime and network were measured'
            ]
    names = [name.partition(':')[0] for name in runtimes]
    packages = {name: RUNTIMES[name][0] for name in names} | {'torch': 'torch'}
    return {
        'results': results,
        'problems': interrupted,
        'repeats': repeats,
        'peak_gflops': {name: round(peak, 1) for name, peak in peaks.items()},
        'threads': threads or len(os.sched_getaffinity(0)),
        **measured_on(packages),
    }


def _measured(
    case: NetworkCase, cache: Path, preset: str, gflop: float, peaks: dict[str, float]
) -> list[dict[str, Any]]:
    """The rows of one runtime and preset; adds the peak of its precision to `peaks` if new."""
    cold = _measure_in_child(replace(case, batches=(1,), repeats=1), cache)
    cached = _measure_in_child(case, cache)
    precision = cached['precision']
    if precision not in peaks:
        peaks[precision] = peak_gflops(precision)
    fixed = {
        'runtime': case.runtime,
        'preset': preset,
        'precision': precision,
        'first_result_cold_s': cold['first_result_s'],
        'first_result_cached_s': cached['first_result_s'],
        'memory_mib': cached['memory_mib'],
        'gflop': round(gflop, 2),
    }
    return [
        {**fixed, **row, 'share_of_peak': round(gflop * row['people_per_s'] / peaks[precision], 3)}
        for row in cached['batches']
    ]


def _row_text(rows: list[dict[str, Any]]) -> str:
    """The progress line of a measured combination."""
    first = rows[0]
    times = ', '.join(f'{row["median_ms"]:.2f} ms for {row["batch"]}' for row in rows)
    return (
        f'bench: {first["preset"]} in {first["runtime"]} {first["precision"]}: {times} '
        f'{person_or_people(rows[-1]["batch"])}'
    )


def bench_table(report: dict[str, Any]) -> str:
    """The report of `bench_networks` as a Markdown table."""
    lines = [
        '| preset | runtime | people | median, ms | p90 | p99 | people/s | first result, s: '
        'new, cached | memory, MiB | of peak |',
        '|---|---|' + '--:|' * 8,
    ]
    for row in report['results']:
        lines.append(
            f'| `{row["preset"]}` | {row["runtime"]} {row["precision"]} | {row["batch"]} '
            f'| {row["median_ms"]:.2f} | {row["p90_ms"]:.2f} | {row["p99_ms"]:.2f} '
            f'| {row["people_per_s"]:.0f} | {row["first_result_cold_s"]:.1f}, '
            f'{row["first_result_cached_s"]:.1f} | {row["memory_mib"]:.0f} '
            f'| {100 * row["share_of_peak"]:.0f} % |'
        )
    if problems := report.get('problems'):  # older results lack this key
        lines += ['', *problems]
    hardware = report['hardware']
    versions = ', '.join(f'{name} {version}' for name, version in report['versions'].items())
    peaks = ', '.join(f'{peak:.0f} in {name}' for name, peak in report['peak_gflops'].items())
    return '\n'.join(
        [
            *lines,
            '',
            f'{report["threads"]} threads on {hardware["cpus"]} cores of '
            f'{hardware["cpu"]} (peak GFLOP/s of a matrix product: {peaks}), '
            f'load {hardware["load_before"]:.1f} before; '
            f'{versions}; {report["date"]}.',
        ]
    )


def peak_gflops(precision: str = 'f32') -> float:
    """The best rate of some large matrix products on this CPU, GFLOP/s."""
    import torch

    kind = {'fp16': torch.float16, 'bf16': torch.bfloat16}.get(precision, torch.float32)
    left, right = torch.rand(2, PEAK_SIZE, PEAK_SIZE).to(kind).unbind()
    best = float('inf')
    for _ in range(PEAK_REPEATS):
        start = time.perf_counter()
        torch.mm(left, right)
        best = min(best, time.perf_counter() - start)
    return 2 * PEAK_SIZE**3 / best / 1e9


def gflop_of(preset: str) -> float:
    """Multiplications and additions in convolutions and matrix products per person, 1e9.

    Args:
        preset: a preset, or a weights file.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    network = untrained(_name_of(preset)).requires_grad_(False)  # weights that layers share
    size = network.config.crop_size
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, size, size))
    return counter.get_total_flops() / 1e9


def measure(case: NetworkCase) -> dict[str, Any]:
    """Measures one case in this process; see `bench_networks`."""
    start = time.perf_counter()
    options = {'precision': case.precision} if case.precision else {}
    runtime = load_runtime(case.runtime, case.weights, num_threads=case.threads, **options)
    size = runtime.crop_size
    crops = np.random.default_rng(0).integers(
        0, 256, (max(case.batches), size, size, 3), dtype=np.uint8
    )
    runtime.run(crops[:1])
    first_result_s = time.perf_counter() - start
    rows = [
        latency_row(functools.partial(runtime.run, crops[:batch]), batch, case.repeats)
        for batch in case.batches
    ]
    return {
        'batches': rows,
        'first_result_s': round(first_result_s, 2),
        'memory_mib': round(_peak_memory_mib()),
        'precision': runtime.precision,
    }


def latency_row(
    run: Callable[[], object], batch: int, repeats: int, warm_up: int = WARM_UP, digits: int = 3
) -> dict[str, float]:
    """Measures the wall-clock latency of a function.

    Args:
        run: processes one batch and waits for the result.
        batch: people per batch.
        repeats: timed runs.
        warm_up: untimed runs before them.
        digits: decimal places of the times, ms.

    Returns:
        batch; median, p90 and p99 in ms; people per second.
    """
    times_ms = []
    for _ in range(warm_up + repeats):
        start = time.perf_counter()
        run()
        times_ms.append((time.perf_counter() - start) * 1e3)
    median, p90, p99 = np.percentile(times_ms[warm_up:], (50, 90, 99))
    return {
        'batch': batch,
        'median_ms': round(median, digits),
        'p90_ms': round(p90, digits),
        'p99_ms': round(p99, digits),
        'people_per_s': round(1e3 * batch / median, 1),
    }


def _peak_memory_mib() -> float:
    """The peak memory of this process, MiB."""
    status = Path('/proc/self/status')
    if status.is_file():  # getrusage would include the memory of the process before exec
        kib = [
            line.split()[1] for line in status.read_text().splitlines() if line.startswith('VmHWM')
        ]
        if kib:
            return int(kib[0]) / KIB_PER_MIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_MIB


def _measure_in_child(case: NetworkCase, cache: Path) -> dict[str, Any]:
    """The result of `measure` in a child process with the given cache folder."""
    command = [
        sys.executable,
        '-m',
        'decomr_core.commands.network_bench',
        json.dumps(asdict(case)),
    ]
    done = subprocess.run(
        command,
        env={**os.environ, 'DECOMR_CACHE': str(cache)},
        text=True,
        capture_output=True,
        timeout=MAX_CHILD_S,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ['no message'])[-1]
        raise RuntimeError(
            f'{case.runtime} with {Path(case.weights).name} could not be measured '
            f'(exit code {done.returncode}): {last}'
        )
    return json.loads(done.stdout.splitlines()[-1])


def _weights_of(preset: str, folder: Path) -> str:
    """Weights of a preset: shipped ones, a given file, or random ones in a new file."""
    if preset == 'rt' or preset not in PRESETS:
        return preset
    from decomr_core.networks.checkpoint import save_checkpoint

    path = folder / f'{preset}.safetensors'
    save_checkpoint(path, untrained(preset), {})
    return str(path)


def _name_of(preset: str) -> str:
    """The preset of a network, given by name or weights file."""
    if preset in PRESETS:
        return preset
    from decomr_core.networks.checkpoint import read_metadata

    return read_metadata(preset)['config']['preset']


def untrained(preset: str) -> Any:
    """A network of a preset with random weights, in eval mode."""
    import torch

    from decomr_core.body_models import load_body
    from decomr_core.networks.decomr import DecoMR
    from decomr_core.uv.uv_map import load_uv_map

    body = load_body()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return DecoMR(network_config(preset), body, load_uv_map(body=body)).eval()


def _main(text: str) -> int:
    """Measures a case given as JSON; an error is one line on stderr and exit code 2."""
    values = json.loads(text)
    try:
        found = measure(NetworkCase(**{**values, 'batches': tuple(values['batches'])}))
    except (ValueError, RuntimeError, OSError, ImportError) as error:
        sys.stderr.write(f'{" ".join(str(error).split())}\n')
        return 2
    sys.stdout.write(json.dumps(found) + '\n')
    return 0


if __name__ == '__main__':
    raise SystemExit(_main(sys.argv[1]))
