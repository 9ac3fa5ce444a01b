"""How many workers there should be: what is decided, from what Redis says, and what a scaling file may say."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from dockbus.jobs import Queue
from dockbus_workers.metrics.bus_state import QueueState, WorkerState
from dockbus_workers.scaling.decide import Decision, History, Observed, decide
from dockbus_workers.scaling.load import Jobs, Load, slots_of
from dockbus_workers.scaling.services import ScaleError, Service, load_services

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def service(**fields: Any) -> Service:
    given = {"project": "shop", "service": "worker-run", "queue": "run", "max": 8}
    return Service.model_validate(given | fields)


def observed(jobs: int = 0, replicas: int = 1, **fields: Any) -> Observed:
    started = min(jobs, 4 * replicas)
    given: dict[str, Any] = {
        "queued": jobs - started,
        "started": started,
        "oldest": 0.0,
        "slots": 4.0,
    }
    return Observed(**(given | {"replicas": replicas, "ready": replicas} | fields))


# -- deciding -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("jobs", "wanted"), [(0, 1), (4, 1), (5, 2), (8, 2), (9, 3), (32, 8), (33, 8), (1000, 8)]
)
def test_as_many_workers_are_wanted_as_have_slots_for_all_jobs_within_the_bounds(
    jobs: int, wanted: int
) -> None:
    assert decide(service(), 0.0, observed(jobs)).wanted == wanted


def test_a_load_above_one_lets_jobs_wait_and_below_one_keeps_room() -> None:
    assert decide(service(load=2.5), 0.0, observed(100)).wanted == 8
    assert decide(service(load=5), 0.0, observed(100)).wanted == 5
    assert decide(service(load=0.5), 0.0, observed(8)).wanted == 4


def play(it: Service, jobs: list[int], replicas: int = 1) -> list[int]:
    """What is decided second by second for so many jobs, where each decision is carried out at once."""
    history: History = ()
    found: list[int] = []
    for second, number in enumerate(jobs):
        decision = decide(it, float(second), observed(number, replicas), history)
        replicas, history = decision.replicas, decision.history
        found.append(replicas)
    return found


def test_a_burst_adds_workers_at_the_next_look_and_they_go_when_the_lull_has_lasted() -> None:
    found = play(service(scale_in_window=10), [0, 100, 100, *[0] * 14])

    assert found[:3] == [1, 8, 8]
    assert found[3:13] == [8] * 10  # ten seconds since the last time that eight were wanted
    assert found[13:] == [1] * 4


def test_a_peak_shorter_than_its_window_adds_nothing() -> None:
    it = service(scale_out_window=5)

    assert set(play(it, [0, 100, 100, 100, 0, 100, 100, 100, 0])) == {1}
    assert play(it, [0, *[100] * 7])[-2:] == [8, 8]


def test_a_scaler_that_is_new_takes_nothing_away_before_it_has_looked_for_a_whole_window() -> None:
    found = play(service(scale_in_window=10), [0] * 13, replicas=6)

    assert found == [*[6] * 11, 1, 1]


def test_a_scaler_that_could_not_look_for_long_takes_nothing_away_at_its_first_look() -> None:
    it = service(scale_in_window=300)
    before = decide(it, 60.0, observed(32, 8), ((0.0, 8),))

    after = decide(it, 460.0, observed(0, 8), before.history)

    assert after.replicas == 8
    assert decide(it, 760.0, observed(0, 8), ((459.0, 8), (759.0, 1))).replicas == 1


def test_the_bounds_hold_at_once_whatever_the_windows() -> None:
    slow: dict[str, Any] = {"scale_out_window": 3600, "scale_in_window": 3600}

    few = decide(service(min=3, **slow), 0.0, observed(replicas=1))
    many = decide(service(max=3, **slow), 0.0, observed(100, replicas=9))

    assert (few.replicas, many.replicas) == (3, 3)
    assert few.reason == "there are to be 3 to 8"


@pytest.mark.parametrize("seed", range(30))
def test_noise_around_a_load_does_not_make_it_flap(seed: int) -> None:
    """Whatever the noise: between one more and one less there lies a whole window."""
    random_ = random.Random(seed)  # noqa: S311
    it = service(max=20, scale_in_window=60, scale_out_window=random_.choice([0, 3, 10]))
    mean, swing = random_.uniform(5, 60), random_.uniform(1, 40)
    jobs = [max(0, round(random_.gauss(mean, swing))) for _ in range(1200)]

    found = play(it, jobs)

    moves = [(at, b - a) for at, (a, b) in enumerate(pairwise(found)) if a != b]
    turns = [at for (_, up), (at, down) in pairwise(moves) if up * down < 0]
    assert len(turns) <= 2 * 1200 / 60
    raised = [at for at, step in moves if step > 0]
    for at, step in moves:
        if step < 0:
            last = max((up for up in raised if up < at), default=-61)
            assert at - last >= 60
    steady = play(it, [round(mean)] * 100, replicas=found[-1])
    assert len(set(steady[70:])) == 1


@pytest.mark.parametrize("seed", range(10))
def test_enough_workers_are_there_for_the_least_load_of_a_window_and_no_more_than_for_the_most(
    seed: int,
) -> None:
    random_ = random.Random(seed)  # noqa: S311
    it = service(max=50, scale_in_window=30, scale_out_window=5)
    jobs = [random_.randrange(200) for _ in range(300)]

    found = play(it, jobs)

    wanted = [max(1, -(-number // 4)) for number in jobs]
    for second in range(40, 300):
        assert min(wanted[second - 5 : second + 1]) <= found[second]
        assert found[second] <= max(wanted[second - 31 : second + 1])


def late(replicas: int, ready: int) -> Decision:
    seen = observed(6, replicas, queued=2, oldest=90.0, ready=ready)
    return decide(service(load=4, oldest=60), 1.0, seen, ((0.0, 8),))


def test_a_job_that_has_waited_too_long_brings_one_worker_more() -> None:
    assert late(replicas=2, ready=2).wanted == 3
    assert late(replicas=2, ready=2).reason.startswith("a job has waited for 90 s; ")
    assert late(replicas=8, ready=8).wanted == 8


def test_but_not_while_one_is_only_starting() -> None:
    assert late(replicas=3, ready=2).wanted == 1


# -- what Redis says ------------------------------------------------------------------------


def worker(name: str, queues: str, slots: float = 4.0) -> WorkerState:
    return WorkerState(name, "idle", queues, NOW, 0.0, 0.0, 0.0, slots)


def load(shared: int, own: int, *engines: str) -> Load:
    """Jobs for any Engine, jobs for `near`, and the Engines whose workers there are."""

    def queue(name: str, queued: int, age: float) -> QueueState:
        return QueueState(name, {"queued": queued}, NOW - timedelta(seconds=age) if age else None)

    serving = [worker(f"c{engine}-run-ab", f"run@{engine}") for engine in engines]
    queues = (queue("run", shared, 5.0), queue("run@near", own, 30.0))
    return Load(NOW, {it.name: it for it in queues}, tuple(serving))


def near(it: Load) -> Jobs:
    """The jobs of a service on the Engine `near`."""
    return it.jobs(Queue.RUN, it.serving(Queue.RUN, "cnear"), "near")


def test_a_worker_is_free_that_has_no_job_whether_it_takes_any_or_not() -> None:
    states = ("idle", "suspended", "busy", "started")

    assert [replace(worker("w", "run"), state=state).is_free for state in states] == [
        *(True, True),
        *(False, False),
    ]


def test_engines_share_the_jobs_that_any_of_them_may_do_and_each_has_its_own() -> None:
    assert near(load(10, 3, "near")).queued == 13
    assert near(load(10, 3, "near", "far", "far")).queued == 8
    assert near(load(10, 3, "far")).queued == 8  # this one is to serve it, too
    assert near(load(10, 3)).oldest == 30.0


def test_a_service_with_workers_on_several_engines_has_the_jobs_of_all_of_them() -> None:
    it = load(12, 3, "near", "far", "other")

    mine = it.jobs(Queue.RUN, it.workers[:2], "near")

    assert mine.queued == 3 + 8


def test_workers_are_told_by_the_host_name_of_their_container_and_their_queue() -> None:
    names = ("3fa9-run-01", "3fa9-run-02", "3fa9-pull-01", "3fa9b-run-01")
    found = Load(NOW, {}, tuple(worker(name, "run") for name in names))

    assert [it.name for it in found.serving(Queue.RUN, "3fa9")] == ["3fa9-run-01", "3fa9-run-02"]


def test_the_two_workers_of_a_process_have_one_set_of_slots() -> None:
    assert slots_of([worker("a", "run", 8), worker("b", "run@x", 8), worker("c", "run", 4)], 2) == 6
    assert slots_of([], 2) == 2


# -- the file -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", ":1: it must begin with `services:`"),
        ("services: []\n", ":1: services: List should have at least 1 item"),
        ("servces: []\n", "no such field, did you mean 'services'?"),
        ("{E}\n    maximum: 3\n", ":6: services.0.maximum: no such field, did you mean 'max'?"),
        ("{E}\n    min: 9\n", ":6: services.0: min: 9 is more than max, which is 8"),
        ("{E}\n    min: 0\n", ":6: services.0.min: Input should be greater than or equal to 1"),
        ("{E}\n    scale_in_window: 2w\n", ":6: services.0.scale_in_window: '2w' is not a span of"),
        ("{E}\n    max: 9\n", ":6: 'max' is there twice"),
        ("{E}\n    load: .nan\n", ":6: services.0.load: "),
        ("{E}\n{S}", "shop/worker-run is there twice"),
        ("services:\n  - project: shop\n    service: a\n    queue: runs\n    max: 1\n", ":4: "),
        ("services:\n  - project: shop\n    queue: run\n    max: 1\n", "service: Field required"),
    ],
)
def test_a_wrong_file_is_told_with_its_line(text: str, wrong: str, tmp_path: Path) -> None:
    entry = "  - project: shop\n    service: worker-run\n    queue: run\n    max: 8"
    file = tmp_path / "scaling.yaml"
    file.write_text(text.replace("{E}", f"services:\n{entry}").replace("{S}", entry))

    with pytest.raises(ScaleError, match=re.escape(wrong)):
        load_services(file)


def test_the_example_is_about_the_workers_of_the_compose_file() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())

    found = load_services(ROOT / "examples" / "scaling" / "workers.yaml")

    assert {it.project for it in found} == {compose["name"]}
    for it in found:
        assert compose["services"][it.service]["command"] == ["worker", it.queue]
