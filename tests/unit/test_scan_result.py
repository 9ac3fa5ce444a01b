"""The result of a scan: whole in its numbers and its verdict, bounded in its lists."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from dockbus import ScanResult, Severity
from dockbus.engine import Image
from dockbus.jobs import Gate, parse_result
from dockbus.jobs.gate import ScannerName
from dockbus_workers.scanning import result
from dockbus_workers.scanning.scanner import Scanned

MADE = datetime(2026, 6, 1, tzinfo=UTC)
AT = datetime(2026, 6, 2, tzinfo=UTC)
NOW = datetime(2026, 6, 3, tzinfo=UTC)
IMAGE = Image(id="sha256:" + "0" * 64, tags=("a:1",), digests=(), size=1, created=None, labels={})


def made(report: dict[str, Any], wanted: set[ScannerName], gate: Gate | None = None) -> ScanResult:
    scanned = Scanned(scanner="trivy 1", database=MADE, at=AT, report=json.dumps(report).encode())
    return result.make(
        IMAGE, scanned, gate or Gate(), named="a:1", wanted=wanted, vex=None, now=NOW, cached=True
    )


def weaknesses(number: int, severity: str) -> dict[str, Any]:
    raws = [{"VulnerabilityID": f"CVE-{n}", "Severity": severity} for n in range(number)]
    return {"Results": [{"Vulnerabilities": raws, "Secrets": [{"RuleID": "x"}]}]}


@pytest.mark.parametrize(("number", "cut"), [(500, False), (501, True)])
def test_long_lists_are_cut_but_all_is_counted_and_judged(number: int, cut: bool) -> None:
    limit = Gate(max_counts={Severity.HIGH: number - 1})

    found = made(weaknesses(number, "HIGH"), {"vuln"}, limit)

    assert (len(found.vulnerabilities), found.truncated) == (500, cut)
    assert found.totals == {"vuln": number}
    assert found.counts[Severity.HIGH] == number
    assert found.verdict == "failed"


def test_only_what_was_wanted_is_told() -> None:
    found = made(weaknesses(1, "LOW"), {"secret"})

    assert (found.vulnerabilities, found.totals) == ([], {"secret": 1})


def test_times_are_those_of_the_scan_and_of_the_database() -> None:
    found = made({}, {"vuln"})

    assert (found.scanned, found.cached, found.database) == (AT, True, MADE)
    assert found.database_age == 2 * 86400


def test_a_result_survives_the_bus() -> None:
    found = made(weaknesses(3, "LOW"), {"vuln", "secret"}, Gate(fail_on_secrets=True))

    assert parse_result(found.model_dump_json()) == found


def test_a_summary_names_each_severity_and_what_else_was_looked_for() -> None:
    found = made(weaknesses(2, "HIGH"), {"vuln", "secret"}, Gate(ignore_unfixed=True))

    assert (
        result.summary(found)
        == "0 CRITICAL, 0 HIGH, 0 MEDIUM, 0 LOW, 0 UNKNOWN, 1 secret, 2 suppressed"
    )
