"""Writes the reference pages that follow from the code: settings, errors, commands, metrics, labels, HTTP routes, fields.

`python docs/reference.py` writes them anew; a test fails while they differ from what it would write. Of fields there is a page
for each kind of job and for each sort of file.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

from prometheus_client import PROCESS_COLLECTOR
from pydantic import BaseModel
from typer.main import get_command

import dockbus
import dockbus_producer
import dockbus_workers
from dockbus.cli.main import application
from dockbus.errors import DockbusError
from dockbus.families import Family
from dockbus.jobs import KINDS, Kind, Queue
from dockbus.jobs.base import (
    LABEL_BUS,
    LABEL_JOB,
    LABEL_KEEP,
    LABEL_MANAGED,
    LABEL_ORDER,
    LABEL_REMOVE,
)
from dockbus.limits import LABELS as LIMITS
from dockbus.policy import Policy
from dockbus.settings import Settings, variables
from dockbus_producer import watch_metrics
from dockbus_producer.api import metrics as api_metrics
from dockbus_producer.api.app import create_app
from dockbus_producer.rules import Rule
from dockbus_producer.rules.labels import CRON, ENABLE, RULE
from dockbus_producer.schedules import Schedule
from dockbus_producer.sinks import Sink
from dockbus_workers import worker_metrics
from dockbus_workers.metrics.bus_families import COUNTED, READ
from dockbus_workers.metrics.families import CONTAINER, OWN
from dockbus_workers.metrics.leadership import LEADS
from dockbus_workers.registries import Registry
from dockbus_workers.scaling import metrics as scaler_metrics
from dockbus_workers.scaling.compose import COPIED

HERE = Path(__file__).parent
NOTE = "<!-- Written by docs/reference.py; change the code instead. -->\n"
FILES: dict[str, tuple[type[BaseModel], str, str]] = {
    "rule": (Rule, "A rule in a file of `DOCKBUS_WATCH_RULES`", "../rules.md"),
    "schedule": (Schedule, "A schedule in a file of `DOCKBUS_SCHEDULE_PATH`", "../schedules.md"),
    "sink": (Sink, "A sink in a file of `DOCKBUS_WATCH_SINKS`", "../events.md#sinks"),
    "policy": (Policy, "The file `DOCKBUS_POLICY_PATH`", "../policy.md"),
    "registry": (
        Registry,
        "A registry in the file `DOCKBUS_REGISTRY_PATH`",
        "../jobs/pull.md#registries-and-mirrors",
    ),
}
"""The model of each sort of file, what it describes, and the page that says how it behaves."""
WRITTEN = {
    ENABLE: "`true`: the labels below this one count. Without it they do nothing.",
    f"{RULE}NAME": "`true`: the rule NAME, which has `opt_in`, may act on the container.",
    f"{CRON}NAME": "Five fields, in UTC: when the rule NAME, which has `cron`, acts on the container.",
    **{
        label: f"Percent of {'one core' if resource == 'cpu' else 'the memory it may use'} above which the metrics worker tells that it is over a limit."
        for label, resource in LIMITS.items()
    },
    LABEL_KEEP: "`true`: no cleanup removes the container or image, and no `remove` job the container.",
    "dockbus.demo": "The demo's own.",
    "dockbus.test": "The tests' own, as is all below it (`dockbus.test.*`).",
}
"""Labels that people write."""
SET = {
    LABEL_MANAGED: "`true` on whatever dockbus made: containers, images, networks, volumes.",
    LABEL_JOB: "On the container of a run job, and on the volume of its secrets: the job's ID.",
    LABEL_BUS: "On the container of a run job: the name of the bus that the job is on.",
    LABEL_ORDER: "On the container of a run job: what tells this order from an earlier one with the same ID.",
    LABEL_REMOVE: "On the container of a run job: whether it goes when the job has succeeded, `true` or `false`; `never`: it "
    "stays also when that has failed.",
    COPIED: "On the container of a worker: the autoscaler has made it, after one that Compose had made.",
}
"""Labels that dockbus sets and trusts; a job that asks for one is refused."""


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
    return page + "".join(
        section
        for name, command in sorted(root.commands.items())
        for section in _command(name, command)
    )


def _command(name: str, command: Any) -> Iterator[str]:  # noqa: ANN401  click's own
    """The section of a command, and those of the commands below it."""
    if hasattr(command, "entry"):  # another package's, loaded when called
        command = get_command(command.entry.load())
    parts: list[Any] = command.params
    usage = " ".join(
        f"[{part.name.upper()}]" if not part.required else part.name.upper()
        for part in parts
        if part.param_type_name == "argument"
    )
    below: dict[str, Any] = getattr(command, "commands", {})
    text = f"\n## dockbus {name}\n\n    dockbus {name} {'COMMAND' if below else usage}".rstrip()
    text += f"\n\n{' '.join((command.help or '').split())}\n"
    options = [part for part in parts if part.param_type_name == "option"]
    options = [part for part in options if part.help and "completion" not in part.name]
    if options:
        text += "\n| option | meaning |\n| --- | --- |\n"
        text += "".join(
            f"| `{', '.join([*part.opts, *part.secondary_opts])}` | {' '.join(part.help.split())} |\n"
            for part in options
        )
    yield text
    for sub, one in below.items():
        yield from _command(f"{name} {sub}", one)


def metrics() -> str:
    """The page of all metrics."""
    page = f"""# Metrics

