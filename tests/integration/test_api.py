from __future__ import annotations

import json
import pickle
import secrets
import zlib
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from dockbus import Bus, JobState
from serving import TOKEN, bus_settings, served
from waiting import wait_for

RUN = {"kind": "run", "image": "busybox", "command": ["true"]}


pytestmark = pytest.mark.usefixtures("redis")  # flushed after each test


@pytest.fixture(scope="module")
def bus(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[Bus]:
    with Bus(bus_settings(redis_url, tmp_path_factory.mktemp("bus"))) as bus:
        yield bus


@pytest.fixture(scope="module")
def api(bus: Bus) -> Generator[httpx.Client]:
    with served(bus) as client:
        yield client


@pytest.fixture
def api_without_redis(tmp_path: Path) -> Generator[httpx.Client]:
    with (
        Bus(bus_settings(f"unix://{tmp_path}/absent.sock", tmp_path), patience=0) as bus,
        served(bus) as client,
    ):
        yield client


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of a response, once it is found to be the one expected."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = response.json()
    assert found.keys() == {"type", "title", "status", "detail", "advice", "instance"}
    assert found["type"] == f"urn:dockbus:problem:{code}"
    assert found["status"] == status
    assert found["instance"] == response.request.url.path
    return found


def kept(redis: Redis) -> list[Any]:
    return redis.keys()  # pyright: ignore[reportUnknownMemberType]


def test_a_job_is_put_on_the_bus_found_listed_and_canceled(api: httpx.Client, bus: Bus) -> None:
    made = api.post("/v1/jobs", json={"spec": RUN, "priority": "high", "timeout": "5m"})
    assert made.status_code == 202
    assert made.json()["state"] == "queued"
    assert made.json()["spec"]["command"] == ["true"]
    job_id = made.json()["id"]
    assert made.headers["location"] == f"/v1/jobs/{job_id}"

    assert api.get(made.headers["location"]).json() == made.json()
    later = api.post("/v1/jobs", json={"spec": RUN, "engine": "far", "delay": "1h"}).json()
    assert (later["state"], later["queue"]) == ("scheduled", "run@far")
    assert [job["id"] for job in api.get("/v1/jobs").json()] == [later["id"], job_id]
    assert [job["id"] for job in api.get("/v1/jobs?limit=1&offset=1").json()] == [job_id]
    waiting = {queue["name"]: queue["queued"] for queue in api.get("/v1/queues").json()}
    assert waiting == {
        "build": 0,
        "cleanup": 0,
        "container": 0,
        "pull": 0,
        "run": 1,
        "run@far": 0,
        "scan": 0,
    }

    canceled = api.post(f"/v1/jobs/{job_id}/cancel")
    assert canceled.status_code == 202
    assert canceled.json()["state"] == "canceled"
    assert bus.job(job_id).state is JobState.CANCELED
    problem(api.post(f"/v1/jobs/{job_id}/cancel"), 409, "job-not-cancelable")


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"spec": {"kind": "run", "image": "a", "imgae": "b"}}', "did you mean 'image'?"),
        (b'{"spec": {"kind": "run", "image": "Not An Image"}}', "is not an image reference"),
        (b'{"spec": {"kind": "rum", "image": "a"}}', "did you mean 'run'?"),
        (b'{"spec": {"kind": "run", "image": "a", "pids": "7"}}', "spec.pids: "),
        (b'{"spec": {"image": "a"}}', "kind: it is missing"),
        (b'{"spec": {"kind": "run", "image": "a"}, "before": []}', "before: "),
        (b'{"spec": {"kind": "run", "image": "a"}, "after": "x"}', "after: "),
        (b'{"spec": {"kind": "run", "image": "a"}, "after": ["a,b"]}', "after.0: "),
        (b'{"spec": {"kind": "run", "image": "a"}, "after_failure": "stop"}', "after_failure: "),
        (b'{"spec": {"kind": "run", "image": "a"}, "exclusive": ""}', "exclusive: "),
        (b'{"spec": {"kind": "run", "image": "a"}, "retry": 3}', "retry: "),
        (b'{"spec": {"kind": "run", "image": "a"}, "retry": {"max": 101}}', "retry.max: "),
        (b'{"spec": {"kind": "run", "image": "a"}, "priority": "low"}', "priority: "),
        (b'{"spec": {"kind": "run", "image": "a"}, "engine": "a:b"}', "engine: "),
        (b'{"spec": {"kind": "run", "image": "a"}, "delay": 1e999}', "delay: "),
        (b'{"spec": {"kind": "run", "image": "a"}, "delay": NaN}', "delay: "),
        (b'{"spec": {"kind": "run", "image": "a"}, "timeout": 0}', "timeout: "),
        (b'{"spec": {"kind": "cleanup", "older_than": Infinity}}', "spec.older_than: "),
        (b"image: busybox", "Invalid JSON"),
        (b'{"spec": "\xff"}', "Invalid JSON"),
        (b"[" * 100_000, "recursion limit"),
        (b"", "Invalid JSON"),
    ],
)
def test_what_is_no_job_is_refused_and_leaves_nothing(
    api: httpx.Client, redis: Redis, body: bytes, detail: str
) -> None:
    assert detail in problem(api.post("/v1/jobs", content=body), 422, "invalid-spec")["detail"]
    assert kept(redis) == []


