"""What has been told of an Engine's containers, and what is still to tell. Pure: no Engine, no Redis, no clock.

A container has lives, each from a start to a die. For each there is one `start` and one `die` on the bus, whether the
Engine told of it, or it was found by comparing what was told with what is there. So of each container its last steps
are kept in the order of their times, and what is heard is matched with them: a step that was found first is not told
again when the Engine's own event comes late, by whatever way and in whatever order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dockbus.engine import Container, EngineEvent
from dockbus.engine.states import state_of
from dockbus.events import Event
from dockbus.snapshot import ContainerState
from dockbus_producer.docker_events.envelope import envelope, exit_code, nanoseconds
from dockbus_producer.docker_events.reader import Heard
from dockbus_producer.docker_events.steps import (
    ON,
    Step,
    has_hole,
    in_order,
    is_on,
    missing,
    taken,
    unended,
)

_PATCHES: Mapping[str, str] = {
    "create": "created",
    "start": "running",
    "die": "exited",
    "pause": "paused",
    "unpause": "running",
}
"""State of a container that was not seen after an event."""
_OWN = ("name", "image", "exitCode", "execDuration", "signal", "oldName")
"""What the Engine itself sends with an event of a container; all else are labels."""
_GONE = 1000
"""Containers that are remembered after their end."""


class Known(ContainerState):
    """A container, and what has been told of it."""

    steps: tuple[Step, ...] = ()
    """The last of them, oldest first."""
    told_health: str = ""
    """The last health that was told of this life."""
    found_health: str = ""
    """A health that was found, and whose event may come yet."""
    unseen: bool = False
    """Whether it was not seen since an event told of it: it is only known as that says."""

    @property
    def is_on(self) -> bool:
        """Whether a life was told to have begun, and not to have ended."""
        return is_on(self.steps)

    @property
    def has_hole(self) -> bool:
        """Whether a step may have to be told of which nobody saw more than that it must have been."""
        return has_hole(self.steps)


@dataclass(frozen=True)
class Telling:
    """An event to publish, and what names it."""

    mark: str
    """Unlike the event's ID the same for a fact that was heard and for one that was found, where it can happen once only."""
    time_nano: int
    event: Event
    restart: bool = False
    """Whether it is a start after an end."""


