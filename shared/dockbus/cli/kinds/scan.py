"""`dockbus scan`: the options of a scan job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import TypeAdapter, ValidationError

from dockbus.cli.options import pairs
from dockbus.cli.submit import submits
from dockbus.errors import InvalidSpec
from dockbus.jobs import Ignore, Scan, Severity, explain

_IGNORES = TypeAdapter(list[Ignore])
_JSON: TypeAdapter[Any] = TypeAdapter(Any)


@submits
def scan(
    image: Annotated[
        str | None,
        typer.Argument(metavar="IMAGE", help="May be left out with --update-database."),
    ] = None,
    scanner: Annotated[
        list[str] | None,
        typer.Option(
            metavar="vuln|secret|misconfig|license",
            help="What to look for; may be repeated. Default: vuln.",
        ),
    ] = None,
    fail_on: Annotated[
        Severity | None,
        typer.Option(
            case_sensitive=False, help="Exit with 2 on a vulnerability at least this bad."
        ),
    ] = None,
    max_count: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SEVERITY=N", help="Exit with 2 on more of that severity; may be repeated."
        ),
    ] = None,
    ignore_unfixed: Annotated[
        bool, typer.Option("--ignore-unfixed", help="Leave out what no version fixes.")
    ] = False,
    fail_on_secrets: Annotated[
        bool, typer.Option("--fail-on-secrets", help="Exit with 2 on a secret.")
    ] = False,
    fail_on_misconfigurations: Annotated[
        Severity | None,
        typer.Option(
            case_sensitive=False, help="Exit with 2 on a misconfiguration at least this bad."
        ),
    ] = None,
    fail_on_licenses: Annotated[
        Severity | None,
        typer.Option(case_sensitive=False, help="Exit with 2 on a licence at least this bad."),
    ] = None,
    fail_on_eol: Annotated[
        bool,
        typer.Option("--fail-on-eol", help="Exit with 2 on a distribution without updates."),
    ] = False,
    ignore_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="JSON: a list of {id, reason, expires, package, path}; none counts.",
        ),
    ] = None,
    vex: Annotated[
        Path | None, typer.Option(metavar="FILE", help="OpenVEX document to judge by.")
    ] = None,
    sbom: Annotated[
        Literal["cyclonedx", "spdx"] | None,
        typer.Option(help="Leave a list of packages as an artefact."),
    ] = None,
    report: Annotated[
        list[str] | None,
        typer.Option(
            metavar="json|sarif|none",
            help="Report to leave as an artefact; may be repeated. Default: json.",
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Scan also where a scan is remembered.")
    ] = False,
    update_database: Annotated[
        bool, typer.Option("--update-database", help="Fetch the worker's database anew first.")
    ] = False,
) -> Scan:
    """Look for vulnerabilities, secrets, misconfigurations or licences in an image that the Engine has."""
    given: dict[str, Any] = {
        "scanners": scanner or None,
        "max_counts": _counts(max_count or ()),
        "ignore": _read(ignore_file, _IGNORES) if ignore_file else None,
        "vex": _read(vex, _JSON) if vex else None,
        "reports": [name for name in report if name != "none"] if report else None,
    }
    return Scan(
        image=image,
        fail_on=fail_on,
        ignore_unfixed=ignore_unfixed,
        fail_on_secrets=fail_on_secrets,
        fail_on_misconfigurations=fail_on_misconfigurations,
        fail_on_licenses=fail_on_licenses,
        fail_on_eol=fail_on_eol,
        sbom=sbom,
        fresh=fresh,
        database="update" if update_database else "use",
        **{name: value for name, value in given.items() if value is not None},
    )


def _counts(texts: list[str] | tuple[()]) -> dict[str, int]:
    """Numbers by severity from `SEVERITY=N`."""
    counts = pairs(texts, "--max-count")
    if wrong := next((text for text in counts.values() if not text.isdecimal()), None):
        raise typer.BadParameter(f"{wrong!r} is not a number", param_hint="--max-count")
    return {name: int(text) for name, text in counts.items()}


def _read(file: Path, kind: TypeAdapter[Any]) -> Any:  # noqa: ANN401  what the file holds
    try:
        return kind.validate_json(file.read_bytes())
    except OSError as error:
        raise InvalidSpec(f"{file}: {error.strerror}") from None
    except ValidationError as error:
        raise InvalidSpec(f"{file}: {explain(error)}") from None
