"""A real image registry for tests: the `docker-registry` of Debian, on a loopback port."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import debian
from dockbus.local.process import running

_CONFIG = """\
version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
log: {{level: warn}}
"""


@contextmanager
def serve(folder: Path, say: Callable[[str], None]) -> Generator[str]:
    """Serve a registry from `folder`; yields its address.

    Raises:
        MissingTool: there is no docker-registry and none can be had.
    """
    folder.mkdir(parents=True)
    program = debian.program("docker-registry", "usr/bin/docker-registry", folder, say)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    config = folder / "config.yml"
    config.write_text(_CONFIG.format(folder=folder, port=port))

    def answers() -> bool:
        with (
            contextlib.suppress(OSError),
            contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as http_,
        ):
            http_.request("GET", "/v2/")
            return http_.getresponse().status == 200
        return False

    command = [program, "serve", str(config)]
    with running(command, log=folder / "log", answers=answers, timeout=20, grace=5):
        yield f"127.0.0.1:{port}"


def push(engine_host: str, image: str) -> str:
    """Push an image with Docker's own command line; returns its digest, `sha256:…`."""
    docker = ["docker", "--host", engine_host]
    subprocess.run(
        [*docker, "push", "--quiet", image], check=True, capture_output=True, env=dict(os.environ)
    )
    asked = [*docker, "image", "inspect", "--format", "{{index .RepoDigests 0}}", image]
    done = subprocess.run(asked, check=True, capture_output=True, text=True)
    return done.stdout.strip().partition("@")[2]
