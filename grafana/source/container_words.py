"""Expressions that panels about containers have in common: what is chosen above the dashboard, by name, the most of it."""

from __future__ import annotations

from source.common import TO_CONTAINER

LINK = (TO_CONTAINER,)
RATE = "[$__rate_interval]"
NAMED = "{{name}}"
BY = "sum by (engine, name)"


def rate(counter: str, more: str = "") -> str:
    """How fast it rises in each container chosen."""
    return f"{BY} (rate({counter}{{@container{more}}}[$__rate_interval]))"


def most(of: str) -> str:
    """The containers of which it is most, as many as are chosen to be seen."""
    return f"topk($most, {of})"


def recorded(series: str) -> str:
    """Of a series by name that Prometheus has worked out already, the containers chosen."""
    return f"{series}{{@named}} and on (engine, name) container_last_seen{{@container}}"
