"""What the API's own description says beyond what FastAPI finds out: problems, streamed models, request bodies.

FastAPI describes only models that it reads or writes itself. Those that are not go into the components here,
where routes point at them.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from dockbus.errors import DockbusError
from dockbus.events import Event
from dockbus.joblog import LogLine, Progress
from dockbus.stats import EngineStats
from dockbus_producer.api.job_request import BatchRequest, JobRequest, ReplayRequest
from dockbus_producer.api.problems import MEDIA_TYPE, STATUS, Problem
from dockbus_producer.api.streams import Gone

_SCHEMAS = "#/components/schemas/{model}"
_UNSEEN = (
    JobRequest,
    BatchRequest,
    ReplayRequest,
    Problem,
    Event,
    Gone,
    LogLine,
    Progress,
    EngineStats,
)


class DescribedApp(FastAPI):
    """An app whose description has the models that FastAPI does not see."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        document = super().openapi()
        _, found = models_json_schema(
            [(model, "validation") for model in _UNSEEN],
            ref_template=_SCHEMAS,
        )
        document["components"]["schemas"].update(found["$defs"])
        return document


def problems(*errors: type[DockbusError]) -> dict[int | str, dict[str, Any]]:
    """Responses of a route that may raise these."""
    titles: dict[int | str, list[str]] = {}
    for error in errors:
        titles.setdefault(STATUS[error], []).append(error().title)
    return {
        status: {"description": " Or: ".join(texts), "content": {MEDIA_TYPE: _schema(Problem)}}
        for status, texts in titles.items()
    }


def streams(*models: type[BaseModel]) -> dict[str, Any]:
    """Description of a route that streams these as the data of server-sent events."""
    choice = {"oneOf": [_schema(model)["schema"] for model in models]}
    data = {"contentMediaType": "application/json", "contentSchema": choice}
    item = {"itemSchema": {"properties": {"data": data}}}
    return {"responses": {"200": {"content": {"text/event-stream": item}}}}


def takes(
    model: type[BaseModel], examples: dict[str, dict[str, Any]], *, required: bool = True
) -> dict[str, Any]:
    """Description of a route that reads its body itself."""
    content = _schema(model) | {"examples": examples}
    return {"requestBody": {"required": required, "content": {"application/json": content}}}


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return {"schema": {"$ref": _SCHEMAS.format(model=model.__name__)}}
