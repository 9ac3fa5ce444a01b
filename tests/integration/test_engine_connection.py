"""Reaching an Engine: over its socket and over TCP, when it goes away, and where something else answers."""

from __future__ import annotations

import contextlib
import gc
import http.server
import json
import socket
import threading
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from containers import container
from dockbus.engine import Engine, EngineError, EngineTimeout, EngineUnavailable
from dockbus.settings import EngineSettings, Settings
from outage import Plug

PATIENCE = 10.0


@pytest.fixture
def plug(engine_host: str) -> Generator[Plug]:
    with Plug(engine_host.removeprefix("unix://")) as plug:
        yield plug


@pytest.fixture
def remote(plug: Plug) -> Generator[Engine]:
    """The same Engine behind a TCP port that can be pulled out."""
    engine = Engine(EngineSettings(host=f"tcp://127.0.0.1:{plug.port}"))
    yield engine
    engine.close()


@contextmanager
def deaf() -> Generator[str]:
    """The address of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


class Quiet(http.server.BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def serving(answer: type[Quiet]) -> Generator[str]:
    """The address of a web server that answers so."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"tcp://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@contextmanager
def answering(body: bytes, status: int = 200) -> Generator[str]:
    """The address of a web server that is no Engine and gives this answer to everything."""

    class Answer(Quiet):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with serving(Answer) as host:
        yield host


def at(host: str, timeout: float = 60.0) -> Engine:
    return Engine(EngineSettings(host=host, timeout=timeout))


def at_work(engine: Engine) -> str:
    return engine.check(PATIENCE)


def test_where_nobody_listens_any_more_no_socket_is_left_open(
    engine_host: str, scratch: Path
) -> None:
    link = scratch / "link.sock"
    link.symlink_to(engine_host.removeprefix("unix://"))
    engine = Engine(EngineSettings(host=f"unix://{link}"))
    with closing(engine), closing(engine.events()):  # which has the one connection
        link.unlink()
        with pytest.raises(EngineUnavailable):
            engine.info()
        gc.collect()  # an open socket would be told of, as an error


def test_it_says_who_it_is(engine: Engine) -> None:
    info = engine.info()

    assert info.id == engine.id == engine.check(PATIENCE)
    assert info.platform.startswith("linux/")


def test_a_tcp_engine_is_the_same_one(engine: Engine, remote: Engine) -> None:
    assert remote.info().id == engine.info().id


def test_docker_host_is_honoured(engine: Engine, engine_host: str) -> None:
    settings = Settings.from_env({"DOCKER_HOST": engine_host}).engine

    with contextlib.closing(Engine(settings)) as same:
        assert same.info().id == engine.info().id


@pytest.mark.parametrize(
    "host",
    [
        "unix:///nowhere/docker.sock",
        "unix:///etc/passwd",
        "unix://",
        "tcp://127.0.0.1:1",
        "tcp://127.0.0.1:99999",
        "tcp://a:b:c",
        "tcp://",
        "ssh://nobody@127.0.0.1",
        "gopher://x",
        "x",
    ],
)
def test_where_no_engine_is_one_error_says_so(host: str) -> None:
    engine = at(host, timeout=3)

    find = partial(engine.images.get, "x")
    for verb in (partial(at_work, engine), engine.info, find, engine.events):
        with pytest.raises(EngineUnavailable) as caught:
            verb()
        assert caught.value.detail.startswith(host)
        assert "DOCKBUS_ENGINE_HOST" in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"<html>", b'{"ApiVersion": null}'])
@pytest.mark.parametrize("status", [200, 404, 500])
def test_what_is_no_engine_is_not_taken_for_one(body: bytes, status: int) -> None:
    with answering(body, status) as host:
        engine = at(host, timeout=3)
        for verb in (at_work, Engine.info):
            with pytest.raises(EngineError) as caught:
                verb(engine)
            assert "\n" not in str(caught.value)


def test_an_engine_that_is_too_old_is_named_so() -> None:
    with answering(b'{"ApiVersion": "1.40"}') as host, pytest.raises(EngineUnavailable) as caught:
        at(host).info()

    assert "older than Docker 20.10" in caught.value.detail


def test_a_deaf_engine_is_given_up_in_the_time_that_is_set() -> None:
    with deaf() as host:
        begun = time.monotonic()
        with pytest.raises(EngineTimeout):
            at(host, timeout=0.5).info()

    assert time.monotonic() - begun < 30


def test_an_engine_that_goes_away_and_comes_back(remote: Engine, plug: Plug) -> None:
    known = at_work(remote)

    plug.pull()
    for verb in (partial(at_work, remote), remote.containers.all):
        with pytest.raises(EngineUnavailable):
            verb()
    plug.put_back()

    assert at_work(remote) == known


@contextmanager
def speaking(newest: list[int]) -> Generator[str]:
    """The address of what answers as an Engine does, and refuses API versions after 1.`newest[-1]`."""

    class Answer(Quiet):
        def do_GET(self) -> None:
            _, version, *_ = self.path.split("/")
            place = self.path.rpartition("/")[2]
            said = {"ApiVersion": f"1.{newest[-1]}", "Version": "1", "ID": "ENGINE", "Id": "none"}
            new = version.startswith("v1.") and int(version.removeprefix("v1.")) > newest[-1]
            known = place in ("version", "info", "none") and not new
            body = json.dumps(said if known else {"message": "client version is too new"}).encode()
            self.send_response(200 if known else 400)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with serving(Answer) as host:
        yield host


def test_an_engine_that_comes_back_as_an_older_version_is_spoken_to_again() -> None:
    newest = [43]
    with speaking(newest) as host, closing(at(host, timeout=3)) as engine:
        assert at_work(engine) == "ENGINE"

        newest.append(41)

        with pytest.raises(EngineError, match="too new"):
            at_work(engine)
        assert at_work(engine) == "ENGINE"


def test_all_verbs_share_a_few_connections(engine_host: str, base_image: str) -> None:
    with Plug(engine_host.removeprefix("unix://")) as plug:
        engine = at(f"tcp://127.0.0.1:{plug.port}")
        for _ in range(5):
            engine.images.get(base_image)
            engine.containers.all()
            at_work(engine)
        # one for the question which version it speaks, one for what every job asks, one for all the rest
        assert plug.carried == 3
        engine.close()


def test_a_connection_that_breaks_is_no_end(
    engine: Engine, remote: Engine, plug: Plug, base_image: str
) -> None:
    with container(engine, "echo begun; sleep 60") as made:
        lines = iter(remote.containers.logs(made))
        assert next(lines).text == "begun"

        plug.pull()

        with pytest.raises(EngineUnavailable):
            next(lines)
