"""How the commands that put a job on the bus send it and follow it: the options that they share, and what these do.

Exit codes: that of the container for `run`, of the command for `exec`, 2 for an image whose scan failed its verdict, 1 where the
job or dockbus failed, 130 after Ctrl-C.
"""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import typer

from dockbus.bus import Bus, JobHandle
from dockbus.cli import output, results, terminal
from dockbus.cli.options import Json, seconds
from dockbus.errors import JobNotCancelable
from dockbus.jobs import KINDS, ExecResult, Result, RunResult, ScanResult, Spec

_TERMS = "How it is sent"
"""Where `--help` lists the options of `Delivery`."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """How a job is sent and followed; every field is an option of every command here."""

    detach: Annotated[
        bool,
        typer.Option(
            "--detach", "-d", rich_help_panel=_TERMS, help="Print the job's ID and do not wait."
        ),
    ] = False
    key: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_TERMS,
            help="Idempotency key: same key and same job give the first one back.",
        ),
    ] = None
    engine: Annotated[
        str | None,
        typer.Option(metavar="NAME", rich_help_panel=_TERMS, help="The one Engine it must run on."),
    ] = None
    high: Annotated[
        bool,
        typer.Option(
            "--high", rich_help_panel=_TERMS, help="Go before all that is queued when it is."
        ),
    ] = False
    delay: Annotated[
        float,
        typer.Option(
            parser=seconds,
            metavar="TIME",
            rich_help_panel=_TERMS,
            show_default=False,
            help="Wait so long before it is queued: 90s, 1h30m.",
        ),
    ] = 0.0
    timeout: Annotated[
        float | None,
        typer.Option(
            parser=seconds,
            metavar="TIME",
            rich_help_panel=_TERMS,
            help="Longest an attempt may take: 90s, 1h30m.",
        ),
    ] = None
    retries: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=100,
            metavar="N",
            rich_help_panel=_TERMS,
            help="Most further attempts after the first. Default: as its kind has it.",
        ),
    ] = None
    after: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            rich_help_panel=_TERMS,
            help="Wait for the end of that job; may be repeated.",
        ),
    ] = None
    after_failure: Annotated[
        Literal["fail", "skip", "run"],
        typer.Option(
            rich_help_panel=_TERMS,
            help="When one of those does not succeed: fail too, be canceled, or run all the same.",
        ),
    ] = "fail"
    exclusive: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=_TERMS,
            help="A thing that only one job at a time may work on.",
        ),
    ] = None
    as_json: Json = False

    def send(self, spec: Spec) -> None:
        """Put the job on the bus and follow it to its end."""
        retry = KINDS[spec.kind].retry
        with Bus.connect() as bus:
            job = bus.enqueue(
                spec,
                key=self.key,
                engine=self.engine,
                priority="high" if self.high else "normal",
                delay=self.delay,
                timeout=self.timeout,
                after=self.after or (),
                after_failure=self.after_failure,
                exclusive=self.exclusive,
                # With the pauses of its kind, as where nothing is said.
                retry=None
                if self.retries is None
                else retry.model_copy(update={"max": self.retries}),
            )
            if not self.detach:
                self._follow(bus, job)
            elif self.as_json:
                output.document(job.refresh())
            else:
                terminal.line(job.id)

    def _follow(self, bus: Bus, job: JobHandle) -> None:
        from dockbus.cli.stream import Screen  # noqa: PLC0415  only those who wait pay for the bars

        try:
            terminal.note(f"job {job.id}")
            note_if_unserved(bus, job)
            with contextlib.closing(Screen(sys.stderr if self.as_json else sys.stdout)) as screen:
                for entry in job.follow():
                    screen.show(entry)
            result = job.wait()
        except KeyboardInterrupt:
            with contextlib.suppress(JobNotCancelable):
                job.cancel()
                terminal.note(f"canceled job {job.id}")
            raise typer.Exit(130) from None
        finally:
            if self.as_json:
                output.document(job.refresh())
        if not self.as_json:
            results.result(result)
        raise typer.Exit(exit_code(result))


def note_if_unserved(bus: Bus, job: JobHandle) -> None:
    """Say so when nobody is there to take the job; whoever waits would otherwise wonder."""
    queue = job.refresh().queue
    if not any(found.workers for found in bus.queues() if found.name == queue):
        kind, _, engine = queue.partition("@")
        start = f"{f'DOCKBUS_ENGINE_NAME={engine} ' if engine else ''}dockbus worker {kind}"
        terminal.note(f"no worker serves queue {queue} yet; the job waits. Start one: {start}")


def exit_code(result: Result) -> int:
    """What the command returns for a job that succeeded."""
    match result:
        case RunResult() | ExecResult():
            return result.exit_code or 0
        case ScanResult(verdict="failed"):
            return 2
        case _:
            return 0
