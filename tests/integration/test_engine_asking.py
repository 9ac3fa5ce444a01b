"""Many questions to an Engine at the same time: over each kind of connection, with some that are answered late or never."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from containers import container
from dockbus.engine import (
    ContainerNotFound,
    Engine,
    EngineError,
    EngineTimeout,
    EngineUnavailable,
)
from dockbus.engine.asking import Asker
from dockbus.engine.connections import Connections
from dockbus.settings import EngineSettings
from outage import Plug
from tls_front import tls_front


@pytest.fixture
def plug(engine_host: str) -> Generator[Plug]:
    with Plug(engine_host.removeprefix("unix://")) as plug:
        yield plug


@pytest.fixture
def remote(plug: Plug) -> Generator[Asker]:
    """Asks the Engine over a port that can be pulled out."""
    with contextlib.closing(Asker(Connections(f"tcp://127.0.0.1:{plug.port}", ""), 5.0)) as asker:
        yield asker


def pings(number: int) -> dict[str, str]:
    return {f"{each}": f"/_ping?{each}" for each in range(number)}


def test_all_are_answered_over_as_many_connections_as_there_may_be(
    remote: Asker, plug: Plug
) -> None:
    for _ in range(3):
        assert dict(remote.ask(pings(30), timeout=30, width=4)) == dict.fromkeys(pings(30), b"OK")

    assert plug.carried == 4


def test_a_socket_and_tls_will_do(engine_host: str, tmp_path: Path) -> None:
    with tls_front(engine_host.removeprefix("unix://"), tmp_path) as port:
        shutil.copy(tmp_path / "ca.pem", tmp_path / "cert.pem")
        secured = str(tmp_path)
        for host, certs in ((engine_host, ""), (f"tcp://127.0.0.1:{port}", secured)):
            with contextlib.closing(Asker(Connections(host, certs), 5.0)) as asker:
                for _ in range(2):
                    assert dict(asker.ask(pings(5), timeout=30, width=2)) == dict.fromkeys(
                        pings(5), b"OK"
                    )
        untrusted = contextlib.closing(Asker(Connections(f"https://127.0.0.1:{port}", ""), 5.0))
        with untrusted as asker:
            ((_, said),) = asker.ask(pings(1), timeout=30)
    assert not isinstance(said, bytes), "nobody knows its certificate"


def test_a_container_that_is_not_there_takes_no_other_with_it(
    engine: Engine, base_image: str
) -> None:
    with container(engine, "sleep 1000") as made:
        found = dict(engine.containers.stats([made, "nowhere"], width=1, timeout=30))

    assert isinstance(found["nowhere"], ContainerNotFound)
    said = found[made]
    assert not isinstance(said, EngineError)
    assert said["pids_stats"]["current"] >= 1


def test_what_is_not_answered_in_time_is_late_and_takes_no_other_with_it(
    remote: Asker, plug: Plug
) -> None:
    plug.withhold(b"?7 ")
    begun = time.monotonic()

    found = dict(remote.ask(pings(20), timeout=1.0, width=2))

    assert 1.0 <= time.monotonic() - begun < 3.0
    assert isinstance(found.pop("7"), EngineTimeout)
    assert set(found.values()) == {b"OK"}


def test_no_question_waits_longer_than_one_may(plug: Plug) -> None:
    plug.withhold(b"?0 ")
    with contextlib.closing(Asker(Connections(f"tcp://127.0.0.1:{plug.port}", ""), 0.5)) as asker:
        found = dict(asker.ask(pings(3), timeout=30, width=1))

    assert isinstance(found["0"], EngineTimeout)
    assert (found["1"], found["2"]) == (b"OK", b"OK")


def test_what_there_was_no_time_to_ask_is_late(remote: Asker, plug: Plug) -> None:
    plug.withhold(b"?0 ")

    found = dict(remote.ask(pings(3), timeout=0.3, width=1))

    assert [type(found[each]) for each in pings(3)] == [EngineTimeout] * 3


def test_a_connection_that_broke_is_made_anew(remote: Asker, plug: Plug) -> None:
    assert len(dict(remote.ask(pings(4), timeout=30, width=4))) == 4

    plug.pull()
    away = dict(remote.ask(pings(4), timeout=30, width=4))
    plug.put_back()

    assert {type(said) for said in away.values()} == {EngineUnavailable}
    assert set(dict(remote.ask(pings(4), timeout=30, width=4)).values()) == {b"OK"}


def test_an_answer_that_nobody_waits_for_any_more_is_not_taken_for_another(
    remote: Asker, plug: Plug
) -> None:
    plug.withhold(b"?0 ")
    answers = remote.ask(pings(2), timeout=30, width=2)
    assert next(answers)[0] == "1"
    answers.close()
    plug.withhold(b"")
    plug.thaw()

    found = dict(remote.ask({"ping": "/_ping", "none": "/nowhere"}, timeout=30, width=2))

    assert found["ping"] == b"OK"
    assert isinstance(found["none"], EngineError)


@pytest.mark.parametrize(
    "host",
    [
        "unix:///nowhere/docker.sock",
        "unix:///etc/passwd",
        "tcp://127.0.0.1:1",
        "tcp://127.0.0.1:99999",
        "tcp://a:b:c",
        "tcp://",
        "gopher://x",
        "x",
    ],
)
def test_where_no_engine_is_each_question_says_so(host: str) -> None:
    engine = Engine(EngineSettings(host=host, timeout=3))

    for said in (
        *engine.asker.ask(pings(2), timeout=10),
        *engine.containers.stats(["x", "y"], width=1, timeout=10),
    ):
        assert isinstance(said[1], EngineUnavailable)