{NOTE}
What each process serves at `/metrics`: the metrics worker at `DOCKBUS_METRICS_PORT`, each other one at
`DOCKBUS_METRICS_OWN_PORT`. A histogram has `_bucket`, `_sum` and `_count`, a summary the last two. There are no
timestamps, and no `_created` series.
"""
    for title, about, families in _catalogues():
        rows = "".join(
            f"| `{family.name}` | {family.type} | {', '.join(f'`{each}`' for each in family.labels)} | {family.meaning} |\n"
            for family in families
        )
        page += f"\n## {title}\n\n{about}\n\n| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n{rows}"
    return page


def _catalogues() -> Iterator[tuple[str, str, Iterable[Family]]]:
    """Title, a paragraph and the families of each part of the page."""
    yield (
        "Metrics worker: containers",
        "From the one metrics worker of an Engine that leads, for each container that runs. Each has a further label "
        "`container_label_…` for every one of `DOCKBUS_METRICS_LABELS`. Names and labels are cAdvisor's.",
        (each.family for each in CONTAINER),
    )
    yield (
        "Metrics worker: the bus, counted",
        "From one metrics worker of the whole bus. Counted in Redis with what is counted, so exact, whoever dies when; a "
        "new Redis begins at 0. Buckets carry the job's ID as an exemplar `job_id`, in OpenMetrics. Those that begin with "
        "`container_` or `dockbus_container_` are counted from events and by name, so that a container that is made anew "
        "goes on where the last one was; one that is gone for an hour is forgotten, and all containers of jobs have the "
        "empty name.",
        COUNTED,
    )
    yield (
        "Metrics worker: the bus, at the moment of the scrape",
        "From the same one. Where Redis does not answer there is only `dockbus_redis_up`, which is 0.",
        READ,
    )
    yield (
        "Metrics worker: itself",
        "From each. One that stands by looks at no container: it has no `dockbus_sweep_…`, `dockbus_series` and "
        "`dockbus_containers_left_out`.",
        (LEADS, *OWN),
    )
    yield "HTTP API", "From each `dockbus api`.", api_metrics.CATALOGUE
    yield "Watch", "From each `dockbus watch`.", watch_metrics.CATALOGUE
    yield "Worker", "From each `dockbus worker`.", worker_metrics.CATALOGUE
    yield "Autoscaler", "From each `dockbus scale`.", scaler_metrics.CATALOGUE
    yield "Every process", "What the operating system says of it.", _of_processes()


def _of_processes() -> Iterator[Family]:
    for metric in PROCESS_COLLECTOR.collect():
        if metric.type == "counter":
            yield Family(f"{metric.name}_total", "counter", metric.documentation)
        else:
            yield Family(metric.name, "gauge", metric.documentation)


def kind(name: Kind) -> str:
    """The page of a kind's spec and result, with every model that they are made of."""
    info = KINDS[name]
    about = "actions" if name.queue is Queue.CONTAINER else name
    page = f"# Fields of a {name} job\n\n{NOTE}\nHow it behaves: [{about}](../jobs/{about}.md).\n"
    shown: set[str] = set()
    for title, model in (("Spec", info.spec), ("Result", info.result)):
        schema = model.model_json_schema(mode="validation" if title == "Spec" else "serialization")
        parts: dict[str, Any] = schema.get("$defs", {})
        page += f"\n## {title}\n{_fields(schema, parts)}"
        for part, described in parts.items():
            if part not in shown and "properties" in described:
                page += f"\n### {part}\n{_fields(described, parts)}"
        shown |= set(parts)
    return page


