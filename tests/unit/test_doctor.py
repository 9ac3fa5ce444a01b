from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from pydantic import SecretStr

from dockbus import doctor
from dockbus.checks import Check, Level
from dockbus.settings import (
    BusSettings,
    EngineSettings,
    RedisSettings,
    ScanSettings,
    Settings,
    variables,
)


def examined(settings: Settings) -> dict[str, Check]:
    return {check.name: check for check in doctor.examine(settings)}


@pytest.fixture
def nothing(tmp_path: Path) -> Settings:
    """Settings of a machine where nothing runs and nothing is installed."""
    return Settings(
        redis=RedisSettings(url=f"unix://{tmp_path}/redis.sock"),
        engine=EngineSettings(host=f"unix://{tmp_path}/docker.sock"),
        bus=BusSettings(data_dir=tmp_path),
        scan=ScanSettings(trivy=str(tmp_path / "trivy")),
    )


def test_where_nothing_runs_each_finding_says_what_to_do(nothing: Settings) -> None:
    checks = examined(nothing)
    wrong = {name: check.level for name, check in checks.items() if check.level is not Level.OK}
    assert wrong.items() >= {
        ("engine", Level.MISSING),
        ("redis", Level.MISSING),
        ("key", Level.MISSING),
        ("trivy", Level.WARNING),
    }
    assert all(checks[name].advice for name in wrong)
    assert "DOCKBUS_REDIS_URL" in checks["redis"].advice
    assert "DOCKBUS_ENGINE_HOST" in checks["engine"].advice
    assert "openssl rand" in checks["key"].found


def test_a_socket_that_may_not_be_opened_is_a_matter_of_groups_and_not_of_its_mode(
    nothing: Settings, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(f"{tmp_path}/docker.sock")
        (tmp_path / "docker.sock").chmod(0)
        if is_root := os.geteuid() == 0:
            os.seteuid(65534)
        try:
            [check] = doctor.examine(nothing)[:1]
        finally:
            if is_root:
                os.seteuid(0)

    assert (check.name, check.level) == ("engine", Level.MISSING)
    assert check.found.endswith("docker.sock: Permission denied")
    assert "group" in check.advice
    assert "chmod" not in check.advice


def test_where_no_engine_listens_the_doctor_names_its_service(
    nothing: Settings, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(f"{tmp_path}/docker.sock")  # and never listens

    [check] = doctor.examine(nothing)[:1]

    assert check.found.endswith("docker.sock: Connection refused")
    assert "systemctl status docker" in check.advice


def test_looking_leaves_nothing_behind(nothing: Settings, tmp_path: Path) -> None:
    doctor.examine(nothing)
    doctor.examine(nothing.model_copy(update={"redis": RedisSettings()}))
    assert not list(tmp_path.iterdir())


def test_a_malformed_address_is_a_finding(nothing: Settings) -> None:
    checks = examined(nothing.model_copy(update={"redis": RedisSettings(url="nonsense://x")}))
    assert checks["redis"].level is Level.MISSING
    assert "DOCKBUS_REDIS_URL" in checks["redis"].found


def test_a_scanner_that_does_not_run_is_a_finding(nothing: Settings, tmp_path: Path) -> None:
    (tmp_path / "trivy").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "trivy").chmod(0o755)
    trivy = examined(nothing)["trivy"]
    assert trivy.level is Level.WARNING
    assert "exit status 3" in trivy.found


def test_passwords_are_masked_in_findings(nothing: Settings) -> None:
    given = nothing.model_copy(
        update={
            "redis": RedisSettings(url="redis://:hush@127.0.0.1:1"),
            "bus": BusSettings(key=SecretStr("hush")),
        }
    )
    assert "hush" not in repr(doctor.examine(given))


def test_every_setting_is_listed_with_its_origin_and_without_its_secret(tmp_path: Path) -> None:
    env = {
        "DOCKBUS_REDIS_URL": "redis://:hush@host:6379/0",
        "DOCKBUS_BUS_KEY": "hush",
        "DOCKBUS_API_TOKEN_FILE": str(tmp_path / "token"),
        "DOCKBUS_API_PORT": "not a number",
        "DOCKER_HOST": "tcp://127.0.0.1:2375",
        "HOME": str(tmp_path),
    }
    listed = {setting.name: setting for setting in doctor.settings(env)}
    assert list(listed) == list(variables())
    told = {name: (setting.value, setting.origin) for name, setting in listed.items()}
    assert told["DOCKBUS_REDIS_URL"] == ("redis://***@host:6379/0", "DOCKBUS_REDIS_URL")
    assert told["DOCKBUS_BUS_KEY"] == ("***", "DOCKBUS_BUS_KEY")
    assert told["DOCKBUS_API_TOKEN"] == (str(tmp_path / "token"), "DOCKBUS_API_TOKEN_FILE")
    assert told["DOCKBUS_API_PORT"] == ("not a number", "DOCKBUS_API_PORT")
    assert told["DOCKBUS_ENGINE_HOST"] == ("tcp://127.0.0.1:2375", "DOCKER_HOST")
    assert told["DOCKBUS_WORKER_SLOTS"] == ("4", "default")
    assert "hush" not in repr(listed)


@pytest.mark.parametrize(
    ("told", "name", "level", "found"),
    [
        ({}, "redis persistence", Level.OK, "append-only file on"),
        ({"aof_enabled": 0}, "redis persistence", Level.WARNING, "append-only file off"),
        ({"aof_last_write_status": "err"}, "redis persistence", Level.WARNING, "aof_last_write"),
        ({"rdb_last_bgsave_status": "err"}, "redis persistence", Level.WARNING, "rdb_last_bgsave"),
        ({"role": "slave"}, "redis role", Level.MISSING, "a replica"),
        ({"maxmemory_policy": "allkeys-lru"}, "redis memory", Level.WARNING, "allkeys-lru"),
        ({"maxmemory": 1000}, "redis memory", Level.OK, "500 B of 1000 B used"),
        ({"maxmemory": 600}, "redis memory", Level.WARNING, "500 B of 600 B used"),
    ],
)
def test_what_redis_tells_of_itself_is_judged(
    told: dict[str, object], name: str, level: Level, found: str
) -> None:
    sound = {
        "role": "master",
        "aof_enabled": 1,
        "aof_last_write_status": "ok",
        "rdb_last_bgsave_status": "ok",
        "maxmemory_policy": "noeviction",
        "used_memory": 500,
        "maxmemory": 0,
    }

    checks = {check.name: check for check in doctor.redis_state(sound | told)}

    assert checks[name].level is level
    assert found in checks[name].found
    assert bool(checks[name].advice) is (level is not Level.OK)
