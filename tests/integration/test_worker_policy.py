"""A worker and its policy: what is refused never reaches the Engine, and the job's record says why.

The Engine is a stub that notes down every request, for a real one does not tell what it was not asked.
"""

from __future__ import annotations

import json
import os
import re
import socketserver
from collections.abc import Callable, Generator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from dockbus import Bus, JobFailed, JobHandle, JobState, Run, Settings
from dockbus.engine import Engine
from dockbus.policy import Policy
from dockbus.records import JobRecord
from dockbus.settings import EngineSettings, PolicySettings
from hostile import HOSTILE, run
from processes import Program
from waiting import wait_for

Start = Callable[..., Program]
OWN_LOOKS = re.compile(
    r"GET (/v[\d.]+)?/(version|info|networks/\w+|containers/json(\?.*)?)"  # the last is for orphans
)
"""What a worker asks an Engine that it has no job for."""


class StubEngine(socketserver.ThreadingUnixStreamServer):
    """Answers as an Engine without containers and images would, and notes every request down."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        self.host = f"unix://{path}"
        self.requests: list[str] = []
        super().__init__(str(path), StubHandler)

    def asked_for_jobs(self) -> list[str]:
        return [request for request in self.requests if not OWN_LOOKS.fullmatch(request)]


class StubHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        self.client_address = ("", 0)
        super().handle_one_request()

    def _answer(self) -> None:
        assert isinstance(self.server, StubEngine)
        self.server.requests.append(f"{self.command} {self.path}")
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        place = self.path.partition("?")[0].rpartition("/")[2]
        known: dict[str, Any] = {
            "version": {"Version": "20.10.24", "ApiVersion": "1.41"},
            "info": {"ID": "STUB", "SecurityOptions": ["name=seccomp,profile=default"]},
            "none": {"Id": "none"},
        }
        if self.path.partition("?")[0].endswith("/containers/json"):
            known["json"] = []
        body = json.dumps(known.get(place, {"message": "No such thing"})).encode()
        self.send_response(200 if place in known else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _answer  # noqa: N815  names of http.server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  http.server's
        pass


@pytest.fixture
def stub(scratch: Path) -> Generator[StubEngine]:
    path = scratch / f"stub-{os.urandom(4).hex()}.sock"
    with StubEngine(path) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def served(bus: Bus, stub: StubEngine) -> Callable[..., Settings]:
    """The settings of a worker whose Engine is the stub, with this policy."""

    def make(path: Path | str = "", **policy: Any) -> Settings:
        return bus.settings.model_copy(
            update={
                "engine": EngineSettings(host=stub.host),
                "policy": PolicySettings(path=str(path), **policy),
            }
        )

    return make


def failure(job: JobHandle) -> JobRecord:
    with pytest.raises(JobFailed):
        job.wait(timeout=60)
    record = job.refresh()
    assert record.error is not None
    return record


def test_no_hostile_job_reaches_the_engine_and_each_record_names_the_rule(
    bus: Bus, stub: StubEngine, served: Callable[..., Settings], start: Start
) -> None:
    start("worker", "run", settings=served()).wait_until_said("taking jobs")

    jobs = [(bus.enqueue(run(fields)), rule) for _, fields, rule in HOSTILE]
    for job, rule in jobs:
        record = failure(job)
        assert record.error is not None
        assert (record.state, record.error.code, record.attempts) == (
            JobState.FAILED,
            "policy-refused",
            1,
        )
        assert f"rule {rule}" in record.error.detail
        assert any(f"rule {rule}" in line.text for line in job.logs())

    assert stub.requests
    assert stub.asked_for_jobs() == []
    # The stub would have noticed: a job that is let through comes to it.
    bus.enqueue(Run(image="dockbus/hostile:1", pull="never"))
    assert wait_for(stub.asked_for_jobs, what="the job that may")


def test_every_rule_that_a_job_breaks_is_named_with_its_remedy(
    bus: Bus, served: Callable[..., Settings], start: Start
) -> None:
    start("worker", "run", settings=served()).wait_until_said("taking jobs")

    record = failure(bus.enqueue(run({"privileged": True, "pids": 0, "memory": 0})))

    assert record.error is not None
    said = record.error.detail.split("; ")
    assert [part.split(" ")[1] for part in said if part.startswith("rule ")] == [
        "privileged",
        "memory-limit",
        "pids-limit",
    ]
    assert "set `pids`" in said
    assert "DOCKBUS_POLICY_PATH" in record.error.advice


def test_a_worker_with_a_broken_policy_does_not_start(
    stub: StubEngine, served: Callable[..., Settings], start: Start, tmp_path: Path
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("level: baseline\nallow:\n  device: [/dev/fuse]\n")

    program = start("worker", "run", settings=served(file))

    assert program.process.wait(timeout=60) == 1
    assert (
        f"{file}:3: allow.device: no such field, did you mean 'devices'?" in program.log.read_text()
    )
    assert stub.requests == []


def test_the_file_decides_what_passes(
    bus: Bus,
    stub: StubEngine,
    served: Callable[..., Settings],
    start: Start,
    tmp_path: Path,
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("allow:\n  devices: [/dev/fuse]\n")
    start("worker", "run", settings=served(file)).wait_until_said("taking jobs")

    other = failure(bus.enqueue(run({"devices": ["/dev/kvm"]})))
    assert other.error is not None
    assert "rule device" in other.error.detail
    assert stub.asked_for_jobs() == []

    allowed = failure(bus.enqueue(run({"devices": ["/dev/fuse"], "pull": "never"})))
    assert allowed.error is not None
    assert allowed.error.code != "policy-refused"
    assert stub.asked_for_jobs() != []


def test_a_link_is_followed_to_what_it_means(
    bus: Bus,
    stub: StubEngine,
    served: Callable[..., Settings],
    start: Start,
    tmp_path: Path,
) -> None:
    shared, real = tmp_path / "shared", tmp_path / "real"
    (real / "data").mkdir(parents=True)
    shared.symlink_to(real)  # as an administrator may have it
    (real / "innocent").symlink_to("/etc")  # as a job may leave it
    (real / "outside").symlink_to(tmp_path)
    file = tmp_path / "policy.yaml"
    file.write_text(f"allow:\n  bind_mounts:\n    - path: {shared}\n      read_only: false\n")
    start("worker", "run", settings=served(file)).wait_until_said("taking jobs")

    for name, rule in (("innocent", "sensitive-path"), ("outside", "host-path")):
        record = failure(bus.enqueue(run({"volumes": [f"{shared}/{name}:/x"]})))
        assert record.error is not None
        assert f"rule {rule}" in record.error.detail
    assert stub.asked_for_jobs() == []

    fields = {"volumes": [f"{shared}/data:/x"], "pull": "never"}
    record = failure(bus.enqueue(run(fields)))
    assert record.error is not None
    assert record.error.code != "policy-refused"
    assert stub.asked_for_jobs() != []


def test_restricted_asks_the_engine_last_whether_it_enforces_what_is_named(
    bus: Bus, stub: StubEngine, served: Callable[..., Settings], start: Start
) -> None:
    start("worker", "run", settings=served(level="restricted")).wait_until_said("taking jobs")
    hardened = {"user": "1000:1000", "read_only": True, "apparmor": "docker-default"}

    record = failure(bus.enqueue(run(hardened)))

    assert record.error is not None
    assert record.error.detail.startswith("rule not-enforced: apparmor: ")
    assert stub.asked_for_jobs() == []


def test_an_ordinary_job_runs_under_the_default_policy(
    bus: Bus, engine: Engine, base_image: str, start: Start
) -> None:
    assert bus.settings.policy == PolicySettings()
    assert Policy() == Policy(level="baseline")
    start("worker", "run").wait_until_said("taking jobs")
    fields = {
        "image": base_image,
        "command": ["sh", "-c", "cat /data/x; echo $GREETING"],
        "env": {"GREETING": "hello"},
        "ports": ["80"],
        "volumes": [{"target": "/data"}, {"type": "tmpfs", "target": "/scratch"}],
        "labels": {"dockbus.test": "1"},
        "memory": "64m",
    }

    job = bus.enqueue(Run.model_validate(fields))

    assert [line.text for line in job.logs(follow=True) if line.stream == "stdout"] == ["hello"]
    assert job.refresh().state is JobState.SUCCEEDED
