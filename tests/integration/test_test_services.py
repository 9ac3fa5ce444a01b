"""What the tests' own services promise: registries that guard, a front that fails as told, buildx."""

from __future__ import annotations

import base64
import http.client
import secrets
import shutil
import ssl
import subprocess
import threading
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest

import registries
import registry_front
from dockbus.engine import (
    Engine,
    EngineError,
    RegistryDenied,
    RegistryRateLimited,
    RegistryUnavailable,
)
from dockbus.engine.streams import read_objects
from registries import PrivateRegistry
from registry_front import BLOBS, MANIFESTS, Front
from waiting import wait_for


@pytest.fixture(params=["guarded_registry", "private_registry"])
def private(request: pytest.FixtureRequest) -> PrivateRegistry:
    found: PrivateRegistry = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def published(engine: Engine, registry_front: Front) -> Generator[str]:
    """An image, to be had through the front alone."""
    name = f"{registry_front.address}/dockbus/test-front-{secrets.token_hex(4)}:1"
    registries.publish(engine, name)
    registry_front.seen.clear()
    yield name
    if engine.images.find(name):
        engine.images.remove(name)


def test_an_engine_with_the_login_pushes_and_pulls(
    engine: Engine, private: PrivateRegistry
) -> None:
    name = f"{private.address}/dockbus/test-login:1"
    digest = registries.publish(engine, name, login=private)

    _pull(engine, name, private)

    assert engine.images.get(name).digests == (name.replace(":1", f"@{digest}"),)
    engine.images.remove(name)


def test_docker_s_command_line_takes_the_login_from_its_folder(
    engine: Engine, guarded_registry: PrivateRegistry, tmp_path: Path
) -> None:
    if not (docker := shutil.which("docker")):
        pytest.skip("there is no docker command line")
    name = f"{guarded_registry.address}/dockbus/test-config:1"
    registries.publish(engine, name, login=guarded_registry)
    config = guarded_registry.write_config(tmp_path / "docker")

    command = [docker, "--config", str(config), "--host", engine.host, "pull", name]
    subprocess.run(command, check=True, capture_output=True)

    engine.images.remove(name)


def test_an_engine_without_the_login_is_refused(
    engine: Engine, guarded_registry: PrivateRegistry
) -> None:
    name = f"{guarded_registry.address}/dockbus/test-refused:1"
    registries.publish(engine, name, login=guarded_registry)

    with pytest.raises(RegistryDenied):
        _pull(engine, name)
    with pytest.raises(RegistryDenied):
        registries.publish(engine, name)


def test_a_client_reaches_the_tls_registry_only_with_its_authority(
    private_registry: PrivateRegistry,
) -> None:
    assert private_registry.ca
    trusting = ssl.create_default_context(cafile=str(private_registry.ca))

    assert _status(private_registry, trusting) == 200
    with pytest.raises(ssl.SSLCertVerificationError, match="self-signed"):
        _status(private_registry, ssl.create_default_context())


def test_a_strict_engine_reaches_the_tls_registry_only_where_it_is_trusted(
    strict_engine: Engine, private_registry: PrivateRegistry
) -> None:
    name = f"{registries.OUTSIDE}/dockbus/test-strict:1"

    with registries.trusted(private_registry):
        registries.publish(strict_engine, name, login=private_registry)
        _pull(strict_engine, name, private_registry)
        with pytest.raises(RegistryDenied):
            _pull(strict_engine, name)

    with pytest.raises(EngineError, match="x509"):
        _pull(strict_engine, name, private_registry)


def test_the_front_passes_on_and_counts(
    engine: Engine, registry_front: Front, published: str
) -> None:
    _pull(engine, published)

    assert registry_front.count("GET", BLOBS) == 2
    assert registry_front.count("HEAD", MANIFESTS) == 1


