"""Conditions in CEL, the Common Expression Language, as Kubernetes has them: `container.restart_count < 5`.

An expression reads what it is given and can do nothing else: no loop without end, no call, no file. It is compiled
once and asked often. What it asks for and is not there makes it not hold, which is told, and never an exception.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator

from dockbus.errors import near_miss
from dockbus.snapshot import ContainerState, ImageState

if TYPE_CHECKING:
    import cel

LONGEST = 1000
"""Characters of an expression."""
MOST_LOOPS = 2
"""How many `all`, `exists`, `map` and `filter` an expression may have: nested, each multiplies the time it takes."""
NAMES: Mapping[str, type[ContainerState | ImageState] | None] = {
    "container": ContainerState,
    "image": ImageState,
    "event": None,
    "now": None,
}
"""What an expression may ask for, and what that looks like where it has a fixed form."""

_TEXT = re.compile(r"""([rRbB]*("{3}|'{3}|["']))|//""")
_PLAIN = re.compile(r"""("([^"\\\n]|\\.)*"|'([^'\\\n]|\\.)*')(?!["'])""")
_LOOP = re.compile(r"\.\s*(all|exists|exists_one|map|filter)\s*\(")
_FIELD = re.compile(r"(?<![\w.])(container|image)\s*\.\s*(\w+)")
_WHERE = re.compile(r"<input>:(\d+):(\d+): ")


class ExpressionError(ValueError):
    """The text is no expression; says why, and guesses what was meant."""


@dataclass(frozen=True)
class Outcome:
    """What an expression gave."""

    value: Any
    problem: str = ""
    """Why there is no value, such as a label that the container does not have."""


@dataclass(frozen=True)
class Expression:
    """A compiled expression."""

    text: str
    _program: cel.Program = field(compare=False, repr=False)

    @classmethod
    def parse(cls, text: str, names: Mapping[str, Any] = NAMES) -> Expression:
        """The expression in a text that may ask for these names.

        Raises:
            ExpressionError: it is none, is too long, or asks for what there never is.
        """
        import cel  # noqa: PLC0415  it takes a fifth of a second, which few programs need to spend

        if len(text) > LONGEST:
            raise ExpressionError(f"it has {len(text)} characters; {LONGEST} are allowed")
        try:
            program = cel.compile(text)
        except ValueError as error:
            raise ExpressionError(_reason(str(error))) from None
        bare = _without_texts(text)
        if len(_LOOP.findall(bare)) > MOST_LOOPS:
            raise ExpressionError(
                f"more than {MOST_LOOPS} of all, exists, exists_one, map and filter"
            )
        bound = set(re.findall(r"\(\s*(\w+)\s*,", bare))  # by those
        for name in program.variables():
            if name not in names and name not in bound:
                raise ExpressionError(f"{name!r} is not known{near_miss(name, list(names))}")
        for name in program.functions():
            if name.isidentifier() and not name.startswith("_") and name not in _FUNCTIONS:
                raise ExpressionError(
                    f"there is no function {name!r}{near_miss(name, list(_FUNCTIONS))}"
                )
        for name, attribute in _FIELD.findall(bare):
            model = NAMES[name]
            if model and attribute not in model.model_fields:
                known = list(model.model_fields)
                raise ExpressionError(
                    f"{name} has no field {attribute!r}{near_miss(attribute, known)}"
                )
        return cls(text, program)

    def evaluate(self, variables: Mapping[str, Any]) -> Outcome:
        """What it gives for these values: models as dictionaries, moments as datetimes."""
        try:
            return Outcome(self._program.execute(dict(variables)))
        except KeyError as error:
            return Outcome(None, f"there is no {error.args[0]!r}")
        except Exception as error:  # noqa: BLE001  whatever goes wrong in there is the expression's doing
            return Outcome(None, str(error).partition(". Check that")[0])

    def holds(self, variables: Mapping[str, Any]) -> bool:
        """Whether it is true for these values; where it cannot be told, it is not."""
        return self.evaluate(variables).value is True


_FUNCTIONS = (
    *("all", "bool", "bytes", "contains", "double", "duration", "dyn", "endsWith", "exists"),
    *("exists_one", "filter", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"),
    *("getFullYear", "getHours", "getMilliseconds", "getMinutes", "getMonth", "getSeconds"),
    *("has", "int", "map", "matches", "max", "min", "size", "startsWith", "string"),
    *("timestamp", "type", "uint"),
)


def _without_texts(text: str) -> str:
    """The expression with empty texts, so that what stands in them is not taken for a part of it.

    Raises:
        ExpressionError: it has comments, or texts of another form, in which something could hide.
    """
    bare, at = "", 0
    while found := _TEXT.search(text, at):
        plain = _PLAIN.match(text, found.start())
        if not plain:
            raise ExpressionError("it may have no comments, and only texts in simple quotes")
        bare, at = f"{bare}{text[at : found.start()]}''", plain.end()
    return bare + text[at:]


def _check(text: str) -> str:
    Expression.parse(text)
    return text


Condition = Annotated[str, AfterValidator(_check)]
"""A text in a model that is an expression."""


def _reason(text: str) -> str:
    """The first thing that is wrong, and where."""
    found = _WHERE.search(text)
    if not found:
        return text[:200]
    said = text[found.end() :].partition("\n")[0].partition(" expecting ")[0]
    return f"column {found[2]}: {said[:160]}"
