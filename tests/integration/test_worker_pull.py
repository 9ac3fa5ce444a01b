"""Pull jobs against a real registry and a real Engine: what they bring, when they pull at all, what they say."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path

import pytest

import registries
from dockbus import Bus, JobFailed, Progress, Pull, PullResult, Run, Settings
from dockbus.engine import Engine
from processes import Program
from registry_front import BLOBS, MANIFESTS, Front
from registry_jobs import forget, forgetting, knowing
from waiting import wait_for

Start = Callable[..., Program]
SIZE = 3_000_000


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return knowing(settings, tmp_path)


@pytest.fixture(autouse=True)
def worker(start: Start) -> Program:
    program = start("worker", "pull")
    program.wait_until_said("taking jobs")
    return program


@pytest.fixture
def published(engine: Engine, registry_front: Front) -> Generator[tuple[str, str]]:
    """An image of random bytes that only the registry has, behind a front that counts: its name and digest."""
    name = f"{registry_front.address}/dockbus/test-pull:1"
    digest = registries.publish(engine, name, size=SIZE)
    registry_front.seen.clear()
    with forgetting(engine, name):
        yield name, digest


def pulled(bus: Bus, spec: Pull) -> PullResult:
    result = bus.enqueue(spec).wait(timeout=60)
    assert isinstance(result, PullResult)
    return result


def replace(engine: Engine, name: str, front: Front) -> str:
    """Have another image under the name in the registry, without the Engine's knowing; its digest."""
    return registries.publish(engine, name.replace(front.address, front.upstream))


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
    assert ended.layers == 1
    assert ended.fetched >= SIZE
    assert (ended.pulled, ended.shared) == (True, False)
    assert {step.status for step in steps} >= {"Downloading", "Pull complete"}


def test_a_pull_by_digest_and_a_second_pull_fetch_nothing_new(
    bus: Bus, published: tuple[str, str]
) -> None:
    name, digest = published
    pulled(bus, Pull(image=name))

    again = pulled(bus, Pull(image=f"{name.removesuffix(':1')}@{digest}"))

    assert (again.digest, again.fetched, again.pulled) == (digest, 0, True)


def test_an_image_that_is_there_is_not_pulled_where_that_will_do(
    bus: Bus, published: tuple[str, str], registry_front: Front
) -> None:
    name, digest = published
    spec = Pull(image=name, policy="if-not-present")

    first = pulled(bus, spec)
    registry_front.seen.clear()
    second = pulled(bus, spec)

    assert (first.pulled, second.pulled) == (True, False)
    assert (second.image_id, second.digest, second.fetched) == (first.image_id, digest, 0)
    assert not registry_front.seen


def test_newer_pulls_only_what_has_changed_in_the_registry(
    bus: Bus, engine: Engine, published: tuple[str, str], registry_front: Front
) -> None:
    name, digest = published
    spec = Pull(image=name, policy="newer")
    first = pulled(bus, spec)
    registry_front.seen.clear()

    same = pulled(bus, spec)
    asked = registry_front.count("GET", BLOBS)
    changed = replace(engine, name, registry_front)
    other = pulled(bus, spec)

    assert (first.pulled, same.pulled, other.pulled) == (True, False, True)
    assert (first.digest, same.digest, other.digest) == (digest, digest, changed)
    assert asked <= 1  # the configuration, which says the platform
    assert engine.images.get(name).id == other.image_id != first.image_id
    forget(engine, first.image_id)


def test_a_tag_that_the_registry_does_not_have_fails_once(
    bus: Bus, published: tuple[str, str]
) -> None:
    job = bus.enqueue(Pull(image=f"{published[0].removesuffix(':1')}:2"))

    with pytest.raises(JobFailed, match="manifest"):
        job.wait(timeout=60)
    record = job.refresh()
    assert record.error is not None
    assert (record.error.code, record.attempts) == ("image-not-found", 1)


def test_the_wrong_platform_is_refused_though_the_engine_takes_it(
    bus: Bus, engine: Engine, published: tuple[str, str]
) -> None:
    name, _ = published
    job = bus.enqueue(Pull(image=name, platform="linux/s390x"))

    with pytest.raises(JobFailed):
        job.wait(timeout=60)

    failure = job.refresh().error
    assert failure is not None
    assert failure.code == "platform-mismatch"
    assert engine.images.find(name) is None


def test_the_wrong_platform_does_not_take_the_name_from_the_right_image(
    bus: Bus, engine: Engine, published: tuple[str, str], registry_front: Front
) -> None:
    name, _ = published
    right = pulled(bus, Pull(image=name, platform="linux/amd64"))
    replace(engine, name, registry_front)

    with pytest.raises(JobFailed):
        bus.enqueue(Pull(image=name, platform="linux/s390x")).wait(timeout=60)

    assert engine.images.get(name).id == right.image_id


def test_a_run_job_pulls_its_image_when_it_is_missing(
    bus: Bus, engine: Engine, start: Start, registry_front: Front, base_image: str
) -> None:
    name = f"{registry_front.address}/dockbus/test-run:1"
    engine.images.tag(base_image, name)
    registries.push(engine.host, name)
    engine.images.remove(name)
    start("worker", "run")

    with forgetting(engine, name):
        job = bus.enqueue(Run(image=name, command=["echo", "pulled"], labels={"dockbus.test": "1"}))

        said = [line.text for line in job.logs(follow=True) if line.stream == "stdout"]
        assert said == ["pulled"]
        assert registry_front.count("HEAD", MANIFESTS) >= 1
        wait_for(lambda: engine.images.find(name), what="the image")
