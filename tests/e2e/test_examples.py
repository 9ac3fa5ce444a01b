"""The examples that need a worker, run as their reader would: by the command line, against a real Engine."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from commandline import CommandLine
from dockbus import Bus, Cleanup, CleanupResult, RunResult, Settings
from dockbus.engine import Engine, EngineError
from dockbus.jobs import parse_spec
from dockbus.settings import SecretsSettings
from processes import Program, environment

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def shop(engine: Engine) -> Generator[None]:
    """What the examples leave on purpose goes."""
    yield
    engine.containers.remove("shop-web", force=True)
    with suppress(EngineError):
        engine.volumes.remove("shop-pages")


@pytest.fixture
def with_secret(settings: Settings, tmp_path: Path) -> Settings:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "database-password").write_text("hunter22\n")
    return settings.model_copy(update={"secrets": SecretsSettings(dir=str(folder))})


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


def test_the_orders_of_run_jobs(
    bus: Bus,
    engine: Engine,
    base_image: str,
    shop: None,
    with_secret: Settings,
    start: Callable[..., Program],
    tmp_path: Path,
) -> None:
    start("worker", "run", settings=with_secret)
    port = free_port()
    orders = tmp_path / "orders.jsonl"
    text = (EXAMPLES / "run" / "orders.jsonl").read_text().replace("8090:", f"{port}:")
    orders.write_text(re.sub(r'"(busybox|shop/migrate:7)"', f'"{base_image}"', text))

    dockbus = CommandLine()
    dockbus.env |= environment(with_secret)
    ids = dockbus.ok("enqueue", str(orders)).split()
    task, service, migration = (bus.job(job_id) for job_id in ids)

    summed = task.wait(timeout=60)
    assert isinstance(summed, RunResult)
    assert summed.exit_code == 0
    assert b"".join(task.artefact("out.txt")) == b"42\n"

    up = service.wait(timeout=60)
    assert isinstance(up, RunResult)
    assert up.health == "healthy"
    assert [(each.address, each.host) for each in up.ports] == [("127.0.0.1", port)]
    assert engine.containers.get("shop-web").state == "running"
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.")

    migrated = migration.wait(timeout=60)
    assert isinstance(migrated, RunResult)
    assert migrated.exit_code == 0


def test_the_nightly_cleanup_makes_a_plan(bus: Bus, start: Callable[..., Program]) -> None:
    start("worker", "cleanup")
    file = yaml.safe_load((EXAMPLES / "schedules" / "nightly-cleanup.yaml").read_text())
    spec = parse_spec(Cleanup.model_validate(file["schedules"][0]["do"]).model_dump_json())

    planned = bus.enqueue(spec.model_copy(update={"dry_run": True})).wait(timeout=60)

    assert isinstance(planned, CleanupResult)
    assert planned.dry_run
    assert {item.outcome for item in planned.items} <= {"would be removed", "skipped"}
