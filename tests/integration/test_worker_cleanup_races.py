"""What happens between a cleanup's plan and its deeds: nothing that somebody has begun to use goes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from datetime import UTC, datetime

import pytest

from attempting import attempts_on, take
from dockbus import Bus, Cleanup, Run, Scan
from dockbus.engine import Engine, EngineConflict, EngineUnavailable
from dockbus.jobs import Build, Pull
from dockbus.jobs.cleanup import Reason
from dockbus.orders import Order
from dockbus.settings import EngineSettings
from dockbus_workers.cleaning.act import Sweep
from dockbus_workers.cleaning.inventory import take as look_around
from dockbus_workers.cleaning.needs import Watch
from dockbus_workers.cleaning.plan import plan
from dockbus_workers.context import Detached, JobContext
from leftovers import Leftovers, leftovers

Outcome = tuple[str, Reason | None, str | None]


@pytest.fixture
def left(engine: Engine, base_image: str) -> Generator[Leftovers]:
    with leftovers(engine) as made:
        yield made


def begin(bus: Bus, engine: Engine, spec: Cleanup) -> JobContext:
    """An attempt at a cleanup job, in this process."""
    bus.enqueue(spec)
    attempts = attempts_on(bus)
    (attempt,) = take(attempts)
    return JobContext(
        attempt=attempt,
        order=Order(spec=spec),
        attempts=attempts,
        bus=bus,
        engine=engine,
        leaving=threading.Event(),
    )


def interrupted(
    bus: Bus, left: Leftovers, meanwhile: Callable[[], object], **fields: object
) -> list[Outcome]:
    """What becomes of the one thing that was planned if `meanwhile` happens right after the plan was made."""
    spec = Cleanup.model_validate({"containers": False, "labels": left.labels, **fields})
    ctx = begin(bus, left.engine, spec)
    watch = Watch(ctx)
    inventory = look_around(spec, ctx)
    choices = plan(spec, inventory, watch.look(), datetime.now(UTC))
    assert [choice.kept for choice in choices] == [None]
    meanwhile()
    sweep = Sweep(spec, inventory, watch, ctx)
    sweep.carry_out(choices)
    return [(item.outcome, item.reason, item.detail) for item in sweep.items]


def test_a_container_that_starts_stays(bus: Bus, left: Leftovers) -> None:
    made = left.container("made", script="sleep 600", start=False)

    found = interrupted(bus, left, lambda: left.engine.containers.start(made), containers=True)

    assert found == [("skipped", Reason.IN_USE, "it is running")]
    assert left.state(made) == "running"


def test_a_container_that_ran_again_is_young_again(bus: Bus, left: Leftovers) -> None:
    made = left.container("made")
    time.sleep(1.2)

    def run_again() -> None:
        left.engine.containers.start(made)
        left.engine.api.wait(made)

    found = interrupted(bus, left, run_again, containers=True, older_than=1.0)

    assert [(outcome, reason) for outcome, reason, _ in found] == [("skipped", Reason.YOUNG)]
    assert left.state(made) == "exited"


def test_what_is_gone_is_no_error(bus: Bus, left: Leftovers) -> None:
    made = left.container("made")
    image = left.image(left.tag("gone:1"))
    network = left.network("gone").name
    volume = left.volume(left.name("gone"))
    gone = ("skipped", Reason.GONE, None)

    def ones(**fields: object) -> Callable[[Callable[[], object]], list[Outcome]]:
        return lambda meanwhile: interrupted(bus, left, meanwhile, **fields)

    remove = left.engine
    assert ones(containers=True)(lambda: remove.containers.remove(made)) == [gone]
    assert ones(images="unused")(lambda: remove.images.remove(image)) == [gone]
    assert ones(networks=True)(lambda: remove.networks.remove(network)) == [gone]
    assert ones(volumes="all")(lambda: remove.volumes.remove(volume)) == [gone]


def test_an_image_that_a_container_is_made_of_stays(bus: Bus, left: Leftovers) -> None:
    image = left.image(left.tag("web:1"))
    left.engine.images.tag(image, left.tag("web:2"))

    found = interrupted(
        bus, left, lambda: left.container("user", image=image, start=False), images="unused"
    )

    assert found == [("skipped", Reason.IN_USE, f"container {left.name('user')}")]
    assert len(left.engine.images.get(image).tags) == 2


def test_an_image_that_a_job_wants_or_has_used_stays(bus: Bus, left: Leftovers) -> None:
    image = left.image(left.tag("web:1"))

    wanted = interrupted(
        bus, left, lambda: bus.enqueue(Scan(image=left.tag("web:1"))), images="unused"
    )

    assert wanted[0][:2] == ("skipped", Reason.NEEDED)
    bus.jobs()
    for job in bus.jobs():
        if job.kind == "scan":
            bus.cancel(job.id)
    bus.redis.zadd("dockbus:used:local", {image: time.time() - 3600})

    used = interrupted(
        bus,
        left,
        lambda: bus.redis.zadd("dockbus:used:local", {image: time.time()}),
        images="unused",
        unused_for=600,
    )

    assert used[0][:2] == ("skipped", Reason.USED)
    assert left.has_image(image)


def test_an_image_that_gets_a_name_or_a_child_stays(bus: Bus, left: Leftovers) -> None:
    image = left.image(left.tag("web:1"))

    named = interrupted(
        bus, left, lambda: left.engine.images.tag(image, left.tag("web:2")), images="unused"
    )
    built_on = interrupted(bus, left, lambda: left.child(image, left.tag("app:1")), images="unused")

    assert named == [("skipped", Reason.CHANGED, f"it is {left.tag('web:2')} now")]
    assert built_on == [("skipped", Reason.BASE, left.tag("app:1"))]
    assert left.has_image(left.tag("web:1"))


def test_a_name_that_has_moved_on_stays_with_its_new_image(bus: Bus, left: Leftovers) -> None:
    name = left.tag("web:1")
    old = left.image(name)

    found = interrupted(bus, left, lambda: left.image(name), images="unused")

    assert found == [("removed", None, None)]
    assert left.has_image(old) is None
    assert left.has_image(name)


def test_an_image_that_is_being_pulled_or_built_stays(bus: Bus, left: Leftovers) -> None:
    name = left.tag("web:1")
    left.image(name)
    attempts = attempts_on(bus)

    def pull_something() -> None:
        # A job that names another image, but holds the permit for this one.
        bus.enqueue(Pull(image="elsewhere"))
        (attempt,) = take(attempts, queue="pull")
        assert attempts.permit(attempt, f"local:image:{name}", 1) is None

    found = interrupted(bus, left, pull_something, images="unused")

    assert found == [("skipped", Reason.BUSY, name)]
    assert left.has_image(name)


def test_a_new_image_without_a_name_stays_while_a_build_goes_on(bus: Bus, left: Leftovers) -> None:
    name = left.tag("web:1")
    old = left.image(name)
    left.image(name)
    bus.enqueue(Build(context=".", tags=["elsewhere:1"]))

    found = interrupted(bus, left, lambda: take(attempts_on(bus), queue="build"), images="dangling")

    assert found[0][:2] == ("skipped", Reason.NEEDED)
    assert left.has_image(old)


def test_networks_and_volumes_that_come_into_use_stay(bus: Bus, left: Leftovers) -> None:
    network, volume = left.network("n").name, left.volume(left.name("v"))

    def use() -> None:
        left.container("user", networks=[network], volumes=[f"{volume}:/v"], start=False)

    found = interrupted(bus, left, use, networks=True)
    left.engine.containers.remove(left.name("user"))
    found += interrupted(bus, left, use, volumes="all")

    assert found == [("skipped", Reason.IN_USE, f"container {left.name('user')}")] * 2
    assert left.engine.volumes.find(volume)


def test_the_engines_refusal_is_told_and_the_rest_goes_on(
    bus: Bus, left: Leftovers, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, other = left.container("made"), left.container("other")
    remove = left.engine.containers.remove

    def refuse_one(container: str, **options: bool) -> None:  # as an Engine does with a broken disk
        if container == made:
            raise EngineConflict("driver failed to remove root filesystem")
        remove(container, **options)

    spec = Cleanup(labels=left.labels)
    ctx = begin(bus, left.engine, spec)
    watch = Watch(ctx)
    inventory = look_around(spec, ctx)
    sweep = Sweep(spec, inventory, watch, ctx)
    with monkeypatch.context() as broken:
        broken.setattr(left.engine.containers, "remove", refuse_one)
        sweep.carry_out(plan(spec, inventory, watch.look(), datetime.now(UTC)))

    assert [(item.outcome, item.reason, item.detail) for item in sweep.items] == [
        ("skipped", Reason.REFUSED, "driver failed to remove root filesystem"),
        ("removed", None, None),
    ]
    assert (left.state(made), left.state(other)) == ("exited", "")


def test_an_engine_that_goes_away_ends_the_job(bus: Bus, left: Leftovers) -> None:
    left.container("made")
    spec = Cleanup(labels=left.labels)
    ctx = begin(bus, left.engine, spec)
    watch = Watch(ctx)
    inventory = look_around(spec, ctx)
    choices = plan(spec, inventory, watch.look(), datetime.now(UTC))
    ctx.engine = Engine(EngineSettings(host="unix:///nowhere/docker.sock"))

    with pytest.raises(EngineUnavailable):
        Sweep(spec, inventory, watch, ctx).carry_out(choices)


def test_an_attempt_that_was_given_up_for_dead_removes_nothing(bus: Bus, left: Leftovers) -> None:
    made = left.container("made")
    spec = Cleanup(labels=left.labels)
    bus.enqueue(spec)
    attempts = attempts_on(bus, lease=0.0)
    (lost,) = take(attempts)
    ctx = JobContext(
        attempt=lost,
        order=Order(spec=spec),
        attempts=attempts,
        bus=bus,
        engine=left.engine,
        leaving=threading.Event(),
    )
    watch = Watch(ctx)
    inventory = look_around(spec, ctx)
    choices = plan(spec, inventory, watch.look(), datetime.now(UTC))
    assert attempts.reap("cleanup")

    with pytest.raises(Detached):
        Sweep(spec, inventory, watch, ctx).carry_out(choices)

    assert left.state(made) == "exited"


def test_the_needs_of_thousands_of_jobs_are_read_once(bus: Bus, left: Leftovers) -> None:
    ctx = begin(bus, left.engine, Cleanup(labels=left.labels))
    jobs = bus.enqueue_many([Run(image=f"shop/web:{n}") for n in range(3000)])
    watch = Watch(ctx)
    asked = ctx.redis.info("commandstats")["cmdstat_hgetall"]["calls"]  # pyright: ignore[reportUnknownMemberType, reportIndexIssue]

    first = watch.look()
    later = bus.enqueue(Run(image="shop/late:1"))
    jobs[0].cancel()
    second = watch.look()

    assert (len(first.images), first.images["shop/web:7"]) == (3000, jobs[7].id)
    assert second.images["shop/late:1"] == later.id
    assert "shop/web:0" not in second.images
    again = ctx.redis.info("commandstats")["cmdstat_hgetall"]["calls"]  # pyright: ignore[reportUnknownMemberType, reportIndexIssue]
    assert again - asked == 3001
