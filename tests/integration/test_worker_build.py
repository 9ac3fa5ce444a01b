"""Build jobs by both builders, on a real Engine: what is built, what is told of it, how it fails, how it is stopped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import builds
from builds import MARK, Start, built, context, failure, order, output
from dockbus import Bus, JobCanceled, Progress, Settings
from dockbus.engine import Engine
from processes import Program
from waiting import wait_for


@pytest.fixture(params=["buildkit", "classic"])
def builder(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "context"
    made.mkdir()
    return made


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files of what the test starts."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


@pytest.fixture
def settings(settings: Settings, folder: Path, builder: str, buildx: Path) -> Settings:
    return builds.with_build(settings, root=folder, builder=builder, buildx=str(buildx))


@pytest.fixture
def worker(start: Start, settings: Settings, base_image: str, temporary: Path) -> Program:
    return builds.worker(start, settings)


def test_a_build_makes_the_image_it_says(
    worker: Program, bus: Bus, engine: Engine, folder: Path, builder: str
) -> None:
    context(folder, "COPY one.txt /one\nRUN cat /one; echo two >&2", {"one.txt": f"of {builder}\n"})
    tag = f"dockbus/test-made-{builder}:1"

    job = bus.enqueue(order(tags=[tag, f"{tag}b"], labels={**MARK, "shop": "web"}))
    ended = built(job)

    image = engine.images.get(tag)
    assert (ended.image_id, ended.size, ended.layers) == (image.id, image.size, image.layers)
    assert sorted(image.tags) == ended.tags == [tag, f"{tag}b"]
    assert image.labels == {**MARK, "shop": "web", "dockbus.managed": "true"}
    assert (ended.builder, ended.warnings, ended.cached) == (builder, [], 0)
    assert builds.run_in(engine, tag, "cat /one") == f"of {builder}"
    entries = [entry for entry in job.follow(timeout=5) if isinstance(entry, Progress)]
    assert [entry.current for entry in entries] == list(range(1, ended.steps + 1))
    assert entries[1].status.startswith("COPY one.txt /one")
    assert {f"of {builder}", "two"} <= set(output(job))


def test_a_second_build_comes_from_the_cache_and_no_cache_does_not(
    worker: Program, bus: Bus, folder: Path, builder: str
) -> None:
    context(folder, f"RUN echo {builder} > /word\nRUN cat /word")
    spec = order(tags=[f"dockbus/test-cached-{builder}:1"])

    first = built(bus.enqueue(spec))
    again = built(bus.enqueue(spec))
    anew = built(bus.enqueue(spec.model_copy(update={"no_cache": True})))

    assert (again.cached, anew.cached) == (again.steps - 1, 0)
    assert first.cached < again.cached
    assert again.image_id == first.image_id


def test_a_failing_instruction_is_named_with_its_last_words_and_fails_the_job_once(
    worker: Program, bus: Bus, engine: Engine, folder: Path, builder: str
) -> None:
    context(folder, "RUN echo fine\nRUN echo so far; exit 9")
    job = bus.enqueue(order(tags=[f"dockbus/test-broken-{builder}:1"]))

    error = failure(job)

    assert error.code == "build-failed"
    assert error.detail == "RUN echo so far; exit 9: exit code 9; its last words: so far"
    assert "so far" in output(job)
    assert engine.images.find(f"dockbus/test-broken-{builder}:1") is None


@pytest.mark.parametrize(
    ("dockerfile", "code", "says"),
    [
        ("RUNN true", "dockerfile-invalid", "unknown instruction: RUNN"),
        ("COPY not-there /", "build-failed", "not-there"),
        ("RUN no-such-program", "build-failed", "exit code 127"),
    ],
)
def test_what_is_wrong_with_a_dockerfile_is_told(
    worker: Program, bus: Bus, folder: Path, builder: str, dockerfile: str, code: str, says: str
) -> None:
    context(folder, dockerfile)

    error = failure(bus.enqueue(order(tags=["dockbus/test-wrong:1"])))

    assert error.code == code
    assert says.lower() in error.detail.lower()


def test_a_registry_that_does_not_answer_is_no_fault_of_the_build(
    worker: Program, bus: Bus, folder: Path
) -> None:
    (folder / "Dockerfile").write_text("FROM 127.0.0.1:9/dockbus/none:1\n")
    job = bus.enqueue(order(tags=["dockbus/test-no-base:1"]))

    error = wait_for(lambda: job.refresh().error, 60, "the first attempt to fail")

    assert error.code == "registry-unavailable"
    job.cancel()


def test_a_cancel_ends_the_step_and_leaves_nothing(
    worker: Program, bus: Bus, engine: Engine, folder: Path, builder: str, temporary: Path
) -> None:
    seconds = {"buildkit": "86397", "classic": "86398"}[builder]
    context(folder, f"RUN echo begun; exec sleep {seconds}")
    job = bus.enqueue(order(tags=[f"dockbus/test-canceled-{builder}:1"]))
    wait_for(lambda: _processes(f"sleep {seconds}"), 60, "the step to run")

    job.cancel()

    with pytest.raises(JobCanceled):
        job.wait(timeout=60)
    wait_for(lambda: not _processes(f"sleep {seconds}"), 20, "the step to be gone")
    assert not _processes(str(folder))
    assert list(temporary.iterdir()) == []
    wait_for(lambda: not _containers(engine, seconds), 10, "the step's container to be gone")
    assert engine.images.find(f"dockbus/test-canceled-{builder}:1") is None


def test_a_timeout_ends_the_build(worker: Program, bus: Bus, folder: Path, builder: str) -> None:
    seconds = {"buildkit": "86395", "classic": "86396"}[builder]
    context(folder, f"RUN exec sleep {seconds}")

    error = failure(bus.enqueue(order(tags=["dockbus/test-slow:1"]), timeout=3))

    assert error.code == "job-timeout"
    wait_for(lambda: not _processes(f"sleep {seconds}"), 20, "the step to be gone")


def test_a_build_ends_with_its_worker_when_that_is_killed(
    worker: Program, bus: Bus, folder: Path, builder: str
) -> None:
    seconds = {"buildkit": "86393", "classic": "86394"}[builder]
    context(folder, f"RUN exec sleep {seconds}")
    job = bus.enqueue(order(tags=["dockbus/test-killed:1"]))
    wait_for(lambda: _processes(f"sleep {seconds}"), 60, "the step to run")

    worker.process.kill()

    wait_for(lambda: not _processes(f"sleep {seconds}"), 20, "the step to be gone")
    job.cancel()


def _containers(engine: Engine, word: str) -> list[str]:
    """The containers whose command has this word."""
    raws = engine.api.containers(all=True, trunc=False)
    return [raw["Id"] for raw in raws if word in raw["Command"]]


def _processes(command: str) -> list[int]:
    """Processes of this machine, those in containers too, whose command line has these words."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                words = (
                    (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
            except OSError:
                continue
            if command in words and "sh -c" not in words:
                found.append(int(entry.name))
    return found
