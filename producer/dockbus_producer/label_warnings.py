"""Labels that do not do what they seem to are told of, once for each container and label.

    dockbus:rules:mislabelled:CONTAINER:LABEL    that it was told; forgotten a day after nobody has seen it any more

Labels are read by nobody but rules, so nobody else could say that one is misspelt; the container runs all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from dockbus.bus import Bus
from dockbus.connection import reachable
from dockbus.events import LONG_WINDOW, Event
from dockbus.snapshot import ContainerState
from dockbus_producer.firing import SOURCE
from dockbus_producer.rules import Rule
from dockbus_producer.rules.labels import Mistake, Vocabulary

log = logging.getLogger(__name__)


class LabelWarnings:
    """Tells of labels."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._rules: Sequence[Rule] = ()
        self._known = Vocabulary(())

    def check(self, container: ContainerState, rules: Sequence[Rule]) -> None:
        """Tell of what is wrong with this container's labels, where these rules are in force.

        Raises:
            RedisUnavailable: Redis does not answer; the next check tells what this one did not.
        """
        if rules is not self._rules:
            self._rules, self._known = rules, Vocabulary(rules)
        for mistake in self._known.mistakes(container.labels):
            self._tell(container, mistake)

    def _tell(self, container: ContainerState, mistake: Mistake) -> None:
        mark = f"dockbus:rules:mislabelled:{container.id}:{mistake.label}"
        with reachable():
            if self._bus.redis.expire(mark, round(LONG_WINDOW)):
                return
        event = _event(container, mistake)
        if self._bus.publish(event, window=LONG_WINDOW):
            log.warning(
                "container %s (%s on Engine %s): label %r=%r: %s%s",
                *(container.id[:12], container.name, container.engine),
                *(mistake.label, mistake.value, mistake.reason),
                f"; did you mean {mistake.suggestion}?" if mistake.suggestion else "",
            )
        with reachable():
            self._bus.redis.set(mark, "", ex=round(LONG_WINDOW))


def _event(container: ContainerState, mistake: Mistake) -> Event:
    kind = "unknown" if mistake.unknown else "wrong"
    return Event(
        id=f"{kind}:{container.id}:{mistake.label}",
        source=SOURCE,
        type=f"io.dockbus.label.{kind}",
        subject=container.id,
        data={
            "engine": container.engine,
            "name": container.name,
            "label": mistake.label,
            "value": mistake.value,
            "reason": mistake.reason,
            "suggestion": mistake.suggestion,
        },
    )
