"""Rules: "when this event, do that job", read from YAML into frozen models. Pure: no Redis, no Engine, no clock.

    rules:
      - name: clean-after-exit
        on: io.dockbus.docker.container.die
        where: {labels: {dockbus.demo: "true"}}
        do: {kind: cleanup, labels: {dockbus.demo: "true"}}

An *occasion* is what a rule is asked about: an event, and the container that it is about. A rule says whether it
matches, and which order it gives then; how often it may is kept in Redis, by `dockbus_producer.gate`.
"""

from __future__ import annotations

from dockbus_producer.rules.load import load
from dockbus_producer.rules.model import Dedup, Limit, Rule
from dockbus_producer.rules.occasion import Occasion, engine_of
from dockbus_producer.rules.where import Where

__all__ = ["Dedup", "Limit", "Occasion", "Rule", "Where", "engine_of", "load"]
