"""Writes the reference pages that follow from the code: settings, errors and the command line.

`python docs/reference.py` writes them anew; a test fails while they differ from what it would write.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

import dockbus
import dockbus_producer
import dockbus_workers
from dockbus.cli.main import application
from dockbus.errors import DockbusError
from dockbus.settings import Settings, variables

HERE = Path(__file__).parent
NOTE = "<!-- Written by docs/reference.py; change the code instead. -->\n"


def settings() -> str:
    """The page of all settings."""
    groups: dict[str, list[str]] = {}
    for variable in variables().values():
        default = f"`{variable.default}`" if variable.default else ""
        secret = " May be given as a file: `" + variable.name + "_FILE`." if variable.secret else ""
        row = f"| `{variable.name}` | {default} | {variable.meaning}{secret} |"
        groups.setdefault(variable.group, []).append(row)
    page = f"""# Settings

{NOTE}
Everything is set in the environment, and read once when a program starts. A misspelt `DOCKBUS_*` variable is an
error, not ignored. `dockbus doctor --settings` shows what is in force.
"""
    for group, rows in groups.items():
        meaning = inspect.getdoc(Settings.model_fields[group].annotation) or ""
        page += (
            f"\n## {group}\n\n{meaning}\n\n| variable | default | meaning |\n| --- | --- | --- |\n"
        )
        page += "\n".join(rows) + "\n"
    return page


def errors() -> str:
    """The page of all errors."""
    page = f"""# Errors

{NOTE}
The code is the last part of the `type` of an HTTP problem (`urn:dockbus:problem:CODE`) and the `error.code` of a
failed job. *Tried again* says whether a job that fails with it is given another attempt by itself.

| code | what is wrong | what to do | tried again |
| --- | --- | --- | --- |
"""
    found = {error("").code: error("") for error in all_errors()}
    for code in sorted(found):
        error = found[code]
        page += (
            f"| `{code}` | {error.title} | {error.advice} | {'yes' if error.retryable else ''} |\n"
        )
    return page


def all_errors() -> Iterator[type[DockbusError]]:
    """Every error class of the three packages."""
    for package in (dockbus, dockbus_producer, dockbus_workers):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    waiting = [DockbusError]
    while waiting:
        error = waiting.pop()
        yield error
        waiting += error.__subclasses__()


def command_line() -> str:
    """The page of all commands."""
    root: Any = get_command(application())
    page = f"""# Command line

{NOTE}
`dockbus COMMAND --help` says the same. `--json` prints one JSON document, or one JSON object a line where the output
goes on. Exit codes: 0 fine, 1 an error (one line says which), 2 wrong usage or a failed verdict, 130 Ctrl-C.
"""
    for name, command in sorted(root.commands.items()):
        if hasattr(command, "entry"):  # another package's, loaded when called
            command = get_command(command.entry.load())  # noqa: PLW2901
        parts: list[Any] = command.params
        usage = " ".join(
            f"[{part.name.upper()}]" if not part.required else part.name.upper()
            for part in parts
            if part.param_type_name == "argument"
        )
        page += (
            f"\n## dockbus {name}\n\n    dockbus {name} {usage}".rstrip()
            + f"\n\n{' '.join((command.help or '').split())}\n"
        )
        options = [part for part in parts if part.param_type_name == "option"]
        options = [part for part in options if part.help and "completion" not in part.name]
        if options:
            page += "\n| option | meaning |\n| --- | --- |\n"
            page += "".join(
                f"| `{', '.join([*part.opts, *part.secondary_opts])}` | {' '.join(part.help.split())} |\n"
                for part in options
            )
    return page


PAGES = {"settings.md": settings, "errors.md": errors, "cli.md": command_line}


def main() -> None:
    """Write all pages."""
    for name, page in PAGES.items():
        (HERE / name).write_text(page())


if __name__ == "__main__":
    main()
