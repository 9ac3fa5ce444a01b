"""A container's labels as a pydantic model: the part below one prefix, each label a field.

    class Route(LabelModel):
        domain: str
        port: int = Field(ge=1, le=65535)

    Route.from_labels({"web.domain": "shop.example", "web.port": "80"}, "web")

Labels are text, so fields are read from text as leniently as pydantic does. A label that the model does not know is
an error all the same: it is a misspelt one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from dockbus.errors import DockbusError, near_miss

MOST = 5
"""How many of the labels that are wrong are named."""


class InvalidLabels(DockbusError):
    """A container's labels are not valid.

    Correct the named labels and make the container anew; those of one that exists cannot be changed.
    """


class LabelModel(BaseModel):
    """What containers say by labels. A label whose name is no Python name is a field's `alias`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @classmethod
    def from_labels(
        cls, labels: Mapping[str, str], prefix: str, *, besides: Collection[str] = ()
    ) -> Self:
        """The model that labels such as `PREFIX.FIELD` make up; an empty one is as good as none.

        Args:
            labels: all labels of a container.
            prefix: what stands before the dot.
            besides: whole names of labels below the prefix that are for somebody else.

        Raises:
            InvalidLabels: a label is missing, wrong or not known; the message names each.
        """
        head = f"{prefix}."
        given = {
            name.removeprefix(head): value.strip()
            for name, value in labels.items()
            if name.startswith(head) and name not in besides and value.strip()
        }
        try:
            return cls.model_validate_strings(given)
        except ValidationError as error:
            known = [field.alias or name for name, field in cls.model_fields.items()]
            wrong = [_explain(item, head, known) for item in error.errors()[:MOST]]
            raise InvalidLabels("; ".join(wrong)) from None


def _explain(item: ErrorDetails, head: str, known: list[str]) -> str:
    name = _short(".".join(map(str, item["loc"])))
    if item["type"] == "missing":
        return f"{head}{name} is missing"
    if item["type"] == "extra_forbidden":
        return f"{head}{name} is not known{near_miss(name, known)}"
    said = item["msg"].removeprefix("Value error, ")
    return f"{head}{name}={_short(item['input'])!r}: {said}" if name else f"{head}*: {said}"


def _short(value: Any) -> str:  # noqa: ANN401  whatever a validator was given
    text = "".join(
        char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(value)
    )
    return text if len(text) <= 60 else f"{text[:59]}…"
