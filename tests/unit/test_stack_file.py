"""docker-stack.yml, held against docker-compose.yml: the same services, but for what a Swarm does otherwise, or cannot."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dockbus.settings import Settings
from dockbus_producer import rules, schedules

ROOT = Path(__file__).parents[2]
STACK_TEXT = (ROOT / "docker-stack.yml").read_text()
STACK: dict[str, Any] = yaml.safe_load(STACK_TEXT)
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SAME = ("command", "cap_drop", "init", "logging", "networks", "read_only", "secrets")
REFUSED = {"build", "depends_on", "group_add", "profiles", "restart", "security_opt", "tmpfs"}
"""What `docker stack deploy` refuses, or leaves out with a warning."""
SOCKET = "/var/run/docker.sock"
ENVIRONMENT = {
    "worker-build": {"DOCKBUS_BUILD_ROOT"},  # nodes have no folder in common
    "events": {"DOCKBUS_WATCH_RULES"},
    "schedule": {"DOCKBUS_SCHEDULE_PATH"},
}
"""What is otherwise there, beside what is otherwise everywhere."""

each_service = pytest.mark.parametrize("name", sorted(SERVICES))


def interpolated(text: Any) -> str:
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(text))


def targets(service: dict[str, Any]) -> dict[str, str]:
    """Where something is mounted, and of which sort that is."""
    found = dict.fromkeys(service.get("tmpfs", ()), "tmpfs")
    for volume in service.get("volumes", ()):
        if isinstance(volume, dict):
            found[volume["target"]] = volume["type"]
            continue
        source, _, target = interpolated(volume).removesuffix(":ro").rpartition(":")
        found[target] = "bind" if source.startswith((".", "/")) else "volume"
    return found


def environment(service: dict[str, Any]) -> dict[str, str]:
    return {key: interpolated(value) for key, value in service.get("environment", {}).items()}


def test_it_has_the_services_of_the_compose_file() -> None:
    assert set(SERVICES) == set(COMPOSE["services"]) - {"prometheus", "grafana"}
    assert set(STACK["secrets"]) == set(COMPOSE["secrets"]) - {"grafana_password"}
    for name, secret in STACK["secrets"].items():
        assert secret == COMPOSE["secrets"][name]


@each_service
def test_a_service_is_that_of_the_compose_file(name: str) -> None:
    ours, theirs = SERVICES[name], COMPOSE["services"][name]

    assert interpolated(ours["image"]) == theirs["image"]
    assert {key: ours.get(key) for key in SAME} == {key: theirs.get(key) for key in SAME}
    assert ours.get("stop_grace_period") == theirs.get("stop_grace_period")
    assert ours["deploy"]["resources"] == theirs["deploy"]["resources"]
    alone = {"DOCKBUS_ENGINE_NAME", "DOCKBUS_WORKER_ENGINE_LOST"}  # Compose has one Engine
    other = {"HEALTH_URL", *alone, *ENVIRONMENT.get(name, ())}
    here, there = environment(ours), environment(theirs)
    assert {key: here.get(key) for key in here.keys() | there.keys() if key not in other} == {
        key: there.get(key) for key in here.keys() | there.keys() if key not in other
    }
    elsewhere = {"/builds", "/etc/dockbus/rules", "/etc/dockbus/schedules"}
    there = {target: sort for target, sort in targets(theirs).items() if target not in elsewhere}
    assert targets(ours) == there


@each_service
def test_nothing_is_asked_for_that_a_stack_cannot_have(name: str) -> None:
    assert not REFUSED & SERVICES[name].keys()


@each_service
def test_who_has_the_socket_has_its_group(name: str) -> None:
    service = SERVICES[name]
    has = SOCKET in targets(service)

    assert service.get("user", "").startswith("10001:${DOCKER_GID:?") == has
    assert has == (service["deploy"].get("mode") == "global" and name != "api")
    assert (environment(service).get("DOCKBUS_ENGINE_NAME") == "{{.Node.Hostname}}") == has


@each_service
def test_each_goes_where_its_label_is(name: str) -> None:
    label = name if name in ("redis", "api") else "engine"

    placed = SERVICES[name]["deploy"]["placement"]["constraints"]

    assert placed == [f"node.labels.dockbus.{label} == true"]
    page = (ROOT / "docs/howto/several-hosts.md").read_text()
    assert f"| `dockbus.{label}=true` |" in page


@each_service
def test_two_tasks_overlap_in_an_update_only_where_they_can(name: str) -> None:
    deploy = SERVICES[name]["deploy"]
    alone = name == "redis" or "ports" in SERVICES[name]

    assert deploy["update_config"]["order"] == ("stop-first" if alone else "start-first")
    assert deploy["update_config"]["failure_action"] == "rollback"
    assert deploy["rollback_config"]["order"] == deploy["update_config"]["order"]
    assert deploy["restart_policy"]["condition"] == "any"
    assert deploy["endpoint_mode"] == "dnsrr"


@each_service
def test_a_program_is_replaced_when_it_is_dead_and_not_when_redis_is(name: str) -> None:
    if name == "redis":
        ours, theirs = (one["services"][name]["healthcheck"] for one in (STACK, COMPOSE))
        assert ours == theirs | {"start_period": ours["start_period"]}
        return
    ports = {"api": Settings().api.port, "metrics": Settings().metrics.port}
    own = re.findall(r"DOCKBUS_METRICS_OWN_PORT=(\d+)", (ROOT / "Dockerfile").read_text())[0]

    told = SERVICES[name]["environment"]["HEALTH_URL"]

    assert told == f"http://127.0.0.1:{ports.get(name, own)}/healthz"


@each_service
def test_its_environment_is_one_that_dockbus_accepts(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret")
    told = {
        key: str(tmp_path / "secret") if key.endswith("_FILE") else value
        for key, value in environment(SERVICES[name]).items()
    }
    if name != "redis":
        settings = Settings.from_env(told | {"DOCKBUS_ENGINE_NAME": "node-1"})
        assert settings.redis_url == "redis://:s3cret@redis:6379/0"


def test_what_it_names_is_there_and_told_of() -> None:
    for config in STACK["configs"].values():
        assert (ROOT / interpolated(config["file"])).is_file()
        assert "${CONFIG:-1}" in config["name"]
    assert rules.load(ROOT / "deploy/stack/rules.yaml") == []
    assert schedules.load(ROOT / "deploy/stack/schedules.yaml") == []
    page = (ROOT / "docs/howto/several-hosts.md").read_text()
    variables = set(re.findall(r"\$\{(\w+)", STACK_TEXT))
    assert {name for name in variables if f"`{name}`" not in page} == set()
    known = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", (ROOT / "docker-compose.yml").read_text()))
    ours = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", STACK_TEXT))
    assert {name: ours[name] for name in ours.keys() & known} == {
        name: known[name] for name in ours.keys() & known
    }


def test_what_goes_between_nodes_is_encrypted_and_redis_is_on_a_network_of_its_own() -> None:
    assert all("encrypted" in network["driver_opts"] for network in STACK["networks"].values())
    assert STACK["networks"]["bus"]["internal"] is True
    assert SERVICES["redis"]["networks"] == ["bus"]
    assert "ports" not in SERVICES["redis"]
