"""Scan: look for what is wrong with an image, and judge it."""

from __future__ import annotations

from dockbus.jobs import Scan, ScanResult
from dockbus_workers.context import JobContext
from dockbus_workers.scanning import scan_image


def scan(spec: Scan, ctx: JobContext) -> ScanResult:
    """Carry out a scan job.

    Raises:
        DockbusError: as `scan_image`.
    """
    return scan_image(ctx, spec)
