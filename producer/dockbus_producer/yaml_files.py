"""What people write in YAML: a file with a list of entries, or a folder of them, read strictly and read anew when changed.

An unknown key, a key or a name that is there twice and a value of another type are errors; each is named with
its line. This module knows what a list of entries is, and neither rules nor schedules.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from dockbus.errors import DockbusError, near_miss

log = logging.getLogger(__name__)


class Named(Protocol):
    """An entry of a file."""

    @property
    def name(self) -> str:
        """What it is called; unique among all entries of all files of a folder."""
        ...


E = TypeVar("E", bound=Named)


class Model(BaseModel):
    """What a part of a file must look like."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )


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
        try:
            loader = yaml.SafeLoader(file.read_text())
            node = loader.get_single_node()
            self._check_keys(node, file)
            data: Any = (
                loader.construct_document(node)  # pyright: ignore[reportUnknownMemberType]
                if node
                else None
            )
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise self.error(f"{file}:{line}: not YAML: {error.problem}") from None
        except (yaml.YAMLError, UnicodeError) as error:
            raise self.error(f"{file}: not YAML: {error}") from None
        except OSError as error:
            raise self.error(f"{file}: {error.strerror}") from None
        if not isinstance(data, dict):
            raise self.error(
                f"{file}:1: it must begin with `{self.heading}:` and a list of {self.heading} below that"
            )
        try:
            return list(getattr(self.file.model_validate(data), self.heading))
        except ValidationError as error:
            wrong = [
                f"{file}:{_line(node, item)}: {self._explain(item, cast('dict[str, Any]', data))}"
                for item in error.errors()
            ]
            raise self.error("; ".join(wrong)) from None

    def _check_keys(self, node: yaml.Node | None, file: Path) -> None:
        """Make all keys words (YAML 1.1 takes a bare `on` for a boolean) and refuse those that are there twice."""
        if isinstance(node, yaml.SequenceNode):
            for item in node.value:
                self._check_keys(item, file)
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                if key.tag == "tag:yaml.org,2002:bool":
                    key.tag = "tag:yaml.org,2002:str"
                if str(key.value) in seen:
                    line = key.start_mark.line + 1
                    raise self.error(f"{file}:{line}: {key.value!r} is there twice")
                seen.add(str(key.value))
                self._check_keys(value, file)

    def _explain(self, item: ErrorDetails, data: dict[str, Any]) -> str:
        """One mistake: in which entry, in which field, what is wrong."""
        path = list(item["loc"])
        text = _text(item)
        if item["type"] == "extra_forbidden":
            text = f"no such field{near_miss(str(path[-1]), _fields(self.file, path))}"
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


def _text(item: ErrorDetails) -> str:
    return item["msg"].removeprefix("Value error, ")


def _fields(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """The fields that there are where the last part of `path` stands."""
    for part in path[:-1]:
        if isinstance(part, str) and part in model.model_fields:
            held = model.model_fields[part].annotation
            parts = (held, *get_args(held))
            model = next(
                (one for one in parts if isinstance(one, type) and issubclass(one, BaseModel)),
                model,
            )
    return list(model.model_fields)


def _line(node: yaml.Node | None, item: ErrorDetails) -> int:
    """The line of the field that is wrong, or of the innermost thing around it that is there."""
    line = 1
    field = _text(item).partition(":")[0]  # what is wrong with an entry as a whole says where
    for part in (*item["loc"], field):
        children: dict[int | str, tuple[yaml.Node, yaml.Node]] = {}
        if isinstance(node, yaml.MappingNode):
            children = {key.value: (key, value) for key, value in node.value}
        elif isinstance(node, yaml.SequenceNode):
            children = {index: (item, item) for index, item in enumerate(node.value)}
        if part not in children:
            break
        start, node = children[part]
        line = start.start_mark.line + 1
    return line
