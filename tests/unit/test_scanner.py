"""What Trivy says, in good days and bad. A script that says it stands in for Trivy's program."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import SecretStr

import trivy_db
from dockbus import Bus, Scan
from dockbus.engine import Engine, EngineUnavailable, ImageNotFound
from dockbus.errors import DockbusError, JobCanceled, MissingTool, ScanFailed
from dockbus.ids import JobId
from dockbus.orders import Order
from dockbus.queue import Attempt, Attempts, Verdict
from dockbus.settings import BusSettings, EngineSettings, RedisSettings, ScanSettings, Settings
from dockbus_workers.context import JobContext
from dockbus_workers.scanning.errors import (
    DatabaseTooOld,
    DatabaseUnavailable,
    ScannerCrashed,
)
from dockbus_workers.scanning.trivy import Trivy, find_program
from waiting import wait_for

ID = "sha256:" + "0" * 64


Says = Callable[..., Path]


@pytest.fixture
def says(tmp_path: Path) -> Says:
    """Makes a program in Trivy's place that prints these words and ends with this code."""

    def make(output: str = "", errors: str = "", code: int = 0, end: str = "") -> Path:
        (tmp_path / "out").write_text(output)
        (tmp_path / "err").write_text(errors)
        program = tmp_path / "trivy"
        program.write_text(
            f'#!/bin/sh\n[ "$1" = --version ] && echo Version: 1.2.3 && exit\n'
            f"cat {tmp_path}/out\ncat {tmp_path}/err >&2\n"
            f'echo "$DOCKER_HOST $*" > {tmp_path}/called\nenv > {tmp_path}/env\n'
            f"pwd > {tmp_path}/cwd\n{end}\nexit {code}\n"
        )
        program.chmod(0o755)
        return program

    return make


class Scribe:
    """Stands in for the attempts that a bus keeps: any log is written to nowhere."""

    def log(self, *_: object) -> bool:
        return True


@pytest.fixture
def context(tmp_path: Path) -> Callable[..., JobContext]:
    """Makes the context of an attempt of which the bus says that; Redis and Engine are never asked."""

    def make(verdict: Verdict = "go-on", trivy: str = "", **scan: Any) -> JobContext:
        order = Order(spec=Scan(image="shop/web:1"), timeout=30.0)
        attempt = Attempt(
            job=JobId("scan"),
            token="1",
            number=1,
            order=order,
            seal="0" * 16,
            verdict=verdict,
        )
        program = trivy or str(tmp_path / "trivy")
        base = ScanSettings(trivy=program, cache_dir=str(tmp_path), offline=True)
        settings = Settings(
            redis=RedisSettings(url="unix:///nowhere.sock"),
            bus=BusSettings(key=SecretStr("k")),
            scan=base.model_copy(update=scan),
        )
        return JobContext(
            attempt=attempt,
            order=order,
            attempts=cast("Attempts", Scribe()),
            bus=Bus(settings),
            engine=Engine(EngineSettings(host="unix:///nowhere.sock")),
            leaving=threading.Event(),
        )

    return make


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return trivy_db.copy(tmp_path)


def test_the_image_is_scanned_by_its_id_on_the_jobs_engine_with_the_database_that_is_there(
    says: Says, context: Callable[..., JobContext], database: Path, tmp_path: Path
) -> None:
    says('{"Results": []}')
    ctx = context()

    scanned = Trivy(ctx).scan(ID, {"vuln", "secret"}, ctx)

    assert scanned.scanner == "trivy 1.2.3"
    assert scanned.database == trivy_db.OLDER.made
    assert json.loads(scanned.report) == {"Results": []}
    called = (tmp_path / "called").read_text().split()
    assert called[:2] == ["unix:///nowhere.sock", "image"]
    assert called[-1] == ID
    assert called[called.index("--scanners") + 1] == "secret,vuln"
    assert called[called.index("--image-config-scanners") + 1] == "secret"
    assert {"--skip-db-update", "--skip-check-update", "--skip-java-db-update"} <= set(called)


