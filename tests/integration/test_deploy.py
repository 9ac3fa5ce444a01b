"""The deployment files, put before the programs that will read them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import debian
import trixie

ROOT = Path(__file__).parent.parent.parent
COMPOSE = Path(sys.executable).parent / "docker-compose"


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)


@pytest.mark.parametrize("overlay", [[], ["-f", "docker-compose.dev.yml"]])
def test_docker_compose_accepts_the_files(overlay: list[str], tmp_path: Path) -> None:
    empty = (ROOT / ".env.example").read_text().splitlines()
    filled = tmp_path / "env"
    filled.write_text("\n".join(f"{line}1234" if line.endswith("=") else line for line in empty))

    files = ["-f", "docker-compose.yml", *overlay]
    done = run(COMPOSE, *files, "--env-file", filled, "config", "--quiet")
    refused = run(COMPOSE, *files, "--env-file", ".env.example", "config", "--quiet")

    # The wheel's wrapper hides compose's exit code; what it refuses, it says.
    assert (done.returncode, done.stderr) == (0, "")
    assert "DOCKER_GID is missing a value: run: " in refused.stderr


def test_docker_stack_accepts_the_file(
    say: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = trixie.command(say)
    said = (docker, "stack", "config", "--compose-file", "docker-stack.yml")
    monkeypatch.delenv("DOCKER_GID", raising=False)

    refused = run(*said)
    monkeypatch.setenv("DOCKER_GID", "999")
    done = run(*said)

    assert "variable DOCKER_GID is missing a value: is the number of the group" in refused.stderr
    assert (done.returncode, done.stderr) == (0, "")
    assert "user: 10001:999" in done.stdout.replace('"', "")


def test_prometheus_accepts_its_configuration(scratch: Path, say: Callable[[str], None]) -> None:
    promtool = debian.program("prometheus", "usr/bin/promtool", scratch, say)

    done = run(promtool, "check", "config", "grafana/prometheus/prometheus.yml")

    assert done.returncode == 0, done.stderr
