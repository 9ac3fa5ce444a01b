"""Pull, build, scan and cleanup jobs, carried out for real: Engine, registry words, Trivy."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path

import pytest

import trivy_db
from dockbus import (
    Build,
    BuildResult,
    Bus,
    Cleanup,
    CleanupResult,
    JobFailed,
    JobState,
    Progress,
    Pull,
    Scan,
    ScanResult,
    Settings,
    Severity,
)
from dockbus.engine import ContainerSpec, Engine
from dockbus.settings import BuildSettings, ScanSettings
from processes import Program
from waiting import wait_for

Start = Callable[..., Program]
EXAMPLES = Path(__file__).parent.parent.parent / "examples"
MARK = {"dockbus.test": "1"}
HELLO = "dockbus/test-hello:1"


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    cache = trivy_db.copy(tmp_path / "trivy")
    return settings.model_copy(
        update={
            "build": BuildSettings(root=EXAMPLES),
            "scan": ScanSettings(cache_dir=str(cache), offline=True),
        }
    )


def worker(start: Start, kind: str, **options: Settings) -> Program:
    program = start("worker", kind, **options)
    program.wait_until_said("taking jobs")
    return program


@pytest.fixture
def hello(start: Start, bus: Bus, base_image: str) -> BuildResult:
    """The example image, built by a build job."""
    worker(start, "build")
    ended = bus.enqueue(Build(context="hello", tags=[HELLO], labels=MARK)).wait(timeout=60)
    assert isinstance(ended, BuildResult)
    return ended


# -- build ---------------------------------------------------------------------------------


def test_a_build_makes_the_image_it_says(hello: BuildResult, bus: Bus, engine: Engine) -> None:
    image = engine.images.get(HELLO)

    assert hello.image_id == image.id
    assert hello.steps == 7 + len(MARK)
    assert (hello.size, hello.layers) == (image.size, image.layers)
    assert image.labels["dockbus.managed"] == "true"
    job = bus.jobs(limit=1)[0]
    entries = list(bus.job(job.id).follow(timeout=5))
    steps = [entry.current for entry in entries if isinstance(entry, Progress)]
    assert steps == list(range(1, hello.steps + 1))


def test_a_second_build_comes_from_the_cache(hello: BuildResult, bus: Bus) -> None:
    again = bus.enqueue(Build(context="hello", tags=[HELLO], labels=MARK)).wait(timeout=60)

    assert isinstance(again, BuildResult)
    assert again.image_id == hello.image_id
    assert again.cached == again.steps - 1  # FROM is no cached step


@pytest.mark.parametrize(
    ("context", "dockerfile", "says"),
    [
        ("../..", "Dockerfile", "is not under the worker's build root"),
        ("/etc", "Dockerfile", "DOCKBUS_BUILD_ROOT"),
        ("no-such-folder", "Dockerfile", "the worker has no folder"),
        ("hello", "../trivy-db/README.md", "there is no ../trivy-db/README.md"),
    ],
)
def test_a_build_outside_its_root_never_reaches_the_engine(
    start: Start, bus: Bus, base_image: str, context: str, dockerfile: str, says: str
) -> None:
    worker(start, "build")
    job = bus.enqueue(Build(context=context, dockerfile=dockerfile, tags=["dockbus/test-never:1"]))

    with pytest.raises(JobFailed, match=says):
        job.wait(timeout=60)
    assert job.refresh().attempts == 1


def test_a_failing_instruction_fails_the_job_once(
    start: Start, bus: Bus, base_image: str, tmp_path: Path, settings: Settings
) -> None:
    (tmp_path / "Dockerfile").write_text(
        f"FROM {base_image}\nLABEL dockbus.test=1\nRUN echo so far; exit 9\n"
    )
    worker(
        start, "build", settings=settings.model_copy(update={"build": BuildSettings(root=tmp_path)})
    )
    job = bus.enqueue(Build(context=".", tags=["dockbus/test-broken:1"]))

    with pytest.raises(JobFailed, match="returned a non-zero code: 9"):
        job.wait(timeout=60)
    record = job.refresh()
    assert record.error is not None
    assert (record.error.code, record.attempts) == ("build-failed", 1)
    assert "so far" in [line.text for line in job.logs()]


# -- scan ----------------------------------------------------------------------------------


def test_a_scan_finds_what_is_in_the_image(hello: BuildResult, start: Start, bus: Bus) -> None:
    worker(start, "scan")

    found = bus.enqueue(Scan(image=HELLO, fail_on=Severity.CRITICAL)).wait(timeout=60)

    assert isinstance(found, ScanResult)
    assert found.image_id == hello.image_id
    assert found.verdict == "failed"
    assert found.counts[Severity.CRITICAL] == 2
    assert [item.id for item in found.vulnerabilities] == [
        "CVE-2023-38545", "CVE-2023-45853", "CVE-2023-4911", "CVE-2023-5363",
    ]  # fmt: skip
    assert found.vulnerabilities[1].fixed is None
    assert found.scanner.startswith("trivy 0.")
    assert found.database is not None


def test_a_scan_may_leave_out_what_has_no_fix_and_pass(
    hello: BuildResult, start: Start, bus: Bus
) -> None:
    worker(start, "scan")

    fixable = bus.enqueue(Scan(image=HELLO, ignore_unfixed=True)).wait(timeout=60)
    base = bus.enqueue(Scan(image="dockbus/base:1", fail_on=Severity.LOW)).wait(timeout=60)

    assert isinstance(fixable, ScanResult)
    assert isinstance(base, ScanResult)
    assert (len(fixable.vulnerabilities), fixable.verdict) == (3, "reported")
    assert (len(base.vulnerabilities), base.verdict) == (0, "passed")


def test_a_scan_without_a_database_says_what_to_do(
    start: Start, bus: Bus, base_image: str, settings: Settings, tmp_path: Path
) -> None:
    empty = ScanSettings(cache_dir=str(tmp_path / "empty"), offline=True)
    worker(start, "scan", settings=settings.model_copy(update={"scan": empty}))
    job = bus.enqueue(Scan(image=base_image))

    failure = wait_for(lambda: job.refresh().error, 60, "the first attempt to fail")

    assert failure.code == "database-unavailable"
    assert "DOCKBUS_SCAN_CACHE_DIR" in failure.advice
    assert job.state in (JobState.SCHEDULED, JobState.QUEUED, JobState.STARTED)  # it may pass later


def test_a_scan_worker_without_trivy_takes_no_job(
    start: Start, bus: Bus, settings: Settings
) -> None:
    job = bus.enqueue(Scan(image="dockbus/base:1"))
    lame = start(
        "worker",
        "scan",
        settings=settings.model_copy(update={"scan": ScanSettings(trivy="no-trivy")}),
    )

    assert lame.process.wait(timeout=60) == 1
    said = lame.log.read_text().strip().splitlines()
    assert len(said) == 1
    assert "Install Trivy, or set DOCKBUS_SCAN_TRIVY" in said[0]
    assert job.state is JobState.QUEUED


# -- cleanup -------------------------------------------------------------------------------


@pytest.fixture
def stopped(engine: Engine, base_image: str) -> Generator[Callable[..., str]]:
    """Makes containers that have run to their end."""
    made: list[str] = []

    def make(**labels: str) -> str:
        spec = ContainerSpec(
            name=f"dockbus-test-cleanup-{len(made)}",
            image=base_image,
            command=["true"],
            labels={**MARK, **{key.replace("_", "."): value for key, value in labels.items()}},
        )
        container = engine.containers.create(spec)
        made.append(container)
        engine.containers.start(container)
        wait_for(lambda: engine.containers.get(container).state == "exited", what="it to end")
        return container

    yield make
    for container in made:
        engine.containers.remove(container, force=True)


def test_cleanup_removes_what_its_labels_mean_and_nothing_else(
    start: Start, bus: Bus, engine: Engine, stopped: Callable[..., str]
) -> None:
    worker(start, "cleanup")
    meant, other = stopped(app="shop"), stopped(app="blog")
    kept, busy = (
        stopped(app="shop", dockbus_keep="true"),
        stopped(app="shop", dockbus_job="still-running"),
    )
    bus.redis.set("unrelated", "1")
    spec = Cleanup(labels={**MARK, "app": "shop"})

    dry = bus.enqueue(spec.model_copy(update={"dry_run": True})).wait(timeout=60)
    assert isinstance(dry, CleanupResult)
    assert {item.id for item in dry.items} == {meant, busy}
    assert engine.containers.find(meant) is not None

    wet = bus.enqueue(spec).wait(timeout=60)
    assert isinstance(wet, CleanupResult)
    assert {item.id for item in wet.items} == {meant, busy}  # no such job any more: not protected
    assert engine.containers.find(meant) is None
    assert engine.containers.find(other) is not None
    assert engine.containers.find(kept) is not None


def test_cleanup_spares_the_young_and_the_containers_of_jobs_that_have_not_ended(
    start: Start, bus: Bus, engine: Engine, stopped: Callable[..., str]
) -> None:
    worker(start, "cleanup")
    waiting = bus.enqueue(Scan(image="dockbus/base:1"))  # no scan worker: it stays queued
    young, busy = stopped(app="shop"), stopped(app="shop", dockbus_job=waiting.id)

    aged = bus.enqueue(Cleanup(labels={**MARK, "app": "shop"}, older_than=3600.0)).wait(timeout=60)
    now = bus.enqueue(Cleanup(labels={**MARK, "app": "shop"})).wait(timeout=60)

    assert isinstance(aged, CleanupResult)
    assert isinstance(now, CleanupResult)
    assert aged.items == []
    assert [item.id for item in now.items] == [young]
    assert engine.containers.find(busy) is not None


def test_cleanup_removes_dangling_images_by_label(
    start: Start, bus: Bus, engine: Engine, base_image: str, tmp_path: Path, settings: Settings
) -> None:
    worker(start, "cleanup")
    worker(
        start, "build", settings=settings.model_copy(update={"build": BuildSettings(root=tmp_path)})
    )
    mine = {**MARK, "dockbus.test.dangling": "1"}
    images: list[str] = []
    for word in ("old", "new"):
        (tmp_path / "Dockerfile").write_text(f"FROM {base_image}\nLABEL word={word}\n")
        built = bus.enqueue(Build(context=".", tags=["dockbus/test-dangling:1"], labels=mine)).wait(
            timeout=60
        )
        assert isinstance(built, BuildResult)
        images.append(built.image_id)

    ended = bus.enqueue(Cleanup(containers=False, images=True, labels=mine)).wait(timeout=60)

    assert isinstance(ended, CleanupResult)
    assert images[0] in [item.id for item in ended.items]
    assert engine.images.find(images[0]) is None
    assert engine.images.find("dockbus/test-dangling:1") is not None


# -- pull ----------------------------------------------------------------------------------


def test_a_pull_from_a_registry_that_does_not_answer_is_tried_again_later(
    start: Start, bus: Bus, engine: Engine
) -> None:
    worker(start, "pull")
    job = bus.enqueue(Pull(image="127.0.0.1:9/dockbus/none:1"))

    failure = wait_for(lambda: job.refresh().error, 60, "the first attempt to fail")

    assert failure.code == "registry-unavailable"
    assert "connection refused" in failure.detail
    wait_for(lambda: job.refresh().attempts >= 2, 60, "a second attempt")
    job.cancel()
    wait_for(lambda: job.state is JobState.CANCELED, what="the job to be canceled")
