"""Fetching a context from a Git repository by the worker's `git`: one commit, its files, nothing else.

Git is given no configuration but ours, so no rewrite rule, hook, filter or helper of the machine takes part. It may
not ask, and only speaks https, ssh, and to repositories under the build root; a tree is measured before it is
written.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from dockbus import programs
from dockbus.errors import DockbusError, MissingTool
from dockbus.jobs.build import Repository
from dockbus.units import show_size, show_span
from dockbus_workers.building.archives import Limits
from dockbus_workers.building.folders import ContextUnusable, real, within
from dockbus_workers.context import JobContext

_AWAY = re.compile(
    r"could not resolve host|connection (refused|timed out|reset)|failed to connect|network is unreachable|"
    r"operation timed out|early EOF|unexpected disconnect|returned error: 5\d\d|error: 429|name resolution",
    re.IGNORECASE,
)
_LOGIN = re.compile(
    r"authentication failed|could not read (username|password)|permission denied|error: 40[13]|terminal prompts disabled|"
    r"invalid username or password|host key verification failed",
    re.IGNORECASE,
)
_MOST_SAID = 64 * 1024**2
"""Bytes of what Git may print: a small repository may hold a tree without end."""
_TRUST = ("GIT_SSL_CAINFO", "GIT_SSL_CAPATH")
_NO_REF = re.compile(r"couldn't find remote ref|not our ref|unadvertised object", re.IGNORECASE)


class RepositoryUnavailable(DockbusError):
    """The Git repository of the build's context cannot be reached.

    See whether the worker's machine can reach it: `git ls-remote URL`.
    """

    retryable = True


def fetch(source: Repository, into: Path, ctx: JobContext) -> Path:
    """Fetch the commit of a spec into an empty folder; returns the folder that is the context.

    Raises:
        ContextUnusable: there is no such commit or folder, it is too large, has submodules, or may not be had.
        RepositoryUnavailable: the repository does not answer, or not in time.
        MissingTool: the worker has no `git`.
    """
    build = ctx.settings.build
    check_place(source.git, build.root)
    git = _Git(into, source, ctx)
    git.run("init", "--quiet")
    git.run(
        "fetch",
        "--quiet",
        "--depth=1",
        "--no-tags",
        "--no-recurse-submodules",
        "--",
        source.git,
        source.ref,
    )
    folder = source.folder.strip("/") or "."
    listing = git.run("ls-tree", "-r", "-l", "-z", "FETCH_HEAD", "--", folder)
    if not listing:
        raise ContextUnusable("no-folder", f"there is no folder {folder} in {source.git}")
    _check_tree(listing, Limits(build.context_size, build.context_files))
    git.run("--literal-pathspecs", "checkout", "--quiet", "FETCH_HEAD", "--", folder)
    ctx.log(
        f"fetched {source.ref} ({git.run('rev-parse', 'FETCH_HEAD').strip()[:12]}) of {source.git}"
    )
    return within(git.tree, folder)


def check_place(url: str, root: Path) -> None:
    """Make sure that a `file://` URL names a repository under the build root.

    Raises:
        ContextUnusable: it does not.
    """
    scheme, _, path = url.partition("://")  # to Git a path may have `?` and `#`
    if scheme == "file" and not real(Path(unquote(path))).is_relative_to(real(root)):
        raise ContextUnusable(
            "git-outside-root", f"{url} is not under the worker's build root {root}"
        )


def _check_tree(listing: str, limits: Limits) -> None:
    count = size = 0
    for entry in filter(None, listing.split("\0")):
        meta, _, path = entry.partition("\t")
        _, kind, _, length = meta.split()
        if kind == "commit":
            raise ContextUnusable(
                "git-submodule", f"{path} is a submodule, and those are not fetched"
            )
        count, size = count + 1, size + int(length)
    if count > limits.files:
        raise ContextUnusable(
            "too-many-files", f"more than {limits.files} (DOCKBUS_BUILD_CONTEXT_FILES)"
        )
    if size > limits.size:
        raise ContextUnusable(
            "too-large", f"more than {show_size(limits.size)} (DOCKBUS_BUILD_CONTEXT_SIZE)"
        )


class _Git:
    """The program, at work on one repository of our own, whose `.git` lies beside its files."""

    def __init__(self, into: Path, source: Repository, ctx: JobContext) -> None:
        program = programs.find("git")
        if program is None:
            raise MissingTool(
                "a context from a Git repository needs the program 'git' at the worker; install it"
            )
        self.tree = into / "tree"
        self.tree.mkdir()
        self._data = into / "git"
        self._source, self._ctx = source, ctx
        self._command = [program, f"--git-dir={self._data}", f"--work-tree={self.tree}"]
        self._env = _environment(source, ctx)
        self._deadline = time.monotonic() + ctx.settings.build.git_timeout

    def run(self, *arguments: str) -> str:
        """Run one command of Git to its end; what it wrote to stdout."""
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen(
                [*self._command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env=self._env,
                cwd=self.tree,
                start_new_session=True,
            )
            try:
                self._wait(process, output, errors)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.returncode:
                raise self._fault(_read(errors))
            return _read(output)

    def _wait(self, process: subprocess.Popen[bytes], *said: IO[str]) -> None:
        limit, timeout = self._ctx.settings.build.context_size, self._ctx.settings.build.git_timeout
        while process.poll() is None:
            self._ctx.sleep(0.05)
            if sum(_sizes(self._data)) > limit:
                raise ContextUnusable(
                    "too-large",
                    f"{self._source.git} sends more than {show_size(limit)} (DOCKBUS_BUILD_CONTEXT_SIZE)",
                )
            if sum(os.fstat(file.fileno()).st_size for file in said) > _MOST_SAID:
                raise ContextUnusable(
                    "too-many-files", f"{self._source.git} has a tree without end"
                )
            if time.monotonic() > self._deadline:
                raise RepositoryUnavailable(
                    f"{self._source.git} took longer than {show_span(timeout)} (DOCKBUS_BUILD_GIT_TIMEOUT)"
                )

    def _fault(self, said: str) -> DockbusError:
        words = f"{self._source.git}: {' '.join(said.split())[:400]}"
        if _NO_REF.search(said):
            return ContextUnusable("git-ref", f"{self._source.git} has no {self._source.ref}")
        if _AWAY.search(said):
            return RepositoryUnavailable(words)
        if _LOGIN.search(said):
            return ContextUnusable("git-login", f"{words}; name its login in `credentials`")
        return ContextUnusable("git-repository", words)


def _environment(source: Repository, ctx: JobContext) -> dict[str, str]:
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GIT_", "DOCKBUS_")) or name in _TRUST
    }
    clean |= {
        "GIT_ALLOW_PROTOCOL": "https:ssh:file",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS": "",
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "LC_ALL": "C.UTF-8",
    }
    settings = {"core.hooksPath": os.devnull, "core.symlinks": "true", "gc.auto": "0"}
    if source.git.startswith("file://"):
        settings["safe.directory"] = "*"
    if source.credentials:
        user, sign, password = ctx.secret(source.credentials).strip().partition(":")
        ctx.hide(password or user)
        host = "/".join(source.git.split("/")[:3])
        # Git asks this helper when that host asks for a login, and never for another one.
        settings[f"credential.{host}.helper"] = (
            '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" "$BUILD_USER" "$BUILD_PASSWORD"; }; f'
        )
        clean |= {
            "BUILD_USER": user if sign else "git",
            "BUILD_PASSWORD": password if sign else user,
        }
    clean["GIT_CONFIG_COUNT"] = str(len(settings))
    for number, (name, value) in enumerate(settings.items()):
        clean |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return clean


def _sizes(folder: Path) -> Iterator[int]:
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                yield (Path(path) / name).lstat().st_size


def _read(file: IO[str]) -> str:
    file.seek(0)
    return file.read()
