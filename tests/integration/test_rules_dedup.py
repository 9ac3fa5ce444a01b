"""What becomes of an event that an earlier job may have seen to, on a real Redis."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from redis import Redis

from dockbus import Bus, Event, JobState
from dockbus.queue.keys import job_key
from dockbus.snapshot import ContainerState
from dockbus_producer.firing import Firing
from dockbus_producer.rules import Occasion, load
from ruling import START, died, fire_all, jobs, resynced, rule, set_state, told

EXAMPLES = Path(__file__).parents[2] / "examples" / "rules"


def test_a_state_that_lasts_makes_one_job_at_a_time(engineless_bus: Bus, redis: Redis) -> None:
    heal = rule(name="heal", state="container.state == 'exited'", do={"kind": "start"})
    firing = Firing(engineless_bus)
    for at in range(0, 900, 30):  # no worker comes, and that is not held against the container
        firing.fire(heal, resynced(), START + at)
    (job,) = engineless_bus.jobs()
    set_state(redis, job.id, "finished")
    for at in range(900, 1000, 30):
        firing.fire(heal, resynced(), START + at)
    assert jobs(engineless_bus) == 2
    assert told(engineless_bus, "suspended") == []


@pytest.mark.parametrize(
    ("reuse", "status", "expected"),
    [
        ("always", "finished", 2),
        ("always", "failed", 2),
        ("after-failure", "finished", 1),
        ("after-failure", "failed", 2),
        ("after-failure", "canceled", 2),
        ("never", "finished", 1),
        ("never", "failed", 1),
        ("never", "started", 1),
    ],
)
def test_reuse(engineless_bus: Bus, redis: Redis, reuse: str, status: str, expected: int) -> None:
    once = rule(dedup={"key": "${engine}/${id}", "reuse": reuse})
    fire_all(engineless_bus, once, [0])
    (job,) = engineless_bus.jobs()
    set_state(redis, job.id, status)
    assert fire_all(engineless_bus, once, [10]) == expected


def test_an_image_is_scanned_once_however_many_containers_of_it_start(
    engineless_bus: Bus, redis: Redis
) -> None:
    started = "io.dockbus.docker.container.start"
    rules = {one.name: one for one in load(EXAMPLES)}
    firing = Firing(engineless_bus)
    for number, image in enumerate(("sha256:a", "sha256:b", "sha256:a", "sha256:b", "sha256:a")):
        box = ContainerState(
            engine="local", id=f"c{number}", name="web", image="demo/web:1", image_id=image
        )
        occasion = Occasion(Event(source="/engines/local", type=started, subject=box.id), box)
        firing.fire(rules["scan-started-images"], occasion, START + number)
        for job in engineless_bus.jobs():
            set_state(redis, job.id, "finished")
    assert jobs(engineless_bus) == 2


def test_a_job_that_is_long_forgotten_has_ended(engineless_bus: Bus, redis: Redis) -> None:
    once = rule(dedup={"reuse": "always"})
    fire_all(engineless_bus, once, [0])
    (job,) = engineless_bus.jobs()
    redis.delete(job_key(job.id))
    assert fire_all(engineless_bus, once, [100]) == 0  # it may be on its way still
    assert fire_all(engineless_bus, once, [200]) == 1


def test_an_event_while_a_job_runs_is_followed_by_one_more(
    engineless_bus: Bus, redis: Redis
) -> None:
    again = rule(dedup={"key": "${name}", "conflict": "requeue"})
    assert fire_all(engineless_bus, again, [0, 1, 2]) == 1  # it has not begun, and will see it all
    (first,) = engineless_bus.jobs()
    set_state(redis, first.id, "started", 1)
    assert fire_all(engineless_bus, again, [3, 4, 5, 6]) == 2
    second = engineless_bus.jobs()[0]
    assert second.state is JobState.WAITING
    assert second.terms
    assert second.terms.after == (first.id,)
    assert second.terms.after_failure == "run"
    set_state(redis, first.id, "finished", 1)
    set_state(redis, second.id, "started", 1)
    assert fire_all(engineless_bus, again, [7, 8]) == 3


def test_the_newest_event_may_replace_the_job_of_the_last(engineless_bus: Bus) -> None:
    newest = rule(
        dedup={"key": "${engine}", "conflict": "replace"},
        do={"kind": "cleanup", "labels": {"of": "${attributes.n}"}},
    )
    firing = Firing(engineless_bus)
    events = [died(at, attributes={"n": str(at)}) for at in range(4)]
    for event in (*events, *events):  # the second time, nothing changes
        firing.fire(newest, event, START)
    records = engineless_bus.jobs()
    assert [job.state for job in records] == [JobState.QUEUED, *[JobState.CANCELED] * 3]
    assert records[0].spec
    assert records[0].spec.model_dump()["labels"] == {"of": "3"}


def test_jobs_that_replace_each_other_at_once_leave_one(engineless_bus: Bus) -> None:
    newest = rule(dedup={"key": "${engine}", "conflict": "replace"})
    events = [died(at) for at in range(24)]

    def run(part: int) -> None:
        firing = Firing(engineless_bus)
        for event in events[part::4]:
            firing.fire(newest, event, START)

    threads = [threading.Thread(target=run, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    states = [job.state for job in engineless_bus.jobs(limit=100)]
    assert len(states) == 24
    assert states.count(JobState.CANCELED) == 23
