"""Trivy's databases on this host: whether they are there, how old they are, and how they are replaced.

They lie where Trivy itself keeps them, in its cache folder, so that the two agree. Scans only read them and take no
lock: each file is replaced as a whole, and a scan that sees another database after it than before scans again. One
file lock in the folder sees to it that only one process of the host fetches at a time.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dockbus.engine.views import parse_time
from dockbus.errors import ScanFailed
from dockbus.settings import ScanSettings
from dockbus.units import show_span
from dockbus_workers.context import JobContext
from dockbus_workers.scanning.errors import DatabaseTooOld, DatabaseUnavailable

_DRAFT = ".dockbus-download-"

Download = Callable[[Path], None]
"""Fetches a database into this cache folder."""


@dataclass(frozen=True)
class Sort:
    """One of Trivy's databases: what it is called, its folder and file, and the version of it that Trivy reads."""

    name: str
    folder: str
    file: str
    version: int

    @property
    def files(self) -> tuple[str, str]:
        """All its files."""
        return self.file, "metadata.json"


VULNERABILITIES = Sort("vulnerability database", "db", "trivy.db", 2)
JAVA = Sort("database of Java archives", "java-db", "trivy-java.db", 1)


@dataclass(frozen=True)
class Database:
    """The database that is there now. Two of these are equal if it is the same."""

    made: datetime
    next: datetime | None
    """When there will be a newer one."""
    files: tuple[tuple[int, int], ...]
    """Inode and time of change of each of its files."""

    def age(self, now: datetime) -> float:
        """Seconds since it was made."""
        return (now - self.made).total_seconds()


class DatabaseFolder:
    """Trivy's cache folder, and one of the databases in it."""

    def __init__(self, settings: ScanSettings, sort: Sort) -> None:
        self.path = Path(settings.cache_dir) if settings.cache_dir else _default()
        self.sort = sort
        self._settings = settings
        self._told = False

    def look(self) -> Database | None:
        """The database that is there, or None."""
        return _look(self.path, self.sort)

    def ready(self, ctx: JobContext, download: Download) -> Database:
        """The database to scan with; fetched first where there is none.

        Raises:
            DatabaseUnavailable: there is none, and none can be had.
            DatabaseTooOld: there is one, and it may not be used any more.
        """
        found = self.look() or self.fetch(ctx, download, only_if_missing=True)
        now = datetime.now(UTC)
        if 0 < self._settings.max_db_age < found.age(now):
            most = show_span(self._settings.max_db_age)
            raise DatabaseTooOld(f"it is {show_span(found.age(now))} old, and {most} is the limit")
        if found.next and found.next < now and not self._told:
            self._told = True
            ctx.log(f"the {self.sort.name} is {show_span(found.age(now))} old; newer ones exist")
        return found

    def fetch(
        self, ctx: JobContext, download: Download, *, only_if_missing: bool = False
    ) -> Database:
        """Fetch a database and put it in the place of the one that is there. One process of the host at a time.

        Raises:
            DatabaseUnavailable: it cannot be had, or what was had is no database.
            ScanFailed: this worker is told to fetch none.
        """
        if self._settings.offline:
            error = DatabaseUnavailable if only_if_missing else ScanFailed
            raise error(
                f"DOCKBUS_SCAN_OFFLINE is set, so no {self.sort.name} is fetched into {self.path}"
            )
        seen = self.look()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with self._lock(ctx):
                found = self.look()
                if found and (only_if_missing or found != seen):
                    ctx.log(f"another job has just fetched the {self.sort.name}")
                    return found
                ctx.log(f"fetching the {self.sort.name}")
                found = self._replace(download)
        except OSError as error:
            raise DatabaseUnavailable(f"{self.path}: {error.strerror}") from None
        ctx.log(f"the {self.sort.name} is of {found.made:%Y-%m-%d %H:%M} UTC")
        return found

    def _replace(self, download: Download) -> Database:
        for left in self.path.glob(f"{_DRAFT}*"):  # of a worker that was killed
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=self.path, prefix=_DRAFT) as draft:
            download(Path(draft))
            if _look(Path(draft), self.sort) is None:
                raise DatabaseUnavailable(f"what was fetched is no {self.sort.name}")
            fetched, place = Path(draft) / self.sort.folder, self.path / self.sort.folder
            place.mkdir(exist_ok=True)
            for name in self.sort.files:
                (fetched / name).replace(place / name)
        found = self.look()
        if found is None:
            raise DatabaseUnavailable(f"it vanished from {self.path}")
        return found

    @contextmanager
    def _lock(self, ctx: JobContext) -> Generator[None]:
        """Be the only one in this folder. The kernel frees it when the process ends, however it ends."""
        with (self.path / ".dockbus-lock").open("w") as file:
            told = False
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if not told:
                        ctx.log(f"waiting for another job that fetches the {self.sort.name}")
                        told = True
                    ctx.sleep(0.2)
            yield


def _look(cache: Path, sort: Sort) -> Database | None:
    folder = cache / sort.folder
    try:
        stats = [(folder / name).stat() for name in sort.files]
        about = json.loads((folder / "metadata.json").read_text())
        made = parse_time(about.get("UpdatedAt"))
    except (OSError, ValueError, AttributeError):
        return None
    if (
        made is None
        or about.get("Version") != sort.version
        or not all(stat.st_size for stat in stats)
    ):
        return None
    files = tuple((stat.st_ino, stat.st_mtime_ns) for stat in stats)
    return Database(made, parse_time(about.get("NextUpdate")), files)


def _default() -> Path:
    """Trivy's own choice."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "trivy"
