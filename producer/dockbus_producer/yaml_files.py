"""What people write in YAML: a file with a list of entries, or a folder of them, read strictly and read anew when changed.

An unknown key, a key or a name that is there twice and a value of another type are errors; each is named with
its line. This module knows what a list of entries is, and neither rules nor schedules.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from dockbus import strict_yaml
from dockbus.errors import DockbusError

log = logging.getLogger(__name__)


class Named(Protocol):
    """An entry of a file."""

    @property
    def name(self) -> str:
        """What it is called; unique among all entries of all files of a folder."""
        ...


E = TypeVar("E", bound=Named)


class Form(Generic[E]):
    """What a file must look like: `HEADING:` and a list of entries below it."""

    def __init__(self, file: type[BaseModel], error: type[DockbusError]) -> None:
        """The form of files that `file` describes, a model whose one field is the heading.

        Args:
            file: the model of a whole file.
            error: what to raise for a file that is wrong.
        """
        (self.heading,) = file.model_fields
        self.noun = self.heading.removesuffix("s")
        self.file = file
        self.error = error

    def load(self, path: Path) -> list[E]:
        """The entries of a file, or of all `*.yaml` files of a folder.

        Raises:
            DockbusError: of the form's own class: a file is wrong; every mistake is named with its line.
        """
        found: dict[str, tuple[E, Path]] = {}
        for file in sorted(path.glob("*.yaml")) if path.is_dir() else [path]:
            for entry in self._load_file(file):
                if entry.name in found:
                    other = found[entry.name][1]
                    raise self.error(
                        f"{file}: {self.noun} {entry.name!r}: name: "
                        f"{f'it is in {other} already' if other != file else 'it is there twice'}"
                    )
                found[entry.name] = (entry, file)
        return [entry for entry, _ in found.values()]

    def _load_file(self, file: Path) -> list[E]:
        node, data = strict_yaml.read(file, self.error)
        if not isinstance(data, dict):
            raise self.error(
                f"{file}:1: it must begin with `{self.heading}:` and a list of {self.heading} below that"
            )
        try:
            return list(getattr(self.file.model_validate(data), self.heading))
        except ValidationError as error:
            wrong = [
                f"{file}:{strict_yaml.line_of(node, item)}: {self._explain(item, cast('dict[str, Any]', data))}"
                for item in error.errors()
            ]
            raise self.error("; ".join(wrong)) from None

    def _explain(self, item: ErrorDetails, data: dict[str, Any]) -> str:
        """One mistake: in which entry, in which field, what is wrong."""
        path = list(item["loc"])
        text = strict_yaml.explain(item, self.file)
        if len(path) < 2:
            return f"{path[0]}: {text}"
        entry: Any = data[self.heading][path[1]]
        name = cast("dict[str, Any]", entry).get("name") if isinstance(entry, dict) else None
        field = ".".join(str(part) for part in path[2:])
        which = repr(name) if name else f"number {int(path[1]) + 1}"
        return f"{self.noun} {which}: {f'{field}: ' if field else ''}{text}"


class EntryFiles(Generic[E]):
    """The entries in a file or folder, as it is now. An empty path is a folder with nothing in it."""

    def __init__(self, path: str, heading: str, load: Callable[[Path], list[E]]) -> None:
        self._path = Path(path) if path else None
        self._heading = heading
        self._load = load
        self._seen = self._stamp()
        self.entries: list[E] = load(self._path) if self._path else []

    def refresh(self) -> bool:
        """Whether the files were changed and read anew. Files that are wrong change nothing; the log says why."""
        if self._path is None or (stamp := self._stamp()) == self._seen:
            return False
        self._seen = stamp
        try:
            self.entries = self._load(self._path)
        except DockbusError as error:
            log.error(  # noqa: TRY400  no bug
                "%s not changed, the %d of before stay in force: %s",
                self._heading,
                len(self.entries),
                error.detail,
            )
            return False
        log.info("%d %s are in force now", len(self.entries), self._heading)
        return True

    def _stamp(self) -> dict[Path, int]:
        """All files, each with the time of its last change."""
        if self._path is None:
            return {}
        stamps: dict[Path, int] = {}
        for file in self._path.glob("*.yaml") if self._path.is_dir() else [self._path]:
            with contextlib.suppress(OSError):  # an editor may be replacing it
                stamps[file] = file.stat().st_mtime_ns
        return stamps
