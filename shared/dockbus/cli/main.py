"""The console script: the commands of this package, and those that the others contribute.

What another package contributes (entry points, group `dockbus.commands`) is imported when it is called
and not before: `dockbus --help` stays fast, and where an extra is missing the command says which.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points, version
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from dockbus import logs
from dockbus.cli import backup, inventory, kinds, look, order, output, stats, terminal
from dockbus.cli.events import events
from dockbus.cli.options import JSON
from dockbus.cli.policy import policy
from dockbus.cli.up import up
from dockbus.errors import DockbusError, MissingExtra
from dockbus.extras import lacking

CONTRIBUTED = {
    "api": "Serve the HTTP API.",
    "metrics": "Serve the metrics of this Engine's containers to Prometheus.",
    "rules": "Check rules, ask why they did or did not act, and resume them.",
    "scale": "Keep as many workers as the jobs need.",
    "schedule": "Put jobs on the bus at their times.",
    "schedules": "Check a schedule file without running anything.",
    "sinks": "Look at the URLs that are told of events, and send again.",
    "watch": "Publish this Engine's events and run the rules on them.",
    "worker": "Carry out the jobs of one queue.",
}
"""What `dockbus --help` says of commands that it does not import."""

PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Put jobs on the bus": (
        kinds.run,
        kinds.pull,
        kinds.build,
        kinds.scan,
        kinds.cleanup,
        kinds.restart,
        kinds.stop,
        kinds.start,
        kinds.remove,
        kinds.run_command,
        order.enqueue,
        order.replay,
    ),
    "Look": (
        look.jobs,
        look.job,
        look.logs,
        look.artefacts,
        look.artefact,
        look.cancel,
        events,
        look.queues,
        inventory.containers,
        inventory.images,
        inventory.engines,
        stats.stats,
        stats.top,
        look.doctor,
        policy,
    ),
    "Run the bus": (up, backup.backup, backup.restore),
}


EPILOG = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage or a failed scan verdict, 130 after Ctrl-C; "
    "`dockbus run` gives the container's own."
)


class Contributed(TyperCommand):
    """Stands for another package's command until it is called."""

    def __init__(self, entry: EntryPoint) -> None:
        meaning = CONTRIBUTED.get(entry.name, f"From {entry.module}.")
        super().__init__(name=entry.name, help=meaning, rich_help_panel="Run the bus")
        self.entry = entry

    def make_context(self, *args: Any, **extra: Any) -> Any:  # noqa: ANN401  typer's own signature
        """The context of the real command.

        Raises:
            MissingExtra: what it needs is not installed.
        """
        for needed in () if extra.get("resilient_parsing") else self.entry.extras:
            if absent := lacking()[needed]:
                raise MissingExtra(needed, absent[0])
        try:
            command = get_command(self.entry.load())
        except ModuleNotFoundError:
            if not extra.get("resilient_parsing"):  # a shell that completes wants no error
                raise
            return super().make_context(*args, **extra)
        command.params = [p for p in command.params if "completion" not in p.name]
        return command.make_context(*args, **extra)


class Root(TyperGroup):
    """All commands."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401  typer's own signature
        super().__init__(**attributes)
        for entry in sorted(entry_points(group="dockbus.commands"), key=lambda entry: entry.name):
            self.add_command(Contributed(entry))

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  typer's own signature
        """Run the command; an error that was to be expected becomes one line and exit code 1."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as missing:
            command = self.commands[ctx.invoked_subcommand]
            if not (isinstance(command, Contributed) and command.entry.extras):
                raise
            problem: DockbusError = MissingExtra(command.entry.extras[0], missing.name or "")
        except DockbusError as error:
            problem = error
        if logs.are_objects():
            logging.getLogger("dockbus").critical("%s", problem)
        else:
            output.error(problem, as_json=ctx.meta.get(JSON, False))
        raise typer.Exit(1)


def _version(asked: bool) -> None:
    if asked:
        terminal.line(f"dockbus {version('dockbus')}")
        raise typer.Exit


def root(
    _: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_version,
            is_eager=True,
            help="Show the version.",
        ),
    ] = False,
) -> None:
    """An operator-style event bus with workers for plain Docker hosts."""


def application() -> typer.Typer:
    """The command line as typer knows it."""
    app = typer.Typer(
        cls=Root,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        epilog=EPILOG,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(root)
    for panel, commands in PANELS.items():
        for command in commands:
            app.command(rich_help_panel=panel)(command)
    return app


def main() -> None:
    """Run the command line and exit: 0, or 1 for an error, 2 for a wrong usage, 130 after Ctrl-C."""
    # What the library logs is for those who run it; a refused job shows in the table it is listed in.
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        code = application()(prog_name="dockbus", standalone_mode=False)
    except typer.TyperException as error:
        message = error.format_message()  # empty where help has been printed instead
        context: Any = getattr(error, "ctx", None)
        if message:
            hint = f" (see `{context.command_path} --help`)" if context else ""
            output.error(f"{message.rstrip('.')}{hint}")
        code = error.exit_code
    sys.exit(code if isinstance(code, int) else 0)
