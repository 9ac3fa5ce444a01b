"""YAML that people write, read strictly, so that what is wrong can be told with its line.

A key that is there twice is an error. What a document has to look like is for a model of its reader's to say; this
module finds the line of what such a model refuses, and guesses what was meant. It needs PyYAML, which an extra brings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ConfigDict
from pydantic_core import ErrorDetails

from dockbus.errors import DockbusError, near_miss


class Model(BaseModel):
    """What a part of a file must look like."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )


def read(file: Path, error: type[DockbusError]) -> tuple[yaml.Node | None, Any]:
    """The document in a file, as its nodes, which know their lines, and as plain values.

    Raises:
        DockbusError: of the class `error`: it cannot be read, is no YAML, or has a key twice.
    """
    try:
        loader = yaml.SafeLoader(file.read_text())
        node = loader.get_single_node()
        _check_keys(node, file, error)
        data: Any = (
            loader.construct_document(node)  # pyright: ignore[reportUnknownMemberType]
            if node
            else None
        )
    except yaml.MarkedYAMLError as wrong:
        line = wrong.problem_mark.line + 1 if wrong.problem_mark else 1
        raise error(f"{file}:{line}: not YAML: {wrong.problem}") from None
    except (yaml.YAMLError, UnicodeError) as wrong:
        raise error(f"{file}: not YAML: {wrong}") from None
    except OSError as wrong:
        raise error(f"{file}: {wrong.strerror}") from None
    return node, data


def explain(item: ErrorDetails, model: type[BaseModel]) -> str:
    """What is wrong with one field of a document that `model` has refused; an unknown one is guessed at."""
    path = item["loc"]
    if item["type"] == "extra_forbidden":
        return f"no such field{near_miss(str(path[-1]), _fields(model, path))}"
    return item["msg"].removeprefix("Value error, ")


def line_of(node: yaml.Node | None, item: ErrorDetails) -> int:
    """The line of the field that is wrong, or of the innermost thing around it that is there."""
    line = 1
    text = item["msg"].removeprefix("Value error, ")
    field = text.partition(":")[0]  # what is wrong with an entry as a whole says where
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


def _check_keys(node: yaml.Node | None, file: Path, error: type[DockbusError]) -> None:
    """Make all keys words (YAML 1.1 takes a bare `on` for a boolean) and refuse those that are there twice."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_keys(item, file, error)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:bool":
                key.tag = "tag:yaml.org,2002:str"
            if str(key.value) in seen:
                line = key.start_mark.line + 1
                raise error(f"{file}:{line}: {key.value!r} is there twice")
            seen.add(str(key.value))
            _check_keys(value, file, error)


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