class World:
    """The containers of one Engine."""

    def __init__(
        self, engine: str, containers: Iterable[Known] = (), marks: Iterable[str] = ()
    ) -> None:
        """The world as it was told before.

        Args:
            engine: the Engine's name.
            containers: all that were told to be there.
            marks: those of what was lately told, which may be heard again.
        """
        self.engine = engine
        self.containers: dict[str, Known] = {one.id: one for one in containers}
        self._marks = set(marks)
        self._gone = dict.fromkeys(
            mark.removeprefix("destroy:") for mark in self._marks if mark.startswith("destroy:")
        )
        self.changed: set[str] = set()
        """Those that are not as they were when this was last emptied; gone ones, too."""

    # -- what is heard ---------------------------------------------------------------------

    def hear(self, heard: Heard, seen: Container | None) -> list[Telling]:
        """What is to tell, now that an event was heard and, after it, its container seen."""
        event = heard.event
        if heard.mark in self._marks:
            return []
        if event.type != "container" or not event.actor:  # of a prune there is none
            tell = envelope(self.engine, heard.engine_id, heard.mark, event)
            return [Telling(heard.mark, event.time_nano, tell)]
        if event.action == "destroy":
            return self._removed(heard)
        if event.actor in self._gone:  # heard late: all that counts has been told
            return []
        known = self.containers.get(event.actor) or _unknown(self.engine, event)
        is_late = bool(known.steps) and event.time_nano < known.steps[-1].time
        now = known
        if seen:
            now = _seen(known, seen, self.engine)
        elif not is_late:
            now = _patched(known, event)
        is_news = True
        if event.action in ("start", "die"):
            steps, is_news = taken(known.steps, event, seen)
            now = _with(now, steps=steps)
            if event.action == "start" and not is_late:
                now = _with(now, told_health="", found_health="")
            if event.action == "die":
                event = _corrected(event, seen, now)
        elif event.action.startswith("health_status: "):
            health = event.action.partition(": ")[2]
            is_news = health != known.found_health
            now = _with(now, told_health=health, found_health="")
        self._keep(now)
        if not is_news:
            return []
        mark = f"create:{event.actor}" if event.action == "create" else heard.mark
        facts = now if seen or known.image_id else None
        tell = envelope(self.engine, heard.engine_id, heard.mark, event, facts)
        told = [Telling(mark, event.time_nano, tell, _is_restart(event, now))]
        if seen and not known.created and event.action != "create":  # that was not heard
            made = nanoseconds(seen.created)
            told.insert(0, self._tell(heard.engine_id, "create", made, now))
        return told

    def _removed(self, heard: Heard) -> list[Telling]:
        event = heard.event
        known = self.containers.pop(event.actor, None)
        self._forget(event.actor)
        told = self._ended(heard.engine_id, known, event.time_nano - 1) if known else []
        last = _with(known, state="removing") if known else None
        tell = envelope(self.engine, heard.engine_id, heard.mark, event, last)
        return [*told, Telling(f"destroy:{event.actor}", event.time_nano, tell)]

    # -- what is found ---------------------------------------------------------------------

    def begin(self, seen: Iterable[Container]) -> None:
        """Take all as it is, with nothing to tell: what was before the first look is not news."""
        for container in seen:
            known = _seen(_blank(self.engine, container), container, self.engine)
            steps = tuple(Step(one.action, one.time, "old") for one in missing((), container))
            self._keep(_with(known, steps=steps, told_health=_firm(container.health)))

    def is_as_told(self, listed: Container) -> bool:
        """Whether a short look at a container shows nothing else than what has been told."""
        known = self.containers.get(listed.id)
        return (
            known is not None
            and known.state == listed.state
            and known.name == listed.name
            and known.is_on == (listed.state in ON)
            and _firm(listed.health) in ("", known.told_health)
            and not known.has_hole
            and not known.unseen
        )

    def compare(self, seen: Container) -> tuple[str, ...]:
        """What a whole look at a container shows and was not told: actions, in their order."""
        known = self.containers.get(seen.id)
        steps = known.steps if known else ()
        created = () if known and known.created else ("create",)
        lacking = [step.action for step in missing(steps, seen)]
        told = known.told_health if known and "start" not in lacking else ""
        health = _firm(seen.health) if seen.state in ON else ""
        flipped = (f"health_status: {health}",) if health and health != told else ()
        return (*created, *lacking, *flipped)

    def find(self, engine_id: str, seen: Container, now: int) -> list[Telling]:
        """Tell what a whole look shows and was not told; the container is known as it is from now on."""
        actions = self.compare(seen)
        known = self.containers.get(seen.id) or _blank(self.engine, seen)
        lacking = missing(known.steps, seen)
        state = _seen(known, seen, self.engine)
        state = _with(state, steps=in_order(*known.steps, *lacking))
        told: list[Telling] = []
        if "create" in actions:
            told.append(self._tell(engine_id, "create", nanoseconds(seen.created), state))
        for step in lacking:
            is_last = step is state.steps[-1]
            told.append(self._step(engine_id, step, state if is_last else _then(state, step)))
        if "start" in actions:
            state = _with(state, told_health="", found_health="")
        if actions and actions[-1].startswith("health_status: "):
            state = _with(state, told_health=seen.health, found_health=seen.health)
            told.append(self._tell(engine_id, actions[-1], now, state))
        self._keep(state)
        return told

    def lose(self, engine_id: str, container: str, now: int) -> list[Telling]:
        """Tell that a container has gone of which that was not told."""
        known = self.containers.pop(container, None)
        if known is None:  # that was heard meanwhile
            return []
        self._forget(container)
        told = self._ended(engine_id, known, now)
        gone = _with(known, state="removing")
        return [*told, self._tell(engine_id, "destroy", now, gone)]

    def _ended(self, engine_id: str, known: Known, time: int) -> list[Telling]:
        """The steps of a container that is gone which were not told: nobody saw how it ended."""
        lacking = unended(known.steps, nanoseconds(known.created), time)
        return [self._step(engine_id, step, _then(known, step)) for step in lacking]

    def _step(self, engine_id: str, step: Step, state: Known) -> Telling:
        return self._tell(engine_id, step.action, step.until or step.time, state, which=step.time)

    def _tell(
        self, engine_id: str, action: str, time: int, state: Known, *, which: int = 0
    ) -> Telling:
        attributes = {"name": state.name, "image": state.image}
        if action == "die" and state.exit_code is not None:
            attributes["exitCode"] = str(state.exit_code)
        event = EngineEvent(
            type="container", action=action, actor=state.id, attributes=attributes, time_nano=time
        )
        mark = f"{action}:{state.id}"
        if action not in ("create", "destroy"):  # of two that were lost before the same event, each
            mark += f":{which or time}"
        tell = envelope(self.engine, engine_id, f"found:{mark}", event, state, synthetic=True)
        return Telling(mark, time, tell, _is_restart(event, state))

    def _forget(self, container: str) -> None:
        self.changed.add(container)
        self._gone[container] = None
        if len(self._gone) > _GONE:
            del self._gone[next(iter(self._gone))]

    def _keep(self, known: Known) -> None:
        if self.containers.get(known.id) != known:
            self.containers[known.id] = known
            self.changed.add(known.id)


