"""Terms, many orders at once, and replays, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import httpx
import pytest
from redis import Redis

from attempting import RESULT, attempts_on, settle, take
from dockbus import Bus, Failure
from serving import served

SPEC = {"kind": "cleanup", "labels": {"dockbus.test.nobody": "has this"}}


@pytest.fixture
def bus(engineless_bus: Bus) -> Bus:
    return engineless_bus


@pytest.fixture
def api(bus: Bus) -> Generator[httpx.Client]:
    with served(bus) as client:
        yield client


def code(response: httpx.Response, status: int) -> tuple[str, str]:
    """The code and the detail of a problem with that status."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    found = response.json()
    return found["type"].removeprefix("urn:dockbus:problem:"), found["detail"]


def made(api: httpx.Client, **terms: Any) -> dict[str, Any]:
    """The record of a new job."""
    response = api.post("/v1/jobs", json={"spec": SPEC, **terms})
    assert response.status_code == 202, response.text
    record: dict[str, Any] = response.json()
    return record


def end(bus: Bus, how: str, value: str) -> str:
    """Take the next cleanup job and end it like this; its ID."""
    attempts = attempts_on(bus)
    (attempt,) = take(attempts)
    assert settle(attempts, attempt, how, value)
    return attempt.job


def dead(api: httpx.Client, bus: Bus, **terms: Any) -> str:
    """The ID of a job whose attempts are used up."""
    job_id: str = made(api, **terms)["id"]
    with pytest.raises(ZeroDivisionError) as caught:
        _ = 1 / 0
    assert end(bus, "dead", Failure.of(caught.value).model_dump_json()) == job_id
    return job_id


def sent(api: httpx.Client, *orders: dict[str, Any], **more: Any) -> httpx.Response:
    body = {"orders": [{"spec": SPEC, **order} for order in orders], **more}
    return api.post("/v1/jobs/batch", json=body)


# -- terms ---------------------------------------------------------------------------------


def test_a_job_takes_every_term_and_its_record_shows_them(api: httpx.Client) -> None:
    first = made(api)["id"]
    terms = {
        "key": "api-terms",
        "engine": "far",
        "priority": "high",
        "delay": "1h",
        "timeout": 90,
        "after": [first],
        "after_failure": "skip",
        "exclusive": "image:web",
        "retry": {"max": 5, "base": 1, "cap": 60},
        "replay_of": None,
    }

    record = made(api, **terms)

    assert record["state"] == "waiting"
    assert record["terms"] == terms | {"delay": 3600.0}
    assert api.get(f"/v1/jobs/{record['id']}").json() == record
    (queue,) = (q for q in api.get("/v1/queues").json() if q["name"] == "cleanup@far")
    assert (queue["waiting"], queue["queued"]) == (1, 0)
    api.post(f"/v1/jobs/{first}/cancel")
    assert api.get(f"/v1/jobs/{record['id']}").json()["state"] == "canceled"


def test_a_delayed_job_says_when_it_is_due(api: httpx.Client) -> None:
    record = made(api, delay="90s")

    assert record["state"] == "scheduled"
    assert record["due"] > record["created"]
    assert made(api)["due"] is None


def test_a_job_to_wait_for_must_be_there(api: httpx.Client, redis: Redis) -> None:
    response = api.post("/v1/jobs", json={"spec": SPEC, "after": ["absent"]})

    assert code(response, 404) == ("job-not-found", "absent")
    assert redis.dbsize() == 0  # pyright: ignore[reportUnknownMemberType]


def test_jobs_are_listed_by_state(api: httpx.Client, bus: Bus) -> None:
    first = dead(api, bus)
    done = made(api)["id"]
    end(bus, "succeeded", RESULT)
    queued = made(api)["id"]

    def listed(query: str) -> list[str]:
        return [job["id"] for job in api.get(f"/v1/jobs?{query}").json()]

    assert listed("state=dead") == [first]
    assert listed("state=dead&state=failed&state=succeeded") == [done, first]
    assert listed("state=dead&state=queued&limit=1&offset=1") == [first]
    assert listed("state=waiting") == []
    assert listed("") == [queued, done, first]


def test_the_record_of_a_dead_job_says_why(api: httpx.Client, bus: Bus) -> None:
    job_id = dead(api, bus)

    record = api.get(f"/v1/jobs/{job_id}").json()

    assert (record["state"], record["attempts"], record["error"]["code"]) == ("dead", 1, "bug")
    assert record["error"]["detail"] == "ZeroDivisionError: division by zero"
    assert "in dead\n    _ = 1 / 0" in record["error"]["traceback"]
    logs = api.get(f"/v1/jobs/{job_id}/logs").text
    assert json.loads(logs.rpartition("data: ")[2].strip())["state"] == "dead"


# -- many at once --------------------------------------------------------------------------


def test_a_batch_is_put_on_the_bus_in_order(api: httpx.Client, bus: Bus) -> None:
    response = sent(api, {}, {"key": "api-batch"}, {"delay": "1h"})

    assert response.status_code == 202
    ids = response.json()["ids"]
    assert [record.id for record in reversed(bus.jobs())] == ids
    assert [bus.job(job).state.value for job in ids] == ["queued", "queued", "scheduled"]
    again = sent(api, {"key": "api-batch"}, {"key": "api-batch"}).json()["ids"]
    assert again == [ids[1], ids[1]]
    assert sent(api).json() == {"ids": []}
    assert len(bus.jobs()) == 3


