"""The files that a deployment is made of, held against the code: what they name has to exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from dockbus.jobs import Queue
from dockbus.settings import Settings

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


def test_prometheus_finds_every_program_however_many_there_are_of_it() -> None:
    config = yaml.safe_load((ROOT / "grafana/prometheus/prometheus.yml").read_text())
    found: dict[str, tuple[str, int]] = {}
    for job in config["scrape_configs"]:
        (discovery,) = job["dns_sd_configs"]
        assert discovery["type"] == "A"
        found |= dict.fromkeys(discovery["names"], (job["job_name"], discovery["port"]))

    assert set(found) == OURS
    for name, (job, port) in found.items():
        service = SERVICES[name]
        environment = {key: interpolated(value) for key, value in service["environment"].items()}
        metrics = Settings.from_env(environment).metrics
        assert (job, port) == (
            ("dockbus-metrics", metrics.port)
            if name == "metrics"
            else ("dockbus-process", metrics.own_port)
        )
        assert metrics.host == "0.0.0.0"  # noqa: S104  in its container
        assert not any(f":{port}" in published for published in service.get("ports", ()))
        assert set(service["networks"]) & set(SERVICES["prometheus"]["networks"])


def test_the_metrics_worker_reads_the_bus_and_can_put_nothing_on_it() -> None:
    service = SERVICES["metrics"]

    assert (
        service["environment"]["DOCKBUS_REDIS_URL"]
        == SERVICES["api"]["environment"]["DOCKBUS_REDIS_URL"]
    )
    assert set(service["networks"]) & set(SERVICES["redis"]["networks"])
    assert "DOCKBUS_BUS_KEY" not in service["environment"]
    assert "depends_on" not in service, "it measures containers while Redis is away"


def test_prometheus_has_its_rules_and_keeps_exemplars() -> None:
    prometheus = SERVICES["prometheus"]

    assert "./grafana/prometheus:/etc/prometheus:ro" in prometheus["volumes"]
    assert "--enable-feature=exemplar-storage" in prometheus["command"]
    config = yaml.safe_load((ROOT / "grafana/prometheus/prometheus.yml").read_text())
    (pattern,) = config["rule_files"]
    assert sorted((ROOT / "grafana/prometheus").glob(pattern))


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
