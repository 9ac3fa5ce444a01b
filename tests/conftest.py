"""The services that tests stand on, each started when the first test asks for it.

Unit tests ask for none. A service that cannot be had fails the test in CI and skips it on a laptop.
Redis is always one of the session's own, never DOCKBUS_REDIS_URL: it is flushed after each test.
On the Engine, which may be yours, only what carries the tests' own marks is ever removed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis

import registries
import trixie
from commandline import CommandLine
from dockbus import local
from dockbus.bus import Bus
from dockbus.connection import connect
from dockbus.engine import Engine, EngineError
from dockbus.errors import DockbusError, MissingTool
from dockbus.jobs.base import LABEL_JOB
from dockbus.local.image import BASE_IMAGE
from dockbus.settings import BusSettings, EngineSettings, RedisSettings, Settings
from missing import missing, service
from processes import Program
from registry_front import Front, front
from tunnel import tunnel

LABEL_TEST = "dockbus.test"
"""Tests put this label, with the value 1, on each container and image that they make."""

for _name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # they would win over an Engine's own CA
    os.environ.pop(_name, None)

SHARED_ENGINE = "TESTS_SHARED_ENGINE"
"""Set for the processes of a parallel run, which share one Engine; each has a Redis of its own."""

Say = Callable[[str], None]


def pytest_configure(config: pytest.Config) -> None:
    """In a parallel run, start the Engine before the processes that share it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so it is in what a shell runs beside it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not getattr(config.option, "numprocesses", None) or hasattr(config, "workerinput"):
        return
    stack = contextlib.ExitStack()
    config.add_cleanup(stack.close)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dkb-")))
    with contextlib.suppress(DockbusError):  # each test that needs it then says what is wrong
        os.environ[SHARED_ENGINE] = stack.enter_context(_swept_engine(folder, print))


@pytest.fixture(scope="session")
def say(pytestconfig: pytest.Config) -> Say:
    """Tells whoever watches the test run what is being started, past pytest's capture."""
    capture: Any = pytestconfig.pluginmanager.get_plugin("capturemanager")
    reporter: Any = pytestconfig.pluginmanager.get_plugin("terminalreporter")

    def write(text: str) -> None:
        with capture.global_and_fixture_disabled():
            reporter.ensure_newline()
            reporter.write_line(text)

    return write


@pytest.fixture(scope="session")
def scratch() -> Generator[Path]:
    """A folder of the session with a path short enough for sockets, which pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="dkb-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def engine_host(scratch: Path, say: Say) -> Generator[str]:
    if shared := os.environ.get(SHARED_ENGINE):
        yield shared
        return
    with service(_swept_engine(scratch / "engine", say)) as address:
        yield address


@pytest.fixture(scope="session")
def engine(engine_host: str) -> Generator[Engine]:
    engine = Engine(EngineSettings(host=engine_host))
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def base_image(engine: Engine, scratch: Path, say: Say) -> str:
    try:
        return local.base_image(engine, scratch, say)
    except DockbusError as error:
        missing(error)


@pytest.fixture(scope="session")
def registry(scratch: Path, say: Say) -> Generator[str]:
    """A real registry on loopback, `127.0.0.1:PORT`: Debian's docker-registry."""
    with service(registries.serve(scratch / "registry", say)) as address:
        yield address


@pytest.fixture(scope="session")
def guarded_registry(scratch: Path, say: Say) -> Generator[registries.PrivateRegistry]:
    """A registry that asks for a login, over plain HTTP."""
    served = registries.serve_private(scratch / "guarded-registry", say, tls=False)
    with service(served) as private:
        yield private


@pytest.fixture(scope="session")
def private_registry(scratch: Path, say: Say) -> Generator[registries.PrivateRegistry]:
    """A registry that asks for a login, over TLS with a certificate that only its `ca` vouches for."""
    served = registries.serve_private(scratch / "private-registry", say, tls=True)
    with service(served) as private:
        yield private


@pytest.fixture(scope="module")
def strict_engine(
    private_registry: registries.PrivateRegistry, scratch: Path, say: Say
) -> Generator[Engine]:
    """An Engine of its own that has `private_registry` as `registry.test` and checks its certificate."""
    if os.geteuid() != 0 or not shutil.which("dockerd"):
        missing(MissingTool("an Engine that checks certificates takes root and `dockerd`"))
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(tunnel(private_registry.address))
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("HTTPS_PROXY", proxy)
            started = local.private_engine(scratch / "strict-engine", say)
            address = stack.enter_context(service(started))
        engine = Engine(EngineSettings(host=address))
        stack.callback(engine.close)
        yield engine


