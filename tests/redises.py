"""Redis servers of a test's own, on loopback ports: a primary with replicas, Sentinels over it, one that speaks TLS.

They are those of the embedded Redis, but for TLS: that wheel is built without it, so Debian's is unpacked. Nothing is installed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

import debian
from dockbus.errors import MissingTool
from dockbus.local.redis import _binary  # pyright: ignore[reportPrivateUsage]
from prometheus_server import free_port
from waiting import wait_for

NAME = "shop"
"""What Sentinels call the primary."""
PASSWORD, GUARD = "of-redis", "of-sentinels"
LIBRARIES = ("libatomic1", "libjemalloc2", "liblzf1")
"""What Debian's Redis needs beyond a bare machine."""


@dataclass
class Server:
    """One that runs; `ask` is a connection to it."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path
    ask: Any

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def socket(self) -> str:
        return str(self.log.parent / "socket")

    def kill(self) -> None:
        """As when its machine is lost."""
        self.process.kill()
        self.process.wait()

    def info(self, key: str) -> Any:
        return self.ask.info("replication").get(key)


class Servers:
    """All those of one test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Server] = []

    def start(
        self,
        *lines: str,
        sentinel: bool = False,
        program: list[str] | None = None,
        env: dict[str, str] | None = None,
        **asking: Any,
    ) -> Server:
        """One with these lines in its configuration; `asking` is how to connect to it."""
        folder = self._folder / str(len(self._started))
        folder.mkdir()
        port = free_port()
        config = folder / "redis.conf"
        own = ["bind 127.0.0.1", f"dir {folder}", "loglevel notice"]
        if not sentinel:
            own += [f"unixsocket {folder}/socket", 'save ""']
        if not any(line.startswith("tls-port ") for line in lines):
            own.append(f"port {port}")
        config.write_text("\n".join([*own, *(line.replace("%PORT%", str(port)) for line in lines)]))
        log = folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*(program or [_binary()]), str(config), *(["--sentinel"] if sentinel else [])],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
            )
        ask: Any = redis.Redis(port=port, decode_responses=True, socket_timeout=5, **asking)
        server = Server(port, process, log, ask)
        self._started.append(server)

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            with contextlib.suppress(redis.ConnectionError, redis.TimeoutError):
                return bool(ask.ping())
            return False

        wait_for(answers, what=f"a Redis at {port}")
        return server

    def replica(self, of: int, *lines: str, **asking: Any) -> Server:
        """A replica of the primary at that port, once it has all of it."""
        server = self.start(f"replicaof 127.0.0.1 {of}", *lines, **asking)
        wait_for(lambda: server.info("master_link_status") == "up", what="the first copy")
        return server

    def stop(self) -> None:
        for server in self._started:
            server.ask.close()
            server.kill()


def wait_until_copied(primary: Server, replicas: Sequence[Server]) -> None:
    """Until they have all that it has been told by now."""
    told = primary.info("master_repl_offset")
    wait_for(lambda: all(one.info("slave_repl_offset") >= told for one in replicas), what="copies")


@contextlib.contextmanager
def servers() -> Generator[Servers]:
    """Starts servers; none outlives the block."""
    with tempfile.TemporaryDirectory(prefix="dkb-") as folder:
        started = Servers(Path(folder))
        try:
            yield started
        finally:
            started.stop()


@dataclass(frozen=True)
class Watched:
    """A primary with two replicas, over which three Sentinels watch."""

    servers: Servers
    primary: Server
    replicas: tuple[Server, ...]
    sentinels: tuple[Server, ...]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in self.sentinels)
        return f"redis+sentinel://{hosts}/{NAME}?sentinel_password={GUARD}"

    def port(self) -> int:
        """Of the primary, as one of the Sentinels has it."""
        return int(self.sentinels[0].ask.sentinel_get_master_addr_by_name(NAME)[1])

    def wait_until_copied(self) -> None:
        """Until the replicas have all that the primary has been told."""
        wait_until_copied(self.primary, self.replicas)

    def fail_over(self) -> None:
        """Kill the primary, as when its machine is lost; returns when there is a new one."""
        before = self.port()
        self.primary.kill()
        wait_for(lambda: self.port() != before, what="another primary")


@contextlib.contextmanager
def watched() -> Generator[Watched]:
    """A primary that needs one replica at least, with a password; its Sentinels have another."""
    lines = (f"requirepass {PASSWORD}", f"masterauth {PASSWORD}", "repl-diskless-sync-delay 0")
    with servers() as started:
        least = ("min-replicas-to-write 1", "min-replicas-max-lag 10")
        primary = started.start(*lines, *least, password=PASSWORD)
        replicas = tuple(
            started.replica(primary.port, *lines, *least, password=PASSWORD) for _ in range(2)
        )
        over = (
            f"sentinel monitor {NAME} 127.0.0.1 {primary.port} 2",
            f"sentinel auth-pass {NAME} {PASSWORD}",
            f"sentinel down-after-milliseconds {NAME} 700",
            f"sentinel failover-timeout {NAME} 5000",
            f"sentinel sentinel-pass {GUARD}",
            f"requirepass {GUARD}",
        )
        sentinels = tuple(started.start(*over, sentinel=True, password=GUARD) for _ in range(3))
        for each in sentinels:  # only then do they agree on anything
            wait_for(lambda each=each: _knows_all(each), what="Sentinels to meet")  # type: ignore[misc]
        yield Watched(started, primary, replicas, sentinels)


def _knows_all(sentinel: Server) -> bool:
    known = sentinel.ask.sentinel_master(NAME)
    return bool(known["num-other-sentinels"] == 2 and known["num-slaves"] == 2)


def with_tls(scratch: Path, say: Callable[[str], None]) -> tuple[list[str], dict[str, str]]:
    """A server that was built with TLS: how it is called, and its environment.

    Raises:
        MissingTool: this is no Debian, or its mirror gives no such package.
    """
    if not shutil.which("apt-get"):
        raise MissingTool("a Redis with TLS can be had on Debian alone")
    folder = scratch / "redis-with-tls"
    folder.mkdir(exist_ok=True)
    packages = ("redis-tools", *LIBRARIES)
    fetch = ["apt-get", "-o", "APT::Sandbox::User=root", "--quiet", "download", *packages]
    say(f"fetching {', '.join(packages)} of Debian")
    if not debian._done(fetch, folder) and os.geteuid() == 0:  # pyright: ignore[reportPrivateUsage]
        debian._done(["apt-get", "--quiet", "update"], folder)  # pyright: ignore[reportPrivateUsage]
        debian._done(fetch, folder)  # pyright: ignore[reportPrivateUsage]
    for archive in folder.glob("*.deb"):
        debian._done(["dpkg", "-x", str(archive), str(folder)], folder)  # pyright: ignore[reportPrivateUsage]
    # It is the server itself, which goes by the name that it is called by.
    program = folder / "usr" / "bin" / "redis-check-rdb"
    if not program.exists():
        raise MissingTool("Debian's package redis-tools did not give redis-check-rdb")
    server = folder / "redis-server"
    server.symlink_to(program)
    found = ":".join(str(at) for at in sorted(folder.glob("usr/lib/*")))
    return [str(server)], {**os.environ, "LD_LIBRARY_PATH": found}
