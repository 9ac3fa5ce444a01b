"""Values in texts: `${name}` is replaced, `$$` is a `$`. A value stays one value: no text of an event can add a field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from string import Template

from pydantic import JsonValue

from dockbus.errors import near_miss

PLAIN = (
    *("id", "name", "image", "image_id", "engine", "action"),
    *("exit_code", "health", "restart_count", "started"),
)
"""Names that there always are; beside them `labels.KEY` and `attributes.KEY`."""


class TemplateError(ValueError):
    """A text names what there is not, or has a `$` too many."""


class _Template(Template):
    braceidpattern = r"[^{}$]+"


class Samples(dict[str, str]):
    """Values to try templates with: labels and attributes are whatever is asked for."""

    def __missing__(self, key: str) -> str:
        if key.startswith(("labels.", "attributes.")):
            return "sample"
        raise KeyError(key)


def fill(value: JsonValue, values: Mapping[str, str]) -> JsonValue:
    """The value with all texts in it filled in.

    Raises:
        TemplateError: one names what is not there, or is no template.
    """
    if isinstance(value, str):
        return fill_text(value, values)
    if isinstance(value, list):
        return [fill(item, values) for item in value]
    if isinstance(value, dict):
        return {key: fill(item, values) for key, item in value.items()}
    return value


def fill_text(text: str, values: Mapping[str, str]) -> str:
    """The text filled in.

    Raises:
        TemplateError: it names what is not there, or is no template.
    """
    try:
        return _Template(text).substitute(values)
    except KeyError as error:
        raise TemplateError(_unknown(str(error.args[0]), values)) from None
    except ValueError as error:
        raise TemplateError(f"{error}; write $$ for a $") from None


def _unknown(name: str, known: Iterable[str]) -> str:
    group, _, key = name.partition(".")
    if group in ("labels", "attributes") and key:
        there = [each for each in known if each.startswith(f"{group}.")]
        return f"there is no {group.removesuffix('s')} {key!r}{near_miss(name, there)}"
    return f"${{{name}}} is not known{near_miss(name, [*PLAIN, 'labels.KEY', 'attributes.KEY'])}"
