"""An Engine whose disk is full: jobs end with that very reason, and go well again when there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from dockbus import Build, Bus, JobState, Run, RunResult, Settings, Spec, local
from dockbus.engine import Engine
from dockbus.jobs.running import Network
from dockbus.local.image import BASE_IMAGE
from dockbus.settings import BuildSettings, EngineSettings
from e2e.chaos.services import engine_server
from processes import Program
from waiting import wait_for

SIZE = 96  # MB; the Engine keeps about a fifth of it for itself and the base image


@pytest.fixture
def disk(scratch: Path) -> Generator[Path]:
    """A small disk."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system takes root")
    folder = scratch / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}m", "disk", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def engine(disk: Path, scratch: Path) -> Generator[Engine]:
    """An Engine on it."""
    with engine_server(disk / "e") as server:
        engine = Engine(EngineSettings(host=server.host, name="small"))
        local.base_image(engine, scratch, lambda _: None)
        yield engine
        engine.close()


@pytest.fixture
def workers(settings: Settings, engine: Engine, start: Callable[..., Program]) -> None:
    """Workers of it."""
    own = settings.model_copy(
        update={
            "engine": EngineSettings(host=engine.host, name="small"),
            "build": BuildSettings(root=settings.bus.data_dir),
        }
    )
    for kind in ("run", "build"):
        start("worker", kind, settings=own).wait_until_said("taking jobs")


def has_room(disk: Path) -> bool:
    """Whether as much as a container needs can be written; a file system gives room back only when it has noted that."""
    probe = disk / "probe"
    os.sync()
    try:
        probe.write_bytes(os.urandom(4 * 1024**2))
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)
    os.sync()
    return True


@pytest.mark.timeout(400)
def test_a_full_disk_is_named_and_passes(
    bus: Bus, engine: Engine, workers: None, disk: Path, tmp_path: Path
) -> None:
    def error(spec: Spec) -> str:
        job = bus.enqueue(spec, engine="small")
        list(job.logs(follow=True))
        record = job.refresh()
        assert record.state is JobState.FAILED, record
        assert record.error is not None
        return record.error.code

    def code(script: str) -> tuple[int | None, list[str]]:
        job = bus.enqueue(
            Run(image=BASE_IMAGE, command=["sh", "-c", script], networks=[Network(name="none")]),
            engine="small",
        )
        ended = job.wait(timeout=60)
        assert isinstance(ended, RunResult)
        return ended.exit_code, [line.text for line in job.logs() if line.stream == "stderr"]

    # Its own affair. It makes room for its last words: they are kept on the same disk.
    exit_code, said = code(
        "dd if=/dev/zero of=/fill bs=1M 2>/dev/shm/why; rm /fill; cat /dev/shm/why >&2; exit 3"
    )
    assert exit_code == 3
    assert any("No space left on device" in line for line in said)
    assert code("true") == (0, [])

    (tmp_path / "Dockerfile").write_text(f"FROM {BASE_IMAGE}\nCOPY data /data\n")
    (tmp_path / "data").write_bytes(os.urandom(SIZE * 1024**2))
    assert error(Build(context=str(tmp_path), tags=["dockbus-test/full:1"])) == "engine-disk-full"
    # Engine 26.1 forgets to close the file that it could not copy: it keeps its room until Go finds it, within two minutes.
    wait_for(lambda: has_room(disk), 150, "the room that the build had taken")

    filler = disk / "filler"
    with filler.open("wb") as file:
        try:
            while file.write(bytes(1024**2)):
                pass
        except OSError:
            pass
    try:
        assert error(Run(image=BASE_IMAGE, command=["true"])) == "engine-disk-full"
    finally:
        filler.unlink()
        wait_for(lambda: has_room(disk), 60, "the room to be given back")
    assert code("true") == (0, [])
    assert engine.containers.all() == []
