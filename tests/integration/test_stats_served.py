"""Stats over HTTP and on the command line; what is measured is given, for no Engine is there."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
from collections.abc import Generator

import httpx
import pytest

from commandline import PROGRAM, CommandLine
from dockbus import Bus
from measuring import DB, WEB, Measures, measured
from serving import served, told
from snapshots import Told, container, container_id
from waiting import wait_for


@pytest.fixture
def bus(engineless_bus: Bus) -> Bus:
    return engineless_bus


@pytest.fixture
def measures(bus: Bus) -> Generator[Measures]:
    with measured(bus, WEB, DB) as measures:
        yield measures


# -- over HTTP ---------------------------------------------------------------------------------------


@pytest.fixture
def api(bus: Bus) -> Generator[httpx.Client]:
    with served(bus) as client:
        client.timeout = httpx.Timeout(20.0)
        yield client


def problem(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["advice"]
    return response.status_code, body["type"].removeprefix("urn:dockbus:problem:")


def test_the_api_gives_stats(api: httpx.Client, measures: Measures) -> None:
    web, db = api.get("/v1/stats").json()

    assert (web["name"], web["cpu_percent"], web["memory_percent"]) == ("shop-web", 120.5, 25.0)
    assert (web["pids"], web["health"], web["network_rx_bytes"]) == (7, "healthy", 2048)
    assert (db["cpu_percent"], db["memory_unlimited"], db["health"]) == (None, True, "unknown")
    chosen = api.get("/v1/stats?name=shop-*&label=tier%3Ddb&engine=local").json()
    assert [one["name"] for one in chosen] == ["shop-db"]
    assert api.get("/v1/stats?" + "name=x&" * 21).status_code == 422


def test_the_api_streams_stats(api: httpx.Client, measures: Measures) -> None:
    with api.stream("GET", "/v1/stats/stream?name=shop-db") as response:
        events = told(response)
        first, second = next(events), next(events)

    assert (first.event, first.data["engine"]) == ("stats", "local")
    assert [one["name"] for one in first.data["containers"]] == ["shop-db"]
    assert first.id != second.id


@pytest.mark.parametrize("path", ["/v1/stats", "/v1/containers/shop-web/stats"])
def test_without_a_metrics_worker_the_api_says_so(api: httpx.Client, path: str) -> None:
    answer = api.get(path)

    assert problem(answer) == (503, "stats-unavailable")
    assert answer.headers["retry-after"]
    assert "dockbus metrics" in answer.json()["advice"]


def test_a_stream_without_a_metrics_worker_ends_with_a_problem(api: httpx.Client) -> None:
    with api.stream("GET", "/v1/stats/stream") as response:
        (last,) = told(response)

    assert (last.event, last.data["status"]) == ("problem", 503)


@pytest.mark.parametrize("wanted", ["shop-web", WEB.id, WEB.id[:14]])
def test_the_stats_of_one_container(
    api: httpx.Client, measures: Measures, bus: Bus, wanted: str
) -> None:
    assert api.get(f"/v1/containers/{wanted}/stats").json()["id"] == WEB.id  # nobody watches it

    says = Told(bus)
    says.engine()
    says.has(container("shop-web"))
    assert api.get(f"/v1/containers/{wanted}/stats").json()["pids"] == 7


def test_a_container_that_uses_nothing(api: httpx.Client, measures: Measures, bus: Bus) -> None:
    says = Told(bus)
    says.engine()
    says.has(container("batch", state="exited"))
    says.has(container("just-ended"))

    assert problem(api.get("/v1/containers/batch/stats")) == (409, "container-stopped")
    assert problem(api.get("/v1/containers/just-ended/stats")) == (409, "container-stopped")
    assert problem(api.get("/v1/containers/nobody/stats")) == (404, "container-unknown")


def test_a_name_on_two_engines_wants_the_engine(
    api: httpx.Client, measures: Measures, bus: Bus
) -> None:
    far = WEB.model_copy(update={"engine": "far", "id": "f" * 64})
    with measured(bus, far, engine="far"):
        assert problem(api.get("/v1/containers/shop-web/stats")) == (409, "container-ambiguous")
        assert api.get("/v1/containers/shop-web/stats?engine=far").json()["id"] == "f" * 64


@pytest.mark.parametrize(
    ("state", "health", "expected"),
    [
        ("running", "healthy", "healthy"),
        ("running", "unhealthy", "unhealthy"),
        ("running", "starting", "starting"),
        ("running", "", "unknown"),
        ("exited", "unhealthy", "unknown"),
    ],
)
def test_the_health_of_one_container(
    api: httpx.Client, bus: Bus, state: str, health: str, expected: str
) -> None:
    says = Told(bus)
    says.engine()
    says.has(container("shop-web", state=state, health=health, probe="connection refused"))

    found = api.get("/v1/containers/shop-web/health").json()

    assert found == {
        "engine": "local",
        "id": container_id("shop-web"),
        "name": "shop-web",
        "state": state,
        "health": expected,
        "probe": "connection refused" if expected == "unhealthy" else "",
    }
    assert problem(api.get("/v1/containers/nobody/health")) == (404, "container-unknown")


@pytest.mark.parametrize(
    "path", ["stats", "stats/stream", "containers/x/stats", "containers/x/health"]
)
def test_nothing_is_told_without_the_token(api: httpx.Client, path: str) -> None:
    assert api.get(f"/v1/{path}", headers={"Authorization": "Bearer x"}).status_code == 401


# -- on the command line -----------------------------------------------------------------------------


def test_the_command_shows_a_table(dockbus: CommandLine, measures: Measures) -> None:
    head, web, db = dockbus.ok("stats").splitlines()

    assert head.split()[:6] == ["ENGINE", "ID", "NAME", "CPU", "%", "MEMORY"]
    assert web.split() == (
        f"local {WEB.id[:12]} shop-web 120.5 16 MB 64 MB 25.0 2 kB 0 B 0 B 0 B 7 healthy".split()
    )
    assert db.split()[3:10] == ["-", "4", "GB", "8", "GB", "50.0", "0"]


def test_the_command_gives_json_of_those_that_are_wanted(
    dockbus: CommandLine, measures: Measures
) -> None:
    found = json.loads(dockbus.ok("stats", "nobody", "*-db", "--engine", "local", "--json"))

    assert found == [json.loads(DB.model_dump_json())]


def test_the_command_says_what_to_start(dockbus: CommandLine) -> None:
    done = dockbus("stats")

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "there is no metrics worker for any Engine. Start `dockbus metrics`" in done.stderr
    assert json.loads(dockbus("stats", "--json").stderr)["code"] == "stats-unavailable"


@pytest.mark.parametrize(
    ("words", "first"),
    [([], "shop-web"), (["--sort", "memory"], "shop-db"), (["-s", "name"], "shop-db")],
)
def test_top_without_a_terminal_prints_once(
    dockbus: CommandLine, measures: Measures, words: list[str], first: str
) -> None:
    lines = dockbus.ok("top", *words).splitlines()

    assert (len(lines), lines[1].split()[2]) == (3, first)


class Terminal:
    """`dockbus top` at a terminal."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.end, theirs = pty.openpty()
        self.shown = ""
        self.process = subprocess.Popen(
            [PROGRAM, "top"],
            env=environment | {"TERM": "xterm", "COLUMNS": "160"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)

    def shows(self, *words: str) -> bool:
        """Whether it has shown these words in this order since the last key."""
        while select.select([self.end], [], [], 0)[0]:
            try:
                self.shown += os.read(self.end, 65536).decode(errors="replace")
            except OSError:  # it has ended
                break
        at = [self.shown.find(word) for word in words]
        return -1 not in at and at == sorted(at)

    def press(self, key: str) -> None:
        self.shown = ""
        os.write(self.end, key.encode())


def test_top_at_a_terminal_is_live_and_sorts_by_key(
    dockbus: CommandLine, measures: Measures
) -> None:
    top = Terminal(dockbus.env)
    try:
        wait_for(lambda: top.shows("shop-web", "shop-db"), what="both, by CPU")
        top.press("m")
        wait_for(lambda: top.shows("by memory", "shop-db", "shop-web"), what="both, by memory")
        measures.containers = [WEB.model_copy(update={"name": "shop-new"})]
        wait_for(lambda: top.shows("shop-new"), what="the new one")
        measures.stopping.set()
        wait_for(lambda: top.shows("there is no metrics worker"), what="the outage")
        top.press("q")
        assert top.process.wait(10) == 0
    finally:
        top.process.kill()
        top.process.wait()
        os.close(top.end)
