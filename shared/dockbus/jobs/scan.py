"""Scan: look for known vulnerabilities in an image."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from dockbus.jobs.base import Kind, ResultModel, SpecModel
from dockbus.references import ImageOrId


class Severity(StrEnum):
    """How bad a vulnerability is, mildest first."""

    UNKNOWN = "UNKNOWN"
    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"

    @property
    def rank(self) -> int:
        """0 for UNKNOWN to 4 for CRITICAL."""
        return list(Severity).index(self)


class Scan(SpecModel):
    """Look for known vulnerabilities in an image that the Engine has."""

    kind: Literal[Kind.SCAN] = Kind.SCAN
    image: ImageOrId
    """Image to scan."""
    ignore_unfixed: bool = False
    """Leave out what no released version fixes."""
    fail_on: Severity | None = None
    """The verdict is `failed` when a finding is at least this bad. Default: the scan only reports."""


class Vulnerability(ResultModel):
    """One finding: this package of the image has this known weakness."""

    id: str
    """Its public name, such as `CVE-2023-5363`."""
    package: str
    installed: str
    """Version in the image."""
    fixed: str | None
    """First version without it, if there is one."""
    severity: Severity
    title: str


class ScanResult(ResultModel):
    """What the scanner found."""

    kind: Literal[Kind.SCAN] = Kind.SCAN
    image: str
    image_id: str
    """The ID of the image that was scanned, `sha256:…`."""
    verdict: Literal["passed", "failed", "reported"]
    """`reported` where the spec set no limit."""
    counts: dict[Severity, int]
    """Findings by severity; every severity has an entry."""
    vulnerabilities: list[Vulnerability]
    """Worst first."""
    scanner: str
    """Name and version of the scanner."""
    database: datetime | None
    """When the vulnerability database was made."""
