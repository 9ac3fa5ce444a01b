"""What has to hold after a chaos run, looked at from outside; each function says what is wrong, if anything."""

# RQ's own annotations are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from redis import Redis
from rq import Queue
from rq.registry import DeferredJobRegistry, ScheduledJobRegistry, StartedJobRegistry

from dockbus import Bus, JobRecord, JobState, RunResult, StoredEvent
from dockbus.engine import Engine
from dockbus.jobs import LABEL_BUS
from e2e.chaos.load import Planned, expected
from e2e.chaos.witness import Witness

FINAL = {state.value for state in JobState if state.ended}
FROM = {
    "": {"queued", "scheduled", "waiting", "failed", "canceled"},
    "waiting": {"queued", "scheduled", "failed", "canceled"},
    "scheduled": {"queued", "canceled"},
    "queued": {"started", "waiting", "queued", "canceled", "dead"},
    "started": {"queued", "scheduled", *FINAL},
}
"""After which state of a job which others may come."""


@dataclass
class Story:
    """All that is known of a job at the end."""

    job: Planned
    record: JobRecord
    states: list[str]
    """As its events told them."""
    events: list[StoredEvent]
    stdout: list[str]
    stderr: list[str]


def gather(bus: Bus, jobs: Sequence[Planned]) -> tuple[list[Story], list[StoredEvent]]:
    """The story of every job, and all events in their order."""
    events = list(bus.events(since="0", follow=False))
    of: dict[str, list[StoredEvent]] = defaultdict(list)
    for stored in events:
        of[stored.event.subject].append(stored)
    stories: list[Story] = []
    for job in jobs:
        assert job.id
        lines = list(bus.job(job.id).logs())
        stories.append(
            Story(
                job=job,
                record=bus.job(job.id).refresh(),
                states=[stored.event.type.rpartition(".")[2] for stored in of[job.id]],
                events=of[job.id],
                stdout=[line.text for line in lines if line.stream == "stdout"],
                stderr=[line.text for line in lines if line.stream == "stderr"],
            )
        )
    return stories, events


def lost_or_doubled(stories: Sequence[Story], cut: Collection[str] = ()) -> Iterator[str]:
    """Every job has ended once, as it should, and its record and events agree."""
    states = {story.record.id: story.record.state for story in stories}
    jobs = [story.job for story in stories]
    for story in stories:
        record = story.record
        told = " ".join(story.states[-12:])
        tale = f"job {record.id} ({story.job.fate}, {record.kind}, {told})"
        finals = [state for state in story.states if state in FINAL]
        if finals != [record.state.value]:
            yield f"{tale}: is {record.state.value} by its record and {finals} by its events"
        # In the moment between starting a process and noting that it has, a killed Engine forgets it for good.
        forgot = record.id in cut and record.error and record.error.code == "engine-fault"
        if record.state not in (may := expected(story.job, jobs, states)) and not forgot:
            yield f"{tale}: ended {record.state.value} ({record.error}), expected {sorted(may)}"
        for before, after in pairwise(["", *story.states]):
            if before in FINAL or after not in FROM[before]:
                yield f"{tale}: {after} after {before or 'nothing'}"
        reasons = [
            (state, stored.event.data.get("reason"))
            for state, stored in zip(story.states, story.events, strict=True)
        ]
        # Neither one that was handed back counts, nor one that could not clear a canceled job away.
        back = reasons.count(("queued", "handed-back")) + reasons.count(("scheduled", "cancel"))
        if record.attempts != story.states.count("started") - back:
            yield f"{tale}: {record.attempts} attempts, {back} that do not count"
        if isinstance(record.result, RunResult) and record.id not in cut:
            code = record.result.exit_code
            if code != story.job.exit_code:
                yield f"{tale}: exit code {code}, not {story.job.exit_code}"


def ran_not_once(
    stories: Sequence[Story], seen: Witness, cut: Collection[str] = ()
) -> Iterator[str]:
    """A run job's container was made and started once, and never two of it.

    `cut` are the jobs that had a container when the Engine was killed: its last events may be lost, and a container
    that it had not yet started may have had to be made anew.
    """
    for story in stories:
        record = story.record
        told = seen.events[record.id]
        counts = Counter(event.action for event in told)
        whole = record.id not in cut
        made = max(counts["create"], counts["destroy"], len({event.actor for event in told}))
        # A start that the Engine had told, but not yet noted, when it was killed never was to it, and is made again.
        if counts["start"] > (1 if whole else 2) or (whole and made > 1):
            yield f"job {record.id} ran more than once: {dict(counts)}"
        if whole and isinstance(record.result, RunResult) and counts["start"] != 1:
            yield f"job {record.id} succeeded, and its container: {dict(counts)}"


