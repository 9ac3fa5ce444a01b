"""The transitions of a job, as Redis runs them: one script each, in `lua/`, all on the same ground, `common.lua`."""

# redis-py's own annotations are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

from redis import Redis
from redis.exceptions import NoScriptError, ReadOnlyError

from dockbus import tally
from dockbus.errors import DependencyFailed, WorkerLost
from dockbus.events import STREAM
from dockbus.joblog import KEY as LOG
from dockbus.queue import keys
from dockbus.records import Failure

Argument = str | bytes | int | float
CLEARING = 3
"""Attempts beyond the limit that only clear away what dead workers have left."""


class Scripts:
    """The scripts of one bus; `keep` is how many events the event stream holds."""

    def __init__(self, redis: Redis, *, keep: int) -> None:
        self._redis = redis
        self._keep = keep

    def run(self, name: str, *arguments: Argument) -> Any:  # noqa: ANN401  what a script answers is its own
        """Run a script; it gets the time first, then `arguments`."""
        sent = (now(), *arguments)
        text, sha = source(name, self._keep)
        try:
            return self._redis.evalsha(sha, 0, *sent)
        except NoScriptError:  # the first call, or Redis was restarted
            return self._redis.eval(text, 0, *sent)

    def run_many(self, name: str, calls: Sequence[Sequence[Argument]]) -> list[Any]:
        """Run a script once for each of `calls`, in one round trip; an error stands in its call's place."""
        if len(calls) == 1:
            return [self.run(name, *calls[0])]
        text, sha = source(name, self._keep)
        moment = now()
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.script_load(text)
            for arguments in calls:
                pipe.evalsha(sha, 0, moment, *arguments)
            answers: list[Any] = pipe.execute(raise_on_error=False)
        if any(isinstance(answer, ReadOnlyError) for answer in answers):
            # It was the primary. Nothing was raised, so nobody has closed its connections; the next call is to make its own.
            self._redis.connection_pool.disconnect(inuse_connections=False)
        return answers[1:]


def now() -> str:
    """The time as RQ writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@cache
def source(name: str, keep: int) -> tuple[str, str]:
    """The text of a script and its SHA-1, by which Redis knows it."""
    folder = files("dockbus.queue") / "lua"
    names = {
        "RQ": keys.RQ,
        "LOG": LOG,
        "EVENTS": STREAM,
        "KEEP": str(keep),
        "INDEX": keys.INDEX,
        "BUS": keys.BUS,
        "CLEARING": str(CLEARING),
        "WAITS": _listed(tally.WAITS),
        "RUNS": _listed(tally.RUNS),
        "LOST": _quoted(Failure.of(WorkerLost()).model_dump_json()),
        "DEPENDENCY": _quoted(Failure.of(DependencyFailed("{parent}")).model_dump_json()),
    }
    text = (folder / "common.lua").read_text() + (folder / f"{name}.lua").read_text()
    text = tally.script(re.sub(r"%([A-Z]+)%", lambda match: names[match[1]], text))
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _quoted(text: str) -> str:
    return f"[==[{text}]==]"


def _listed(texts: Sequence[str]) -> str:
    return ",".join(f"'{text}'" for text in texts)
