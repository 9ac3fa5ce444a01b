"""Schedulers on a real Redis that run side by side, lose it, and are killed: each slot has one job all the same."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Generator
from typing import Any

import pytest

from commandline import CommandLine
from dockbus import Bus, Event
from dockbus.settings import RedisSettings
from dockbus_producer.scheduler import Scheduler, key
from dockbus_producer.schedules import Schedule, show_moment
from outage import Plug
from waiting import wait_for


@pytest.fixture
def bus(engineless_bus: Bus) -> Bus:
    return engineless_bus


def told(bus: Bus, what: str) -> list[Event]:
    stored = [item.event for item in bus.events(since="0", follow=False)]
    return [event for event in stored if event.type == f"io.dockbus.schedule.{what}"]


def slots(bus: Bus) -> list[str]:
    return [str(event.data["slot"]) for event in told(bus, "fired")]


def queued(bus: Bus) -> int:
    return sum(queue.queued for queue in bus.queues())


SECONDLY = Schedule.model_validate({"name": "secondly", "every": "1s", "do": {"kind": "cleanup"}})


@contextlib.contextmanager
def scheduling_on(bus: Bus, *entries: Schedule) -> Generator[Scheduler]:
    scheduler = Scheduler(bus, entries)
    thread = threading.Thread(target=scheduler.run)
    thread.start()
    try:
        yield scheduler
    finally:
        scheduler.stop()
        thread.join(5.0)
        assert not thread.is_alive()


def settled(bus: Bus) -> int:
    raw: Any = bus.redis.hget("dockbus:schedule:secondly", "settled")
    return int(raw)


def check_each_second(bus: Bus, begin: int) -> int:
    """Each slot after `begin` that is settled has one job or was told as missed; how many have one."""
    found = {job.id for job in bus.jobs(limit=1000)}
    assert queued(bus) == len(found), "no job is queued twice"
    fired = slots(bus)
    assert len(fired) == len(set(fired)), "no slot is told twice"
    gaps = [(str(event.data["slot"]), str(event.data["fired"])) for event in told(bus, "missed")]
    have_one = 0
    for slot in SECONDLY.slots(begin, settled(bus)):
        # The key gives the slot's job if there is one. If not, this makes one, which was not found.
        has_one = bus.enqueue(SECONDLY.spec, key=key(SECONDLY, slot)).id in found
        moment = show_moment(slot)
        missed = any(first <= moment < until for first, until in gaps)
        assert has_one or missed, f"{moment} was lost"
        have_one += has_one
    return have_one


def redis_now(bus: Bus) -> int:
    now: Any = bus.redis.time()  # pyright: ignore[reportUnknownMemberType]
    return int(now[0])


def test_three_schedulers_fire_each_slot_once(bus: Bus) -> None:
    with (
        scheduling_on(bus, SECONDLY),
        scheduling_on(bus, SECONDLY),
        scheduling_on(bus, SECONDLY),
    ):
        wait_for(lambda: bus.redis.exists("dockbus:schedule:secondly"), what="them")
        begin = redis_now(bus)
        wait_for(lambda: len(slots(bus)) >= 4, what="four slots")
    assert check_each_second(bus, begin) >= 1


def test_a_redis_that_goes_away_and_comes_back(
    bus: Bus, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with Plug(redis_url.removeprefix("unix://")) as plug:
        url = RedisSettings(url=f"redis://127.0.0.1:{plug.port}/0")
        settings = bus.settings.model_copy(update={"redis": url})
        with Bus(settings, patience=0.1) as behind, scheduling_on(behind, SECONDLY):
            wait_for(lambda: slots(bus), what="a slot")
            begin = redis_now(bus)
            plug.pull()
            wait_for(lambda: "schedules wait" in caplog.text, what="the outage")
            before = len(slots(bus))
            wait_for(lambda: redis_now(bus) > begin + 2, what="some slots to be missed")
            plug.put_back()
            wait_for(lambda: len(slots(bus)) > before + 1, what="slots after it")
    check_each_second(bus, begin)
    assert caplog.text.count("schedules wait") == 1
    assert "schedules go on" in caplog.text


DEATHS = 6
"""Of each of two schedulers, one after the other."""
DYING = """
import os, random, signal, sys
from dockbus import Bus, Settings
from dockbus_producer.scheduler import Scheduler
from dockbus_producer.schedules import Schedule

schedule = Schedule.model_validate_json(sys.argv[1])
settings = Settings.from_env()
me = os.getpid()
while True:
    if child := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    bus = Bus(settings)
    command = bus.redis.execute_command
    def execute(*words, **options):
        if os.getppid() != me:  # the test is over
            os._exit(0)
        # One in six dies here: before Redis hears of it, or before it hears of Redis.
        dice = random.randrange(12)
        if dice == 0 and words[0] != "TIME":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = command(*words, **options)
        if dice == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer
    bus.redis.execute_command = execute
    Scheduler(bus, [schedule]).run()
"""


def test_schedulers_that_are_killed_between_their_steps(bus: Bus, dockbus: CommandLine) -> None:
    words = [sys.executable, "-c", DYING, SECONDLY.model_dump_json(exclude_unset=True)]
    with contextlib.ExitStack() as stack:
        parents = [
            stack.enter_context(subprocess.Popen(words, env=dockbus.env, stdout=subprocess.PIPE))
            for _ in range(2)
        ]
        try:
            wait_for(lambda: bus.redis.exists("dockbus:schedule:secondly"), what="them")
            begin = redis_now(bus)
            for parent in parents:
                for _ in range(DEATHS):
                    assert parent.stdout
                    assert parent.stdout.readline() == b"-9\n"
        finally:
            for parent in parents:
                parent.kill()
    with scheduling_on(bus, SECONDLY):
        now = redis_now(bus)
        wait_for(lambda: settled(bus) > now, what="what they left undone")
    assert check_each_second(bus, begin) >= 1
