"""The result of a scan job, put together from what was found and how it was judged. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime

from dockbus.engine import Image
from dockbus.jobs.gate import Gate, ScannerName, Severity
from dockbus.jobs.scan import INLINE, ScanResult
from dockbus_workers.scanning import report
from dockbus_workers.scanning.judgement import count, judge
from dockbus_workers.scanning.report import Finding, Findings
from dockbus_workers.scanning.scanner import Scanned
from dockbus_workers.scanning.vex import Vex


def make(
    image: Image,
    scanned: Scanned,
    gate: Gate,
    *,
    named: str,
    wanted: AbstractSet[ScannerName],
    vex: Vex | None,
    now: datetime,
    cached: bool,
) -> ScanResult:
    """The result, without artefacts.

    Args:
        image: what the Engine says of the image.
        scanned: the scan; it may have looked for more than is wanted.
        gate: what the image may have.
        named: the image as the job named it.
        wanted: what is to be in the result.
        vex: the document that the gate names.
        now: the time.
        cached: whether the scan was another job's.
    """
    found = _only(report.parse(report.load(scanned.report)), wanted)
    judged = judge(found, gate, today=now.date(), vex=vex, images=(*image.tags, *image.digests))
    found = judged.counting
    lists: dict[ScannerName, Sequence[Finding]] = {
        "vuln": found.vulnerabilities,
        "secret": found.secrets,
        "misconfig": found.misconfigurations,
        "license": found.licenses,
    }
    totals: dict[ScannerName, int] = {
        name: len(those) for name, those in lists.items() if name in wanted
    }
    return ScanResult(
        image=named,
        image_id=image.id,
        os=found.os,
        verdict=judged.verdict,
        reasons=judged.reasons,
        counts=count(found.vulnerabilities),
        totals=totals,
        vulnerabilities=found.vulnerabilities[:INLINE],
        secrets=found.secrets[:INLINE],
        misconfigurations=found.misconfigurations[:INLINE],
        licenses=found.licenses[:INLINE],
        suppressed=judged.suppressed[:INLINE],
        expired=judged.expired,
        truncated=max(*totals.values(), len(judged.suppressed)) > INLINE,
        scanner=scanned.scanner,
        scanned=scanned.at,
        cached=cached,
        database=scanned.database,
        database_age=_age(scanned.database, now),
    )


def of_update(scanner: str, made: datetime, now: datetime) -> ScanResult:
    """The result of a job that only updated the database."""
    return ScanResult(
        image=None,
        image_id=None,
        verdict="reported",
        counts=dict.fromkeys(Severity, 0),
        vulnerabilities=[],
        scanner=scanner,
        database=made,
        database_age=_age(made, now),
    )


def summary(result: ScanResult) -> str:
    """What was found, in one line."""
    counts = [f"{result.counts[level]} {level}" for level in reversed(Severity)]
    others = [f"{number} {name}" for name, number in result.totals.items() if name != "vuln"]
    held = [f"{len(result.suppressed)} suppressed"] if result.suppressed else []
    return ", ".join([*(counts if "vuln" in result.totals else []), *others, *held])


def _only(found: Findings, wanted: AbstractSet[ScannerName]) -> Findings:
    return replace(
        found,
        vulnerabilities=found.vulnerabilities if "vuln" in wanted else [],
        secrets=found.secrets if "secret" in wanted else [],
        misconfigurations=found.misconfigurations if "misconfig" in wanted else [],
        licenses=found.licenses if "license" in wanted else [],
    )


def _age(made: datetime | None, now: datetime) -> float | None:
    return (now - made).total_seconds() if made else None
