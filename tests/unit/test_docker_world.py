"""What is told of an Engine's containers: each life once, whatever of it was heard, seen, late or lost."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dockbus.engine import Container, EngineEvent
from dockbus_producer.docker_events.envelope import fingerprint, nanoseconds
from dockbus_producer.docker_events.reader import Heard
from dockbus_producer.docker_events.world import Telling, World

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
ENGINE = "ENGINE-ID"


def at(seconds: float) -> datetime:
    return BEGINNING + timedelta(seconds=seconds)


def nano(seconds: float) -> int:
    return nanoseconds(at(seconds))


def seen(
    state: str, *, started: float | None = None, finished: float | None = None, **facts: Any
) -> Container:
    given: dict[str, Any] = {
        "id": "c1",
        "name": "web",
        "image": "app:1",
        "image_id": "sha256:1",
        "labels": {},
        "created": at(0),
        **facts,
    }
    return Container(
        **given,
        state=state,
        started=at(started) if started is not None else None,
        finished=at(finished) if finished is not None else None,
    )


def heard(action: str, seconds: float, container: str = "c1", **attributes: str) -> Heard:
    event = EngineEvent(
        type="container",
        action=action,
        actor=container,
        attributes={"name": "web", "image": "app:1", **attributes},
        time_nano=nano(seconds),
    )
    return Heard(ENGINE, fingerprint(ENGINE, event), event)


def actions(told: Sequence[Telling]) -> list[str]:
    return [str(telling.event.data["action"]) for telling in told]


def codes(told: Sequence[Telling]) -> list[Any]:
    return [t.event.data.get("exitCode") for t in told if t.event.data["action"] == "die"]


@pytest.fixture
def world() -> World:
    return World("local")


def test_what_is_heard_is_told_and_known(world: World) -> None:
    world.hear(heard("create", 0), seen("created"))
    world.hear(heard("start", 1.1), seen("running", started=1))
    told = world.hear(
        heard("die", 2.1, exitCode="3"), seen("exited", started=1, finished=2, exit_code=3)
    )

    assert (actions(told), codes(told)) == (["die"], [3])
    assert told[0].event.data["synthetic"] is False
    assert (world.containers["c1"].state, world.containers["c1"].exit_code) == ("exited", 3)
    assert world.changed == {"c1"}


def test_an_end_that_was_missed_is_found_once(world: World) -> None:
    world.hear(heard("start", 1.1), seen("running", started=1))
    over = seen("exited", started=1, finished=2, exit_code=7)

    told = world.find(ENGINE, over, nano(30))

    assert (actions(told), codes(told)) == (["die"], [7])
    assert told[0].event.data["synthetic"] is True
    assert told[0].event.time == at(2)
    assert world.compare(over) == ()
    assert world.hear(heard("die", 2.1, exitCode="7"), over) == []
    assert world.compare(over) == ()


def test_a_new_container_is_told_from_its_beginning(world: World) -> None:
    told = world.find(ENGINE, seen("exited", started=1, finished=2, exit_code=1), nano(9))

    assert actions(told) == ["create", "start", "die"]
    assert [t.mark for t in told][:1] == ["create:c1"]
    assert world.hear(heard("start", 1.1), None) == []


def test_a_life_that_was_not_seen_to_end_has_no_exit_code(world: World) -> None:
    world.hear(heard("start", 1.1), seen("running", started=1))

    told = world.find(ENGINE, seen("running", started=5), nano(9))

    assert (actions(told), codes(told)) == (["die", "start"], [None])
    told = world.find(ENGINE, seen("exited", started=5, finished=6, exit_code=2), nano(9))
    assert (actions(told), codes(told)) == (["die"], [2])


def test_between_two_starts_an_end_is_found(world: World) -> None:
    world.hear(heard("start", 1.1), seen("running", started=1))

    told = world.hear(heard("start", 5.1), seen("running", started=5))
    assert actions(told) == ["start"]
    assert actions(world.find(ENGINE, seen("running", started=5), nano(9))) == ["die"]

    assert world.hear(heard("die", 4.9, exitCode="1"), seen("running", started=5)) == []
    told = world.hear(heard("die", 6.1, exitCode="1"), seen("exited", started=5, finished=6))
    assert actions(told) == ["die"]


def test_a_container_that_has_gone_is_told_to_have_ended(world: World) -> None:
    world.hear(heard("start", 1.1), seen("running", started=1))

    told = world.lose(ENGINE, "c1", nano(9))

    assert (actions(told), codes(told)) == (["die", "destroy"], [None])
    assert world.containers == {}
    assert world.hear(heard("die", 2, exitCode="0"), None) == []
    assert (
        [t.mark for t in world.hear(heard("destroy", 3), None)] == ["destroy:c1"] == [told[1].mark]
    )


def test_the_end_of_a_container_that_was_removed_is_found(world: World) -> None:
    world.hear(heard("create", 0), seen("created"))
    world.hear(heard("start", 1.1), seen("running", started=1))

    told = world.hear(heard("destroy", 9), None)

    assert (actions(told), codes(told)) == (["die", "destroy"], [None])
    assert [one.event.data["synthetic"] for one in told] == [True, False]
    assert world.hear(heard("die", 8.9, exitCode="0"), None) == []


def test_a_life_of_which_only_the_end_was_heard_before_it_was_removed_has_a_start(
    world: World,
) -> None:
    world.hear(heard("create", 0), seen("created"))
    world.hear(heard("die", 2, exitCode="1"), None)

    told = world.hear(heard("destroy", 9), None)

    assert actions(told) == ["start", "destroy"]
    assert told[0].event.time < at(2)


def test_what_was_there_before_the_first_look_is_no_news(world: World) -> None:
    world.begin([seen("running", started=1, health="unhealthy")])

    assert world.compare(seen("running", started=1, health="unhealthy")) == ()
    assert actions(world.hear(heard("die", 5.1), None)) == ["die"]


def test_a_start_on_its_way_during_the_first_look_is_told(world: World) -> None:
    world.begin([seen("running", started=1)])

    assert actions(world.hear(heard("start", 1.1), seen("running", started=1))) == ["start"]


@pytest.mark.parametrize("health", ["healthy", "unhealthy"])
def test_health_that_was_not_heard_is_found_once(world: World, health: str) -> None:
    world.hear(heard("start", 1.1), seen("running", started=1, health="starting"))
    now = seen("running", started=1, health=health)

    assert actions(world.find(ENGINE, now, nano(9))) == [f"health_status: {health}"]
    assert world.find(ENGINE, now, nano(9)) == []
    assert world.hear(heard(f"health_status: {health}", 3), now) == []


def test_health_that_comes_back_is_told_again(world: World) -> None:
    world.hear(heard("start", 1.1), seen("running", started=1, health="starting"))
    bad, good = (seen("running", started=1, health=h) for h in ("unhealthy", "healthy"))

    told = world.find(ENGINE, bad, nano(3))
    told += world.hear(heard("health_status: healthy", 4), good)
    told += world.hear(heard("health_status: unhealthy", 5), bad)

    assert actions(told) == [f"health_status: {h}" for h in ("unhealthy", "healthy", "unhealthy")]


def test_a_label_does_not_pose_as_an_exit_code(world: World) -> None:
    liar: Any = {"labels": {"exitCode": "0"}}
    world.hear(heard("start", 1.1, exitCode="0"), seen("running", started=1, **liar))

    over = seen("exited", started=1, finished=2, exit_code=1, **liar)
    assert codes(world.hear(heard("die", 2.1, exitCode="0"), over)) == [1]


def test_a_label_does_not_pose_where_the_container_runs_again(world: World) -> None:
    again = seen("running", started=3, labels={"exitCode": "0"})
    world.hear(heard("start", 1.1), seen("running", started=1, labels={"exitCode": "0"}))

    assert codes(world.hear(heard("die", 2.1, exitCode="0"), again)) == [None]


def test_a_look_that_shows_no_news_corrects_the_rest(world: World) -> None:
    world.hear(heard("start", 1.1), seen("running", started=1))

    assert world.find(ENGINE, seen("paused", started=1, restart_count=2), nano(9)) == []
    assert world.containers["c1"].state == "paused"
    assert world.containers["c1"].restart_count == 2


def test_a_container_first_heard_of_by_its_start_was_created(world: World) -> None:
    now = seen("running", started=1)

    assert actions(world.hear(heard("start", 1.1), now)) == ["create", "start"]
    late = world.hear(heard("create", 0.1), now)
    assert [one.mark for one in late] == ["create:c1"]  # which is known, so it is not told again


def test_a_container_first_heard_of_by_its_end_was_created_and_started(world: World) -> None:
    over = seen("exited", started=1, finished=2, exit_code=7)
    told = world.hear(heard("die", 2.1, exitCode="7"), over)
    told += world.find(ENGINE, over, nano(9))

    assert sorted(actions(told)) == ["create", "die", "start"]
    assert world.find(ENGINE, over, nano(9)) == []


def test_lives_before_the_first_that_was_heard_of_are_found(world: World) -> None:
    again = seen("running", started=3)
    told = world.hear(heard("die", 2.1, exitCode="7"), again)
    told += world.hear(heard("start", 3.1), again)
    told += world.find(ENGINE, again, nano(9))

    assert sorted(actions(told)) == ["create", "die", "start", "start"]
    assert world.find(ENGINE, again, nano(9)) == []


def test_a_container_that_nobody_could_look_at_keeps_its_labels_and_is_looked_at(
    world: World,
) -> None:
    world.hear(heard("start", 1.1, team="blue"), None)
    world.hear(heard("die", 2.1, exitCode="7", team="blue"), None)

    assert world.containers["c1"].labels == {"team": "blue"}
    assert not world.is_as_told(seen("exited", started=1, finished=2, exit_code=7))


# -- any container, any loss ------------------------------------------------------------------


@dataclass
class Life:
    began: float
    ended: float | None = None
    code: int = 0


@dataclass
class Simulated:
    """A container, and the events of it."""

    name: str
    lives: list[Life] = field(default_factory=list[Life])
    gone: bool = False

    @property
    def view(self) -> Container | None:
        if self.gone:
            return None
        last = self.lives[-1] if self.lives else None
        return seen(
            "created" if last is None else "running" if last.ended is None else "exited",
            started=last.began if last else None,
            finished=last.ended if last else None,
            exit_code=last.code if last and last.ended is not None else 0,
            id=self.name,
        )


@pytest.mark.parametrize("seed", range(200))
def test_each_life_is_told_once_whatever_is_late_or_lost(seed: int) -> None:  # noqa: PLR0912
    """Containers live and die at random; events come in time, late (in their order), by another way, or never."""
    dice = random.Random(seed)  # noqa: S311
    world = World("local")
    containers = [Simulated(f"c{number}") for number in range(4)]
    stream: list[Heard] = []
    dropped: list[Heard] = []
    told: list[Telling] = []
    marks: set[str] = set()

    def tell(new: list[Telling]) -> None:
        told.extend(one for one in new if one.mark not in marks)
        marks.update(one.mark for one in new)

    def happen(container: Simulated, action: str, now: float, **attributes: str) -> None:
        event = heard(action, now, container.name, **attributes)
        (dropped if dice.random() < 0.25 else stream).append(event)

    def look(one: Simulated, now: float) -> None:
        if view := one.view:
            tell(world.find(ENGINE, view, nano(now)))
        elif one.name in world.containers:
            tell(world.lose(ENGINE, one.name, nano(now)))

    def hear(event: Heard) -> None:
        if event.mark not in marks:
            (container,) = (one for one in containers if one.name == event.event.actor)
            tell(world.hear(event, container.view))

    for container in containers:
        happen(container, "create", 0.5)
    for step in range(1, 30):
        now = float(step)
        container = dice.choice([one for one in containers if not one.gone] or containers[:1])
        last = container.lives[-1] if container.lives else None
        if last is None or last.ended is not None:
            container.lives.append(Life(now))
            happen(container, "start", now + 0.1)
        else:
            last.ended, last.code = now, dice.randrange(1, 200)
            happen(container, "die", now + 0.1, exitCode=str(last.code))
            if dice.random() < 0.1 and container is not containers[0]:
                happen(container, "destroy", now + 0.2)
                container.gone = True
        for _ in range(dice.choice((0, 0, 1, 1, 2, 5))):
            if stream:
                hear(stream.pop(0))
        if dice.random() < 0.1 and dropped:
            hear(dropped.pop(dice.randrange(len(dropped))))
        if dice.random() < 0.15:
            for one in containers:
                look(one, now + 0.5)
    for event in stream:
        hear(event)
    for one in containers:
        look(one, 100)
    for event in dropped:
        hear(event)
    assert set(world.containers) == {one.name for one in containers if not one.gone}
    for view in filter(None, (one.view for one in containers)):
        assert world.compare(view) == ()

    for container in containers:
        mine = [one.event for one in told if one.event.subject == container.name]
        count = Counter(str(event.data["action"]) for event in mine)
        assert count["destroy"] == container.gone
        told_codes = [int(str(e.data["exitCode"])) for e in mine if "exitCode" in e.data]
        assert not Counter(told_codes) - Counter(life.code for life in container.lives)
        if container.gone:  # lives that nobody saw are lost, but each that was told is whole
            assert count["start"] == count["die"] <= len(container.lives)
            continue
        assert count["create"] == 1
        assert count["start"] == len(container.lives)
        assert count["die"] == sum(life.ended is not None for life in container.lives)
        if container.lives and container.lives[-1].ended is not None:
            assert container.lives[-1].code in told_codes
