"""Build contexts as files: what is in one, how much that is, and how it is packed to be sent.

Owners are left behind, as Docker does; so are sockets, pipes and devices, which no image can copy.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from dockbus.dockerignore import DockerIgnore


def files(
    context: Path, ignore: DockerIgnore, check: Callable[[], None] = lambda: None
) -> Iterator[tuple[str, os.stat_result]]:
    """All that a build of this folder gets, by its path within the context: files, links and folders, sorted.

    `check` is called for each entry; what it raises ends the walk.
    """
    yield from _walk(context, "", ignore, check)


def _walk(
    folder: Path, prefix: str, ignore: DockerIgnore, check: Callable[[], None]
) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        check()
        path = prefix + entry.name
        left_out = ignore.leaves_out(path)
        is_folder = entry.is_dir(follow_symlinks=False)
        if not left_out and (is_folder or entry.is_symlink() or entry.is_file()):
            yield path, entry.stat(follow_symlinks=False)
        # What is needed in any case, such as the Dockerfile, may lie in a folder that is left out.
        if is_folder and (not left_out or ignore.takes_back or ignore.needs(path)):
            yield from _walk(folder / entry.name, f"{path}/", ignore, check)


def measure(context: Path, ignore: DockerIgnore, check: Callable[[], None] = lambda: None) -> int:
    """Bytes of the files that a build of this folder gets."""
    return sum(
        info.st_size for _, info in files(context, ignore, check) if stat.S_ISREG(info.st_mode)
    )


def pack(
    context: Path,
    ignore: DockerIgnore,
    into: IO[bytes],
    check: Callable[[], None] = lambda: None,
    *,
    compress: bool = False,
) -> None:
    """Write what a build of this folder gets as a tar archive.

    Raises:
        OSError: a file cannot be read, or the archive not be written.
    """
    with tarfile.open(fileobj=into, mode="w:gz" if compress else "w") as tar:
        for path, _ in files(context, ignore, check):
            tar.add(context / path, arcname=path, recursive=False, filter=_anonymous)


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry
