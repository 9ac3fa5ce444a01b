from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dockbus.connection import connect
from dockbus.engine import ContainerSpec, Engine
from dockbus.jobs.running import Network
from dockbus.local import NoEngine, StartFailed, local_engine, local_redis
from dockbus.local.process import running

PRIVATE_ENGINE = """
import sys
from pathlib import Path
from dockbus.engine import Engine
from dockbus.local import private_engine
from dockbus.settings import EngineSettings

with private_engine(Path(sys.argv[1]), print) as address:
    print("answers as", Engine(EngineSettings(host=address)).id)
    assert (Path(sys.argv[1]) / "data").is_dir()
"""


@pytest.fixture
def folder() -> Generator[Path]:
    with tempfile.TemporaryDirectory(prefix="dkb-") as name:
        yield Path(name)


def silent(_: str) -> None:
    pass


def test_redis_keeps_its_data_over_a_restart(folder: Path) -> None:
    with local_redis(folder, silent) as url, connect(url) as client:
        client.set("word", "kept")
    with local_redis(folder, silent) as url, connect(url) as client:
        assert client.get("word") == b"kept"


def test_redis_is_for_its_owner_only_and_gone_at_the_end(folder: Path) -> None:
    folder.chmod(0o755)
    with local_redis(folder, silent) as url:
        socket = Path(url.removeprefix("unix://"))
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        pid = int((folder / "redis.pid").read_text())
    assert not socket.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_redis_of_a_folder_is_joined_and_left_running(folder: Path) -> None:
    with local_redis(folder, silent) as url, connect(url) as client:
        with local_redis(folder, silent) as second:
            assert second == url
        assert client.get("word") is None


def test_redis_starts_once_however_many_start_it_at_the_same_time(folder: Path) -> None:
    together = threading.Barrier(4)

    def pid(_: int) -> str:
        with local_redis(folder, silent):
            together.wait(30)
            return (folder / "redis.pid").read_text()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(pid, range(4)))) == 1


def test_a_server_that_does_not_start_is_quoted(folder: Path) -> None:
    broken = ["sh", "-c", "echo no room left; exit 3"]
    with (
        pytest.raises(StartFailed, match=r"exited with 3(.|\n)*no room left"),
        running(broken, log=folder / "log", answers=lambda: False, timeout=10, grace=1),
    ):
        pass


def test_a_server_that_ignores_sigterm_is_killed(folder: Path) -> None:
    ready = folder / "ready"
    stubborn = ["sh", "-c", f"trap '' TERM; touch {ready}; while :; do sleep 0.1; done"]
    start = time.monotonic()
    with running(stubborn, log=folder / "log", answers=ready.exists, timeout=10, grace=0.3):
        pass
    assert 0.3 < time.monotonic() - start < 30


def test_an_engine_named_by_the_environment_is_never_replaced(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKBUS_ENGINE_HOST", f"unix://{folder}/absent.sock")
    with (
        pytest.raises(NoEngine, match=r"absent\.sock: no such socket"),
        local_engine(folder, silent),
    ):
        pass


@pytest.mark.usefixtures("engine_host")
def test_a_private_engine_is_gone_with_its_folders(folder: Path) -> None:
    if os.geteuid() != 0 or not shutil.which("dockerd"):
        pytest.skip("needs root and dockerd")
    # In a network namespace of its own, or it would take docker0 from the Engine of the other tests.
    command = ["unshare", "--net", sys.executable, "-W", "error", "-c", PRIVATE_ENGINE, str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=90)

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "answers as" in done.stdout
    assert {path.name for path in folder.iterdir()} == {"daemon.json", "dockerd.log"}
    assert str(folder) not in Path("/proc/self/mountinfo").read_text()


def test_the_base_image_runs_a_command(engine: Engine, base_image: str) -> None:
    spec = ContainerSpec(
        name="dockbus-test-base",
        image=base_image,
        labels={"dockbus.test": "1"},
        command=["sh", "-c", "touch /tmp/made && ls /tmp && id -un"],
        user="nobody",
        networks=[Network(name="none")],
    )
    container = engine.containers.create(spec)
    try:
        engine.containers.start(container)
        assert [line.text for line in engine.containers.logs(container)] == ["made", "nobody"]
    finally:
        engine.containers.remove(container, force=True)
