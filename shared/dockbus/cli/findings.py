"""What a person sees of a scan: one table of findings, worst first, and the verdict below it."""

from __future__ import annotations

from rich.text import Text

from dockbus.cli.terminal import line, note, short, table
from dockbus.jobs import ScanResult, Severity
from dockbus.units import show_span

_STYLE = {Severity.CRITICAL: "bold red", Severity.HIGH: "red", Severity.MEDIUM: "yellow"}


def show(value: ScanResult) -> None:
    """The findings that count, and the verdict."""
    if value.vulnerabilities:
        table(
            ("SEVERITY", "ID", "PACKAGE", "INSTALLED", "FIXED", "TITLE"),
            (
                (
                    _level(one.severity),
                    one.id,
                    one.package,
                    one.installed,
                    one.fixed,
                    short(one.title),
                )
                for one in value.vulnerabilities
            ),
        )
    others = [
        *((one.severity, one.id, f"{one.path}:{one.line}", one.title) for one in value.secrets),
        *((one.severity, one.id, one.path, one.message) for one in value.misconfigurations),
        *((one.severity, one.id, one.package or one.path, one.category) for one in value.licenses),
    ]
    if others:
        table(
            ("SEVERITY", "ID", "WHERE", "WHAT"),
            ((_level(level), rule, where, short(said)) for level, rule, where, said in others),
        )
    line(f"{value.image or 'vulnerability database'}: {_summary(value)}")
    for reason in value.reasons:
        note(f"failed: {reason}")
    if value.truncated:
        note("the lists are cut; the artefact report.json has all findings")


def _summary(value: ScanResult) -> str:
    if value.image is None:
        return f"of {value.database:%Y-%m-%d %H:%M} UTC" if value.database else "updated"
    counts = [
        f"{value.counts[level]} {level}" for level in reversed(Severity) if value.counts[level]
    ]
    counts += [
        f"{number} {name}" for name, number in value.totals.items() if name != "vuln" and number
    ]
    held = f", {len(value.suppressed)} suppressed" if value.suppressed else ""
    age = "" if value.database_age is None else f"; database {show_span(value.database_age)} old"
    return f"{', '.join(counts) or 'nothing found'}{held}; {value.verdict}{age}"


def _level(severity: Severity) -> Text:
    return Text(severity, style=_STYLE.get(severity, ""))
