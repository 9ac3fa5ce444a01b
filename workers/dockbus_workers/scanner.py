"""Trivy, called as a program: its arguments, its JSON, its errors. The one scanner so far.

The image is read through the Engine by its ID; the layer cache is kept in memory, since Trivy's own
on disk takes a lock that makes parallel scans fail.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from dockbus import programs
from dockbus.engine.views import parse_time
from dockbus.errors import DockbusError, MissingTool, ScanFailed
from dockbus.jobs import Severity, Vulnerability
from dockbus.settings import ScanSettings
from dockbus_workers.context import JobContext


class DatabaseUnavailable(DockbusError):
    """The scanner has no vulnerability database and cannot fetch one.

    Let it reach its registry, or put a database in DOCKBUS_SCAN_CACHE_DIR and set DOCKBUS_SCAN_OFFLINE=true.
    """

    retryable = True


@dataclass(frozen=True, kw_only=True)
class Report:
    """What Trivy said of one image."""

    scanner: str
    database: datetime | None
    vulnerabilities: list[Vulnerability]


class Trivy:
    """Trivy, as it is installed on this machine."""

    def __init__(self, settings: ScanSettings) -> None:
        self._settings = settings
        self.program = find_program(settings.trivy)

    def scan(self, image_id: str, ctx: JobContext) -> Report:
        """Scan the image with this ID; stops the program when the job has to stop.

        Raises:
            DatabaseUnavailable: there is no vulnerability database.
            ScanFailed: any other fault of the scanner.
        """
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen(
                self._command(image_id),
                stdout=output,
                stderr=errors,
                env=os.environ | {"DOCKER_HOST": ctx.engine.host},
            )
            try:
                while process.poll() is None:
                    ctx.sleep(0.1)
            finally:
                process.kill()
                process.wait()
            output.seek(0)
            errors.seek(0)
            if process.returncode != 0:
                raise _fault(errors.read())
            return Report(
                scanner=f"trivy {version(self.program)}",
                database=self._database_made(),
                vulnerabilities=list(parse(_loaded(output.read()))),
            )

    def _command(self, image_id: str) -> list[str]:
        command = [
            self.program,
            "image",
            "--quiet",
            "--format",
            "json",
            "--scanners",
            "vuln",
            "--image-src",
            "docker",
        ]
        command += ["--cache-backend", "memory", "--skip-version-check"]
        if self._settings.cache_dir:
            command += ["--cache-dir", self._settings.cache_dir]
        if self._settings.offline:
            command += ["--offline-scan", "--skip-db-update", "--skip-java-db-update"]
        return [*command, image_id]

    def _database_made(self) -> datetime | None:
        cache_dir = self._settings.cache_dir or str(Path.home() / ".cache" / "trivy")
        try:
            meta = json.loads((Path(cache_dir) / "db" / "metadata.json").read_text())
        except (OSError, ValueError):
            return None
        return parse_time(meta.get("UpdatedAt"))


def find_program(name: str) -> str:
    """Where the scanner is: on PATH, or beside this Python (where pip puts programs).

    Raises:
        MissingTool: it is nowhere.
    """
    if found := programs.find(name):
        return found
    raise MissingTool(
        f"scan jobs need Trivy, and there is no program {name!r}. Install Trivy, or set DOCKBUS_SCAN_TRIVY to its path"
    )


@cache
def version(program: str) -> str:
    """The version that `program --version` prints."""
    said = subprocess.run(
        [program, "--version"], capture_output=True, text=True, timeout=30, check=False
    ).stdout
    return said.partition("Version:")[2].split("\n")[0].strip() or "unknown"


def parse(report: Mapping[str, Any]) -> Iterator[Vulnerability]:
    """The findings in Trivy's JSON (schema version 2)."""
    for part in report.get("Results") or ():
        for raw in part.get("Vulnerabilities") or ():
            yield Vulnerability(
                id=raw["VulnerabilityID"],
                package=raw.get("PkgName", ""),
                installed=raw.get("InstalledVersion", ""),
                fixed=raw.get("FixedVersion") or None,
                severity=Severity.__members__.get(raw.get("Severity", ""), Severity.UNKNOWN),
                title=raw.get("Title", ""),
            )


def _loaded(output: str) -> Mapping[str, Any]:
    try:
        report: Mapping[str, Any] = json.loads(output)
    except ValueError:
        raise ScanFailed(f"it printed no JSON but {output[:100]!r}") from None
    return report


def _fault(errors: str) -> DockbusError:
    # After FATAL it names the cause last, on lines of their own; before it come warnings.
    said = " ".join((errors.partition("FATAL")[2] or errors).split())[:600] or "it gave no reason"
    if "vulnerability DB" in errors or "first run" in errors:
        return DatabaseUnavailable(said)
    return ScanFailed(said)
