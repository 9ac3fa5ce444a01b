"""The doctor of a deployment: what is wrong with a real bus is found, and each finding says what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from attempting import SPEC, attempts_on, settle, take
from dockbus import Bus, Settings, __version__
from dockbus.checks import Check, Level
from dockbus.deployment import PROBES, SUSPENDED, now_of
from dockbus.doctor import examine
from dockbus.jobs import Queue
from dockbus.settings import EngineSettings
from dockbus.snapshot import EngineState
from dockbus.stats.board import WORKERS
from dockbus_producer.dispatcher import GROUP
from dockbus_producer.sinks.outbox import Outbox, Parcel
from processes import Program

Start = Callable[..., Program]
FAILURE = '{"code":"x","title":"x"}'


@pytest.fixture
def bus(engineless_bus: Bus) -> Bus:
    return engineless_bus


def examined(bus: Bus) -> dict[str, Check]:
    now = now_of(bus.redis)
    return {check.name: check for probe in PROBES for check in probe(bus, now)}


def found(bus: Bus, name: str) -> tuple[Level, str]:
    """How a check has ended, and what was found; whatever is wrong has to come with advice."""
    check = examined(bus)[name]
    assert bool(check.advice) is (check.level is not Level.OK)
    return check.level, check.found


def worker(redis: Any, name: str, version: str | None, beaten: datetime) -> None:
    """A worker, as it registers, for all kinds of jobs."""
    fields = {"queues": "run", "last_heartbeat": beaten.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
    if version:
        fields["dockbus"] = version
    redis.hset(f"rq:worker:{name}", mapping=fields)
    for workers in ("rq:workers", *(f"rq:workers:{queue}" for queue in Queue)):
        redis.sadd(workers, f"rq:worker:{name}")


def watched(redis: Any, name: str, *, ago: float, connected: bool = True) -> None:
    """An Engine that was compared with the snapshot so many seconds ago."""
    resynced = datetime.now(UTC) - timedelta(seconds=ago)
    state = EngineState(name=name, connected=connected, resynced=resynced)
    redis.hset("dockbus:engines", name, state.model_dump_json())


def test_an_empty_bus_lacks_workers_watches_and_metrics(bus: Bus, redis: Any) -> None:
    checks = examined(bus)

    wrong = {name for name, check in checks.items() if check.level is not Level.OK}
    assert wrong == {"workers", "watches", "metrics workers"}
    assert all(checks[name].advice for name in wrong)
    assert redis.dbsize() == 0


def test_an_engine_whose_workers_are_gone_is_named_with_the_jobs_that_wait_for_it(bus: Bus) -> None:
    for _ in range(3):
        bus.enqueue(SPEC, engine="edge")
    assert take(attempts_on(bus), queue="cleanup@edge", engine="edge")  # its worker dies with it
    bus.enqueue(SPEC, engine="edge", delay=3600)
    bus.enqueue(SPEC, engine="idle").cancel()

    level, _ = found(bus, "workers")

    advice = examined(bus)["workers"].advice
    assert level is Level.WARNING
    assert "`dockbus worker cleanup` beside Engine edge, for which 4 jobs wait" in advice
    assert "idle" not in advice


def test_a_worker_that_takes_no_jobs_is_named(bus: Bus, redis: Any) -> None:
    for name in ("one", "two"):
        worker(redis, name, __version__, datetime.now(UTC))
    assert found(bus, "workers ready") == (Level.OK, "all take jobs")

    redis.hset("rq:worker:two", "state", "suspended")

    assert found(bus, "workers ready") == (Level.WARNING, "two take no jobs")


def test_versions_side_by_side_are_told(bus: Bus, redis: Any) -> None:
    now = datetime.now(UTC)
    worker(redis, "a", __version__, now)
    worker(redis, "b", __version__, now)
    assert found(bus, "versions") == (Level.OK, f"{__version__} (2 workers)")

    worker(redis, "c", "99.0.0", now)
    worker(redis, "d", None, now)

    level, told = found(bus, "versions")
    assert level is Level.WARNING
    assert told == (
        f"{__version__} (2 workers), 99.0.0 (1 workers), unknown (1 workers); here {__version__}"
    )


def test_a_clock_that_is_off_is_told_of_by_its_worker(bus: Bus, redis: Any) -> None:
    now = datetime.now(UTC)
    worker(redis, "right", __version__, now - timedelta(seconds=2))
    assert found(bus, "clocks of workers")[0] is Level.OK

    worker(redis, "ahead", __version__, now + timedelta(seconds=90))
    worker(redis, "behind", __version__, now - timedelta(seconds=40))

    level, told = found(bus, "clocks of workers")
    assert level is Level.WARNING
    assert "right" not in told
    assert re.search(r"ahead (89|90|91) s ahead", told)
    assert re.search(r"behind 4\d s behind", told)


def test_what_a_worker_tells_of_itself_is_right(
    redis: Any, settings: Settings, start: Start
) -> None:
    start("worker", "cleanup").wait_until_said("taking jobs")
    with Bus(settings) as bus:
        checks = examined(bus)

    assert checks["versions"].found == f"{__version__} (2 workers)"
    assert checks["clocks of workers"].level is Level.OK
    assert "cleanup 1" in checks["workers"].found
    assert "`dockbus worker cleanup`" not in checks["workers"].advice


def test_dead_jobs_are_counted_apart_from_failed_ones(bus: Bus) -> None:
    for how in ("failed", "failed", "dead"):
        bus.enqueue(SPEC)
        attempts = attempts_on(bus)
        settle(attempts, take(attempts)[0], how, FAILURE)

    assert found(bus, "jobs") == (
        Level.WARNING,
        "1 dead, 2 failed, of those that are kept",
    )
    assert "replay --dead" in examined(bus)["jobs"].advice


def test_rules_that_are_suspended_now_are_named(bus: Bus, redis: Any) -> None:
    redis.zadd(SUSPENDED, {"over:local/x": 5})
    assert found(bus, "rules") == (Level.OK, "none is suspended")

    redis.zadd(SUSPENDED, {"heal:local/a": 9e9, "heal:local/b": 9e9})

    assert found(bus, "rules") == (Level.WARNING, "heal is suspended for 2")


def test_a_reader_that_loses_events_soon_is_named(bus: Bus, redis: Any) -> None:
    small = bus.settings.model_copy(
        update={"bus": bus.settings.bus.model_copy(update={"events": 10})}
    )
    redis.xgroup_create("dockbus:events", GROUP, id="0", mkstream=True)
    for number in range(6):
        redis.xadd("dockbus:events", {"e": str(number)})
    assert found(bus, "events")[0] is Level.OK

    with Bus(small) as short:
        level, told = found(short, "events")

    assert level is Level.WARNING
    assert told.startswith("6 of about 10, for 0")
    assert told.endswith("dockbus:rules is 6 events behind")


def test_sinks_with_dead_letters_are_named(bus: Bus, redis: Any) -> None:
    for name in ("on-call", "quiet"):
        redis.xgroup_create("dockbus:events", Outbox(redis, name).group, id="0", mkstream=True)
    assert found(bus, "sinks") == (Level.OK, "2, all are sent to")

    bus.enqueue(SPEC)
    [stored] = bus.events(since="0", follow=False)
    outbox = Outbox(redis, "on-call")
    outbox.put([Parcel(event=stored.event)], [])
    [parcel], _ = outbox.claim(1, 60)
    outbox.bury(parcel)
    outbox.suspend("http://127.0.0.1:1", "410 Gone")

    assert found(bus, "sinks") == (
        Level.WARNING,
        "on-call has 1 dead letters, on-call is suspended",
    )


def test_an_engine_that_is_not_heard_or_not_measured_is_named(bus: Bus, redis: Any) -> None:
    watched(redis, "a", ago=20)
    redis.zadd(WORKERS, {"a": redis.time()[0]})
    assert found(bus, "watches") == (Level.OK, "of a")
    assert found(bus, "metrics workers") == (Level.OK, "of a")

    watched(redis, "b", ago=600)
    watched(redis, "c", ago=20, connected=False)

    assert found(bus, "watches") == (
        Level.WARNING,
        "b is not heard, and was last looked at 10 min ago, c is not heard, and was last looked at 20 s ago",
    )
    assert found(bus, "metrics workers") == (Level.WARNING, "of a; none of b, c")


def test_a_machine_needs_no_engine_where_others_have_workers(
    bus: Bus, redis: Any, tmp_path: Path
) -> None:
    nowhere = EngineSettings(host=f"unix://{tmp_path}/docker.sock")
    here = bus.settings.model_copy(update={"engine": nowhere})

    def level() -> Level:
        return next(check.level for check in examine(here) if check.name == "engine")

    assert level() is Level.MISSING
    worker(redis, "elsewhere", __version__, datetime.now(UTC))
    assert level() is Level.WARNING


def test_one_check_that_fails_does_not_keep_the_doctor_from_the_others(
    bus: Bus, redis: Any
) -> None:
    redis.set("rq:workers", "of another type")

    checks = {check.name: check for check in examine(bus.settings)}

    assert checks["versions"].found.startswith("the check failed")
    names = {"redis", "workers", "jobs", "rules", "events", "watches", "metrics workers"}
    assert checks.keys() >= names
    assert checks["jobs"].level is Level.OK


def test_a_redis_that_is_nearly_full_is_found(bus: Bus, redis: Any) -> None:
    def memory() -> Check:
        checks = {check.name: check for check in examine(bus.settings)}
        return checks["redis memory"]

    assert memory().level is Level.OK
    used = redis.info("memory")["used_memory"]
    redis.config_set("maxmemory", round(used * 1.1))
    try:
        full = memory()
    finally:
        redis.config_set("maxmemory", 0)
    assert full.level is Level.WARNING
    assert "raise `maxmemory`" in full.advice
