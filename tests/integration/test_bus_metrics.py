"""The bus as Prometheus sees it: what Redis holds, read in two round trips."""

# redis-py's own annotations are partial.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import time
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis.connection import AbstractConnection

from attempting import RESULT, SPEC, attempts_on, settle, take
from dockbus import Bus
from dockbus.connection import connect
from dockbus.events import STREAM, Event
from dockbus.queue.keys import job_key
from dockbus.tally import Tally, sample
from dockbus_workers.metrics import bus_collector
from dockbus_workers.metrics.bus_collector import BusCollector
from dockbus_workers.metrics.bus_families import COUNTED, READ
from outage import Plug
from scrapes import Scrape
from snapshots import Told
from waiting import wait_for


class Page(Scrape):
    """What one scrape said."""

    def has(self, name: str, /, **labels: str) -> bool:
        return any(s.name == name and labels.items() <= s.labels.items() for s in self)


@pytest.fixture
def bus(engineless_bus: Bus) -> Bus:
    return engineless_bus


@pytest.fixture
def collector(bus: Bus) -> Generator[BusCollector]:
    collector = BusCollector(bus.redis)
    yield collector
    collector.close()


@pytest.fixture
def plug(redis_url: str) -> Generator[Plug]:
    with Plug(redis_url.removeprefix("unix://")) as plug:
        yield plug


@pytest.fixture
def far(plug: Plug) -> Generator[BusCollector]:
    """One whose Redis can go away."""
    with connect(f"redis://127.0.0.1:{plug.port}", patience=0.0) as client:
        collector = BusCollector(client)
        yield collector
        collector.close()


def look(collector: BusCollector) -> Page:
    return Page(one for metric in collector.collect() for one in metric.samples)


