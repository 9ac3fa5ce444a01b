"""Real image registries for tests: the `docker-registry` of Debian, on a loopback port, open or guarded.

An Engine takes every registry on loopback for an insecure one: it checks no certificate, and what fails
over TLS it tries once more over plain HTTP, whose failure it then tells. So use plain HTTP to see an Engine
refused, and TLS, with `ca`, for clients of our own; or the fixture `strict_engine`, with `trusted` or without.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import os
import shutil
import socket
import ssl
import subprocess
import tarfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import debian
from dockbus.engine import Engine
from dockbus.engine.streams import read_objects
from dockbus.errors import MissingTool
from dockbus.local.process import running
from dockbus.references import split
from dockbus.settings import EngineSettings

OUTSIDE = "registry.test"
"""The name of the TLS registry for `strict_engine`; it resolves to nothing."""
USERNAME = "dockbus-tests"
PASSWORD = "hush-a-9f31c7"
_HTPASSWD = f"{USERNAME}:$2b$04$npr42coCTbbVXIpXHN1g3uk5wrVNXJ3tOF00EAdvdWpgZpU1dzdKK\n"
_PUSH_IDLE = 60.0
_TRUST = Path("/etc/docker/certs.d")
"""Where an Engine looks, at each request, for the authority of a registry: `HOST[:PORT]/ca.crt`."""


@dataclass(frozen=True)
class PrivateRegistry:
    """A registry that asks for a login. `ca` is the file to check its certificate by, None for plain HTTP."""

    address: str
    username: str
    password: str
    ca: Path | None

    @property
    def auth_header(self) -> dict[str, str]:
        """The login as the Engine's API takes it."""
        login = {"username": self.username, "password": self.password}
        return _auth_header(login | {"serveraddress": self.address})

    def write_config(self, folder: Path) -> Path:
        """Make `folder` one for DOCKER_CONFIG that holds the login; returns it."""
        folder.mkdir(parents=True, exist_ok=True)
        login = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        (folder / "config.json").write_text(json.dumps({"auths": {self.address: {"auth": login}}}))
        return folder


@contextmanager
def serve(folder: Path, say: Callable[[str], None]) -> Generator[str]:
    """Serve a registry that anybody may read and write from `folder`; yields its address.

    Raises:
        MissingTool: there is no docker-registry and none can be had.
    """
    with _served(folder, say) as address:
        yield address


@contextmanager
def serve_private(
    folder: Path, say: Callable[[str], None], *, tls: bool
) -> Generator[PrivateRegistry]:
    """Serve a registry that asks for a login, over plain HTTP or TLS.

    Raises:
        MissingTool: there is no docker-registry, or for TLS no openssl, and none can be had.
    """
    folder.mkdir(parents=True)
    (folder / "htpasswd").write_text(_HTPASSWD)
    ca = _certificate(folder) if tls else None
    with _served(folder, say, guarded=True, ca=ca) as address:
        yield PrivateRegistry(address, USERNAME, PASSWORD, ca)


@contextmanager
def trusted(private: PrivateRegistry) -> Generator[None]:
    """Have every Engine of this machine trust the registry by the name of `OUTSIDE`; takes root."""
    assert private.ca
    folder = _TRUST / OUTSIDE
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True)
    try:
        shutil.copy(private.ca, folder / "ca.crt")
        yield
    finally:
        (folder / "ca.crt").unlink(missing_ok=True)
        for parent in made:
            parent.rmdir()


@contextmanager
def _served(
    folder: Path, say: Callable[[str], None], *, guarded: bool = False, ca: Path | None = None
) -> Generator[str]:
    folder.mkdir(parents=True, exist_ok=True)
    program = debian.program("docker-registry", "usr/bin/docker-registry", folder, say)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    http_: dict[str, object] = {"addr": f"127.0.0.1:{port}"}
    if ca:
        http_["tls"] = {"certificate": str(ca), "key": str(folder / "key.pem")}
    settings: dict[str, object] = {
        "version": "0.1",
        "storage": {
            "filesystem": {"rootdirectory": str(folder / "data")},
            "delete": {"enabled": True},
        },
        "http": http_,
        "log": {"level": "warn"},
    }
    if guarded:
        login = {"realm": "tests", "path": str(folder / "htpasswd")}
        settings["auth"] = {"htpasswd": login}
    config = folder / "config.yml"
    config.write_text(json.dumps(settings))  # JSON is YAML

    def answers() -> bool:
        with contextlib.suppress(OSError), contextlib.closing(_client(port, ca)) as client:
            client.request("GET", "/v2/")
            return client.getresponse().status == (401 if guarded else 200)
        return False

    command = [program, "serve", str(config)]
    with running(command, log=folder / "log", answers=answers, timeout=20, grace=5):
        yield f"127.0.0.1:{port}"


def push(engine_host: str, image: str, login: PrivateRegistry | None = None) -> str:
    """Push an image by the Engine's own API, with a login where one is given; returns its digest, `sha256:…`.

    Raises:
        EngineError: the registry refused, or does not answer.
    """
    repository, tag = split(image)
    engine = Engine(EngineSettings(host=engine_host))
    try:
        stream = engine.open(
            "POST",
            f"/images/{repository}/push",
            read_objects,
            params={"tag": tag},
            headers=login.auth_header if login else _auth_header({}),
            idle=_PUSH_IDLE,
        )
        return next(
            str(said["aux"]["Digest"]) for said in list(stream) if "Digest" in said.get("aux", {})
        )
    finally:
        engine.close()


def publish(
    engine: Engine, image: str, *, size: int = 100_000, login: PrivateRegistry | None = None
) -> str:
    """Push an image of so many random bytes, which the Engine then has no more; returns its digest."""
    with io.BytesIO() as buffer:
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            entry = tarfile.TarInfo("noise")
            entry.size = size
            tar.addfile(entry, io.BytesIO(os.urandom(size)))
        engine.images.import_rootfs(buffer.getvalue(), image, ["LABEL dockbus.test=1"])
    try:
        return push(engine.host, image, login)
    finally:
        engine.images.remove(image)


def _auth_header(login: dict[str, str]) -> dict[str, str]:
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(login).encode()).decode()}


def _client(port: int, ca: Path | None) -> http.client.HTTPConnection:
    if ca is None:
        return http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    checked = ssl.create_default_context(cafile=str(ca))
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=checked)


def _certificate(folder: Path) -> Path:
    """Make `key.pem` and a certificate that vouches for itself, good for two days; returns the latter."""
    if not shutil.which("openssl"):
        raise MissingTool("there is no program 'openssl'; install it")
    ca = folder / "ca.pem"
    names = f"subjectAltName=DNS:localhost,DNS:{OUTSIDE},IP:127.0.0.1"
    command = [
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-days", "2", "-subj", "/CN=dockbus tests", "-addext", names),
        *("-addext", "keyUsage=critical,digitalSignature,keyCertSign"),
        *("-keyout", str(folder / "key.pem"), "-out", str(ca)),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return ca
