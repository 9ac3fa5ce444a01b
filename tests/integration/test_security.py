"""What somebody with write access to Redis can make the workers do: nothing.

Each attack plants a job of its own making, or changes an honest one. It has to end `failed` without its code
having run, and the worker has to go on: one and the same worker meets all of them, and after each an
honest job on the same queue succeeds.
"""

from __future__ import annotations

import dataclasses
import http.server
import json
import pickle
import secrets
import threading
import time
import zlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis

from attacks import (
    EVIL,
    FAR,
    FORGERIES,
    MALFORMED,
    SPEC,
    Boom,
    Fields,
    assert_refused,
    key_of,
    plant,
    tamper,
)
from attempting import RESULT, WORKER, attempts_on, settle, take
from dockbus import Bus, Cleanup, JobFailed, JobState, LogLine, Order, Pull
from dockbus.ids import JobId
from dockbus.settings import BusSettings, EngineSettings, RedisSettings, Settings
from dockbus.signing import pack, sign
from processes import Program
from waiting import wait_for

Start = Callable[..., Program]
ELSEWHERE = "elsewhere"
"""An Engine whose queue the worker of all tests does not serve."""


@pytest.fixture(scope="module")
def settings(
    redis_url: str, engine_host: str, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    folder = tmp_path_factory.mktemp("bus")
    return Settings(
        redis=RedisSettings(url=redis_url),
        engine=EngineSettings(host=engine_host),
        bus=BusSettings(key=SecretStr(secrets.token_hex(32)), data_dir=folder),
    )


@pytest.fixture(scope="module")
def worker(settings: Settings) -> Generator[Program]:
    """The worker that meets all attacks."""
    program = Program(["worker", "cleanup"], settings, settings.bus.data_dir / "worker.log")
    program.wait_until_said("taking jobs")
    yield program
    assert program.stop() == 0


@pytest.fixture(autouse=True)
def unharmed(worker: Program, bus: Bus) -> Generator[None]:
    """Whatever the test does: the worker lives, and honest jobs run after it."""
    yield
    ended = bus.enqueue(SPEC)
    ended.wait(timeout=60)
    assert ended.refresh().attempts == 1
    assert worker.process.poll() is None


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The file that an attack would leave."""
    return tmp_path / "owned"


@pytest.fixture
def hits() -> Generator[list[str]]:
    """Requests that arrive at a server an attack names; with its address as the first item."""
    seen: list[str] = []

    class Catch(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Catch) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        seen.append(f"http://127.0.0.1:{server.server_port}")
        yield seen
        server.shutdown()
        thread.join()


def another(bus: Bus, **changed: Any) -> Bus:
    """A bus on the same Redis with other settings."""
    kept = bus.settings.bus.model_copy(update=changed)
    return Bus(bus.settings.model_copy(update={"bus": kept}))


# -- forged: nobody with the key has written it --------------------------------------------------


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forged_jobs_run_nothing(
    bus: Bus, redis: Redis, mark: Path, worker: Program, forgery: str
) -> None:
    job = JobId(secrets.token_hex(8))

    plant(redis, job, FORGERIES[forgery](job, mark))

    assert_refused(bus, worker, job)
    bus.jobs()  # reading it through the bus runs nothing either
    assert not mark.exists()


def test_another_order_or_another_id_breaks_the_signature(
    bus: Bus, redis: Any, worker: Program
) -> None:
    job = bus.enqueue(SPEC, delay=3600)
    stored = {key.decode(): value for key, value in redis.hgetall(f"rq:job:{job.id}").items()}
    wider = zlib.compress(pack(Order(spec=Cleanup(dry_run=True), delay=3600.0), FAR))
    copy = secrets.token_hex(8)

    plant(redis, copy, {**stored, "status": "queued"})
    tamper(redis, job, {"data": wider})

    assert_refused(bus, worker, copy)
    assert_refused(bus, worker, job.id)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'{"kind": "cleanup", "dry_run": true}',
        b'["cleanup", null, [{"kind": "cleanup", "dry_run": true}], {}]',
        b'["cleanup", null, [{"kind": "cleanup", "dry_run": true}], {"expires": "never"}]',
        b'["cleanup", null, [{"kind": "cleanup", "dry_run": true}], {"expires": 9e9, "in_future": 1}]',
        b'["cleanup", null, [{"kind": "cleanup", "dry_run": true}, 1], {"expires": 9e9}]',
        b'["pull", null, [{"kind": "cleanup", "dry_run": true}], {"expires": 9e9}]',
        b'["os.system", null, [{"kind": "os.system"}], {"expires": 9e9}]',
        b"\xff",
        b"[" * 100_000,
    ],
    ids=lambda data: ascii(data[:60]),
)
def test_what_is_signed_but_not_understood_is_refused(
    bus: Bus, redis: Redis, worker: Program, data: bytes
) -> None:
    job = JobId(secrets.token_hex(8))

    plant(redis, job, {"data": zlib.compress(data), "sig": sign(key_of(bus), job, data)})

    assert_refused(bus, worker, job)


# -- planted: what RQ's own workers would act on -------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "success_callback_name",
        "failure_callback_name",
        "stopped_callback_name",
        "rate_limit_key",
        "repeats_left",
        "group_id",
        "meta",
    ],
)
def test_what_rq_would_act_on_is_refused(
    bus: Bus, redis: Redis, mark: Path, worker: Program, name: str
) -> None:
    planted = pickle.dumps(Boom(mark)) if name == "meta" else EVIL
    job = bus.enqueue(SPEC, delay=3600)

    tamper(redis, job, {name: planted})

    assert_refused(bus, worker, job.id)
    assert not mark.exists()


@pytest.mark.parametrize("origin", ["planted", "on an honest job"])
def test_webhooks_are_never_sent(
    bus: Bus, redis: Redis, hits: list[str], worker: Program, origin: str
) -> None:
    address = hits.pop()
    hooks: list[dict[str, object]] = [
        {
            "url": f"{address}/{status}",
            "job_status": status,
            "method": "POST",
            "headers": {},
            "timeout": 2,
        }
        for status in ("finished", "failed")
    ]
    job = bus.enqueue(SPEC, delay=3600)
    fields: Fields = {"webhooks": json.dumps(hooks)}
    if origin == "planted":
        fields["data"] = zlib.compress(pack(Order(spec=SPEC), FAR))

    tamper(redis, job, fields)

    assert_refused(bus, worker, job.id)
    assert hits == []


def test_words_on_rqs_command_channel_do_nothing(bus: Bus, redis: Any, worker: Program) -> None:
    def registered() -> list[str]:
        return [key.decode().removeprefix("rq:worker:") for key in redis.smembers("rq:workers")]

    wait_for(lambda: len(registered()) == 2, 30, "the worker's two sides to be registered")
    for name in registered():
        for command in ("shutdown", "kill-horse", "stop-job"):
            redis.publish(f"rq:pubsub:{name}", json.dumps({"command": command, "job_id": "x"}))
            redis.hset(f"rq:worker:{name}", "shutdown_requested_date", "2026-01-01T00:00:00Z")

    bus.enqueue(SPEC).wait(timeout=60)
    assert worker.process.poll() is None


# -- malformed: honest jobs whose record somebody has spoiled ------------------------------------


@pytest.mark.parametrize(
    ("field", "value"), MALFORMED, ids=[f"{name}={value[:9]!r}" for name, value in MALFORMED]
)
def test_a_malformed_record_stops_no_worker_and_no_other_job(
    bus: Bus, redis: Any, field: str, value: bytes | str
) -> None:
    damaged, honest = (bus.enqueue(SPEC, delay=3600) for _ in range(2))
    with redis.pipeline() as pipe:  # taken together, whatever the worker does meanwhile
        tamper(pipe, honest, {})
        tamper(pipe, damaged, {field: value})
        tamper(pipe, behind := bus.enqueue(SPEC, delay=3600), {})
        pipe.execute()

    for job in (honest, behind):
        job.wait(timeout=60)
        assert job.refresh().attempts == 1
    wait_for(lambda: damaged.state.ended, 60, "the damaged job to end too")
    wait_for(lambda: redis.ttl(f"rq:job:{damaged.id}") > 0, 10, "it not to be kept for ever")
    assert len(bus.jobs()) == 3
    told = {stored.event.subject for stored in bus.events(since="0", follow=False)}
    assert told >= {honest.id, behind.id}


@pytest.mark.parametrize("field", ["status", "data"])
def test_what_is_no_queued_job_is_dropped(
    bus: Bus, redis: Any, worker: Program, field: str
) -> None:
    job = bus.enqueue(SPEC, delay=3600)
    if field == "status":
        tamper(redis, job, {"status": "bogus"})
    else:
        redis.hdel(f"rq:job:{job.id}", "data")
        tamper(redis, job, {})

    wait_for(lambda: worker.said(f"{job.id}, which is no queued job"), 30, "it to be dropped")
    assert redis.llen("rq:queue:cleanup") == 0
    assert redis.hget(f"rq:job:{job.id}", "attempts") is None


def test_a_job_that_has_ended_is_not_run_again(bus: Bus, redis: Redis, worker: Program) -> None:
    job = bus.enqueue(SPEC)
    job.wait(timeout=60)
    before = job.refresh()

    redis.rpush("rq:queue:cleanup", job.id, job.id)

    wait_for(lambda: worker.said(f"{job.id}, which is no queued job"), 30, "it to be dropped")
    bus.enqueue(SPEC).wait(timeout=60)
    assert job.refresh() == before
    assert redis.llen("rq:queue:cleanup") == 0


# -- orders that no longer hold, attempts that have been given up, keys ------------------------


def test_an_order_that_has_expired_is_not_begun(bus: Bus, redis: Redis, worker: Program) -> None:
    with another(bus, job_ttl=1) as hasty:
        late = hasty.enqueue(SPEC, engine=ELSEWHERE)
    wait_for(lambda: time.time() > late.refresh().created.timestamp() + 3, what="it to expire")
    redis.lmove(f"rq:queue:cleanup@{ELSEWHERE}", "rq:queue:cleanup", "LEFT", "RIGHT")

    with pytest.raises(JobFailed, match="DOCKBUS_BUS_JOB_TTL"):
        late.wait(timeout=60)
    assert_refused(bus, worker, late.id, "job-expired")


def test_an_order_that_is_played_back_after_its_time_is_not_begun(
    bus: Bus, redis: Redis, worker: Program
) -> None:
    job = JobId(secrets.token_hex(8))
    data = pack(Order(spec=SPEC), round(time.time()) - 60)

    plant(redis, job, {"data": zlib.compress(data), "sig": sign(key_of(bus), job, data)})

    assert_refused(bus, worker, job, "job-expired")


def test_an_attempt_that_was_given_up_changes_nothing(bus: Bus, redis: Any) -> None:
    job = bus.enqueue(Pull(image="busybox"))  # the worker here serves another kind
    attempts = attempts_on(bus, lease=0.2)
    [old] = take(attempts, queue="pull")
    wait_for(lambda: attempts.reap("pull"), what="its lease to run out")
    attempts = attempts_on(bus, lease=600)
    [new] = take(attempts, queue="pull")

    def kept() -> dict[str, bytes]:
        return {name: redis.dump(name) for name in (f"rq:job:{job.id}", f"dockbus:log:{job.id}")}

    def events() -> list[str]:
        told = bus.events(since="0", follow=False)
        return [stored.event.type for stored in told if stored.event.subject == job.id]

    before, told, leases = kept(), events(), redis.zrange("rq:wip:pull", 0, -1, withscores=True)
    for token in (old.token, "", "0", "3", "x", f"{new.token}:"):
        late = dataclasses.replace(old, token=token)
        assert not attempts.log(late, [LogLine(stream="stdout", text="too late")])
        assert late.verdict == "superseded"
        assert not attempts.claim(late, engine="mine")
        assert not attempts.conclude(late, "succeeded", RESULT)
        for how in ("succeeded", "failed", "dead", "canceled", "retry", "back"):
            assert not settle(attempts, late, how, RESULT)
        attempts.pulse("pull", [late])
        assert late.verdict == "superseded"

    assert (kept(), events()) == (before, told)
    assert redis.zrange("rq:wip:pull", 0, -1, withscores=True) == leases
    attempts.pulse("pull", [new])
    assert (new.verdict, job.state) == ("go-on", JobState.STARTED)
    assert job.refresh().worker == WORKER


def test_a_worker_with_another_key_refuses(bus: Bus, start: Start) -> None:
    stranger = elsewhere(start, bus, key=SecretStr("another"))
    job = bus.enqueue(SPEC, engine=ELSEWHERE)

    with pytest.raises(JobFailed, match="DOCKBUS_BUS_KEY"):
        job.wait(timeout=60)
    assert_refused(bus, stranger, job.id)


def test_while_the_key_is_changed_jobs_signed_with_either_are_carried_out(
    bus: Bus, start: Start
) -> None:
    changing = {"key": SecretStr("the new key"), "previous_key": bus.settings.bus.key}
    worker = elsewhere(start, bus, **changing)
    with another(bus, key=SecretStr("the new key")) as new, another(bus, **changing) as both:
        with another(bus, key=SecretStr("a third key")) as third:
            refused = third.enqueue(SPEC, engine=ELSEWHERE)
            assert_refused(third, worker, refused.id)
        jobs = [known.enqueue(SPEC, engine=ELSEWHERE) for known in (bus, new, both)]

        for job in jobs:
            job.wait(timeout=60)
            assert both.job(job.id).refresh().spec == SPEC
        assert jobs[2].refresh() == new.job(jobs[2].id).refresh()  # signed with the new key


def elsewhere(start: Start, bus: Bus, **changed: Any) -> Program:
    """A worker with other settings, for a queue of its own."""
    settings = bus.settings.model_copy(
        update={
            "bus": bus.settings.bus.model_copy(update=changed),
            "engine": bus.settings.engine.model_copy(update={"name": ELSEWHERE}),
        }
    )
    program = start("worker", "cleanup", settings=settings)
    program.wait_until_said("taking jobs")
    return program
