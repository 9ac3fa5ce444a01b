"""What somebody may try who orders jobs and means harm, as far as that shows without any service."""

from __future__ import annotations

import io
import tarfile
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dockbus import Build, Pull, Run
from dockbus.jobs import Spec
from dockbus.jobs.building.findings import Level
from dockbus.policy import Policy, PolicyRefused, violations
from dockbus_workers.building import layers, lint
from dockbus_workers.building.archives import Limits, unpack
from dockbus_workers.building.dockerfile import parse
from dockbus_workers.building.folders import ContextUnusable, check_files
from dockbus_workers.building.layers import LayersUnreadable, read
from dockbus_workers.building.repositories import check_place
from hostile import volume

MB = 1024**2


def archive(*entries: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for entry in entries:
            tar.addfile(entry, io.BytesIO(b"x" * entry.size))
    return buffer.getvalue()


def refused(pieces: Iterator[bytes], into: Path, limits: Limits) -> str:
    into.mkdir(exist_ok=True)
    with pytest.raises(ContextUnusable) as error:
        unpack(pieces, into, limits, lambda: None)
    return error.value.rule


# -- names that dockbus trusts ---------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [
        Build(context=".", tags=["dockbus/holder:1"]),
        Build(context=".", tags=["x", "docker.io/dockbus/holder:1"]),
        Build(context=".", tags=["dockbus-building:5a5a"]),
        Pull(image="index.docker.io/dockbus/holder:1"),
        Run(image="dockbus/holder:1"),
    ],
    ids=lambda spec: f"{spec.kind}-{getattr(spec, 'image', '') or spec.tags[-1]}",
)
def test_names_of_images_that_dockbus_makes_for_itself_are_reserved(spec: Spec) -> None:
    assert [each.rule for each in violations(spec, Policy(level="privileged"))] == ["reserved-name"]


@pytest.mark.parametrize(
    "options",
    [{"Device": "/etc", "O": "bind"}, {"TYPE": "none"}, {"mountpoint": "/etc"}],
)
def test_a_folder_in_disguise_is_known_however_its_options_are_written(
    options: dict[str, str],
) -> None:
    spec = Run(image="x", **volume(**options))

    assert [each.rule for each in violations(spec, Policy())] == ["volume-options"]


@pytest.mark.parametrize(
    "options",
    [{"mode": "non-blocking", "max-buffer-size": "512g"}, {"max-size": "-1"}, {"max-file": "9999"}],
)
def test_output_may_not_take_the_machines_memory_or_disk(options: dict[str, str]) -> None:
    found = violations(Run(image="x", log_options=options), Policy())

    assert [each.rule for each in found] == ["log-options"]


def test_output_may_be_kept_in_small() -> None:
    options = {"max-size": "5m", "max-file": "2", "tag": "x", "mode": "non-blocking"}

    assert violations(Run(image="x", log_options=options), Policy()) == []


# -- contexts --------------------------------------------------------------------------------


def old_sparse(blocks: int) -> Iterator[bytes]:
    """A file with holes as GNU tar packed it once, whose list of holes goes on for so many blocks."""
    head = bytearray(archive(_entry("holes"))[:512])
    head[156:157] = tarfile.GNUTYPE_SPARSE
    head[482] = 1  # the list goes on
    head[148:156] = b" " * 8
    head[148:156] = f"{sum(head):06o}\0 ".encode()
    yield bytes(head)
    more = (b"%011o\0" % 0 + b"%011o\0" % 1) * 21 + b"\1" + b"\0" * 7
    for _ in range(blocks):
        yield more


def new_sparse(pieces: int) -> Iterator[bytes]:
    """The same as it does today, whose list stands where the file begins."""
    entry = _entry("holes")
    entry.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    yield entry.tobuf(tarfile.PAX_FORMAT)
    yield b"999999999\n".ljust(512, b"0")
    for _ in range(pieces):
        yield b"0\n" * 256


