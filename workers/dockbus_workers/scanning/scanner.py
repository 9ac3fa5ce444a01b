"""What a scanner has to do: scan an image by its ID, and write its report in other forms."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from dockbus.jobs.gate import ScannerName
from dockbus_workers.context import JobContext

Form = Literal["sarif", "cyclonedx", "spdx"]


@dataclass(frozen=True, kw_only=True)
class Scanned:
    """One look at one image."""

    scanner: str
    """Name and version."""
    database: datetime | None
    """When its vulnerability database was made; None where it needed none."""
    at: datetime
    """When it looked."""
    report: bytes
    """The scrubbed report, JSON."""


class Scanner(Protocol):
    """A program that looks into images."""

    def edition(
        self, scanners: AbstractSet[ScannerName], ctx: JobContext
    ) -> tuple[str, datetime | None]:
        """Name and version, and the database's date: a scan by the same edition finds the same.

        Raises:
            DatabaseUnavailable, DatabaseTooOld: there is no database to scan with.
        """
        ...

    def scan(self, image_id: str, scanners: AbstractSet[ScannerName], ctx: JobContext) -> Scanned:
        """Look into the image with this ID; stops when the job has to stop.

        Raises:
            DatabaseUnavailable, DatabaseTooOld: there is no database to scan with.
            ImageNotFound: the Engine has the image no more.
            ScanFailed, ScannerCrashed: any other fault of the scanner.
        """
        ...

    def convert(self, report: bytes, form: Form, ctx: JobContext) -> bytes:
        """The report in another form.

        Raises:
            ScanFailed: it could not do it.
        """
        ...

    def update(self, ctx: JobContext) -> datetime:
        """Fetch a new database; returns when that was made.

        Raises:
            DatabaseUnavailable: it cannot be had.
        """
        ...
