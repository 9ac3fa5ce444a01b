"""Pulls from registries that fail: what the job says, whether it is tried again, and that it gets there in the end."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from pathlib import Path

import pytest

import registries
from dockbus import Bus, JobHandle, JobState, Pull, PullResult, RetryPolicy, Settings
from dockbus.engine import Engine, RegistryStalled
from dockbus.records import Failure
from processes import Program
from registry_front import BLOBS, MANIFESTS, Front, front
from registry_jobs import forgetting, knowing
from waiting import wait_for

Start = Callable[..., Program]
SIZE = 3_000_000
SOON = RetryPolicy(max=20, base=1, cap=1)


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return knowing(settings, tmp_path, stall=6.0)


@pytest.fixture(autouse=True)
def worker(start: Start) -> Program:
    program = start("worker", "pull")
    program.wait_until_said("taking jobs")
    return program


@pytest.fixture
def name(engine: Engine, registry_front: Front) -> Generator[str]:
    image = f"{registry_front.address}/dockbus/test-faults:1"
    registries.publish(engine, image, size=SIZE)
    registry_front.seen.clear()
    with forgetting(engine, image):
        yield image


def failure(job: JobHandle) -> Failure:
    """How an attempt has failed."""
    return wait_for(lambda: job.refresh().error, 60, "an attempt to fail")


def ended(job: JobHandle) -> PullResult:
    result = job.wait(timeout=90)
    assert isinstance(result, PullResult)
    return result


@pytest.mark.parametrize(
    ("status", "code"), [(429, "registry-rate-limited"), (503, "registry-unavailable")]
)
@pytest.mark.parametrize("path", [MANIFESTS, BLOBS], ids=["manifests", "blobs"])
def test_a_registry_that_refuses_for_a_while_is_asked_again(
    status: int, code: str, path: str, bus: Bus, engine: Engine, name: str, registry_front: Front
) -> None:
    registry_front.refuse(status, path)
    job = bus.enqueue(Pull(image=name), retry=SOON)

    failed = failure(job)
    registry_front.behave()

    assert failed.code == code
    assert failed.advice
    assert ended(job).image_id == engine.images.get(name).id
    assert job.refresh().attempts >= 2


def test_after_a_rate_limit_the_next_attempt_is_a_minute_away(
    bus: Bus, name: str, registry_front: Front
) -> None:
    registry_front.refuse(429, MANIFESTS)
    job = bus.enqueue(Pull(image=name))

    failure(job)
    record = wait_for(
        lambda: job.refresh() if job.refresh().state is JobState.SCHEDULED else None, what="a pause"
    )

    assert record.due is not None
    assert 50 < (record.due - datetime.now(UTC)).total_seconds() < 66
    job.cancel()
    wait_for(lambda: job.refresh().state is JobState.CANCELED, what="its end")


@pytest.mark.parametrize(
    ("path", "after"), [(MANIFESTS, None), (BLOBS, 1_000_000)], ids=["at once", "in a layer"]
)
def test_a_registry_that_falls_silent_is_given_up_and_asked_again(
    path: str, after: int | None, bus: Bus, engine: Engine, name: str, registry_front: Front
) -> None:
    registry_front.stall(path, after=after)
    job = bus.enqueue(Pull(image=name), retry=SOON)

    failed = failure(job)
    registry_front.behave()

    assert failed.code == "registry-stalled"
    assert "6.0 s" in failed.detail
    assert ended(job).image_id == engine.images.get(name).id


def test_a_layer_that_breaks_off_is_taken_up_where_it_broke(
    bus: Bus, engine: Engine, name: str, registry_front: Front
) -> None:
    # The Engine itself takes it up, five seconds later: with more patience than that the job sees it through.
    registry_front.cut(BLOBS, after=1_500_000, times=2)  # the layer and the configuration
    job = bus.enqueue(Pull(image=name), retry=SOON)

    result = ended(job)

    assert engine.images.get(name).id == result.image_id
    assert result.size == SIZE


def test_a_layer_that_is_not_what_the_manifest_says_is_no_image(
    bus: Bus, engine: Engine, tmp_path: Path
) -> None:
    with registries.serve(tmp_path / "corrupt", print) as address:
        name = f"{address}/dockbus/test-corrupt:1"
        registries.publish(engine, name, size=SIZE)
        (layer,) = [
            file
            for file in (tmp_path / "corrupt" / "data").rglob("data")
            if file.is_file() and file.stat().st_size > SIZE
        ]
        content = bytearray(layer.read_bytes())
        content[1000:1100] = bytes(100)
        layer.write_bytes(content)

        job = bus.enqueue(Pull(image=name), retry=RetryPolicy(max=1, base=0.1))
        wait_for(lambda: job.refresh().state.ended, 60, "its end")

    record = job.refresh()
    assert record.error is not None
    assert (record.state, record.error.code) == (JobState.DEAD, "image-corrupt")
    assert "push the image anew" in record.error.advice
    assert engine.images.find(name) is None


@pytest.mark.parametrize("image", ["127.0.0.1:9/dockbus/none:1", "nosuch.invalid/dockbus/none:1"])
def test_a_registry_that_is_not_there_is_asked_again(image: str, bus: Bus) -> None:
    job = bus.enqueue(Pull(image=image), retry=SOON)

    failed = failure(job)

    assert failed.code == "registry-unavailable"
    assert re.search("refused|no such host|network is unreachable", failed.detail)
    wait_for(lambda: job.refresh().attempts >= 2, 60, "a second attempt")
    job.cancel()
    wait_for(lambda: job.state is JobState.CANCELED, what="the job to be canceled")


def test_a_canceled_pull_stops_at_once_and_lets_the_next_one_go(
    bus: Bus, engine: Engine, start: Start, name: str, registry_front: Front, tmp_path: Path
) -> None:
    registry_front.stall(BLOBS, after=1_000_000)
    patient = bus.settings.registry.model_copy(update={"stall": 60.0})
    start("worker", "pull", settings=bus.settings.model_copy(update={"registry": patient}))
    job = bus.enqueue(Pull(image=name), retry=SOON)
    wait_for(lambda: registry_front.count("GET", BLOBS), what="the layer to begin")

    job.cancel()
    wait_for(lambda: job.refresh().state is JobState.CANCELED, 10, "its end")
    registry_front.behave()

    assert ended(bus.enqueue(Pull(image=name))).pulled
    assert engine.images.find(name)


def test_a_registry_that_is_killed_in_the_middle_is_asked_again_when_it_is_back(
    bus: Bus, engine: Engine, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    with contextlib.ExitStack() as stack:
        told = stack.enter_context(front(stack.enter_context(registries.serve(folder, print))))
        name = f"{told.address}/dockbus/test-killed:1"
        stack.enter_context(forgetting(engine, name))
        digest = registries.publish(engine, name, size=SIZE)
        told.stall(BLOBS, after=100)
        job = bus.enqueue(Pull(image=name), retry=SOON)
        wait_for(lambda: told.count("GET", BLOBS) == 2, what="layer and configuration to begin")

        os.kill(_pid(folder), signal.SIGKILL)
        told.behave()  # what has begun breaks off; behind the front there is nobody
        failed = failure(job)
        told.upstream = stack.enter_context(registries.serve(folder, print))
        result = ended(job)

        assert failed.code in ("registry-unavailable", "registry-stalled")
        assert (result.digest, result.image_id) == (digest, engine.images.get(name).id)
        assert job.refresh().attempts >= 2


def _pid(folder: Path) -> int:
    """The process that serves from a folder."""
    (pid,) = [
        int(entry.parent.name)
        for entry in Path("/proc").glob("[0-9]*/cmdline")
        if str(folder).encode() in entry.read_bytes()
    ]
    return pid


def test_an_engine_that_only_says_that_it_will_try_again_makes_no_progress(
    engine: Engine, name: str, registry_front: Front
) -> None:
    registry_front.refuse(503, BLOBS)

    with pytest.raises(RegistryStalled, match=r"no progress for 1\.5 s"):
        list(engine.images.pull(name, stall=1.5))

    assert registry_front.count("GET", BLOBS) >= 2