def torn_logs(stories: Sequence[Story], cut: Collection[str] = ()) -> Iterator[str]:
    """Every line of a container is there once and in its order; of one that was stopped, those up to then."""
    for story in stories:
        whole = isinstance(story.record.result, RunResult) and story.record.id not in cut
        for said, wanted in ((story.stdout, story.job.stdout), (story.stderr, story.job.stderr)):
            if story.record.kind != "run" or said == wanted:
                continue
            rest = said
            if story.record.id in cut and said[-len(wanted) :] == wanted:
                # In the moment between starting it and noting that it has, the Engine was killed; to that Engine,
                # it had never run. What it said then stays.
                rest = said[: -len(wanted)]
            if whole or rest != wanted[: len(rest)]:
                odd = Counter(said) - Counter(wanted)
                gone = Counter(wanted) - Counter(said)
                yield (
                    f"job {story.record.id} ({story.record.attempts} attempts): {len(said)} of {len(wanted)} lines, "
                    f"too much {list(odd)[:5]}, missing {list(gone)[:5]}"
                )


def not_alone(
    stories: Sequence[Story], events: Sequence[StoredEvent], seen: Witness
) -> Iterator[str]:
    """Of the jobs with the same exclusive name, one at a time was between its first attempt and its end."""
    name_of: dict[str, str] = {
        story.record.id: name for story in stories if (name := story.job.order.exclusive)
    }
    holder: dict[str, str] = {}
    for stored in events:
        job, state = stored.event.subject, stored.event.type.rpartition(".")[2]
        if not (name := name_of.get(job)):
            continue
        if state == "started":
            if holder.setdefault(name, job) != job:
                yield f"{name}: {job} was begun while {holder[name]} had it"
        elif state in FINAL and holder.get(name) == job:
            del holder[name]
    for name in set(name_of.values()):
        spans = sorted(
            span for job, owned in name_of.items() if owned == name and (span := seen.span(job))
        )
        for (_, end), (begin, _) in pairwise(spans):
            if begin < end:
                yield f"{name}: two containers at once for {(end - begin) / 1e9:.3f} s"


def out_of_order(stories: Sequence[Story], events: Sequence[StoredEvent]) -> Iterator[str]:
    """No job was begun before those that it waits for had ended."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for place, stored in enumerate(events):
        state = stored.event.type.rpartition(".")[2]
        if state == "started":
            first.setdefault(stored.event.subject, place)
        elif state in FINAL:
            last[stored.event.subject] = place
    id_of = {story.job.number: story.record.id for story in stories}
    for story in stories:
        for parent in story.job.parents:
            if first.get(story.record.id, len(events)) < last[id_of[parent]]:
                yield f"job {story.record.id} was begun before {id_of[parent]} had ended"


def left_on_engine(engine: Engine, bus: str) -> Iterator[str]:
    """Nothing of the run's is on the Engine."""
    for container in engine.containers.all(labels={LABEL_BUS: bus}):
        yield f"container {container.name} ({container.state}) is still there"


def left_in_redis(redis: Redis, stories: Sequence[Story]) -> Iterator[str]:
    """No queue holds anything, nobody holds a lock, and RQ's own classes count the same."""
    raw: Any = redis
    patterns = ("queue:*", "wip:*", "deferred:*", "scheduled:*", "ready:*")
    for pattern in (
        *(f"rq:{name}" for name in patterns),
        "dockbus:exclusive*",
        "dockbus:children*",
    ):
        for key in raw.scan_iter(match=pattern, count=1000):
            yield f"{key.decode()} is still there"
    counts: Counter[str] = Counter()
    for queue in Queue.all(connection=redis):
        counts["queued"] += queue.count
        for registry in (StartedJobRegistry, DeferredJobRegistry, ScheduledJobRegistry):
            counts["waiting"] += registry(queue=queue).get_job_count(cleanup=False)
        for registry in (
            queue.finished_job_registry,
            queue.failed_job_registry,
            queue.canceled_job_registry,
        ):
            counts[type(registry).__name__] += registry.get_job_count(cleanup=False)
    ended: Mapping[JobState, int] = Counter(story.record.state for story in stories)
    wanted = {
        "queued": 0,
        "waiting": 0,
        "FinishedJobRegistry": ended[JobState.SUCCEEDED],
        "FailedJobRegistry": ended[JobState.FAILED] + ended[JobState.DEAD],
        "CanceledJobRegistry": ended[JobState.CANCELED],
    }
    if dict(counts) != wanted:
        yield f"RQ counts {dict(counts)}, not {wanted}"
