"""What the bus counts of a job beside that it was done: what a container used, what a scan found, what was freed. Pure.

Containers that live for a second are what no scraper sees; their use is in the result of their job.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from dockbus.jobs import CleanupResult, ResultModel, Run, RunResult, ScanResult, Spec
from dockbus.tally import observation, sample

PEAKS = tuple(str(2**power) for power in range(23, 36))
"""Upper bounds of the buckets for the most memory a container had: 8 MiB to 32 GiB, in bytes."""


def measures(spec: Spec, result: ResultModel) -> Mapping[str, float]:
    """How far each sample of the tally is to be raised for a job that came to this result."""
    if isinstance(spec, Run) and isinstance(result, RunResult):
        return _of_run(spec, result) if spec.mode == "task" else {}
    if isinstance(result, ScanResult) and result.image:
        return {sample("dockbus_scans_total", verdict=result.verdict): 1}
    if isinstance(result, CleanupResult) and not result.dry_run:
        return _of_cleanup(result)
    return {}


def _of_run(spec: Run, result: RunResult) -> Mapping[str, float]:
    runs = sample("dockbus_runs_total", image=spec.image, exit_code=str(result.exit_code))
    counts: dict[str, float] = {runs: 1}
    usage = result.usage
    if usage is None:
        return counts
    used = {
        "cpu_seconds": usage.cpu_seconds,
        "network_receive_bytes": usage.rx_bytes,
        "network_transmit_bytes": usage.tx_bytes,
        "read_bytes": usage.read_bytes,
        "write_bytes": usage.write_bytes,
    }
    for what, value in used.items():
        if value is not None:
            counts[sample(f"dockbus_run_{what}_total", image=spec.image)] = value
    if usage.memory_peak is not None:
        counts |= observation("dockbus_run_memory_peak_bytes", usage.memory_peak, PEAKS)
    return counts


def _of_cleanup(result: CleanupResult) -> Mapping[str, float]:
    counts: Counter[str] = Counter()
    for item in result.items:
        if item.outcome != "skipped":
            counts[sample("dockbus_cleanup_removed_total", what=item.type)] += 1
            counts[sample("dockbus_cleanup_reclaimed_bytes_total", what=item.type)] += item.size
    return counts
