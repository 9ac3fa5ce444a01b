"""Jobs that want the same image at the same time share one pull, over all workers of an Engine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

import registries
from dockbus import (
    Bus,
    JobHandle,
    Order,
    Pull,
    PullResult,
    RetryPolicy,
    Run,
    Scan,
    Settings,
)
from dockbus.engine import Engine, ImageNotFound
from dockbus_workers.images import ensure_image
from processes import Program
from registry_front import BLOBS, MANIFESTS, Front
from registry_jobs import context, forgetting, knowing
from waiting import wait_for

Start = Callable[..., Program]
N = 6


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return knowing(settings, tmp_path)


@pytest.fixture
def workers(start: Start) -> Callable[[], None]:
    """Starts two workers, with eight slots between them."""

    def run() -> None:
        for program in [start("worker", "pull") for _ in range(2)]:
            program.wait_until_said("taking jobs")

    return run


@pytest.fixture
def name(engine: Engine, registry_front: Front) -> Generator[str]:
    image = f"{registry_front.address}/dockbus/test-shared:1"
    registries.publish(engine, image, size=3_000_000)
    registry_front.seen.clear()
    with forgetting(engine, image):
        yield image


def results(jobs: list[JobHandle]) -> list[PullResult]:
    ended = [job.wait(timeout=90) for job in jobs]
    return [result for result in ended if isinstance(result, PullResult)]


def said(job: JobHandle) -> list[str]:
    return [line.text for line in job.logs()]


@pytest.fixture
def held(bus: Bus, engine: Engine, name: str) -> Generator[Callable[[], None]]:
    """Somebody is busy with the image, until this is called: a build could be."""
    ctx = context(bus, engine, Scan(image=name))
    with contextlib.ExitStack() as stack:
        stack.enter_context(ctx.permit(f"image:{name}"))
        yield stack.close


def waits(job: JobHandle) -> bool:
    return any("waiting for whoever" in text for text in said(job))


def all_wait(jobs: list[JobHandle]) -> None:
    for job in jobs:
        wait_for(partial(waits, job), what="a job to wait")


@pytest.mark.parametrize("policy", ["always", "newer", "if-not-present"])
def test_jobs_that_were_queued_before_a_pull_began_share_it(
    policy: str,
    held: Callable[[], None],
    workers: Callable[[], None],
    bus: Bus,
    name: str,
    registry_front: Front,
) -> None:
    spec = Pull.model_validate({"image": name, "policy": policy})
    jobs = bus.enqueue_many(Order(spec=spec) for _ in range(N))
    workers()
    all_wait(jobs)
    held()

    ended = results(jobs)

    assert [result.pulled for result in ended].count(True) == 1
    assert [result.shared for result in ended].count(True) == N - 1
    assert len({(result.image_id, result.digest) for result in ended}) == 1
    assert registry_front.count("HEAD", MANIFESTS) == 1
    assert registry_front.count("GET", MANIFESTS) == 1
    assert registry_front.count("GET", BLOBS) == 2  # a layer and the configuration
    assert {job.refresh().attempts for job in jobs} == {1}


def test_when_the_first_fails_the_others_try_themselves(
    held: Callable[[], None],
    workers: Callable[[], None],
    bus: Bus,
    name: str,
    registry_front: Front,
) -> None:
    jobs = bus.enqueue_many(
        Order(spec=Pull(image=name), retry=RetryPolicy(max=1, base=0.1)) for _ in range(N)
    )
    workers()
    all_wait(jobs)
    registry_front.refuse(503, MANIFESTS, times=2)  # the Engine asks twice
    held()

    ended = results(jobs)

    assert len(ended) == N
    assert sorted(job.refresh().attempts for job in jobs) == [1] * (N - 1) + [2]
    # One of the others; and the first, which is queued anew, pulls again if it comes after that one.
    assert [result.pulled for result in ended].count(True) in (1, 2)


def test_when_the_worker_of_the_first_is_killed_the_others_go_on(
    start: Start, bus: Bus, name: str, registry_front: Front
) -> None:
    quick = bus.settings.worker.model_copy(update={"heartbeat": 3.0})
    settings = bus.settings.model_copy(update={"worker": quick})
    doomed = start("worker", "pull", settings=settings)
    registry_front.stall(BLOBS, after=1_000_000)
    first = bus.enqueue(Pull(image=name))
    wait_for(lambda: registry_front.count("GET", BLOBS), what="the first to be in the middle")
    second = bus.enqueue(Pull(image=name))
    start("worker", "pull", settings=settings).wait_until_said("taking jobs")
    wait_for(lambda: waits(second), what="the second to wait")

    doomed.process.kill()
    doomed.process.wait()
    registry_front.behave()

    assert len(results([first, second])) == 2
    assert first.refresh().attempts == 2


def test_a_job_that_was_queued_after_a_pull_began_asks_the_registry_again(
    workers: Callable[[], None], bus: Bus, engine: Engine, name: str, registry_front: Front
) -> None:
    workers()
    (first,) = results([bus.enqueue(Pull(image=name))])
    changed = registries.publish(
        engine, name.replace(registry_front.address, registry_front.upstream)
    )

    (second,) = results([bus.enqueue(Pull(image=name))])

    assert (second.pulled, second.shared) == (True, False)
    assert second.digest == changed != first.digest


def test_a_pull_with_credentials_is_not_shared_with_one_that_has_others(
    held: Callable[[], None],
    start: Start,
    bus: Bus,
    name: str,
    registry_front: Front,
    tmp_path: Path,
) -> None:
    settings = knowing(bus.settings, tmp_path, ada="ada:hush")
    jobs = bus.enqueue_many(
        Order(spec=Pull(image=name, credentials=secret)) for secret in ("ada", None, "ada", None)
    )
    start("worker", "pull", settings=settings).wait_until_said("taking jobs")
    all_wait(jobs)
    held()

    ended = results(jobs)

    assert [result.pulled for result in ended].count(True) == 2
    assert registry_front.count("HEAD", MANIFESTS) == 2


def test_an_image_can_be_ensured_from_many_threads_at_once(
    bus: Bus, engine: Engine, name: str, registry_front: Front
) -> None:
    contexts = [context(bus, engine, Run(image=name)) for _ in range(N)]

    ensure = partial(ensure_image, name, "if-not-present", None, None)
    with ThreadPoolExecutor(N) as pool:
        images = list(pool.map(ensure, contexts))

    assert {image.id for image in images} == {engine.images.get(name).id}
    assert registry_front.count("GET", BLOBS) == 2
    assert set(contexts[0].images_used()) == {images[0].id}


def test_an_image_that_may_not_be_pulled_must_be_there(
    bus: Bus, engine: Engine, name: str, registry_front: Front, base_image: str
) -> None:
    ctx = context(bus, engine, Run(image=name))
    there = engine.images.get(base_image)

    with pytest.raises(ImageNotFound, match="says never to pull"):
        ensure_image(name, "never", None, None, ctx)
    with pytest.raises(ImageNotFound):
        ensure_image("sha256:" + "0a" * 32, "always", None, None, ctx)
    assert ensure_image(base_image, "never", None, None, ctx).id == there.id
    assert ensure_image(there.id, "always", None, None, ctx).id == there.id
    assert not registry_front.seen
