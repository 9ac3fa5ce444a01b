"""The files that a deployment is made of, held against the code: what they name has to exist."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from dockbus.jobs import Queue
from dockbus.settings import Settings
from dockbus_workers.process import HAND_BACK
from dockbus_workers.worker import POLL

ROOT = Path(__file__).parents[2]
SOCKET = "/var/run/docker.sock"
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name for name, service in SERVICES.items() if service["image"].startswith("dockbus/")}
BUILT = {
    service["image"]: service["build"]["target"]
    for service in SERVICES.values()
    if "build" in service
}
WITHOUT_ENGINE = {"api", "schedule"}
DEV: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.dev.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
EXAMPLE = dict(
    line.split("=", 1)
    for line in (ROOT / ".env.example").read_text().splitlines()
    if line and not line.startswith("#")
)
DASHBOARDS = sorted((ROOT / "grafana" / "dashboards").glob("*.json"))

each_service = pytest.mark.parametrize("name", SERVICES)
each_of_ours = pytest.mark.parametrize("name", sorted(OURS))


def interpolated(text: str) -> str:
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def mounts(service: dict[str, Any]) -> list[tuple[str, str]]:
    """Source and target of each volume; those without a name have the source ''."""
    pairs = (interpolated(volume).split(":") for volume in service.get("volumes", ()))
    return [(parts[0], parts[1]) if len(parts) > 1 else ("", parts[0]) for parts in pairs]


def instruction(name: str, target: str) -> str:
    """The last such instruction that holds for a target of the Dockerfile."""
    stages = {
        found[2]: (found[1], found[3])
        for found in re.finditer(
            r"^FROM (\S+) AS (\S+)$(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL
        )
    }
    while target in stages:
        parent, body = stages[target]
        if said := re.findall(rf"^{name} (.+)$", body, re.MULTILINE):
            return str(said[-1])
        target = parent
    return ""


# -- docker-compose.yml and .env.example -----------------------------------------------------


def test_there_is_a_service_for_every_part_and_every_queue() -> None:
    others = {"redis", "api", "events", "schedule", "metrics", "prometheus", "grafana"}

    assert set(SERVICES) == others | {f"worker-{queue.value}" for queue in Queue}


@each_service
def test_a_service_comes_back_and_its_log_and_its_use_are_bounded(name: str) -> None:
    service = SERVICES[name]

    assert service["restart"] == "unless-stopped"
    assert {"max-size", "max-file"} <= set(service["logging"]["options"])
    assert {"cpus", "memory", "pids"} == set(service["deploy"]["resources"]["limits"])


@each_service
def test_a_service_can_be_scaled_and_deployed_twice(name: str) -> None:
    service = SERVICES[name]

    assert "container_name" not in service
    assert all("${" in port for port in service.get("ports", ()))


@each_service
def test_a_service_can_write_nowhere_but_where_it_must(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("user", "") != "root"
    temporary = {target for source, target in mounts(service) if not source}
    assert {*service["tmpfs"], *temporary} == {"/tmp"}  # noqa: S108  in its container


@each_service
def test_a_service_tells_its_health(name: str) -> None:
    check = SERVICES[name].get("healthcheck", {})

    if name in OURS:
        assert not check, "the image has one"
    else:
        assert check["test"][0] in ("CMD", "CMD-SHELL")
        assert {"interval", "timeout", "retries", "start_period"} <= set(check)


@each_service
def test_nothing_is_published_beyond_this_machine(name: str) -> None:
    ports: list[str] = SERVICES[name].get("ports", [])

    assert all(port.startswith("127.0.0.1:") for port in ports), ports
    assert name != "redis" or not ports


def test_redis_is_alone_on_a_network_that_leads_nowhere_with_those_who_need_it() -> None:
    assert SERVICES["redis"]["networks"] == ["bus"]
    assert COMPOSE["networks"]["bus"] == {"internal": True}
    assert {name for name in SERVICES if "bus" in SERVICES[name]["networks"]} == OURS | {"redis"}


@each_service
def test_an_image_has_an_exact_tag(name: str) -> None:
    assert re.search(r":v?\d+\.\d+\.\d+[\w.-]*$", SERVICES[name]["image"])


@each_service
def test_only_what_must_have_the_engines_socket_has_it(name: str) -> None:
    has = any(target == SOCKET for _, target in mounts(SERVICES[name]))

    assert has == (name in OURS - WITHOUT_ENGINE)
    assert has == bool(SERVICES[name].get("group_add"))


@each_service
def test_who_needs_redis_waits_for_it_and_holds_the_key(name: str) -> None:
    service = SERVICES[name]
    needs = name in OURS - {"metrics"}

    assert ("redis" in service.get("depends_on", ())) == needs
    assert ("DOCKBUS_BUS_KEY_FILE" in service.get("environment", {})) == needs
    assert ("bus_key" in service.get("secrets", ())) == needs
    for awaited in service.get("depends_on", ()):
        assert service["depends_on"][awaited] == {"condition": "service_healthy"}
        assert set(service["networks"]) & set(SERVICES[awaited]["networks"])


@each_service
def test_secrets_are_files_and_each_is_given_where_it_is_read(name: str) -> None:
    service = SERVICES[name]
    said = yaml.safe_dump([service.get(key) for key in ("environment", "command", "healthcheck")])

    assert set(re.findall(r"/run/secrets/(\w+)", said)) == set(service.get("secrets", ()))
    assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"])
    named = [key for key in service.get("environment", {}) if re.search("PASSWORD|KEY|TOKEN", key)]
    assert all(key.endswith("_FILE") for key in named)


@each_of_ours
def test_a_command_is_a_subcommand_of_dockbus(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    service = SERVICES[name]
    target = BUILT[service["image"]]
    said = service.get("command") or json.loads(instruction("CMD", target))
    command, *arguments = said

    assert service["image"] == f"dockbus/{target}:{VERSION}"
    assert command in project["entry-points"]["dockbus.commands"]
    assert arguments == ([Queue(name.removeprefix("worker-"))] if command == "worker" else [])


@each_of_ours
def test_an_environment_is_one_that_dockbus_accepts(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret")
    environment = {
        key: str(tmp_path / "secret") if key.endswith("_FILE") else interpolated(value)
        for key, value in SERVICES[name]["environment"].items()
    }

    settings = Settings.from_env(environment)

    assert settings.redis_url == "redis://:s3cret@redis:6379/0"
    assert settings.metrics.host == "0.0.0.0"  # noqa: S104  in its container
    assert name != "api" or settings.api.host == "0.0.0.0"  # noqa: S104  likewise


@pytest.mark.parametrize("name", [name for name in SERVICES if name.startswith("worker-")])
def test_a_worker_has_the_time_to_drain(name: str) -> None:
    service = SERVICES[name]
    drain = float(service["environment"]["DOCKBUS_WORKER_DRAIN"])

    assert float(service["stop_grace_period"].removesuffix("s")) >= drain + HAND_BACK + 2 * POLL


@each_service
def test_what_is_mounted_exists(name: str) -> None:
    for source, target in mounts(SERVICES[name]):
        if source.startswith("."):
            assert (ROOT / source).exists(), source
        elif source and not source.startswith("/"):
            assert source in COMPOSE["volumes"]
        assert source in ("", SOCKET) or not source.startswith("/") or target.startswith("/host/")


def test_metrics_see_the_machine_and_cannot_touch_it() -> None:
    service = SERVICES["metrics"]

    assert {"/sys/fs/cgroup:/host/cgroup:ro", "/proc:/host/proc:ro"} <= set(service["volumes"])
    assert service["environment"]["DOCKBUS_METRICS_CGROUP_ROOT"] == "/host/cgroup"
    assert service["environment"]["DOCKBUS_METRICS_PROC_ROOT"] == "/host/proc"


def test_the_example_environment_lists_every_variable_and_no_secret() -> None:
    used = set(re.findall(r"\$\{(\w+)", COMPOSE_TEXT))
    required = set(re.findall(r"\$\{(\w+):\?", COMPOSE_TEXT))

    assert set(EXAMPLE) == used | {"COMPOSE_PROFILES"}
    assert {name for name, value in EXAMPLE.items() if not value} == required
    defaults = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", COMPOSE_TEXT))
    assert {name: EXAMPLE[name] for name in defaults} == defaults
    assert EXAMPLE["COMPOSE_PROFILES"].split(",") == SERVICES["grafana"]["profiles"]


def test_redis_keeps_what_it_accepts() -> None:
    said = SERVICES["redis"]["command"][-1].splitlines()

    assert {
        "appendonly yes",
        "appendfsync always",
        "maxmemory-policy noeviction",
        "requirepass $$(cat /run/secrets/redis_password)",
    } <= set(said)
    assert ("redis", "/data") in mounts(SERVICES["redis"])


def test_the_overlay_for_development_has_every_program_run_from_the_source() -> None:
    services = DEV["services"]

    assert set(services) == OURS | {"redis"}
    assert DEV["name"] != COMPOSE["name"], "its volumes are its own"
    for name in OURS:
        (command, folder) = services[name]["command"]
        plain = SERVICES[name].get("command") or json.loads(
            instruction("CMD", BUILT[SERVICES[name]["image"]])
        )
        assert command.split() == ["dockbus", *plain]
        assert folder == "/src"
        assert services[name]["image"] == f"dockbus/dev:{VERSION}"
        if "build" in SERVICES[name]:
            assert services[name]["build"] == {"target": "dev"}
        for source, target in mounts(services[name]):
            assert (ROOT / source).is_dir()
            assert target in re.findall(r"/src/\w+", instruction("ENV", "dev"))
    assert services["redis"]["ports"] == ["127.0.0.1:${REDIS_PORT:-6379}:6379"]


# -- images ----------------------------------------------------------------------------------


@each_of_ours
def test_an_image_runs_as_a_user_and_tells_its_health(name: str) -> None:
    target = BUILT[SERVICES[name]["image"]]

    assert instruction("USER", target) == "10001:10001"
    assert instruction("HEALTHCHECK", target).endswith('CMD ["healthy"]')
    assert instruction("ENTRYPOINT", target) == '["dockbus"]'
    environment = SERVICES[name]["environment"] | dict(
        re.findall(r"(\w+)=(\S+)", instruction("ENV", "runtime"))
    )
    settings = Settings.from_env(
        {
            key: interpolated(value)
            for key, value in environment.items()
            if key.startswith("DOCKBUS_") and not key.endswith("_FILE")
        }
    )
    ports = {"api": settings.api.port, "metrics": settings.metrics.port}
    port = ports.get(name, settings.metrics.own_port)
    assert f"HEALTH_URL=http://127.0.0.1:{port}/readyz" in instruction("ENV", target)


def test_each_image_is_built_once() -> None:
    built = [service["image"] for service in SERVICES.values() if "build" in service]

    assert sorted(built) == sorted({SERVICES[name]["image"] for name in OURS})


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
        own = int(re.findall(r"DOCKBUS_METRICS_OWN_PORT=(\d+)", DOCKERFILE)[0])
        assert (job, port) == (
            ("dockbus-metrics", Settings().metrics.port)
            if name == "metrics"
            else ("dockbus-process", own)
        )
        assert not any(f":{port}" in published for published in service.get("ports", ()))
        assert set(service["networks"]) & set(SERVICES["prometheus"]["networks"])


def test_the_metrics_worker_reads_the_bus_and_can_put_nothing_on_it() -> None:
    service = SERVICES["metrics"]

    assert (
        service["environment"]["DOCKBUS_REDIS_URL"]
        == SERVICES["api"]["environment"]["DOCKBUS_REDIS_URL"]
    )
    assert set(service["networks"]) & set(SERVICES["redis"]["networks"])
    assert "bus_key" not in service["secrets"]
    assert not service["depends_on"], "it measures containers while Redis is away"


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
