"""Trivy, called as a program: its arguments, its errors. The one scanner so far.

The image is read through the Engine by its ID; the layer cache is kept in memory, since Trivy's own on disk
takes a lock that makes parallel scans fail. Trivy filters and judges nothing: it is run in an empty folder and
without its own variables and files, which could hide findings.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import IO

from dockbus import programs
from dockbus.engine import EngineUnavailable, ImageNotFound
from dockbus.errors import DockbusError, MissingTool, ScanFailed
from dockbus.jobs.gate import ScannerName
from dockbus.tracing import span
from dockbus.units import show_size
from dockbus_workers.context import JobContext
from dockbus_workers.scanning import report
from dockbus_workers.scanning.database import (
    JAVA,
    VULNERABILITIES,
    Database,
    DatabaseFolder,
    Sort,
)
from dockbus_workers.scanning.errors import DatabaseUnavailable, ScannerCrashed
from dockbus_workers.scanning.scanner import Form, Scanned

_PASSED_ON = {
    *("TRIVY_USERNAME", "TRIVY_PASSWORD", "TRIVY_REGISTRY_TOKEN", "TRIVY_INSECURE"),
}
"""Variables of Trivy's that say how databases are fetched; none of the others reaches it."""
_LARGEST = 128 * 1024**2
"""Bytes of a report, which is read into memory: an image may hold any number of things to find."""
_FORMATS: dict[Form, str] = {"sarif": "sarif", "cyclonedx": "cyclonedx", "spdx": "spdx-json"}


