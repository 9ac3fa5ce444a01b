"""What the Engines hold, over HTTP and on the command line: from the snapshot alone, for no Engine is there to ask."""

from __future__ import annotations

import json
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from commandline import CommandLine
from dockbus import Bus
from dockbus.snapshot import ImageState, PortState
from serving import served
from snapshots import BEGUN, Told, container, container_id


@pytest.fixture
def told(engineless_bus: Bus) -> Told:
    """Two Engines, one of which is not heard any more."""
    told = Told(engineless_bus)
    told.engine("near")
    told.engine("far", connected=False, resynced=datetime.now(UTC) - timedelta(hours=3))
    web = {"tier": "web", "team": "blue"}
    told.has(container("shop-web", engine="near", labels=web, health="healthy", image="shop/web:1"))
    told.has(container("shop-db", engine="near", labels={"tier": "db"}, health="unhealthy"))
    told.has(container("batch", engine="near", state="exited", exit_code=3, finished=BEGUN))
    told.has(container("shop-web", engine="far", id="f" * 64, labels=web, state="paused"))
    told.image(
        ImageState(engine="near", id="sha256:" + "a" * 64, tags=["shop/web:1"], size=5 << 20)
    )
    told.image(ImageState(engine="far", id="sha256:" + "b" * 64, size=1))
    return told


@pytest.fixture
def api(told: Told) -> Generator[httpx.Client]:
    with served(told.bus) as client:
        yield client


def names(response: httpx.Response) -> list[str]:
    assert response.status_code == 200, response.text
    return [f"{one['engine']}/{one['name']}" for one in response.json()]


ALL = ["far/shop-web", "near/batch", "near/shop-db", "near/shop-web"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ALL),
        ("engine=near", ALL[1:]),
        ("engine=nowhere", []),
        ("label=tier%3Dweb", [ALL[0], ALL[3]]),
        ("label=tier", [ALL[0], *ALL[2:]]),
        ("label=tier%3Dweb&label=team%3Dred", []),
        ("label=tier&label=team", [ALL[0], ALL[3]]),
        ("state=running", ALL[2:]),
        ("state=paused&state=exited", ALL[:2]),
        ("health=unhealthy", ["near/shop-db"]),
        ("name=shop-*", [ALL[0], *ALL[2:]]),
        ("name=SHOP-*", []),
        ("name=shop-db", ["near/shop-db"]),
        ("engine=near&label=tier&name=*web&state=running", ["near/shop-web"]),
    ],
)
def test_containers_are_listed_by_what_they_are(
    api: httpx.Client, query: str, expected: list[str]
) -> None:
    assert names(api.get(f"/v1/containers?{query}")) == expected


@pytest.mark.parametrize(
    "wanted", ["shop-db", container_id("shop-db"), container_id("shop-db")[:12]]
)
def test_a_container_is_found_by_name_and_by_id(api: httpx.Client, wanted: str) -> None:
    found = api.get(f"/v1/containers/{wanted}").json()

    assert (found["engine"], found["id"], found["health"], found["labels"]) == (
        "near",
        container_id("shop-db"),
        "unhealthy",
        {"tier": "db"},
    )
    assert found["started"] == "2026-01-02T03:04:05Z"


def test_a_name_that_is_the_beginning_of_an_id_is_a_name(told: Told, api: httpx.Client) -> None:
    told.has(container(container_id("batch")[:12], engine="near"))

    found = api.get(f"/v1/containers/{container_id('batch')[:12]}").json()

    assert found["name"] == container_id("batch")[:12]


def problem(response: httpx.Response) -> tuple[int, str, str]:
    assert response.headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = response.json()
    return response.status_code, told["type"], told["detail"]


def test_a_container_that_is_not_known_is_a_problem(api: httpx.Client) -> None:
    assert problem(api.get("/v1/containers/nobody?engine=near")) == (
        404,
        "urn:dockbus:problem:container-unknown",
        "'nobody' on Engine near",
    )
    assert problem(api.get("/v1/containers/batch?engine=far"))[0] == 404


