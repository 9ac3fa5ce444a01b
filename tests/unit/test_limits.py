"""Limits: what labels say, when being over one is told, once, and when it is over."""

from __future__ import annotations

from typing import Any

import pytest

from dockbus.limits import EXCEEDED, RECOVERED, Resource, limits_of, parse_limit
from dockbus.stats import ContainerStats
from dockbus_producer.rules.labels import Vocabulary
from dockbus_workers.metrics.limits import EPISODES, Watchdog
from measuring import AT, stats

LIMITS: dict[Resource, float] = {"cpu": 80.0, "memory": 90.0}


def told(watchdog: Watchdog, *looks: ContainerStats | None) -> list[tuple[str, str, float | None]]:
    """What is told of these looks at one container; at None it does not run any more."""
    found: list[tuple[str, str, float | None]] = []
    for look in looks:
        crossings = watchdog.judge([look] if look else [], [look.id] if look else [], AT)
        found += [(one.type, one.episode.resource, one.value) for one in crossings]
    return found


def over(after: float, memory: float | None = 95.0, **fields: Any) -> ContainerStats:
    return stats(after, memory=memory, **fields)


def test_what_lasts_is_told_once() -> None:
    watchdog = Watchdog(LIMITS, 60.0)

    assert told(watchdog, over(0), over(30)) == []
    assert told(watchdog, over(60)) == [(EXCEEDED, "memory", 95.0)]
    assert told(watchdog, over(90), over(3600)) == []


def test_its_end_is_told_once() -> None:
    watchdog = Watchdog(LIMITS, 60.0)
    told(watchdog, over(0), over(60))

    assert told(watchdog, stats(90, memory=90.0)) == [(RECOVERED, "memory", 90.0)]
    assert told(watchdog, stats(120)) == []
    assert watchdog.episodes == []


def test_a_break_begins_anew() -> None:
    watchdog = Watchdog(LIMITS, 60.0)

    assert told(watchdog, over(0), over(30), stats(40), over(50), over(100)) == []
    assert told(watchdog, over(110)) == [(EXCEEDED, "memory", 95.0)]


def test_without_patience_the_first_look_tells() -> None:
    assert told(Watchdog(LIMITS, 0.0), over(0)) == [(EXCEEDED, "memory", 95.0)]


@pytest.mark.parametrize(("cpu", "expected"), [(80.0, []), (80.1, [(EXCEEDED, "cpu", 80.1)])])
def test_at_the_limit_is_not_over_it(cpu: float, expected: list[object]) -> None:
    assert told(Watchdog(LIMITS, 0.0), stats(cpu=cpu)) == expected


def test_both_resources_are_told_each_for_itself() -> None:
    watchdog = Watchdog(LIMITS, 0.0)

    assert told(watchdog, over(0, cpu=200.0)) == [
        (EXCEEDED, "cpu", 200.0),
        (EXCEEDED, "memory", 95.0),
    ]
    assert told(watchdog, over(30)) == [(RECOVERED, "cpu", 10.0)]


def test_a_look_without_an_answer_is_no_break() -> None:
    watchdog = Watchdog(LIMITS, 60.0)
    first = over(0)
    told(watchdog, first)

    assert watchdog.judge([], [first.id], AT) == []
    assert told(watchdog, over(30, memory=None)) == []
    assert told(watchdog, over(60)) == [(EXCEEDED, "memory", 95.0)]


def test_what_has_ended_is_over_its_limit_no_more() -> None:
    watchdog = Watchdog(LIMITS, 60.0)

    assert told(watchdog, over(0), over(60), None) == [
        (EXCEEDED, "memory", 95.0),
        (RECOVERED, "memory", None),
    ]
    assert told(watchdog, over(0), None) == []  # what was not told has no end


def test_another_life_is_another_episode() -> None:
    watchdog = Watchdog(LIMITS, 60.0)
    told(watchdog, over(0), over(60))

    assert told(watchdog, over(90, started=AT)) == [(RECOVERED, "memory", None)]
    assert told(watchdog, over(120, started=AT)) == []
    assert told(watchdog, over(150, started=AT)) == [(EXCEEDED, "memory", 95.0)]


def test_the_next_worker_goes_on_where_this_one_was() -> None:
    first = Watchdog(LIMITS, 60.0)
    told(first, over(0))
    second = Watchdog(LIMITS, 60.0, EPISODES.validate_json(EPISODES.dump_json(first.episodes)))

    assert told(second, over(60)) == [(EXCEEDED, "memory", 95.0)]
    third = Watchdog(LIMITS, 60.0, EPISODES.validate_json(EPISODES.dump_json(second.episodes)))
    assert told(third, over(90), stats(120)) == [(RECOVERED, "memory", 10.0)]


def test_a_container_sets_its_own_limits_by_label() -> None:
    own = {"dockbus.limit.memory": "96", "dockbus.limit.cpu": "5 %"}

    assert told(Watchdog(LIMITS, 0.0), over(0, labels=own)) == [(EXCEEDED, "cpu", 10.0)]
    assert told(Watchdog({}, 0.0), over(0, labels=own)) == [(EXCEEDED, "cpu", 10.0)]


def test_a_limit_of_zero_is_none() -> None:
    assert limits_of({"dockbus.limit.memory": "0"}, LIMITS) == {"cpu": 80.0}
    assert limits_of({}, {"cpu": 0.0, "memory": 90.0}) == {"memory": 90.0}


@pytest.mark.parametrize("text", ["", "-1", "90 percent", "1e3", "nan", "inf", "0x10", "9" * 50])
def test_a_label_that_is_wrong_counts_as_none_and_is_told(text: str) -> None:
    labels = {"dockbus.limit.cpu": text}

    assert limits_of(labels, LIMITS) == LIMITS
    (mistake,) = Vocabulary(()).mistakes(labels)
    assert (mistake.label, mistake.unknown) == ("dockbus.limit.cpu", False)
    assert "such as 90" in mistake.reason


def test_more_than_all_memory_is_no_limit() -> None:
    assert parse_limit("cpu", "250") == 250.0
    (mistake,) = Vocabulary(()).mistakes({"dockbus.limit.memory": "101"})
    assert "100 percent" in mistake.reason


@pytest.mark.parametrize("asks", [{}, {"dockbus.enable": "true", "dockbus.rule.x": "true"}])
def test_a_label_that_is_right_raises_no_warning(asks: dict[str, str]) -> None:
    labels = {"dockbus.limit.cpu": "90", "dockbus.limit.memory": "87.5%"} | asks

    found = {one.label for one in Vocabulary(()).mistakes(labels)}
    assert not found & {"dockbus.limit.cpu", "dockbus.limit.memory"}


def test_a_misspelt_label_is_told_with_what_was_meant() -> None:
    (mistake,) = Vocabulary(()).mistakes({"dockbus.limits.memory": "90"})

    assert (mistake.suggestion, mistake.unknown) == ("dockbus.limit.memory", True)
