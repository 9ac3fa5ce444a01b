"""Contexts that nobody should build from: refused by a rule that is named, before the Engine hears of them."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import builds
from builds import Start, built, context, failure, order, packed
from dockbus import Build, Bus, InvalidSpec, Settings
from dockbus.engine import Engine
from dockbus.jobs import parse_spec
from overheard import overheard
from processes import Program
from waiting import wait_for

DOCKERFILE = ("Dockerfile", f"FROM {builds.BASE}\nLABEL dockbus.test=1\nCOPY . /all\n")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture
def heard(engine_host: str, scratch: Path) -> Generator[tuple[str, list[str]]]:
    """The socket that the worker takes for the Engine's, and what it has asked for there."""
    with TemporaryDirectory(dir=scratch) as folder, overheard(engine_host, Path(folder)) as both:
        yield both


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files of what the test starts."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


@pytest.fixture
def settings(settings: Settings, root: Path, heard: tuple[str, list[str]]) -> Settings:
    engine = settings.engine.model_copy(update={"host": heard[0]})
    settings = settings.model_copy(update={"engine": engine})
    return builds.with_build(
        settings, root=root, builder="classic", context_size=1024**2, context_files=50
    )


@pytest.fixture
def worker(start: Start, settings: Settings, base_image: str) -> Program:
    return builds.worker(start, settings)


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, target: str = "", **fields: int
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def link(name: str, target: str) -> tarfile.TarInfo:
    return entry(name, tarfile.SYMTYPE, target)


def bomb() -> bytes:
    """A few kilobytes that are 64 MiB of zeros as a file in an archive."""
    head = entry("zeros", size=64 * 1024**2).tobuf()
    return gzip.compress(head + bytes(64 * 1024**2), 9)


def many_names() -> bytes:
    """A header of 200 MiB, which says how long a name is."""
    return gzip.compress(entry("x", tarfile.GNUTYPE_LONGNAME, size=200 * 1024**2).tobuf())


