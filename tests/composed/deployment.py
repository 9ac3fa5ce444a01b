"""A deployment by docker-compose.yml, from a copy of this tree as a clone would have it, on an Engine of the tests."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import httpx

import trivy_db
import trixie
from composed import standins
from dockbus.engine import Engine
from prometheus_server import free_port

ENDED = ("succeeded", "failed", "dead", "canceled")
_FILES = ("-f", "docker-compose.yml", "-f", "tests/composed/overlay.yml")


class Deployment:
    """One project of compose. Its folder is a fresh clone, set up by the commands of docs/deploy.md."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self.clone, self.project = folder / "clone", f"dockbus-test-{secrets.token_hex(3)}"
        self._engine = engine
        self.prometheus_port = free_port()
        socket = engine.host.removeprefix("unix://")
        _copy(self.clone)
        _set_up(self.clone, socket)
        made = (self.clone / "secrets").iterdir()
        self.hidden = {secret.name: secret.read_text().strip() for secret in made}
        database = trivy_db.copy(folder / "trivy")
        for path in (database, *database.rglob("*")):
            shutil.chown(path, 10001)
        values = {
            "DOCKER_SOCKET": socket,
            "API_PORT": (api_port := free_port()),
            "PROMETHEUS_PORT": self.prometheus_port,
            "COMPOSE_PROFILES": "",
            "WHEELS": standins.WHEELS,
            "TRIVY_DB": database,
        }
        with (self.clone / ".env").open("a") as env:  # of two lines, the later one counts
            env.writelines(f"{name}={value}\n" for name, value in values.items())
        self.api = httpx.Client(
            base_url=f"http://127.0.0.1:{api_port}",
            headers={"Authorization": f"Bearer {self.hidden['api_token']}"},
            timeout=30,
            trust_env=False,
        )

    def compose(self, *arguments: str) -> str:
        """What `docker compose` says on standard output.

        Raises:
            AssertionError: it failed; the end of what it said is in the message.
        """
        command: list[str | Path] = [trixie.compose(print), "-p", self.project, *_FILES, *arguments]
        return said(command, self._engine.host, self.clone, timeout=500)

    def up(self, *arguments: str) -> None:
        """`docker compose up` until all is healthy.

        Raises:
            AssertionError: that did not come; the ends of all logs are in the message.
        """
        try:
            self.compose("up", "--detach", "--wait", "--wait-timeout", "240", *arguments)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.compose('logs', '--tail', '9')}") from None

    def containers(self, *services: str) -> list[dict[str, Any]]:
        """What the Engine says of the containers of these services, or of all but one-off ones."""
        api = self._engine.api
        label = {"label": [f"com.docker.compose.project={self.project}"]}
        found = [
            api.inspect_container(one["Id"]) for one in api.containers(all=True, filters=label)
        ]
        return [one for one in found if not services or service(one) in services]

    def health(self, *services: str) -> set[str]:
        """How these containers are: `healthy`, `unhealthy`, `starting`, or their state where they do not run."""
        states = [one["State"] for one in self.containers(*services)]
        return {
            state["Health"]["Status"] if state["Running"] else state["Status"] for state in states
        }

    def say(self, service: str, *, well: bool) -> bool:
        """Whether all its containers say that they are well, or that they are not; Docker asks them less often."""
        api = self._engine.api
        asked = [api.exec_create(one["Id"], "healthy")["Id"] for one in self.containers(service)]
        for one in asked:
            api.exec_start(one)
        return all((api.exec_inspect(one)["ExitCode"] == 0) == well for one in asked)

    def takes_orders(self) -> bool:
        """Whether the API answers that it is ready."""
        try:
            return self.api.get("/readyz").is_success
        except httpx.TransportError:
            return False

    def order(self, spec: dict[str, Any]) -> str:
        """Order a job over the published API; its ID."""
        answer = self.api.post("/v1/jobs", json={"spec": spec})
        assert answer.status_code == 202, answer.text
        job: str = answer.json()["id"]
        return job

    def job(self, job: str) -> dict[str, Any]:
        """A job's record."""
        answer = self.api.get(f"/v1/jobs/{job}")
        assert answer.is_success, answer.text
        record: dict[str, Any] = answer.json()
        return record

    def artefact(self, job: str, name: str) -> bytes:
        """A file that a job has left."""
        answer = self.api.get(f"/v1/jobs/{job}/artefacts/{name}")
        assert answer.is_success, answer.text
        return answer.content

    def ended(self, jobs: Iterable[str], timeout: float = 120) -> list[dict[str, Any]]:
        """The records of these jobs, when all have ended."""
        deadline = time.monotonic() + timeout
        records: list[dict[str, Any]] = []
        for job in jobs:
            while (record := self.job(job))["state"] not in ENDED:
                assert time.monotonic() < deadline, f"waited {timeout:g} s; last saw {record}"
                time.sleep(0.2)
            records.append(record)
        return records


def said(
    command: Sequence[str | Path], host: str, folder: Path, *, timeout: float, **environment: str
) -> str:
    """What a command of Docker's, given an Engine and a folder for all else, says on standard output.

    Raises:
        AssertionError: it failed; the end of what it said is in the message.
    """
    known = {"PATH": os.environ["PATH"], "HOME": str(folder), "DOCKER_HOST": host}
    done = subprocess.run(
        command,
        cwd=folder,
        env=known | environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    told = (done.stdout + done.stderr)[-6000:]
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.returncode}\n{told}"
    return done.stdout


def service(container: dict[str, Any]) -> str:
    """The service that a container is of."""
    name: str = container["Config"]["Labels"]["com.docker.compose.service"]
    return name


def _copy(target: Path) -> None:
    """What git has of this tree, as it is now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=standins.ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (file := standins.ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target / name, follow_symlinks=False)


def _set_up(clone: Path, socket: str) -> None:
    """What docs/deploy.md says comes before the first `docker compose up`."""
    commands = re.search(
        r"```sh\n(.*?)docker compose", (clone / "docs/deploy.md").read_text(), re.DOTALL
    )
    assert commands
    script = commands[1].replace("/var/run/docker.sock", socket)
    subprocess.run(["bash", "-euc", script], cwd=clone, check=True)
