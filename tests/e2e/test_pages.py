"""Every command of the README, of getting started, of the how-to guides and of troubleshooting, run as by their reader.

From a copy of the project and an empty home folder, against the real Engine. What stands in for what a test cannot have,
such as a registry called registry.example, is in `stand_ins`. `tests/pages.py` tells how pages mark what is run and how.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Mapping
from pathlib import Path

import pytest

import prepared
import registries
from dockbus.engine import Engine, EngineError
from dockbus.jobs import LABEL_JOB
from pages import blocks, shell
from prometheus_server import free_port
from tls_front import tls_front

ROOT = Path(__file__).parents[2]
ONE_SITTING = (ROOT / "README.md", ROOT / "docs" / "getting-started.md")
"""Read one after the other, on the bus that the first has started."""
GUIDES = [*sorted((ROOT / "docs" / "howto").glob("*.md")), ROOT / "docs" / "troubleshooting.md"]
IGNORED = [".git", *(ROOT / ".gitignore").read_text().replace("/\n", "\n").split()]
IMAGES = ("busybox", "shop/")
"""What names of images begin with that pages use."""


@pytest.fixture
def home() -> Generator[Path]:
    """A home folder with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="dkb-home-") as folder:
        yield Path(folder)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The project as one gets it."""
    return shutil.copytree(ROOT, tmp_path / "dockbus", ignore=shutil.ignore_patterns(*IGNORED))


@pytest.fixture
def stand_ins(
    engine: Engine,
    base_image: str,
    registry: str,
    guarded_registry: registries.PrivateRegistry,
    redis_url: str,
    tmp_path: Path,
) -> Generator[dict[str, str]]:
    """What is put in the place of what a page names; an image `busybox`, and one to pull."""
    tls = tmp_path / "tls"
    tls.mkdir()
    containers, tags = _there(engine)
    if engine.images.find("busybox") is None:
        engine.images.tag(base_image, "busybox:latest")
    registries.publish(engine, f"{registry}/shop/db:3")
    with tls_front(redis_url.removeprefix("unix://"), tls) as port:
        yield {
            "make up ": "dockbus up ",  # which is all that it does once things are installed
            "registry.example/": f"{registry}/",
            "registry.example:5000": guarded_registry.address,
            "shop:PASSWORD": f"{guarded_registry.username}:{guarded_registry.password}",
            "redis://:password@bus.example.org:6379/0": redis_url,
            "rediss://:password@bus.example.org:6380/": f"rediss://127.0.0.1:{port}/",
            "/etc/ssl/bus-ca.pem": str(tls / "ca.pem"),
            "127.0.0.1:8080": f"127.0.0.1:{free_port()}",
            "127.0.0.1:9753": f"127.0.0.1:{free_port()}",
            "8090:80": f"{free_port()}:80",
        }
    left, tagged = _there(engine)
    for container in left - containers:
        engine.containers.remove(container, force=True)
    for tag in tagged - tags:
        with contextlib.suppress(EngineError):
            engine.images.remove(tag)


def _there(engine: Engine) -> tuple[set[str], set[str]]:
    """Containers of jobs, and tags of images, that may be a page's."""
    jobs = engine.containers.all(labels={LABEL_JOB: ""})
    tags = {tag for image in engine.images.all() for tag in image.tags}
    return (
        {container.id for container in jobs if container.image.startswith(IMAGES)},
        {tag for tag in tags if tag.startswith(IMAGES) or "/shop/" in tag},
    )


@pytest.fixture
def env(
    engine_host: str, home: Path, tmp_path: Path, stand_ins: Mapping[str, str]
) -> dict[str, str]:
    """A reader's environment: nothing of dockbus but what this machine makes necessary."""
    programs = tmp_path / "programs"
    programs.mkdir()
    prepared.stand_in(programs)
    shutil.copytree(ROOT / "examples" / "trivy-db" / "db", home / "trivy" / "db")
    api, metrics = (stand_ins[f"127.0.0.1:{port}"].partition(":")[2] for port in (8080, 9753))
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("DOCKBUS_", "DOCKER_"))}
    return clean | {
        "HOME": str(home),
        "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DOCKER_HOST": engine_host,
        "DOCKBUS_API_PORT": api,
        "DOCKBUS_METRICS_PORT": metrics,
        "DOCKBUS_SCAN_CACHE_DIR": str(home / "trivy"),  # the database that a first scan fetches
        "DOCKBUS_SCAN_OFFLINE": "true",
        "DOCKBUS_WORKER_DRAIN": "1",
    }


@pytest.fixture
def read(
    clone: Path, home: Path, env: dict[str, str], stand_ins: Mapping[str, str]
) -> Callable[..., None]:
    """Do what pages say."""

    def sitting(*pages: Path, **more: str) -> None:
        scratch = home / "scratch"
        scratch.mkdir()
        with shell(clone, scratch, env | more) as opened:
            for page in pages:
                text = page.read_text()
                for name, real in stand_ins.items():
                    text = text.replace(name, real)
                for block in blocks(text, page.name):
                    opened.follow(block)

    return sitting


@pytest.mark.usefixtures("redis")
def test_a_newcomer_gets_going(read: Callable[..., None]) -> None:
    read(*ONE_SITTING)


@pytest.mark.usefixtures("redis")
@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_a_guide_leads_there(read: Callable[..., None], page: Path, redis_url: str) -> None:
    """Each begins where getting started ends: with a Redis and a key."""
    read(page, DOCKBUS_REDIS_URL=redis_url, DOCKBUS_BUS_KEY=secrets.token_hex(32))
