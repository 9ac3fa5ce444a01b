"""Mirrors: asked before the registry, by another name, of which nothing is left."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path

import pytest

import registries
from dockbus import Bus, JobFailed, JobHandle, Pull, PullResult, Settings
from dockbus.engine import Engine
from processes import Program
from registries import PASSWORD, USERNAME, PrivateRegistry
from registry_front import BLOBS, MANIFESTS, Front, front
from registry_jobs import forgetting, knowing

Start = Callable[..., Program]
NOWHERE = "127.0.0.1:9"
"""A registry that does not answer."""


@pytest.fixture
def second(registry: str) -> Generator[Front]:
    """Another front before the same registry."""
    with front(registry) as told:
        yield told


def serve(start: Start, settings: Settings) -> None:
    start("worker", "pull", settings=settings).wait_until_said("taking jobs")


def ended(job: JobHandle) -> PullResult:
    result = job.wait(timeout=60)
    assert isinstance(result, PullResult)
    return result


def said(job: JobHandle) -> str:
    return "\n".join(line.text for line in job.logs())


def mirrors(host: str, *places: str) -> str:
    listed = "".join(f"      - {place}\n" for place in places)
    return f"registries:\n  '{host}':\n    mirrors:\n{listed}"


def test_an_image_of_docker_hub_comes_from_a_mirror_under_its_own_name(
    start: Start, bus: Bus, engine: Engine, registry_front: Front, tmp_path: Path
) -> None:
    place = f"{registry_front.address}/hub"
    there, name = f"{place}/library/dockbus-test-mirrored:1", "dockbus-test-mirrored:1"
    digest = registries.publish(engine, there)
    serve(start, knowing(bus.settings, tmp_path, file=mirrors("docker.io", NOWHERE, place)))

    with forgetting(engine, name):
        job = bus.enqueue(Pull(image=f"docker.io/{name}"))
        result = ended(job)
        again = ended(bus.enqueue(Pull(image=name, policy="newer")))

        assert engine.images.get(name).id == result.image_id
        assert engine.images.find(there) is None
        assert engine.images.get(name).tags == (name,)
        assert (result.digest, result.pulled) == (digest, True)
        assert (again.digest, again.pulled) == (digest, False)
        assert f"{NOWHERE} did not help (registry-unavailable)" in said(job)
        assert f"pulling {there}" in said(job)


def test_a_mirrors_name_that_was_there_before_stays_what_it_was(
    start: Start, bus: Bus, engine: Engine, registry_front: Front, base_image: str, tmp_path: Path
) -> None:
    there, name = f"{registry_front.address}/dockbus/test-kept:1", f"{NOWHERE}/dockbus/test-kept:1"
    registries.publish(engine, there)
    engine.images.tag(base_image, there)
    serve(start, knowing(bus.settings, tmp_path, file=mirrors(NOWHERE, registry_front.address)))

    with forgetting(engine, name, there):
        result = ended(bus.enqueue(Pull(image=name)))

        assert engine.images.get(name).id == result.image_id
        assert engine.images.get(there).id == engine.images.get(base_image).id


def test_a_digest_is_the_same_at_a_mirror(
    start: Start, bus: Bus, engine: Engine, registry_front: Front, tmp_path: Path
) -> None:
    repository = "dockbus/test-mirrored-digest"
    there = f"{registry_front.address}/{repository}"
    digest = registries.publish(engine, f"{there}:1")
    serve(start, knowing(bus.settings, tmp_path, file=mirrors(NOWHERE, registry_front.address)))
    name = f"{NOWHERE}/{repository}@{digest}"

    with forgetting(engine, f"{there}@{digest}"):
        first = ended(bus.enqueue(Pull(image=name)))
        second = ended(bus.enqueue(Pull(image=name, policy="if-not-present")))

        assert engine.images.get(f"{there}@{digest}").id == first.image_id == second.image_id
        assert (first.digest, second.digest) == (digest, digest)
        assert (first.pulled, second.pulled) == (True, False)


TROUBLES: dict[str, tuple[Callable[[Front], None], str]] = {
    "503": (lambda front: front.refuse(503), "registry-unavailable"),
    "429": (lambda front: front.refuse(429, MANIFESTS), "registry-rate-limited"),
    "silent": (lambda front: front.stall(MANIFESTS), "registry-stalled"),
    "silent in a layer": (lambda front: front.stall(BLOBS, after=50_000), "registry-stalled"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_the_next_is_asked_when_a_mirror_fails(
    trouble: str,
    start: Start,
    bus: Bus,
    engine: Engine,
    registry_front: Front,
    second: Front,
    tmp_path: Path,
) -> None:
    name = f"{second.address}/dockbus/test-next:1"
    digest = registries.publish(engine, name)
    file = mirrors(second.address, registry_front.address)
    serve(start, knowing(bus.settings, tmp_path, file=file, stall=1.0))
    make, code = TROUBLES[trouble]
    make(registry_front)

    with forgetting(engine, name):
        job = bus.enqueue(Pull(image=name))
        result = ended(job)

        assert (result.digest, result.pulled) == (digest, True)
        assert f"{registry_front.address} did not help ({code})" in said(job)
        assert job.refresh().attempts == 1
        assert registry_front.count("GET") > 0


def test_a_mirror_that_lacks_the_image_is_passed_over(
    start: Start, bus: Bus, engine: Engine, registry_front: Front, second: Front, tmp_path: Path
) -> None:
    name = f"{second.address}/dockbus/test-lacking:1"
    registries.publish(engine, name)
    file = mirrors(second.address, f"{registry_front.address}/nothing/here")
    serve(start, knowing(bus.settings, tmp_path, file=file))

    with forgetting(engine, name):
        job = bus.enqueue(Pull(image=name))
        assert ended(job).pulled
        assert "did not help (image-not-found)" in said(job)


def test_a_mirror_that_has_another_platform_only_is_passed_over(
    start: Start, bus: Bus, engine: Engine, registry_front: Front, second: Front, tmp_path: Path
) -> None:
    name, there = (f"{f.address}/dockbus/test-elsewhere:1" for f in (second, registry_front))
    registries.publish(engine, name)
    second.seen.clear()
    serve(
        start, knowing(bus.settings, tmp_path, file=mirrors(second.address, registry_front.address))
    )

    job = bus.enqueue(Pull(image=name, platform="linux/s390x"))
    with pytest.raises(JobFailed):
        job.wait(timeout=60)

    assert "did not help (platform-mismatch)" in said(job)
    assert second.count("HEAD", MANIFESTS) >= 1
    assert engine.images.find(name) is engine.images.find(there) is None


def test_a_jobs_credentials_are_for_the_registry_and_never_for_its_mirror(
    start: Start,
    bus: Bus,
    engine: Engine,
    guarded_registry: PrivateRegistry,
    registry_front: Front,
    tmp_path: Path,
) -> None:
    path = "dockbus/test-mirror-login:1"
    name = f"{registry_front.address}/{path}"
    registries.publish(engine, name)
    registries.publish(engine, f"{guarded_registry.address}/{path}", login=guarded_registry)
    file = mirrors(registry_front.address, guarded_registry.address)
    serve(start, knowing(bus.settings, tmp_path, file=file, opener=f"{USERNAME}:{PASSWORD}"))

    with forgetting(engine, name):
        job = bus.enqueue(Pull(image=name, credentials="opener"))
        ended(job)
        assert "did not help (registry-denied): asked with no credentials" in said(job)
