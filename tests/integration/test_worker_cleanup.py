"""Cleanup jobs on a real Engine, which other tests share: every job here names the labels of its own test."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any

import pytest

from commandline import CommandLine
from dockbus import Bus, Cleanup, CleanupResult, Pull, Run, Scan, Settings
from dockbus.engine import Engine
from dockbus.jobs.cleanup import CleanupItem, Reason
from leftovers import Leftovers, leftovers
from processes import Program
from registries import publish
from registry_front import BLOBS, Front
from waiting import wait_for

Start = Callable[..., Program]
Clean = Callable[..., CleanupResult]


@pytest.fixture
def left(engine: Engine, base_image: str) -> Generator[Leftovers]:
    with leftovers(engine) as made:
        yield made


@pytest.fixture
def clean(bus: Bus, start: Start, left: Leftovers) -> Clean:
    """Carries out a cleanup job, by a worker, of what the test has left."""
    start("worker", "cleanup").wait_until_said("taking jobs")

    def run(**fields: Any) -> CleanupResult:
        labels = left.labels | fields.pop("labels", {})
        spec = Cleanup.model_validate({"containers": False, "labels": labels, **fields})
        ended = bus.enqueue(spec).wait(timeout=60)
        assert isinstance(ended, CleanupResult)
        return ended

    return run


def gone(result: CleanupResult) -> list[str]:
    """The IDs of what was removed, or would be."""
    return [item.id for item in result.items if item.outcome != "skipped"]


def why(result: CleanupResult, name: str) -> tuple[Reason | None, str | None]:
    """Why the thing of this ID or name stayed."""
    item: CleanupItem = next(item for item in result.items if name in (item.id, item.name))
    assert item.outcome == "skipped"
    return item.reason, item.detail


# -- containers ----------------------------------------------------------------------------


def test_cleanup_removes_what_its_labels_mean_and_nothing_else(
    clean: Clean, left: Leftovers
) -> None:
    meant = left.container("meant", labels={"app": "shop"})
    other = left.container("other", labels={"app": "blog"})
    kept = left.container("kept", labels={"app": "shop", "dockbus.keep": "true"})
    orphan = left.container("orphan", labels={"app": "shop", "dockbus.job": "long-gone"})
    runs = left.container("runs", script="sleep 600", labels={"app": "shop"})
    spec = {"containers": True, "labels": {"app": "shop"}}

    dry = clean(**spec, dry_run=True)

    assert {item.outcome for item in dry.items} == {"would be removed", "skipped"}
    assert left.state(meant) == left.state(orphan) == "exited"

    wet = clean(**spec)

    assert gone(wet) == gone(dry) == [meant, orphan]
    assert why(wet, kept) == (Reason.LABEL, "dockbus.keep=true")
    assert wet.skipped == {Reason.LABEL: 1}
    assert (left.state(meant), left.state(orphan)) == ("", "")
    assert (left.state(other), left.state(kept), left.state(runs)) == (
        "exited",
        "exited",
        "running",
    )


def test_cleanup_spares_the_young_and_the_containers_of_jobs_that_have_not_ended(
    clean: Clean, left: Leftovers, bus: Bus
) -> None:
    waiting = bus.enqueue(Scan(image="dockbus/base:1"))  # no scan worker: it stays queued
    young = left.container("young")
    busy = left.container("busy", labels={"dockbus.job": waiting.id})

    aged = clean(containers=True, older_than=3600)
    now = clean(containers=True)

    assert gone(aged) == []
    assert why(aged, young)[0] is Reason.YOUNG
    assert gone(now) == [young]
    assert why(now, busy) == (Reason.NEEDED, f"job {waiting.id}")
    assert left.state(busy) == "exited"


def test_cleanup_removes_only_the_states_asked_for_and_no_more_than_the_limit(
    clean: Clean, left: Leftovers
) -> None:
    made = left.container("made", start=False)
    first, second, third = (left.container(word) for word in ("first", "second", "third"))

    some = clean(containers=True, states=["exited"], max=2)

    assert gone(some) == [first, second]
    assert why(some, third) == (Reason.LIMIT, "2 a job")
    assert (left.state(made), left.state(third)) == ("created", "exited")
    assert gone(clean(containers=True, states=["created"])) == [made]


# -- images --------------------------------------------------------------------------------


def test_dangling_images_go_and_named_ones_stay(clean: Clean, left: Leftovers) -> None:
    name = left.tag("web:1")
    old, new = left.image(name, size=5000), left.image(name)

    dry, wet = clean(images=True, dry_run=True), clean(images=True)

    assert gone(dry) == gone(wet) == [old]
    assert (wet.items[0].name, wet.items[0].outcome) == (old[7:19], "removed")
    assert 5000 <= wet.reclaimed < 10_000
    assert left.has_image(old) is None
    assert left.engine.images.get(name).id == new


def test_an_image_goes_by_all_its_names_and_what_is_in_use_or_kept_stays(
    clean: Clean, left: Leftovers
) -> None:
    many = left.image(left.tag("many:1"))
    for word in ("many:2", "other:1"):
        left.engine.images.tag(many, left.tag(word))
    used = left.image(left.tag("used:1"))
    left.container("user", image=used, start=False)
    pinned = left.image(left.tag("pinned:1"))
    kept = left.image(left.tag("kept:1"), labels={"dockbus.keep": "true"})

    result = clean(images="unused", keep=["*-pinned"])

    assert gone(result) == [many]
    assert left.has_image(many) is None
    assert why(result, used) == (Reason.IN_USE, f"container {left.name('user')}")
    assert why(result, pinned) == (Reason.NAME, "*-pinned")
    assert why(result, kept)[0] is Reason.LABEL
    assert all(map(left.has_image, (used, pinned, kept)))


def test_an_image_goes_after_the_container_that_had_it(clean: Clean, left: Leftovers) -> None:
    image = left.image(left.tag("had:1"))
    user = left.container("user", image=image, start=False)

    dry = clean(containers=True, images="unused", dry_run=True)
    wet = clean(containers=True, images="unused")

    assert gone(dry) == gone(wet) == [user, image]
    assert left.has_image(image) is None


def test_the_newest_images_of_a_repository_stay(clean: Clean, left: Leftovers) -> None:
    images: list[str] = []
    for n in range(3):
        images.append(left.image(left.tag(f"web:{n}")))
        time.sleep(1.1 if n < 2 else 0)  # lists of images tell their age in whole seconds

    result = clean(images="unused", keep_last=2)

    assert gone(result) == images[:1]
    assert why(result, images[2]) == (Reason.LAST, f"2 of {left.tag('web')}")


def test_images_go_by_when_jobs_used_them_and_an_unknown_one_is_new(
    clean: Clean, left: Leftovers, bus: Bus
) -> None:
    old, young, unknown = (left.image(left.tag(f"{word}:1")) for word in ("old", "new", "unknown"))
    stamps = "dockbus:used:local"
    bus.redis.zadd(stamps, {old: time.time() - 7200, young: time.time() - 60, "sha256:gone": 1.0})
    spec = {"images": "unused", "unused_for": "1h"}

    dry = clean(**spec, dry_run=True)
    wet = clean(**spec)

    assert gone(dry) == gone(wet) == [old]
    assert why(wet, young)[0] is why(wet, unknown)[0] is Reason.USED
    assert bus.redis.zscore(stamps, old) is None
    assert bus.redis.zscore(stamps, "sha256:gone") is None
    first_seen = bus.redis.zscore(stamps, unknown)
    assert isinstance(first_seen, float)
    assert time.time() - first_seen < 60
    assert gone(clean(**spec | {"unused_for": "59s"})) == [young]


def test_the_base_of_a_kept_image_stays_and_otherwise_goes_after_it(
    clean: Clean, left: Leftovers
) -> None:
    base = left.image(left.tag("base:1"))
    app = left.child(base, left.tag("app:1"))

    kept = clean(images="unused", keep=[left.tag("app")])
    both = clean(images="unused")

    assert gone(kept) == []
    assert why(kept, base) == (Reason.BASE, left.tag("app:1"))
    assert gone(both) == [app, base]
    assert (left.has_image(app), left.has_image(base)) == (None, None)


def test_what_a_queued_job_names_stays(clean: Clean, left: Leftovers, bus: Bus) -> None:
    free, named = left.image(left.tag("free:1")), left.image(left.tag("named:latest"))
    by_id, later = left.image(left.tag("by-id:1")), left.image(left.tag("later:1"))
    scan = bus.enqueue(Scan(image=left.tag("named")))
    run = bus.enqueue(Run(image=by_id), engine="local")
    delayed = bus.enqueue(Scan(image=left.tag("later:1")), delay=3600)
    elsewhere = bus.enqueue(Scan(image=left.tag("free:1")), engine="another")

    result = clean(images="unused")

    assert gone(result) == [free]
    assert elsewhere.state.value == "queued"
    assert why(result, named) == (Reason.NEEDED, f"job {scan.id}")
    assert why(result, by_id) == (Reason.NEEDED, f"job {run.id}")
    assert why(result, later) == (Reason.NEEDED, f"job {delayed.id}")
    run.cancel()
    assert gone(clean(images="unused")) == [by_id]


def test_the_image_of_a_pull_that_goes_on_stays(
    clean: Clean, left: Leftovers, bus: Bus, start: Start, registry_front: Front
) -> None:
    name = f"{registry_front.address}/dockbus/test-{left.token}:1"
    publish(left.engine, name)
    old = left.image(name)
    start("worker", "pull").wait_until_said("taking jobs")
    registry_front.stall()
    pull = bus.enqueue(Pull(image=name))
    wait_for(lambda: registry_front.count("GET", BLOBS), what="the pull to be under way")

    result = clean(images="unused")

    assert why(result, old) == (Reason.NEEDED, f"job {pull.id}")
    assert left.engine.images.get(name).id == old
    pull.cancel()


# -- networks and volumes ------------------------------------------------------------------


def test_networks_go_unless_a_container_even_a_stopped_one_is_on_them(
    clean: Clean, left: Leftovers, bus: Bus
) -> None:
    for word in ("free", "stopped", "made", "named", "pinned"):
        left.network(word)
    left.container("stopped", networks=[left.name("stopped")])
    left.container("made", networks=[left.name("made")], start=False)
    job = bus.enqueue(Run.model_validate({"image": "x", "networks": [left.name("named")]}))

    result = clean(networks=True, keep=[left.name("pinned")])

    assert [item.name for item in result.items if item.outcome == "removed"] == [left.name("free")]
    assert why(result, left.name("stopped")) == (Reason.IN_USE, f"container {left.name('stopped')}")
    assert why(result, left.name("made")) == (Reason.IN_USE, f"container {left.name('made')}")
    assert why(result, left.name("named")) == (Reason.NEEDED, f"job {job.id}")
    assert why(result, left.name("pinned"))[0] is Reason.NAME
    there = {network.name for network in left.engine.networks.all()}
    assert left.name("free") not in there
    assert {left.name(word) for word in ("stopped", "made", "named", "pinned")} < there


def test_volumes_go_only_as_asked_and_never_those_in_use(clean: Clean, left: Leftovers) -> None:
    named, other, used = (left.volume(left.name(word)) for word in ("named", "other", "used"))
    free, mounted = left.volume(), left.volume()
    left.container("user", volumes=[f"{used}:/a", f"{mounted}:/b"], start=False)

    nameless = clean(volumes="anonymous")
    one = clean(volumes="named", volume_names=["*-named"])
    rest = clean(volumes="all", dry_run=True)

    assert gone(nameless) == [free]
    assert why(nameless, mounted) == (Reason.IN_USE, f"container {left.name('user')}")
    assert gone(one) == [named]
    assert gone(rest) == [other]
    assert why(rest, used)[0] is Reason.IN_USE
    there = [left.engine.volumes.find(name) for name in (named, other, used, free, mounted)]
    assert [volume is not None for volume in there] == [False, True, True, False, True]


def test_only_a_jobs_container_takes_its_anonymous_volumes_along(
    clean: Clean, left: Leftovers
) -> None:
    jobs = left.container("job", volumes=["/data"], labels={"dockbus.job": "long-gone"})
    others = left.container("other", volumes=["/data"])
    (gone_with_it,) = left.engine.containers.get(jobs).volumes
    (left_behind,) = left.engine.containers.get(others).volumes

    assert gone(clean(containers=True)) == [jobs, others]

    assert left.engine.volumes.find(gone_with_it) is None
    assert left.engine.volumes.find(left_behind) is not None
    left.engine.volumes.remove(left_behind)


# -- the rest ------------------------------------------------------------------------------


def test_of_many_that_stay_a_hundred_are_shown_and_all_are_counted(
    clean: Clean, left: Leftovers
) -> None:
    for n in range(102):
        left.volume(left.name(f"v{n}"), {"dockbus.keep": "true"})
    last = left.volume(left.name("zz"))

    result = clean(volumes="all")

    assert result.skipped == {Reason.LABEL: 102}
    assert sum(item.outcome == "skipped" for item in result.items) == 100
    assert gone(result) == [last]


def test_the_command_shows_what_went_and_why_the_rest_stayed(
    dockbus: CommandLine, engineless_bus: Bus, start: Start, settings: Settings, left: Leftovers
) -> None:
    theirs = engineless_bus.settings.model_copy(update={"engine": settings.engine})
    start("worker", "cleanup", settings=theirs).wait_until_said("taking jobs")
    network = left.network("busy").name
    left.container("made", start=False, networks=[network])
    left.volume(left.name("data"))
    options = ["cleanup", "--label", f"dockbus.test.cleanup={left.token}", "--no-containers"]
    options += ["--networks", "--volumes", "named", "--volume-name", "*-data"]

    dry = dockbus.ok(*options, "--dry-run").splitlines()
    wet = dockbus.ok(*options).splitlines()

    (found,) = [each for each in left.engine.networks.all() if each.name == network]
    assert dry[1].split()[:3] == ["network", found.id[:12], network]
    assert dry[2].split()[:2] == ["volume", left.name("data")]
    assert f"skipped           in use: container {left.name('made')}" in dry[1]
    assert "would be removed" in dry[2]
    assert dry[3] == "0 B would be reclaimed"
    assert "removed" in wet[2]
    assert left.engine.volumes.find(left.name("data")) is None
