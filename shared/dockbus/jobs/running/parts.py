"""What the parts of a container's description have in common: a strict model, and the texts that go into it.

A part may be written as people know it from Docker's command line (`8080:80`); each then has a `parse`
that makes its fields of that text, so that past the edge there is one form only.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


class Part(BaseModel):
    """A part of a spec: frozen and strict as the whole is."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


def written(parse: Callable[[str], object]) -> BeforeValidator:
    """Lets a part be given as text, of which `parse` makes its fields."""

    def read(value: object) -> object:
        return parse(value) if isinstance(value, str) else value

    return BeforeValidator(read)


def _word(text: str) -> str:
    if "\0" in text:
        raise ValueError("a program cannot be given a NUL character")
    return text


def _variable(name: str) -> str:
    if not name or "=" in name:
        raise ValueError(f"{name!r} cannot be the name of an environment variable")
    return _word(name)


def as_path(text: str) -> str:
    """An absolute path in its shortest form, so that two which mean the same are the same.

    Raises:
        ValueError: it is none.
    """
    if not text.startswith("/") or "\0" in text:
        raise ValueError(f"{text!r} is not an absolute path")
    return "/" + posixpath.normpath(text).lstrip("/")


def mode(value: object) -> object:
    """The bits of a file mode that is written as text, `0644`."""
    if not isinstance(value, str):
        return value
    if not re.fullmatch(r"0?o?[0-7]{3,4}", value):
        raise ValueError(f"{value!r} is not a file mode; write three or four octal digits: '0644'")
    return int(value.replace("o", ""), 8)


Word = Annotated[str, AfterValidator(_word)]
"""Text that a program can be given."""
Variable = Annotated[str, AfterValidator(_variable)]
"""The name of an environment variable."""
ContainerPath = Annotated[
    str, AfterValidator(as_path), Field(max_length=4096, examples=["/var/lib/data"])
]
"""An absolute path."""
Mode = Annotated[
    int,
    BeforeValidator(mode, json_schema_input_type=int | str),
    Field(ge=0, le=0o7777, examples=["0644"]),
]
"""Permission bits."""
