"""A deployment by docker-stack.yml on a Swarm of the tests, from a copy of this tree as a clone would have it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from composed.deployment import ENDED, Deployment
from composed.swarm import GROUP, Machine
from dockbus.engine import Engine
from waiting import wait_for

NAME = "dockbus"
RULES = """
rules:
  - name: sweep
    on: io.dockbus.docker.container.die
    where: {labels: {dockbus.test.stack: swept}}
    do: {kind: remove}
"""
QUEUES = ("pull", "build", "run", "scan", "cleanup", "container")


class Stack(Deployment):
    """The stack, with the first machine for Redis and the API, and all for jobs. Images come from `builder`."""

    def __init__(self, folder: Path, builder: Engine, machines: list[Machine]) -> None:
        super().__init__(folder, builder)
        self.machines = machines
        tasks = dict.fromkeys(
            ("events", "metrics", *map("worker-{}".format, QUEUES)), len(machines)
        )
        self.tasks = tasks | {"redis": 1, "api": 1, "schedule": 2}
        self.api.close()
        self.api = httpx.Client(
            base_url=f"http://{machines[0].address}:8080",
            headers={"Authorization": f"Bearer {self.hidden['api_token']}"},
            timeout=30,
            trust_env=False,
        )
        (self.clone / "rules.yaml").write_text(RULES)

    def give_images(self) -> None:
        """Build the images and give them to all machines, which could pull them from a registry else."""
        self.compose("build")
        images = self._engine.images.all()
        tags = [tag for one in images for tag in one.tags if tag.startswith(("dockbus/", "redis:"))]
        file = self.clone.parent / "images.tar"
        self.machines[0].docker("--host", self._engine.host, "save", "--output", str(file), *tags)
        for machine in self.machines:
            machine.docker("load", "--quiet", "--input", str(file))
        file.unlink()

    def deploy(self) -> None:
        """Label the nodes and deploy; returns when every task runs that should.

        Raises:
            AssertionError: some do not; what the Swarm says of them is in the message.
        """
        manager = self.machines[0]
        for name in ("bus", "monitoring"):
            plain = ["network", "create", "--driver", "overlay", "--attachable"]
            manager.docker(*plain, *["--internal"] * (name == "bus"), f"dockbus-test-{name}")
        for machine in self.machines:
            manager.docker("node", "update", "--label-add", "dockbus.engine=true", machine.name)
        for label in ("dockbus.redis=true", "dockbus.api=true"):
            manager.docker("node", "update", "--label-add", label, manager.name)
        files = ["-c", "docker-stack.yml", "-c", "tests/composed/stack.yml"]
        manager.docker(
            *("stack", "deploy", "--resolve-image", "never", *files, NAME),
            folder=self.clone,
            DOCKER_GID=GROUP,
            DOCKBUS_WORKER_SLOTS="2",
            DOCKBUS_WORKER_ENGINE_LOST="30",
            RULES_FILE="./rules.yaml",
        )
        self.settled(240)

    def running(self) -> dict[str, int]:
        """How many tasks of each service run."""
        form = ("--format", "{{.Name}} {{.Replicas}}")
        listed = self.machines[0].docker("stack", "services", *form, NAME).splitlines()
        rows = (line.removeprefix(f"{NAME}_").split() for line in listed)
        return {name: int(count.partition("/")[0]) for name, count, *_ in rows}

    def settled(self, timeout: float = 120) -> None:
        """Wait until every task runs that should.

        Raises:
            AssertionError: some do not; what the Swarm says of them is in the message.
        """
        try:
            wait_for(lambda: self.running() == self.tasks, timeout, "all tasks")
        except AssertionError as error:
            told = self.machines[0].docker("stack", "ps", "--no-trunc", NAME)
            raise AssertionError(f"{error}\n{self.running()}\n{told}") from None

    def order(self, spec: dict[str, Any], **terms: Any) -> str:
        """Order a job over the published API; its ID."""
        answer = self.api.post("/v1/jobs", json={"spec": spec, **terms})
        assert answer.status_code == 202, answer.text
        job: str = answer.json()["id"]
        return job

    def records(self, jobs: list[str]) -> dict[str, dict[str, Any]]:
        """How these jobs are now."""
        return {job: self.job(job) for job in jobs}

    def queue(self, name: str) -> dict[str, Any]:
        """How a queue is now."""
        queues: list[dict[str, Any]] = self.api.get("/v1/queues").json()
        return next(queue for queue in queues if queue["name"] == name)

    def containers_of(self, service: str, machine: Machine) -> list[str]:
        """Those of its tasks that run on a machine, or have not ended there yet."""
        label = f"label=com.docker.swarm.service.name={NAME}_{service}"
        return machine.docker("ps", "--quiet", "--filter", label).split()

    def task(self, service: str, machine: Machine) -> str:
        """The one container of a service on a machine."""
        (container,) = self.containers_of(service, machine)
        return container

    def doctor(self, machine: Machine) -> dict[str, dict[str, str]]:
        """What the doctor says on that machine, by the names of its checks."""
        worker = self.task("worker-run", machine)
        said = machine.docker("exec", worker, "dockbus", "doctor", "--json")
        return {check["name"]: check for check in json.loads(said)}


def left(records: dict[str, dict[str, Any]], holds: Callable[[dict[str, Any]], bool]) -> list[str]:
    """Those jobs that have not ended and of which that holds."""
    return [job for job, one in records.items() if one["state"] not in ENDED and holds(one)]