def test_a_chain_runs_one_after_the_other(api: httpx.Client, bus: Bus) -> None:
    before = made(api)["id"]
    ids = sent(api, {"after": [before]}, {}, {}, chain=True).json()["ids"]

    after = [api.get(f"/v1/jobs/{job}").json()["terms"]["after"] for job in ids]

    assert after == [[before], [ids[0]], [ids[1]]]
    for number, job in enumerate([before, *ids]):
        states = [bus.job(other).state.value for other in ids]
        assert states.count("waiting") == 3 - number
        assert end(bus, "succeeded", RESULT) == job


def test_a_batch_with_one_wrong_order_leaves_nothing(api: httpx.Client, redis: Redis) -> None:
    wrong = (
        sent(api, {}, {"timeout": 0}),
        sent(api, {}, {"spec": {**SPEC, "lables": {}}}),
        sent(api, {}, {"spec": {**SPEC, "labels": {"big": "x" * 1024**2}}}),
        sent(api, {}, chain="yes"),
        api.post("/v1/jobs/batch", json=[{"spec": SPEC}]),
        api.post("/v1/jobs/batch", content=b'{"orders": ['),
        api.post(
            "/v1/jobs/batch", json={"orders": [{"spec": SPEC}]}, headers={"Idempotency-Key": "k"}
        ),
        sent(api, *({"delay": 1} for _ in range(1001))),
    )
    details = (
        "orders.1.timeout: ",
        "orders.1.spec.lables: no such field, did you mean 'labels'?",
        "a job may have 1048576",
        "chain: ",
        "should be an object",
        "Invalid JSON",
        "Idempotency-Key: ",
        "at most 1000",
    )

    for response, detail in zip(wrong, details, strict=True):
        found = code(response, 422)
        assert found[0] == "invalid-spec"
        assert detail in found[1]
    large = {"labels": {"big": "x" * 900_000}}
    assert code(sent(api, *[{"spec": {**SPEC, **large}}] * 10), 413)[0] == "body-too-large"
    assert redis.dbsize() == 0  # pyright: ignore[reportUnknownMemberType]


def test_a_conflict_in_a_batch_is_named_and_the_others_are_on_the_bus(
    api: httpx.Client, bus: Bus
) -> None:
    first = made(api, key="api-conflict")["id"]
    other = {"spec": {**SPEC, "dry_run": True}, "key": "api-conflict"}

    found = code(sent(api, {"key": "api-1"}, other, {"key": "api-2"}), 409)

    assert found == ("key-conflict", f"'api-conflict' is job {first}")
    keys = [record.terms and record.terms.key for record in bus.jobs()]
    assert keys == ["api-2", "api-1", "api-conflict"]
    rest = sent(api, {"key": "api-1"}, {"key": "api-2"})
    assert rest.json()["ids"] == [record.id for record in bus.jobs()[1::-1]]


def test_a_job_that_waits_for_nobody_in_a_batch_is_named(api: httpx.Client, bus: Bus) -> None:
    assert code(sent(api, {}, {"after": ["absent"]}), 404) == ("job-not-found", "absent")
    assert len(bus.jobs()) == 1


# -- replays -------------------------------------------------------------------------------


def test_a_job_is_replayed_on_its_terms_and_once(api: httpx.Client, bus: Bus) -> None:
    job_id = dead(api, bus, timeout=90, exclusive="api-replay", retry={"max": 0}, delay=0)

    response = api.post(f"/v1/jobs/{job_id}/replay")

    assert response.status_code == 202
    again = response.json()
    assert response.headers["location"] == f"/v1/jobs/{again['id']}"
    assert (again["state"], again["id"] != job_id) == ("queued", True)
    assert again["spec"] == api.get(f"/v1/jobs/{job_id}").json()["spec"]
    terms = again["terms"]
    assert (terms["replay_of"], terms["timeout"], terms["exclusive"], terms["retry"]["max"]) == (
        *(job_id, 90.0, "api-replay", 0),
    )
    for body in (b"", b"{}", b'{"edits": {}}'):
        same = api.post(f"/v1/jobs/{job_id}/replay", content=body)
        assert (same.status_code, same.json()["id"]) == (202, again["id"])


def test_a_replay_may_differ(api: httpx.Client, bus: Bus) -> None:
    job_id = dead(api, bus)
    body = {"edits": {"dry_run": True, "older_than": "7d"}}

    first, second = (api.post(f"/v1/jobs/{job_id}/replay", json=body).json() for _ in range(2))

    assert len({job_id, first["id"], second["id"]}) == 3
    assert (first["spec"]["dry_run"], first["spec"]["older_than"]) == (True, 604800.0)
    assert first["spec"]["labels"] == SPEC["labels"]
    assert first["terms"]["replay_of"] == second["terms"]["replay_of"] == job_id


def test_what_cannot_be_replayed_is_told(api: httpx.Client, bus: Bus) -> None:
    job_id = made(api)["id"]
    assert code(api.post(f"/v1/jobs/{job_id}/replay"), 409) == (
        *("job-not-replayable", f"job {job_id} is queued"),
    )
    api.post(f"/v1/jobs/{job_id}/cancel")
    for body, detail in (
        ({"edits": {"dryrun": True}}, "dryrun: no such field, did you mean 'dry_run'?"),
        ({"edits": {"older_than": "soon"}}, "older_than: "),
        ({"edits": {"kind": "rum"}}, "kind: "),
        ({"edits": [1]}, "edits: "),
        ({"spec": SPEC}, "spec: "),
    ):
        found = code(api.post(f"/v1/jobs/{job_id}/replay", json=body), 422)
        assert found[0] == "invalid-spec"
        assert detail in found[1]
    assert len(bus.jobs()) == 1
