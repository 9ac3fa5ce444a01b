"""What somebody may try who orders jobs and means harm, on a worker with the default policy."""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import builds
import trivy_db
import trivy_images
from dockbus import Bus, Settings
from dockbus.engine import ContainerSpec, Engine
from dockbus.engine.containers import Containers
from dockbus.ids import BEGINNING
from dockbus.joblog import Progress
from dockbus.settings import ScanSettings, SecretsSettings
from dockbus_workers.building import buildkit, lint, repositories
from dockbus_workers.handlers.run import run
from dockbus_workers.images import obtain
from dockbus_workers.running.holder import IMAGE
from dockbus_workers.worker import SlotWorker
from processes import Program
from registry_jobs import context
from runs import failure, result, shell

Start = Callable[..., Program]


@pytest.fixture
def told(settings: Settings, tmp_path: Path) -> Settings:
    """With a secret, and room for little."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "attacked").write_text("swordfish\n")
    return settings.model_copy(
        update={
            "secrets": SecretsSettings(dir=str(folder)),
            "bus": settings.bus.model_copy(update={"blob_size": 100_000}),
        }
    )


@pytest.fixture
def running(start: Start, base_image: str, told: Settings) -> Program:
    program = start("worker", "run", settings=told)
    program.wait_until_said("taking jobs")
    return program


# -- secrets ---------------------------------------------------------------------------------


def test_an_image_that_calls_itself_the_holder_is_not_given_secrets(
    running: Program, bus: Bus, engine: Engine, base_image: str
) -> None:
    engine.images.tag(base_image, IMAGE)
    assert engine.images.get(IMAGE).id == engine.images.get(base_image).id

    job = bus.enqueue(shell("test -s /run/secrets/attacked", secrets=["attacked"]))

    assert result(job).exit_code == 0
    assert engine.images.get(IMAGE).size < 1000
    assert engine.images.get(IMAGE).id != engine.images.get(base_image).id


def test_secrets_are_blotted_out_of_progress_as_well(bus: Bus, engine: Engine) -> None:
    ctx = context(bus, engine, builds.order(tags=["x"], args={"API_TOKEN": "swordfish"}))

    ctx.progress(Progress(step="build swordfish", status="WORKDIR /swordfish"))
    ctx.flush()

    entries = [entry.model_dump_json() for entry in bus.log(ctx.job).read(BEGINNING)[0]]
    assert any("WORKDIR /***" in entry for entry in entries)
    assert not any("swordfish" in entry for entry in entries)


def test_secrets_are_blotted_out_of_what_the_worker_logs_of_a_bug(
    bus: Bus, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    spec = builds.order(tags=["attack-test/log:1"], args={"API_TOKEN": "swordfish"})
    ctx = context(bus, engine, spec)
    attempt: Any = ctx._attempt  # pyright: ignore[reportPrivateUsage]
    fail: Any = SlotWorker._failed  # pyright: ignore[reportPrivateUsage]
    try:
        int("swordfish")
    except ValueError as error:
        fail(None, error, attempt, attempt.order, ctx)

    assert "a bug in dockbus" in caplog.text
    assert "invalid literal for int() with base 10: '***'" in caplog.text
    assert "swordfish" not in caplog.text


def test_the_workers_own_settings_reach_no_program_that_it_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKBUS_BUS_KEY", "swordfish")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "hadolint").write_text(f"#!/bin/sh\nenv > {tmp_path}/env\necho '[]'\n")
    (tmp_path / "hadolint").chmod(0o755)
    ctx: Any = SimpleNamespace(
        settings=SimpleNamespace(engine=SimpleNamespace(cert_path="")),
        engine=SimpleNamespace(host="unix:///x"),
    )
    source = builds.order(context={"git": "https://example.com/x"}, tags=["x"]).context

    lint.look_at("FROM scratch", [], tmp_path)
    seen = (tmp_path / "env").read_text()
    seen += str(buildkit.environment(ctx, tmp_path))
    seen += str(repositories._environment(source, ctx))  # type: ignore[arg-type]  # pyright: ignore

    assert "unix:///x" in seen
    assert "swordfish" not in seen


# -- memory and disk of the worker -------------------------------------------------------------


def test_one_upload_that_is_put_into_a_container_often_does_not_fill_the_workers_memory(
    running: Program, bus: Bus
) -> None:
    blob = bus.upload(b"x" * 60_000).digest

    one = bus.enqueue(shell("true", files={"/a": {"blob": blob}}))
    two = bus.enqueue(shell("true", files={"/a": {"blob": blob}, "/b": {"blob": blob}}))

    assert result(one).exit_code == 0
    assert failure(two).startswith("files-refused: ")


def test_a_small_repository_with_a_tree_without_end_is_refused(
    start: Start, settings: Settings, base_image: str, bus: Bus, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    bomb = builds.context(root / "bomb", "LABEL dockbus.test=1")

    def git(*words: str, given: str = "") -> str:
        command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-C", str(bomb)]
        done = subprocess.run(
            [*command, *words], check=True, input=given, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init", "-q", "-b", "main")
    entry = f"100644 blob {git('hash-object', '-w', '--stdin', given='x')}"
    tree = ""
    for _ in range(8):
        tree = git("mktree", given="".join(f"{entry}\t{n:0200}\n" for n in range(16)))
        entry = f"040000 tree {tree}"
    git("update-ref", "refs/heads/main", git("commit-tree", "-m", "x", tree))
    builds.worker(start, builds.with_build(settings, root=str(root), git_timeout=30))

    source = {"git": f"file://{bomb}", "ref": "main"}
    failed = builds.failure(bus.enqueue(builds.order(context=source, tags=["dockbus/test-bomb:1"])))

    assert failed.detail.startswith("rule context/too-many-files: ")


def test_long_lines_do_not_fill_redis(bus: Bus, engine: Engine, redis: Any) -> None:
    ctx = context(bus, engine, shell("true", image="log-test"))
    for number in range(3000):
        ctx.log(f"{number} {secrets.token_hex(32 * 1024)}")
    ctx.flush()

    assert redis.memory_usage(f"dockbus:log:{ctx.job}", samples=0) < 80 * 1024**2
    *_, last = bus.job(ctx.job).logs()
    assert last.text.startswith("2999 ")


# -- images that nobody has scanned ------------------------------------------------------------


def test_a_name_that_moves_to_another_image_and_back_gets_no_unscanned_image_started(
    settings: Settings, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = str(trivy_db.copy(tmp_path / "trivy"))
    scanning = settings.model_copy(update={"scan": ScanSettings(cache_dir=cache, offline=True)})
    good, bad = (f"attack-test/{secrets.token_hex(4)}:1" for _ in range(2))
    made: list[str] = []
    create = Containers.create

    def meddle(self: Containers, spec: ContainerSpec) -> str:
        engine.images.tag(bad, good)
        made.append(container := create(self, spec))
        engine.images.tag(passed, good)
        return container

    def image_of(*_: object, **__: object) -> None:
        started.append(engine.containers.get(made[-1]).image_id)
        raise RuntimeError("seen enough")

    started: list[str] = []
    with (
        Bus(scanning) as bus,
        trivy_images.image(engine, "debian", bad),
        trivy_images.image(engine, "clean", good) as passed,
    ):
        monkeypatch.setattr(Containers, "create", meddle)
        monkeypatch.setattr(Containers, "start", image_of)
        gate: Any = {"require_scan": {"fail_on": "HIGH"}, "command": ["/none"], "pull": "never"}
        spec = shell("", image=good, **gate)
        ctx = context(bus, engine, spec)
        with pytest.raises(RuntimeError, match="seen enough"):
            run(spec, ctx)
        for container in made:
            engine.containers.remove(container)

    assert started == [passed]


# -- Redis without the key ---------------------------------------------------------------------


def test_a_note_of_a_pull_that_nobody_has_signed_keeps_no_image_from_being_pulled(
    bus: Bus, engine: Engine, redis: Any, base_image: str, registry: str
) -> None:
    name = f"{registry}/attack-test/{secrets.token_hex(4)}:1"
    engine.images.tag(base_image, name)
    for _ in engine.images.push(name):
        pass
    note = {"began": time.time() + 3600, "image_id": engine.images.get(name).id, "digest": None}
    redis.set(f"dockbus:pulled:{engine.name}:{name}||", json.dumps(note))
    try:
        ctx = context(bus, engine, shell("true", image=name))
        assert obtain(name, "always", None, None, ctx).pulled
    finally:
        engine.images.remove(name)
