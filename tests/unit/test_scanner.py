"""What Trivy says, in good days and bad. A script that says it stands in for Trivy's program."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import SecretStr

from dockbus import Bus, Scan
from dockbus.engine import Engine
from dockbus.errors import DockbusError, JobCanceled, MissingTool, ScanFailed
from dockbus.ids import JobId
from dockbus.jobs import Severity
from dockbus.orders import Order
from dockbus.queue import Attempt, Attempts, Verdict
from dockbus.settings import BusSettings, EngineSettings, RedisSettings, ScanSettings, Settings
from dockbus_workers.context import JobContext
from dockbus_workers.scanner import DatabaseUnavailable, Trivy, find_program, parse

ID = "sha256:" + "0" * 64


@pytest.fixture
def says(tmp_path: Path) -> Callable[..., Trivy]:
    """Makes a scanner that prints these words and ends with this code."""

    def make(output: str = "", errors: str = "", code: int = 0, sleep: int = 0) -> Trivy:
        (tmp_path / "out").write_text(output)
        (tmp_path / "err").write_text(errors)
        program = tmp_path / "trivy"
        program.write_text(
            f'#!/bin/sh\n[ "$1" = --version ] && echo Version: 1.2.3 && exit\n'
            f"echo $$ > {tmp_path}/pid\ncat {tmp_path}/out\ncat {tmp_path}/err >&2\n"
            f'echo "$DOCKER_HOST $*" > {tmp_path}/called\n[ {sleep} = 0 ] || exec sleep {sleep}\n'
            f"exit {code}\n"
        )
        program.chmod(0o755)
        return Trivy(ScanSettings(trivy=str(program), cache_dir=str(tmp_path), offline=True))

    return make


class Scribe:
    """Stands in for the attempts that a bus keeps: any log is written to nowhere."""

    def log(self, *_: object) -> bool:
        return True


def context(verdict: Verdict = "go-on") -> JobContext:
    """The context of an attempt of which the bus says that; Redis and Engine are never asked."""
    order = Order(spec=Scan(image="shop/web:1"), timeout=30.0)
    attempt = Attempt(
        job=JobId("scan"),
        token="1",
        number=1,
        order=order,
        seal="0" * 16,
        verdict=verdict,
    )
    settings = Settings(
        redis=RedisSettings(url="unix:///nowhere.sock"), bus=BusSettings(key=SecretStr("k"))
    )
    return JobContext(
        attempt=attempt,
        order=order,
        attempts=cast("Attempts", Scribe()),
        bus=Bus(settings),
        engine=Engine(EngineSettings(host="unix:///nowhere.sock")),
        leaving=threading.Event(),
    )


def found(**fields: Any) -> dict[str, Any]:
    return {"Results": [{"Vulnerabilities": [{"VulnerabilityID": "CVE-1", **fields}]}]}


NOTHING: list[dict[str, Any]] = [
    {},
    {"Results": None},
    {"Results": []},
    {"Results": [{}]},
    {"Results": [{"Vulnerabilities": None}, {"Target": "x", "Class": "os-pkgs"}]},
]


@pytest.mark.parametrize("report", NOTHING)
def test_an_image_without_findings_may_be_told_in_many_ways(report: dict[str, Any]) -> None:
    assert list(parse(report)) == []


def test_a_finding_is_read_also_where_trivy_knows_little() -> None:
    full = found(
        PkgName="openssl",
        InstalledVersion="3.0.1",
        FixedVersion="3.0.2",
        Severity="CRITICAL",
        Title="bad",
    )

    [whole], [bare] = parse(full), parse(found())

    assert (whole.id, whole.package, whole.fixed) == ("CVE-1", "openssl", "3.0.2")
    assert whole.severity is Severity.CRITICAL
    assert (bare.id, bare.fixed, bare.severity) == ("CVE-1", None, Severity.UNKNOWN)


@pytest.mark.parametrize("word", ["", "NEGLIGIBLE", "high"])
def test_a_severity_that_trivy_does_not_have_yet_is_unknown(word: str) -> None:
    [finding] = parse(found(Severity=word))

    assert finding.severity is Severity.UNKNOWN


def test_the_image_is_scanned_by_its_id_on_the_jobs_engine(
    says: Callable[..., Trivy], tmp_path: Path
) -> None:
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "metadata.json").write_text('{"UpdatedAt": "2026-11-21T12:00:00Z"}')

    report = says(json.dumps(found())).scan(ID, context())

    assert report.scanner == "trivy 1.2.3"
    assert report.database is not None
    assert report.database.year == 2026
    assert len(report.vulnerabilities) == 1
    called = (tmp_path / "called").read_text()
    assert called.startswith("unix:///nowhere.sock image ")
    assert called.rstrip().endswith(ID)
    assert "--skip-db-update" in called


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
            "FATAL\t--skip-db-update cannot be specified on the first run",
            DatabaseUnavailable,
            "cannot be specified on the first run",
        ),
    ],
)
def test_a_fault_is_told_in_trivys_last_words(
    says: Callable[..., Trivy], errors: str, kind: type[DockbusError], said: str
) -> None:
    with pytest.raises(kind) as caught:
        says(errors=errors, code=1).scan(ID, context())

    assert said in caught.value.detail
    assert caught.value.retryable is (kind is DatabaseUnavailable)


@pytest.mark.parametrize("output", ["", "<html>", '{"Results": ['])
def test_an_answer_that_is_no_report_is_a_fault_of_the_scanner(
    says: Callable[..., Trivy], output: str
) -> None:
    with pytest.raises(ScanFailed):
        says(output).scan(ID, context())


def test_a_scan_that_has_to_stop_leaves_no_program_behind(
    says: Callable[..., Trivy], tmp_path: Path
) -> None:
    with pytest.raises(JobCanceled):
        says(sleep=600).scan(ID, context("cancel"))

    if (tmp_path / "pid").exists():  # it may have been stopped before it wrote that
        assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


def test_a_scanner_that_is_missing_is_named_with_the_way_out() -> None:
    with pytest.raises(MissingTool, match="DOCKBUS_SCAN_TRIVY"):
        find_program("no-such-trivy")
