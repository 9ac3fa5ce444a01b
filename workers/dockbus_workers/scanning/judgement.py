"""The judgement on findings: which count, which do not and why, and whether the image passes its gate.

Pure: the findings, the gate, the day and the image's names go in. So a remembered scan is judged anew by
each job's own gate, and on its own day.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal, TypeVar

from dockbus.jobs.gate import Gate, Ignore, ScannerName, Severity
from dockbus.jobs.scan import ImageOS, Suppressed, Vulnerability
from dockbus_workers.scanning.report import Finding, Findings, subject
from dockbus_workers.scanning.vex import Vex

F = TypeVar("F", bound=Finding)


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What counts, and what follows from it."""

    counting: Findings
    suppressed: list[Suppressed]
    expired: list[str]
    """IDs of entries of `ignore` that no longer hold."""
    reasons: list[str]
    """Why the image does not pass; none if it does."""
    verdict: Literal["passed", "failed", "reported"]


def judge(
    findings: Findings,
    gate: Gate,
    *,
    today: date,
    vex: Vex | None = None,
    images: Sequence[str] = (),
) -> Judgement:
    """The judgement by this gate.

    Args:
        findings: what was found.
        gate: what the image may have.
        today: decides which entries of `ignore` have expired.
        vex: the document that `gate.vex` names.
        images: the image's names, `repository:tag` and `repository@digest`, which VEX statements may go by.
    """
    sieve = _Sieve(gate, today, vex, images)
    counting = replace(
        findings,
        vulnerabilities=sieve.pass_on("vuln", findings.vulnerabilities),
        secrets=sieve.pass_on("secret", findings.secrets),
        misconfigurations=sieve.pass_on("misconfig", findings.misconfigurations),
        licenses=sieve.pass_on("license", findings.licenses),
    )
    reasons = _reasons(counting, gate)
    passed: Literal["passed", "reported"] = "passed" if gate.has_rules else "reported"
    return Judgement(
        counting=counting,
        suppressed=sieve.suppressed,
        expired=[entry.id for entry in gate.ignore if _is_over(entry, today)],
        reasons=reasons,
        verdict="failed" if reasons else passed,
    )


def count(vulnerabilities: list[Vulnerability]) -> dict[Severity, int]:
    """How many there are of each severity."""
    counts = Counter(found.severity for found in vulnerabilities)
    return {level: counts[level] for level in Severity}


class _Sieve:
    """Holds back what does not count."""

    def __init__(self, gate: Gate, today: date, vex: Vex | None, images: Sequence[str]) -> None:
        self.suppressed: list[Suppressed] = []
        self._gate = gate
        self._ignore = [entry for entry in gate.ignore if not _is_over(entry, today)]
        self._vex = vex
        self._images = images

    def pass_on(self, scanner: ScannerName, findings: list[F]) -> list[F]:
        passed: list[F] = []
        for found in findings:
            held = self._held(found)
            if held is None:
                passed.append(found)
                continue
            by, reason = held
            self.suppressed.append(
                Suppressed(
                    scanner=scanner,
                    id=found.id,
                    severity=found.severity,
                    subject=subject(found),
                    by=by,
                    reason=reason,
                )
            )
        return passed

    def _held(self, found: Finding) -> tuple[Literal["ignore", "vex", "unfixed"], str] | None:
        """What holds it back, and why."""
        entry = next((entry for entry in self._ignore if _covers(entry, found)), None)
        if entry:
            return "ignore", entry.reason
        if not isinstance(found, Vulnerability):
            return None
        statement = self._vex.verdict(found, self._images) if self._vex else None
        if statement:
            return "vex", statement.reason
        if self._gate.ignore_unfixed and not found.fixed:
            return "unfixed", f"no version fixes it ({found.status or 'status unknown'})"
        return None


def _is_over(entry: Ignore, today: date) -> bool:
    return entry.expires is not None and today > entry.expires


def _covers(entry: Ignore, found: Finding) -> bool:
    return (
        entry.id == found.id
        and entry.package in (None, getattr(found, "package", None))
        and entry.path in (None, found.path)
    )


def _reasons(found: Findings, gate: Gate) -> list[str]:
    reasons = [
        *_too_bad("vulnerabilities", found.vulnerabilities, gate.fail_on),
        *_too_many(found.vulnerabilities, gate.max_counts),
        *_too_bad("misconfigurations", found.misconfigurations, gate.fail_on_misconfigurations),
        *_too_bad("licences", found.licenses, gate.fail_on_licenses),
    ]
    if gate.fail_on_secrets and found.secrets:
        reasons.append(f"secrets: {len(found.secrets)}")
    if gate.fail_on_eol and found.os and found.os.eosl:
        reasons.append(f"{_name(found.os)} gets no more updates")
    return reasons


def _too_bad(what: str, found: Sequence[Finding], limit: Severity | None) -> list[str]:
    bad = [one for one in found if limit is not None and one.severity.rank >= limit.rank]
    return [f"{what} that are {limit} or worse: {len(bad)}"] if bad else []


def _too_many(found: list[Vulnerability], most: dict[Severity, int]) -> list[str]:
    counts = count(found)
    return [
        f"vulnerabilities that are {level}: {counts[level]}, and {limit} may be"
        for level, limit in most.items()
        if counts[level] > limit
    ]


def _name(os: ImageOS) -> str:
    return f"{os.family} {os.name}".strip()