def test_a_body_that_is_too_large_is_refused_announced_or_not(
    api: httpx.Client, redis: Redis
) -> None:
    chunk = b" " * 100_000
    problem(api.post("/v1/jobs", content=chunk * 11), 413, "body-too-large")
    problem(api.post("/v1/jobs", content=iter([chunk] * 11)), 413, "body-too-large")
    assert kept(redis) == []
    assert api.post("/v1/jobs", content=json.dumps({"spec": RUN}) + " " * 1_000_000).is_success


@pytest.mark.parametrize("header", ["", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer", "Bearer é"])
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/x/logs", "/v1/events", "/v1/queues"])
def test_without_the_token_there_is_nothing(api: httpx.Client, path: str, header: str) -> None:
    headers = httpx.Headers({"Authorization": header}, encoding="utf-8")
    response = api.get(path, headers=headers)
    found = problem(response, 401, "unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"
    assert TOKEN not in json.dumps(found)


def test_without_the_token_no_job_is_read(api: httpx.Client, redis: Redis) -> None:
    anyone = {"Authorization": ""}
    problem(api.post("/v1/jobs", json={"spec": RUN}, headers=anyone), 401, "unauthorized")
    problem(api.post("/v1/jobs/batch", json={"orders": []}, headers=anyone), 401, "unauthorized")
    problem(api.post("/v1/jobs/x/cancel", headers=anyone), 401, "unauthorized")
    problem(api.post("/v1/jobs/x/replay", headers=anyone), 401, "unauthorized")
    assert kept(redis) == []
    for path in ("/healthz", "/readyz"):
        assert api.get(path, headers=anyone).json() == {"status": "ok"}


def test_the_same_key_is_the_same_job(api: httpx.Client) -> None:
    key = {"Idempotency-Key": "deploy-1"}
    first = api.post("/v1/jobs", json={"spec": RUN}, headers=key).json()["id"]
    for body, headers in (
        ({"spec": RUN}, key),
        ({"spec": RUN, "key": "deploy-1"}, {}),
        ({"spec": RUN, "key": "deploy-1"}, key),
    ):
        again = api.post("/v1/jobs", json=body, headers=headers)
        assert (again.status_code, again.json()["id"]) == (202, first)
    assert len(api.get("/v1/jobs").json()) == 1

    other = api.post("/v1/jobs", json={"spec": RUN | {"image": "other"}}, headers=key)
    assert first in problem(other, 409, "key-conflict")["detail"]
    both = api.post("/v1/jobs", json={"spec": RUN, "key": "deploy-2"}, headers=key)
    assert "Idempotency-Key" in problem(both, 422, "invalid-spec")["detail"]
    assert len(api.get("/v1/jobs").json()) == 1


def test_every_error_is_a_problem(api: httpx.Client) -> None:
    problem(api.get("/nothing"), 404, "not-found")
    response = api.delete("/v1/queues")
    problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == "GET"
    for query in (
        *("limit=0", "limit=501", "limit=x", "offset=-1", "offset=99999999999999999999"),
        *("state=", "state=dad"),
    ):
        found = problem(api.get(f"/v1/jobs?{query}"), 422, "invalid-request")
        assert found["detail"].startswith(query.partition("=")[0])
    problem(api.get("/v1/jobs/absent"), 404, "job-not-found")
    problem(api.get("/v1/jobs/not%20an%20id"), 404, "job-not-found")
    problem(api.get("/v1/jobs/batch"), 404, "job-not-found")
    problem(api.post("/v1/jobs/absent/cancel"), 404, "job-not-found")
    problem(api.post("/v1/jobs/absent/replay"), 404, "job-not-found")
    problem(api.get("/v1/jobs/absent/logs"), 404, "job-not-found")
    problem(api.get("/v1/events?since=yesterday"), 422, "invalid-request")
    problem(api.get("/v1/events", headers={"Last-Event-ID": "1-2-3"}), 422, "invalid-request")


def test_a_bug_is_logged_and_tells_nothing_of_the_inside(
    api: httpx.Client, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    redis.set("dockbus:jobs", "not what belongs here")
    found = problem(api.get("/v1/jobs"), 500, "bug")
    assert "WRONGTYPE" not in json.dumps(found)
    wait_for(lambda: "Traceback" in caplog.text and "WRONGTYPE" in caplog.text, what="the log")


def test_without_redis_the_api_lives_and_says_so(api_without_redis: httpx.Client) -> None:
    api = api_without_redis
    assert api.get("/healthz").status_code == 200
    for response in (
        api.get("/readyz"),
        api.post("/v1/jobs", json={"spec": RUN}),
        api.post("/v1/jobs/batch", json={"orders": [{"spec": RUN}]}),
        api.post("/v1/jobs/x/replay"),
        api.get("/v1/jobs"),
        api.get("/v1/jobs/x/logs"),
        api.get("/v1/events"),
    ):
        assert "dockbus up" in problem(response, 503, "redis-unavailable")["advice"]
        assert int(response.headers["retry-after"]) > 0
    assert "absent.sock" not in api.get("/readyz", headers={"Authorization": ""}).text


def test_the_description_is_served(api: httpx.Client) -> None:
    assert api.get("/openapi.json").json()["info"]["title"] == "dockbus"
    assert "swagger" in api.get("/docs").text


class Marker:
    """Unpickling one makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    "planted",
    [
        {"meta": "PICKLE"},
        {"data": "PICKLE"},
        {"success_callback_name": "os.getcwd"},
        {"webhooks": json.dumps([{"url": "http://127.0.0.1:9/", "events": ["finished"]}])},
        {"status": "no such status"},
        {},
    ],
    ids=lambda planted: ",".join(planted) or "unsigned",
)
def test_a_planted_job_runs_nothing_and_shows_as_refused(
    api: httpx.Client, redis: Redis, tmp_path: Path, planted: dict[str, str]
) -> None:
    marker = tmp_path / "it-ran"
    payload = zlib.compress(pickle.dumps(Marker(marker)))
    call = zlib.compress(json.dumps(["os.system", None, [f"touch {marker}"], {}]).encode())
    fields: dict[Any, Any] = {
        "data": call,
        "origin": "run",
        "status": "queued",
        "created_at": "now",
    } | {name: payload if value == "PICKLE" else value for name, value in planted.items()}
    job_id = secrets.token_hex(8)
    redis.hset(f"rq:job:{job_id}", mapping=fields)  # pyright: ignore[reportUnknownMemberType]
    redis.zadd("dockbus:jobs", {job_id: 1})

    found = api.get(f"/v1/jobs/{job_id}").json()
    assert (found["kind"], found["spec"], found["terms"]) == (None, None, None)
    assert found["error"]["code"] == "job-refused"
    problem(api.post(f"/v1/jobs/{job_id}/replay"), 409, "job-refused")
    assert [job["id"] for job in api.get("/v1/jobs").json()] == [job_id]
    assert api.get(f"/v1/jobs/{job_id}/logs?follow=false").text.startswith("event: end\n")
    assert not marker.exists()
    pickle.loads(zlib.decompress(payload))  # noqa: S301  the trap works
    assert marker.exists()
