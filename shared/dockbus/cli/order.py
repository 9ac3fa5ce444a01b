"""The commands that put whole orders on the bus: many from a file, or again what has ended."""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import ValidationError

from dockbus import tracing
from dockbus.bus import Bus
from dockbus.cli import output, terminal
from dockbus.cli.options import Json, json_or_text, pairs
from dockbus.errors import InvalidSpec, JobError
from dockbus.ids import JobId
from dockbus.jobs import explain
from dockbus.orders import Order
from dockbus.records import JobRecord, JobState

ALL = 2**31
"""More jobs than a bus has."""


def enqueue(
    file: Annotated[
        typer.FileBinaryRead,
        typer.Argument(metavar="FILE", help="One order a line, as JSON; `-` is standard input."),
    ],
    chain: Annotated[
        bool, typer.Option("--chain", help="Each is to wait for the one before it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Put many jobs on the bus, from lines such as {"spec": {"kind": "pull", "image": "busybox"}, "key": "p1"}.

    No job is put on the bus where a line is wrong. Prints the IDs, in the order of the lines.
    """
    orders = [
        _order(line, f"line {number}") for number, line in enumerate(file, start=1) if line.strip()
    ]
    tracing.start("cli")
    with Bus.connect() as bus:
        jobs = bus.chain(*orders) if chain else bus.enqueue_many(orders)
    if as_json:
        output.document({"ids": [job.id for job in jobs]})
        return
    for job in jobs:
        terminal.line(job.id)


def replay(
    ctx: typer.Context,
    job_ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Jobs that have ended.")
    ] = None,
    dead: Annotated[
        bool, typer.Option("--dead", help="All jobs that are dead, oldest first.")
    ] = False,
    edits: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Change a field of the spec; the value is JSON or else text. May be repeated.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Order jobs that have ended again, on the same terms; prints the IDs of the new ones.

    Without --set, a job is ordered again once only: after that, this prints the same ID.
    """
    if dead == bool(job_ids):
        raise typer.BadParameter("name jobs, or give --dead", ctx)
    changes = {field: json_or_text(value) for field, value in pairs(edits or (), "--set").items()}
    ordered: list[JobRecord] = []
    failed = False
    tracing.start("cli")
    with Bus.connect() as bus:
        for job_id in job_ids or _dead(bus):
            try:
                ordered.append(bus.replay(job_id, changes).refresh())
            except (JobError, InvalidSpec) as problem:  # the others are ordered all the same
                failed = True
                output.error(problem, as_json=as_json)
                continue
            if not as_json:
                terminal.line(ordered[-1].id)
    if as_json:
        output.document(ordered)
    if failed:
        raise typer.Exit(1)


def _dead(bus: Bus) -> list[JobId]:
    """The dead jobs, oldest first; of one whose replay has died too, only that."""
    found = bus.jobs(limit=ALL, states=[JobState.DEAD])
    replayed = {record.terms.replay_of for record in found if record.terms}
    return [record.id for record in reversed(found) if record.id not in replayed]


def _order(line: bytes, place: str) -> Order:
    try:
        return Order.model_validate_json(line)
    except ValidationError as error:
        raise InvalidSpec(f"{place}: {explain(error)}") from None
