"""Named secrets: a file each, and a clear word when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from dockbus.secrets import LARGEST, SecretNotFound, read_secret


@pytest.mark.parametrize(
    ("kept", "read"),
    [(b"hunter22", "hunter22"), (b"hunter22\n", "hunter22"), (b"two\nlines\n\n", "two\nlines\n")],
)
def test_a_secret_is_its_file_without_the_last_line_end(
    tmp_path: Path, kept: bytes, read: str
) -> None:
    (tmp_path / "db").write_bytes(kept)

    assert read_secret(str(tmp_path), "db") == read


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("absent", None, "No such file"),
        ("binary", b"\xff\xfe", "not text"),
        ("huge", b"x" * (LARGEST + 1), "more than 512000 bytes"),
    ],
)
def test_what_is_no_secret_is_not_found(
    tmp_path: Path, name: str, content: bytes | None, why: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)

    with pytest.raises(SecretNotFound, match=f"'{name}'.*{why}.*DOCKBUS_SECRETS_DIR"):
        read_secret(str(tmp_path), name)


def test_a_folder_is_no_secret(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()

    with pytest.raises(SecretNotFound, match="Is a directory"):
        read_secret(str(tmp_path), "folder")


def test_without_a_folder_there_are_none() -> None:
    with pytest.raises(SecretNotFound, match="DOCKBUS_SECRETS_DIR is not set"):
        read_secret("", "db")
