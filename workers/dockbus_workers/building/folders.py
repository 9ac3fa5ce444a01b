"""A build's context as a folder on the worker's disk, and what makes one unusable.

Each refusal names its rule, which stays the same from version to version: `rule context/outside-root: …`.
"""

from __future__ import annotations

import os
from pathlib import Path

from dockbus.dockerignore import DockerIgnore
from dockbus.errors import DockbusError
from dockbus.units import show_size

_LARGEST = 256 * 1024
"""Bytes of a Dockerfile or an ignore file."""


class ContextUnusable(DockbusError):
    """The worker does not build from this context.

    The rule that is named says why. A folder must lie under the worker's build root (DOCKBUS_BUILD_ROOT); an archive
    or a repository may hold nothing that leads out of it, and no more than DOCKBUS_BUILD_CONTEXT_SIZE.
    """

    def __init__(self, rule: str, detail: str = "") -> None:
        super().__init__(f"rule context/{rule}: {detail}")
        self.rule = rule


def real(path: Path) -> Path:
    """The path with all links followed, as far as it is there; loops of links end where they begin."""
    return Path(os.path.realpath(path))


def under_root(root: Path, context: str) -> Path:
    """A folder under the build root, its links followed.

    Raises:
        ContextUnusable: it is not there, or lies outside.
    """
    root = real(root)
    folder = _inner(root, context)
    if not folder.is_relative_to(root):
        raise ContextUnusable(
            "outside-root",
            f"{folder} is not under the worker's build root {root} (DOCKBUS_BUILD_ROOT)",
        )
    if not folder.is_dir():
        raise ContextUnusable("no-folder", f"the worker has no folder {folder}")
    return folder


def within(tree: Path, folder: str) -> Path:
    """A folder of a tree that was fetched or unpacked.

    Raises:
        ContextUnusable: the tree has none.
    """
    found = _inner(tree, folder)
    if not found.is_relative_to(real(tree)):
        raise ContextUnusable("outside-root", f"{folder} leads out of the repository")
    if not found.is_dir():
        raise ContextUnusable("no-folder", f"there is no folder {folder}")
    return found


def check_files(context: Path, dockerfile: str) -> tuple[str, DockerIgnore]:
    """The text of the Dockerfile, and what the context leaves out; all that is read here must be the context's own.

    Raises:
        ContextUnusable: there is no Dockerfile, or a link leads one of them out of the context.
    """
    ours = (dockerfile, f"{dockerfile}.dockerignore", ".dockerignore")
    for name in (*ours, ".hadolint.yaml", ".hadolint.yml"):
        if not _inner(context, name).is_relative_to(real(context)):
            raise ContextUnusable("file-outside", f"{name} leads out of the context")
        if (context / name).is_file() and (context / name).stat().st_size > _LARGEST:
            raise ContextUnusable("too-large", f"{name} has more than {show_size(_LARGEST)}")
    if not (context / dockerfile).is_file():
        raise ContextUnusable("no-dockerfile", f"there is no {dockerfile} in the context")
    text = (context / dockerfile).read_text(encoding="utf-8-sig", errors="replace")
    return text, DockerIgnore.read(context, dockerfile)


def _inner(folder: Path, path: str) -> Path:
    if "\0" in path:
        raise ContextUnusable("no-such-path", "a path cannot have a NUL character")
    return real(folder / path)
