"""Credentials for registries: where they come from, what the registry says to them, and that nobody else sees them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

import registries
from dockbus import Bus, JobHandle, JobState, Pull, PullResult, Settings
from dockbus.engine import Engine, RegistryDenied
from dockbus.records import Failure
from dockbus_workers.registries import push
from processes import Program
from registries import OUTSIDE, PASSWORD, USERNAME, PrivateRegistry
from registry_jobs import context, forget, forgetting, knowing
from waiting import wait_for

Start = Callable[..., Program]
LOGIN = f"{USERNAME}:{PASSWORD}"
WRONG = f"{USERNAME}:wrong-b-55d0e2"


@pytest.fixture(params=["http", "tls"])
def private(
    request: pytest.FixtureRequest,
    guarded_registry: PrivateRegistry,
    private_registry: PrivateRegistry,
) -> PrivateRegistry:
    return guarded_registry if request.param == "http" else private_registry


@pytest.fixture
def name(engine: Engine, private: PrivateRegistry) -> Generator[str]:
    """An image that only the private registry has."""
    image = f"{private.address}/dockbus/test-private:1"
    registries.publish(engine, image, login=private)
    with forgetting(engine, image):
        yield image


def worker(start: Start, settings: Settings, kind: str = "pull") -> Program:
    program = start("worker", kind, settings=settings)
    program.wait_until_said("taking jobs")
    return program


def ends(job: JobHandle) -> None:
    wait_for(lambda: job.refresh().state.ended, 60, "the job to end")


def refused(job: JobHandle) -> Failure:
    ends(job)
    record = job.refresh()
    assert record.state is JobState.FAILED, record.error
    assert record.attempts == 1
    assert record.error is not None
    return record.error


@pytest.mark.parametrize(
    "secret",
    [LOGIN, LOGIN + "\n", json.dumps({"username": USERNAME, "password": PASSWORD})],
    ids=["user:password", "with a line end", "JSON"],
)
def test_the_right_credentials_open_a_private_registry(
    secret: str, start: Start, bus: Bus, engine: Engine, name: str, tmp_path: Path
) -> None:
    worker(start, knowing(bus.settings, tmp_path, opener=secret))

    ended = bus.enqueue(Pull(image=name, credentials="opener")).wait(timeout=60)

    assert isinstance(ended, PullResult)
    assert ended.pulled
    assert engine.images.get(name).id == ended.image_id


def test_no_and_wrong_credentials_are_refused_with_what_to_do(
    start: Start, bus: Bus, engine: Engine, name: str, tmp_path: Path
) -> None:
    worker(start, knowing(bus.settings, tmp_path, wrong=WRONG, broken="hush-c-1"))

    none = refused(bus.enqueue(Pull(image=name)))
    wrong = refused(bus.enqueue(Pull(image=name, credentials="wrong")))
    broken = refused(bus.enqueue(Pull(image=name, credentials="broken")))
    missing = refused(bus.enqueue(Pull(image=name, credentials="missing")))
    asked = refused(bus.enqueue(Pull(image=name, credentials="wrong", policy="newer")))

    assert engine.images.find(name) is None
    assert (none.code, wrong.code, asked.code) == ("registry-denied",) * 3
    assert none.detail.startswith("asked with no credentials: ")
    assert wrong.detail.startswith("asked with the secret 'wrong': ")
    assert "DOCKBUS_REGISTRY_PATH" in none.advice
    assert (broken.code, missing.code) == ("credentials-unusable", "secret-not-found")
    assert "hush-c-1" not in str(broken)


def test_credentials_are_found_by_registry_in_the_workers_file(
    start: Start, bus: Bus, name: str, private: PrivateRegistry, tmp_path: Path
) -> None:
    file = f"registries: {{'{private.address}': {{credentials: shop}}}}"
    worker(start, knowing(bus.settings, tmp_path, file=file, shop=LOGIN))

    ended = bus.enqueue(Pull(image=name)).wait(timeout=60)

    assert isinstance(ended, PullResult)
    assert ended.pulled


def test_a_change_of_the_workers_file_holds_at_once(
    start: Start, bus: Bus, name: str, private: PrivateRegistry, tmp_path: Path
) -> None:
    worker(start, knowing(bus.settings, tmp_path, file="registries: {}", shop=LOGIN))
    before = refused(bus.enqueue(Pull(image=name)))

    file = tmp_path / "registries.yaml"
    file.write_text("registries: {nonsense}")
    broken = refused(bus.enqueue(Pull(image=name)))
    file.write_text(f"registries: {{'{private.address}': {{credentials: shop}}}}")
    ended = bus.enqueue(Pull(image=name)).wait(timeout=60)

    assert before.code == "registry-denied"
    assert broken.code == "registries-error"
    assert str(file) in broken.detail
    assert isinstance(ended, PullResult)


@pytest.mark.parametrize("way", ["auths", "credsStore", "credHelpers"])
def test_dockers_own_login_is_used_where_nothing_else_is_said(
    way: str,
    start: Start,
    bus: Bus,
    engine: Engine,
    guarded_registry: PrivateRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = f"{guarded_registry.address}/dockbus/test-docker-login:1"
    registries.publish(engine, name, login=guarded_registry)
    settings = knowing(bus.settings, tmp_path)
    helper = tmp_path / "docker-credential-tests"
    answer = json.dumps({"ServerURL": "x", "Username": USERNAME, "Secret": PASSWORD})
    helper.write_text(f"#!/bin/sh\necho '{answer}'\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    auth = base64.b64encode(LOGIN.encode()).decode()
    content = {
        "auths": {"auths": {guarded_registry.address: {"auth": auth}}},
        "credsStore": {"credsStore": "tests"},
        "credHelpers": {"credHelpers": {guarded_registry.address: "tests"}},
    }[way]
    (tmp_path / "docker" / "config.json").write_text(json.dumps(content))
    worker(start, settings)

    with forgetting(engine, name):
        ended = bus.enqueue(Pull(image=name)).wait(timeout=60)

        assert isinstance(ended, PullResult)
        assert ended.pulled


def test_an_authority_that_the_engine_does_not_know_is_told_and_one_it_knows_is_taken(
    start: Start,
    bus: Bus,
    strict_engine: Engine,
    engine: Engine,
    private_registry: PrivateRegistry,
    tmp_path: Path,
) -> None:
    path = "dockbus/test-authority:1"
    registries.publish(engine, f"{private_registry.address}/{path}", login=private_registry)
    settings = knowing(bus.settings, tmp_path, opener=LOGIN)
    host = settings.engine.model_copy(update={"host": strict_engine.host, "name": "strict"})
    worker(start, settings.model_copy(update={"engine": host}))
    name = f"{OUTSIDE}/{path}"
    spec = Pull(image=name, credentials="opener")

    failure = refused(bus.enqueue(spec))
    with registries.trusted(private_registry), forgetting(strict_engine, name):
        none = refused(bus.enqueue(Pull(image=name)))
        ended = bus.enqueue(spec).wait(timeout=60)

    assert failure.code == "registry-untrusted"
    assert "x509" in failure.detail
    assert "/etc/docker/certs.d/" in failure.advice
    assert none.code == "registry-denied"
    assert isinstance(ended, PullResult)
    assert ended.pulled


def everything(redis: Any) -> bytes:
    """All that Redis holds, in its own form and as values."""
    read: dict[bytes, Callable[[bytes], object]] = {
        b"string": redis.get,
        b"hash": redis.hgetall,
        b"list": partial(redis.lrange, start=0, end=-1),
        b"set": redis.smembers,
        b"zset": partial(redis.zrange, start=0, end=-1, withscores=True),
        b"stream": redis.xrange,
    }
    found: list[bytes] = []
    keys: list[bytes] = list(redis.scan_iter("*"))
    for key in keys:
        values = repr(read[redis.type(key)](key)).encode()
        found += [key, redis.dump(key) or b"", values]
    assert len(keys) > 5
    return b"\n".join(found)


def test_credentials_are_nowhere_but_with_the_registry(
    start: Start,
    bus: Bus,
    redis: Redis,
    engine: Engine,
    guarded_registry: PrivateRegistry,
    tmp_path: Path,
) -> None:
    name = f"{guarded_registry.address}/dockbus/test-hidden:1"
    registries.publish(engine, name, login=guarded_registry)
    file = f"registries: {{'{guarded_registry.address}': {{credentials: right}}}}"
    settings = knowing(
        bus.settings,
        tmp_path,
        file=file,
        right=LOGIN,
        wrong=json.dumps({"username": USERNAME, "password": "wrong-b-55d0e2"}),
        token=json.dumps({"identitytoken": "token-d-77aa01"}),
        broken="{broken-e-90cc",
    )
    program = worker(start, settings)
    jobs = [
        bus.enqueue(Pull(image=name, credentials=secret, policy=policy))
        for secret in (None, "right", "wrong", "token", "broken")
        for policy in ("always", "newer")
    ]
    for job in jobs:
        ends(job)

    assert {job.refresh().state for job in jobs} == {JobState.SUCCEEDED, JobState.FAILED}
    said = everything(redis) + program.log.read_bytes()
    said += "".join(job.refresh().model_dump_json() for job in jobs).encode()
    forget(engine, name)
    for secret in (PASSWORD, "wrong-b-55d0e2", "token-d-77aa01", "broken-e-90cc"):
        for form in (secret, base64.b64encode(f"{USERNAME}:{secret}".encode()).decode()):
            assert form.encode() not in said
    assert b"X-Registry-Auth" not in said


def test_an_image_is_pushed_with_the_workers_credentials(
    bus: Bus, engine: Engine, private: PrivateRegistry, base_image: str, tmp_path: Path
) -> None:
    name = f"{private.address}/dockbus/test-push:1"
    engine.images.tag(base_image, name)
    file = f"registries: {{'{private.address}': {{credentials: right}}}}"
    with (
        Bus(knowing(bus.settings, tmp_path, file=file, right=LOGIN, wrong=WRONG)) as knowing_bus,
        forgetting(engine, name),
    ):
        ctx = context(knowing_bus, engine, Pull(image=name))

        digest = push(name, ctx)

        assert [f"{private.address}/dockbus/test-push@{digest}"] == [
            known for known in engine.images.get(name).digests if private.address in known
        ]
        with pytest.raises(RegistryDenied, match="asked with the secret 'wrong'"):
            push(name, ctx, "wrong")
