"""From a rule's `do` and an occasion to an order: texts are filled in, and what goes without saying is added.

A job that acts on one container is, unless told otherwise, about the container of the occasion, about that very life
of it, and asked by the worker once more whether the rule's state holds before it acts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from pydantic import JsonValue, ValidationError

from dockbus.errors import InvalidSpec
from dockbus.jobs import KINDS, Build, Kind, Pull, Spec, explain, parse_spec
from dockbus.orders import Order
from dockbus.references import split
from dockbus_producer.rules.occasion import Occasion
from dockbus_producer.rules.template import TemplateError, fill, fill_text
from dockbus_producer.rules.terms import Terms

ECHOES = {
    "restart": ("restart", "start"),
    "start": ("start",),
    "stop": ("stop",),
    "remove": ("destroy",),
}
"""Actions that the Engine is sure to tell of when a job of this kind acts on a container."""


class Unfit(ValueError):
    """With the values of this occasion, there is no such order; says which field is wrong."""


def spec_of(
    do: Mapping[str, JsonValue],
    occasion: Occasion,
    values: Mapping[str, str],
    *,
    recheck: str | None,
    echoes: bool,
) -> Spec:
    """The spec that `do` is for this occasion.

    Args:
        do: the spec as the rule has it.
        occasion: what it answers.
        values: what templates may name.
        recheck: what the worker is to ask right before it acts.
        echoes: whether it may cause the event it answers.

    Raises:
        Unfit: it is no valid spec, or would cause this very event again.
    """
    try:
        filled = {str(key): fill(value, values) for key, value in do.items()}
        spec = parse_spec(json.dumps(_implied(filled, occasion, values, recheck) | filled))
    except (TemplateError, InvalidSpec) as error:
        detail = error.detail if isinstance(error, InvalidSpec) else str(error)
        raise Unfit(f"do: {detail}") from None
    action, image = values["action"], values["image"]
    if (action, image) in _effects(spec):
        raise Unfit("do: this would cause the very event it answers")
    same = getattr(spec, "container", None) in (values["id"], values["name"])
    if same and not echoes and action in ECHOES.get(spec.kind.value, ()):
        raise Unfit("do: this would cause the very event it answers; give the rule a `limit`")
    return spec


def order_of(spec: Spec, terms: Terms, occasion: Occasion, values: Mapping[str, str]) -> Order:
    """The order for a spec.

    Raises:
        Unfit: a term is out of bounds with these values.
    """
    given = terms.model_dump(exclude_defaults=True, exclude={"retry"})
    try:
        if terms.exclusive:
            given["exclusive"] = fill_text(terms.exclusive, values)
        return Order(spec=spec, engine=occasion.engine, retry=terms.retry, **given)
    except TemplateError as error:
        raise Unfit(f"order: exclusive: {error}") from None
    except ValidationError as error:
        raise Unfit(f"order: {explain(error)}") from None


def _implied(
    do: Mapping[str, JsonValue],
    occasion: Occasion,
    values: Mapping[str, str],
    recheck: str | None,
) -> dict[str, JsonValue]:
    """What goes without saying for a job on one container."""
    kind = do.get("kind")
    fields = KINDS[Kind(kind)].spec.model_fields if kind in list(Kind) else {}
    if "container" not in fields or "container" in do:
        return {}
    implied: dict[str, JsonValue] = {"container": values["id"]}
    if "only_if" in fields and recheck:
        implied["only_if"] = recheck
    if "started" in fields and occasion.container and occasion.container.started:
        implied["started"] = occasion.container.started.isoformat()
    return implied


def _effects(spec: Spec) -> list[tuple[str, str]]:
    """Action and image of the events that a job is sure to cause."""
    if isinstance(spec, Pull):
        return [("pull", spec.image), ("pull", ":".join(split(spec.image)))]
    return [("tag", ":".join(split(tag))) for tag in spec.tags] if isinstance(spec, Build) else []
