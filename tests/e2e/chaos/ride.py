"""One whole chaos run: from its first job to the proof that nothing is lost, doubled or left."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from dockbus import Bus, Settings, StoredEvent
from dockbus.engine import Engine
from dockbus.settings import (
    BuildSettings,
    BusSettings,
    EngineSettings,
    RedisSettings,
    WorkerSettings,
)
from e2e.chaos import verdict
from e2e.chaos.keeper import DEATHS, Keeper
from e2e.chaos.load import plan
from e2e.chaos.storm import Fault, Storm
from e2e.chaos.witness import Witness

JOBS = int(os.environ.get("CHAOS_JOBS", "50"))
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
LONG = JOBS >= 300
HEARTBEAT = 10.0 if LONG else 3.0
"""Seconds that a lease lasts; the default in a long run."""
DEADLINE = 90.0 + JOBS * 1.5
"""Seconds in which all jobs have to have ended."""
SWEEP = 60.0
"""Seconds in which what dead workers have left on the Engine has to be gone."""
SEATS = {"run": 3, "cleanup": 1, "build": 1}
"""Worker processes of each kind, with four slots each."""

Say = Callable[[str], None]


@dataclass
class World:
    """Where a run takes place."""

    engine: Engine
    redis_url: str
    folder: Path
    say: Say
    cut: set[str] = field(default_factory=set[str])
    """Jobs that had a container when the Engine was killed: it ends those containers, and their last events are lost."""

    @property
    def settings(self) -> Settings:
        """For the workers, and for the test's own bus."""
        return Settings(
            redis=RedisSettings(url=self.redis_url),
            engine=EngineSettings(host=self.engine.host),
            bus=BusSettings(key=SecretStr("chaos" * 8), data_dir=self.folder),
            worker=WorkerSettings(heartbeat=HEARTBEAT, drain=1.0),
            build=BuildSettings(root=self.folder / "build"),
        )


def ride(
    world: World, name: str, faults: Callable[[Keeper], Sequence[Fault]], *, dying: bool
) -> Keeper:
    """Do one run; the workers that were there are given back.

    Args:
        world: where.
        name: of the run.
        faults: what breaks.
        dying: whether workers kill themselves at the points of a job's life.

    Raises:
        AssertionError: something is lost, doubled or left; all of it is named.
    """
    world.say(f"chaos {name}: {JOBS} jobs, CHAOS_SEED={SEED}")
    dice = random.Random(f"{SEED} {name}")  # noqa: S311  no secret
    build_root = world.settings.build.root
    build_root.mkdir()
    jobs = plan(SEED, JOBS, name=name, build_root=build_root)
    with ExitStack() as stack:
        bus = stack.enter_context(Bus(world.settings))
        seen = stack.enter_context(Witness(world.engine.host, bus.job_store.name()))
        keeper = stack.enter_context(Keeper(world.settings, SEATS, world.folder, dice, dying=dying))
        storm = Storm(bus, keeper, jobs, rate=6.0, dice=dice)
        storm.run(faults(keeper), deadline=DEADLINE, say=world.say if LONG else None)
        begun = time.monotonic()
        left = list(verdict.left_on_engine(world.engine, bus.job_store.name()))
        while (
            storm.is_over()
            and list(verdict.left_on_engine(world.engine, bus.job_store.name()))
            and time.monotonic() - begun < SWEEP
        ):
            time.sleep(0.2)
        swept = time.monotonic() - begun
        keeper.stop()
        stories, events = verdict.gather(bus, jobs)
        wrong = [
            *keeper.wrong,
            *verdict.left_on_engine(world.engine, bus.job_store.name()),
            *verdict.lost_or_doubled(stories, world.cut),
            *verdict.ran_not_once(stories, seen, world.cut),
            *verdict.torn_logs(stories, world.cut),
            *verdict.not_alone(stories, events, seen),
            *verdict.out_of_order(stories, events),
            *verdict.left_in_redis(bus.redis, stories),
        ]
        ends = Counter(story.record.state.value for story in stories)
        attempts = sum(story.record.attempts for story in stories)
    _remove_images(world.engine)
    world.say(
        f"  {len(jobs)} jobs ended after {attempts} attempts in {storm.seconds:.0f} s: "
        + ", ".join(f"{count} {state}" for state, count in ends.most_common())
    )
    world.say(f"  {keeper.started} workers: {tell(keeper, storm)}")
    world.say(f"  {len(left)} containers were left then, the last was gone {swept:.0f} s later")
    if wrong and (folder := os.environ.get("CHAOS_KEEP")):
        _keep(Path(folder), world, events, seen)
    told = "\n".join(wrong[:40])
    assert not wrong, f"CHAOS_SEED={SEED}: {len(wrong)} things are wrong:\n{told}"
    return keeper


def tell(keeper: Keeper, storm: Storm) -> str:
    """What was broken, and how often."""
    deaths = keeper.deaths
    points = Counter({at: deaths[at] for at in DEATHS if deaths[at]})
    parts = [f"{points.total()} died at {len(points)} of {len(DEATHS)} points"] if points else []
    parts.append(f"{(deaths - points).total()} died of a poisoned job")
    parts += [f"{count} x {name}" for name, count in storm.faults.items()]
    return ", ".join(parts)


def _remove_images(engine: Engine) -> None:
    for image in engine.images.all():
        for tag in image.tags:
            if tag.startswith("dockbus-chaos:"):
                engine.images.remove(tag)


def _keep(folder: Path, world: World, events: Sequence[StoredEvent], seen: Witness) -> None:
    """Keep what a run that failed has left, to look into."""
    folder.mkdir(parents=True, exist_ok=True)
    for log in world.folder.glob("*.log"):
        (folder / log.name).write_bytes(log.read_bytes())
    (folder / "events").write_text("\n".join(map(str, events)))
    (folder / "engine").write_text(
        "\n".join(str(event) for told in seen.events.values() for event in told)
    )
