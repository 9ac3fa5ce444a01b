"""`dockbus watch` and `dockbus rules`: the command line of the Docker-event producer. It only prints and hands on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dockbus.settings import Settings
from dockbus.units import show_span

if TYPE_CHECKING:
    from dockbus_producer.rules import Rule

watch = typer.Typer(help="Publish this Engine's events and run the rules on them.")
rules = typer.Typer(help="Check a rule file without running anything.")


@watch.command()
def watch_engine() -> None:
    """Publish this Engine's events and run the rules in DOCKBUS_WATCH_RULES on all events, until stopped."""
    from dockbus.logs import log_to_stderr  # noqa: PLC0415
    from dockbus_producer.watch import watch as run  # noqa: PLC0415  the docker SDK is heavy

    log_to_stderr()
    run(Settings.from_env())


@rules.command()
def check_rules(
    file: Annotated[Path, typer.Argument(help="A rule file, or a folder of `*.yaml` rule files.")],
) -> None:
    """Check rule files without running anything, and say in a line each what the rules do."""
    from dockbus_producer.rules import load  # noqa: PLC0415  YAML may be missing

    for rule in load(file):
        typer.echo(_summary(rule))


def _summary(rule: Rule) -> str:
    """The rule in one line: name, when, what."""
    where = [
        f"{field} {value}"
        for field, value in (("image", rule.where.image), ("name", rule.where.name))
        if value
    ]
    where += [f"label {key}={value or '*'}" for key, value in rule.where.labels.items()]
    if rule.where.exit_code:
        where.append(f"exit code {' or '.join(map(str, rule.where.exit_code))}")
    told = [f"{key}={value}" for key, value in rule.do.items() if key != "kind"]
    about = f" where {', '.join(where)}" if where else ""
    return (
        f"{rule.name}: on {' or '.join(rule.on)}{about}, at most {show_span(rule.max_age)} old: "
        f"{rule.do['kind']} {' '.join(told)}".rstrip()
    )
