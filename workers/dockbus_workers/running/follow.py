"""Logging what a container writes, until it has stopped, from wherever an earlier attempt had come to."""

from __future__ import annotations

import sys
from functools import partial

from dockbus.engine import Container, ContainerNotFound, EngineTimeout
from dockbus.engine.views import parse_time
from dockbus.joblog import Stream
from dockbus_workers.context import JobContext
from dockbus_workers.running.errors import ContainerLost

STRAY = 10
"""Seconds by which a line may be out of order. The Engine reads stdout and stderr in two threads, each of which
stamps a line before it writes it down: only the lines of one stream come in the order of their stamps."""


def follow(container: str, ctx: JobContext, *, seen: dict[Stream, str]) -> Container:
    """Log the container's output, after the lines stamped as in `seen`, until it has stopped; returns how it ended.

    Raises:
        ContainerLost: somebody has removed it.
    """
    told = dict.fromkeys(seen, sys.maxsize)  # characters of that line; a long one comes in pieces
    ended: Container | None = None
    while True:
        try:
            _read(container, ctx, seen, told, to_the_end=ended is not None)
            if ended:
                return ended
            # Read once more after its end: the Engine may close a stream before an unfinished last line.
            now = ctx.engine.containers.get(container)
        except ContainerNotFound as error:
            raise ContainerLost(container[:12]) from error
        if now.is_stopped:
            ended = now
        else:
            ctx.sleep(0.1)


def _read(
    container: str,
    ctx: JobContext,
    seen: dict[Stream, str],
    told: dict[Stream, int],
    *,
    to_the_end: bool,
) -> None:
    """Log what is new; `seen` has the stamp of the last line of each stream, `told` how much of that was logged.

    With `to_the_end`, nothing more will come, so no thread is needed to wait for it.
    """
    since = parse_time(max(seen.values(), default=""))
    start = partial(
        ctx.engine.containers.logs,
        container,
        since=str(int(since.timestamp() - STRAY)) if since else "",
    )
    known, skip = dict(seen), dict(told)
    try:
        for line in ctx.read(start) if to_the_end else ctx.pump(start):
            text, last = line.text, known.get(line.stream, "")
            if line.stamp == last:
                over = skip[line.stream]
                text, skip[line.stream] = text[over:], max(0, over - len(text))
            if line.stamp > last or (line.stamp == last and text):
                more = line.stamp == seen.get(line.stream)
                told[line.stream] = len(text) + (told[line.stream] if more else 0)
                seen[line.stream] = line.stamp
                ctx.log(text, line.stream, line.stamp)
    except EngineTimeout:
        pass  # it has been silent; a connection that had died would look the same, so connect again