def heard(bus: Bus, name: str, queues: str, *, ago: float = 0.0, **fields: Any) -> None:
    """A worker, as RQ writes it."""
    key = f"rq:worker:{name}"
    beat = (datetime.now(UTC) - timedelta(seconds=ago)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    known = {"queues": queues, "state": "idle", "last_heartbeat": beat, "slots": 4}
    redis: Any = bus.redis
    redis.hset(key, mapping=known | fields)
    bus.redis.sadd("rq:workers", key)


def test_jobs_by_queue_and_state(bus: Bus, collector: BusCollector) -> None:
    bus.enqueue_many([SPEC] * 4)
    bus.enqueue(SPEC, delay=600)
    bus.enqueue(SPEC).cancel()
    attempts = attempts_on(bus, 60)
    done, _ = take(attempts, 2)
    settle(attempts, done, "succeeded", RESULT)

    found = look(collector)

    assert {
        s.labels["status"]: s.value
        for s in found
        if s.name == "rq_jobs" and s.labels["queue"] == "cleanup"
    } == {
        "queued": 2,
        "started": 1,
        "finished": 1,
        "failed": 0,
        "deferred": 0,
        "scheduled": 1,
        "canceled": 1,
    }
    assert found.value("rq_jobs", queue="scan", status="queued") == 0
    assert found.value("dockbus_queue_slots_busy", queue="cleanup") == 1
    cleanup = {"kind": "cleanup", "queue": "cleanup"}
    assert found.value("dockbus_jobs_enqueued_total", **cleanup) == 6
    assert found.value("dockbus_jobs_total", **cleanup, outcome="succeeded") == 1
    assert found.value("dockbus_jobs_total", **cleanup, outcome="canceled") == 1
    assert found.value("dockbus_job_run_seconds_count", **cleanup) == 1
    assert found.value("dockbus_job_wait_seconds_count", **cleanup) == 2


def test_the_oldest_job_may_stand_behind_many_that_were_put_in_front(
    bus: Bus, collector: BusCollector
) -> None:
    old = bus.enqueue(SPEC)
    bus.enqueue_many([SPEC] * 5)
    for _ in range(20):
        bus.enqueue(SPEC, priority="high")
    long_ago = (datetime.now(UTC) - timedelta(seconds=1000)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    bus.redis.hset(job_key(old.id), "enqueued_at", long_ago)

    found = look(collector)

    assert 1000 <= found.value("dockbus_queue_oldest_job_age_seconds", queue="cleanup") < 1060
    assert found.value("dockbus_queue_oldest_job_age_seconds", queue="scan") == 0


def test_workers_and_their_slots(bus: Bus, collector: BusCollector) -> None:
    counters: Any = {"successful_job_count": 3, "failed_job_count": 1, "total_working_time": "7.5"}
    heard(bus, "a1", "run", state="busy", **counters)
    heard(bus, "a2", "run@local", ago=20)
    heard(bus, "b1", "run", ago=5, slots=2)
    heard(bus, "b2", "run@local")
    bus.redis.sadd("rq:workers", "rq:worker:expired")

    found = look(collector)

    assert found.value("rq_workers", name="a1", state="busy", queues="run") == 1
    assert not found.has("rq_workers", name="expired")
    assert found.value("rq_workers_success_total", name="a1") == 3
    assert found.value("rq_workers_failed_total", name="a1") == 1
    assert found.value("rq_workers_working_time_total", name="a1") == 7.5
    assert found.value("dockbus_queue_workers", queue="run") == 2
    assert found.value("dockbus_queue_workers", queue="run@local") == 2
    assert found.value("dockbus_queue_workers", queue="scan") == 0
    assert found.value("dockbus_queue_slots", queue="run") == 6
    assert found.value("dockbus_queue_slots", queue="scan") == 0
    assert 5 <= found.value("dockbus_worker_heartbeat_age_seconds", queue="run") < 15
    assert 20 <= found.value("dockbus_worker_heartbeat_age_seconds", queue="run@local") < 30


def test_redis_events_rules_and_engines(bus: Bus, collector: BusCollector) -> None:
    for number in range(3):
        bus.publish(Event(source="/test", type="io.test.x", subject=str(number)))
    redis: Any = bus.redis
    redis.xgroup_create(STREAM, "readers", "0")
    redis.xreadgroup("readers", "one", {STREAM: ">"}, count=1)
    soon = time.time() + 600
    redis.zadd("dockbus:rules:suspended", {"loop:a": soon, "loop:b": soon, "loop:c": 1})
    told = Told(bus)
    told.engine("near", resynced=datetime.now(UTC) - timedelta(seconds=50))
    told.engine("far", connected=False, resynced=None)

    found = look(collector)

    assert found.value("dockbus_redis_up") == 1
    assert found.value("dockbus_redis_memory_bytes") > 100_000
    assert found.value("dockbus_redis_memory_limit_bytes") == 0
    assert found.value("dockbus_events_stored") == 3
    assert found.value("dockbus_event_group_pending", group="readers") == 1
    assert found.value("dockbus_event_group_lag", group="readers") == 2
    assert found.value("dockbus_rule_suspended", rule="loop") == 2
    assert found.value("dockbus_engine_connected", engine="near") == 1
    assert found.value("dockbus_engine_connected", engine="far") == 0
    assert 50 <= found.value("dockbus_engine_resync_age_seconds", engine="near") < 60
    assert not found.has("dockbus_engine_resync_age_seconds", engine="far")


def test_every_family_of_the_catalogue_is_given_and_no_other(collector: BusCollector) -> None:
    names = {family.metric().name for family in (*READ, *COUNTED)}

    assert {metric.name for metric in collector.collect()} == names
    assert {metric.name for metric in collector.describe()} == names


def test_any_number_of_workers_and_queues_takes_two_round_trips(
    bus: Bus, collector: BusCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(100):
        heard(bus, f"w{number}", f"q{number % 10}")
    bus.redis.sadd("rq:queues", *(f"rq:queue:q{number}" for number in range(10)))
    look(collector)
    trips: list[int] = []
    send: Any = AbstractConnection.send_packed_command

    def counted(self: AbstractConnection, *args: Any, **kwargs: Any) -> Any:
        trips.append(1)
        return send(self, *args, **kwargs)

    monkeypatch.setattr(AbstractConnection, "send_packed_command", counted)
    found = look(collector)

    assert len(trips) == 2
    assert sum(s.name == "rq_workers" for s in found) == 100
    assert found.value("dockbus_queue_workers", queue="q3") == 10


def test_what_somebody_has_spoilt_takes_nothing_else(bus: Bus, collector: BusCollector) -> None:
    bus.enqueue(SPEC)
    heard(bus, "odd", "run", slots="many", total_working_time="", last_heartbeat="yesterday")
    spoilt = (
        *("dockbus:engines", "dockbus:rules:suspended", "dockbus:exemplars", "dockbus:tally"),
        *("rq:queue:scan", "rq:wip:run", "rq:worker:none", job_key(bus.enqueue(SPEC).id)),
    )
    for key in spoilt:
        bus.redis.delete(key)
        bus.redis.set(key, "spoilt")
    bus.redis.sadd("rq:workers", "rq:worker:none", b"\xff")

    found = look(collector)

    assert found.value("dockbus_redis_up") == 1
    assert found.value("rq_jobs", queue="cleanup", status="queued") == 2
    assert found.value("dockbus_queue_slots", queue="run") == 0
    assert found.value("dockbus_worker_heartbeat_age_seconds", queue="run") == 0


def test_what_the_catalogue_does_not_know_is_counted(bus: Bus, collector: BusCollector) -> None:
    Tally(bus.redis).add({"dockbus_later_total": 1, sample("dockbus_scans_total", verdict="x"): 2})

    found = look(collector)

    assert found.value("dockbus_tally_left_out_total") == 1
    assert found.value("dockbus_scans_total", verdict="x") == 2
    assert not found.has("dockbus_later_total")


def test_redis_away_and_back(bus: Bus, far: BusCollector, plug: Plug) -> None:
    bus.enqueue(SPEC)
    assert look(far).value("rq_jobs", queue="cleanup", status="queued") == 1

    plug.pull()
    away = look(far)
    plug.put_back()

    assert [(s.name, s.value) for s in away] == [("dockbus_redis_up", 0)]
    assert look(far).value("rq_jobs", queue="cleanup", status="queued") == 1


def test_a_scrape_waits_for_a_redis_that_hangs_for_a_moment_only(
    far: BusCollector, plug: Plug
) -> None:
    assert look(far).value("dockbus_redis_up") == 1

    plug.freeze()
    begun = time.monotonic()
    hung = look(far)
    took = time.monotonic() - begun
    plug.thaw()

    assert hung.value("dockbus_redis_up") == 0
    assert bus_collector.PATIENCE <= took < bus_collector.PATIENCE + 3
    wait_for(lambda: look(far).value("dockbus_redis_up") == 1, what="it to go on")
