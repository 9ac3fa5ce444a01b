"""What the bus remembers of scans, and what a run job may build on: verdicts without a second scan."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import cast

import pytest

import trivy_db
import trivy_images
from attempting import attempts_on
from dockbus import Bus, Run, Scan, ScanResult, Settings, Severity
from dockbus.engine import Engine
from dockbus.errors import MissingTool
from dockbus.jobs import Gate, Ignore
from dockbus.orders import Order
from dockbus.settings import ScanSettings
from dockbus_workers.context import JobContext
from dockbus_workers.scanning import require_scan, scan_image, verdict_for
from dockbus_workers.scanning.errors import DatabaseTooOld, ScanRequired

NAME = "dockbus/test-memory-debian:1"
NO_LOW = Gate(fail_on=Severity.LOW)


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    cache = trivy_db.copy(tmp_path / "trivy")
    scan = ScanSettings(cache_dir=str(cache), offline=True)
    return settings.model_copy(update={"scan": scan})


@pytest.fixture
def debian(engine: Engine) -> Generator[str]:
    """The ID of an image with four known vulnerabilities."""
    with trivy_images.image(engine, "debian", NAME) as image_id:
        yield image_id


Context = Callable[..., JobContext]


@pytest.fixture
def context(bus: Bus, engine: Engine, redis: object) -> Context:
    """Makes the context of an attempt at a run job, as a worker with these settings would have it."""

    def make(settings: Settings | None = None) -> JobContext:
        there = Bus(settings or bus.settings)
        attempts = attempts_on(there)
        there.enqueue(Run(image="dockbus/base:1"))
        [attempt] = attempts.take("run", engine="local", worker="w", most=1)[0]
        return JobContext(
            attempt=attempt,
            order=cast("Order", attempt.order),
            attempts=attempts,
            bus=there,
            engine=engine,
            leaving=threading.Event(),
        )

    return make


def scanning(settings: Settings, **fields: object) -> Settings:
    scan = settings.scan.model_copy(update=fields)
    return settings.model_copy(update={"scan": scan})


def logged(ctx: JobContext, bus: Bus) -> list[str]:
    ctx.flush()
    return [line.text for line in bus.job(ctx.job).logs(follow=False)]


def test_an_image_under_another_name_is_not_scanned_again(
    context: Context, debian: str, engine: Engine
) -> None:
    ctx, again = context(), context()
    first = scan_image(ctx, Scan(image=NAME))
    engine.images.tag(NAME, "dockbus/test-memory-renamed:2")

    second = scan_image(again, Scan(image="dockbus/test-memory-renamed:2"))
    trivy_images.remove(engine, "dockbus/test-memory-renamed:2")

    assert (first.cached, second.cached) == (False, True)
    assert second.image == "dockbus/test-memory-renamed:2"
    assert second.image_id == first.image_id == debian
    assert second.scanned == first.scanned
    assert second.vulnerabilities == first.vulnerabilities
    assert second.artefacts == first.artefacts


def test_another_gate_judges_the_same_scan_anew(context: Context, debian: str) -> None:
    first = scan_image(context(), Scan(image=NAME))
    entry = Ignore(id="CVE-2023-4911", reason="no setuid programs")

    second = scan_image(
        context(), Scan(image=NAME, fail_on=Severity.HIGH, ignore=[entry], sbom="spdx")
    )

    assert (first.verdict, second.verdict, second.cached) == ("reported", "failed", True)
    assert [one.id for one in second.suppressed] == ["CVE-2023-4911"]
    assert [one.name for one in second.artefacts] == ["report.json", "sbom.spdx.json"]


@pytest.mark.parametrize("why", ["fresh", "scanners", "database", "image"])
def test_what_might_find_something_else_is_scanned(
    context: Context, debian: str, engine: Engine, settings: Settings, why: str
) -> None:
    scan_image(context(), Scan(image=NAME))
    spec = Scan(image=NAME)
    if why == "fresh":
        spec = Scan(image=NAME, fresh=True)
    elif why == "scanners":
        spec = Scan(image=NAME, scanners=["vuln", "secret"])
    elif why == "database":
        trivy_db.put(Path(settings.scan.cache_dir), trivy_db.NEWER)
    else:
        trivy_images.remove(engine, NAME)
        with trivy_images.image(engine, "clean", NAME):
            assert not scan_image(context(), spec).cached
        return

    result = scan_image(context(), spec)

    assert not result.cached
    if why == "database":
        assert result.database == trivy_db.NEWER.made
        assert "CVE-2023-4912" in {one.id for one in result.vulnerabilities}


@pytest.mark.parametrize("how", ["signature", "text", "moved", "gone"])
def test_a_scan_that_was_tampered_with_is_not_believed(
    context: Context, bus: Bus, debian: str, how: str
) -> None:
    first = scan_image(context(), Scan(image=NAME))
    key = f"dockbus:scan:{debian}:vuln"
    kept = cast("bytes", bus.redis.get(key))
    if how == "signature":
        bus.redis.set(key, b"0" * 64 + kept[64:])
    elif how == "text":
        bus.redis.set(key, kept.replace(b"2025-01-01", b"2025-01-02"))
    elif how == "moved":  # what was found in one image is no verdict on another
        bus.redis.set(f"dockbus:scan:{'sha256:' + '1' * 64}:vuln", kept)
        assert verdict_for(context(), "sha256:" + "1" * 64, NO_LOW) is None
        return
    else:
        bus.redis.delete(f"dockbus:blob:{first.artefacts[0].digest}")

    assert verdict_for(context(), debian, NO_LOW) is None
    assert not scan_image(context(), Scan(image=NAME)).cached


def test_what_is_remembered_expires(context: Context, bus: Bus, debian: str) -> None:
    scan_image(context(), Scan(image=NAME))

    left = bus.redis.ttl(f"dockbus:scan:{debian}:vuln")

    assert 0 < left <= bus.settings.bus.failure_ttl


# -- what a run job asks -------------------------------------------------------------------


def test_there_is_no_verdict_before_there_was_a_scan(context: Context, debian: str) -> None:
    assert verdict_for(context(), debian, NO_LOW) is None


def test_a_verdict_is_by_the_gate_of_whoever_asks(context: Context, debian: str) -> None:
    scan_image(context(), Scan(image=NAME, scanners=["vuln", "secret"], fail_on=Severity.LOW))

    strict = verdict_for(context(), debian, NO_LOW)
    lenient = verdict_for(context(), debian, Gate(max_counts={Severity.CRITICAL: 2}))
    secrets = verdict_for(context(), debian, Gate(fail_on_secrets=True))
    licences = verdict_for(context(), debian, Gate(fail_on_licenses=Severity.LOW))

    assert [one and one.verdict for one in (strict, lenient, secrets)] == [
        "failed", "passed", "passed",
    ]  # fmt: skip
    assert strict is not None
    assert strict.cached
    assert strict.totals == {"vuln": 4}  # not what else that scan looked for
    assert licences is None  # nobody has looked for those


def test_a_required_scan_is_made_where_there_is_none(
    context: Context, bus: Bus, debian: str
) -> None:
    ctx = context()
    gate = Gate(max_counts={Severity.CRITICAL: 2}, fail_on_secrets=True)

    first = require_scan(ctx, debian, gate)
    second = require_scan(context(), debian, gate)

    assert (first.verdict, first.cached, first.artefacts) == ("passed", False, [])
    assert (second.verdict, second.cached) == ("passed", True)
    assert second.scanned == first.scanned
    assert f"scanning {debian[7:19]} for: secret, vuln" in logged(ctx, bus)


@pytest.mark.parametrize("before", [True, False])
def test_a_required_scan_refuses_what_does_not_pass(
    context: Context, debian: str, before: bool
) -> None:
    if before:
        scan_image(context(), Scan(image=NAME))

    with pytest.raises(ScanRequired, match="vulnerabilities that are LOW or worse: 4") as caught:
        require_scan(context(), debian, NO_LOW)

    assert not caught.value.retryable


def test_a_worker_without_trivy_takes_the_verdict_of_one_that_has_it(
    context: Context, debian: str, settings: Settings
) -> None:
    without = scanning(settings, trivy="no-such-trivy")

    with pytest.raises(MissingTool, match="Install Trivy"):
        require_scan(context(without), debian, NO_LOW)
    scan_image(context(), Scan(image=NAME))
    with pytest.raises(ScanRequired):
        require_scan(context(without), debian, NO_LOW)
    passed = require_scan(context(without), debian, Gate(max_counts={Severity.LOW: 0}))

    assert isinstance(passed, ScanResult)
    assert passed.database == trivy_db.OLDER.made


def test_a_verdict_by_a_database_that_is_too_old_is_none(
    context: Context, debian: str, settings: Settings
) -> None:
    scan_image(context(), Scan(image=NAME))
    strict = scanning(settings, max_db_age=86400.0)
    without = scanning(strict, trivy="no-such-trivy")

    assert verdict_for(context(without), debian, NO_LOW) is None
    with pytest.raises(DatabaseTooOld):
        verdict_for(context(strict), debian, NO_LOW)
