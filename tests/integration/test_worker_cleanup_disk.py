"""Cleanup by the disk and of the build cache, on an Engine of its own: neither can be bounded to what a test has made."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from dockbus import Bus, Cleanup, CleanupResult, Settings
from dockbus.engine import DiskUnknown, Engine
from dockbus.errors import DockbusError
from dockbus.jobs.cleanup import Reason
from dockbus.local import private_engine
from dockbus.settings import EngineSettings
from leftovers import Leftovers, leftovers
from processes import Program

Start = Callable[..., Program]
Clean = Callable[..., CleanupResult]
MB = 1024**2
DISK = 100 * MB


@pytest.fixture(scope="module")
def own_engine() -> Generator[Engine]:
    """An Engine whose disk is small: 100 MB of memory."""
    if os.geteuid() != 0 or not shutil.which("dockerd"):
        pytest.skip("an Engine with a disk of its own takes root and `dockerd`")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dkb-")))
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)], check=True
        )
        stack.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=True)
        try:
            address = stack.enter_context(private_engine(folder / "e", print))
        except DockbusError as error:
            pytest.skip(str(error))
        engine = Engine(EngineSettings(host=address))
        stack.callback(engine.close)
        yield engine


@pytest.fixture
def left(own_engine: Engine) -> Generator[Leftovers]:
    with leftovers(own_engine) as made:
        yield made


@pytest.fixture
def clean(bus: Bus, start: Start, settings: Settings, own_engine: Engine) -> Clean:
    """Carries out a cleanup job on that Engine, by a worker."""
    here = settings.model_copy(update={"engine": EngineSettings(host=own_engine.host)})
    start("worker", "cleanup", settings=here).wait_until_said("taking jobs")

    def run(**fields: Any) -> CleanupResult:
        spec = Cleanup.model_validate({"containers": False, **fields})
        ended = bus.enqueue(spec).wait(timeout=60)
        assert isinstance(ended, CleanupResult)
        return ended

    return run


def images(left: Leftovers, bus: Bus, count: int, size: int) -> list[str]:
    """So many images of so many bytes, the first used longest ago."""
    made = [left.image(left.tag(f"i{n}:1"), size=size) for n in range(count)]
    bus.redis.zadd("dockbus:used:local", {image: 1000.0 + n for n, image in enumerate(made)})
    return made


def removed(result: CleanupResult) -> list[str]:
    return [item.id for item in result.items if item.outcome != "skipped"]


def test_images_used_longest_ago_go_until_the_disk_is_at_its_low_mark(
    clean: Clean, left: Leftovers, bus: Bus
) -> None:
    made = images(left, bus, 6, 10 * MB)
    full = left.engine.disk.file_system()
    assert 60 * MB < full.used < DISK
    marks = {"when_disk_over": full.percent - 1, "until_disk_under": full.percent - 25}

    untouched = clean(images="unused", when_disk_over=full.percent + 5)
    dry = clean(images="unused", **marks, dry_run=True)
    wet = clean(images="unused", **marks)

    assert (untouched.items, untouched.reclaimed) == ([], 0)
    assert untouched.disk_before == pytest.approx(full.percent, abs=1)
    assert removed(dry) == removed(wet) == made[:3]
    assert wet.skipped == {Reason.ROOM: 3}
    after = left.engine.disk.file_system()
    assert after.percent < marks["until_disk_under"]
    assert wet.disk_after == pytest.approx(after.percent, abs=1)
    assert dry.disk_after == pytest.approx(after.percent, abs=2)
    assert 30 * MB <= wet.reclaimed < 31 * MB


def test_what_is_measured_counts_layers_that_the_removed_images_shared(
    clean: Clean, left: Leftovers
) -> None:
    base = left.image(left.tag("base:1"), size=5 * MB)
    for word in ("one:1", "two:1"):
        left.child(base, left.tag(word))

    summed = clean(images="unused", labels=left.labels, dry_run=True)
    measured = clean(images="unused", labels=left.labels, measure=True)

    assert len(removed(summed)) == len(removed(measured)) == 3
    assert summed.reclaimed < MB
    assert 5 * MB <= measured.reclaimed < 6 * MB


def test_build_cache_goes_by_use_and_size(
    clean: Clean, left: Leftovers, buildx: Path, tmp_path: Path
) -> None:
    def cached() -> list[int]:
        (usage,) = left.engine.disk.usage({"build-cache"})
        return sorted(record.size for record in usage.build_cache)

    for n in range(2):
        (tmp_path / f"blob{n}").write_bytes(os.urandom(MB))
        (tmp_path / "Dockerfile").write_text(f"FROM scratch\nCOPY blob{n} /\n")
        subprocess.run(
            [buildx, "build", "--output", "type=cacheonly", "."],
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "DOCKER_HOST": left.engine.host,
                "HOME": str(tmp_path),
            },
            check=True,
            capture_output=True,
        )
    before = cached()
    assert sum(before) > 2 * MB

    unused = clean(build_cache={"unused_for": "1h"})
    assert (unused.items, cached()) == ([], before)

    some = clean(build_cache={"keep_bytes": sum(before) - MB // 2})
    assert (some.items[0].type, some.items[0].outcome) == ("build cache", "removed")
    assert 0 < sum(cached()) < sum(before)

    rest = sum(cached())
    dry, wet = clean(build_cache={}, dry_run=True), clean(build_cache={})
    assert (dry.reclaimed, wet.reclaimed) == (rest, rest)
    assert cached() == []


def test_without_a_view_of_the_engines_disk_a_job_that_goes_by_it_is_refused(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = Engine(EngineSettings(host="tcp://127.0.0.1:1"))
    with pytest.raises(DiskUnknown, match=r"tcp://127.0.0.1:1 may be on another machine"):
        far.disk.file_system()

    info = engine.api.info() | {"DockerRootDir": "/nowhere/docker"}
    monkeypatch.setattr(engine.api, "info", lambda: info)  # as to a worker in a container
    with pytest.raises(DiskUnknown, match=r"/nowhere/docker: No such file") as caught:
        engine.disk.file_system()
    assert "when_disk_over" in caught.value.advice
    assert not caught.value.retryable
