"""One trace from whoever wants a job to the worker that has carried it out, as a receiver of traces gets it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator
from pathlib import Path

import httpx
import pytest
from redis import Redis

from commandline import CommandLine
from dockbus import Bus, JobFailed, Settings
from dockbus.events import STREAM
from dockbus.queue.keys import job_key
from dockbus.settings import ApiSettings, LogSettings, ScheduleSettings, WatchSettings
from processes import Program
from runs import shell
from traces import Traces, traces
from waiting import wait_for

Start = Callable[..., Program]
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{CALLER}-01"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Generator[Traces]:
    with traces() as received:
        for name, value in received.variables.items():
            monkeypatch.setenv(name, value)
        yield received


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "rules:\n  - {name: tidy, own: true, on: io.dockbus.job.failed, do: {kind: cleanup, dry_run: true}}\n"
    )
    schedules = tmp_path / "schedules.yaml"
    schedules.write_text(
        "schedules:\n  - {name: often, every: 1s, do: {kind: cleanup, dry_run: true}}\n"
    )
    changed = {
        "api": ApiSettings(port=0),
        "log": LogSettings(format="json"),
        "watch": WatchSettings(rules=str(rules)),
        "schedule": ScheduleSettings(path=str(schedules)),
    }
    return settings.model_copy(update=changed)


def logged(program: Program) -> list[dict[str, str]]:
    return [json.loads(line) for line in program.log.read_text().splitlines()]


def test_one_trace_leads_from_a_call_to_the_worker(
    collector: Traces, start: Start, bus: Bus, redis: Redis, base_image: str
) -> None:
    worker, api = start("worker", "run"), start("api")
    api.wait_until_said("the API listens")
    [listens] = [one["message"] for one in logged(api) if "listens" in one["message"]]
    answer = httpx.post(
        f"{listens.split()[-1]}/v1/jobs",
        json={"spec": json.loads(shell("exit 3", env={"PASSWORD": "hunter2"}).model_dump_json())},
        headers={
            "Authorization": f"Bearer {bus.settings.api_token()}",
            "traceparent": PARENT,
            "tracestate": "vendor=1",
        },
        trust_env=False,
    )
    assert answer.status_code == 202, answer.text
    job = bus.job(answer.json()["id"])
    job.wait(timeout=60)

    call = collector.span("POST /v1/jobs")
    enqueued = collector.span("enqueue run")
    processed = collector.span("process run")
    assert [span.trace for span in (call, enqueued, processed)] == [TRACE] * 3
    assert [call.parent, enqueued.parent, processed.parent] == [CALLER, call.id, enqueued.id]
    assert [call.kind, enqueued.kind, processed.kind] == ["SERVER", "PRODUCER", "CONSUMER"]
    assert [call.service, processed.service] == ["dockbus-api", "dockbus-worker"]
    for span, operation in ((enqueued, "send"), (processed, "process")):
        assert span.facts["messaging.operation.type"] == operation
        assert span.facts["messaging.destination.name"] == "run"
        assert span.facts["messaging.message.id"] == job.id
    told = {
        name: processed.facts[f"dockbus.{name}"]
        for name in ("kind", "attempt", "engine", "outcome")
    }
    assert told == {"kind": "run", "attempt": 1, "engine": "local", "outcome": "succeeded"}
    assert processed.error is None
    assert {collector.span(name).parent for name in ("create", "wait")} == {processed.id}
    assert "hunter2" not in str(collector.spans())

    assert {one["trace_id"] for one in logged(worker) if one.get("job") == job.id} == {TRACE}
    assert not redis.hexists(job_key(job.id), "traceparent")
    assert not redis.hexists(job_key(job.id), "tracestate")


def test_what_fails_is_told_and_so_is_the_rule_that_answers(
    collector: Traces, start: Start, bus: Bus, redis: Redis, base_image: str
) -> None:
    start("watch")
    start("worker", "run")
    wait_for(
        lambda: redis.exists(STREAM) and redis.xinfo_groups(STREAM), what="the watch to listen"
    )
    job = bus.enqueue(shell("true", networks=["dockbus-test-tracing-none"]))
    with pytest.raises(JobFailed):
        job.wait(timeout=60)

    failed = collector.span("process run")
    assert failed.parent == ""  # who ordered it does not trace
    assert failed.facts["error.type"] == "engine-rejected"
    assert failed.facts["dockbus.outcome"] == "failed"
    assert "dockbus-test-tracing-none" in str(failed.error)
    rule = collector.span("rule tidy")
    assert rule.facts["cloudevents.event_type"] == "io.dockbus.job.failed"
    assert rule.facts["cloudevents.event_subject"] == job.id
    assert collector.span("enqueue cleanup").parent == rule.id


def test_a_schedule_begins_a_trace_for_each_slot(collector: Traces, start: Start, bus: Bus) -> None:
    start("schedule")

    wait_for(lambda: len([span for span in collector.spans() if span.name == "schedule often"]) > 1)

    slots = [span for span in collector.spans() if span.name == "schedule often"]
    jobs = [span for span in collector.spans() if span.name == "enqueue cleanup"]
    assert {span.parent for span in slots} == {""}
    assert len({span.trace for span in slots}) == len(slots)
    assert {span.id for span in slots} <= {span.parent for span in jobs}


def test_a_command_is_part_of_the_trace_in_its_environment(
    collector: Traces, dockbus: CommandLine
) -> None:
    dockbus.env |= collector.variables | {"TRACEPARENT": PARENT, "OTEL_SERVICE_NAME": "pipeline"}

    job = dockbus.ok("pull", "example/one", "--detach").strip()

    sent = collector.span("enqueue pull")
    assert (sent.trace, sent.parent, sent.service) == (TRACE, CALLER, "pipeline")
    assert sent.facts["messaging.message.id"] == job


def test_a_receiver_that_is_not_there_keeps_nobody_waiting(dockbus: CommandLine) -> None:
    dockbus.env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    begun = time.monotonic()

    dockbus.ok("pull", "example/two", "--detach")

    assert time.monotonic() - begun < 5