class Trivy:
    """Trivy, as it is installed on this machine, for one job."""

    def __init__(self, ctx: JobContext) -> None:
        """Find the program.

        Raises:
            MissingTool: it is not there.
        """
        self._settings = ctx.settings.scan
        self._program = find_program(self._settings.trivy)
        self._known = DatabaseFolder(self._settings, VULNERABILITIES)
        self._java = DatabaseFolder(self._settings, JAVA)
        self.name = f"trivy {version(self._program)}"

    def edition(
        self, scanners: AbstractSet[ScannerName], ctx: JobContext
    ) -> tuple[str, datetime | None]:
        """Name and version, and the database's date."""
        database = self._database(scanners, ctx)
        return self.name, database.made if database else None

    @span("scan")
    def scan(self, image_id: str, scanners: AbstractSet[ScannerName], ctx: JobContext) -> Scanned:
        """Look into the image with this ID."""
        has_java = False  # that database is large, and only images with Java archives need it
        while True:
            database = self._database(scanners, ctx)
            try:
                output = self._run(ctx, *self._scan_arguments(image_id, scanners))
            except DatabaseUnavailable as error:
                if "Java DB" not in error.detail or has_java:
                    raise
                self._fetch(self._java, ctx, only_if_missing=True)
                has_java = True
                continue
            if database is None or self._known.look() == database:
                break
            ctx.log("the vulnerability database was replaced meanwhile; scanning again")
        return Scanned(
            scanner=self.name,
            database=database.made if database else None,
            at=datetime.now(UTC),
            report=json.dumps(report.scrub(report.load(output))).encode(),
        )

    def convert(self, report: bytes, form: Form, ctx: JobContext) -> bytes:  # noqa: D102  as in the protocol
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            file.write(report)
            file.flush()
            return self._run(ctx, "convert", "--quiet", "--format", _FORMATS[form], file.name)

    def update(self, ctx: JobContext) -> datetime:
        """Fetch a new database, and one for Java archives where there is one already."""
        if self._java.look():
            self._fetch(self._java, ctx)
        return self._fetch(self._known, ctx).made

    def _database(self, scanners: AbstractSet[ScannerName], ctx: JobContext) -> Database | None:
        if "vuln" not in scanners:
            return None
        return self._known.ready(ctx, partial(self._download, VULNERABILITIES, ctx))

    def _fetch(
        self, folder: DatabaseFolder, ctx: JobContext, *, only_if_missing: bool = False
    ) -> Database:
        download = partial(self._download, folder.sort, ctx)
        return folder.fetch(ctx, download, only_if_missing=only_if_missing)

    def _download(self, sort: Sort, ctx: JobContext, folder: Path) -> None:
        prefix, repository = (
            ("java-db", self._settings.java_db_repository)
            if sort is JAVA
            else ("db", self._settings.db_repository)
        )
        arguments = ["image", f"--download-{prefix}-only", "--no-progress"]
        arguments += ["--cache-dir", str(folder)]
        if repository:
            arguments += [f"--{prefix}-repository", repository]
        self._run(ctx, *arguments)

    def _scan_arguments(self, image_id: str, scanners: AbstractSet[ScannerName]) -> list[str]:
        arguments = [
            "image",
            "--quiet",
            "--format",
            "json",
            "--scanners",
            ",".join(sorted(scanners)),
        ]
        arguments += ["--image-src", "docker", "--cache-backend", "memory"]
        arguments += [
            "--cache-dir",
            str(self._known.path),
            "--timeout",
            "24h",
        ]  # the job has its own
        arguments += ["--skip-db-update", "--skip-java-db-update", "--skip-check-update"]
        arguments += ["--skip-version-check"]
        if on_config := sorted(scanners & {"misconfig", "secret"}):
            arguments += ["--image-config-scanners", ",".join(on_config)]
        if self._settings.offline:
            arguments += ["--offline-scan"]
        return [*arguments, image_id]

    def _run(self, ctx: JobContext, *arguments: str) -> bytes:
        """What Trivy prints; it and whatever it started are stopped when the job has to stop."""
        with (
            tempfile.TemporaryFile() as output,
            tempfile.TemporaryFile() as errors,
            tempfile.TemporaryDirectory(prefix="dockbus-scan-") as folder,
        ):
            process = subprocess.Popen(
                [self._program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                cwd=folder,
                env=_environment(ctx),
                start_new_session=True,
            )
            try:
                while process.poll() is None:
                    ctx.sleep(0.1)
                    _check_size(output, errors)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            _check_size(output, errors)
            output.seek(0)
            errors.seek(0)
            if process.returncode != 0:
                raise _fault(errors.read().decode(errors="replace"), process.returncode)
            return output.read()


def find_program(name: str) -> str:
    """Where the scanner is: on PATH, or beside this Python (where pip puts programs).

    Raises:
        MissingTool: it is nowhere.
    """
    if found := programs.find(name):
        return str(Path(found).absolute())
    raise MissingTool(
        f"scan jobs need Trivy, and there is no program {name!r}. Install Trivy, or set DOCKBUS_SCAN_TRIVY to its path"
    )


def version(program: str) -> str:
    """The version that `program --version` prints."""
    return _version(program, Path(program).stat().st_mtime_ns)


@cache
def _version(program: str, _changed: int) -> str:
    said = subprocess.run(
        [program, "--version"], capture_output=True, text=True, timeout=30, check=False
    ).stdout
    return said.partition("Version:")[2].split("\n")[0].strip() or "unknown"


def _check_size(*files: IO[bytes]) -> None:
    size = sum(os.fstat(file.fileno()).st_size for file in files)
    if size > _LARGEST:
        raise ScanFailed(f"it has found more than a report of {show_size(_LARGEST)} can hold")


def _environment(ctx: JobContext) -> dict[str, str]:
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TRIVY_", "DOCKBUS_")) or name in _PASSED_ON
    }
    ours["DOCKER_HOST"] = ctx.engine.host
    if ctx.settings.engine.cert_path:
        ours |= {"DOCKER_CERT_PATH": ctx.settings.engine.cert_path, "DOCKER_TLS_VERIFY": "1"}
    return ours


def _fault(errors: str, code: int) -> DockbusError:
    if code < 0:
        return ScannerCrashed(f"signal {-code}")
    # After FATAL it names the cause last, on lines of their own; before it come warnings.
    said = " ".join((errors.partition("FATAL")[2] or errors).split())[:600] or "it gave no reason"
    if "vulnerability DB" in errors or "Java DB" in errors or "first run" in errors:
        return DatabaseUnavailable(said)
    if "No such image" in errors:
        return ImageNotFound("it was removed before it was scanned")
    if "Cannot connect to the Docker daemon" in errors:
        return EngineUnavailable(said)
    return ScanFailed(said)