@pytest.fixture(scope="session")
def buildx(say: Say) -> Path:
    """The program docker-buildx, which needs no `docker` beside it: `docker-buildx build …`."""
    try:
        return trixie.program("docker-buildx", say)
    except DockbusError as error:
        missing(error)


@pytest.fixture
def registry_front(registry: str) -> Generator[Front]:
    """An unreliable front before `registry`."""
    with front(registry) as told:
        yield told


@pytest.fixture(scope="session")
def redis_url(scratch: Path, say: Say) -> Generator[str]:
    with service(local.local_redis(scratch / "redis", say)) as url:
        with connect(url) as client:  # nobody kills this one, and a thousand syncs take their time
            client.config_set("appendfsync", "everysec")  # pyright: ignore[reportUnknownMemberType]
        yield url


@pytest.fixture
def redis(redis_url: str) -> Generator[Redis]:
    client = connect(redis_url)
    yield client
    client.flushdb()  # pyright: ignore[reportUnknownMemberType]
    client.close()


@pytest.fixture
def settings(redis_url: str, engine_host: str, tmp_path: Path) -> Settings:
    return Settings(
        redis=RedisSettings(url=redis_url),
        engine=EngineSettings(host=engine_host),
        bus=BusSettings(key=SecretStr(secrets.token_hex(32)), data_dir=tmp_path),
    )


@pytest.fixture
def bus(settings: Settings, redis: Redis) -> Generator[Bus]:  # with `redis`, so that it is flushed
    with Bus(settings) as bus:
        yield bus


@pytest.fixture
def engineless_bus(redis_url: str, redis: Redis, tmp_path: Path) -> Generator[Bus]:
    """A bus for tests of what needs Redis alone."""
    settings = Settings(
        redis=RedisSettings(url=redis_url),
        bus=BusSettings(key=SecretStr(secrets.token_hex(32)), data_dir=tmp_path),
    )
    with Bus(settings) as bus:
        yield bus


@pytest.fixture
def dockbus(engineless_bus: Bus) -> CommandLine:
    """The command line, on the engineless bus."""
    settings = engineless_bus.settings
    return CommandLine(
        DOCKBUS_REDIS_URL=settings.redis.url,
        DOCKBUS_BUS_KEY=settings.bus.key.get_secret_value(),
        DOCKBUS_BUS_DATA_DIR=str(settings.bus.data_dir),
    )


@pytest.fixture
def start(
    settings: Settings,
    tmp_path: Path,
    redis: Redis,  # so that programs have ended when it is flushed
) -> Generator[Callable[..., Program]]:
    """Starts a dockbus command, such as `start("worker", "run")`, and stops it after the test."""
    started: list[Program] = []

    def run(*arguments: str, settings: Settings = settings) -> Program:
        program = Program(list(arguments), settings, tmp_path / f"{len(started)}.log")
        started.append(program)
        return program

    yield run
    codes = [program.stop() for program in started]
    for program, code in zip(started, codes, strict=True):
        if code not in (0, -9):  # -9: the test killed it
            print(f"--- {program.log.name} ended with {code}:\n{program.log.read_text()}")


@contextlib.contextmanager
def _swept_engine(folder: Path, say: Say) -> Generator[str]:
    """An Engine for the session; at its end it must be as clean as before."""
    with local.local_engine(folder, say) as address:
        yield address
        engine = Engine(EngineSettings(host=address))
        leaked = _sweep(engine)
        engine.close()
        assert not leaked, f"tests left containers behind (removed now): {', '.join(leaked)}"


def _sweep(engine: Engine) -> list[str]:
    """Remove what tests left on the Engine; returns the names of containers they should have removed.

    Jobs that tests ran are told from a real bus' jobs on the same Engine by their image.
    """
    for container in engine.containers.all(labels={LABEL_JOB: ""}):
        if container.image == BASE_IMAGE and LABEL_TEST not in container.labels:
            engine.containers.remove(container.id, force=True)
    leaked = engine.containers.all(labels={LABEL_TEST: "1"})
    for container in leaked:
        engine.containers.remove(container.id, force=True)
    for image in engine.images.all():
        if image.labels.get(LABEL_TEST) == "1":
            for tag in image.tags or (image.id,):
                with contextlib.suppress(EngineError):  # a later layer may still stand on it
                    engine.images.remove(tag)
    return [container.name for container in leaked]
