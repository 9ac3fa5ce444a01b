"""Versions side by side: a worker of this one meets jobs from before, and jobs that only a later one knows."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis

from attacks import FAR, Fields, key_of, plant
from attempting import SPEC, attempts_on, settle, states, take
from dockbus import Bus, JobState, Order, Settings
from dockbus.engine import Engine
from dockbus.errors import JobTooNew
from dockbus.ids import JobId
from dockbus.jobs import LABEL_JOB
from dockbus.orders import SCHEMA
from dockbus.signing import pack, sign
from processes import Program
from runs import result
from waiting import wait_for

Start = Callable[..., Program]
KEPT: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "data" / "orders-before.json").read_text()
)


def of_later(bus: Bus, job: JobId) -> Fields:
    """The data of a job that a later dockbus has ordered: it has a field that this one does not know."""
    call = json.loads(pack(Order(spec=SPEC), FAR))
    call[2][0]["only_later"] = True
    call[3]["schema"] = SCHEMA + 1
    data = json.dumps(call).encode()
    return {
        "data": zlib.compress(data),
        "sig": sign(key_of(bus), job, data),
        "description": "cleanup",
        "tries": "1",
    }


def test_a_job_from_before_still_runs(
    settings: Settings, redis: Any, start: Start, engine: Engine, base_image: str
) -> None:
    kept = settings.bus.model_copy(update={"key": SecretStr(KEPT["key"])})
    old = settings.model_copy(update={"bus": kept})
    with Bus(old) as bus:
        [job] = [job for job in KEPT["jobs"] if job["id"] == "from-before-run"]
        fields = {**job["fields"], "data": base64.b64decode(job["fields"]["data"])}
        redis.zadd("dockbus:jobs", {job["id"]: 1})
        redis.hset(f"rq:job:{job['id']}", mapping={**fields, "status": "queued"})
        redis.rpush("rq:queue:run", job["id"])

        start("worker", "run", settings=old)

        handle = bus.job(job["id"])
        assert result(handle).exit_code == 3
        assert [line.text for line in handle.logs() if line.stream == "stdout"] == ["from before"]
        assert not engine.containers.all(labels={LABEL_JOB: job["id"]})


def test_a_job_of_a_later_version_is_left_to_others_and_stands_in_nobodys_way(
    bus: Bus, redis: Redis, start: Start
) -> None:
    worker = start("worker", "cleanup")
    worker.wait_until_said("taking jobs")
    job = JobId("of-later")

    plant(redis, job, of_later(bus, job))
    honest = [bus.enqueue(SPEC) for _ in range(5)]
    for one in honest:
        one.wait(timeout=60)

    wait_for(
        lambda: states(bus, job)[:3] == ["started", "scheduled", "queued"],
        what="it to be passed on, and to come again",
    )
    record = bus.job(job).refresh()
    assert record.attempts <= 1  # passed on, it has made none
    assert record.error is not None
    assert record.error.code == "job-too-new"
    assert "only_later" in record.error.detail
    with pytest.raises(JobTooNew):
        bus.replay(job)
    assert worker.said(f"job {job}: left to a newer worker in 2 s")

    # There is no worker of a later version, so it is made one that this version knows.
    data = pack(Order(spec=SPEC), FAR)
    known = {"data": zlib.compress(data), "sig": sign(key_of(bus), job, data)}
    redis.hset(f"rq:job:{job}", mapping=known)  # type: ignore[arg-type]
    bus.job(job).wait(timeout=60)
    assert bus.job(job).refresh().attempts == 1


def test_a_job_that_is_passed_on_keeps_no_other_from_what_is_exclusive(
    engineless_bus: Bus, redis: Redis
) -> None:
    bus, job = engineless_bus, JobId("of-later")
    plant(redis, job, {**of_later(bus, job), "exclusive": "one"})
    other = bus.enqueue(SPEC, exclusive="one")
    attempts = attempts_on(bus)

    [passed] = take(attempts)
    assert isinstance(passed.order, JobTooNew)
    assert settle(attempts, passed, "pass", "{}", pause=60.0)

    [taken] = take(attempts)
    assert taken.job == other.id


def test_a_job_that_is_canceled_while_it_is_passed_on_is_canceled(
    engineless_bus: Bus, redis: Redis
) -> None:
    bus, job = engineless_bus, JobId("of-later")
    plant(redis, job, of_later(bus, job))
    attempts = attempts_on(bus)

    [passed] = take(attempts)
    bus.cancel(job)
    assert settle(attempts, passed, "pass", "{}", pause=60.0)

    assert bus.job(job).refresh().state is JobState.CANCELED
    assert states(bus, job) == ["started", "canceled"]
