"""Contexts from a Git server over HTTPS: logins by the name of a secret, servers that are away or slow."""

from __future__ import annotations

import subprocess
from collections.abc import Generator
from functools import partial
from pathlib import Path

import pytest

import builds
import git_server
import registries
from builds import Start, built, context, failure, order
from dockbus import Bus, JobHandle, Settings
from dockbus.engine import Engine
from dockbus.records import Failure
from dockbus.settings import SecretsSettings
from git_server import GitServer
from processes import Program
from waiting import wait_for

PASSWORD = "hush-git-4711"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[GitServer]:
    """A server with the repository `/shop`, which the worker's Git trusts."""
    folder = context(tmp_path / "served" / "shop", "LABEL dockbus.test=1\nRUN echo shop > /word")
    for words in (
        ("init", "-q"),
        ("add", "."),
        ("-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qm", "x"),
    ):
        subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)
    ca = registries._certificate(tmp_path)  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setenv("GIT_SSL_CAINFO", str(ca))
    with git_server.serve(
        tmp_path / "served", ca, tmp_path / "key.pem", f"me:{PASSWORD}"
    ) as served:
        yield served


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "git").write_text(f"me:{PASSWORD}\n")
    (tmp_path / "secrets" / "wrong").write_text("me:nonsense\n")
    settings = settings.model_copy(
        update={"secrets": SecretsSettings(dir=str(tmp_path / "secrets"))}
    )
    return builds.with_build(settings, builder="classic", git_timeout=4)


@pytest.fixture
def worker(start: Start, settings: Settings, base_image: str, server: GitServer) -> Program:
    return builds.worker(start, settings)


def test_a_login_is_taken_from_the_secret_and_told_nobody(
    worker: Program, bus: Bus, engine: Engine, server: GitServer
) -> None:
    source = {"git": f"{server.address}/shop", "credentials": "git"}
    job = bus.enqueue(order(context=source, tags=["dockbus/test-https:1"]))
    built(job)

    assert builds.run_in(engine, "dockbus/test-https:1", "cat /word") == "shop"
    assert server.seen[0] == ""  # it is given to those who ask for it
    assert set(server.seen[1:]) == {f"me:{PASSWORD}"}
    assert PASSWORD not in job.refresh().model_dump_json() + "".join(
        line.text for line in job.logs()
    )
    assert PASSWORD not in worker.log.read_text()


@pytest.mark.parametrize("login", [{}, {"credentials": "wrong"}])
def test_without_the_right_login_the_build_fails_and_says_so(
    worker: Program, bus: Bus, server: GitServer, login: dict[str, str]
) -> None:
    source = {"git": f"{server.address}/shop", **login}

    error = failure(bus.enqueue(order(context=source, tags=["dockbus/test-never:1"])))

    assert error.code == "context-unusable"
    assert error.detail.startswith("rule context/git-login: ")
    assert "`credentials`" in error.detail
    assert "nonsense" not in error.detail


def test_a_server_that_is_away_or_too_slow_is_tried_again(
    worker: Program, bus: Bus, server: GitServer
) -> None:
    server.stall = 30
    away = bus.enqueue(
        order(context={"git": "https://127.0.0.1:9/shop"}, tags=["dockbus/test-never:1"])
    )
    slow = bus.enqueue(
        order(context={"git": f"{server.address}/shop"}, tags=["dockbus/test-never:2"])
    )

    for job, says in ((away, "connect"), (slow, "DOCKBUS_BUILD_GIT_TIMEOUT")):
        error = wait_for(partial(first_error, job), 60, "the first attempt to fail")
        assert error.code == "repository-unavailable"
        assert says in error.detail
        job.cancel()
    server.stall = 0


def first_error(job: JobHandle) -> Failure | None:
    return job.refresh().error
