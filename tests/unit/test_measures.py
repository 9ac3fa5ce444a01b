"""What the bus counts of a job's result."""

from __future__ import annotations

from typing import Any

from dockbus.jobs import Cleanup, CleanupResult, Run, RunResult, Scan, ScanResult
from dockbus.jobs.cleanup import CleanupItem, Leftover
from dockbus.jobs.run import Usage
from dockbus_workers.measures import measures

RESULT = RunResult(
    exit_code=3, oom_killed=False, duration=1.0, container_id="c" * 64, image_id="sha256:1"
)
USAGE = Usage(
    source="cgroup",
    cpu_seconds=1.5,
    memory_peak=100 * 1024**2,
    rx_bytes=0,
    tx_bytes=7,
    read_bytes=8,
)


def test_a_task_counts_with_what_its_container_used() -> None:
    counts = measures(Run(image="app:1"), RESULT.model_copy(update={"usage": USAGE}))

    assert counts == {
        'dockbus_runs_total{image="app:1",exit_code="3"}': 1,
        'dockbus_run_cpu_seconds_total{image="app:1"}': 1.5,
        'dockbus_run_network_receive_bytes_total{image="app:1"}': 0,
        'dockbus_run_network_transmit_bytes_total{image="app:1"}': 7,
        'dockbus_run_read_bytes_total{image="app:1"}': 8,
        'dockbus_run_memory_peak_bytes_bucket{le="134217728"}': 1,
        "dockbus_run_memory_peak_bytes_sum": 100 * 1024**2,
    }


def test_a_service_has_not_been_measured() -> None:
    assert measures(Run(image="app:1", mode="service"), RESULT) == {}


def test_scans_count_by_their_verdict() -> None:
    facts: dict[str, Any] = {"image": "app:1", "verdict": "failed"}
    result = ScanResult.model_construct(**facts)

    assert measures(Scan(image="app:1"), result) == {'dockbus_scans_total{verdict="failed"}': 1}
    updated = result.model_copy(update={"image": None})
    assert measures(Scan(image="app:1"), updated) == {}


def item(type_: Leftover, size: int, outcome: str = "removed") -> CleanupItem:
    return CleanupItem.model_validate(
        {"type": type_, "id": "x", "name": "x", "size": size, "outcome": outcome}
    )


def test_a_cleanup_counts_what_it_removed() -> None:
    items = [item("image", 5), item("image", 6), item("volume", 0), item("image", 9, "skipped")]
    result = CleanupResult(dry_run=False, items=items, reclaimed=11)

    assert measures(Cleanup(), result) == {
        'dockbus_cleanup_removed_total{what="image"}': 2,
        'dockbus_cleanup_reclaimed_bytes_total{what="image"}': 11,
        'dockbus_cleanup_removed_total{what="volume"}': 1,
        'dockbus_cleanup_reclaimed_bytes_total{what="volume"}': 0,
    }
    assert measures(Cleanup(), result.model_copy(update={"dry_run": True})) == {}