def sparse(size: int) -> bytes:
    """A file of that size that takes no room in the archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = entry("holes")
        info.pax_headers = {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.name": "holes",
            "GNU.sparse.realsize": str(size),
        }
        text = b"1\n0\n0\n".ljust(512, b"\0")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    return buffer.getvalue()


ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "a name with ..": (lambda: packed(DOCKERFILE, ("../evil", "x")), "parent-name"),
    "a name with .. inside": (lambda: packed(DOCKERFILE, ("a/../../evil", "x")), "parent-name"),
    "an absolute name": (lambda: packed(DOCKERFILE, ("/etc/dockbus-evil", "x")), "absolute-name"),
    "a link to an absolute path": (lambda: packed(DOCKERFILE, link("evil", "/etc/passwd")), "link-outside"),
    "a link with ..": (lambda: packed(DOCKERFILE, link("a/evil", "../../x")), "link-outside"),
    "a link that leaves through another": (
        lambda: packed(DOCKERFILE, link("a/b/up", ".."), link("evil", "a/b/up/../..")),
        "link-outside",
    ),
    "a hard link to outside": (lambda: packed(DOCKERFILE, entry("evil", tarfile.LNKTYPE, "/etc/passwd")), "link-outside"),
    "a hard link with ..": (lambda: packed(DOCKERFILE, entry("evil", tarfile.LNKTYPE, "../../etc/passwd")), "link-outside"),
    "a hard link to a link": (
        lambda: packed(DOCKERFILE, link("a", "b"), entry("evil", tarfile.LNKTYPE, "a")),
        "link-outside",
    ),
    "a file behind a link": (lambda: packed(DOCKERFILE, link("a", "."), ("a/evil", "x")), "through-link"),
    "a file over a link": (lambda: packed(DOCKERFILE, link("a", "Dockerfile"), ("a", "x")), "duplicate-name"),
    "a device": (lambda: packed(DOCKERFILE, entry("sda", tarfile.BLKTYPE, devmajor=8)), "special-file"),
    "a pipe": (lambda: packed(DOCKERFILE, entry("pipe", tarfile.FIFOTYPE)), "special-file"),
    "a set-user-ID file": (lambda: packed(DOCKERFILE, entry("su", mode=0o4755)), "set-user-id"),
    "a huge sparse file": (lambda: sparse(2**40), "sparse-file"),
    "a small sparse file": (lambda: sparse(4096), "sparse-file"),
    "a file that is too large": (lambda: packed(DOCKERFILE, entry("big", size=2 * 1024**2)), "too-large"),
    "a gzip bomb": (bomb, "too-large"),
    "a huge header": (many_names, "long-name"),
    "too many files": (lambda: packed(DOCKERFILE, *((f"f{n}", "") for n in range(60))), "too-many-files"),
    "a very long name": (lambda: packed(DOCKERFILE, ("x" * 300, "")), "long-name"),
    "a very long path": (lambda: packed(DOCKERFILE, ("x/" * 2500, "")), "long-name"),
    "the same name twice": (lambda: packed(DOCKERFILE, ("a", "1"), ("./a", "2")), "duplicate-name"),
    "a file as a folder": (lambda: packed(DOCKERFILE, ("a", "1"), ("a/b", "2")), "duplicate-name"),
    "no archive": (lambda: b"PK\3\4 this is a zip, perhaps" * 100, "not-a-tar"),
    "nothing": (lambda: b"", "not-a-tar"),
    "a cut archive": (lambda: packed(("a", "x" * 3000), zipped=False)[:2000], "not-a-tar"),
    "a cut gzip": (lambda: packed(DOCKERFILE, ("a", os.urandom(9000).hex()))[:-3000], "not-a-tar"),
    "no Dockerfile": (lambda: packed(("a", "x")), "no-dockerfile"),
    "a Dockerfile that is a link outside": (lambda: packed(link("Dockerfile", "/etc/passwd")), "link-outside"),
}  # fmt: skip


def rules(bus: Bus, orders: Mapping[str, Build]) -> dict[str, str]:
    """The rule by which each of these builds is refused."""
    jobs = bus.enqueue_many(orders.values())
    errors = {name: failure(job) for name, job in zip(orders, jobs, strict=True)}
    assert {error.code for error in errors.values()} == {"context-unusable"}
    return {
        name: error.detail.partition(": ")[0].removeprefix("rule context/")
        for name, error in errors.items()
    }


def changing(requests: list[str]) -> list[str]:
    """The requests that ask for more than how the Engine is."""
    return [request for request in requests if not request.startswith("GET ")]


def test_a_hostile_archive_is_refused_by_its_rule_before_the_engine_hears_of_it(
    worker: Program, bus: Bus, heard: tuple[str, list[str]]
) -> None:
    orders = {
        name: order(
            context={"blob": bus.upload(make()).digest}, tags=[f"dockbus/test-evil:{number}"]
        )
        for number, (name, (make, _)) in enumerate(ARCHIVES.items())
    }

    assert rules(bus, orders) == {name: rule for name, (_, rule) in ARCHIVES.items()}
    assert changing(heard[1]) == []
    assert not Path("/etc/dockbus-evil").exists()


@pytest.fixture(scope="module")
def repository(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Makes Git repositories, under the build root or beside it; gives their URLs."""

    def git(folder: Path, *arguments: str) -> None:
        who = [
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.com",
            "-c",
            "protocol.file.allow=always",
        ]
        subprocess.run(
            ["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True
        )

    def make(name: str) -> str:
        folder = (tmp_path_factory.mktemp("beside") if name == "beside" else root) / name
        if not folder.exists():
            folder.mkdir()
            context(
                folder,
                "LABEL dockbus.test=1\nCOPY word /word",
                {"word": name, "app/Dockerfile": f"FROM {builds.BASE}\nLABEL dockbus.test=1\n"},
            )
            (folder / "evil").symlink_to("/etc/passwd")
            (folder / "large").mkdir()
            (folder / "large" / "file").write_bytes(os.urandom(900_000))
            (folder / "large" / "copy").write_bytes((folder / "large" / "file").read_bytes())
            git(folder, "init", "--quiet", "--initial-branch=main")
            git(folder, "add", "app", "word", "Dockerfile", "evil")
            git(folder, "commit", "--quiet", "--message=one")
            git(folder, "tag", "v1")
            (folder / "word").write_text("later")
            git(folder, "commit", "--quiet", "--all", "--message=two")
            git(folder, "checkout", "--quiet", "-b", "large")
            git(folder, "add", "large")
            git(folder, "commit", "--quiet", "--message=three")
            git(folder, "checkout", "--quiet", "main")
        if name == "parent":
            git(folder, "submodule", "add", "--quiet", make("child"), "lib/child")
            git(folder, "commit", "--quiet", "--message=child")
        return f"file://{folder}"

    return make


REPOSITORIES: dict[str, tuple[dict[str, str], str]] = {
    "a repository outside the build root": ({"git": "beside"}, "git-outside-root"),
    "a submodule": ({"git": "parent"}, "git-submodule"),
    "a branch that is not there": ({"git": "good", "ref": "no-such-branch"}, "git-ref"),
    "a folder that is not there": ({"git": "good", "folder": "nowhere"}, "no-folder"),
    "a folder outside": ({"git": "good", "folder": "../../.."}, "git-repository"),
    "a Dockerfile that is a link outside": ({"git": "good", "dockerfile": "evil"}, "file-outside"),
    "more than is allowed": ({"git": "good", "ref": "large"}, "too-large"),
    "no repository": ({"git": "none"}, "git-repository"),
}


def test_a_hostile_repository_is_refused_by_its_rule_before_the_engine_hears_of_it(
    worker: Program,
    bus: Bus,
    repository: Callable[[str], str],
    root: Path,
    heard: tuple[str, list[str]],
) -> None:
    orders: dict[str, Build] = {}
    for number, (name, (given, _)) in enumerate(REPOSITORIES.items()):
        source = dict(given)
        dockerfile = source.pop("dockerfile", "Dockerfile")
        place = source.pop("git")
        source["git"] = f"file://{root}/none" if place == "none" else repository(place)
        orders[name] = order(
            context=source, dockerfile=dockerfile, tags=[f"dockbus/test-evil-git:{number}"]
        )

    assert rules(bus, orders) == {name: rule for name, (_, rule) in REPOSITORIES.items()}
    assert changing(heard[1]) == []


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ({"git": "ext::sh -c 'touch /tmp/evil'"}, "git-scheme"),
        ({"git": "http://example.com/shop.git"}, "git-scheme"),
        ({"git": "--upload-pack=touch /tmp/evil"}, "git-scheme"),
        ({"git": "git@example.com:shop.git"}, "git-scheme"),
        ({"git": "ssh://-oProxyCommand=evil/shop"}, "git-url"),
        ({"git": "https://example.com/-x"}, "git-url"),
        ({"git": "https://example.com/a\nb"}, "git-url"),
        ({"git": "https://me:hush@example.com/shop.git"}, "git-password"),
        ({"git": "https://example.com/shop.git", "ref": "--upload-pack=evil"}, "git-ref"),
        ({"git": "https://example.com/shop.git", "ref": "main:refs/heads/x"}, "git-ref"),
    ],
)
def test_a_url_that_git_must_not_see_does_not_even_reach_the_bus(
    source: dict[str, str], rule: str
) -> None:
    with pytest.raises(InvalidSpec, match=f"rule context/{rule}: "):
        parse_spec(json.dumps({"kind": "build", "context": source, "tags": ["a"]}))