def test_a_name_on_two_engines_wants_the_engine(api: httpx.Client) -> None:
    status, kind, detail = problem(api.get("/v1/containers/shop-web"))
    assert (status, kind) == (409, "urn:dockbus:problem:container-ambiguous")
    assert f"far/{'f' * 12}" in detail
    assert f"near/{container_id('shop-web')[:12]}" in detail

    assert api.get("/v1/containers/shop-web?engine=far").json()["id"] == "f" * 64


def test_images_and_engines_are_listed(api: httpx.Client) -> None:
    images = api.get("/v1/images").json()
    assert [(one["engine"], one["tags"], one["size"]) for one in images] == [
        ("far", [], 1),
        ("near", ["shop/web:1"], 5 << 20),
    ]
    assert [one["engine"] for one in api.get("/v1/images?engine=near").json()] == ["near"]

    engines = api.get("/v1/engines").json()
    assert [(one["name"], one["id"], one["connected"]) for one in engines] == [
        ("far", "id-of-far", False),
        ("near", "id-of-near", True),
    ]
    assert engines[0]["resynced"] < engines[1]["resynced"]


@pytest.mark.parametrize("path", ["containers", "containers/shop-db", "images", "engines"])
def test_nothing_is_told_without_the_token(api: httpx.Client, path: str) -> None:
    assert api.get(f"/v1/{path}", headers={"Authorization": "Bearer x"}).status_code == 401


@pytest.mark.parametrize("path", ["containers", "images", "engines"])
def test_nothing_watched_is_an_empty_list(engineless_bus: Bus, path: str) -> None:
    with served(engineless_bus) as api:
        assert api.get(f"/v1/{path}").json() == []


# -- command line ----------------------------------------------------------------------------


def rows(text: str) -> list[list[str]]:
    """The cells of a table, without its head."""
    return [line.split() for line in text.splitlines()[1:]]


def test_the_command_lists_containers_and_says_how_fresh_that_is(
    told: Told, dockbus: CommandLine
) -> None:
    ports = [PortState(container=80, address="127.0.0.1", host=8090)]
    told.has(container("served", engine="near", ports=ports))

    found = {(row[0], row[2]): row for row in rows(dockbus.ok("containers"))}

    assert len(found) == 5
    web = found["near", "shop-web"]
    assert web[1] == container_id("shop-web")[:12]
    assert web[3:5] == ["shop/web:1", "running"]
    assert web[-2:] == ["healthy", "now"]
    assert "(3)" in found["near", "batch"]
    assert found["near", "served"][-2:] == ["127.0.0.1:8090->80/tcp", "now"]
    assert found["far", "shop-web"][-3:] == ["3", "h", "ago"]


def test_the_command_selects_as_the_api_does(told: Told, dockbus: CommandLine) -> None:
    words = "--engine near --label tier --label team=blue --state running --health healthy --name shop-*"

    assert [row[2] for row in rows(dockbus.ok("containers", *words.split()))] == ["shop-web"]
    [found] = json.loads(dockbus.ok("containers", "--state", "exited", "--json"))
    assert (found["name"], found["exit_code"]) == ("batch", 3)


def test_the_commands_list_images_and_engines(told: Told, dockbus: CommandLine) -> None:
    told.engine("new", resynced=None)
    told.engine("dead", resynced=datetime.now(UTC) - timedelta(minutes=10))  # its producer is gone

    [far, near] = rows(dockbus.ok("images"))
    assert far[:5] == ["far", "b" * 12, "<none>", "1", "B"]
    assert far[-3:] == ["3", "h", "ago"]
    assert near == ["near", "a" * 12, "shop/web:1", "5", "MB", "now"]
    assert [row[0] for row in rows(dockbus.ok("images", "--engine", "near"))] == ["near"]

    assert rows(dockbus.ok("engines")) == [
        ["dead", "id-of-dead", "yes", "10", "min", "ago"],
        ["far", "id-of-far", "no", "3", "h", "ago"],
        ["near", "id-of-near", "yes", "now"],
        ["new", "id-of-new", "yes", "in", "part"],
    ]
    assert [one["name"] for one in json.loads(dockbus.ok("engines", "--json"))] == [
        *("dead", "far", "near", "new")
    ]


def test_a_name_cannot_move_the_terminals_cursor(told: Told, dockbus: CommandLine) -> None:
    told.has(container("evil\x1b[2J", engine="near", state="\x1b[31m"))

    assert "\x1b" not in dockbus.ok("containers")