@pytest.mark.parametrize("packed", [old_sparse, new_sparse])
def test_a_list_of_holes_is_not_read(packed: Any, tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        rule = refused(packed(20_000), tmp_path / "context", Limits(size=MB * 100, files=10))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert rule == "sparse-file"
    assert peak < 20 * MB


def test_folders_that_are_named_only_on_the_way_count_as_well(tmp_path: Path) -> None:
    deep = archive(*(_entry(f"{number}/" + "d/" * 50 + "f") for number in range(5)))

    rule = refused(iter([deep]), tmp_path / "context", Limits(size=MB, files=100))

    assert rule == "too-many-files"
    assert sum(1 for _ in (tmp_path / "context").rglob("*")) <= 150


def test_headers_do_not_pile_up(tmp_path: Path) -> None:
    def of_one_entry() -> Iterator[bytes]:
        for _ in range(2000):
            yield from _header(b"x", b"30 mtime=1\n".rjust(512, b" "))

    def of_all() -> Iterator[bytes]:
        for number in range(400):
            record = f"=key{number}={'x' * 400}\n"
            text = f"{len(record) + 3} {record[1:]}".encode()
            yield from _header(b"g", text.ljust(512, b"\0"), len(text))
            yield _entry(str(number)).tobuf()

    limits = Limits(size=100 * MB, files=1000)
    assert refused(of_one_entry(), tmp_path / "one", limits) == "not-a-tar"
    assert refused(of_all(), tmp_path / "all", limits) == "not-a-tar"


def _header(kind: bytes, text: bytes, size: int = 512) -> Iterator[bytes]:
    entry = _entry("header", size)
    entry.type = kind
    yield entry.tobuf()
    yield text


def test_a_long_chain_of_links_takes_no_longer_than_a_short_one(tmp_path: Path) -> None:
    def link(number: int) -> tarfile.TarInfo:
        entry = _entry(f"l{number}")
        entry.type, entry.linkname = tarfile.SYMTYPE, f"l{number + 1}"
        return entry

    begun = time.monotonic()
    chain = archive(*(link(number) for number in range(3000)))
    into = tmp_path / "context"
    into.mkdir()
    unpack(iter([chain]), into, Limits(size=MB, files=5000), lambda: None)

    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("name", [".hadolint.yaml", ".hadolint.yml"])
def test_the_linter_is_not_led_out_of_the_context(name: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / name).symlink_to("/dev/zero")

    with pytest.raises(ContextUnusable, match="file-outside"):
        check_files(tmp_path, "Dockerfile")


@pytest.mark.parametrize("sign", ["?", "#"])
def test_a_repositorys_url_means_to_us_what_it_means_to_git(sign: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / f"x{sign}").mkdir(parents=True)

    with pytest.raises(ContextUnusable, match="git-outside-root"):
        check_place(f"file://{root}/x{sign}/../../secret", root)


# -- images ----------------------------------------------------------------------------------


def test_an_image_with_endless_names_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "_MOST_NAMES", MB)
    with pytest.raises(LayersUnreadable, match="too many"):
        read(_saved(_names(count=1000, length=2000), size=1000 * 512 * 6))


def _names(count: int, length: int) -> Iterator[bytes]:
    for number in range(count):
        yield _entry(f"{number}/".ljust(length, "x")).tobuf(tarfile.PAX_FORMAT)


def _saved(layer: Iterator[bytes], size: int) -> Iterator[bytes]:
    outer = _entry("a/layer.tar")
    outer.size = size
    yield outer.tobuf(tarfile.PAX_FORMAT)
    yield from layer


def _entry(name: str, size: int = 0) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size = size
    return entry


# -- what is kept in Redis -------------------------------------------------------------------


def test_a_refusal_names_so_much_and_no_more() -> None:
    spec = Run(image="x", labels={f"dockbus.x{number}": "" for number in range(5000)})

    refusal = PolicyRefused.of(violations(spec, Policy()))

    assert refusal.detail.count("rule reserved-label") == 50
    assert refusal.detail.endswith("; and 4950 more")


def test_of_very_many_findings_the_worst_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    text = "FROM x\n" * 5000 + "NONSENSE x\n"

    found = lint.look_at(text, parse(text), tmp_path)

    assert len(found) == 200
    assert [item.line for item in found] == sorted(item.line for item in found)
    assert max(found, key=lambda item: item.line).level is Level.ERROR


def test_very_many_mounts_are_refused_at_once() -> None:
    begun = time.monotonic()
    with pytest.raises(ValueError, match="64 items"):
        Run.model_validate({"image": "x", "volumes": [f"/a{n}" for n in range(50_000)]})

    assert time.monotonic() - begun < 5
