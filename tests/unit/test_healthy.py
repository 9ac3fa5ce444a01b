"""The health check of the images, `deploy/healthy`: run as Docker runs it, against a page of dockbus' own."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dockbus.exposition import listening
from dockbus.settings import MetricsSettings

HEALTHY = Path(__file__).parents[2] / "deploy" / "healthy"


def asked(url: str) -> tuple[int, str]:
    """Its exit code, and all it says."""
    command = [sys.executable, "-IS", str(HEALTHY)]
    done = subprocess.run(
        command,
        env={"HEALTH_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        text=True,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("trouble", "code", "said"), [("", 0, "200 ok"), ("no Engine", 1, "503 no Engine")]
)
def test_it_says_what_the_program_says_of_itself(trouble: str, code: int, said: str) -> None:
    with listening(MetricsSettings(), 0, "x", lambda _: [], lambda: trouble) as bound:
        thread = threading.Thread(target=bound.handle_request)
        thread.start()
        answer = asked(f"http://127.0.0.1:{bound.server_port}/readyz")
        thread.join()

    assert answer == (code, f"{said}\n")


def test_a_program_that_does_not_listen_is_not_healthy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]

    code, said = asked(f"http://127.0.0.1:{port}/readyz")

    assert code == 1
    assert said.startswith(f"http://127.0.0.1:{port}/readyz: ConnectionRefusedError")
