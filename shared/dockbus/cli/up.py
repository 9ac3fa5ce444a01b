"""`dockbus up`: the whole bus on one machine in one terminal, until Ctrl-C.

Redis and, where none answers, a private Engine are started here; the API, the event producer, a worker
per queue and the metrics worker run as the same commands one would start by hand.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from dockbus import programs
from dockbus.errors import MissingExtra, SettingsError
from dockbus.jobs import Queue
from dockbus.logs import are_objects, log_to_stderr
from dockbus.settings import Settings
from dockbus.supervisor import Supervisor

_COLOURS = (
    "cyan",
    "green",
    "yellow",
    "blue",
    "magenta",
    "bright_cyan",
    "bright_green",
    "bright_yellow",
)
_console = Console(stderr=True, highlight=False)
log = logging.getLogger(__name__)


def up(
    rules: Annotated[
        Path | None,
        typer.Option(exists=True, help="Rule file or folder; default: DOCKBUS_WATCH_RULES."),
    ] = None,
    schedules: Annotated[
        Path | None,
        typer.Option(exists=True, help="Schedule file or folder; default: DOCKBUS_SCHEDULE_PATH."),
    ] = None,
) -> None:
    """Run the whole bus on this machine, until Ctrl-C."""
    settings = Settings.from_env()
    if settings.log.format == "json":
        log_to_stderr(settings.log, program="up")
    stopped = threading.Event()

    def stop(_number: int, _frame: object) -> None:
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    with running(settings, say=tell, rules=rules, schedules=schedules) as whole:
        _welcome(whole)
        stopped.wait()
        tell("dockbus", "stopping (jobs that run get some time to end)")


@contextlib.contextmanager
def running(
    settings: Settings,
    *,
    say: Callable[[str, str], None],
    rules: Path | None = None,
    schedules: Path | None = None,
) -> Generator[Settings]:
    """The whole bus, as long as the block runs; yields the settings with which to reach it.

    Raises:
        MissingExtra: a part of dockbus is not installed.
        SettingsError: a port is taken.
        NoEngine: there is no Engine and none can be started here.
    """
    try:
        from dockbus import local  # noqa: PLC0415  it needs the docker SDK
        from dockbus.engine import Engine  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtra("all", error.name or "") from error
    _check_ports(settings)
    home = settings.bus.data_dir
    with contextlib.ExitStack() as stack:
        host = stack.enter_context(
            local.local_engine(home / "engine", lambda text: say("engine", text))
        )
        private = host.startswith(f"unix://{home}")
        if not settings.redis.url:
            stack.enter_context(local.local_redis(home, lambda text: say("redis", text)))
        settings = settings.model_copy(
            update={"engine": settings.engine.model_copy(update={"host": host})}
        )
        if private:
            engine = Engine(settings.engine)
            local.base_image(engine, home / "engine", lambda text: say("image", text))
            engine.close()
        settings.bus_key()
        settings.api_token()
        env = os.environ | {"DOCKBUS_ENGINE_HOST": host, "PYTHONUNBUFFERED": "1"}
        env.pop("DOCKBUS_METRICS_OWN_PORT", None)  # all of them would have the same
        if rules:
            env["DOCKBUS_WATCH_RULES"] = str(rules.resolve())
        if schedules:
            env["DOCKBUS_SCHEDULE_PATH"] = str(schedules.resolve())
        supervisor = stack.enter_context(Supervisor(say))
        for name, arguments in _programs(settings, say):
            supervisor.start(name, [sys.executable, "-m", "dockbus", *arguments], env)
        if env.get("DOCKBUS_SCHEDULE_PATH"):
            supervisor.start("schedule", [sys.executable, "-m", "dockbus", "schedule"], env)
        _wait_for_api(settings)
        yield settings


def _programs(
    settings: Settings, say: Callable[[str, str], None]
) -> Generator[tuple[str, list[str]]]:
    yield "api", ["api"]
    yield "watch", ["watch"]
    yield "metrics", ["metrics"]
    for queue in Queue:
        if queue is Queue.SCAN and programs.find(settings.scan.trivy) is None:
            say(
                "scan",
                "Trivy is not installed, so scan jobs wait in their queue; `dockbus doctor` says what to do",
            )
            continue
        yield queue.value, ["worker", queue.value]


def _check_ports(settings: Settings) -> None:
    for group, (host, port) in {
        "API": (settings.api.host, settings.api.port),
        "METRICS": (settings.metrics.host, settings.metrics.port),
    }.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise SettingsError(
                    f"cannot listen on {host}:{port} ({error.strerror}); choose another with DOCKBUS_{group}_PORT"
                ) from error


def _wait_for_api(settings: Settings, timeout: float = 30.0) -> None:
    """Wait until the API answers; if it does not, its own lines have said why."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection(settings.api.host, settings.api.port, timeout=1)
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.1)


def tell(name: str, line: str) -> None:
    """Show a line of one of the programs, or hand it on where they say objects."""
    if are_objects():
        if line.startswith("{"):  # a program's own
            sys.stderr.write(f"{line}\n")
        else:
            log.info("%s: %s", name, line.strip())
        return
    colour = _COLOURS[sum(name.encode()) % len(_COLOURS)]
    _console.print(
        Text(f"{name:>9} │ ", style=colour).append(line, style="default"), soft_wrap=True
    )


def _welcome(settings: Settings) -> None:
    api = f"http://{settings.api.host}:{settings.api.port}"
    token = settings.bus.data_dir / "token"
    private = settings.engine.host.startswith(f"unix://{settings.bus.data_dir}")
    image = "dockbus/base:1" if private else "busybox"
    for line in (
        "dockbus is up.",
        f"  HTTP API    {api}/docs",
        f"  token       {token}"
        if not settings.api.token.get_secret_value()
        else "  token       DOCKBUS_API_TOKEN",
        f"  metrics     http://{settings.metrics.host}:{settings.metrics.port}/metrics",
        f"  Engine      {settings.engine.host}"
        + (" (private: its images and containers go when this stops)" if private else ""),
        f"  try it      in another terminal: dockbus run {image} -- echo hello",
    ):
        tell("dockbus", line)
