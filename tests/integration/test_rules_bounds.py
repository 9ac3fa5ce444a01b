"""How often rules act, on a real Redis: so many events at such times make exactly so many jobs, however they come."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

import pytest
from redis import Redis

from dockbus import Bus
from dockbus_producer.debounce import Debounce
from dockbus_producer.firing import Firing, tell_resumed
from dockbus_producer.gate import Gate
from dockbus_producer.rules import Rule
from ruling import START, died, fire_all, jobs, rule, told

PER_MINUTE = {"count": 2, "per": "1m"}


@pytest.mark.parametrize(
    ("fields", "seconds", "expected"),
    [
        ({}, [0, 0, 0, 1], 4),
        # so many within a span; then it starts anew
        ({"count": 3, "within": "5m"}, [0, 1], 0),
        ({"count": 3, "within": "5m"}, [0, 1, 2], 1),
        ({"count": 3, "within": "5m"}, [0, 1, 2, 3, 4], 1),
        ({"count": 3, "within": "5m"}, [0, 1, 2, 3, 4, 5], 2),
        ({"count": 3, "within": "5m"}, [0, 200, 299], 1),
        ({"count": 3, "within": "5m"}, [0, 200, 301], 0),
        ({"count": 3, "within": "5m"}, [0, 200, 301, 302], 1),
        ({"count": 3, "within": "10s"}, [0, 20, 40, 60, 80], 0),
        # not again for a while
        ({"cooldown": "60s"}, [0, 1, 59], 1),
        ({"cooldown": "60s"}, [0, 1, 59, 60], 2),
        ({"cooldown": "60s"}, [0, 30, 60, 90, 120], 3),
        # so many in a span
        ({"limit": PER_MINUTE}, [0, 1, 2, 3], 2),
        ({"limit": PER_MINUTE}, [0, 1, 2, 60, 61], 4),
        ({"limit": PER_MINUTE}, [0, 30, 59, 60.5, 90.5], 4),
        ({"limit": {**PER_MINUTE, "then": "suspend"}}, range(0, 600, 5), 2),
        ({"limit": {**PER_MINUTE, "then": "suspend"}}, [0, 1, 2, 61, 120], 2),
        ({"limit": {**PER_MINUTE, "then": "suspend"}}, [0, 1, 2, 62.5, 63], 4),
        # together
        ({"cooldown": "10s", "limit": PER_MINUTE}, range(60), 2),
        ({"count": 2, "within": "1m", "cooldown": "10s"}, [0, 1, 2, 3, 12, 13], 2),
        ({"count": 2, "within": "1m", "limit": PER_MINUTE}, range(20), 2),
    ],
)
def test_so_many_events_make_exactly_so_many_jobs(
    engineless_bus: Bus, fields: dict[str, Any], seconds: list[float], expected: int
) -> None:
    assert fire_all(engineless_bus, rule(**fields), seconds) == expected


def test_objects_are_counted_each_for_itself_unless_the_rule_says_otherwise(
    engineless_bus: Bus,
) -> None:
    bounded = {"cooldown": "60s"}
    fire_all(engineless_bus, rule(**bounded), [0, 1], "a1")
    assert fire_all(engineless_bus, rule(**bounded), [0, 1], "b2") == 2
    together = rule(name="together", by="${name}", **bounded)
    fire_all(engineless_bus, together, [0, 1], "a1")
    assert fire_all(engineless_bus, together, [0, 1], "b2") == 3


def test_events_that_come_again_are_counted_once(engineless_bus: Bus) -> None:
    firing, bounded = Firing(engineless_bus), rule(count=3, within="5m", limit=PER_MINUTE)
    events = [died(at) for at in range(6)]
    for _ in range(3):
        for number, event in enumerate(events):
            firing.fire(bounded, event, START + number)
    assert jobs(engineless_bus) == 2
    assert len(told(engineless_bus, "fired")) == 2


def test_events_that_waited_for_a_dispatcher_did_not_come_at_once(engineless_bus: Bus) -> None:
    firing, counted = Firing(engineless_bus), rule(count=3, within="10s")
    for at in (0, 20, 40):
        firing.fire(counted, died(at), START + 50)
    assert jobs(engineless_bus) == 0
    for at in (44, 42):  # in whatever order they are read
        firing.fire(counted, died(at), START + 50)
    assert jobs(engineless_bus) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"limit": {"count": 5, "per": "1m"}},
        {"count": 4, "within": "5m"},
        {"cooldown": "60s", "limit": {"count": 5, "per": "10m", "then": "suspend"}},
    ],
)
def test_dispatchers_at_once_decide_as_one(engineless_bus: Bus, fields: dict[str, Any]) -> None:
    """Four of them get every event, in different orders."""
    bounded = rule(**fields)
    events = [died() for _ in range(20)]

    def run(offset: int) -> None:
        firing = Firing(engineless_bus)
        for event in events[offset:] + events[:offset]:
            firing.fire(bounded, event, START)

    threads = [threading.Thread(target=run, args=(5 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = 1 if "cooldown" in fields else 5
    assert jobs(engineless_bus) == expected
    assert len(told(engineless_bus, "fired")) == expected


# -- suspended -----------------------------------------------------------------------------------------

SUSPENDING: dict[str, Any] = {"limit": {"count": 5, "per": "10m", "then": "suspend"}}


def test_a_crash_loop_is_told_of_once(engineless_bus: Bus) -> None:
    assert fire_all(engineless_bus, rule(**SUSPENDING), range(0, 3600, 10)) == 5
    (suspended,) = told(engineless_bus, "suspended")
    assert suspended.data["object"] == "local/c0ffee"
    assert suspended.data["count"] == 5
    assert suspended.data["per"] == 600
    assert told(engineless_bus, "resumed") == []


def test_a_rule_is_resumed_when_it_was_quiet_for_long_enough(engineless_bus: Bus) -> None:
    firing = Firing(engineless_bus)
    fire_all(engineless_bus, rule(**SUSPENDING), [0, 1, 2, 3, 4, 5, 100])
    firing.tell_lapsed(START + 699)
    assert told(engineless_bus, "resumed") == []
    for _ in range(2):
        firing.tell_lapsed(START + 701)
    (resumed,) = told(engineless_bus, "resumed")
    assert resumed.subject == "r"
    assert resumed.data == {"rule": "r", "object": "local/c0ffee", "reason": "quiet"}
    assert fire_all(engineless_bus, rule(**SUSPENDING), [702]) == 6


def test_a_rule_is_resumed_when_somebody_asks(engineless_bus: Bus) -> None:
    now, gate = Gate(engineless_bus.redis).now() - START, Gate(engineless_bus.redis)
    fire_all(engineless_bus, rule(**SUSPENDING), [now + at for at in range(8)])
    (one,) = gate.suspensions("r")
    assert gate.suspensions("another") == []
    assert (one.rule, one.object) == ("r", "local/c0ffee")
    assert gate.resume(one)
    assert not gate.resume(one)
    tell_resumed(engineless_bus, one, "asked")
    assert gate.suspensions() == []
    assert fire_all(engineless_bus, rule(**SUSPENDING), [now + at for at in range(9, 20)]) == 10
    assert len(told(engineless_bus, "suspended")) == 2


# -- debounce ------------------------------------------------------------------------------------------


def bursts(bus: Bus, waits: Rule, seconds: Iterable[float], *, step: float = 0.5) -> list[float]:
    """Events at those seconds; when the rule acted, and on which event of them."""
    debounce, acted = Debounce(bus.redis), list[float]()
    todo = sorted(seconds)
    now = 0.0
    while todo or debounce.next([waits.name]) is not None:
        while todo and todo[0] <= now:
            debounce.wait(waits, died(todo.pop(0)), START + now)
        for burst in debounce.due([waits.name], START + now):
            assert burst.event
            acted.append(burst.event.time.timestamp() - START)
            debounce.forget(burst, START + now)
        now += step
    return acted


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([0], [0]),
        ([0, 1, 2, 3], [3]),
        ([0, 1, 5, 6], [1, 6]),
        (range(30), [14, 29]),  # a burst without end is cut
    ],
)
def test_a_burst_is_answered_once_and_with_its_last_event(
    engineless_bus: Bus, seconds: list[float], expected: list[float]
) -> None:
    waits = rule(debounce="2s", debounce_max="15s")
    acted = bursts(engineless_bus, waits, seconds)
    assert acted == pytest.approx(expected, abs=1.01) if len(seconds) == 30 else acted == expected


def test_an_event_that_comes_again_after_its_burst_changes_nothing(engineless_bus: Bus) -> None:
    debounce, waits = Debounce(engineless_bus.redis), rule(debounce="2s")
    event = died()
    debounce.wait(waits, event, START)
    (burst,) = debounce.due([waits.name], START + 2)
    debounce.forget(burst, START + 2)
    debounce.wait(waits, event, START + 3)
    assert debounce.next([waits.name]) is None


def test_an_event_that_comes_while_its_burst_is_answered_is_not_lost(engineless_bus: Bus) -> None:
    debounce, waits = Debounce(engineless_bus.redis), rule(debounce="2s")
    debounce.wait(waits, died(0), START)
    (burst,) = debounce.due([waits.name], START + 2)
    late = died(2)
    debounce.wait(waits, late, START + 2)
    debounce.forget(burst, START + 2)
    (again,) = debounce.due([waits.name], START + 4)
    assert again.event == late.event


# -- what is left --------------------------------------------------------------------------------------


def test_nothing_is_kept_for_ever(engineless_bus: Bus, redis: Redis) -> None:
    everything = rule(
        count=2,
        within="1m",
        cooldown="1s",
        limit={"count": 3, "per": "1m", "then": "suspend"},
        dedup={},
    )
    fire_all(engineless_bus, everything, range(20))
    Debounce(redis).wait(rule(name="waits", debounce="2s"), died(), START)
    untyped: Any = redis
    kept = untyped.keys("dockbus:rules:*")
    assert len(kept) > 20
    assert b"dockbus:rules:due:waits" in kept
    assert [key for key in kept if redis.ttl(key) == -1] in ([], [b"dockbus:rules:suspended"])


def test_a_dry_run_tells_of_the_job_and_orders_none(engineless_bus: Bus) -> None:
    dry = rule(
        mode="dry-run",
        cooldown="60s",
        dedup={},
        do={"kind": "stop", "container": "${id}", "timeout": 5},
    )
    assert fire_all(engineless_bus, dry, [0, 1, 61]) == 0
    first, second = told(engineless_bus, "would-fire")
    assert first.data["spec"] == {"kind": "stop", "container": "c0ffee", "timeout": 5.0}
    assert first.id != second.id
    assert told(engineless_bus, "fired") == []


def test_what_cannot_be_filled_in_is_told_once(engineless_bus: Bus) -> None:
    firing, broken = Firing(engineless_bus), rule(by="${labels.app}", cooldown="1s")
    event = died()
    for _ in range(2):
        firing.fire(broken, event, START)
    (failed,) = told(engineless_bus, "failed")
    assert failed.data["error"] == "rule 'r': by: there is no label 'app'"
    assert jobs(engineless_bus) == 0
