"""What a cleanup plans, and why the rest stays: pure decisions over an inventory made by hand."""

from __future__ import annotations

import pytest

from dockbus import Cleanup, Run
from dockbus.engine import CacheRecord, FileSystem, NetworkView, VolumeView
from dockbus.jobs.cleanup import BuildCache, Reason
from dockbus_workers.cleaning.inventory import Inventory
from dockbus_workers.cleaning.plan import plan
from planning import DAY, HOUR, MINE, NOW, ago, container, image, images, needs, planned

# -- containers ----------------------------------------------------------------------------


def test_containers_go_by_the_age_of_their_end_the_oldest_first() -> None:
    there = (
        container("young", age=60),
        container("old", age=2 * HOUR),
        container("older", age=3 * HOUR),
        container("never-started", "created", age=2.5 * HOUR),
        container("runs", "running"),
        container("paused", "paused"),
    )

    going, kept = planned(Cleanup(older_than=HOUR), Inventory(containers=there))

    assert going == ["older", "never-started", "old"]
    assert kept == {"young": (Reason.YOUNG, "60 s")}


def test_only_containers_in_the_states_asked_for_are_meant() -> None:
    there = (container("ended"), container("made", "created"), container("stuck", "dead"))

    assert planned(Cleanup(states=["dead"]), Inventory(containers=there)) == (["stuck"], {})
    assert planned(Cleanup(states=["created", "exited"]), Inventory(containers=there))[0] == [
        "ended",
        "made",
    ]


def test_labels_and_names_keep_a_container_and_other_labels_are_not_even_mentioned() -> None:
    there = (
        container("web", labels={"app": "shop"}),
        container("db", labels={"app": "shop"}),
        container("kept", labels={"app": "shop", "dockbus.keep": "true"}),
        container("other", labels={"app": "blog"}),
    )

    going, kept = planned(Cleanup(labels={"app": "shop"}, keep=["d?"]), Inventory(containers=there))

    assert going == ["web"]
    assert kept == {
        "db": (Reason.NAME, "d?"),
        "kept": (Reason.LABEL, "dockbus.keep=true"),
    }


def test_a_jobs_container_stays_until_the_job_has_ended() -> None:
    there = (
        container("mine", labels={"dockbus.job": "j0", "dockbus.bus": MINE}),
        container("ended", labels={"dockbus.job": "j9", "dockbus.bus": MINE}),
        container("theirs", labels={"dockbus.job": "x", "dockbus.bus": "that-bus"}),
        container("theirs-of-old", age=2 * DAY, labels={"dockbus.bus": "that-bus"}),
    )

    going, kept = planned(Cleanup(), Inventory(containers=there), needs(Run(image="x")))

    assert going == ["theirs-of-old", "ended"]
    assert kept == {
        "mine": (Reason.NEEDED, "job j0"),
        "theirs": (Reason.NEEDED, "of another bus, perhaps"),
    }


# -- networks, volumes, build cache --------------------------------------------------------


def network(name: str, labels: dict[str, str] | None = None) -> NetworkView:
    return NetworkView(
        id=f"id-{name}",
        name=name,
        created=ago(DAY),
        labels=labels or {},
        predefined=name == "bridge",
    )


def test_networks_that_nobody_is_on_go_but_for_the_engines_and_dockbus_own() -> None:
    inventory = Inventory(
        networks=(
            network("bridge"),
            network("free"),
            network("taken"),
            network("named"),
            network("dockbus", {"dockbus.managed": "true"}),
        ),
        containers=(container("stopped", networks=frozenset({"taken"})),),
    )
    job = Run.model_validate({"image": "x", "networks": ["named"]})

    going, kept = planned(Cleanup(containers=False, networks=True), inventory, needs(job))

    assert going == ["free"]
    assert kept == {
        "taken": (Reason.IN_USE, "container stopped"),
        "named": (Reason.NEEDED, "job j0"),
        "dockbus": (Reason.NEEDED, "dockbus' own"),
    }


def volume(name: str, labels: dict[str, str] | None = None) -> VolumeView:
    return VolumeView(name=name, created=ago(DAY), labels=labels or {}, size=5)


