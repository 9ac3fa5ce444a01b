"""Traces, for those who want them: OpenTelemetry spans from whoever orders a job to the worker that carries it out.

A job's record carries the W3C trace context beside its order, so that an attempt's span is a child of the one in which
the job was ordered. Nothing is imported or recorded unless OTEL_* variables name a receiver (`start`), or a program that
uses this library has brought OpenTelemetry's SDK itself. Spans tell what logs tell: no specs, and errors as redacted.
"""

# ruff: noqa: PLC0415  what is optional is imported where it is wanted

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib.metadata import version
from typing import Any, Literal

from pydantic import ValidationError

from dockbus.orders import Order
from dockbus.records import Failure

log = logging.getLogger(__name__)

CARRIED = ("traceparent", "tracestate")
"""Fields of a job's record, by the names of W3C Trace Context."""
PATIENCE = 2.0
"""Seconds for one try to send spans, unless OTEL_* say: a program that ends waits as long for a receiver that is away."""
_TIMEOUTS = {"OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"}


def start(program: str) -> None:
    """Send this process' spans to where OTEL_* say, if they do, as service `dockbus-PROGRAM` if they give no name.

    Called once, in a command's main, when logs are set up.
    """
    env = os.environ.get
    endpoint = env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or env("OTEL_EXPORTER_OTLP_ENDPOINT")
    way = env("OTEL_TRACES_EXPORTER") or ("otlp" if endpoint else "none")
    if way == "none" or env("OTEL_SDK_DISABLED", "").lower() == "true" or _is_on():
        return
    protocol = env("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or env("OTEL_EXPORTER_OTLP_PROTOCOL")
    if way != "otlp" or protocol not in (None, "", "http/protobuf"):
        log.warning("no traces: only OTEL_TRACES_EXPORTER=otlp with http/protobuf is there")
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace import set_tracer_provider
    except ModuleNotFoundError as missing:
        log.warning("no traces: %s is missing: pip install 'dockbus[otel]'", missing.name)
        return
    resource = Resource.create({"service.version": version("dockbus")})
    if str(resource.attributes["service.name"]).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": f"dockbus-{program}"}))
    provider = TracerProvider(resource=resource)
    exporter = OTLPSpanExporter(timeout=None if _TIMEOUTS & os.environ.keys() else PATIENCE)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    set_tracer_provider(provider)


def enqueuing(jobs: Sequence[str], orders: Sequence[Order]) -> AbstractContextManager[None]:
    """A span around putting jobs on the bus; what their records are to have of it is `carried`.

    It is a child of the span that this thread is in, else of TRACEPARENT, where that is in the environment.
    """
    about: dict[str, str | int] = {
        "messaging.system": "dockbus",
        "messaging.operation.type": "send",
    }
    given = {name: os.environ[name.upper()] for name in CARRIED if name.upper() in os.environ}
    parent = None if carried() else given
    if len(jobs) != 1:
        about["messaging.batch.message_count"] = len(jobs)
        return span("enqueue", about, kind="PRODUCER", parent=parent)
    queue = orders[0].spec.kind.queue.value
    about |= {"messaging.destination.name": queue, "messaging.message.id": jobs[0]}
    return span(f"enqueue {queue}", about, kind="PRODUCER", parent=parent)


def processing(
    job: str, queue: str, parent: Mapping[str, str], **facts: str | int
) -> AbstractContextManager[None]:
    """A span around an attempt at a job, a child of what the job's record carries."""
    queue = queue.partition("@")[0]
    about = {
        "messaging.system": "dockbus",
        "messaging.operation.type": "process",
        "messaging.destination.name": queue,
        "messaging.message.id": job,
        **_own(**facts),
    }
    return span(f"process {queue}", about, kind="CONSUMER", parent=parent)


@contextmanager
def span(
    name: str,
    about: Mapping[str, str | int] | None = None,
    *,
    kind: Literal["INTERNAL", "PRODUCER", "CONSUMER"] = "INTERNAL",
    parent: Mapping[str, str] | None = None,
) -> Generator[None]:
    """A span around what this thread does in the block; a decorator, too."""
    if not _is_on():
        yield
        return
    from opentelemetry.trace import SpanKind, StatusCode, get_tracer

    with get_tracer("dockbus").start_as_current_span(
        name,
        context=_propagator().extract(parent) if parent else None,
        kind=SpanKind[kind],
        attributes=about,
        record_exception=False,  # its words are not redacted
        set_status_on_exception=False,
    ) as begun:
        try:
            yield
        except Exception as error:
            begun.set_attribute("error.type", getattr(error, "code", type(error).__qualname__))
            begun.set_status(StatusCode.ERROR)
            raise


def note(outcome: str, failure: str) -> None:
    """Note on this thread's span how an attempt ended, and where it failed with what: the JSON of a `Failure`."""
    if not _is_on():
        return
    from opentelemetry.trace import StatusCode, get_current_span

    get_current_span().set_attributes(_own(outcome=outcome))
    if outcome in ("failed", "dead", "retry"):
        get_current_span().set_status(StatusCode.ERROR)
        with suppress(ValidationError):  # an earlier attempt's, which anybody could have written
            told = Failure.model_validate_json(failure)
            get_current_span().set_attribute("error.type", told.code)
            get_current_span().set_status(StatusCode.ERROR, str(told))


def carried() -> dict[str, str]:
    """What a job's record is to have of the span that this thread is in."""
    fields: dict[str, str] = {}
    if _is_on():
        _propagator().inject(fields)
    return fields


def trace_id() -> str:
    """The trace of the span that this thread is in, in hexadecimal; empty where there is none."""
    return carried().get("traceparent", "").partition("-")[2][:32]


def _own(**facts: str | int) -> dict[str, str | int]:
    return {f"dockbus.{name}": value for name, value in facts.items()}


def _propagator() -> Any:  # noqa: ANN401  its type is optional, too
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator()


def _is_on() -> bool:
    """Whether this process has the SDK, without which spans go nowhere."""
    return "opentelemetry.sdk.trace" in sys.modules
