"""Traces as programs send them, by OTLP over HTTP, to a receiver on loopback."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from receivers import Receiver, receiver
from waiting import wait_for

_KINDS = ("", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")


@dataclass(frozen=True)
class Span:
    name: str
    kind: str
    """Such as `PRODUCER`."""
    trace: str
    id: str
    parent: str
    """Empty where it is the first of its trace."""
    service: str
    facts: Mapping[str, object]
    error: str | None
    """What went wrong, in words, if something did."""


@dataclass(frozen=True)
class Traces:
    """What was received."""

    receiver: Receiver

    @property
    def variables(self) -> dict[str, str]:
        """What has a program send its traces here, as soon as there are any."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.receiver.port}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }

    def spans(self) -> list[Span]:
        return [span for request in list(self.receiver.got) for span in _spans(request.body)]

    def span(self, name: str) -> Span:
        """The first span of that name, as soon as it is there."""
        return wait_for(
            lambda: next((span for span in self.spans() if span.name == name), None),
            what=f"a span {name!r}",
        )


@contextmanager
def traces() -> Generator[Traces]:
    with receiver() as at:
        yield Traces(at)


def _spans(body: bytes) -> Generator[Span]:
    # It comes with an extra, and only these tests want it.
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415
        ExportTraceServiceRequest,
    )

    request: Any = ExportTraceServiceRequest.FromString(body)
    for resource in request.resource_spans:
        service = _facts(resource.resource.attributes)["service.name"]
        for span in (one for scope in resource.scope_spans for one in scope.spans):
            yield Span(
                name=span.name,
                kind=_KINDS[int(span.kind)],
                trace=span.trace_id.hex(),
                id=span.span_id.hex(),
                parent=span.parent_span_id.hex(),
                service=str(service),
                facts=_facts(span.attributes),
                error=span.status.message if span.status.code == 2 else None,
            )


def _facts(attributes: Any) -> dict[str, object]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
