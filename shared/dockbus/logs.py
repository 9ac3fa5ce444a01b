"""How the long-running processes log, on standard error: lines for people, or one JSON object a line for programs.

Much of what they tell was written by others: labels, names, answers. What cannot be printed is escaped. Among the lines for
people a traceback is indented, so that a line that begins with a time is ours. What a line is about (a job, an
Engine) is told apart from its words: by the process, by `about`, and by `extra` where it is logged.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from dockbus import tracing
from dockbus.errors import DockbusError
from dockbus.records import Failure
from dockbus.settings import LogSettings

FIELDS = {
    "time": "when, in UTC",
    "level": "`debug`, `info`, `warning`, `error` or `critical`",
    "logger": "the part of dockbus, or of a library, that says it",
    "message": "what happened, in words",
    "program": "which `dockbus` command the process is",
    "engine": "the name of the Engine that it is about",
    "queue": "the queue that it is about",
    "kind": "the kind of the job",
    "job": "the ID of the job",
    "error": "the [code](errors.md) of the error",
    "trace_id": "the [trace](#traces) that it is part of, in hexadecimal",
    "exception": "a traceback, for what dockbus did not expect",
}
"""What an object may hold. The first four are always there, the others where they are known."""
_KNOWN = ("program", "engine", "queue", "kind", "job", "error", "trace_id")
_NOISY = ("urllib3", "docker", "rq.job")

_facts: ContextVar[Mapping[str, str]] = ContextVar("facts", default={})  # noqa: B039  nobody writes to it


@contextmanager
def about(**facts: str) -> Generator[None]:
    """What this thread logs while the block runs is about this: fields of `FIELDS`."""
    before = _facts.set({**_facts.get(), **facts})
    try:
        yield
    finally:
        _facts.reset(before)


def _printable(text: str) -> str:
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


class _Lines(logging.Formatter):
    """One line for what happened, indented ones for a traceback."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        self.converter = time.gmtime

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  its name there
        return _printable(super().formatMessage(record))

    def formatException(  # noqa: N802  its name there
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None]
        | tuple[None, None, None],
    ) -> str:
        lines = super().formatException(ei).splitlines()
        return "\n".join(f"    {_printable(line)}" for line in lines)


class _Objects(logging.Formatter):
    """One JSON object for each record, in ASCII."""

    def __init__(self, facts: Mapping[str, str]) -> None:
        super().__init__()
        self._facts = facts

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        told: dict[str, Any] = {
            "time": f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        found = {"error": _code(record), "trace_id": tracing.trace_id()}
        known = {**self._facts, **found, **_facts.get(), **vars(record)}
        told |= {name: str(known[name]) for name in _KNOWN if known.get(name)}
        if record.exc_info and record.exc_info[0]:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told)


def _code(record: logging.LogRecord) -> str:
    """The code of the error that a record is about."""
    raised = record.exc_info[1] if record.exc_info else None
    given = record.args if isinstance(record.args, tuple) else ()
    codes = (one.code for one in (raised, *given) if isinstance(one, DockbusError | Failure))
    return next(codes, "bug" if raised else "")


def log_to_stderr(settings: LogSettings, **facts: str) -> None:
    """Send what this process and its libraries log to standard error. Called once, in a command's main.

    Args:
        settings: how, and from which level up.
        facts: what all of it is about, fields of `FIELDS`.
    """
    formatter = _Objects(facts) if settings.format == "json" else _Lines()
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    handler.setLevel(level)  # some libraries set levels of their own
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda args: _uncaught(
        args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback
    )


def are_objects() -> bool:
    """Whether this process logs JSON."""
    return any(isinstance(one.formatter, _Objects) for one in logging.getLogger().handlers)


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logging.getLogger("dockbus").critical("a bug in dockbus", exc_info=(kind, error, trace))
