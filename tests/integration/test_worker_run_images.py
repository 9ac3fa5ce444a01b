"""The image that a run job uses is the one that was pulled, and scanned where the job asks for that."""

from __future__ import annotations

import secrets
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

import trivy_db
import trivy_images
from dockbus import Bus, Settings
from dockbus.engine import ContainerSpec, Engine
from dockbus.engine.containers import Containers
from dockbus.jobs import LABEL_JOB, Run
from dockbus.settings import ScanSettings
from dockbus_workers.context import JobContext
from dockbus_workers.handlers.run import run
from dockbus_workers.scanning.errors import ScanRequired
from registry_jobs import context
from runs import shell


@pytest.fixture
def scanning(settings: Settings, tmp_path: Path) -> Settings:
    """With a database to scan with."""
    cache = str(trivy_db.copy(tmp_path / "trivy"))
    return settings.model_copy(update={"scan": ScanSettings(cache_dir=cache, offline=True)})


@pytest.fixture
def name() -> str:
    return f"run-test/{secrets.token_hex(4)}:1"


@pytest.fixture
def published(engine: Engine, base_image: str, registry: str) -> Generator[str]:
    """The base image by a name that only the registry and the Engine have; it is gone from the Engine after the test."""
    name = f"{registry}/run-test/{secrets.token_hex(4)}:1"
    engine.images.tag(base_image, name)
    for _ in engine.images.push(name):
        pass
    yield name
    engine.images.remove(name)


@pytest.fixture
def meddled(monkeypatch: pytest.MonkeyPatch) -> Generator[list[Any]]:
    """What is to happen just before a container is made, the first time first."""
    steps: list[Any] = []
    create = Containers.create

    def meddle(self: Containers, spec: ContainerSpec) -> str:
        if steps:
            steps.pop(0)()
        return create(self, spec)

    monkeypatch.setattr(Containers, "create", meddle)
    yield steps
    assert not steps


def carried_out(spec: Run, ctx: JobContext) -> Any:
    """The result of a handler, with what it leaves removed as a worker would."""
    try:
        return run(spec, ctx)
    finally:
        ctx.flush()
        for remove in ctx.remains:
            remove()


def told(bus: Bus, ctx: JobContext) -> str:
    return "\n".join(line.text for line in bus.job(ctx.job).logs())


def test_an_image_that_is_removed_before_its_container_is_made_is_pulled_again(
    bus: Bus, engine: Engine, published: str, meddled: list[Any]
) -> None:
    spec = shell("echo ran", image=published)
    ctx = context(bus, engine, spec)
    meddled.append(lambda: engine.images.remove(published))

    assert carried_out(spec, ctx).exit_code == 0
    assert told(bus, ctx).count("pulling ") == 1


def test_an_image_that_is_removed_a_moment_after_its_use_is_pulled_again(
    bus: Bus, engine: Engine, published: str
) -> None:
    """A job like the one before does not look for its image: the Engine says that it is gone."""
    spec = shell("echo ran", image=published)

    def pulls() -> int:
        ctx = context(bus, engine, spec)
        assert carried_out(spec, ctx).exit_code == 0
        return told(bus, ctx).count("pulling ")

    assert [pulls(), pulls()] == [0, 0]
    engine.images.remove(published)
    assert pulls() == 1


def test_a_container_of_another_image_is_not_started(
    bus: Bus, engine: Engine, base_image: str, published: str, meddled: list[Any]
) -> None:
    spec = shell("echo ran", image=published, pull="always")
    ctx = context(bus, engine, spec)
    changes = ["LABEL dockbus.test=1", 'CMD ["x"]']

    def move() -> None:
        engine.images.remove(published)
        rootfs = trivy_images.tar({"other": "x"})
        other.append(engine.images.import_rootfs(rootfs, published, changes))

    other: list[str] = []
    meddled.append(move)

    ended = carried_out(spec, ctx)
    assert ended.exit_code == 0
    assert ended.image_id == engine.images.get(base_image).id
    assert told(bus, ctx).count("has become another image meanwhile") == 1
    assert other
    assert not engine.containers.all(labels={LABEL_JOB: ctx.job})


def test_an_image_that_does_not_pass_its_scan_is_not_run(
    scanning: Settings, redis: Any, engine: Engine
) -> None:
    bad, good = (f"run-test/{secrets.token_hex(4)}:1" for _ in range(2))
    with (
        Bus(scanning) as bus,
        trivy_images.image(engine, "debian", bad),
        trivy_images.image(engine, "clean", good) as passed,
    ):
        gate = {"require_scan": {"fail_on": "HIGH"}, "command": ["/none"], "pull": "never"}
        refused = shell("", image=bad, **gate)
        ctx = context(bus, engine, refused)
        with pytest.raises(ScanRequired, match=r"CVE|HIGH|CRITICAL"):
            carried_out(refused, ctx)
        assert not engine.containers.all(labels={LABEL_JOB: ctx.job})

        taken = shell("", image=good, **gate)
        ctx = context(bus, engine, taken)
        with pytest.raises(Exception, match="/none"):  # it has been started: it holds no program
            carried_out(taken, ctx)
        assert passed[7:19] in told(bus, ctx)
        assert not engine.containers.all(labels={LABEL_JOB: ctx.job})


def test_a_container_that_was_made_but_never_started_is_not_started_unscanned(
    scanning: Settings, redis: Any, engine: Engine
) -> None:
    """As an attempt leaves it that dies between the making and the look at what image it was made from."""
    bad = f"run-test/{secrets.token_hex(4)}:1"
    with Bus(scanning) as bus, trivy_images.image(engine, "debian", bad):
        spec = shell(
            "", image=bad, pull="never", command=["/none"], require_scan={"fail_on": "HIGH"}
        )
        ctx = context(bus, engine, spec)
        labels = {LABEL_JOB: ctx.job, "dockbus.order": ctx.seal, "dockbus.test": "1"}
        made = spec.model_copy(update={"name": f"dockbus-{ctx.job}", "labels": labels})
        engine.containers.create(made)

        with pytest.raises(ScanRequired):
            carried_out(spec, ctx)

        assert not engine.containers.all(labels={LABEL_JOB: ctx.job})
