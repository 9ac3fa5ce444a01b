"""Gate: what an image may have and still pass its scan.

A scan job has these fields itself, a run job as its `require_scan`. Every rule is off by default; a gate
without a rule lets everything pass. It is judged in `dockbus_workers.scanning`, never by the scanner.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, JsonValue

from dockbus.blobs import Digest
from dockbus.jobs.base import SpecModel

ScannerName = Literal["vuln", "secret", "misconfig", "license"]
"""What to look for: known vulnerabilities, secrets in files, errors in the image's configuration, licences."""


class Severity(StrEnum):
    """How bad a finding is, mildest first."""

    UNKNOWN = "UNKNOWN"
    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"

    @property
    def rank(self) -> int:
        """0 for UNKNOWN to 4 for CRITICAL."""
        return list(Severity).index(self)


def _any_case(value: object) -> object:
    return Severity.__members__.get(value.upper(), value) if isinstance(value, str) else value


AnyCaseSeverity = Annotated[
    Severity, BeforeValidator(_any_case, json_schema_input_type=Severity | str)
]
"""A severity, in capitals or not."""


class Ignore(SpecModel):
    """A finding that is known and accepted, why, and until when."""

    id: str = Field(min_length=1, examples=["CVE-2023-45853"])
    """The finding's ID: of a vulnerability, or of the rule that found a secret or a misconfiguration; a licence's name."""
    reason: str = Field(min_length=1)
    """Why it does not count. The result repeats it."""
    expires: date | None = None
    """The last day (UTC) it does not count, such as `2026-12-31`. Default: for good."""
    package: str | None = None
    """Only in this package. Default: in all."""
    path: str | None = None
    """Only in this file of the image, such as `/app/tests/key.pem`. Default: in all."""


class Gate(SpecModel):
    """What an image may have and still pass its scan."""

    fail_on: AnyCaseSeverity | None = None
    """The verdict is `failed` when a vulnerability is at least this bad, in capitals or not. Default: none is too bad."""
    max_counts: dict[AnyCaseSeverity, Annotated[int, Field(ge=0)]] = {}
    """Most vulnerabilities of a severity, such as `{"HIGH": 5}`."""
    ignore_unfixed: bool = False
    """Vulnerabilities that no released version fixes do not count."""
    fail_on_secrets: bool = False
    """The verdict is `failed` when there is a secret."""
    fail_on_misconfigurations: AnyCaseSeverity | None = None
    """The verdict is `failed` when a misconfiguration is at least this bad."""
    fail_on_licenses: AnyCaseSeverity | None = None
    """The verdict is `failed` when a licence is at least this bad: `HIGH` is restricted, `CRITICAL` forbidden."""
    fail_on_eol: bool = False
    """The verdict is `failed` when the image's distribution gets no more updates."""
    ignore: Annotated[list[Ignore], Field(max_length=1000)] = []
    """Findings that are known and do not count. One that has expired counts, and the result says so."""
    vex: dict[str, JsonValue] | Digest | None = None
    """An OpenVEX document, or the digest of an uploaded one: vulnerabilities it states as `not_affected` or `fixed`
    do not count."""

    @property
    def scanners_needed(self) -> set[ScannerName]:
        """What has to be looked for to judge by this gate."""
        needed: dict[ScannerName, bool] = {
            "vuln": self.fail_on is not None or bool(self.max_counts),
            "secret": self.fail_on_secrets,
            "misconfig": self.fail_on_misconfigurations is not None,
            "license": self.fail_on_licenses is not None,
        }
        return {name for name, is_needed in needed.items() if is_needed}

    @property
    def has_rules(self) -> bool:
        """Whether there is anything that it might fail."""
        return bool(self.scanners_needed) or self.fail_on_eol
