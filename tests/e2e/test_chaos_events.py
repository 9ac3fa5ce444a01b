"""Everything between an Engine and the bus breaks while containers live and die; no event is missed, none is doubled.

`make chaos-events` runs this in its long form. CHAOS_SEED repeats a run's choices, CHAOS_EVENTS says how many
events there are at least, CHAOS_KEEP names a folder for what a failed run leaves. See docs/chaos.md.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from dockbus import Bus, RedisUnavailable, Settings, local
from dockbus.engine import Engine
from dockbus.events import RESYNCED, STREAM
from dockbus.settings import BusSettings, EngineSettings, RedisSettings, WatchSettings
from e2e.chaos import census, firings
from e2e.chaos.crowd import Crowd, Fact, forget_all
from e2e.chaos.dweller import plan
from e2e.chaos.services import EngineServer, RedisServer, Say, engine_server, redis_server
from e2e.chaos.trouble import Trouble
from e2e.chaos.watches import Watches
from outage import Plug
from waiting import wait_for

EVENTS = int(os.environ.get("CHAOS_EVENTS", "600"))
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
LONG = EVENTS >= 3000
NOISE = 25.0
"""Events about other things in a second."""
CONTAINERS = max(40, EVENTS // 50)
SECONDS = EVENTS / (NOISE + 5.0) if LONG else 18.0
"""In which the containers are begun."""
LEASE = 15.0
SETTLING = 400.0
"""Seconds in which all has to have been told, at the latest."""

STORM = 300.0
"""Seconds by which the crowd may be late, at the most."""

Act = tuple[str, Callable[[threading.Event], object]]

pytestmark = pytest.mark.timeout(SECONDS * 2 + STORM + SETTLING + 300)


@dataclass
class World:
    """What can break, and who lives in it."""

    redis: RedisServer
    engine: EngineServer
    plug: Plug
    watches: Watches
    crowd: Crowd
    cut: set[str]
    """Containers that the Engine had not done with when it was killed."""


@pytest.fixture
def folder() -> Generator[Path]:
    with tempfile.TemporaryDirectory(prefix="dkb-") as folder:
        yield Path(folder)


def troubles(world: World) -> Generator[Trouble]:
    """One for each part, so that they break one after the other, and at the same time."""
    for name, every, acts in (
        ("watches", 12.0, on_watches(world)),
        ("redis", 35.0, on_redis(world)),
        ("engine", 60.0, on_engine(world)),
        ("wire", 45.0, on_wire(world)),
    ):
        dice = random.Random(f"{SEED} {name}")  # noqa: S311  no secret
        yield Trouble(acts, every if LONG else every / 5, dice)


def on_watches(world: World) -> list[Act]:
    watches = world.watches

    def freeze(over: threading.Event) -> None:
        watches.freeze_leader(LEASE + 2.5, over)

    def forget(_: threading.Event) -> None:
        watches.end_all(signal.SIGTERM)
        forget_all(world.engine.host)
        watches.start()

    return [
        ("leader killed", lambda _: watches.kill_leader()),
        ("leader frozen", freeze),
        ("one stopped", lambda _: watches.stop_one()),
        ("both away, ring forgotten", forget),
    ]


def on_redis(world: World) -> list[Act]:
    redis = world.redis

    def kill(over: threading.Event) -> None:
        redis.kill()
        over.wait(1.0)
        redis.start()

    def freeze(over: threading.Event) -> None:
        redis.freeze()
        over.wait(30.0 if LONG else 6.0)
        redis.thaw()

    return [("Redis killed", kill), ("Redis frozen", freeze)]


def on_engine(world: World) -> list[Act]:
    def kill(over: threading.Event) -> None:
        world.cut |= world.crowd.unfinished
        world.engine.kill()
        world.cut |= world.crowd.unfinished
        over.wait(1.0)
        world.engine.start()
        world.cut |= world.crowd.unfinished

    return [("Engine killed", kill)]


def on_wire(world: World) -> list[Act]:
    def stall(over: threading.Event) -> None:
        world.plug.freeze()
        over.wait(40.0 if LONG else 8.0)
        world.plug.thaw()

    def pull(over: threading.Event) -> None:
        world.plug.pull()
        over.wait(5.0)
        world.plug.put_back()

    return [("stream stalled", stall), ("connections cut", pull)]


def test_no_event_is_missed_and_none_is_doubled(folder: Path, say: Say) -> None:
    say(f"chaos events: {EVENTS} events, {CONTAINERS} containers, CHAOS_SEED={SEED}")
    rules = folder / "rules.yaml"
    rules.write_text(firings.RULES)
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server(folder / "redis"))
        server = stack.enter_context(engine_server(folder / "engine"))
        with closing(Engine(EngineSettings(host=server.host))) as engine:
            local.base_image(engine, folder, say)
        plug = stack.enter_context(Plug(server.host.removeprefix("unix://")))
        settings = Settings(
            redis=RedisSettings(url=redis.url),
            engine=EngineSettings(host=f"tcp://127.0.0.1:{plug.port}", timeout=10.0),
            bus=BusSettings(key=SecretStr("chaos" * 8), data_dir=folder),
            watch=WatchSettings(rules=str(rules)),
        )
        bus = stack.enter_context(Bus(settings))
        watches = stack.enter_context(Watches(settings, folder, random.Random(SEED)))  # noqa: S311
        wait_for(lambda: progress(bus) and group(bus), timeout=60, what="the first look")
        crowd = stack.enter_context(
            Crowd(
                server.host,
                plan(SEED, CONTAINERS),
                seconds=SECONDS,
                noise=NOISE,
                dice=random.Random(SEED),  # noqa: S311
            )
        )
        world = World(redis, server, plug, watches, crowd, set())
        begun = time.monotonic()
        done = storm(world, bus, say)
        settle(world, bus, say)
        told = census.Told([stored.event for stored in bus.event_stream.kept()])
        jobs = [job.id for job in bus.jobs(limit=100_000)]
        facts = crowd.facts()
        watches.stop()
        gone = [one for one in crowd.dwellers if one.removed]
        wrong = [
            *watches.wrong,
            *census.ended_otherwise(facts, world.cut),
            *census.doubled(told),
            *census.missed(told, facts, world.cut),
            *census.left_untold(told, gone, world.cut),
            *firings.wrong_rules(told, facts, jobs, world.cut, long=LONG),
        ]
        report(say, told, facts, world, done + watches.done, time.monotonic() - begun)
        if wrong and (keep := os.environ.get("CHAOS_KEEP")):
            keep_all(Path(keep), folder, told, facts)
    shown = "\n".join(wrong[:40])
    assert not wrong, f"CHAOS_SEED={SEED}: {len(wrong)} things are wrong:\n{shown}"
    assert len(facts) + len(gone) == CONTAINERS


def storm(world: World, bus: Bus, say: Say) -> Counter[str]:
    """Let all break until the crowd is done and there are enough events; returns what broke, and how often."""
    begun = told = time.monotonic()
    with ExitStack() as stack:
        going = [stack.enter_context(trouble) for trouble in troubles(world)]
        while not (world.crowd.is_done and (not LONG or progress(bus) >= EVENTS)):
            for trouble in going:
                if trouble.failed:
                    raise trouble.failed
            if time.monotonic() - begun > SECONDS * 2 + STORM:
                waiting = "\n".join(world.crowd.waiting())
                raise AssertionError(
                    f"CHAOS_SEED={SEED}: {world.crowd.done} of {CONTAINERS} containers are done, not\n{waiting}"
                )
            if LONG and time.monotonic() - told > 10:
                told = time.monotonic()
                broken = sum((trouble.done for trouble in going), Counter[str]())
                say(
                    f"  {told - begun:4.0f} s: {world.crowd.done} of {CONTAINERS} containers, {progress(bus)} events; "
                    + ", ".join(f"{name} {count}" for name, count in broken.items())
                )
            time.sleep(0.2)
    return sum((trouble.done for trouble in going), Counter[str]())


def progress(bus: Bus) -> int:
    """How many events are there; 0 while Redis is away."""
    with suppress(RedisUnavailable, ConnectionError):
        return bus.redis.xlen(STREAM) if bus.event_stream.end() else 0
    return 0


def group(bus: Bus) -> dict[str, Any]:
    """How far the rules are."""
    groups: Any = bus.redis.xinfo_groups(STREAM)
    found: dict[str, dict[str, Any]] = {each["name"].decode(): each for each in groups}
    return found.get("dockbus:rules", {})


def settle(world: World, bus: Bus, say: Say) -> None:
    """Wait until all has been told and shown to the rules: nothing is broken any more."""
    world.crowd.hush()
    calm, since = time.time(), bus.event_stream.end()
    say(f"  all is whole again, {progress(bus)} events")

    def looked() -> int:
        events = (stored.event for stored in bus.event_stream.kept(since))
        return sum(
            event.type == RESYNCED and event.time.timestamp() > calm + 3.0 for event in events
        )

    def all_shown() -> bool:
        at = group(bus)
        delivered: str = at["last-delivered-id"].decode()
        return at["pending"] == 0 and delivered == bus.event_stream.end()

    # A rule that gives up after three times does so at the fourth look.
    looks = 5 if LONG else 1
    deadline = time.monotonic() + SETTLING
    while time.monotonic() < deadline and not (looked() >= looks and all_shown()):
        time.sleep(0.5)
    assert looked() >= looks, "nobody looked at the Engine"
    assert all_shown(), f"the rules have not seen all: {group(bus)}"


def report(
    say: Say,
    told: census.Told,
    facts: Sequence[Fact],
    world: World,
    broken: Counter[str],
    seconds: float,
) -> None:
    """Say what was done and what came of it."""
    found = sum(event.data["synthetic"] is True for events in told.of.values() for event in events)
    lives = sum(len(fact.lives) for fact in facts)
    fired = Counter(event.subject for event in told.named("io.dockbus.rule.fired"))
    refused = sum(bool(one.refused) for one in world.crowd.dwellers)
    say(
        f"  {len(told.events)} events in {seconds:.0f} s: {len(facts)} containers with {lives} lives are there, "
        f"{CONTAINERS - len(facts)} were removed; {found} of their events were found, not heard"
    )
    say(f"  {', '.join(f'{name} {count}' for name, count in sorted(broken.items()))}")
    say(
        f"  {len(told.named(census.GAP))} gaps, {len(world.cut)} containers cut by the Engine's death, "
        f"{refused} that it could not begin or end"
    )
    say(f"  rules: {', '.join(f'{name} {count}' for name, count in sorted(fired.items()))}")


def keep_all(folder: Path, ours: Path, told: census.Told, facts: Sequence[Fact]) -> None:
    """Keep what a run that failed has left, to look into."""
    folder.mkdir(parents=True, exist_ok=True)
    for log in [*ours.glob("*.log"), ours / "engine" / "dockerd.log"]:
        (folder / log.name).write_bytes(log.read_bytes())
    (folder / "events").write_text("\n".join(event.model_dump_json() for event in told.events))
    (folder / "facts").write_text("\n".join(map(str, facts)))
