"""A rule that matches: the gate is asked, the job is put on the bus, and an event tells of it. Each can be done again.

The order is: decide, put the job on the bus, tell. Whoever dies in between leaves the occasion to the next dispatcher,
which gets the same verdict, the same job and no second event.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Generator

from pydantic import JsonValue

from dockbus import tracing
from dockbus.bus import Bus
from dockbus.connection import reachable
from dockbus.errors import InvalidSpec, JobNotCancelable, JobNotFound, KeyConflict, RuleError
from dockbus.events import Event
from dockbus.ids import JobId
from dockbus.orders import Order
from dockbus.tally import sample
from dockbus_producer.gate import Gate, Suspension, Verdict, Word, memory
from dockbus_producer.rules import Occasion, Rule

log = logging.getLogger(__name__)

SOURCE = "/dockbus/rules"
RULES = "dockbus_rules_total"
"""The counter of what rules have done: in the tally, as the gate's script has it, too."""


class Firing:
    """Acts on matches. Every method raises `RedisUnavailable` where Redis does not answer."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.gate = Gate(bus.redis)

    def fire(self, rule: Rule, occasion: Occasion, now: float) -> None:
        """Do what the rule says about an occasion that it matches, as often as it may."""
        with self.failures(rule, occasion):
            order = rule.ordered(occasion).model_copy(update={"key": key(rule, occasion)})
            with reachable():
                job = self._bus.job_store.identify(order)
            verdict = self.gate.decide(rule, occasion, job, now)
            if verdict.word is Word.SUSPEND:
                self._tell_suspended(rule, occasion, verdict)
            elif verdict.word is not Word.FIRE:
                log.debug("rule %s: %s: %s", rule.name, occasion.cause, verdict)
            elif rule.mode == "dry-run":
                spec = order.spec.model_dump(mode="json", exclude_defaults=True)
                kind = order.spec.kind.value
                self._tell("would-fire", rule, occasion, spec={"kind": kind, **spec})
            else:
                self._enqueue(rule, occasion, order, verdict.detail)

    @contextlib.contextmanager
    def failures(self, rule: Rule, occasion: Occasion) -> Generator[None]:
        """Tell, in place of raising, that with this occasion's values the rule can do nothing."""
        try:
            yield
        except (RuleError, InvalidSpec) as error:
            if self._tell("failed", rule, occasion, error=error.detail):
                about = f"{occasion.event.type} of {occasion.subject}"
                log.error("%s: %s", about, error.detail, extra={"error": error.code})  # noqa: TRY400  no bug

    def tell_lapsed(self, now: float) -> None:
        """Tell of each object that a rule has let alone and does something about again."""
        for one in self.gate.lapsed(now):
            tell_resumed(self._bus, one, "quiet")
            self.gate.forget(one, now)

    def _enqueue(self, rule: Rule, occasion: Occasion, order: Order, follows: str) -> None:
        facts = ("id", "source", "type", "subject")
        about = {f"cloudevents.event_{fact}": getattr(occasion.event, fact) for fact in facts}
        try:
            with tracing.span(f"rule {rule.name}", about):
                job = self._put(order, follows)
        except KeyConflict:  # the rule was changed since
            log.debug("%s was answered before", key(rule, occasion))
            return
        if rule.dedup and rule.dedup.conflict == "replace":
            self._replace(rule, occasion, job, follows)
        if self._tell("fired", rule, occasion, job=job, kind=order.spec.kind.value):
            log.info(
                "rule %s: %s of %s: job %s",
                *(rule.name, occasion.event.type, occasion.subject, job),
                extra={"job": job, "kind": order.spec.kind.value},
            )

    def _put(self, order: Order, follows: str) -> JobId:
        if follows:
            after = {"after": (JobId(follows),), "after_failure": "run"}
            with contextlib.suppress(
                JobNotFound
            ):  # it has just been forgotten, or is not there yet
                return self._bus.enqueue_many([order.model_copy(update=after)])[0].id
        return self._bus.enqueue_many([order])[0].id

    def _replace(self, rule: Rule, occasion: Occasion, job: JobId, old: str) -> None:
        """Cancel the job that this one replaces, or this one if another has replaced it meanwhile."""
        superseded = not self.gate.is_last(rule, occasion, job)
        for each in (old, job if superseded else ""):
            if each:
                with contextlib.suppress(JobNotFound, JobNotCancelable):
                    self._bus.cancel(each)

    def _tell_suspended(self, rule: Rule, occasion: Occasion, verdict: Verdict) -> None:
        what, per = rule.object_of(occasion), rule.limit.per if rule.limit else 0.0
        if self._tell("suspended", rule, occasion, object=what, count=int(verdict.detail), per=per):
            log.warning(
                "rule %s is suspended for %r: %s jobs were not enough",
                *(rule.name, what, verdict.detail),
            )

    def _tell(self, what: str, rule: Rule, occasion: Occasion, **facts: JsonValue) -> bool:
        """Publish that; whether it was not known before."""
        event = Event(
            id=f"{what}:{rule.name}:{occasion.cause}",
            source=SOURCE,
            type=f"io.dockbus.rule.{what}",
            subject=rule.name,
            data={
                "rule": rule.name,
                "event": occasion.event.id,
                "eventSource": occasion.event.source,
                "eventType": occasion.event.type,
                "eventSubject": occasion.subject,
                **facts,
            },
        )
        # What the gate has decided it has counted itself.
        counted = "" if what == "suspended" else sample(RULES, rule=rule.name, outcome=what)
        stream = self._bus.event_stream
        return stream.publish(event, window=memory(rule), counted=counted) is not None


def key(rule: Rule, occasion: Occasion) -> str:
    """The idempotency key of the job that a rule orders about an occasion."""
    return f"rule:{rule.name}:{occasion.cause}"


def tell_resumed(bus: Bus, one: Suspension, reason: str) -> None:
    """Publish that a rule does something about an object again; `reason`: `quiet`, or `asked` for."""
    bus.publish(
        Event(
            id=f"resumed:{one.rule}:{one.object}:{one.ends.timestamp():.6f}",
            source=SOURCE,
            type="io.dockbus.rule.resumed",
            subject=one.rule,
            data={"rule": one.rule, "object": one.object, "reason": reason},
        )
    )
