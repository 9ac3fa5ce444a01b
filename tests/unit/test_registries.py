"""Credentials and mirrors: what a worker's files say of them."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from dockbus.engine import CredentialsUnusable, Login
from dockbus.engine.logins import auth_header
from dockbus_workers.pulling import fits
from dockbus_workers.registries import RegistriesError, Registry, load


def sent(login: Login | None, host: str) -> dict[str, str]:
    (text,) = auth_header(login, host).values()
    fields: dict[str, str] = json.loads(base64.urlsafe_b64decode(text))
    return fields


@pytest.mark.parametrize(
    ("text", "username", "password", "token"),
    [
        ("ada:hush", "ada", "hush", ""),
        ("ada:hush:with:colons", "ada", "hush:with:colons", ""),
        ("ada:hush\n", "ada", "hush", ""),
        ('{"username": "ada", "password": "hush"}', "ada", "hush", ""),
        ('\n {"Username": "ada", "Password": "hush"}\n', "ada", "hush", ""),
        ('{"identitytoken": "t0ken"}', "", "", "t0ken"),
    ],
)
def test_a_secret_holds_a_login(text: str, username: str, password: str, token: str) -> None:
    login = Login.parse(text, "the secret 'x'")

    assert (login.username, login.password, login.token) == (username, password, token)
    assert login.secrets == (password or token,)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hush-hush",
        ":hush-hush",
        "hush-hush:",
        '{"username": "hush-hush"}',
        '{"password": 1234567}',
        '{"auth": "hush-hush"}',
        "{hush-hush",
        '{"identitytoken": ["hush-hush"]}',
    ],
)
def test_what_is_no_login_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(CredentialsUnusable) as caught:
        Login.parse(text, "the secret 'x'")

    assert "the secret 'x'" in caught.value.detail
    assert "hush-hush" not in str(caught.value)
    assert "hush-hush" not in repr(caught.value.__context__)
    assert "hush" not in repr(Login.parse("ada:hush", "x"))


def test_the_engine_is_told_who_asks_which_registry() -> None:
    login = Login(source="x", username="ada", password="hush")

    assert sent(login, "registry.example") == {
        "username": "ada",
        "password": "hush",
        "serveraddress": "registry.example",
    }
    assert sent(login, "docker.io")["serveraddress"] == "https://index.docker.io/v1/"
    assert sent(Login(source="x", token="t"), "r") == {"identitytoken": "t", "serveraddress": "r"}
    assert sent(None, "registry.example") == {}


def config(folder: Path, **content: object) -> str:
    (folder / "config.json").write_text(json.dumps(content))
    return str(folder)


def test_dockers_own_login_is_found_by_registry(tmp_path: Path) -> None:
    auth = base64.b64encode(b"ada:hush").decode()
    folder = config(
        tmp_path,
        auths={
            "registry.example:5000": {"auth": auth},
            "https://index.docker.io/v1/": {"auth": auth},
        },
    )

    for host in ("registry.example:5000", "docker.io"):
        login = Login.of_docker(folder, host)
        assert login is not None
        assert (login.username, login.password) == ("ada", "hush")
        assert host in login.source
    assert Login.of_docker(folder, "other.example") is None


def test_a_folder_without_a_configuration_has_no_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    config(other, auths={"registry.example": {"auth": base64.b64encode(b"ada:hush").decode()}})
    monkeypatch.setenv("DOCKER_CONFIG", str(other))

    assert Login.of_docker(str(tmp_path), "registry.example") is None
    assert Login.of_docker("", "registry.example") is not None


def helper(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "docker-credential-tests"
    program.write_text(f"#!/bin/sh\nread registry\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


@pytest.mark.parametrize(
    "content", [{"credsStore": "tests"}, {"credHelpers": {"registry.example": "tests"}}]
)
def test_a_credential_helper_is_asked(
    content: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(
        tmp_path,
        """echo '{"ServerURL": "x", "Username": "ada", "Secret": "hush-'$registry'"}'""",
        monkeypatch,
    )

    login = Login.of_docker(config(tmp_path, **content), "registry.example")

    assert login is not None
    assert (login.username, login.password) == ("ada", "hush-registry.example")


def test_a_helpers_token_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(
        tmp_path,
        """echo '{"ServerURL": "x", "Username": "<token>", "Secret": "t0k"}'""",
        monkeypatch,
    )

    login = Login.of_docker(config(tmp_path, credsStore="tests"), "registry.example")

    assert login is not None
    assert login.token == "t0k"


def test_a_helper_that_knows_nothing_means_no_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(tmp_path, "echo 'credentials not found in native keychain'; exit 1", monkeypatch)

    assert Login.of_docker(config(tmp_path, credsStore="tests"), "registry.example") is None


def test_a_helper_that_is_broken_or_missing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(tmp_path, "echo 'the keychain is locked'; exit 1", monkeypatch)

    with pytest.raises(CredentialsUnusable, match="the keychain is locked"):
        Login.of_docker(config(tmp_path, credsStore="tests"), "registry.example")
    with pytest.raises(CredentialsUnusable, match="docker-credential-nosuch"):
        Login.of_docker(config(tmp_path, credsStore="nosuch"), "registry.example")


def test_a_broken_configuration_is_told(tmp_path: Path) -> None:
    with pytest.raises(CredentialsUnusable, match=r"config\.json"):
        Login.of_docker(config(tmp_path, auths={"r.example": {"auth": "no base64"}}), "r.example")


def written(folder: Path, text: str) -> str:
    file = folder / "registries.yaml"
    file.write_text(text)
    return str(file)


def test_the_file_of_registries_names_secrets_and_mirrors(tmp_path: Path) -> None:
    text = """
        registries:
          docker.io: {mirrors: ["mirror.local:5000/hub", localhost]}
          registry.example:5000: {credentials: shop-registry}
    """

    assert load(written(tmp_path, text)) == {
        "docker.io": Registry(mirrors=["mirror.local:5000/hub", "localhost"]),
        "registry.example:5000": Registry(credentials="shop-registry"),
    }
    assert load("") == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "Input should be"),
        ("registries: []", "registries: Input should be"),
        ("registry: {}", "registries: Field required"),
        ("registries: {team: {}}", "'team' is not a registry"),
        ("registries: {registry.example/x: {}}", "'registry.example/x' is not a registry"),
        ("registries: {https://x.example: {}}", "is not an image reference"),
        ("registries: {x.example: {mirrors: [hub]}}", "'hub' is not a mirror"),
        ("registries: {x.example: {mirrors: ['m.example/A']}}", "is not an image reference"),
        ("registries: {x.example: {mirrors: 'm.example'}}", "mirrors: Input should be"),
        ("registries: {x.example: {credentials: 'a b'}}", "credentials: String should match"),
        ("registries: {x.example: {password: hush}}", "x.example.password: no such field"),
        (
            "registries:\n  x.example:\n    mirror: [m.example]",
            "yaml:3: registries.x.example.mirror: no such",
        ),
        ("registries: {x.example: {}, x.example: {}}", "'x.example' is there twice"),
        ("registries: {x.example:", "registries.yaml:1: not YAML"),
        ("registries: \x00", "not YAML"),
    ],
)
def test_a_file_that_is_wrong_is_told_where(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(RegistriesError) as caught:
        load(written(tmp_path, text))

    assert says in caught.value.detail
    assert "registries.yaml" in caught.value.detail


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RegistriesError, match="No such file"):
        load(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize(
    ("platform", "asked", "does"),
    [
        ("linux/amd64", None, True),
        ("linux/amd64", "linux/amd64", True),
        ("linux/arm64", "linux/arm", False),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm/v6", "linux/arm/v7", False),
        ("windows/amd64", "linux/amd64", False),
    ],
)
def test_a_platform_fits_or_not(platform: str, asked: str | None, does: bool) -> None:
    assert fits(platform, asked) is does


def test_the_example_is_a_valid_file() -> None:
    example = Path(__file__).parents[2] / "examples" / "registries" / "registries.yaml"

    known = load(str(example))

    assert known["docker.io"].mirrors == ["mirror.local:5000/hub", "mirror.example/docker-hub"]
    assert known["registry.example:5000"].credentials == "shop-registry"
