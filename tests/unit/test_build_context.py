"""What a context holds: .dockerignore as Docker reads it, packing, and archives that are refused half way."""

from __future__ import annotations

import io
import os
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockbus import contexts, dockerignore
from dockbus.dockerignore import DockerIgnore
from dockbus_workers.building.archives import Limits, unpack
from dockbus_workers.building.folders import ContextUnusable

LIMITS = Limits(size=10_000, files=10)


PATTERNS: list[tuple[str, list[str], list[str]]] = [
    ("*.log", ["a.log"], ["src/a.log", "a.log.txt"]),
    ("**/*.log", ["a.log", "src/deep/a.log"], ["a.log.txt"]),
    (
        "node_modules",
        ["node_modules", "node_modules/x/y"],
        ["src/node_modules", "node_modules2"],
    ),
    ("**/node_modules", ["src/node_modules/x", "node_modules/x"], ["src/modules"]),
    ("/build/", ["build/x"], ["src/build/x"]),
    ("./a/../b", ["b"], ["a"]),
    ("src/*/cache", ["src/a/cache/x"], ["src/cache", "src/a/b/cache"]),
    ("src/**/cache", ["src/cache", "src/a/b/cache/x"], ["cache"]),
    ("docs/**", ["docs/x", "docs/x/y"], ["docs.txt"]),
    ("file?.txt", ["file1.txt"], ["file10.txt", "file/.txt"]),
    ("[ab].txt", ["a.txt"], ["c.txt"]),
    ("[^ab].txt", ["c.txt"], ["a.txt"]),
    ("[z-a].txt", ["[z-a].txt"], ["a.txt"]),
    ("[z-a]*a*b*c", ["[z-a]*a*b*c"], ["a.txt"]),
    ("[[&&~~||].txt", ["[.txt", "&.txt"], ["c.txt"]),
    ("[--a].txt", ["-.txt"], []),
    (r"\*.txt", ["*.txt"], ["a.txt"]),
    ("a.b", ["a.b"], ["axb"]),
    ("*.md\n!README.md", ["a.md"], ["README.md"]),
    ("!README.md\n*.md", ["README.md"], []),
    (".env\n.env.*\n!.env.example", [".env", ".env.local"], [".env.example"]),
    ("*\n!src\n!Makefile", ["x", "docs/x"], ["src/deep/x", "Makefile"]),
    ("# a comment\n\n   \n  spaced  ", ["spaced"], ["# a comment", "x"]),
    ("#not\n!\n.", [], ["#not", "x"]),
]


@pytest.mark.parametrize(
    ("patterns", "out", "kept", "few"),
    [
        pytest.param(*case, few, id=f"{case[0]!r}-{how}")
        for case in PATTERNS
        for few, how in ((2, "expressions"), (-1, "patiently"))
        if few > 0 or "z-a" not in case[0]  # a range that is none has no second reading
    ],
)
def test_a_pattern_leaves_out_what_docker_would(
    patterns: str, out: list[str], kept: list[str], few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dockerignore, "_FEW", few)
    ignore = DockerIgnore(patterns.splitlines())

    assert [path for path in [*out, *kept] if ignore.leaves_out(path)] == out


@pytest.mark.parametrize("pattern", ["*a" * 40 + "b", "**/a/" * 30 + "b", "**" * 30 + "b"])
def test_a_hostile_pattern_takes_no_longer_than_others(pattern: str) -> None:
    ignore = DockerIgnore([pattern])
    begun = time.process_time()

    assert not ignore.leaves_out("a/" * 300 + "a" * 200)
    assert time.process_time() - begun < 5


def test_what_the_builder_needs_is_there_in_any_case(tmp_path: Path) -> None:
    make(
        tmp_path,
        {
            "docker/Dockerfile": "FROM x",
            ".dockerignore": "docker\n.dockerignore\n*.md",
            "a.md": "",
            "b": "",
        },
    )

    ignore = DockerIgnore.read(tmp_path, "docker/Dockerfile")

    assert names(tmp_path, ignore) == [".dockerignore", "b", "docker/Dockerfile"]


