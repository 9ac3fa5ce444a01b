"""What is to be said of a Dockerfile before it is built: by hadolint where it is installed, else by our own rules."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from dockbus import programs
from dockbus.errors import DockbusError
from dockbus.jobs.building.findings import Level, LintFinding
from dockbus_workers.building import rules
from dockbus_workers.building.dockerfile import Instruction

MOST = 200
"""Findings that are told of one Dockerfile: they are kept in Redis."""
_PATIENCE = 60


class LintFailed(DockbusError):
    """The Dockerfile has faults, so it was not built.

    Correct the named lines, or order with `lint="warn"`.
    """


def look_at(text: str, instructions: Sequence[Instruction], context: Path) -> list[LintFinding]:
    """The findings in a Dockerfile, by line; of very many, the worst.

    A `.hadolint.yaml` of the context holds where hadolint is there.
    """
    program = programs.find("hadolint")
    found = _hadolint(program, text, context) if program else None
    if found is None:
        found = rules.lint(instructions)
    worst = sorted(found, key=lambda item: list(Level).index(item.level))[:MOST]
    return sorted(worst, key=lambda item: (item.line, item.code))


def demand(findings: Sequence[LintFinding]) -> None:
    """Make sure that there is nothing that is at least a warning.

    Raises:
        LintFailed: there is.
    """
    bad = [item for item in findings if item.level in (Level.ERROR, Level.WARNING)]
    if bad:
        raise LintFailed("; ".join(map(show, bad)))


def show(finding: LintFinding) -> str:
    """A finding in one line."""
    return f"line {finding.line}: {finding.message} ({finding.code}, {finding.level.value})"


def parse(report: str) -> list[LintFinding]:
    """The findings in hadolint's JSON."""
    return [
        LintFinding(
            code=raw["code"], level=Level(raw["level"]), line=raw["line"], message=raw["message"]
        )
        for raw in json.loads(report)
    ]


def _hadolint(program: str, text: str, context: Path) -> list[LintFinding] | None:
    """None where the program cannot do it, such as for a wrong `.hadolint.yaml`."""
    try:
        done = subprocess.run(
            [program, "--no-fail", "--format", "json", "-"],
            input=text,
            capture_output=True,
            text=True,
            cwd=context,
            env={n: value for n, value in os.environ.items() if not n.startswith("DOCKBUS_")},
            timeout=_PATIENCE,
            check=False,
        )
        return sorted(parse(done.stdout), key=lambda item: (item.line, item.code))
    except (OSError, ValueError, KeyError, TypeError, subprocess.TimeoutExpired):
        return None
