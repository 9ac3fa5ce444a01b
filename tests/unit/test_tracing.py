"""Tracing where nobody wants it, where it cannot be had, and in programs that trace by themselves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

WITHOUT = """
import sys

class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Nowhere())
"""
USE = """
import logging, os, sys
logging.basicConfig(level="INFO", format="%(message)s")
from dockbus import Run, tracing
from dockbus.orders import Order

def use(**variables):
    os.environ |= {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"} | variables
    tracing.start("test")
    for name in variables:
        del os.environ[name]
    with tracing.enqueuing(["j"], [Order(spec=Run(image="x"))]):
        carried = tracing.carried()
    with tracing.processing("j", "run@local", {"traceparent": "00-junk"}, attempt=1):
        with tracing.span("part"):
            tracing.note("failed", "{}")
            assert not carried and not tracing.trace_id()
    # Redis' client imports what is of metrics, wherever that is installed.
    assert not {"opentelemetry.sdk.trace", "opentelemetry.exporter"} & sys.modules.keys()
"""


def run(script: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_where_nobody_wants_traces_nothing_is_imported_or_said() -> None:
    done = run(
        f"{USE}\n"
        "use(OTEL_EXPORTER_OTLP_ENDPOINT='')\n"
        "use(OTEL_SDK_DISABLED='true')\n"
        "use(OTEL_TRACES_EXPORTER='none')\n"
    )

    assert done.stderr == ""


def test_where_traces_cannot_be_had_the_log_says_why_and_all_goes_on() -> None:
    done = run(
        f"{WITHOUT}{USE}\n"
        "use()\n"
        "use(OTEL_EXPORTER_OTLP_PROTOCOL='grpc')\n"
        "use(OTEL_TRACES_EXPORTER='zipkin')\n"
    )

    missing, *others = done.stderr.splitlines()
    assert missing.endswith("is missing: pip install 'dockbus[otel]'")
    assert ["http/protobuf" in line for line in others] == [True, True]


TRACED = """
import json
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from dockbus import Pull, Run, tracing
from dockbus.errors import JobTimeout
from dockbus.orders import Order
from dockbus.records import Failure

kept = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(kept))
trace.set_tracer_provider(provider)
tracing.start("test")

@tracing.span("part")
def part():
    raise JobTimeout("secret words")

orders = [Order(spec=Run(image="x")), Order(spec=Pull(image="y"))]
with trace.get_tracer("mine").start_as_current_span("mine"):
    with tracing.enqueuing(["a", "b"], orders):
        carried = tracing.carried()
with tracing.processing("a", "run@local", carried, attempt=2):
    try:
        part()
    except JobTimeout as error:
        tracing.note("retry", Failure.of(error).model_copy(update={"detail": "***"}).model_dump_json())
    traced = tracing.trace_id()
with tracing.processing("b", "pull", {"traceparent": "00-junk"}):
    tracing.note("succeeded", "{}")
spans = {span.name: span for span in kept.get_finished_spans()}
about = lambda span: dict(
    parent=format(span.parent.span_id, "016x") if span.parent else "",
    id=format(span.context.span_id, "016x"),
    trace=format(span.context.trace_id, "032x"),
    facts=dict(span.attributes),
    events=len(span.events),
    error=[span.status.status_code.name, span.status.description],
)
print(json.dumps({"carried": carried, "traced": traced} | {name: about(span) for name, span in spans.items()}))
"""


@pytest.fixture(scope="module")
def told() -> Any:
    """What a program that traces by itself has recorded."""
    return json.loads(run(TRACED).stdout)


def test_a_program_that_traces_by_itself_has_the_jobs_in_its_traces(told: Any) -> None:
    mine, sent, done, part = (told[name] for name in ("mine", "enqueue", "process run", "part"))

    assert [sent["parent"], done["parent"], part["parent"]] == [mine["id"], sent["id"], done["id"]]
    assert told["carried"].keys() == {"traceparent"}
    assert told["carried"]["traceparent"].startswith(f"00-{mine['trace']}-{sent['id']}-")
    assert told["traced"] == mine["trace"]
    assert sent["facts"]["messaging.batch.message_count"] == 2
    assert done["facts"]["messaging.destination.name"] == "run"
    assert (done["facts"]["dockbus.attempt"], done["facts"]["dockbus.outcome"]) == (2, "retry")


def test_errors_are_told_as_they_were_redacted(told: Any) -> None:
    assert "secret words" not in str(told)
    assert told["part"]["facts"]["error.type"] == "job-timeout"
    assert told["part"]["error"] == ["ERROR", None]
    assert told["part"]["events"] == 0
    assert told["process run"]["facts"]["error.type"] == "job-timeout"
    assert told["process run"]["error"][0] == "ERROR"
    assert "***" in told["process run"]["error"][1]


def test_a_trace_that_cannot_be_read_is_begun_anew(told: Any) -> None:
    assert told["process pull"]["parent"] == ""
    assert told["process pull"]["error"] == ["UNSET", None]