ANONYMOUS = "0123456789abcdef" * 4
VOLUMES = (volume("data"), volume("ci-1"), volume("ci-2", labels={"ci": "yes"}), volume(ANONYMOUS))


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"volumes": "anonymous"}, {ANONYMOUS}),
        ({"volumes": "named", "volume_names": ["ci-*"]}, {"ci-1", "ci-2"}),
        ({"volumes": "all", "volume_names": ["ci-1"]}, {"ci-1", ANONYMOUS}),
        ({"volumes": "named", "labels": {"ci": ""}}, {"ci-2"}),
        ({"volumes": "named", "volume_names": ["*"], "labels": {"ci": "no"}}, set[str]()),
    ],
)
def test_only_volumes_that_were_asked_for_go(fields: dict[str, object], names: set[str]) -> None:
    spec = Cleanup.model_validate({"containers": False, **fields})

    assert set(planned(spec, Inventory(volumes=VOLUMES))[0]) == names


def test_a_volume_that_a_container_has_or_a_job_wants_stays() -> None:
    inventory = Inventory(
        volumes=(*VOLUMES, volume("secret", labels={"dockbus.job": "j0"})),
        containers=(container("stopped", volumes=frozenset({"data"})),),
    )
    spec = Cleanup(containers=False, volumes="named", volume_names=["*"])
    job = Run.model_validate({"image": "x", "volumes": ["ci-1:/x"]})

    going, kept = planned(spec, inventory, needs(job))

    assert going == ["ci-2"]
    assert kept == {
        "data": (Reason.IN_USE, "container stopped"),
        "ci-1": (Reason.NEEDED, "job j0"),
        "secret": (Reason.NEEDED, "job j0"),
    }


def test_an_anonymous_volume_goes_with_its_jobs_container_and_after_any_other() -> None:
    other = ANONYMOUS[::-1]
    inventory = Inventory(
        volumes=(volume(ANONYMOUS), volume(other)),
        containers=(
            container("of-job", volumes=frozenset({ANONYMOUS}), labels={"dockbus.job": "gone"}),
            container("other", age=60, volumes=frozenset({other})),
        ),
    )

    assert planned(Cleanup(volumes="anonymous"), inventory) == (["of-job", "other", other], {})


CACHE = tuple(CacheRecord(id=str(n), size=100, in_use=n == 0, used=ago(n * HOUR)) for n in range(5))


@pytest.mark.parametrize(
    ("cache", "going"),
    [
        (BuildCache(), [("4 records", 400)]),
        (BuildCache(unused_for=2.5 * HOUR), [("2 records", 200)]),
        (BuildCache(keep_bytes=350), [("2 records", 200)]),
        (BuildCache(keep_bytes=450), [("1 record", 100)]),
        (BuildCache(keep_bytes=1000), []),
        (BuildCache(unused_for=DAY), []),
    ],
)
def test_build_cache_goes_by_use_and_size(cache: BuildCache, going: list[tuple[str, int]]) -> None:
    spec = Cleanup(containers=False, build_cache=cache)

    choices = plan(spec, Inventory(build_cache=CACHE), needs(), NOW)

    assert [(each.name, each.size) for each in choices] == going


# -- order and disk ------------------------------------------------------------------------


def test_containers_come_first_and_the_build_cache_last() -> None:
    inventory = images(
        image("a", "a:1"),
        containers=(container("c"),),
        networks=(network("n"),),
        volumes=(volume("v"),),
        build_cache=CACHE,
    )
    spec = Cleanup(
        images="unused",
        networks=True,
        volumes="named",
        volume_names=["*"],
        build_cache=BuildCache(),
    )

    assert planned(spec, inventory)[0] == ["c", "a:1", "n", "v", "4 records"]


@pytest.mark.parametrize(("used", "goes"), [(84, False), (85, False), (86, True)])
def test_nothing_goes_unless_the_disk_is_fuller_than_the_mark(used: int, goes: bool) -> None:
    inventory = Inventory(containers=(container("c"),), disk=FileSystem(used, 100))

    assert bool(plan(Cleanup(when_disk_over=85.0), inventory, needs(), NOW)) == goes