FOLDERS: dict[str, tuple[dict[str, str], str]] = {
    "above the root": ({"context": "../.."}, "outside-root"),
    "an absolute path elsewhere": ({"context": "/etc"}, "outside-root"),
    "a link to elsewhere": ({"context": "link-out"}, "outside-root"),
    "no folder": ({"context": "no-such-folder"}, "no-folder"),
    "a Dockerfile beside the context": (
        {"context": "plain", "dockerfile": "../other/Dockerfile"},
        "file-outside",
    ),
    "a Dockerfile that is a link": ({"context": "plain", "dockerfile": "link-out"}, "file-outside"),
    "no Dockerfile": ({"context": "plain", "dockerfile": "None"}, "no-dockerfile"),
    "a .dockerignore that is a link": ({"context": "ignoring"}, "file-outside"),
    "a NUL": ({"context": "nul\0"}, "no-such-path"),
}


def test_a_folder_outside_the_root_is_refused_by_its_rule_before_the_engine_hears_of_it(
    worker: Program, bus: Bus, root: Path, heard: tuple[str, list[str]]
) -> None:
    for name in ("plain", "other", "ignoring"):
        context(root / name, "LABEL dockbus.test=1")
    (root / "link-out").symlink_to("/etc")
    for name in ("plain/link-out", "ignoring/.dockerignore"):
        (root / name).symlink_to("/etc/passwd")
    orders = {
        name: order(tags=[f"dockbus/test-evil-folder:{number}"], **fields)
        for number, (name, (fields, _)) in enumerate(FOLDERS.items())
    }

    assert rules(bus, orders) == {name: rule for name, (_, rule) in FOLDERS.items()}
    assert changing(heard[1]) == []


