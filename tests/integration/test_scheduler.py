"""Schedules on a real Redis: what a scheduler makes of the time, of its file and of what others have done."""

from __future__ import annotations

import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from commandline import CommandLine
from dockbus import Bus, Cleanup, Event, JobState
from dockbus.errors import RedisUnavailable
from dockbus_producer.scheduler import Scheduler
from dockbus_producer.schedules import Schedule
from waiting import wait_for

HOUR = 3600
NOON = int(datetime(2026, 1, 10, 12, tzinfo=UTC).timestamp())


@pytest.fixture
def bus(engineless_bus: Bus) -> Bus:
    return engineless_bus


def schedule(**fields: object) -> Schedule:
    whole = {"name": "s", "do": {"kind": "cleanup"}} | fields
    return Schedule.model_validate({"every": "1h"} | whole if "cron" not in fields else whole)


def told(bus: Bus, what: str) -> list[Event]:
    stored = [item.event for item in bus.events(since="0", follow=False)]
    return [event for event in stored if event.type == f"io.dockbus.schedule.{what}"]


def slots(bus: Bus, what: str = "fired") -> list[str]:
    return [str(event.data["slot"]) for event in told(bus, what)]


def queued(bus: Bus) -> int:
    return sum(queue.queued for queue in bus.queues())


def at(hour: int, minute: int = 0) -> str:
    return f"2026-01-10T{hour:02}:{minute:02}:00Z"


# -- one scheduler, told the time ----------------------------------------------------------------------


def test_a_slot_becomes_a_job(bus: Bus) -> None:
    scheduler = Scheduler(
        bus,
        [
            schedule(
                do={"kind": "cleanup", "labels": {"a": "b"}},
                engine="edge",
                priority="high",
                timeout="2m",
            )
        ],
    )
    assert scheduler.tick(NOON - 10) == NOON
    assert not bus.jobs()
    assert scheduler.tick(NOON + 0.3) == NOON + HOUR
    (job,) = bus.jobs()
    assert (job.queue, job.state) == ("cleanup@edge", JobState.QUEUED)
    assert job.spec == Cleanup(labels={"a": "b"})
    assert job.terms
    assert (job.terms.priority, job.terms.timeout) == ("high", 120)
    (fired,) = told(bus, "fired")
    assert (fired.source, fired.subject) == ("/dockbus/schedules", "s")
    assert fired.data == {"schedule": "s", "slot": at(12), "job": job.id, "kind": "cleanup"}
    assert scheduler.tick(NOON + 20) == NOON + HOUR
    assert queued(bus) == 1


def test_a_new_schedule_is_not_fired_for_the_past(bus: Bus) -> None:
    Scheduler(bus, [schedule()]).tick(NOON + 60)
    assert not bus.jobs()
    assert not told(bus, "missed")


def test_a_changed_timing_is_not_fired_for_the_past(bus: Bus) -> None:
    scheduler = Scheduler(bus, [schedule(cron="0 * * * *")])
    scheduler.tick(NOON - 60)
    scheduler.tick(NOON + 60)
    scheduler.replace([schedule(cron="55 * * * *")])
    scheduler.tick(NOON + 120)
    Scheduler(bus, [schedule(cron="1 * * * *")]).tick(NOON + 180)
    assert slots(bus) == [at(12)]
    assert not told(bus, "missed")


def test_a_changed_job_is_no_new_schedule(bus: Bus) -> None:
    scheduler = Scheduler(bus, [schedule()])
    scheduler.tick(NOON - 60)
    scheduler.replace([schedule(do={"kind": "cleanup", "images": True})])
    scheduler.tick(NOON)
    (job,) = bus.jobs()
    assert job.spec == Cleanup(images="dangling")


