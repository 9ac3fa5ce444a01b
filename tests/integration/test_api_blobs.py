"""Files for jobs, and files that jobs have left, over HTTP and on the command line."""

# redis-py's own annotations are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import httpx
import pytest

from attempting import RESULT, SPEC, attempts_on, settle, take
from commandline import CommandLine
from dockbus import Bus, Run, RunResult
from dockbus.artefacts import Artefact
from dockbus.blobs import PIECE, BlobNotFound
from serving import served

REPORT = b'{"findings": []}' * 100_000


@pytest.fixture
def api(engineless_bus: Bus) -> Generator[httpx.Client]:
    with served(engineless_bus) as client:
        yield client


@pytest.fixture
def job(engineless_bus: Bus) -> str:
    """A job that has left a report."""
    job = engineless_bus.enqueue(Run(image="shop/web:1"))
    attempts = attempts_on(engineless_bus)
    (attempt,) = take(attempts, queue="run")
    blob = engineless_bus.blobs.put([REPORT], ttl=600)
    artefact = Artefact(
        name="out/report.json", media_type="application/json", digest=blob.digest, size=blob.size
    )
    result = RunResult(
        exit_code=0,
        oom_killed=False,
        duration=1.0,
        container_id="c",
        image_id="sha256:1",
        artefacts=[artefact],
    )
    assert settle(attempts, attempt, "succeeded", result.model_dump_json())
    return job.id


def test_an_uploaded_file_is_on_the_bus(engineless_bus: Bus, api: httpx.Client) -> None:
    body = b"context" * PIECE

    answer = api.post("/v1/blobs", content=body)

    assert answer.status_code == 201
    assert answer.json()["size"] == len(body)
    assert b"".join(engineless_bus.blobs.read(answer.json()["digest"])) == body


def test_a_file_that_is_too_large_is_refused(engineless_bus: Bus, api: httpx.Client) -> None:
    limit = engineless_bus.settings.bus.blob_size

    answer = api.post("/v1/blobs", content=(b"x" * PIECE for _ in range(limit // PIECE + 1)))

    assert answer.status_code == 413
    assert answer.json()["type"] == "urn:dockbus:problem:blob-too-large"
    assert "DOCKBUS_BUS_BLOB_SIZE" in answer.json()["advice"]
    assert engineless_bus.redis.keys("*blob*") == []


def test_what_a_job_has_left_is_listed_and_comes_back_whole(api: httpx.Client, job: str) -> None:
    (listed,) = api.get(f"/v1/jobs/{job}/artefacts").json()
    answer = api.get(f"/v1/jobs/{job}/artefacts/{listed['name']}")

    assert listed["name"] == "out/report.json"
    assert answer.content == REPORT
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["content-length"] == str(listed["size"])
    assert "report.json" in answer.headers["content-disposition"]


def test_what_is_not_there_is_a_problem_that_says_so(
    engineless_bus: Bus, api: httpx.Client, job: str
) -> None:
    misspelt = api.get(f"/v1/jobs/{job}/artefacts/out/report.jsn")
    unknown = api.get("/v1/jobs/none/artefacts/x")
    (artefact,) = engineless_bus.job(job).artefacts()
    engineless_bus.redis.delete(f"dockbus:blob:{artefact.digest}")
    gone = api.get(f"/v1/jobs/{job}/artefacts/out/report.json")

    assert [answer.status_code for answer in (misspelt, unknown, gone)] == [404, 404, 404]
    assert "did you mean 'out/report.json'?" in misspelt.json()["detail"]
    assert gone.json()["type"] == "urn:dockbus:problem:blob-not-found"
    with pytest.raises(BlobNotFound):
        list(engineless_bus.job(job).artefact("out/report.json"))


def test_the_command_line_lists_and_writes_them(
    dockbus: CommandLine, job: str, tmp_path: Path
) -> None:
    assert "out/report.json" in dockbus.ok("artefacts", job)
    assert dockbus.ok("artefact", job, "out/report.json").encode() == REPORT

    dockbus.ok("artefact", job, "out/report.json", "-o", str(tmp_path / "r.json"))

    assert (tmp_path / "r.json").read_bytes() == REPORT


def test_a_job_that_has_left_nothing_lists_nothing(
    engineless_bus: Bus, dockbus: CommandLine, api: httpx.Client
) -> None:
    job = engineless_bus.enqueue(SPEC)
    attempts = attempts_on(engineless_bus)
    settle(attempts, take(attempts)[0], "succeeded", RESULT)

    assert api.get(f"/v1/jobs/{job.id}/artefacts").json() == []
    assert dockbus.ok("artefacts", job.id, "--json").strip() == "[]"
