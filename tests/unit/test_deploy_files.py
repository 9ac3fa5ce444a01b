"""The files that a deployment is made of, held against the code: what they name has to exist."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from dockbus.jobs import Queue
from dockbus.settings import EngineSettings, MetricsSettings, Settings
from dockbus_workers.metrics.collector import ContainerCollector, Sweeper

ROOT = Path(__file__).parents[2]
SOCKET = "/var/run/docker.sock"
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name for name, service in SERVICES.items() if "build" in service}
DOCKERFILE = (ROOT / "Dockerfile").read_text()
EXAMPLE = dict(
    line.split("=", 1)
    for line in (ROOT / ".env.example").read_text().splitlines()
    if line and not line.startswith("#")
)
DASHBOARDS = sorted((ROOT / "grafana" / "dashboards").glob("*.json"))

each_service = pytest.mark.parametrize("name", SERVICES)
each_dashboard = pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)


def interpolated(text: str) -> str:
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def mounts(service: dict[str, Any]) -> list[tuple[str, str]]:
    pairs = (interpolated(volume).split(":") for volume in service.get("volumes", ()))
    return [(source, target) for source, target, *_ in pairs]


# -- docker-compose.yml and .env.example -----------------------------------------------------


def test_there_is_a_service_for_every_part_and_every_queue() -> None:
    others = {"redis", "api", "events", "metrics", "prometheus", "grafana"}

    assert set(SERVICES) == others | {f"worker-{queue.value}" for queue in Queue}


@each_service
def test_a_service_comes_back_and_its_log_is_bounded(name: str) -> None:
    service = SERVICES[name]

    assert service["restart"] == "unless-stopped"
    assert {"max-size", "max-file"} <= set(service["logging"]["options"])
    assert "container_name" not in service, "it could not be scaled"


@each_service
def test_a_service_tells_its_health(name: str) -> None:
    check = SERVICES[name].get("healthcheck", {})

    if name.startswith("worker-") or name == "events":
        assert check == {"disable": True}, "its heartbeat is in Redis"
    elif name in OURS:
        assert not check, "the image has one"
    else:
        assert check["test"][0] in ("CMD", "CMD-SHELL")


@each_service
def test_nothing_is_published_beyond_this_machine(name: str) -> None:
    ports: list[str] = SERVICES[name].get("ports", [])

    assert all(port.startswith("127.0.0.1:") for port in ports), ports
    assert name != "redis" or not ports


@each_service
def test_an_image_has_an_exact_tag(name: str) -> None:
    assert re.search(r":v?\d+\.\d+\.\d+[\w.-]*$", SERVICES[name]["image"])


@each_service
def test_only_what_must_have_the_engines_socket_has_it(name: str) -> None:
    has = any(source == SOCKET for source, _ in mounts(SERVICES[name]))

    assert has == (name in OURS - {"api"})
    assert has == bool(SERVICES[name].get("group_add"))


@each_service
def test_who_needs_redis_waits_for_it_and_holds_the_key(name: str) -> None:
    service = SERVICES[name]
    needs = name in OURS - {"metrics"}

    assert ("redis" in service.get("depends_on", {})) == needs
    assert ("DOCKBUS_BUS_KEY" in service.get("environment", {})) == needs
    for awaited, condition in service.get("depends_on", {}).items():
        assert condition == {"condition": "service_healthy"}
        assert set(service["networks"]) & set(SERVICES[awaited]["networks"])


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_command_is_a_subcommand_of_dockbus(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    command, *arguments = SERVICES[name]["command"]

    assert SERVICES[name]["image"] == f"dockbus:{project['version']}"
    assert command in project["entry-points"]["dockbus.commands"]
    assert arguments == ([Queue(name.removeprefix("worker-"))] if command == "worker" else [])


@pytest.mark.parametrize("name", sorted(OURS))
def test_an_environment_is_one_that_dockbus_accepts(name: str) -> None:
    environment: dict[str, str] = SERVICES[name]["environment"]

    settings = Settings.from_env({key: interpolated(value) for key, value in environment.items()})

    port = environment.get("HEALTH_PORT", "8080")
    if name in ("api", "metrics"):
        listens = settings.api if name == "api" else settings.metrics
        assert (listens.host, str(listens.port)) == ("0.0.0.0", port)  # noqa: S104  in its container


@each_service
def test_what_is_mounted_exists(name: str) -> None:
    for source, _ in mounts(SERVICES[name]):
        if source.startswith("."):
            assert (ROOT / source).exists(), source
        elif source != SOCKET:
            assert source in COMPOSE["volumes"]


def test_the_example_environment_lists_every_variable_and_no_secret() -> None:
    used = set(re.findall(r"\$\{(\w+)", COMPOSE_TEXT))
    required = set(re.findall(r"\$\{(\w+):\?", COMPOSE_TEXT))

    assert set(EXAMPLE) == used
    assert {name for name, value in EXAMPLE.items() if not value} == required
    defaults = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", COMPOSE_TEXT))
    assert {name: EXAMPLE[name] for name in defaults} == defaults


def test_redis_keeps_what_it_accepts() -> None:
    said = " ".join(SERVICES["redis"]["command"])

    for option in (
        "--appendonly yes",
        "--appendfsync always",
        "--maxmemory-policy noeviction",
        "--requirepass ${",
    ):
        assert option in said
    assert ("redis", "/data") in mounts(SERVICES["redis"])


# -- Dockerfile ------------------------------------------------------------------------------


def test_the_image_is_built_from_exact_tags_and_runs_as_a_user() -> None:
    images = re.findall(r"^(?:FROM |COPY --from=)(\S+)", DOCKERFILE, re.MULTILINE)

    assert all(re.search(r":\d+\.\d+", image) for image in images if image != "build")
    assert re.search(r"^USER [1-9]\d*$", DOCKERFILE, re.MULTILINE)
    assert DOCKERFILE.count("HEALTHCHECK") == 1
    assert "curl" not in DOCKERFILE


def test_the_image_is_given_all_that_it_copies() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", DOCKERFILE, re.MULTILINE)

    for name in " ".join(copied).split():
        assert (ROOT / name).exists()
        assert f"!{name}" in ignored


# -- Prometheus and Grafana ------------------------------------------------------------------


def test_prometheus_scrapes_the_metrics_worker() -> None:
    config = yaml.safe_load((ROOT / "grafana/prometheus/prometheus.yml").read_text())

    (job,) = config["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"metrics:{MetricsSettings().port}"]}]


def test_grafana_finds_its_data_source_and_its_dashboards() -> None:
    provisioning = ROOT / "grafana/provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    (provider,) = yaml.safe_load((provisioning / "dashboards/dockbus.yml").read_text())["providers"]

    grafana = SERVICES["grafana"]
    assert source["url"] == "http://prometheus:9090"
    assert ("./grafana/provisioning", "/etc/grafana/provisioning") in mounts(grafana)
    assert ("./grafana/dashboards", provider["options"]["path"]) in mounts(grafana)
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert home.parent == Path(provider["options"]["path"])
    assert home.name in {path.name for path in DASHBOARDS}


def test_dashboards_have_ids_that_stay() -> None:
    assert DASHBOARDS
    uids = [json.loads(path.read_text())["uid"] for path in DASHBOARDS]
    assert all(re.fullmatch(r"[\w-]{8,40}", uid) for uid in uids)
    assert len(set(uids)) == len(uids)


@each_dashboard
def test_a_panel_says_what_it_shows_in_which_unit_and_from_where(path: Path) -> None:
    dashboard = json.loads(path.read_text())
    first = dashboard["templating"]["list"][0]

    assert (first["name"], first["type"]) == ("datasource", "datasource")
    assert dashboard["id"] is None
    assert dashboard["schemaVersion"] >= 39
    assert "__inputs" not in dashboard, "only an import by hand resolves them"
    for panel in dashboard["panels"]:
        assert panel["type"] in ("timeseries", "stat", "table")
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["targets"]
        for asking in (panel, *panel["targets"]):
            assert asking["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@each_dashboard
def test_panels_do_not_overlap(path: Path) -> None:
    panels = json.loads(path.read_text())["panels"]
    cells = [cell for panel in panels for cell in covered(panel["gridPos"])]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len(set(cells)) == len(cells)
    assert all(x < 24 for x, _ in cells)


@each_dashboard
def test_every_metric_that_is_asked_for_is_one_that_is_exported(path: Path) -> None:
    names = exported()
    text = path.read_text()

    asked = [metric for expression in expressions(text) for metric in metrics_in(expression)]

    assert asked
    assert set(asked) <= names
    assert set(re.findall(r"label_values\((\w+),", text)) <= names


@pytest.mark.parametrize(
    ("expression", "metrics"),
    [
        ('sum by (name) (rate(a_total{name=~"$x", b="c_d"}[$__rate_interval])) > 0', ["a_total"]),
        ("a / on (id, name) group_left (b) (c_bytes > bool 1e3) or up", ["a", "c_bytes", "up"]),
        ("time() - max without (id) (a_seconds offset 5m)", ["a_seconds"]),
    ],
)
def test_metrics_are_found_in_an_expression(expression: str, metrics: list[str]) -> None:
    assert metrics_in(expression) == metrics


def exported() -> set[str]:
    sweeper = Sweeper(EngineSettings())
    families = ContainerCollector(sweeper, MetricsSettings().labels).describe()
    return {f"{f.name}_total" if f.type == "counter" else f.name for f in families}


def expressions(text: str) -> Iterator[str]:
    for panel in json.loads(text)["panels"]:
        for target in panel["targets"]:
            yield cast("str", target["expr"])


def metrics_in(expression: str) -> list[str]:
    """The metrics that a PromQL expression asks for: names that are no function, label, keyword or number."""
    grouping = r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)"
    bare = re.sub(rf"\{{[^}}]*\}}|\[[^]]*\]|\boffset\s+\w+|{grouping}", " ", expression)
    words: list[str] = re.findall(r"(?<![\w.])[A-Za-z_]\w*\b(?!\s*\()", bare)
    return [word for word in words if word not in ("and", "or", "unless", "bool", "by")]


def covered(place: dict[str, int]) -> Iterator[tuple[int, int]]:
    for x in range(place["x"], place["x"] + place["w"]):
        for y in range(place["y"], place["y"] + place["h"]):
            yield x, y


def run(*command: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in EXAMPLE}
    return subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60
    )
