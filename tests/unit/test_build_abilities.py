"""What a build may ask of a builder, and how docker-buildx is called for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dockbus.dockerignore import DockerIgnore
from dockbus.jobs import Build
from dockbus.settings import BuildSettings, Settings
from dockbus_workers.building.abilities import Abilities, CapabilityMissing, demand
from dockbus_workers.building.buildkit import arguments
from dockbus_workers.building.dockerfile import parse
from dockbus_workers.building.plan import Plan

STORE = Abilities(builder="buildkit", program="x", image_store=True)
PLAIN = Abilities(builder="buildkit", program="x")
CLASSIC = Abilities(builder="classic", why="there is no docker-buildx")
EVERYTHING = {
    "secrets": {"token": "shop-token"},
    "platforms": ["linux/amd64", "linux/arm64"],
    "cache_from": [{"registry": "c:1"}, {"local": "shop"}],
    "cache_to": [{"registry": "c:1"}, {"local": "shop"}],
    "inline_cache": True,
    "provenance": True,
    "sbom": True,
}


def order(**fields: object) -> Build:
    return Build.model_validate({"context": ".", "tags": ["a"], **fields})


@pytest.mark.parametrize(
    ("fields", "can"),
    [
        ({}, [STORE, PLAIN, CLASSIC]),
        (
            {"platforms": ["linux/amd64"], "cache_from": [{"registry": "c:1"}]},
            [STORE, PLAIN, CLASSIC],
        ),
        ({"secrets": {"token": "shop-token"}}, [STORE, PLAIN]),
        ({"inline_cache": True}, [STORE, PLAIN]),
        ({"cache_from": [{"local": "shop"}]}, [STORE, PLAIN]),
        ({"platforms": ["linux/amd64", "linux/arm64"]}, [STORE]),
        ({"cache_to": [{"registry": "c:1"}]}, [STORE]),
        ({"provenance": True}, [STORE]),
        ({"sbom": True}, [STORE]),
        (EVERYTHING, [STORE]),
    ],
)
def test_each_builder_does_what_it_can(fields: dict[str, object], can: list[Abilities]) -> None:
    for abilities in (STORE, PLAIN, CLASSIC):
        if abilities in can:
            demand(order(**fields), [], abilities, "/caches")
        else:
            with pytest.raises(CapabilityMissing):
                demand(order(**fields), [], abilities, "/caches")


def test_local_caches_need_a_folder() -> None:
    with pytest.raises(CapabilityMissing, match=r"local build caches.*DOCKBUS_BUILD_CACHE_DIR"):
        demand(order(cache_from=[{"local": "shop"}]), [], STORE, "")


def test_an_instruction_that_the_classic_builder_does_not_know_is_named() -> None:
    found = parse("FROM a\nRUN --mount=type=cache,target=/c true")

    demand(order(), found, PLAIN, "")
    with pytest.raises(
        CapabilityMissing,
        match=r"line 2 \(RUN\): that needs BuildKit, and there is no docker-buildx",
    ):
        demand(order(), found, CLASSIC, "")


def test_an_order_becomes_the_arguments_of_the_program(tmp_path: Path) -> None:
    spec = order(
        **EVERYTHING,
        dockerfile="x/Dockerfile",
        args={"A": "1 2"},
        target="t",
        network="none",
        pull=True,
        no_cache=True,
    )
    plan = Plan(
        spec=spec,
        context=tmp_path,
        ignore=DockerIgnore(),
        scratch=tmp_path,
        labels={"l": "a,b"},
        name="n:1",
    )
    settings = Settings(build=BuildSettings(cache_dir="/caches"))

    assert arguments(plan, settings, {"token": 7}, Path("/id")) == [
        "build",
        "--progress=rawjson",
        "--iidfile=/id",
        "--network=none",
        f"--file={tmp_path}/x/Dockerfile",
        "--build-arg=A=1 2",
        "--label=l=a,b",
        "--secret=id=token,src=/proc/self/fd/7",
        "--cache-from=type=registry,ref=c:1",
        "--cache-from=type=local,src=/caches/shop",
        "--cache-to=type=registry,ref=c:1,mode=max",
        "--cache-to=type=local,dest=/caches/shop,mode=max",
        "--cache-to=type=inline",
        "--tag=n:1",
        "--target=t",
        "--platform=linux/amd64,linux/arm64",
        "--pull=true",
        "--no-cache=true",
        "--provenance=true",
        "--sbom=true",
        str(tmp_path),
    ]
