"""What somebody with write access to Redis can make the workers do: nothing.

Each attack plants a job of its own making. It has to end `failed` without its code having run, and the
worker has to go on: after each attack an honest job on the same queue succeeds.
"""

from __future__ import annotations

import http.server
import json
import pickle
import subprocess
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from dockbus import Bus, Cleanup, JobFailed, JobState
from processes import Program
from waiting import wait_for

Start = Callable[..., Program]
Fields = dict[str, bytes | str | int]


class Boom:
    """Touches a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[list[str]]]:
        return subprocess.check_call, (["touch", str(self.mark)],)


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


@pytest.fixture(autouse=True)
def worker(start: Start) -> Program:
    program = start("worker", "cleanup")
    program.wait_until_said("taking jobs")
    return program


def plant(redis: Any, job: str, **fields: bytes | str | int) -> None:
    base = {"created_at": "2026-01-01T00:00:00.000000Z", "origin": "cleanup", "status": "queued"}
    redis.hset(f"rq:job:{job}", mapping={**base, "timeout": 30, **fields})
    redis.rpush("rq:queue:cleanup", job)


def honest_job_succeeds(bus: Bus) -> bool:
    job = bus.enqueue(Cleanup(labels={"dockbus.test.nobody": "has this"}))
    job.wait(timeout=15)
    return job.state is JobState.SUCCEEDED


def ends_refused(bus: Bus, job: str) -> bool:
    """Wait until RQ's own record of the job says failed; our reading of it says why."""
    wait_for(
        lambda: bus.redis.hget(f"rq:job:{job}", "status") == b"failed", 15, "the job to have failed"
    )
    record = bus.job(job).refresh()
    assert record.state is JobState.FAILED
    assert record.error is not None
    return record.error.code == "job-refused"


EVIL = "os.system"


@pytest.mark.parametrize(
    "attack", ["pickled data", "dotted path", "pickled meta", "string instance", "no signature"]
)
def test_planted_jobs_run_nothing(
    bus: Bus, redis: Redis, mark: Path, worker: Program, attack: str
) -> None:
    call = json.dumps([EVIL, None, [f"touch {mark}"], {}])
    boom = pickle.dumps(Boom(mark))
    honest = json.dumps(["cleanup", None, [{"kind": "cleanup"}], {}])
    fields: dict[str, Fields] = {
        "pickled data": {"data": boom},
        "dotted path": {"data": call},
        "pickled meta": {"data": honest, "meta": boom},
        "string instance": {"data": json.dumps(["format", "{0.__class__}", [1], {}])},
        "no signature": {"data": honest},
    }
    plant(redis, "evil", **fields[attack])

    assert ends_refused(bus, "evil")
    bus.jobs()  # reading it through the bus runs nothing either
    assert not mark.exists()
    assert honest_job_succeeds(bus)
    assert worker.process.poll() is None


@pytest.mark.parametrize(
    "name", ["success_callback_name", "failure_callback_name", "stopped_callback_name"]
)
def test_callbacks_are_never_called(bus: Bus, redis: Redis, mark: Path, name: str) -> None:
    job = bus.enqueue(
        Cleanup(), delay=3600
    )  # honest and signed, waiting where it can be tampered with
    redis.hset(f"rq:job:{job.id}", mapping={name: EVIL})
    redis.hset(f"rq:job:{job.id}", "status", "queued")
    redis.rpush("rq:queue:cleanup", job.id)

    assert ends_refused(bus, job.id)
    assert not mark.exists()
    assert honest_job_succeeds(bus)


def test_webhooks_are_never_sent(bus: Bus, redis: Redis, hits: list[str]) -> None:
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
    plant(
        redis,
        "evil",
        data=json.dumps(["cleanup", None, [{"kind": "cleanup"}], {}]),
        webhooks=json.dumps(hooks),
    )

    assert ends_refused(bus, "evil")
    assert honest_job_succeeds(bus)
    assert hits == []


@pytest.mark.parametrize(
    "broken",
    [
        {"status": "bogus"},
        {"result_ttl": "x"},
        {"timeout": "soon"},
        {"created_at": "yesterday"},
        {"dependency_ids": "{"},
        {"data": b"\x00\xff"},
        {"origin": b"\xff\xfe"},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_a_malformed_record_stops_no_worker(
    bus: Bus, redis: Redis, worker: Program, broken: Fields
) -> None:
    plant(redis, "evil", **{"data": json.dumps([EVIL, None, ["true"], {}]), **broken})

    assert ends_refused(bus, "evil")
    assert honest_job_succeeds(bus)
    assert worker.process.poll() is None


def test_another_spec_or_another_id_breaks_the_signature(bus: Bus, redis: Any) -> None:
    job = bus.enqueue(Cleanup(labels={"app": "shop"}), delay=3600)
    stored = redis.hgetall(f"rq:job:{job.id}")
    data = json.dumps(["cleanup", None, [{"kind": "cleanup", "labels": {}}], {}])

    plant(
        redis,
        "copied",
        **{key.decode(): value for key, value in stored.items()} | {"status": "queued"},
    )
    redis.hset(f"rq:job:{job.id}", mapping={"data": data, "status": "queued"})
    redis.rpush("rq:queue:cleanup", job.id)

    assert ends_refused(bus, "copied")
    assert ends_refused(bus, job.id)


def test_a_bomb_of_data_is_not_unpacked(bus: Bus, redis: Redis) -> None:
    import zlib  # noqa: PLC0415

    plant(redis, "evil", data=zlib.compress(b" " * 200_000_000))

    assert ends_refused(bus, "evil")
    assert honest_job_succeeds(bus)


def test_a_job_that_has_ended_is_not_run_again(bus: Bus, redis: Redis, worker: Program) -> None:
    job = bus.enqueue(Cleanup(labels={"dockbus.test.nobody": "has this"}))
    job.wait(timeout=15)
    before = job.refresh()

    redis.rpush("rq:queue:cleanup", job.id, job.id)

    worker.wait_until_said("not run again")
    assert honest_job_succeeds(bus)
    assert job.refresh() == before


def test_a_worker_with_another_key_refuses(bus: Bus, start: Start, worker: Program) -> None:
    from pydantic import SecretStr  # noqa: PLC0415

    worker.stop()
    other = bus.settings.model_copy(
        update={"bus": bus.settings.bus.model_copy(update={"key": SecretStr("another")})}
    )
    start("worker", "cleanup", settings=other)
    job = bus.enqueue(Cleanup())

    with pytest.raises(JobFailed, match="DOCKBUS_BUS_KEY"):
        job.wait(timeout=15)
    assert job.refresh().attempts == 0


def test_words_on_rqs_command_channel_do_nothing(bus: Bus, redis: Any, worker: Program) -> None:
    names = [key.decode().removeprefix("rq:worker:") for key in redis.smembers("rq:workers")]
    for name in names:
        for command in ("shutdown", "kill-horse", "stop-job"):
            redis.publish(f"rq:pubsub:{name}", json.dumps({"command": command, "job_id": "x"}))

    assert len(names) == 2
    assert honest_job_succeeds(bus)
    assert worker.process.poll() is None
