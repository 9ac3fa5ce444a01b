"""The file of a backup: what was put in comes out, and nothing comes out of one that is not whole."""

from __future__ import annotations

import json
import stat
import struct
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dockbus.backup import belongs
from dockbus.backup_file import (
    BLOCK,
    FORMAT,
    Backup,
    BackupFailed,
    BackupRefused,
    Entry,
    reading,
    writing,
)

KEY = b"k"
ABOUT = Backup(
    version="0.1.0",
    redis="7.0.15",
    made=datetime(2026, 11, 22, 12, tzinfo=UTC),
    jobs=1,
    unended=1,
    held=0.1,
)
ENTRIES = [
    Entry(b"rq:job:\xff\n", 0, bytes(range(256))),
    Entry(b"dockbus:x", 4_102_444_800_000, b""),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "bus.backup"
    write(file)
    return file


def write(file: Path, about: Backup = ABOUT, key: bytes = KEY) -> Backup:
    with writing(file) as draft:
        for entry in ENTRIES:
            draft.add(entry)
        return draft.seal(about, key)


def refused(file: Path, key: bytes = KEY) -> str:
    with pytest.raises(BackupRefused) as caught, reading(file, [key]):
        raise AssertionError("it was read")
    return caught.value.detail


def test_what_was_put_in_comes_out(tmp_path: Path) -> None:
    made = write(tmp_path / "f")

    with reading(tmp_path / "f", [b"newer", KEY]) as (backup, entries):
        assert list(entries) == ENTRIES
    assert backup == made
    assert made.model_copy(update={"keys": 0, "size": 0, "digest": ""}) == ABOUT
    assert (made.keys, made.size) == (2, (tmp_path / "f").stat().st_size - BLOCK)


def test_it_says_what_it_is_in_its_first_line(file: Path) -> None:
    line = file.read_bytes().partition(b"\n")[0]

    assert len(line) == BLOCK - 1
    said = json.loads(line.decode().rpartition("}")[0] + "}")
    assert said.items() >= {"format": FORMAT, "version": "0.1.0", "jobs": 1}.items()


def test_only_its_owner_can_read_it(file: Path) -> None:
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("lost", [1, 20, 300])
def test_a_file_that_was_cut_is_refused(file: Path, lost: int) -> None:
    file.write_bytes(file.read_bytes()[:-lost])

    assert refused(file) == f"it was cut: {lost} bytes are missing"


def test_a_file_that_was_changed_anywhere_is_refused(file: Path) -> None:
    whole = file.read_bytes()
    said = whole.index(b"  ")  # what follows in the block is blank

    for place in [*range(0, said, 7), *range(BLOCK, len(whole), 7)]:
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert refused(file)
    file.write_bytes(whole + b"x")
    assert refused(file) == "it was changed since it was made"


@pytest.mark.parametrize("text", [b"", b"x", b"{}", b"\0" * 5000, b'{"format": 1} x'])
def test_what_is_no_backup_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "f").write_bytes(text)

    assert refused(tmp_path / "f") == "it does not begin as a backup does"


def test_a_backup_of_a_bus_with_another_key_is_refused(file: Path) -> None:
    assert refused(file, b"other") == "it was changed, or is of a bus with another key"


def test_a_format_of_later_is_refused_by_its_number(tmp_path: Path) -> None:
    write(tmp_path / "f", ABOUT.model_copy(update={"format": FORMAT + 1, "version": "9.0"}))

    assert (
        refused(tmp_path / "f") == "it has format 2, made by dockbus 9.0, and this version knows 1"
    )


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "f")


def test_a_backup_that_fails_leaves_the_one_before(file: Path) -> None:
    before = file.read_bytes()

    with pytest.raises(struct.error), writing(file) as draft:
        draft.add(ENTRIES[0]._replace(expires=-1))

    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(BackupFailed) as caught:
        write(tmp_path / "no" / "f")

    assert caught.value.detail == f"{tmp_path}/no/f: No such file or directory"


@pytest.mark.parametrize(
    ("key", "kept"),
    [
        ("rq:job:x", True),
        ("rq:queues", True),
        ("dockbus:jobs", True),
        ("dockbus:restoring:0:0:rq:job:x", False),
        ("another:program", False),
        ("dockbus", False),
    ],
)
def test_all_of_the_bus_is_kept_and_nothing_else(key: str, kept: bool) -> None:
    assert belongs(key.encode()) is kept