def test_a_schedule_begins_when_its_file_was_read_and_not_when_redis_was_there(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = Scheduler(bus, [schedule()])
    passed = time.monotonic() + 600
    monkeypatch.setattr(time, "monotonic", lambda: passed)
    scheduler.tick(NOON + 300)  # the file was read at 11:55
    assert slots(bus) == [at(12)]


def test_slots_that_were_missed_are_made_up_for_once_and_within_a_bound(bus: Bus) -> None:
    entries = [
        schedule(name="often", every="10m", catch_up="1h"),
        schedule(name="nightly", cron="0 3 * * *", catch_up="10h"),
        schedule(name="late", cron="0 3 * * *", catch_up="8h"),
    ]
    Scheduler(bus, entries).tick(NOON - 12 * HOUR + 60)
    for _ in range(2):
        Scheduler(bus, entries).tick(NOON + 90)
    fired = {(event.subject, event.data["slot"]) for event in told(bus, "fired")}
    assert fired == {("often", at(12)), ("nightly", at(3))}
    missed = {(event.subject, event.data["slot"]): event.data for event in told(bus, "missed")}
    assert set(missed) == {("often", at(0, 10)), ("late", at(3))}
    assert missed["often", at(0, 10)]["fired"] == at(12)
    assert "fired" not in missed["late", at(3)]
    assert len(told(bus, "fired")) == queued(bus) == 2


def test_the_first_tick_may_fail_half_way(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    Scheduler(bus, [schedule()]).tick(NOON - 60)
    again = Scheduler(bus, [schedule()])
    with monkeypatch.context() as broken:
        broken.setattr(bus, "enqueue", away)
        with pytest.raises(RedisUnavailable):
            again.tick(NOON + 60)
    again.tick(NOON + 61)
    assert slots(bus) == [at(12)]


def test_all_that_was_missed_is_told_though_one_dies_in_between(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    often = schedule(every="10m")
    Scheduler(bus, [often]).tick(NOON - 1790)
    dying = Scheduler(bus, [often])
    monkeypatch.setattr(dying, "_settle", away)
    with pytest.raises(RedisUnavailable):
        dying.tick(NOON)
    Scheduler(bus, [often]).tick(NOON + 1800)
    gaps = [(event.data["slot"], event.data["fired"]) for event in told(bus, "missed")]
    assert gaps == [(at(11, 40), at(12)), (at(11, 40), at(12, 30))]


def away(*_: object, **__: object) -> None:
    raise RedisUnavailable("pulled")


def test_a_slot_whose_job_may_have_been_forgotten_is_not_fired_again(
    bus: Bus, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    daily = schedule(cron="0 12 * * *", catch_up="20h")
    Scheduler(bus, [daily]).tick(NOON - 60)
    dying = Scheduler(bus, [daily])
    with monkeypatch.context() as broken:
        broken.setattr(bus, "publish", away)
        with pytest.raises(RedisUnavailable):
            dying.tick(NOON)
    for job in bus.jobs():
        redis.delete(f"rq:job:{job.id}")
    Scheduler(bus, [daily]).tick(NOON + bus.settings.bus.result_ttl / 2)
    assert not bus.jobs()
    assert slots(bus, "missed") == [at(12)]


def test_a_redis_that_forgot_everything(bus: Bus, redis: Redis) -> None:
    scheduler = Scheduler(bus, [schedule()])
    scheduler.tick(NOON - 60)
    scheduler.tick(NOON)
    scheduler.tick(NOON + 60)
    redis.flushdb()  # pyright: ignore[reportUnknownMemberType]
    scheduler.tick(NOON + HOUR)
    assert slots(bus) == [at(13)]
    assert not told(bus, "missed")


def test_a_redis_that_forgot_the_latest(bus: Bus, redis: Redis) -> None:
    scheduler = Scheduler(bus, [schedule(catch_up="3h")])
    scheduler.tick(NOON - 60)
    saved: Any = redis.dump("dockbus:schedule:s")
    scheduler.tick(NOON)
    scheduler.tick(NOON + 60)
    redis.flushdb()  # pyright: ignore[reportUnknownMemberType]
    redis.restore("dockbus:schedule:s", 0, saved)
    scheduler.tick(NOON + HOUR)
    assert slots(bus) == [at(13)]
    assert not told(bus, "missed")


@pytest.mark.parametrize(
    "state",
    [
        {"timing": "every 3600s", "since": "x", "settled": "y"},
        {"timing": "every 3600s", "since": "1e999", "settled": str(NOON + 90 * 24 * HOUR)},
        {"settled": "1"},
        {"timing": "every 3600s", "since": "1", "settled": str(NOON - 60), "tried": str(NOON)},
        "no hash",
    ],
)
def test_garbage_in_redis_begins_the_schedule_anew(
    bus: Bus, redis: Redis, state: str | dict[Any, Any]
) -> None:
    if isinstance(state, str):
        redis.set("dockbus:schedule:s", state)
    else:
        redis.hset("dockbus:schedule:s", mapping=state)
    scheduler = Scheduler(bus, [schedule()])
    scheduler.tick(NOON - 60)
    assert not bus.jobs()
    scheduler.tick(NOON)
    assert slots(bus) == [at(12)]


def test_a_clock_that_is_set_back_fires_nothing_again_and_nothing_too_late(bus: Bus) -> None:
    scheduler = Scheduler(bus, [schedule()])
    scheduler.tick(NOON - 60)
    scheduler.tick(NOON)
    assert scheduler.tick(NOON - 60) == NOON
    scheduler.tick(NOON)
    assert queued(bus) == 1
    scheduler.tick(NOON + 365 * 24 * HOUR)  # a year ahead, and back
    scheduler.tick(NOON + 60)
    scheduler.tick(NOON + HOUR)
    assert slots(bus)[-1] == at(13)


def test_an_order_that_the_bus_refuses_is_told_and_stops_nothing(bus: Bus) -> None:
    huge = {"kind": "cleanup", "labels": {"a": "x" * 10_000_000}}
    entries = [schedule(name="huge", do=huge), schedule()]
    scheduler = Scheduler(bus, entries)
    scheduler.tick(NOON - 60)
    scheduler.tick(NOON)
    scheduler.tick(NOON + 60)
    (failed,) = told(bus, "failed")
    assert (failed.subject, failed.data["slot"]) == ("huge", at(12))
    assert [event.subject for event in told(bus, "fired")] == ["s"]


# -- schedulers that differ ----------------------------------------------------------------------------


def test_the_file_that_was_read_last_prevails(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    old = Scheduler(bus, [schedule(cron="0 * * * *")])
    old.tick(NOON - 60)
    new = Scheduler(bus, [schedule(cron="30 * * * *")])
    new.tick(NOON - 30)
    old.tick(NOON)
    new.tick(NOON)
    assert not bus.jobs()
    assert caplog.text.count("schedule s stands by") == 1
    new.tick(NOON + 1800)
    old.tick(NOON + HOUR)
    assert slots(bus) == [at(12, 30)]
    assert caplog.text.count("schedule s stands by") == 1
    old.replace([schedule(cron="30 * * * *")])
    old.tick(NOON + HOUR + 1800)
    assert slots(bus) == [at(12, 30), at(13, 30)]


def test_one_slot_of_two_versions_of_a_schedule_is_one_job(bus: Bus) -> None:
    entries = (schedule(), schedule(do={"kind": "cleanup", "images": True}))
    both = [Scheduler(bus, [entry]) for entry in entries]
    for scheduler in both:
        scheduler.tick(NOON - 60)
    with pytest.MonkeyPatch.context() as dying:
        dying.setattr(bus, "publish", away)
        with pytest.raises(RedisUnavailable):
            both[0].tick(NOON)
    both[1].tick(NOON)
    (job,) = bus.jobs()
    assert job.spec == Cleanup()
    assert both[0].tick(NOON + 1) == NOON + HOUR
    assert queued(bus) == 1


def test_a_late_word_about_an_old_timing_does_not_settle_the_new_one(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Scheduler(bus, [schedule()])
    old.tick(NOON - 600)
    new: list[Scheduler] = []

    def publish(event: Event, **_: float) -> object:
        if not new:
            new.append(Scheduler(bus, [schedule(cron="59 11 * * *")]))
            new[0].tick(NOON - 90)
        return bus.event_stream.publish(event)

    monkeypatch.setattr(bus, "publish", publish)
    old.tick(NOON)
    new[0].tick(NOON + 1)
    assert slots(bus) == [at(12), at(11, 59)]


def test_one_that_was_overtaken_fires_nothing_and_moves_nothing_back(
    bus: Bus, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, fast = Scheduler(bus, [schedule()]), Scheduler(bus, [schedule()])
    slow.tick(NOON - 60)
    attempt: Any = vars(slow)["_try"]

    def stall(*words: object) -> object:
        fast.tick(NOON + HOUR)
        return attempt(*words)

    monkeypatch.setattr(slow, "_try", stall)
    slow.tick(NOON)
    assert slots(bus) == [at(13)]
    assert redis.hget("dockbus:schedule:s", "settled") == str(NOON + HOUR).encode()
    assert slots(bus, "missed") == [at(12), at(12)]  # told by each


# -- the commands --------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_dockbus_schedule(
    bus: Bus, dockbus: CommandLine, tmp_path: Path, end: signal.Signals
) -> None:
    """The whole scheduler: slots are fired, the file changes under way, a signal ends it."""
    text = "schedules: [{name: %s, every: 1s, do: {kind: cleanup}}]"
    file = tmp_path / "schedules.yaml"
    file.write_text(text % "one")
    dockbus.env["DOCKBUS_SCHEDULE_PATH"] = str(tmp_path)
    with (
        (tmp_path / "log").open("w") as log,
        dockbus.started("schedule", stderr=log.fileno()) as process,
    ):
        wait_for(lambda: fired(bus, "one"), what="a slot")
        file.write_text("schedules: [{name: two, evry: 1s}]")
        wait_for(lambda: "stay in force" in said(tmp_path), what="the complaint")
        file.write_text(text % "two")
        wait_for(lambda: fired(bus, "two"), what="a slot of the new one")
        process.send_signal(end)
        assert process.wait(10) == 0
    assert "did you mean 'every'?" in said(tmp_path)
    assert "schedule one: " in said(tmp_path)
    assert "Traceback" not in said(tmp_path)


def said(folder: Path) -> str:
    return (folder / "log").read_text()


def fired(bus: Bus, name: str) -> list[Event]:
    return [event for event in told(bus, "fired") if event.subject == name]


def test_dockbus_schedule_without_a_file(dockbus: CommandLine) -> None:
    refused = dockbus("schedule")
    assert refused.returncode == 1
    assert "DOCKBUS_SCHEDULE_PATH names no schedule file" in refused.stderr


def test_dockbus_schedules(dockbus: CommandLine, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(
        "schedules: [{name: leap, cron: '0 12 29 2 *', timezone: Europe/Berlin, do: {kind: cleanup, images: true}}]"
    )
    bad.write_text("schedules:\n- name: x\n  crn: a\n")
    line = dockbus.ok("schedules", str(good))
    assert line.startswith(
        "leap: 0 12 29 2 * Europe/Berlin (At 12:00 on February 29): cleanup images=True; next 20"
    )
    assert line.count("-02-29 12:00:00+01:00") == 3
    refused = dockbus("schedules", str(bad))
    assert refused.returncode == 1
    assert f"{bad}:3: schedule 'x': crn: no such field, did you mean 'cron'?" in refused.stderr
