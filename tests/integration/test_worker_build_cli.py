"""`dockbus build` from another place than the worker's: folders that are sent along, and repositories."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

import builds
from builds import Start, context
from commandline import CommandLine
from dockbus import Build, BuildResult, Bus, Settings
from dockbus.engine import Engine
from dockbus.jobs.build import LocalCache, RegistryCache, Repository, Upload
from dockbus.settings import SecretsSettings
from processes import environment

EXAMPLE = Path(__file__).parents[2] / "examples" / "build"


@pytest.fixture
def settings(settings: Settings, buildx: Path, tmp_path: Path) -> Settings:
    for name in ("root", "secrets"):
        (tmp_path / name).mkdir()
    (tmp_path / "secrets" / "price-token").write_text("hush-price-4711")
    secrets = SecretsSettings(dir=str(tmp_path / "secrets"))
    settings = settings.model_copy(update={"secrets": secrets})
    return builds.with_build(settings, root=tmp_path / "root", buildx=str(buildx))


@pytest.fixture
def command(settings: Settings) -> CommandLine:
    line = CommandLine()
    line.env = environment(settings)
    return line


def test_a_folder_that_the_worker_cannot_see_is_sent_along(
    start: Start,
    settings: Settings,
    base_image: str,
    bus: Bus,
    engine: Engine,
    command: CommandLine,
) -> None:
    builds.worker(start, settings)
    tag = "dockbus/test-example:1"
    words = ("build", str(EXAMPLE), "--upload", "--tag", tag, "--label", "dockbus.test=1")

    said = command.ok(
        *words, "--secret", "token=price-token", "--build-arg", "VERSION=7", "--lint", "error"
    )

    result = bus.jobs(limit=1)[0].result
    assert isinstance(result, BuildResult)
    assert result.image_id in said
    assert (result.builder, result.findings) == ("buildkit", [])
    assert builds.run_in(engine, tag, "sh /srv/show.sh; ls -a /srv") == (
        "price list, version 7\n.\n..\nprices.txt\nshow.sh"
    )


def test_what_is_ignored_is_not_sent(
    dockbus: CommandLine, engineless_bus: Bus, tmp_path: Path
) -> None:
    files = {
        ".dockerignore": "*\n!src",
        "secret.env": "x",
        "src/main.c": "int",
        "big.iso": "x" * 9999,
    }
    context(tmp_path / "folder", "COPY src /src", files)

    dockbus.ok("build", str(tmp_path / "folder"), "--upload", "--detach", "-t", "a")

    spec = engineless_bus.jobs(limit=1)[0].spec
    assert isinstance(spec, Build)
    assert isinstance(spec.context, Upload)
    data = b"".join(engineless_bus.blobs.read(spec.context.blob))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert sorted(tar.getnames()) == [".dockerignore", "Dockerfile", "src", "src/main.c"]


def test_every_option_reaches_the_spec(dockbus: CommandLine, engineless_bus: Bus) -> None:
    dockbus.ok(
        *(
            "build",
            "https://example.com/shop.git",
            "--ref",
            "v1",
            "--folder",
            "app",
            "--git-credentials",
            "git-login",
        ),
        *(
            "-t",
            "a:1",
            "-t",
            "b:1",
            "-f",
            "x/Dockerfile",
            "--build-arg",
            "A=1",
            "--secret",
            "id=name",
            "--target",
            "t",
        ),
        *(
            "--label",
            "l=1",
            "--platform",
            "linux/amd64",
            "--platform",
            "linux/arm64",
            "--network",
            "none",
            "--pull",
        ),
        *(
            "--no-cache",
            "--cache-from",
            "c:1",
            "--cache-to",
            "local:d",
            "--inline-cache",
            "--provenance",
            "--sbom",
        ),
        *(
            "--push",
            "--credentials",
            "login",
            "--lint",
            "off",
            "--report",
            "--min-efficiency",
            "0.9",
        ),
        *("--max-wasted", "5m", "--detach"),
    )

    assert engineless_bus.jobs(limit=1)[0].spec == Build(
        context=Repository(git="https://example.com/shop.git", ref="v1", folder="app", credentials="git-login"),
        tags=["a:1", "b:1"], dockerfile="x/Dockerfile", args={"A": "1"}, secrets={"id": "name"}, target="t",
        labels={"l": "1"}, platforms=["linux/amd64", "linux/arm64"], network="none", pull=True, no_cache=True,
        cache_from=[RegistryCache(registry="c:1")], cache_to=[LocalCache(local="d")], inline_cache=True,
        provenance=True, sbom=True, push=True, credentials="login", lint="off", report=True, min_efficiency=0.9,
        max_wasted=5 * 1024**2,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("ext::sh -c x", "-t", "a", "--ref", "x"), "are for URLs"),
        (("https://example.com/x.git", "-t", "a", "--upload"), "fetches a repository itself"),
        (("http://example.com/x.git", "-t", "a"), "rule context/git-scheme"),
        (("/nowhere", "-t", "a", "--upload"), "there is no /nowhere/Dockerfile"),
        ((".", "-t", "a", "--cache-to", "local:../x"), "local"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_sent(
    dockbus: CommandLine, engineless_bus: Bus, words: tuple[str, ...], says: str
) -> None:
    done = dockbus("build", *words)

    assert done.returncode != 0
    assert says in " ".join(done.stderr.replace("│", " ").split())
    assert engineless_bus.jobs() == []


def test_a_repository_under_the_build_root_is_fetched_by_the_worker(
    start: Start, settings: Settings, base_image: str, engine: Engine, command: CommandLine
) -> None:
    folder = context(settings.build.root / "shop", "LABEL dockbus.test=1\nRUN echo hi > /word")
    for words in (
        ("init", "-q"),
        ("add", "."),
        ("-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qm", "x"),
    ):
        subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)
    builds.worker(start, settings)

    command.ok("build", f"file://{folder}", "-t", "dockbus/test-cli-git:1")

    assert builds.run_in(engine, "dockbus/test-cli-git:1", "cat /word") == "hi"
