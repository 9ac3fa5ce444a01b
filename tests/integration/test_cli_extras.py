"""What a bare `pip install dockbus` can do, and what it says of what it cannot."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

import pytest
from redis import Redis

from commandline import CommandLine

ROOT = Path(__file__).parents[2]
ABSENT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in {"docker", "fastapi", "prometheus_client"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""


@pytest.mark.parametrize(
    ("words", "extra", "module"),
    [("worker run", "workers", "docker"), ("api", "producer", "fastapi")],
)
def test_a_missing_extra_is_named(tmp_path: Path, words: str, extra: str, module: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(ABSENT)
    dockbus = CommandLine(PYTHONPATH=str(tmp_path), HOME=str(tmp_path))
    done = dockbus(*words.split())
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert f"pip install 'dockbus[{extra}]'" in done.stderr
    assert f"no module named {module!r}" in done.stderr


def test_the_doctor_does_without_the_docker_package(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(ABSENT)
    done = CommandLine(PYTHONPATH=str(tmp_path), HOME=str(tmp_path))("doctor")
    (engine,) = re.findall(r"^warning +engine .*\n.*", done.stdout, re.MULTILINE)
    assert "pip install 'dockbus[workers]'" in engine


@pytest.mark.timeout(600)
def test_a_bare_installation_enqueues_and_names_each_missing_extra(
    tmp_path: Path, redis: Redis, redis_url: str
) -> None:
    bin_dir = _installed_bare(tmp_path)
    variables = {"DOCKBUS_REDIS_URL": redis_url, "DOCKBUS_BUS_KEY": "k", "HOME": str(tmp_path)}
    dockbus = CommandLine(bin_dir / "dockbus", **variables)
    program = "from dockbus import Bus, Run; print(Bus.connect().enqueue(Run(image='busybox')).id)"
    sent = subprocess.run(
        [bin_dir / "python", "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env=dockbus.env,
    ).stdout.strip()
    assert redis.lrange("rq:queue:run", 0, -1) == [sent.encode()]
    assert sent in dockbus.ok("jobs")
    contributed = {
        "worker": "workers",
        "worker run": "workers",
        "metrics": "workers",
        "api": "producer",
        "watch": "producer",
        "rules /dev/null": "producer",
    }
    listed = dockbus.ok("--help")
    for words, extra in contributed.items():
        assert f"│ {words.split()[0]} " in listed
        done = dockbus(*words.split())
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert f"pip install 'dockbus[{extra}]'" in done.stderr


def _installed_bare(folder: Path) -> Path:
    """The programs of a fresh environment with our wheel and the locked packages that it needs, no more."""
    lock = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text())
    needed = set(_needs("dockbus"))
    base = [entry for entry in lock if _name(entry) in needed]
    (folder / "base.lock").write_text("\n".join(base))
    venv.create(folder / "venv")
    _run("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
    pip = ("-m", "pip", "--python", str(folder / "venv"), "install", "--quiet")
    done = _run(*pip, "--require-hashes", "--no-deps", "-r", str(folder / "base.lock"), check=False)
    if done.returncode and not (os.environ.get("CI") or os.environ.get("DOCKBUS_CI")):
        pytest.skip(f"pip cannot install the locked packages: {done.stderr.strip()[-300:]}")
    assert done.returncode == 0, done.stderr
    _run(*pip, "--no-deps", *map(str, folder.glob("*.whl")))
    return folder / "venv" / "bin"


def _needs(package: str) -> Iterator[str]:
    """All that a package needs on this Python and platform, extras left out."""
    for line in requires(package) or ():
        requirement, marker = f"{line};".split(";")[:2]
        if "extra ==" in marker or "win32" in marker or "Windows" in marker:
            continue
        try:
            yield _name(requirement)
            yield from _needs(_name(requirement))
        except ModuleNotFoundError:  # for another Python
            continue


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement.strip())[0].lower().replace("_", "-")


def _run(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], check=check, capture_output=True, text=True, cwd=ROOT
    )
