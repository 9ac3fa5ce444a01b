"""Scan: look for known vulnerabilities in an image, and judge what was found."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from dockbus.jobs import Scan, ScanResult, Severity, Vulnerability
from dockbus_workers.context import JobContext
from dockbus_workers.scanner import Trivy


def scan(spec: Scan, ctx: JobContext) -> ScanResult:
    """Carry out a scan job.

    Raises:
        ImageNotFound: the Engine does not have the image.
        MissingTool: the scanner is not installed.
        ScanFailed: the scanner could not do it.
    """
    ctx.check()
    image = ctx.engine.images.get(spec.image)
    ctx.log(f"scanning {spec.image} ({image.id[7:19]})")
    report = Trivy(ctx.settings.scan).scan(image.id, ctx)
    found = [item for item in report.vulnerabilities if item.fixed or not spec.ignore_unfixed]
    found.sort(key=lambda item: (-item.severity.rank, item.package, item.id))
    counts = Counter(item.severity for item in found)
    ctx.log(", ".join(f"{counts[level]} {level.lower()}" for level in reversed(Severity)))
    return ScanResult(
        image=spec.image,
        image_id=image.id,
        verdict=judge(found, spec.fail_on),
        counts={level: counts[level] for level in Severity},
        vulnerabilities=found,
        scanner=report.scanner,
        database=report.database,
    )


def judge(
    found: list[Vulnerability], limit: Severity | None
) -> Literal["passed", "failed", "reported"]:
    """The verdict on these findings: `reported` without a limit, else `failed` if one is at least that bad."""
    if limit is None:
        return "reported"
    return "failed" if any(item.severity.rank >= limit.rank for item in found) else "passed"
