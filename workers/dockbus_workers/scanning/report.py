"""The scanner's report: Trivy's JSON (schema version 2), scrubbed, and read into findings.

The report is kept and handed out, so what the image's configuration holds in the clear (variables, the
commands it was built with) is taken out of it: a token in a variable is a finding, not something to pass on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dockbus.errors import ScanFailed
from dockbus.jobs.gate import Severity
from dockbus.jobs.scan import ImageOS, License, Misconfiguration, Secret, Vulnerability

Json = dict[str, Any]

Finding = Vulnerability | Secret | Misconfiguration | License


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All that a report says, worst first."""

    os: ImageOS | None
    vulnerabilities: list[Vulnerability]
    secrets: list[Secret]
    misconfigurations: list[Misconfiguration]
    licenses: list[License]


def load(output: str | bytes) -> Json:
    """The report in this text.

    Raises:
        ScanFailed: there is none.
    """
    try:
        report = json.loads(output)
    except ValueError:
        raise ScanFailed(f"it printed no JSON but {output[:100]!r}") from None
    if not isinstance(report, dict) or report.get("SchemaVersion", 2) != 2:  # pyright: ignore[reportUnknownMemberType]
        raise ScanFailed("its report is of a version that dockbus does not know")
    return report  # pyright: ignore[reportUnknownVariableType]


def scrub(report: Json) -> Json:
    """The same report without what the image's configuration holds in the clear."""
    kept: Json = _without_commands(report)
    kept.get("Metadata", {}).pop("ImageConfig", None)
    for part in kept.get("Results") or ():
        for found in part.get("Misconfigurations") or ():
            found.get("CauseMetadata", {}).pop("Code", None)
    return kept


def _without_commands(value: Any) -> Any:  # noqa: ANN401  any JSON
    if isinstance(value, dict):
        items: Json = value  # pyright: ignore[reportUnknownVariableType]
        return {key: _without_commands(item) for key, item in items.items() if key != "CreatedBy"}
    if isinstance(value, list):
        return [_without_commands(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def parse(report: Json) -> Findings:
    """The findings in a report."""
    return Findings(
        os=_os(_inner(_inner(report, "Metadata"), "OS")),
        vulnerabilities=sorted(_vulnerabilities(report), key=_worst_first),
        secrets=sorted(_secrets(report), key=_worst_first),
        misconfigurations=sorted(_misconfigurations(report), key=_worst_first),
        licenses=sorted(_licenses(report), key=_worst_first),
    )


def subject(found: Finding) -> str:
    """The package or file that it was found in."""
    return getattr(found, "package", "") or found.path


def _worst_first(found: Finding) -> tuple[int, str, str]:
    return -found.severity.rank, subject(found), found.id


def _os(raw: Json) -> ImageOS | None:
    if not raw.get("Family"):
        return None
    return ImageOS(family=raw["Family"], name=raw.get("Name", ""), eosl=raw.get("EOSL", False))


def _inner(raw: Json, key: str) -> Json:
    return raw.get(key) or {}


def _each(report: Json, key: str) -> Iterator[tuple[Json, Json]]:
    """Each entry under `key`, with the part of the report it is in."""
    for part in report.get("Results") or ():
        for raw in part.get(key) or ():
            yield part, raw


def _severity(raw: Json) -> Severity:
    return Severity.__members__.get(raw.get("Severity", ""), Severity.UNKNOWN)


def _vulnerabilities(report: Json) -> Iterator[Vulnerability]:
    for _, raw in _each(report, "Vulnerabilities"):
        yield Vulnerability(
            id=raw["VulnerabilityID"],
            package=raw.get("PkgName", ""),
            installed=raw.get("InstalledVersion", ""),
            fixed=raw.get("FixedVersion") or None,
            severity=_severity(raw),
            title=raw.get("Title", ""),
            status=raw.get("Status", ""),
            purl=_inner(raw, "PkgIdentifier").get("PURL", ""),
            path=raw.get("PkgPath", ""),
        )


def _secrets(report: Json) -> Iterator[Secret]:
    for part, raw in _each(report, "Secrets"):
        yield Secret(
            id=raw["RuleID"],
            severity=_severity(raw),
            title=raw.get("Title", ""),
            path=part.get("Target", ""),
            line=raw.get("StartLine", 0),
            match=raw.get("Match", ""),
            layer=_inner(raw, "Layer").get("DiffID", ""),
        )


def _misconfigurations(report: Json) -> Iterator[Misconfiguration]:
    for part, raw in _each(report, "Misconfigurations"):
        if raw.get("Status", "FAIL") == "FAIL":
            yield Misconfiguration(
                id=raw["ID"],
                severity=_severity(raw),
                title=raw.get("Title", ""),
                message=raw.get("Message", ""),
                resolution=raw.get("Resolution", ""),
                path=part.get("Target", ""),
            )


def _licenses(report: Json) -> Iterator[License]:
    for _, raw in _each(report, "Licenses"):
        yield License(
            id=raw["Name"],
            severity=_severity(raw),
            category=raw.get("Category", "unknown"),
            package=raw.get("PkgName", ""),
            path=raw.get("FilePath", ""),
        )
