"""Scan: look for vulnerabilities, secrets, misconfigurations and licences in an image, and judge what was found."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dockbus.artefacts import Artefact
from dockbus.jobs.base import Kind, ResultModel
from dockbus.jobs.gate import Gate, ScannerName, Severity
from dockbus.references import ImageOrId

INLINE = 500
"""Most findings of a sort in a result; all of them are in the report."""


class Scan(Gate):
    """Look for what is wrong with an image that the Engine has, and judge it by the gate in the same spec."""

    kind: Literal[Kind.SCAN] = Kind.SCAN
    image: ImageOrId | None = None
    """Image to scan. It may be left out where the database is updated: then nothing else is done."""
    scanners: Annotated[list[ScannerName], Field(min_length=1)] = ["vuln"]
    """What to look for: `vuln`, `secret`, `misconfig`, `license`. What the gate needs is looked for, too."""
    sbom: Literal["cyclonedx", "spdx"] | None = None
    """Leave a list of the image's packages, `sbom.cdx.json` or `sbom.spdx.json`."""
    reports: list[Literal["json", "sarif"]] = ["json"]
    """Reports to leave: `report.json` (the scanner's own) and `report.sarif`."""
    fresh: bool = False
    """Scan also where the bus remembers a scan of the same image, with the same scanner and database."""
    database: Literal["use", "update"] = "use"
    """`update` fetches the worker's vulnerability database anew before the scan, if there is one."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.image is None and self.database != "update":
            raise ValueError("image is missing; only where database is 'update' it may be")
        return self


class Vulnerability(ResultModel):
    """This package of the image has this known weakness."""

    id: str
    """Its public name, such as `CVE-2023-5363`."""
    package: str
    installed: str
    """Version in the image."""
    fixed: str | None
    """First version without it, if there is one."""
    severity: Severity
    title: str
    status: str = ""
    """What the distribution says of it: `fixed`, `affected`, `will_not_fix`, `end_of_life`, …"""
    purl: str = ""
    """The package as a package URL, such as `pkg:deb/debian/libssl3@3.0.9-1`."""
    path: str = ""
    """The file that names the package; empty for packages of the distribution."""


class Secret(ResultModel):
    """What looks like a key or token, in a file of any layer or in the image's configuration."""

    id: str
    """The rule that found it, such as `github-pat`."""
    severity: Severity
    title: str
    path: str
    """The file; the image itself where it is in the configuration."""
    line: int
    match: str
    """The line it is in, the secret blotted out."""
    layer: str
    """Diff ID of the layer, `sha256:…`. The file may be gone in a later one."""


class Misconfiguration(ResultModel):
    """A mistake in the image's configuration."""

    id: str
    """The rule, such as `DS-0002`."""
    severity: Severity
    title: str
    message: str
    """What it is in this image."""
    resolution: str
    """What to do."""
    path: str


class License(ResultModel):
    """A licence of a package or file."""

    id: str
    """Its name, such as `GPL-3.0-only`."""
    severity: Severity
    category: str
    """`forbidden`, `restricted`, `reciprocal`, `notice`, `permissive`, `unencumbered` or `unknown`."""
    package: str
    path: str


class Suppressed(ResultModel):
    """A finding that did not count."""

    scanner: ScannerName
    id: str
    severity: Severity
    subject: str
    """The package or file it was found in."""
    by: Literal["ignore", "vex", "unfixed"]
    """What made it not count: an entry of `ignore`, a VEX statement, or `ignore_unfixed`."""
    reason: str


class ImageOS(ResultModel):
    """The distribution an image is made of."""

    family: str
    """Such as `debian`."""
    name: str
    """Its version."""
    eosl: bool
    """It gets no more updates."""


class ScanResult(ResultModel):
    """What the scanner found, and the verdict on it."""

    kind: Literal[Kind.SCAN] = Kind.SCAN
    image: str | None
    """As the job named it; none where only the database was updated."""
    image_id: str | None
    """The ID of the image that was scanned, `sha256:…`."""
    os: ImageOS | None = None
    """Its distribution, if it is made of one."""
    verdict: Literal["passed", "failed", "reported"]
    """`reported` where the spec sets no limit."""
    reasons: list[str] = []
    """Why the verdict is `failed`."""
    counts: dict[Severity, int]
    """Vulnerabilities that count, by severity; every severity has an entry."""
    totals: dict[ScannerName, int] = {}
    """Findings that count, by what was looked for."""
    vulnerabilities: list[Vulnerability]
    """Worst first."""
    secrets: list[Secret] = []
    misconfigurations: list[Misconfiguration] = []
    licenses: list[License] = []
    suppressed: list[Suppressed] = []
    """Findings that do not count, each with the reason."""
    expired: list[str] = []
    """IDs in `ignore` whose time is over, so that they count again."""
    truncated: bool = False
    """A list was cut to 500; `totals` has the number, `report.json` all of them."""
    scanner: str
    """Name and version of the scanner."""
    scanned: datetime | None = None
    """When it looked at the image; before the job's begin where `cached`."""
    cached: bool = False
    """The scan was another job's, of the same image with the same scanner and database."""
    database: datetime | None
    """When the vulnerability database was made; none where it was not needed."""
    database_age: float | None = None
    """Seconds between that and the scan's end."""
    artefacts: list[Artefact] = []
    """The reports and the SBOM that were asked for."""
