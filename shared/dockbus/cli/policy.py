"""`dockbus policy`: what a policy refuses, and what it makes of one job. Neither an Engine nor Redis is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic_core import from_json, to_json
from rich.text import Text

from dockbus.cli import output, terminal
from dockbus.cli.options import Json
from dockbus.errors import MissingExtra
from dockbus.jobs import Spec, parse_spec
from dockbus.policy import RULES, Policy, violations
from dockbus.settings import Settings


def policy(
    file: Annotated[
        Path | None,
        typer.Argument(help="A policy file. Default: the policy that the settings name."),
    ] = None,
    job: Annotated[
        typer.FileBinaryRead | None,
        typer.Option(
            metavar="FILE",
            help="Say what it makes of the spec, or of the order, in this JSON file; `-` is standard input.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a policy file and list the rules in force, or judge one job; exits with 2 if it is refused."""
    found = _load(file)
    if job:
        _judge(_spec(job.read()), found, as_json=as_json)
        return
    rules = [rule for rule in RULES.values() if found.holds(rule)]
    if as_json:
        output.document({"policy": found, "rules": rules})
        return
    terminal.line(f"level {found.level}")
    _exceptions(found)
    terminal.table(
        ("RULE", "CIS", "REFUSES"), ((rule.id, rule.cis, rule.refuses) for rule in rules)
    )


def _load(file: Path | None) -> Policy:
    try:
        from dockbus.policy.loading import policy_of  # noqa: PLC0415  YAML may be missing
    except ModuleNotFoundError as missing:
        raise MissingExtra("workers", missing.name or "") from None
    settings = Settings.from_env().policy
    return policy_of(settings.model_copy(update={"path": str(file)}) if file else settings)


def _spec(text: bytes) -> Spec:
    """The spec in this JSON: the object itself, or what an order has as its `spec`."""
    try:
        found = from_json(text)
    except ValueError:
        return parse_spec(text)  # which says what is wrong
    return parse_spec(
        to_json(found["spec"]) if isinstance(found, dict) and "spec" in found else text
    )


def _judge(spec: Spec, found: Policy, *, as_json: bool) -> None:
    broken = violations(spec, found)
    if as_json:
        output.document({"allowed": not broken, "violations": broken})
    elif not broken:
        terminal.line(f"allowed at level {found.level}")
    else:
        for violation in broken:
            head, _, rest = str(violation).partition(": ")
            terminal.line(Text.assemble((head, "bold red"), ": ", terminal.printable(rest)))
    if broken:
        raise typer.Exit(2)


def _exceptions(found: Policy) -> None:
    """What the policy says beside its level, a field a line."""
    for field in ("allow", "images", "limits"):
        said = getattr(found, field).model_dump_json(exclude_defaults=True)
        if said != "{}":
            terminal.line(f"{field} {said}")
