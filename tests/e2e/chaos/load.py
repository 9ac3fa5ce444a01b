"""The jobs of a chaos run, all drawn from its seed, and what each has to have come to."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dockbus import Build, Cleanup, JobState, Order, RetryPolicy, Run, Spec
from dockbus.ids import JobId
from dockbus.jobs.running import Network
from e2e.chaos.worker import LABEL_POISON

PATIENT = RetryPolicy(max=60, base=0.5, cap=2.0)
"""So many attempts that no job of the run is used up by kills."""
EXCLUSIVE = ("lock-a", "lock-b", "lock-c")
FATE = Literal["succeeds", "fails", "dies", "unsure"]
"""`unsure`: a single attempt is all it has, so it dies if its worker does."""


@dataclass
class Planned:
    """One job of the run."""

    number: int
    order: Order
    fate: FATE
    lines: int = 0
    """Lines on stdout; every third is also one on stderr."""
    exit_code: int = 0
    parents: tuple[int, ...] = ()
    """Numbers of the jobs it waits for."""
    twice: bool = False
    """It is put on the bus twice with the same key."""
    canceled_after: float | None = None
    """Seconds after it was accepted that somebody asks to cancel it."""
    id: JobId | None = field(default=None)
    """Once it is accepted."""

    @property
    def stdout(self) -> list[str]:
        """What its container prints."""
        return [f"out {i}" for i in range(self.lines)]

    @property
    def stderr(self) -> list[str]:
        """What its container prints on the other channel."""
        return [f"err {i}" for i in range(0, self.lines, 3)]


def plan(seed: int, count: int, *, name: str, build_root: Path) -> list[Planned]:
    """So many jobs; equal seeds, equal jobs.

    Args:
        seed: of all choices.
        count: how many jobs.
        name: of the run; part of each key and of what cleanup jobs look for.
        build_root: folder with a context `chaos` to build.
    """
    dice = random.Random(seed)  # noqa: S311  no secret
    (build_root / "chaos").mkdir()
    (build_root / "chaos" / "Dockerfile").write_text(
        "FROM dockbus/base:1\nLABEL dockbus.test=1\nRUN echo built\n"
    )
    return [_job(dice, number, name) for number in range(count)]


SORTS = {
    "poison-handle": 0.02,
    "poison-start": 0.02,
    "no-image": 0.02,
    "cleanup": 0.10,
    "build": 0.01,
    "one-attempt": 0.03,
    "exclusive": 0.10,
    "plain": 0.70,
}
"""The sorts of jobs, and how large a part of all each is."""


def _job(dice: random.Random, number: int, name: str) -> Planned:
    # The first ones are one of each sort, so that a short run has them all.
    sorts = list(SORTS)
    sort = sorts[number] if number < len(sorts) else dice.choices(sorts, list(SORTS.values()))[0]
    terms: dict[str, Any] = {"key": f"chaos {name} {number}", "retry": PATIENT}
    if dice.random() < 0.08:
        terms["delay"] = dice.uniform(0.5, 3)
    if dice.random() < 0.05:
        terms["engine"] = "local"
    if dice.random() < 0.05:
        terms["priority"] = "high"
    if number >= len(sorts) and dice.random() < 0.12:
        terms["after_failure"] = dice.choice(("fail", "skip", "run"))
    job = _of_sort(sort, dice, number, name, terms)
    if "after_failure" in terms:
        earlier = range(max(0, number - 20), number)
        job.parents = tuple(sorted(dice.sample(earlier, dice.randint(1, 3))))
    job.twice = dice.random() < 0.08
    if dice.random() < 0.08:
        job.canceled_after = dice.choice((0.0, dice.uniform(0, 1), dice.uniform(0, 6)))
    return job


def _of_sort(
    sort: str, dice: random.Random, number: int, name: str, terms: dict[str, Any]
) -> Planned:
    spec: Spec
    fate: FATE = "succeeds"
    labels: dict[str, str] = {}
    match sort:
        case "no-image":
            spec = Run(image="dockbus/no-such-image:1", pull="never")
            return Planned(number, Order(spec=spec, **terms), "fails")
        case "cleanup":
            spec = Cleanup(dry_run=True, labels={"chaos.run": name})
            return Planned(number, Order(spec=spec, **terms), "succeeds")
        case "build":
            spec = Build(context="chaos", tags=[f"dockbus-chaos:{name}-{number}"])
            return Planned(number, Order(spec=spec, **terms), "succeeds")
        case "poison-handle":
            terms["retry"], fate = RetryPolicy(max=1), "dies"
            labels[LABEL_POISON] = "handle"
        case "poison-start":
            terms["retry"], fate = RetryPolicy(max=0), "dies"
            labels[LABEL_POISON] = "start"
        case "one-attempt":
            terms["retry"], fate = RetryPolicy(max=0), "unsure"
        case "exclusive":
            terms["exclusive"] = dice.choice(EXCLUSIVE)
        case _:
            pass
    return _running(dice, number, terms, fate, labels)


def _running(
    dice: random.Random,
    number: int,
    terms: dict[str, Any],
    fate: FATE,
    labels: dict[str, str],
) -> Planned:
    lines = dice.choice((0, 1, 5, 20, 20, 60, 300))
    length = dice.choice((0.0, 0.0, 0.3, 0.3, 1.0, 3.0))
    code = dice.choice((0, 0, 0, 1, 7))
    # Half of its lines, a rest, the other half.
    script = (
        "i=0; while [ $i -lt $N ]; do echo out $i; "
        "if [ $((i % 3)) = 0 ]; then echo err $i >&2; fi; i=$((i+1)); "
        "if [ $i = $((N/2)) ]; then sleep $REST; fi; done; sleep $REST; exit $CODE"
    )
    spec = Run(
        image="dockbus/base:1",
        command=["sh", "-c", script],
        env={"N": str(lines), "REST": f"{length / 2:g}", "CODE": str(code)},
        networks=[Network(name=dice.choice(("none", "none", "bridge")))],
        labels={"dockbus.test": "1"} | labels,
        stop_timeout=1,
    )
    return Planned(number, Order(spec=spec, **terms), fate, lines=lines, exit_code=code)


def expected(job: Planned, jobs: Sequence[Planned], states: dict[JobId, JobState]) -> set[JobState]:
    """The states a job may have ended in, given how all have ended."""
    ends = {
        "succeeds": {JobState.SUCCEEDED},
        "fails": {JobState.FAILED},
        "dies": {JobState.DEAD},
        "unsure": {JobState.SUCCEEDED, JobState.DEAD},
    }[job.fate]
    parents = {states[parent] for number in job.parents if (parent := jobs[number].id)}
    if job.order.after_failure != "run" and parents - {JobState.SUCCEEDED}:
        ends = {JobState.FAILED if job.order.after_failure == "fail" else JobState.CANCELED}
    if job.canceled_after is not None:
        ends = ends | {JobState.CANCELED}
    return ends
