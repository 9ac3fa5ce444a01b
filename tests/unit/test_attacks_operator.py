"""Attacks on the operator half that need no service."""

# A test looks into what it counts.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from dockbus import Event
from dockbus.engine import Container, Engine, EngineEvent
from dockbus.event_reader import NoSuchPlace, position_of
from dockbus.expressions import Expression, ExpressionError
from dockbus_producer.docker_events import audit
from dockbus_producer.docker_events.audit import Audit
from dockbus_producer.docker_events.envelope import fingerprint, nanoseconds
from dockbus_producer.docker_events.reader import Heard
from dockbus_producer.docker_events.world import World
from dockbus_producer.rules.labels import Vocabulary
from dockbus_producer.sinks.delivery import Meaning, deliver, judge
from dockbus_producer.sinks.sink import Sink

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
TEN = "[1,2,3,4,5,6,7,8,9,10]"


def nano(seconds: float) -> int:
    return nanoseconds(BEGINNING + timedelta(seconds=seconds))


def heard(action: str, seconds: float, container: str = "c1", **attributes: str) -> Heard:
    event = EngineEvent(
        type="container",
        action=action,
        actor=container,
        attributes=attributes,
        time_nano=nano(seconds),
    )
    return Heard("E", fingerprint("E", event), event)


def seen(state: str, container: str = "c1", **times: float) -> Container:
    moments = {name: BEGINNING + timedelta(seconds=at) for name, at in times.items()}
    facts: dict[str, Any] = {"name": "web", "image": "app:1", "image_id": "sha256:1", "labels": {}}
    facts |= moments
    return Container(id=container, state=state, **facts)


# -- the watch ---------------------------------------------------------------------------------


def test_an_exit_code_of_many_digits_does_not_end_the_watch() -> None:
    World("local").hear(heard("die", 1, name="web", exitCode="1" * 5000), None)


def test_an_event_about_no_container_makes_none() -> None:
    world = World("local")

    world.hear(heard("prune", 1, container="", reclaimed="0"), None)

    assert world.containers == {}


def test_an_event_that_is_read_again_after_a_restart_of_the_watch_is_no_second_step() -> None:
    world = World("local")
    world.hear(heard("start", 1.1), seen("running", created=0, started=1))

    again = World("local", world.containers.values())
    again.hear(heard("start", 1.1), seen("running", created=0, started=1))

    assert again.compare(seen("running", created=0, started=1)) == ()


def test_a_clock_that_was_set_back_makes_no_second_end() -> None:
    world = World("local")
    world.hear(heard("start", 100.1), seen("running", created=0, started=100))
    over = seen("exited", created=0, started=100, finished=50)
    world.hear(heard("die", 50.1, exitCode="0"), over)

    assert world.compare(over) == ()


def test_a_container_whose_end_is_heard_during_the_look_is_not_lost_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audit, "DOUBT", 0.0)
    world = World("local")
    for name in ("c1", "c2"):
        world.hear(heard("create", 1, container=name), seen("created", name, created=1))
    looks: Iterator[Any] = Audit(cast("Engine", None)).differing({}, world, full=False)

    told: list[str] = []
    for container, _ in looks:
        world.lose("E", container, nano(9))
        told.append(container)
        other = {"c1": "c2", "c2": "c1"}[container]
        # What `_find` does after each hundred: take in what has come meanwhile.
        world.hear(heard("destroy", 9, container=other), None)

    assert len(told) == 1


# -- what people may write ---------------------------------------------------------------------


def nest(depth: int, dot: str = ".") -> str:
    text = "true"
    for number in range(depth):
        text = f"{TEN}{dot}all(v{number}, {text})"
    return text


@pytest.mark.parametrize(
    "text",
    [
        nest(3, ".//c\n"),
        f"// '\n{nest(3)}// '\n",
        rf"r'\' != r'' && {nest(3)} && r'\' != r''",
        f"'''a'b''' != '' && {nest(3)} && '''a'b''' != ''",
    ],
    ids=["comment", "quote in a comment", "raw string", "triple quotes"],
)
def test_loops_cannot_be_hidden(text: str) -> None:
    with pytest.raises(ExpressionError):
        Expression.parse(text)


def test_of_thousands_of_labels_a_hundred_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    meant = Vocabulary._meant

    def counted(self: Vocabulary, label: str, likeness: float) -> str:
        checked.append(label)
        return meant(self, label, likeness)

    monkeypatch.setattr(Vocabulary, "_meant", counted)
    Vocabulary(()).mistakes({f"dockbus.zzqq.{number}": "x" for number in range(3000)})

    assert len(checked) == 100


@pytest.mark.parametrize(
    "after",
    ["Mon, 1 Jan 2020 99999999999999999999:00:00 GMT", f"Mon, 1 Jan 2020 00:00:00 +{'9' * 20}"],
)
def test_a_wait_beyond_all_numbers_is_none(after: str) -> None:
    assert judge(503, b"", after).wait == 0.0


def test_a_host_that_cannot_be_one_is_a_failure_with_its_cause() -> None:
    given = {"name": "s", "url": f"https://{'a' * 70}.example/", "types": ["*"]}
    answer = deliver(Sink.model_validate(given), Event(source="/test", type="test"), "")

    assert answer.meaning is Meaning.FAILED
    assert "too long" in answer.cause


def test_a_place_that_redis_has_not_is_none() -> None:
    with pytest.raises(NoSuchPlace):
        position_of("1-99999999999999999999")
