"""The vulnerability database: fetched by Trivy from a real registry, replaced while scans run, never by two at once."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path

import pytest

import trivy_db
import trivy_images
from dockbus import Bus, JobHandle, JobState, Scan, ScanResult, Settings
from dockbus.engine import Engine
from dockbus.programs import find
from dockbus.settings import ScanSettings
from processes import Program
from registry_front import BLOBS, Front
from waiting import wait_for

Start = Callable[..., Program]
NAME = "dockbus/test-database-debian:1"
EMPTY_JAR = b"PK\x05\x06" + bytes(18)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "trivy"


@pytest.fixture
def settings(settings: Settings, cache: Path, registry_front: Front, tmp_path: Path) -> Settings:
    repository = f"tests/{tmp_path.name.lower()}"
    trivy_db.push(registry_front.upstream, repository)
    registry_front.seen.clear()
    scan = ScanSettings(
        cache_dir=str(cache), db_repository=f"{registry_front.address}/{repository}:2"
    )
    return settings.model_copy(update={"scan": scan})


@pytest.fixture
def push_newer(settings: Settings, registry_front: Front) -> Callable[[], str]:
    repository = settings.scan.db_repository.partition("/")[2].removesuffix(":2")
    return partial(trivy_db.push, registry_front.upstream, repository, trivy_db.NEWER)


@pytest.fixture
def debian(engine: Engine) -> Generator[str]:
    with trivy_images.image(engine, "debian", NAME):
        yield NAME


def started(start: Start, **options: Settings) -> Program:
    program = start("worker", "scan", **options)
    program.wait_until_said("taking jobs")
    return program


def ended(job: JobHandle) -> ScanResult:
    result = job.wait(timeout=60)
    assert isinstance(result, ScanResult)
    return result


def fetched(front: Front) -> int:
    """How often the database itself was downloaded."""
    return front.count("GET", BLOBS)


def test_the_first_scans_fetch_the_database_once_and_all_of_them_use_it(
    start: Start, bus: Bus, debian: str, registry_front: Front, cache: Path
) -> None:
    started(start)
    started(start)

    results = [
        ended(job) for job in [bus.enqueue(Scan(image=debian, fresh=True)) for _ in range(6)]
    ]

    assert {result.database for result in results} == {trivy_db.OLDER.made}
    assert {result.totals["vuln"] for result in results} == {4}
    assert fetched(registry_front) == 1
    assert sorted(file.name for file in (cache / "db").iterdir()) == ["metadata.json", "trivy.db"]


def test_a_job_can_update_the_database_and_scans_use_the_new_one(
    start: Start, bus: Bus, debian: str, push_newer: Callable[[], str], cache: Path
) -> None:
    started(start)
    first = ended(bus.enqueue(Scan(image=debian)))
    push_newer()

    same = ended(bus.enqueue(Scan(image=debian)))
    update = ended(bus.enqueue(Scan(database="update")))
    after = ended(bus.enqueue(Scan(image=debian)))

    assert (first.database, same.database) == (trivy_db.OLDER.made, trivy_db.OLDER.made)
    assert same.cached
    assert (update.image, update.image_id, update.verdict) == (None, None, "reported")
    assert update.database == trivy_db.NEWER.made
    assert after.database == trivy_db.NEWER.made
    assert not after.cached
    assert "CVE-2023-4911" in {one.id for one in first.vulnerabilities}
    assert "CVE-2023-4912" in {one.id for one in after.vulnerabilities}
    assert not list(cache.glob(".dockbus-download-*"))


def test_one_job_can_update_and_scan(
    start: Start, bus: Bus, debian: str, push_newer: Callable[[], str], cache: Path
) -> None:
    trivy_db.copy(cache)
    push_newer()
    started(start)

    result = ended(bus.enqueue(Scan(image=debian, database="update")))

    assert result.database == trivy_db.NEWER.made


def test_a_database_that_is_replaced_while_a_scan_runs_breaks_nothing(
    start: Start,
    bus: Bus,
    debian: str,
    settings: Settings,
    push_newer: Callable[[], str],
    cache: Path,
    tmp_path: Path,
) -> None:
    trivy_db.copy(cache)
    push_newer()
    hold, scanned = tmp_path / "hold", tmp_path / "scanned"
    hold.touch()
    slow = tmp_path / "trivy-that-waits"  # the real one; it ends a scan only when it is let
    slow.write_text(
        f'#!/bin/sh\n{find("trivy")} "$@"\ncode=$?\n'
        f'case "$*" in *--download-db-only*|--version) exit $code;; esac\n'
        f"touch {scanned}\nwhile [ -e {hold} ]; do sleep 0.05; done\nexit $code\n"
    )
    slow.chmod(0o755)
    scan = settings.scan.model_copy(update={"trivy": str(slow)})
    started(start, settings=settings.model_copy(update={"scan": scan}))

    running = bus.enqueue(Scan(image=debian))
    wait_for(scanned.exists, 60, "the scan to have begun")
    update = ended(bus.enqueue(Scan(database="update")))
    assert running.refresh().state is JobState.STARTED
    hold.unlink()
    result = ended(running)

    assert update.database == trivy_db.NEWER.made
    assert result.database == trivy_db.NEWER.made
    assert "CVE-2023-4912" in {one.id for one in result.vulnerabilities}
    said = [line.text for line in running.logs()]
    assert "the vulnerability database was replaced meanwhile; scanning again" in said


def test_updates_at_the_same_time_follow_each_other(
    start: Start, bus: Bus, registry_front: Front, cache: Path
) -> None:
    trivy_db.copy(cache)
    started(start)

    jobs = [bus.enqueue(Scan(database="update")) for _ in range(4)]

    assert {ended(job).database for job in jobs} == {trivy_db.OLDER.made}
    assert 1 <= fetched(registry_front) < 4  # who waited for another takes what that one fetched


def test_what_a_killed_worker_left_of_a_download_is_removed(
    start: Start, bus: Bus, cache: Path
) -> None:
    (cache / ".dockbus-download-old" / "db").mkdir(parents=True)
    started(start)

    ended(bus.enqueue(Scan(database="update")))

    assert not (cache / ".dockbus-download-old").exists()


@pytest.mark.parametrize("how", ["refused", "cut"])
def test_a_database_that_cannot_be_fetched_leaves_the_old_one(
    start: Start, bus: Bus, debian: str, registry_front: Front, cache: Path, how: str
) -> None:
    trivy_db.copy(cache)
    started(start)
    if how == "refused":
        registry_front.refuse(503)
    else:
        registry_front.cut(BLOBS, after=500)

    job = bus.enqueue(Scan(database="update"))
    failure = wait_for(lambda: job.refresh().error, 60, "the first attempt to fail")
    registry_front.behave()

    assert failure.code == "database-unavailable"
    assert ended(bus.enqueue(Scan(image=debian))).totals["vuln"] == 4
    assert ended(job).database == trivy_db.OLDER.made  # a later attempt has it


def test_the_database_for_java_archives_is_fetched_once_it_is_needed(
    start: Start,
    bus: Bus,
    engine: Engine,
    settings: Settings,
    registry_front: Front,
    cache: Path,
    tmp_path: Path,
) -> None:
    trivy_db.copy(cache)
    repository = f"tests/java-{tmp_path.name.lower()}"
    trivy_db.push_java(registry_front.upstream, repository, tmp_path)
    registry_front.seen.clear()
    scan = settings.scan.model_copy(
        update={"java_db_repository": f"{registry_front.address}/{repository}:1"}
    )
    started(start, settings=settings.model_copy(update={"scan": scan}))
    name = "dockbus/test-database-java:1"
    files = trivy_images.tar({"app/shop-1.0.jar": EMPTY_JAR})
    engine.images.import_rootfs(files, name, ["LABEL dockbus.test=1"])

    jobs = [bus.enqueue(Scan(image=name, fresh=True)) for _ in range(3)]
    results = [ended(job) for job in jobs]
    once = fetched(registry_front)
    ended(bus.enqueue(Scan(database="update")))
    trivy_images.remove(engine, name)

    assert [result.totals["vuln"] for result in results] == [0, 0, 0]
    assert once == 1
    assert (cache / "java-db" / "trivy-java.db").exists()
    assert fetched(registry_front) == 3  # an update brings both


def test_an_image_with_java_archives_needs_their_database(
    start: Start, bus: Bus, engine: Engine, settings: Settings, cache: Path
) -> None:
    trivy_db.copy(cache)
    scan = settings.scan.model_copy(update={"offline": True})
    started(start, settings=settings.model_copy(update={"scan": scan}))
    name = "dockbus/test-database-java:2"
    files = trivy_images.tar({"app/shop-1.0.jar": EMPTY_JAR})
    engine.images.import_rootfs(files, name, ["LABEL dockbus.test=1"])

    job = bus.enqueue(Scan(image=name))
    failure = wait_for(lambda: job.refresh().error, 60, "the first attempt to fail")
    trivy_images.remove(engine, name)

    assert failure.code == "database-unavailable"
    assert "no database of Java archives is fetched" in failure.detail
