"""The courier of one sink: takes events from the stream into the outbox, and parcels from there to their URL.

Both are in Redis, so any number of couriers may serve a sink. A few requests are under way at a time; a parcel that has
to be tried again waits for that in the outbox and holds up no other. Where a receiver stays away, the outbox fills up
to a bound, and then the events wait in the stream.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial

from dockbus.bus import Bus
from dockbus.errors import RedisUnavailable
from dockbus.events import Event, parse_rows, place
from dockbus.subscription import Member
from dockbus_producer.sinks.delivery import Answer, Meaning, deliver
from dockbus_producer.sinks.outbox import Outbox, Parcel
from dockbus_producer.sinks.sink import OWN, Sink

log = logging.getLogger(__name__)

SOURCE = "/dockbus/sinks"
SLOTS = 4
"""Requests to one sink under way at a time."""
FULL = 10_000
"""Parcels in the outbox at which no more are put in."""
PAUSE = 1.0
"""Seconds without a look at the outbox at most, and with Redis away."""
BROKEN = 10.0
"""Seconds after which a courier that broke begins anew."""


class Courier:
    """The courier of a sink; `secrets` is the folder of the secrets."""

    def __init__(self, bus: Bus, sink: Sink, secrets: str) -> None:
        self.sink = sink
        self._bus = bus
        self._secrets = secrets
        self._outbox = Outbox(bus.redis, sink.name)
        self._member: Member | None = None
        self._senders: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._suspended = False

    def run(self) -> None:
        """Send until `stop` is called; a Redis that is away is waited for, and what is not foreseen is logged."""
        away = False
        while not self._stopping.is_set():
            try:
                self._round()
            except RedisUnavailable as error:
                if not away:
                    log.warning("Redis is away, sink %s waits: %s", self.sink.name, error.detail)
                away = True
                self._stopping.wait(PAUSE)
            except Exception:
                log.exception("sink %s broke and begins anew", self.sink.name)
                self._stopping.wait(BROKEN)
            else:
                if away:
                    log.info("Redis is back, sink %s goes on", self.sink.name)
                away = False

    def stop(self) -> None:
        """End `run` within a second or so, from any thread."""
        self._stopping.set()

    def join(self, deadline: float) -> None:
        """Wait for the requests under way, until that monotonic time; what takes longer is sent again by the next."""
        for sender in self._senders:
            sender.join(max(0.0, deadline - time.monotonic()))

    def _round(self) -> None:
        if self._member is None:
            self._member = Member(self._bus.redis, self._outbox.group)
        self._look_whether_suspended()
        if self._suspended:
            self._stopping.wait(PAUSE)
            return
        self._senders = [sender for sender in self._senders if sender.is_alive()]
        pause = PAUSE
        if free := SLOTS - len(self._senders):
            parcels, due = self._claim(free)
            pause = min(max(due, 0.0), PAUSE)
            for parcel in parcels:
                sender = threading.Thread(target=self._send, args=(parcel,), daemon=True)
                self._senders.append(sender)
                sender.start()
        if self._outbox.waiting() < FULL:
            self._fill(self._member, pause)
        else:
            self._stopping.wait(pause)

    def _fill(self, member: Member, pause: float) -> None:
        if rows := member.take(block=max(pause, 0.001)):  # 0 would be for ever
            parcels = [
                Parcel(event=stored.event)
                for stored in parse_rows(rows)
                if self.sink.match(stored.event)
            ]
            self._outbox.put(parcels, [place(row) for row in rows])

    def _claim(self, count: int) -> tuple[list[Parcel], float]:
        # Longer than an attempt can take, so that nobody else makes it meanwhile.
        return self._outbox.claim(count, 2 * self.sink.timeout + 5.0)

    def _look_whether_suspended(self) -> None:
        found = self._outbox.suspension()
        if found and found.url != self.sink.url:
            self._outbox.resume()
            self._tell("resumed")
            found = None
        if self._suspended and not found:
            log.info("sink %s is sent to again", self.sink.name)
        self._suspended = found is not None

    # -- a sender's thread -----------------------------------------------------------------

    def _send(self, parcel: Parcel | None) -> None:
        """Send this parcel, and then whatever else is due. What is not settled is due again when its lease is over."""
        try:
            while parcel:
                answer = deliver(self.sink, parcel.event, self._secrets)
                self._insist(partial(self._settle, parcel, answer))
                parcel = None
                if not (self._stopping.is_set() or self._suspended):
                    parcel = next(iter(self._claim(1)[0]), None)
        except RedisUnavailable:
            pass  # `run` says so
        except Exception:
            log.exception("sink %s: not settled, and so sent again", self.sink.name)

    def _insist(self, do: Callable[[], None]) -> None:
        """Do it as soon as Redis lets us; what is not settled is sent again."""
        while True:
            try:
                return do()
            except RedisUnavailable:
                if self._stopping.wait(PAUSE):
                    raise

    def _settle(self, parcel: Parcel, answer: Answer) -> None:
        if answer.meaning is Meaning.DELIVERED:
            self._outbox.remove(parcel)
            return
        if answer.meaning is Meaning.GONE:
            self._suspend(answer.cause)
            self._outbox.put_back(parcel, 0.0)
            return
        attempts = parcel.attempts + 1
        tried = parcel.model_copy(update={"attempts": attempts, "cause": answer.cause})
        if answer.meaning is Meaning.FAILED and attempts <= self.sink.retry.max:
            pause = max(self.sink.retry.pause(attempts), answer.wait)
            self._outbox.put_back(tried, pause)
            log.info("sink %s: %s, again in %.0f s", self.sink.name, answer.cause, pause)
            return
        log.error(
            "sink %s: %s %s is dead: %s", self.sink.name, parcel.event.type, parcel.id, answer.cause
        )
        if not parcel.event.type.startswith(
            OWN
        ):  # or two sinks that fail would tell each other for ever
            event = parcel.event
            facts = {"event": event.id, "eventSource": event.source, "eventType": event.type}
            self._tell("failed", **facts, message=parcel.id, attempts=attempts, cause=answer.cause)
        self._outbox.bury(tried)

    def _suspend(self, cause: str) -> None:
        self._suspended = True
        if self._outbox.suspend(self.sink.url, cause):
            log.error("sink %s wants nothing any more and is suspended: %s", self.sink.name, cause)
            self._tell("suspended", cause=cause)

    def _tell(self, what: str, **facts: str | int) -> None:
        self._bus.publish(
            Event(
                source=SOURCE,
                type=f"{OWN}{what}",
                subject=self.sink.name,
                data={"sink": self.sink.name, **facts},
            )
        )
