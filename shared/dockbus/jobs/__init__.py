"""The job kinds: what goes in (a spec), what comes out (a result), and the registry of both.

A new kind is a module here, a handler in `dockbus_workers.handlers`, and one line in each registry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from dockbus.errors import InvalidSpec, near_miss
from dockbus.jobs.actions import (
    Action,
    ActionResult,
    Ending,
    Exec,
    ExecResult,
    NotDone,
    Remove,
    RemoveResult,
    Restart,
    RestartResult,
    Start,
    StartResult,
    Stop,
    StopResult,
)
from dockbus.jobs.base import (
    LABEL_BUS,
    LABEL_ENGINE,
    LABEL_JOB,
    LABEL_KEEP,
    LABEL_MANAGED,
    LABEL_ORDER,
    LABEL_REMOVE,
    Kind,
    Queue,
    ResultModel,
    SpecModel,
)
from dockbus.jobs.build import Build, BuildResult
from dockbus.jobs.cleanup import Cleanup, CleanupItem, CleanupResult
from dockbus.jobs.gate import Gate, Ignore, Severity
from dockbus.jobs.pull import Pull, PullResult
from dockbus.jobs.run import Run, RunResult
from dockbus.jobs.scan import Scan, ScanResult, Vulnerability
from dockbus.retries import RetryPolicy

Spec = Annotated[
    Pull | Build | Run | Scan | Cleanup | Restart | Stop | Start | Remove | Exec,
    Field(discriminator="kind"),
]
Result = Annotated[
    PullResult
    | BuildResult
    | RunResult
    | ScanResult
    | CleanupResult
    | RestartResult
    | StopResult
    | StartResult
    | RemoveResult
    | ExecResult,
    Field(discriminator="kind"),
]


@dataclass(frozen=True)
class KindInfo:
    """What the bus needs to know of a kind."""

    spec: type[SpecModel]
    result: type[ResultModel]
    timeout: int
    """Seconds one attempt may take where the caller names no timeout."""
    retry: RetryPolicy
    """What holds where the caller names no policy."""


KINDS: dict[Kind, KindInfo] = {
    Kind.PULL: KindInfo(Pull, PullResult, 900, RetryPolicy(base=4.0)),
    Kind.BUILD: KindInfo(Build, BuildResult, 3600, RetryPolicy(base=4.0)),
    Kind.RUN: KindInfo(Run, RunResult, 3600, RetryPolicy(base=2.0)),
    Kind.SCAN: KindInfo(Scan, ScanResult, 900, RetryPolicy(base=4.0)),
    Kind.CLEANUP: KindInfo(Cleanup, CleanupResult, 600, RetryPolicy(base=2.0)),
    Kind.RESTART: KindInfo(Restart, RestartResult, 300, RetryPolicy(base=2.0)),
    Kind.STOP: KindInfo(Stop, StopResult, 300, RetryPolicy(base=2.0)),
    Kind.START: KindInfo(Start, StartResult, 300, RetryPolicy(base=2.0)),
    Kind.REMOVE: KindInfo(Remove, RemoveResult, 300, RetryPolicy(base=2.0)),
    Kind.EXEC: KindInfo(Exec, ExecResult, 3600, RetryPolicy(base=2.0)),
}

_spec: TypeAdapter[Spec] = TypeAdapter(Spec)
_result: TypeAdapter[Result] = TypeAdapter(Result)


def parse_spec(text: str | bytes) -> Spec:
    """The spec in this JSON.

    Raises:
        InvalidSpec: it is none; every wrong field is named.
    """
    try:
        return _spec.validate_json(text)
    except ValidationError as error:
        raise InvalidSpec(explain(error)) from None


def parse_result(text: str | bytes) -> Result:
    """The result in this JSON, as a worker wrote it."""
    return _result.validate_json(text)


def explain(error: ValidationError) -> str:
    """A validation error in one line: `field: what is wrong; …`, with a guess at what a typo was meant to be."""
    return "; ".join(_explain(item) for item in error.errors())


def _explain(item: ErrorDetails) -> str:
    loc = list(item["loc"])
    kind = next(
        (part for part in loc[:-1] if part in list(Kind)), None
    )  # a field may be named so, too
    if kind:
        loc.remove(kind)
    field = ".".join(str(part) for part in loc)
    if item["type"] == "union_tag_not_found":
        return f"kind: it is missing; write one of {', '.join(Kind)}"
    if item["type"] == "union_tag_invalid":
        tag = str(item.get("ctx", {}).get("tag"))
        return f"kind: {tag!r} is none of {', '.join(Kind)}{near_miss(tag, list(Kind))}"
    if item["type"] == "extra_forbidden" and kind:
        known = list(KINDS[Kind(kind)].spec.model_fields)
        return f"{field}: no such field{near_miss(str(item['loc'][-1]), known)}"
    return f"{field or 'spec'}: {item['msg'].removeprefix('Value error, ')}"


__all__ = [
    "KINDS",
    "LABEL_BUS",
    "LABEL_ENGINE",
    "LABEL_JOB",
    "LABEL_KEEP",
    "LABEL_MANAGED",
    "LABEL_ORDER",
    "LABEL_REMOVE",
    "Action",
    "ActionResult",
    "Build",
    "BuildResult",
    "Cleanup",
    "CleanupItem",
    "CleanupResult",
    "Ending",
    "Exec",
    "ExecResult",
    "Gate",
    "Ignore",
    "Kind",
    "KindInfo",
    "NotDone",
    "Pull",
    "PullResult",
    "Queue",
    "Remove",
    "RemoveResult",
    "Restart",
    "RestartResult",
    "Result",
    "ResultModel",
    "Run",
    "RunResult",
    "Scan",
    "ScanResult",
    "Severity",
    "Spec",
    "SpecModel",
    "Start",
    "StartResult",
    "Stop",
    "StopResult",
    "Vulnerability",
    "explain",
    "parse_result",
    "parse_spec",
]