def test_a_report_without_end_is_not_read_into_memory(
    says: Says, context: Callable[..., JobContext], database: Path, tmp_path: Path
) -> None:
    says(end=f"exec dd if=/dev/zero bs=1M count=200 2>{tmp_path}/dd")
    ctx = context()

    with pytest.raises(ScanFailed, match="128"):
        Trivy(ctx).scan(ID, {"vuln"}, ctx)


def test_trivys_own_variables_and_files_hide_nothing(
    says: Says,
    context: Callable[..., JobContext],
    database: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRIVY_SEVERITY", "CRITICAL")
    monkeypatch.setenv("TRIVY_USERNAME", "mirror-reader")
    monkeypatch.setenv("DOCKBUS_BUS_KEY", "hush")
    monkeypatch.chdir(tmp_path)  # where a .trivyignore might lie
    says("{}")
    ctx = context()

    Trivy(ctx).scan(ID, {"vuln"}, ctx)

    given = (tmp_path / "env").read_text()
    assert "TRIVY_SEVERITY" not in given
    assert "DOCKBUS_" not in given
    assert "TRIVY_USERNAME=mirror-reader" in given
    assert (tmp_path / "cwd").read_text().strip() != str(tmp_path)


def test_without_vulnerabilities_to_look_for_no_database_is_needed(
    says: Says, context: Callable[..., JobContext]
) -> None:
    says("{}")
    ctx = context()

    assert Trivy(ctx).scan(ID, {"secret"}, ctx).database is None


@pytest.mark.parametrize(
    ("errors", "kind", "said"),
    [
        (
            "2026-11-21T12:00:00Z\tINFO\tstart\n2026-11-21T12:00:01Z\tFATAL\tFatal error\tno daemon\n",
            ScanFailed,
            "Fatal error no daemon",
        ),
        ("something\nlast words\n\n", ScanFailed, "last words"),
        ("", ScanFailed, "it gave no reason"),
        (
            "FATAL\tFatal error\tinit error: DB error: failed to download vulnerability DB: no route",
            DatabaseUnavailable,
            "failed to download vulnerability DB: no route",
        ),
        (
            "FATAL\tFatal error\tinit error: DB error: error in vulnerability DB initialization",
            DatabaseUnavailable,
            "in vulnerability DB initialization",
        ),
        ("FATAL\tx\tunable to inspect: No such image: sha256:00", ImageNotFound, "removed before"),
        (
            "FATAL\tx\tCannot connect to the Docker daemon at unix:///x",
            EngineUnavailable,
            "Cannot connect",
        ),
    ],
)
def test_a_fault_is_told_in_trivys_last_words(
    says: Says,
    context: Callable[..., JobContext],
    errors: str,
    kind: type[DockbusError],
    said: str,
) -> None:
    says(errors=errors, code=1)
    ctx = context()

    with pytest.raises(kind) as caught:
        Trivy(ctx).scan(ID, {"secret"}, ctx)

    assert said in caught.value.detail


def test_a_scanner_that_was_killed_may_do_better_next_time(
    says: Says, context: Callable[..., JobContext]
) -> None:
    says(end="kill -9 $$")
    ctx = context()

    with pytest.raises(ScannerCrashed, match="signal 9") as caught:
        Trivy(ctx).scan(ID, {"secret"}, ctx)

    assert caught.value.retryable


@pytest.mark.parametrize("output", ["", "<html>", '{"Results": ['])
def test_an_answer_that_is_no_report_is_a_fault_of_the_scanner(
    says: Says, context: Callable[..., JobContext], output: str
) -> None:
    says(output)
    ctx = context()

    with pytest.raises(ScanFailed):
        Trivy(ctx).scan(ID, {"secret"}, ctx)


def test_a_scan_that_has_to_stop_leaves_nothing_of_it_running(
    says: Says, context: Callable[..., JobContext], tmp_path: Path
) -> None:
    says(
        end=f"sleep 600 &\necho $$ $! > {tmp_path}/pids.new\nmv {tmp_path}/pids.new {tmp_path}/pids\nwait"
    )
    ctx = context()
    trivy = Trivy(ctx)

    def check() -> None:
        if (tmp_path / "pids").exists():
            raise JobCanceled("scan")

    ctx.check = check  # type: ignore[method-assign]
    with pytest.raises(JobCanceled):
        trivy.scan(ID, {"secret"}, ctx)

    for pid in (tmp_path / "pids").read_text().split():
        wait_for(partial(is_gone, pid), 5, f"process {pid} to go")


def is_gone(pid: str) -> bool:
    """Whether it runs no more; so a zombie that nobody has waited for is gone."""
    status = Path(f"/proc/{pid}/status")
    return not status.exists() or "State:\tZ" in status.read_text()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("trivy.db", None),
        ("trivy.db", ""),
        ("metadata.json", None),
        ("metadata.json", "{"),
        ("metadata.json", "[]"),
        ("metadata.json", '{"Version": 1, "UpdatedAt": "2025-01-01T00:00:00Z"}'),
        ("metadata.json", '{"Version": 2}'),
    ],
)
def test_half_a_database_is_none(
    says: Says,
    context: Callable[..., JobContext],
    database: Path,
    file: str,
    text: str | None,
) -> None:
    says("{}")
    if text is None:
        (database / "db" / file).unlink()
    else:
        (database / "db" / file).write_text(text)
    ctx = context()

    with pytest.raises(DatabaseUnavailable, match="DOCKBUS_SCAN_OFFLINE is set"):
        Trivy(ctx).scan(ID, {"vuln"}, ctx)