def _fields(schema: dict[str, Any], parts: dict[str, Any]) -> str:
    """What a model is for, and a table of its fields."""
    required = schema.get("required", [])
    rows = ""
    for name, field in schema["properties"].items():
        if "const" in field and name == "kind":
            continue
        default = "required" if name in required else _default(field)
        # Pydantic leaves out what a field's own model says in the same words.
        about = parts.get(field.get("$ref", "").rpartition("/")[2], {}).get("description", "")
        meaning = " ".join((field.get("description") or about).split())
        rows += f"| `{name}` | {_type(field, parts)} | {default} | {meaning} |\n"
    about = " ".join(schema.get("description", "").split())
    return f"\n{about}\n\n| field | type | default | meaning |\n| --- | --- | --- | --- |\n{rows}"


def _default(field: dict[str, Any]) -> str:
    value = field.get("default")
    if value in (None, "", [], {}) or (isinstance(value, dict) and "$ref" in field):
        return ""
    return f"`{json.dumps(value)}`"


def _type(field: dict[str, Any], parts: dict[str, Any]) -> str:  # noqa: PLR0911  one for each form a schema has
    """A JSON schema in a few words; `parts` are those that it may refer to."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        if "properties" in parts[name]:
            return f"[{name}](#{name.lower()})"
        return _type(parts[name], parts)
    for several in ("anyOf", "oneOf"):
        if several in field:
            return " or ".join(dict.fromkeys(_type(one, parts) for one in field[several]))
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    match field.get("type"):
        case "array":
            return f"list of {_type(field.get('items', {}), parts)}"
        case "object":
            inner: Any = field.get("additionalProperties")
            return f"map to {_type(inner, parts)}" if inner and inner is not True else "object"
        case "null":
            return "none"
        case other:
            return str(other or "any")


def file_form(name: str) -> str:
    """The page of a sort of file, with every model that it is made of."""
    model, about, behaviour = FILES[name]
    schema = model.model_json_schema()
    parts: dict[str, Any] = schema.get("$defs", {})
    page = f"# Fields of a {name}\n\n{NOTE}\n{about}. How it behaves: [{behaviour.rpartition('/')[2].partition('.')[0]}]({behaviour}).\n{_fields(schema, parts)}"
    for part, described in parts.items():
        if "properties" in described:
            page += f"\n## {part}\n{_fields(described, parts)}"
    return page


def labels() -> str:
    """The page of all labels of containers and images."""
    page = f"""# Labels

{NOTE}
Labels of containers and images that mean something to dockbus. What they can say, and what they cannot, is in
[rules](rules.md#labels-on-containers), [limits](stats.md#limits) and [cleanup](jobs/cleanup.md).
"""
    for title, rows in (("Labels that you write", WRITTEN), ("Labels that dockbus sets", SET)):
        page += f"\n## {title}\n\n| label | meaning |\n| --- | --- |\n"
        page += "".join(f"| `{label}` | {meaning} |\n" for label, meaning in rows.items())
    return page


def http() -> str:
    """The page of all routes of the HTTP API."""
    page = f"""# HTTP API

{NOTE}
`dockbus api` describes itself in full: `/docs` for people, `/openapi.json` for programs. All under `/v1` wants
`Authorization: Bearer TOKEN`; an error is a problem document (RFC 9457) with a [code](errors.md).

| route | what it does | answers |
| --- | --- | --- |
"""
    app = create_app(cast("Any", None), "")  # nothing is asked of the bus before a request comes
    paths: dict[str, dict[str, dict[str, Any]]] = app.openapi()["paths"]
    for path, methods in paths.items():
        for method, route in methods.items():
            said = " ".join(str(route.get("description") or route["summary"]).split())
            page += f"| `{method.upper()} {path}` | {said} | {', '.join(route['responses'])} |\n"
    return page


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings,
    "errors.md": errors,
    "cli.md": command_line,
    "metrics.md": metrics,
    "labels.md": labels,
    "http.md": http,
    **{f"reference/{name}.md": partial(kind, name) for name in Kind},
    **{f"reference/{name}.md": partial(file_form, name) for name in FILES},
}


def main() -> None:
    """Write all pages."""
    for name, page in PAGES.items():
        (HERE / name).parent.mkdir(exist_ok=True)
        (HERE / name).write_text(page())


if __name__ == "__main__":
    main()
