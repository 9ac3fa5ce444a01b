"""`dockbus up` as its user meets it: everything answers, another program finds it, Ctrl-C leaves nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from dockbus.engine import Engine
from waiting import wait_for

ENQUEUE = """
from dockbus import Bus, Run
job = Bus.connect().enqueue(
    Run(image="dockbus/base:1", command=["echo", "hello"], networks=["none"], labels={"dockbus.test": "1"})
)
print([line.text for line in job.logs(follow=True) if line.stream == "stdout"])
print(job.wait(timeout=60).exit_code)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def folder() -> Generator[Path]:
    """A data folder with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="dkb-up-") as name:
        yield Path(name) / "data"


@pytest.fixture
def env(folder: Path, engine_host: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("DOCKBUS_", "DOCKER_"))}
    return clean | {
        "DOCKBUS_BUS_DATA_DIR": str(folder),
        "DOCKBUS_ENGINE_HOST": engine_host,
        "DOCKBUS_API_PORT": str(free_port()),
        "DOCKBUS_METRICS_PORT": str(free_port()),
        "DOCKBUS_WORKER_DRAIN": "1",
    }


@contextmanager
def up(env: dict[str, str], log: Path) -> Generator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dockbus", "up"],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(
            lambda: "dockbus is up" in log.read_text() or process.poll() is not None,
            60,
            f"dockbus to be up; see {log}",
        )
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def family(folder: Path) -> dict[int, str]:
    """The processes that live by this data folder: their ids and command lines."""
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        try:
            environment = (entry / "environ").read_bytes() if entry.name.isdigit() else b""
            command = (entry / "cmdline").read_bytes() if environment else b""
        except OSError:
            continue  # it has ended
        if f"DOCKBUS_BUS_DATA_DIR={folder}\0".encode() in environment:
            found[int(entry.name)] = command.replace(b"\0", b" ").decode()
    return found


def asked(url: str, token: str) -> int:
    """The status of the answer to a request with this token; 0 if there is none."""
    bearer = {"Authorization": f"Bearer {token}"} if token else {}
    with contextlib.suppress(httpx.TransportError), httpx.Client(trust_env=False) as client:
        return client.get(url, headers=bearer).status_code
    return 0


def test_up_serves_restarts_what_dies_and_leaves_nothing(
    env: dict[str, str], folder: Path, engine: Engine, base_image: str, tmp_path: Path
) -> None:
    log = tmp_path / "up.log"
    jobs = f"http://127.0.0.1:{env['DOCKBUS_API_PORT']}/v1/jobs"
    with up(env, log) as process:
        assert "dockbus is up" in log.read_text(), log.read_text()
        assert {(folder / name).stat().st_mode & 0o777 for name in ("key", "token")} == {0o600}
        token = (folder / "token").read_text()
        assert [asked(jobs, word) for word in (token, "wrong", "")] == [200, 401, 401]

        only = {k: v for k, v in env.items() if not k.startswith("DOCKBUS_")}
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", ENQUEUE],
            env=only | {"DOCKBUS_BUS_DATA_DIR": str(folder)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout == "['hello']\n0\n", done.stderr

        [api] = [pid for pid, command in family(folder).items() if command.endswith("dockbus api ")]
        os.kill(api, signal.SIGKILL)
        wait_for(
            lambda: any(
                pid != api and command.endswith("dockbus api ")
                for pid, command in family(folder).items()
            ),
            20,
            "the API to come back",
        )
        wait_for(lambda: asked(jobs, token) == 200, 60, "it to answer again")
        assert "ended with code -9; starting again" in log.read_text()

        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0, log.read_text()

    assert family(folder) == {}
    assert not (folder / "redis.sock").exists()
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("which", ["API", "METRICS"])
def test_a_port_that_is_taken_is_one_clear_line(
    env: dict[str, str], folder: Path, tmp_path: Path, which: str
) -> None:
    log = tmp_path / "up.log"
    taken = ("127.0.0.1", int(env[f"DOCKBUS_{which}_PORT"]))
    with socket.create_server(taken), up(env, log) as process:
        assert process.wait(timeout=60) != 0

    [line] = log.read_text().splitlines()
    assert f"choose another with DOCKBUS_{which}_PORT" in line
    assert family(folder) == {}