def test_a_database_that_is_too_old_is_not_used(
    says: Says, context: Callable[..., JobContext], database: Path, tmp_path: Path
) -> None:
    says("{}")
    old, young = context(max_db_age=86400.0), context(max_db_age=86400.0 * 36500)

    with pytest.raises(DatabaseTooOld, match="24 h is the limit"):
        Trivy(old).scan(ID, {"vuln"}, old)
    assert not (tmp_path / "called").exists()
    assert Trivy(young).scan(ID, {"vuln"}, young).database == trivy_db.OLDER.made


def test_what_is_fetched_but_no_database_does_not_replace_the_one_that_is_there(
    says: Says, context: Callable[..., JobContext], database: Path
) -> None:
    says("")  # it says that it has fetched one, and has not
    ctx = context(offline=False)
    before = (database / "db" / "trivy.db").read_bytes()

    with pytest.raises(DatabaseUnavailable, match="no vulnerability database"):
        Trivy(ctx).update(ctx)

    assert (database / "db" / "trivy.db").read_bytes() == before
    assert not list(database.glob(".dockbus-download-*"))


def test_a_worker_that_is_offline_updates_nothing(
    says: Says, context: Callable[..., JobContext], database: Path, tmp_path: Path
) -> None:
    says("")
    ctx = context(offline=True)

    with pytest.raises(ScanFailed, match="DOCKBUS_SCAN_OFFLINE"):
        Trivy(ctx).update(ctx)
    assert not (tmp_path / "called").exists()


def test_a_cache_folder_that_cannot_be_written_is_named(
    says: Says, context: Callable[..., JobContext], tmp_path: Path
) -> None:
    says("")
    (tmp_path / "file").write_text("")
    ctx = context(offline=False, cache_dir=str(tmp_path / "file"))

    with pytest.raises(DatabaseUnavailable, match="file: "):
        Trivy(ctx).update(ctx)


def test_a_scanner_that_is_missing_is_named_with_the_way_out() -> None:
    with pytest.raises(MissingTool, match="DOCKBUS_SCAN_TRIVY"):
        find_program("no-such-trivy")