# -- contexts that are as they should be -------------------------------------------------------


def test_an_uploaded_archive_is_built_from_with_its_modes_and_links(
    worker: Program, bus: Bus, engine: Engine, heard: tuple[str, list[str]]
) -> None:
    tool = entry("bin/tool", mode=0o755, size=5)
    archive = packed(
        DOCKERFILE,
        entry("bin", tarfile.DIRTYPE, mode=0o750),
        tool,
        link("latest", "bin/tool"),
        entry("same", tarfile.LNKTYPE, "bin/tool"),
        ("data/deep/file", "deep"),
        entry("data", tarfile.DIRTYPE, mode=0o700),
    )
    blob = bus.upload(archive).digest

    built(bus.enqueue(order(context={"blob": blob}, tags=["dockbus/test-upload:1"])))

    assert any("/build?" in request for request in changing(heard[1]))
    script = "cd /all; cat same latest data/deep/file; readlink latest; stat -c '%a %u' bin bin/tool data Dockerfile"
    said = builds.run_in(engine, "dockbus/test-upload:1", script)
    assert said == "xxxxxxxxxxdeepbin/tool\n750 0\n755 0\n700 0\n644 0"


def test_an_archive_that_the_bus_no_longer_has_fails_the_build(worker: Program, bus: Bus) -> None:
    error = failure(
        bus.enqueue(order(context={"blob": f"sha256:{'0' * 64}"}, tags=["dockbus/test-evil:1"]))
    )

    assert error.code == "blob-not-found"


@pytest.mark.parametrize(
    ("source", "word"),
    [({}, "later"), ({"ref": "v1"}, "tagged"), ({"ref": "main"}, "later"), ({"folder": "app"}, "")],
)
def test_a_repository_is_built_from_at_its_ref_and_folder(
    worker: Program,
    bus: Bus,
    engine: Engine,
    repository: Callable[[str], str],
    source: dict[str, str],
    word: str,
) -> None:
    url = repository("tagged")

    job = bus.enqueue(order(context={"git": url, **source}, tags=["dockbus/test-git:1"]))
    built(job)

    assert builds.run_in(engine, "dockbus/test-git:1", "cat /word; ls -a / | grep .git") == word
    assert [line.text for line in job.logs() if line.text.startswith("fetched ")]


def test_scratch_folders_go_with_the_build_and_those_of_killed_workers_with_the_next(
    start: Start,
    settings: Settings,
    base_image: str,
    bus: Bus,
    repository: Callable[[str], str],
    root: Path,
    temporary: Path,
) -> None:
    context(root / "slow", "LABEL dockbus.test=1\nRUN sleep 30")
    spec = order(context={"git": repository("tagged")}, tags=["dockbus/test-git:1"])
    killed = builds.worker(start, settings)
    slow = bus.enqueue(order(context="slow", tags=["dockbus/test-slow-scratch:1"]))
    (left,) = wait_for(lambda: list(temporary.iterdir()), what="a scratch folder")

    killed.process.kill()
    killed.process.wait()
    slow.cancel()
    os.utime(left, (1, 1))  # the young are spared: they may not be locked yet
    builds.worker(start, settings)
    built(bus.enqueue(spec))

    wait_for(lambda: slow.refresh().state.ended, 60, "the slow build's end")
    assert list(temporary.iterdir()) == []
