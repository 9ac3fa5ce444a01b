"""What a build job may ask for, seen in the image, its history, the registry, and in what the instructions saw."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

import builds
import registries
from builds import Start, built, context, failure, order, output
from dockbus import Bus, Settings
from dockbus.engine import Engine
from dockbus.settings import RegistrySettings, SecretsSettings
from processes import Program

HUSH = "hush-4711-do-not-tell"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "context"
    made.mkdir()
    return made


@pytest.fixture
def settings(settings: Settings, folder: Path, buildx: Path, tmp_path: Path) -> Settings:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "shop-token").write_text(f"{HUSH}\n")
    settings = settings.model_copy(
        update={"secrets": SecretsSettings(dir=str(tmp_path / "secrets"))}
    )
    return builds.with_build(settings, root=folder, buildx=str(buildx))


Work = Callable[..., Program]


@pytest.fixture
def work(start: Start, settings: Settings, base_image: str) -> Work:
    """Starts a worker with these settings of builds."""

    def run(**fields: object) -> Program:
        return builds.worker(start, builds.with_build(settings, **fields))

    return run


both = pytest.mark.parametrize("builder", ["buildkit", "classic"])


@both
def test_args_target_and_network_reach_the_build(
    work: Work, bus: Bus, engine: Engine, folder: Path, builder: str
) -> None:
    context(
        folder,
        "ARG WORD=none\nRUN echo $WORD > /word; tail -n +3 /proc/net/dev | cut -d: -f1 > /net\n"
        f"FROM {builds.BASE} AS second\nRUN exit 1",
    )
    (folder / "Dockerfile").write_text(
        (folder / "Dockerfile").read_text().replace(builds.BASE, f"{builds.BASE} AS first", 1)
    )
    work(builder=builder)
    tag = f"dockbus/test-args-{builder}:1"

    ended = built(
        bus.enqueue(
            order(tags=[tag], target="first", args={"WORD": "shop", "NOPE": "1"}, network="none")
        )
    )

    assert builds.run_in(engine, tag, "cat /word; cat /net").split() == ["shop", "lo"]
    assert ended.warnings == ["the Dockerfile takes no argument NOPE"]


@both
def test_the_ignore_file_and_another_dockerfile_are_honoured(
    work: Work, bus: Bus, engine: Engine, folder: Path, builder: str
) -> None:
    files = {
        ".dockerignore": "# not these\n*.log\nnode_modules\n!keep.log\nother\n",
        **dict.fromkeys(("a.log", "keep.log", "node_modules/x/y", "src/b.log", "src/c"), "x"),
        "other/Dockerfile": f"FROM {builds.BASE}\nCOPY . /all\n",
    }
    context(folder, "RUN exit 1", files)
    work(builder=builder)
    tag = f"dockbus/test-ignore-{builder}:1"

    ended = built(bus.enqueue(order(tags=[tag], dockerfile="other/Dockerfile")))

    found = builds.run_in(engine, tag, "cd /all; find . -type f | sort").split()
    assert {"./keep.log", "./src/b.log", "./src/c"} <= set(found)
    assert not {"./a.log", "./node_modules/x/y"} & set(found)
    assert 0 < ended.context_size < 1000


def test_a_secret_reaches_its_instruction_and_nothing_else(
    work: Work, bus: Bus, engine: Engine, folder: Path
) -> None:
    context(
        folder,
        "RUN --mount=type=secret,id=token wc -c < /run/secrets/token > /size; cat /run/secrets/token; env",
    )
    work(builder="buildkit")
    tag = "dockbus/test-secret:1"

    job = bus.enqueue(order(tags=[tag], secrets={"token": "shop-token"}))
    built(job)

    assert builds.run_in(engine, tag, "cat /size; ls /run/secrets 2>/dev/null") == str(len(HUSH))
    saved = b"".join(engine.builds.save(tag))
    assert b"cat /run/secrets/token" in saved
    assert HUSH.encode() not in saved
    assert HUSH not in json.dumps(engine.api.history(tag)) + json.dumps(
        engine.api.inspect_image(tag)
    )
    lines = [line.text for line in job.logs()]
    assert [line for line in lines if line.startswith("***")]
    assert not [line for line in lines if HUSH in line]
    assert HUSH not in job.refresh().model_dump_json()


def test_a_secret_that_the_worker_lacks_fails_the_build(work: Work, bus: Bus, folder: Path) -> None:
    context(folder, "RUN true")
    work(builder="buildkit")

    error = failure(bus.enqueue(order(tags=["dockbus/test-never:1"], secrets={"token": "other"})))

    assert error.code == "secret-not-found"


@pytest.mark.parametrize(
    ("fields", "capability"),
    [
        ({"secrets": {"token": "shop-token"}}, "build secrets"),
        ({"platforms": ["linux/amd64", "linux/arm64"]}, "several platforms"),
        ({"cache_to": [{"registry": "127.0.0.1:9/cache:1"}]}, "cache export"),
        ({"inline_cache": True}, "cache export"),
        ({"provenance": True}, "provenance"),
        ({"sbom": True}, "SBOM"),
        ({"dockerfile": "Mount"}, "line 2 (RUN)"),
    ],
)
def test_the_classic_builder_says_what_it_cannot_do(
    work: Work, bus: Bus, folder: Path, fields: dict[str, object], capability: str
) -> None:
    context(
        folder,
        "RUN true",
        {"Mount": f"FROM {builds.BASE}\nRUN --mount=type=tmpfs,target=/x true\n"},
    )
    work(builder="auto", buildx="no-such-program")

    error = failure(bus.enqueue(order(tags=["dockbus/test-never:1"], **fields)))

    assert error.code == "capability-missing"
    assert error.detail == (
        f"{capability}: that needs BuildKit, and the worker has no program no-such-program; "
        "install it, or set DOCKBUS_BUILD_BUILDX to its path"
    )


@pytest.mark.parametrize(
    ("fields", "capability"),
    [
        ({"platforms": ["linux/amd64", "linux/arm64"]}, "several platforms"),
        ({"cache_to": [{"local": "shop"}]}, "cache export"),
        ({"provenance": True}, "provenance"),
        ({"sbom": True}, "SBOM"),
    ],
)
def test_buildkit_without_an_image_store_says_what_it_cannot_do(
    work: Work,
    bus: Bus,
    engine: Engine,
    folder: Path,
    tmp_path: Path,
    fields: dict[str, object],
    capability: str,
) -> None:
    if engine.builds.has_image_store():
        pytest.skip("this Engine can do it")
    context(folder, "RUN true")
    work(builder="buildkit", cache_dir=str(tmp_path / "caches"))

    error = failure(bus.enqueue(order(tags=["dockbus/test-never:1"], **fields)))

    assert error.code == "capability-missing"
    assert error.detail.startswith(f"{capability}: ")
    assert "containerd-snapshotter" in error.detail


def test_what_an_image_store_makes_possible(
    work: Work, bus: Bus, engine: Engine, folder: Path, tmp_path: Path, registry: str
) -> None:
    if not engine.builds.has_image_store():
        pytest.skip("this Engine keeps its images without containerd")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    work(builder="buildkit", cache_dir=str(tmp_path / "caches"))
    tag = f"{registry}/dockbus/test-store:1"

    ended = built(
        bus.enqueue(
            order(
                tags=[tag],
                platforms=["linux/amd64", "linux/arm64"],
                cache_to=[{"local": "shop"}],
                provenance=True,
                push=True,
            )
        )
    )

    assert (tmp_path / "caches" / "shop" / "index.json").is_file()
    assert len(ended.digests) == 1
    accept = {"Accept": "application/vnd.oci.image.index.v1+json"}
    url = f"http://{registry}/v2/dockbus/test-store/manifests/1"
    with urlopen(Request(url, headers=accept), timeout=10) as answer:
        parts = json.loads(answer.read())["manifests"]
    assert [part["platform"]["architecture"] for part in parts] == [
        "amd64",
        "arm64",
        "unknown",
        "unknown",
    ]
    kinds = [part.get("annotations", {}).get("vnd.docker.reference.type") for part in parts]
    assert kinds == [None, None, "attestation-manifest", "attestation-manifest"]


def test_the_builder_is_chosen_by_what_is_there(work: Work, bus: Bus, folder: Path) -> None:
    context(folder, "RUN true")
    work(builder="auto")

    assert built(bus.enqueue(order(tags=["dockbus/test-auto:1"]))).builder == "buildkit"


def test_buildkit_that_is_demanded_and_missing_fails_the_build(
    work: Work, bus: Bus, folder: Path
) -> None:
    context(folder, "RUN true")
    work(builder="buildkit", buildx="no-such-program")

    error = failure(bus.enqueue(order(tags=["dockbus/test-never:1"])))

    assert (error.code, error.detail.partition(":")[0]) == ("capability-missing", "BuildKit")


@both
def test_a_push_puts_the_tags_that_are_named_into_the_registry(
    work: Work, bus: Bus, engine: Engine, folder: Path, registry: str, builder: str
) -> None:
    context(folder, f"RUN echo {builder} > /word")
    work(builder=builder)
    tags = [f"{registry}/dockbus/test-pushed-{builder}:{version}" for version in ("1", "2")]

    ended = built(bus.enqueue(order(tags=tags, push=tags[1:])))

    assert len(ended.digests) == 1
    assert ended.digests[0] in engine.images.get(tags[1]).digests
    engine.images.remove(tags[0])
    engine.images.remove(tags[1])
    list(engine.images.pull(ended.digests[0]))
    assert engine.images.get(ended.digests[0]).id == ended.image_id


@both
def test_logins_open_the_registries_of_base_images_and_of_the_push(
    work: Work,
    start: Start,
    bus: Bus,
    engine: Engine,
    folder: Path,
    settings: Settings,
    tmp_path: Path,
    guarded_registry: registries.PrivateRegistry,
    builder: str,
) -> None:
    base = f"{guarded_registry.address}/dockbus/test-base-{builder}:1"
    context(folder, f"LABEL dockbus.test=1\nRUN echo base-{builder} > /base")
    stranger = work(builder=builder)
    login = f"{guarded_registry.username}:{guarded_registry.password}"
    (tmp_path / "secrets" / "registry-login").write_text(login)
    built(bus.enqueue(order(tags=[base], push=True, credentials="registry-login")))
    engine.images.remove(base)
    (folder / "Dockerfile").write_text(f"FROM {base}\nRUN cat /base\n")
    spec = order(
        tags=[f"{guarded_registry.address}/dockbus/test-on-base-{builder}:1"],
        push=True,
        no_cache=True,
        pull=True,
    )

    denied = failure(bus.enqueue(spec))
    config = guarded_registry.write_config(tmp_path / "docker")
    stranger.stop()
    known = RegistrySettings(docker_config=str(config))
    builds.worker(
        start, builds.with_build(settings.model_copy(update={"registry": known}), builder=builder)
    )
    job = bus.enqueue(spec)
    ended = built(job)

    assert denied.code == "registry-denied"
    assert f"base-{builder}" in output(job)
    assert len(ended.digests) == 1
    assert guarded_registry.password not in "".join(line.text for line in job.logs())


@both
def test_pull_takes_the_newer_base_image(
    work: Work,
    bus: Bus,
    engine: Engine,
    folder: Path,
    registry: str,
    builder: str,
) -> None:
    base = f"{registry}/dockbus/test-newer-{builder}:1"
    work(builder=builder)
    for word in ("new", "old"):
        context(folder, f"LABEL dockbus.test=1\nRUN echo {word} > /word")
        built(bus.enqueue(order(tags=[base], push=word == "new")))
    (folder / "Dockerfile").write_text(f"FROM {base}\nLABEL dockbus.test=1\n")
    tag = f"dockbus/test-on-newer-{builder}:1"

    words: list[str] = []
    for pull in (False, True):
        built(bus.enqueue(order(tags=[tag], pull=pull)))
        words.append(builds.run_in(engine, tag, "cat /word"))

    assert words == ["old", "new"]


def test_an_inline_cache_in_a_registry_is_read(
    work: Work, bus: Bus, folder: Path, registry: str
) -> None:
    context(folder, "RUN echo cached > /word")
    work(builder="buildkit")
    tag = f"{registry}/dockbus/test-inline:1"
    built(bus.enqueue(order(tags=[tag], inline_cache=True, push=True)))

    job = bus.enqueue(order(tags=["dockbus/test-inline:2"], cache_from=[{"registry": tag}]))
    ended = built(job)

    assert ended.cached == 1
    told = [line for line in output(job) if line.startswith("importing cache manifest")]
    assert told == [f"importing cache manifest from {tag}"]
