"""A real Prometheus on loopback that scrapes dockbus' own programs every second."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml

import debian
from waiting import wait_for

CONFIG = Path(__file__).parent.parent / "grafana" / "prometheus"


class Prometheus:
    """What can be asked of it."""

    def __init__(self, port: int) -> None:
        self.port = port

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression gives now.

        Raises:
            AssertionError: it is no valid expression.
        """
        answer = self._get("/api/v1/query", query=expression)
        found: list[dict[str, Any]] = answer["result"]
        return found

    def range(self, expression: str, begin: float, end: float, step: float) -> list[dict[str, Any]]:
        """The series that an expression gives from one time to another (seconds since the epoch), each `step` seconds.

        Raises:
            AssertionError: it is no valid expression.
        """
        span = {"start": str(begin), "end": str(end), "step": str(step)}
        answer = self._get("/api/v1/query_range", query=expression, **span)
        found: list[dict[str, Any]] = answer["result"]
        return found

    def value(self, expression: str) -> float | None:
        """The number that an expression gives now, if it gives exactly one."""
        found = self.query(expression)
        return float(found[0]["value"][1]) if len(found) == 1 else None

    def targets(self) -> Mapping[str, str]:
        """How each address that is scraped is, such as `up`; what went wrong where it is not."""
        active: list[dict[str, Any]] = self._get("/api/v1/targets")["activeTargets"]
        return {
            httpx.URL(one["scrapeUrl"]).netloc.decode(): one["lastError"] or one["health"]
            for one in active
        }

    def is_ready(self) -> bool:
        """Whether it answers."""
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(self._url("/-/ready")).is_success
        return False

    def _get(self, path: str, **parameters: str) -> Any:
        answer = httpx.get(self._url(path), params=parameters, timeout=30)
        assert answer.is_success, f"{parameters}: {answer.text}"
        return answer.json()["data"]

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@contextlib.contextmanager
def prometheus(
    folder: Path, targets: Mapping[str, Sequence[str]], scratch: Path, say: Callable[[str], None]
) -> Generator[Prometheus]:
    """A Prometheus with the project's own configuration and rules, which looks each second, and where it is told to.

    Args:
        folder: an empty one for what it keeps.
        targets: addresses by the name of the scrape job.
        scratch: where its program may be unpacked.
        say: what is told of that.

    Raises:
        MissingTool: the program cannot be had.
    """
    program = debian.program("prometheus", "usr/bin/prometheus", scratch, say)
    home = shutil.copytree(CONFIG, folder / "config")
    config = yaml.safe_load((home / "prometheus.yml").read_text())
    config["global"] |= {
        "scrape_interval": "1s",
        "scrape_timeout": "1s",
        "evaluation_interval": "1s",
    }
    for job in config["scrape_configs"]:
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": list(targets[job["job_name"]])}]
    (home / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={home}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{port}",
                "--enable-feature=exemplar-storage",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        server = Prometheus(port)
        wait_for(lambda: server.is_ready() or process.poll() is not None, 30, "Prometheus")
        assert process.poll() is None, (folder / "prometheus.log").read_text()
        yield server
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