def _is_restart(event: EngineEvent, known: Known) -> bool:
    """Whether it is a start after an end."""
    ends = (step.time for step in known.steps if step.action == "die")
    return event.action == "start" and any(end < event.time_nano for end in ends)


def _firm(health: str) -> str:
    """The health, where it is one that the Engine tells of."""
    return health if health in ("healthy", "unhealthy") else ""


def _corrected(event: EngineEvent, seen: Container | None, now: Known) -> EngineEvent:
    """An end with the exit code that the Engine knows: a label may pose as the one in an event."""
    attributes = dict(event.attributes)
    if (
        seen
        and seen.state not in ON
        and nanoseconds(seen.finished) <= event.time_nano + 10**6
        and nanoseconds(seen.started) <= event.time_nano
    ):
        attributes["exitCode"] = str(seen.exit_code)
    elif "exitCode" in now.labels:
        attributes.pop("exitCode", None)
    return EngineEvent(
        type=event.type,
        action=event.action,
        actor=event.actor,
        attributes=attributes,
        time_nano=event.time_nano,
    )


def _unknown(engine: str, event: EngineEvent) -> Known:
    """A container of which only an event is known."""
    attributes = event.attributes
    return Known(
        engine=engine,
        id=event.actor,
        name=attributes.get("name", ""),
        image=attributes.get("image", ""),
        labels={key: value for key, value in attributes.items() if key not in _OWN},
        unseen=True,
    )


def _blank(engine: str, seen: Container) -> Known:
    return Known(engine=engine, id=seen.id, name=seen.name)


def _seen(known: Known, seen: Container, engine: str) -> Known:
    return known.model_copy(update={**dict(state_of(seen, engine)), "unseen": False})


def _patched(known: Known, event: EngineEvent) -> Known:
    """The container as an event alone tells it."""
    update: dict[str, object] = {
        "state": _PATCHES.get(event.action, known.state),
        "unseen": True,
    }
    if event.action == "die":
        update["exit_code"] = exit_code(event.attributes)
    elif event.action == "start":
        update["exit_code"] = None
    elif event.action.startswith("health_status: "):
        update["health"] = event.action.partition(": ")[2]
    elif event.action == "rename":
        update["name"] = event.attributes.get("name", known.name)
    return known.model_copy(update=update)


def _then(known: Known, step: Step) -> Known:
    """The container as it was after a step that was not its last."""
    return _with(known, state="running" if step.action == "start" else "exited", exit_code=None)


def _with(known: Known, **update: object) -> Known:
    return known.model_copy(update=update)
