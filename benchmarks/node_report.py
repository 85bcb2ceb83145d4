"""Evaluates the records of a node benchmark, independent of ROS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ['latency_report', 'people_report', 'soak_report', 'transport_report']

# Columns of the listener's records, ns.
STAMP, PUBLISHED, RECEIVED, SEEN = range(4)
NS_PER_MS = 1e6
# The first messages are affected by cold caches and incomplete discovery.
WARM_UP_FRAMES = 10
# Share of a soak test that is not evaluated, while buffers and memory pools grow.
WARM_UP_SHARE = 0.25
WARM_UP_MAX_S = 60.0


def transport_report(images: np.ndarray) -> dict[str, Any]:
    """Latency of images from the camera to a Python subscriber, without the node.

    Args:
        images: (N, 4) int64, the listener's records, ns.
    """
    images = images[WARM_UP_FRAMES:]
    return {
        'frames': len(images),
        'to_process_ms': _percentiles(images[:, RECEIVED] - images[:, STAMP]),
        'to_callback_ms': _percentiles(images[:, SEEN] - images[:, STAMP]),
    }


def latency_report(
    published: dict[str, Any], records: dict[str, Any], trace: dict[str, Any]
) -> dict[str, Any]:
    """Latency of each stage, and counts of all frames.

    Args:
        published: the camera's report.
        records: the listener's records.
        trace: the node's records: times of its estimates.
    """
    meshes = records['human_meshes'][WARM_UP_FRAMES:]
    # A message contains the last estimate that ended before its publication.
    index = np.searchsorted(trace['ended'], meshes[:, PUBLISHED], side='right') - 1
    stages = [trace['stages'][which] for which in index]
    network_ns = np.array([stage.get('network', 0.0) for stage in stages]) * NS_PER_MS
    latency_ns = meshes[:, PUBLISHED] - meshes[:, STAMP]
    report: dict[str, Any] = {
        **published,
        **_counts(records, published['frames_published']),
        'stamp_to_publish_ms': _percentiles(latency_ns),
        'network_ms': _percentiles(network_ns),
        'outside_network_ms': _percentiles(latency_ns - network_ns),
        'where_ms': {
            'stamp_to_estimate': _percentiles(trace['started'][index] - meshes[:, STAMP]),
            **{
                name: _percentiles(
                    np.array([stage.get(name, 0.0) for stage in stages]) * NS_PER_MS
                )
                for name in stages[-1]
                if name != 'network'
            },
            'estimate_to_publish': _percentiles(meshes[:, PUBLISHED] - trace['ended'][index]),
        },
        'publish_to_subscriber_ms': _percentiles(meshes[:, RECEIVED] - meshes[:, PUBLISHED]),
    }
    if len(records.get('markers', ())):
        markers = records['markers']
        network_of = dict(zip(meshes[:, STAMP].tolist(), network_ns.tolist(), strict=True))
        both = [row for row in markers if int(row[STAMP]) in network_of]
        report['markers_outside_network_ms'] = _percentiles(
            np.array([row[PUBLISHED] - row[STAMP] - network_of[int(row[STAMP])] for row in both])
        )
    return report


def people_report(records: dict[str, Any], people: int) -> dict[str, Any]:
    """Whether every person has an id and keeps it.

    Args:
        records: the listener's records, with ids.
        people: number of people in the image.
    """
    # There are no people until the background detector has returned its first result.
    ids = records['ids'][WARM_UP_FRAMES:]
    is_complete = [len(set(row)) == people and min(row) >= 0 for row in ids]
    return {
        'people': people,
        'messages': len(ids),
        'with_everybody': sum(is_complete),
        'different_ids': len({number for row in ids for number in row}),
    }


def soak_report(
    published: dict[str, Any], records: dict[str, Any], samples: Sequence[dict[str, float]]
) -> dict[str, Any]:
    """Growth of memory, latency, threads and open files.

    Args:
        published: the camera's report.
        records: the listener's records.
        samples: of the node's memory, threads and files, with their times. `own_memory_mib`
            excludes shared memory, such as the camera's buffers and the code of libraries.
    """
    end_s = samples[-1]['seconds']
    warm_s = min(WARM_UP_SHARE * end_s, WARM_UP_MAX_S)
    evaluated = [sample for sample in samples if sample['seconds'] >= warm_s]
    times_s = [sample['seconds'] for sample in evaluated]
    meshes = records['human_meshes']
    since_s = (meshes[:, STAMP] - meshes[0, STAMP]) / 1e9
    meshes, since_s = meshes[since_s >= warm_s], since_s[since_s >= warm_s]
    latency_ms = (meshes[:, PUBLISHED] - meshes[:, STAMP]) / NS_PER_MS
    half = len(latency_ms) // 2
    return {
        **published,
        **_counts(records, published['frames_published']),
        'warm_up_s': warm_s,
        **{
            name: _growth(times_s, np.array([sample[name] for sample in evaluated]))
            for name in ('memory_mib', 'own_memory_mib')
        },
        'stamp_to_publish_ms': _percentiles(latency_ms * NS_PER_MS),
        'latency_ms_per_hour': round(_slope(since_s, latency_ms) * 3600, 3),
        'latency_p50_halves_ms': [
            round(float(np.median(part)), 2) for part in (latency_ms[:half], latency_ms[half:])
        ],
        **{
            name: {
                'first': evaluated[0][name],
                'last': evaluated[-1][name],
                'most': max(sample[name] for sample in evaluated),
            }
            for name in ('threads', 'files')
        },
        'people_seen': _people_seen(records),
    }


def _growth(times_s: Sequence[float], memory_mib: np.ndarray) -> dict[str, float]:
    """Change of memory (N,) over time."""
    return {
        'first': memory_mib[0],
        'last': memory_mib[-1],
        'most': memory_mib.max(),
        'spread_percent': round(100 * np.ptp(memory_mib) / memory_mib[0], 2),
        'per_hour': round(_slope(times_s, memory_mib) * 3600, 2),
    }


def _counts(records: dict[str, Any], published: int) -> dict[str, int]:
    """The node's counts of frames, and the number of frames that they do not account for."""
    values = next(
        values for _, values in reversed(records['diagnostics']) if 'frames_received' in values
    )
    received, skipped, failed, made = (
        int(values[name])
        for name in (
            'frames_received',
            'frames_skipped_for_newer',
            'frames_failed',
            'meshes_published',
        )
    )
    return {
        'frames_received': received,
        'frames_lost_in_transport': published - received,
        'frames_skipped_for_newer': skipped,
        'frames_failed': failed,
        'meshes_published': made,
        'frames_unexplained': received - skipped - failed - made,
        'meshes_heard': len(records['human_meshes']),
    }


def _people_seen(records: dict[str, Any]) -> dict[str, int]:
    """Largest number of people and number of its changes, from the node's status."""
    people = [int(values['people']) for _, values in records['diagnostics'] if 'people' in values]
    return {'most': max(people, default=0), 'changes': int(np.count_nonzero(np.diff(people)))}


def _percentiles(times_ns: np.ndarray) -> dict[str, float]:
    """Percentiles of times (N,) ns, in ms."""
    return {
        name: round(float(np.percentile(times_ns, share)) / NS_PER_MS, 2)
        if len(times_ns)
        else float('nan')
        for name, share in (('p50', 50), ('p90', 90), ('p99', 99))
    }


def _slope(seconds: Sequence[float], values: np.ndarray) -> float:
    """Slope of the linear fit to the values, per second."""
    return float(np.polyfit(seconds, values, 1)[0]) if len(values) > 1 else 0.0
