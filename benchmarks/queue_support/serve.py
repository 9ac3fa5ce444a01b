"""A worker of the benchmark, as a program: `serve ours|fork|simple URL QUEUE`.

Ours is the worker process as it is, but for two things: cleanup jobs do nothing, and its Engine always
answers. RQ's are the classes behind `rq worker`, with the job's module imported before the first fork.
"""

# RQ's and redis-py's own annotations are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import sys
from typing import Any

from rq import SimpleWorker, Worker
from rq.serializers import JSONSerializer

from queue_support import stamps


def main(which: str, url: str, queue: str) -> None:
    """Serve until told to stop."""
    stamps.shared()
    if which == "ours":
        serve_ours()
    else:
        serve_rq({"fork": Worker, "simple": SimpleWorker}[which], url, queue)


def serve_rq(worker: Any, url: str, queue: str) -> None:  # noqa: ANN401  RQ's annotations are partial
    """A worker of RQ's, as `rq worker --serializer rq.serializers.JSONSerializer` makes it."""
    from redis import Redis  # noqa: PLC0415  for a fair weight: each imports what it needs

    connection = Redis.from_url(url)
    worker([queue], connection=connection, serializer=JSONSerializer).work(logging_level="WARNING")


def serve_ours() -> None:
    """A worker process of dockbus; the environment holds its settings."""
    from dockbus import Cleanup, Settings  # noqa: PLC0415
    from dockbus.jobs import CleanupResult, Kind, Queue  # noqa: PLC0415
    from dockbus_workers import process  # noqa: PLC0415
    from dockbus_workers.context import JobContext  # noqa: PLC0415
    from dockbus_workers.handlers import HANDLERS  # noqa: PLC0415

    class Engine:
        """One that is always there and has nothing to do."""

        name = "local"
        host = "nowhere"
        id = "nobody"

        def __init__(self, *_: object, **__: object) -> None: ...

        def ping(self) -> bool:
            return True

        def close(self) -> None: ...

    def begin(spec: Cleanup, ctx: JobContext) -> CleanupResult:
        ctx.check()  # as every handler does
        stamps.begin({"labels": spec.labels})
        return CleanupResult(dry_run=spec.dry_run, items=[], reclaimed=0)

    HANDLERS[Kind.CLEANUP] = begin
    process.__dict__["Engine"] = Engine
    process.WorkerProcess(Queue.CLEANUP, Settings.from_env()).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
