"""The Dockerfile: exact versions of all that an image is made of, and nothing that is not there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(lock: str) -> dict[str, str]:
    """The version of each package in a lock file."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / lock).read_text(), re.MULTILINE))


def test_the_image_is_built_from_exact_tags() -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)
    from_ = re.findall(r"^(?:FROM |COPY --from=)(\S+)", DOCKERFILE, re.MULTILINE)
    given = dict(re.findall(r"^ARG (\w+)=(\S+)$", DOCKERFILE, re.MULTILINE))
    images = [given[name[2:-1]] for name in from_ if name.startswith("${")]

    assert images
    assert all(re.search(r":\d+\.\d+\.\d+", image) for image in images)
    assert {name for name in from_ if not name.startswith("${")} <= {*stages, "scratch"}
    assert "curl" not in DOCKERFILE


def test_the_images_are_made_of_what_is_tested() -> None:
    tested, runs, tools = (
        pins(f"{folder}.lock") for folder in ("requirements", "deploy/requirements", "deploy/tools")
    )
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *extras["producer"], *extras["workers"], *extras["otel"]]

    assert {re.split(r"[\[<>=]", one)[0] for one in wanted} <= set(runs)
    assert runs.items() <= tested.items()
    assert {"hatchling", "watchfiles"} <= set(tools)
    assert all(tested.get(name, version) == version for name, version in tools.items())


def test_the_images_have_the_version_of_the_package() -> None:
    assert f'org.opencontainers.image.version="{PROJECT["version"]}"' in DOCKERFILE


def test_the_image_is_given_all_that_it_copies() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", DOCKERFILE, re.MULTILINE)

    for name in " ".join(copied).split():
        assert (ROOT / name).exists()
        assert f"!{name}" in ignored
