"""Pull jobs against a real registry and a real Engine."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Generator

import pytest

import registries
from dockbus import Bus, JobFailed, Progress, Pull, PullResult, Run
from dockbus.engine import Engine
from processes import Program
from waiting import wait_for

Start = Callable[..., Program]
SIZE = 3_000_000


@pytest.fixture
def published(engine: Engine, registry: str) -> Generator[tuple[str, str]]:
    """An image of random bytes that only the registry has: its name and digest."""
    name = f"{registry}/dockbus/test-pull:1"
    with io.BytesIO() as buffer:
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            entry = tarfile.TarInfo("noise")
            entry.size = SIZE
            tar.addfile(entry, io.BytesIO(os.urandom(SIZE)))
        engine.images.import_rootfs(buffer.getvalue(), name, ["LABEL dockbus.test=1"])
    digest = registries.push(engine.host, name)
    engine.images.remove(name)
    yield name, digest
    if engine.images.find(name):
        engine.images.remove(name)


@pytest.fixture(autouse=True)
def worker(start: Start) -> Program:
    program = start("worker", "pull")
    program.wait_until_said("taking jobs")
    return program


def test_a_pull_brings_the_image_with_progress(
    bus: Bus, engine: Engine, published: tuple[str, str]
) -> None:
    name, digest = published
    job = bus.enqueue(Pull(image=name))

    steps = [entry for entry in job.follow(timeout=60) if isinstance(entry, Progress)]
    ended = job.wait(timeout=60)

    assert isinstance(ended, PullResult)
    image = engine.images.get(name)
    assert (ended.image_id, ended.digest, ended.platform) == (image.id, digest, image.platform)
    assert ended.size == image.size == SIZE
    assert ended.fetched >= SIZE
    assert {step.status for step in steps} >= {"Downloading", "Pull complete"}


def test_a_pull_by_digest_and_a_second_pull_fetch_nothing_new(
    bus: Bus, engine: Engine, published: tuple[str, str]
) -> None:
    name, digest = published
    bus.enqueue(Pull(image=name)).wait(timeout=60)

    again = bus.enqueue(Pull(image=f"{name.removesuffix(':1')}@{digest}")).wait(timeout=60)

    assert isinstance(again, PullResult)
    assert (again.digest, again.fetched) == (digest, 0)


def test_a_tag_that_the_registry_does_not_have_fails_once(
    bus: Bus, published: tuple[str, str]
) -> None:
    job = bus.enqueue(Pull(image=published[0].replace(":1", ":2")))

    with pytest.raises(JobFailed, match="manifest"):
        job.wait(timeout=60)
    record = job.refresh()
    assert record.error is not None
    assert (record.error.code, record.attempts) == ("image-not-found", 1)


def test_the_wrong_platform_is_refused_though_the_engine_takes_it(
    bus: Bus, published: tuple[str, str]
) -> None:
    job = bus.enqueue(Pull(image=published[0], platform="linux/s390x"))

    with pytest.raises(JobFailed):
        job.wait(timeout=60)
    failure = job.refresh().error
    assert failure is not None
    assert failure.code in ("platform-mismatch", "image-not-found")


def test_a_run_job_pulls_its_image_when_it_is_missing(
    bus: Bus, engine: Engine, start: Start, registry: str, base_image: str
) -> None:
    name = f"{registry}/dockbus/test-run:1"
    engine.images.tag(base_image, name)
    registries.push(engine.host, name)
    engine.images.remove(name)
    start("worker", "run")

    job = bus.enqueue(Run(image=name, command=["echo", "pulled"], labels={"dockbus.test": "1"}))

    assert [line.text for line in job.logs(follow=True) if line.stream == "stdout"] == ["pulled"]
    wait_for(lambda: engine.images.find(name), what="the image")
    engine.images.remove(name)
