"""Which images a cleanup plans to remove, in which order, and why the others stay."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dockbus import Build, Cleanup, Pull, Run, Scan
from dockbus.jobs import Spec
from dockbus.jobs.cleanup import Reason
from planning import DAY, HOUR, container, image, images, needs, planned

UNUSED = Cleanup(containers=False, images="unused")


def test_dangling_images_are_those_without_a_tag() -> None:
    inventory = images(image("a" * 64), image("named", "shop/web:1"))

    going, kept = planned(Cleanup(images="dangling"), inventory)

    assert (going, kept) == (["a" * 12], {})


def test_an_image_that_any_container_has_stays_unless_that_container_goes_first() -> None:
    there = (
        container("runs", "running", image_id="sha256:one"),
        container("stopped", image_id="sha256:two", labels={"dockbus.keep": "true"}),
        container("going", image_id="sha256:three"),
    )
    inventory = images(
        image("one", "a:1"), image("two", "a:2"), image("three", "a:3"), containers=there
    )

    going, kept = planned(Cleanup(images="unused"), inventory)
    _, without = planned(UNUSED, inventory)

    assert going == ["going", "a:3"]
    assert kept["a:1"] == (Reason.IN_USE, "container runs")
    assert kept["a:2"] == (Reason.IN_USE, "container stopped")
    assert without["a:3"] == (Reason.IN_USE, "container going")


def test_the_newest_of_each_repository_stay() -> None:
    inventory = images(
        *(image(f"web{n}", f"shop/web:{n}", age=n * DAY) for n in range(1, 5)),
        image("db1", "reg.example:5000/db:1", age=9 * DAY),
        image("both", "shop/web:old", "other:1", age=8 * DAY),
    )

    going, kept = planned(UNUSED.model_copy(update={"keep_last": 2}), inventory)

    assert sorted(going) == ["shop/web:3", "shop/web:4"]
    assert kept["shop/web:1"] == (Reason.LAST, "2 of shop/web")
    assert kept["reg.example:5000/db:1"] == (Reason.LAST, "2 of reg.example:5000/db")
    assert kept["shop/web:old"] == (Reason.LAST, "2 of other")


def test_one_image_of_many_tags_is_one_of_the_last() -> None:
    inventory = images(
        image("new", "web:3", "web:latest", age=1),
        image("mid", "web:2", age=2),
        image("old", "web:1"),
    )

    going, _ = planned(UNUSED.model_copy(update={"keep_last": 2}), inventory)

    assert going == ["web:1"]


def test_images_go_by_their_last_use_the_longest_ago_first() -> None:
    inventory = images(
        image("a", "a:1"),
        image("b", "b:1"),
        image("c", "c:1"),
        idle={"a": 2 * DAY, "b": 3 * DAY, "c": HOUR},
    )

    going, kept = planned(UNUSED.model_copy(update={"unused_for": DAY}), inventory)

    assert going == ["b:1", "a:1"]
    assert kept == {"c:1": (Reason.USED, "60 min ago")}


def test_an_image_of_unknown_use_counts_as_used_now() -> None:
    inventory = replace(images(image("a", "a:1")), used={})

    assert planned(UNUSED.model_copy(update={"unused_for": 1.0}), inventory)[0] == []


@pytest.mark.parametrize(
    "pattern", ["reg.example:5000/shop/web:2", "reg.example:5000/shop/web", "*/web", "*:2"]
)
def test_images_are_kept_by_name_with_or_without_the_tag(pattern: str) -> None:
    inventory = images(image("a", "x:1", "reg.example:5000/shop/web:2"), image("b", "y:1"))

    going, kept = planned(UNUSED.model_copy(update={"keep": [pattern]}), inventory)

    assert (going, kept) == (["y:1"], {"x:1": (Reason.NAME, pattern)})


@pytest.mark.parametrize(
    "spec",
    [
        Run(image="busybox"),
        Pull(image="docker.io/library/busybox"),
        Scan(image="busybox:latest"),
        Build(context=".", tags=["other:1", "busybox"]),
        Scan(image="sha256:" + "a" * 64),
        Run(image="a" * 64),
    ],
)
def test_what_a_job_names_stays_however_it_spells_it(spec: Spec) -> None:
    inventory = images(image("a" * 64, "busybox:latest"), image("b", "b:1"))

    going, kept = planned(UNUSED, inventory, needs(spec))

    assert (going, kept) == (["b:1"], {"busybox:latest": (Reason.NEEDED, "job j0")})


def test_the_provisional_name_of_a_build_stays_as_long_as_its_job() -> None:
    inventory = images(image("a", "dockbus-building:j0"), image("b", "dockbus-building:j9"))

    going, kept = planned(UNUSED, inventory, needs(Build(context=".", tags=["x:1"])))

    assert going == ["dockbus-building:j9"]
    assert kept == {"dockbus-building:j0": (Reason.NEEDED, "job j0")}


def test_what_a_kept_image_is_built_on_stays_down_to_the_ground() -> None:
    inventory = images(
        image("ground", "debian:12", layers="d"),
        image("runtime", "python:3", layers="dp"),
        image("app", "shop/web:1", layers="dpw", labels={"dockbus.keep": "true"}),
        image("twin", "twin:1", layers="dpw"),
        image("stranger", "alpine:3", layers="pd"),
    )

    going, kept = planned(UNUSED, inventory)

    assert sorted(going) == ["alpine:3", "twin:1"]
    assert kept["python:3"][0] == kept["debian:12"][0] == Reason.BASE
    assert kept["debian:12"][1] in ("shop/web:1", "python:3")


def test_a_parent_that_adds_no_layer_is_a_base_too_through_steps_that_nobody_sees() -> None:
    inventory = images(
        image("base", "base:1", layers="b"),
        image("app", "app:1", layers="b", labels={"dockbus.keep": "true"}),
        parents={"sha256:app": "sha256:step", "sha256:step": "sha256:base"},
    )

    assert planned(UNUSED, inventory) == (
        [],
        {"base:1": (Reason.BASE, "app:1"), "app:1": (Reason.LABEL, "dockbus.keep=true")},
    )


def test_an_image_goes_before_its_base_even_if_it_was_used_later() -> None:
    inventory = images(
        image("base", "base:1", layers="b"),
        image("app", "app:1", layers="ba"),
        image("other", "other:1"),
        idle={"base": 9 * DAY, "app": DAY, "other": 3 * DAY},
    )

    assert planned(UNUSED, inventory)[0] == ["other:1", "app:1", "base:1"]


def test_while_a_build_goes_on_a_new_image_without_a_name_may_be_its() -> None:
    inventory = images(
        image("a" * 64, age=60),
        image("b" * 64, age=2 * HOUR),
        image("c" * 64, age=2 * HOUR),
        image("d" * 64, "named:1", age=60),
        idle={"a" * 64: 2 * HOUR, "b" * 64: 2 * HOUR, "c" * 64: 60},
    )
    build, spec = Build(context=".", tags=["x:1"]), Cleanup(containers=False, images="dangling")

    going, kept = planned(spec, inventory, needs(build, started=True))

    assert going == ["b" * 12]
    assert set(kept.values()) == {(Reason.NEEDED, "job j0, perhaps")}
    assert len(planned(spec, inventory, needs(build))[0]) == 3