def test_the_ignore_file_of_a_dockerfile_goes_before_the_common_one(tmp_path: Path) -> None:
    make(
        tmp_path,
        {
            "one.Dockerfile": "",
            "one.Dockerfile.dockerignore": "a",
            ".dockerignore": "b",
            "a": "",
            "b": "",
        },
    )

    assert "b" in names(tmp_path, DockerIgnore.read(tmp_path, "one.Dockerfile"))
    assert "a" in names(tmp_path, DockerIgnore.read(tmp_path, "Dockerfile"))


def test_packing_leaves_out_what_is_ignored_and_what_cannot_be_copied(tmp_path: Path) -> None:
    make(
        tmp_path,
        {
            "Dockerfile": "FROM x",
            ".dockerignore": "data\n!data/keep",
            "data/big": "x" * 100,
            "data/keep": "k",
            "app/run": "r",
        },
    )
    (tmp_path / "link").symlink_to("app/run")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "app/run").chmod(0o750)
    ignore = DockerIgnore.read(tmp_path, "Dockerfile")
    buffer = io.BytesIO()

    contexts.pack(tmp_path, ignore, buffer, compress=True)

    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as tar:
        found = {entry.name: entry for entry in tar}
    assert sorted(found) == [".dockerignore", "Dockerfile", "app", "app/run", "data/keep", "link"]
    assert (found["app/run"].mode, found["app/run"].uid, found["app/run"].uname) == (0o750, 0, "")
    assert found["link"].linkname == "app/run"
    assert contexts.measure(tmp_path, ignore) == len("FROM x") + len("data\n!data/keep") + 2


def test_what_is_packed_unpacks_to_the_same(tmp_path: Path) -> None:
    source, into = tmp_path / "source", tmp_path / "into"
    make(source, {"Dockerfile": "FROM x", "a/b/c": "text"})
    (source / "a/b/c").chmod(0o555)
    (source / "a/link").symlink_to("b/c")
    into.mkdir()
    buffer = io.BytesIO()
    contexts.pack(source, DockerIgnore(), buffer)

    unpack(iter([buffer.getvalue()]), into, LIMITS, lambda: None)

    assert (into / "a/link").read_text() == "text"
    assert (into / "a/b/c").stat().st_mode & 0o777 == 0o555
    assert int((into / "a/b/c").stat().st_mtime) == int((source / "a/b/c").stat().st_mtime)


def test_an_archive_is_read_to_its_end_so_that_its_digest_can_be_checked(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("empty"))
    told: list[str] = []

    def pieces() -> Iterator[bytes]:
        yield buffer.getvalue()
        yield b"\0" * 100_000
        told.append("end")

    unpack(pieces(), tmp_path, LIMITS, lambda: None)

    assert told == ["end"]


@pytest.mark.parametrize(
    ("entry", "rule"),
    [
        ({"name": "x", "size": 20_000}, "too-large"),
        ({"name": "..", "type": tarfile.DIRTYPE}, "parent-name"),
        ({"name": "x", "type": tarfile.CHRTYPE}, "special-file"),
        ({"name": "x", "type": tarfile.SYMTYPE, "linkname": "/"}, "link-outside"),
        ({"name": "x", "type": tarfile.LNKTYPE, "linkname": "y"}, "link-outside"),
        ({"name": "x", "mode": 0o2755}, "set-user-id"),
    ],
)
def test_an_entry_that_may_not_be_there_is_refused(
    tmp_path: Path, entry: dict[str, object], rule: str
) -> None:
    info = tarfile.TarInfo()
    for field, value in entry.items():
        setattr(info, field, value)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(info, io.BytesIO(b"x" * info.size))
    (tmp_path / "into").mkdir()

    with pytest.raises(ContextUnusable) as refused:
        unpack(iter([buffer.getvalue()]), tmp_path / "into", LIMITS, lambda: None)

    assert refused.value.rule == rule
    assert {path.name for path in tmp_path.iterdir()} == {"into"}


def test_a_loop_of_links_is_no_way_out(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, target in (("a", "b"), ("b", "a")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)

    unpack(iter([buffer.getvalue()]), tmp_path, LIMITS, lambda: None)

    assert (tmp_path / "a").is_symlink()


def make(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def names(folder: Path, ignore: DockerIgnore) -> list[str]:
    return [path for path, _ in contexts.files(folder, ignore)]
