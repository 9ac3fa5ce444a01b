"""Settings: read from the environment once, wrong ones named all at once, secrets made once and kept to their owner."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis.connection import parse_url  # pyright: ignore[reportUnknownVariableType]

from dockbus.errors import SettingsError
from dockbus.settings import BusSettings, RedisSettings, Settings, variables


def refused(**env: str) -> str:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(env)
    return caught.value.detail


def in_folder(folder: Path) -> Settings:
    return Settings(bus=BusSettings(data_dir=folder))


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = Settings.from_env({})

    assert settings == Settings()
    assert settings.redis_url == f"unix://{settings.bus.data_dir}/redis.sock"


def test_values_arrive_as_what_they_are() -> None:
    settings = Settings.from_env(
        {
            "DOCKBUS_REDIS_URL": "redis://example:6379/3",
            "DOCKBUS_SCAN_OFFLINE": "true",
            "DOCKBUS_WORKER_SLOTS": "7",
            "DOCKBUS_BUILD_ROOT": "/srv/builds",
            "DOCKBUS_METRICS_LABELS": " team, com.example.stage ,",
            "PATH": "/bin",
        }
    )

    assert settings.redis_url == "redis://example:6379/3"
    assert settings.scan.offline is True
    assert settings.worker.slots == 7
    assert settings.build.root == Path("/srv/builds")
    assert settings.metrics.labels == ("team", "com.example.stage")


def test_a_misspelt_name_is_an_error_with_a_guess() -> None:
    assert "DOCKBUS_REDIS_ULR is not a setting" in refused(DOCKBUS_REDIS_ULR="x")
    assert "did you mean 'DOCKBUS_REDIS_URL'?" in refused(DOCKBUS_REDIS_ULR="x")


def test_all_that_is_wrong_is_named_at_once() -> None:
    detail = refused(
        DOCKBUS_WORKER_SLOTS="0",
        DOCKBUS_API_PORT="http",
        DOCKBUS_ENGINE_NAME="Not A Name",
        DOCKBUS_NO_SUCH="x",
        DOCKBUS_BUS_KEY_FILE="/nowhere/key",
    )

    for name in ("WORKER_SLOTS", "API_PORT", "ENGINE_NAME", "NO_SUCH", "BUS_KEY_FILE"):
        assert f"DOCKBUS_{name}" in detail


@pytest.mark.parametrize("value", ["inf", "nan", "-1", "soon", ""])
@pytest.mark.parametrize("name", ["REDIS_OUTAGE", "ENGINE_TIMEOUT", "WORKER_HEARTBEAT"])
def test_a_time_that_is_none_is_refused(name: str, value: str) -> None:
    assert f"DOCKBUS_{name}" in refused(**{f"DOCKBUS_{name}": value})


def test_a_secret_may_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret\n")

    settings = Settings.from_env({"DOCKBUS_BUS_KEY_FILE": str(tmp_path / "key")})

    assert settings.bus_key() == b"s3cret"


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("redis://redis:6379/0", "redis://:p%40ss%2Fw@redis:6379/0"),
        (
            "rediss://ann@redis/1?ssl_cert_reqs=none",
            "rediss://ann:p%40ss%2Fw@redis/1?ssl_cert_reqs=none",
        ),
        ("redis://:other@redis:6379/0", "redis://:other@redis:6379/0"),
        ("unix:///run/redis.sock?db=2", "unix://:p%40ss%2Fw@/run/redis.sock?db=2"),
    ],
)
def test_the_password_of_redis_goes_where_the_url_has_none(
    given: str, used: str, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("p@ss/w\n")
    password = {"DOCKBUS_REDIS_PASSWORD_FILE": str(tmp_path / "password")}

    settings = Settings.from_env({"DOCKBUS_REDIS_URL": given} | password)

    assert settings.redis_url == used
    assert "p@ss/w" not in repr(settings)
    asked: dict[str, str] = parse_url(used)  # type: ignore[no-untyped-call]
    assert asked["password"] == ("other" if "other" in given else "p@ss/w")
    assert asked.get("username", "") in ("", "ann")


def test_what_is_no_secret_may_not_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://example")

    assert "DOCKBUS_REDIS_URL_FILE is not a setting" in refused(
        DOCKBUS_REDIS_URL_FILE=str(tmp_path / "url")
    )


def test_a_secret_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff\xfe\x00")

    assert "DOCKBUS_BUS_KEY_FILE" in refused(DOCKBUS_BUS_KEY_FILE=str(tmp_path / "key"))


def test_secrets_are_not_shown() -> None:
    settings = Settings.from_env({"DOCKBUS_BUS_KEY": "s3cret", "DOCKBUS_API_TOKEN": "t0ken"})

    assert "s3cret" not in f"{settings!r}{settings}{settings.model_dump_json()}"
    assert "t0ken" not in f"{settings!r}{settings}{settings.model_dump_json()}"


@pytest.mark.parametrize(
    ("env", "host"),
    [
        ({}, ""),
        ({"DOCKER_HOST": "tcp://a:1"}, "tcp://a:1"),
        ({"DOCKER_HOST": "tcp://a:1", "DOCKBUS_ENGINE_HOST": "tcp://b:1"}, "tcp://b:1"),
        ({"DOCKER_HOST": "tcp://a:1", "DOCKBUS_ENGINE_HOST": ""}, "tcp://a:1"),
    ],
)
def test_docker_host_counts_where_dockbus_own_says_nothing(env: dict[str, str], host: str) -> None:
    assert Settings.from_env(env).engine.host == host


def test_dockers_certificates_count_only_where_tls_is_asked_for() -> None:
    folder = {"DOCKER_CERT_PATH": "/certs"}

    assert Settings.from_env(folder).engine.cert_path == ""
    assert Settings.from_env(folder | {"DOCKER_TLS_VERIFY": "1"}).engine.cert_path == "/certs"


def test_a_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"

    first, second = in_folder(folder).bus_key(), in_folder(folder).bus_key()

    assert first == second
    assert len(first) == 64
    assert (folder / "key").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [file.name for file in folder.iterdir()] == ["key"]


def test_many_first_starts_agree_on_one_key(tmp_path: Path) -> None:
    together = threading.Barrier(30)
    keys: list[bytes] = []

    def start() -> None:
        together.wait()
        keys.append(in_folder(tmp_path / "data").bus_key())

    threads = [threading.Thread(target=start) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(keys) == 30
    assert len(set(keys)) == 1


@pytest.mark.parametrize("text", ["", "\n"])
def test_an_empty_secret_lets_nobody_in(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text)
    (tmp_path / "token").write_text(text)

    for ask in (in_folder(tmp_path).bus_key, in_folder(tmp_path).api_token):
        with pytest.raises(SettingsError, match="is empty"):
            ask()


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(SettingsError, match="cannot keep a secret in"):
        in_folder(tmp_path / "file" / "data").api_token()


def test_another_redis_needs_the_key_of_its_bus(tmp_path: Path) -> None:
    settings = in_folder(tmp_path).model_copy(
        update={"redis": RedisSettings(url="redis://example")}
    )

    with pytest.raises(SettingsError, match="DOCKBUS_BUS_KEY is not"):
        settings.bus_key()
    assert not (tmp_path / "key").exists()

    given = settings.model_copy(update={"bus": BusSettings(key=SecretStr("k"))})
    assert given.bus_key() == b"k"


def test_every_variable_sets_its_field_and_says_what_it_means() -> None:
    for name, variable in variables().items():
        assert variable.meaning.endswith("."), name
        if variable.default and not variable.secret:
            settings = Settings.from_env({name: variable.default})
            assert getattr(getattr(settings, variable.group), variable.field) is not None