def test_the_front_passes_logins_on(engine: Engine, guarded_registry: PrivateRegistry) -> None:
    with registry_front.front(guarded_registry.address) as before:
        name = f"{before.address}/dockbus/test-front-login:1"
        registries.publish(engine, name, login=guarded_registry)

        with pytest.raises(RegistryDenied):
            _pull(engine, name)


@pytest.mark.parametrize(
    ("status", "error"), [(429, RegistryRateLimited), (503, RegistryUnavailable)]
)
def test_the_front_refuses_until_it_is_told_to_behave(
    engine: Engine, registry_front: Front, published: str, status: int, error: type[Exception]
) -> None:
    registry_front.refuse(status)
    with pytest.raises(error):
        _pull(engine, published)

    registry_front.behave()
    _pull(engine, published)

    assert engine.images.find(published)


def test_the_front_refuses_only_so_often(registry_front: Front, published: str) -> None:
    registry_front.refuse(429, r"^/v2/$", times=2)

    answers = [_asked(registry_front, "/v2/")[0] for _ in range(3)]

    assert answers == [429, 429, 200]


def test_the_front_cuts_a_blob_and_the_engine_fetches_the_rest(
    engine: Engine, registry_front: Front, published: str
) -> None:
    registry_front.cut(BLOBS, after=100, times=1)

    _pull(engine, published)

    assert registry_front.count("GET", BLOBS) == 3


def test_the_front_stalls_in_the_middle_until_it_is_told_to_behave(
    engine: Engine, registry_front: Front, published: str
) -> None:
    registry_front.stall(BLOBS, after=100)
    pulling = threading.Thread(target=_pull, args=(engine, published))
    pulling.start()
    wait_for(lambda: registry_front.count("GET", BLOBS), what="the Engine to ask for a blob")

    pulling.join(0.5)
    assert pulling.is_alive()
    registry_front.behave()
    pulling.join(30)

    assert engine.images.find(published)


def test_a_front_that_stalls_can_be_closed(registry: str) -> None:
    with registry_front.front(registry) as before:
        before.stall("")
        waiting = http.client.HTTPConnection(before.address, timeout=20)
        waiting.request("GET", "/v2/")
        wait_for(lambda: before.count("GET"), what="the request to be seen")

    with closing(waiting), pytest.raises(http.client.RemoteDisconnected):
        waiting.getresponse()


def test_buildx_builds_on_its_own_with_the_engine(
    engine: Engine, base_image: str, buildx: Path, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {base_image}\nRUN echo built-$((40 + 2))\n")
    name = f"dockbus/test-buildx-{secrets.token_hex(4)}"
    command = [
        *(str(buildx), "build", "--progress=rawjson", "--no-cache"),
        *("--tag", name, "--label", "dockbus.test=1", str(tmp_path)),
    ]
    own = {"DOCKER_HOST": engine.host, "DOCKER_CONFIG": str(tmp_path / "docker")}

    done = subprocess.run(command, check=True, capture_output=True, text=True, env=own)

    assert base64.b64encode(b"built-42\n").decode() in done.stderr
    assert engine.images.get(name).labels["dockbus.test"] == "1"
    engine.images.remove(name)


def _pull(engine: Engine, name: str, login: PrivateRegistry | None = None) -> None:
    repository, _, tag = name.rpartition(":")
    for _ in engine.open(
        "POST",
        "/images/create",
        read_objects,
        params={"fromImage": repository, "tag": tag},
        headers=login.auth_header if login else None,
        idle=30,
    ):
        pass


def _status(private: PrivateRegistry, context: ssl.SSLContext) -> int:
    with closing(
        http.client.HTTPSConnection(private.address, timeout=5, context=context)
    ) as client:
        login = base64.b64encode(f"{private.username}:{private.password}".encode()).decode()
        client.request("GET", "/v2/", headers={"Authorization": f"Basic {login}"})
        return client.getresponse().status


def _asked(before: Front, path: str) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection(before.address, timeout=5)) as client:
        client.request("GET", path)
        answer = client.getresponse()
        return answer.status, answer.read()
