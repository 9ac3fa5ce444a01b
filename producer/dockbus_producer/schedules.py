"""Schedules: "at these times, do that job", read from YAML into frozen models. Pure: no Redis, no clock.

    schedules:
      - name: nightly-cleanup
        cron: "0 3 * * *"
        timezone: Europe/Berlin
        do: {kind: cleanup, images: true, older_than: 7d}

A *slot* is a moment at which a schedule is due, in whole seconds since 1970 (UTC). It follows from the schedule
alone: whoever asks, and whenever, computes the same slots. So intervals are counted from 1970, not from a start.

Where the clocks change, a cron expression is meant as Debian's cron takes it. It is *fixed* if neither its minute
nor its hour begins with `*`. A time of a fixed one that is skipped when clocks go forward comes when the gap ends;
one that is there twice when they go back comes the first time only. Others go by the clock on the wall as it is:
what is skipped is skipped, what is there twice comes twice, and so `*/15 * * * *` comes every 15 minutes always.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field, JsonValue, field_validator, model_validator

from dockbus.errors import InvalidSpec, ScheduleError, near_miss
from dockbus.jobs import Spec, parse_spec
from dockbus.settings import NAME_PATTERN, Name
from dockbus.strict_yaml import Model
from dockbus.units import Seconds
from dockbus_producer.yaml_files import Form

DAY = 86400


def valid_cron(cron: str) -> str:
    """The expression itself.

    Raises:
        ValueError: it does not have five fields, one is wrong, or it never comes.
    """
    fields = len(cron.split())
    if fields != 5:
        raise ValueError(
            f"{cron!r} has {fields} fields; write five: minute, hour, day of the month, month, day of the week"
        )
    try:
        next(CronSim(cron, datetime(2000, 1, 1)))  # noqa: DTZ001  what clocks show, anywhere
    except CronSimError as error:
        raise ValueError(f"{cron!r}: {str(error).lower()}") from None
    except StopIteration:
        raise ValueError(f"{cron!r} never comes") from None
    return cron


def _whole(seconds: float) -> float:
    if seconds % 1:
        raise ValueError(f"{seconds:g} s is not a whole number of seconds")
    return seconds


@dataclass(frozen=True)
class Due:
    """What is to be done about the slots that have come."""

    slot: int | None
    """The one to fire; None where all are too old."""
    missed: int | None
    """The first of those that are not fired; None where there are none."""
    settled: int
    """The second up to which nothing is left to do once this is done."""


class Schedule(Model):
    """At these times, do that job."""

    name: str = Field(pattern=NAME_PATTERN)
    """Unique among all schedules. What has been fired is remembered by it."""
    cron: Annotated[str, AfterValidator(valid_cron)] | None = None
    """Five fields: minute, hour, day of the month, month, day of the week."""
    every: Annotated[Seconds, Field(ge=1, le=366 * DAY), AfterValidator(_whole)] | None = None
    """An interval, such as `15m`, counted from 1970-01-01 00:00 UTC."""
    timezone: str = "UTC"
    """Whose clocks the cron expression is about, such as `Europe/Berlin`."""
    catch_up: Seconds = Field(default=3600.0, ge=10, le=31 * DAY)
    """How late a slot may be fired. Of all that were missed within it only the newest is."""
    do: dict[str, JsonValue]
    """The job, taken as it stands."""
    engine: Name | None = None
    """Name of the one Engine that the job must run on; without it, any."""
    priority: Literal["normal", "high"] = "normal"
    """`high` goes before all that is queued when it is."""
    timeout: Annotated[Seconds, Field(gt=0, le=7 * DAY)] | None = None
    """How long one attempt may take; without it, the kind's own limit."""

    @property
    def spec(self) -> Spec:
        """The job to put on the bus."""
        return parse_spec(json.dumps(self.do))

    @property
    def timing(self) -> str:
        """When it is due, in a form that changes only with the slots."""
        if self.every:
            return f"every {self.every:.0f}s"
        return f"{' '.join((self.cron or '').split())} {self.timezone}"

    @property
    def words(self) -> str:
        """When it is due, for a person."""
        if self.every:
            return f"every {_show_whole(round(self.every))}"
        said = CronSim(self.cron or "", datetime(2000, 1, 1)).explain()  # noqa: DTZ001
        return f"{self.timing} ({said})"

    def slots(self, after: int, until: int) -> Sequence[int]:
        """All slots later than `after` up to and including `until`, oldest first."""
        if self.every:
            step = round(self.every)
            return range((after // step + 1) * step, until + 1, step)
        # Far enough on both sides for a change of the clocks that happens at either end.
        first = min(self._wall(after), self._wall(after + DAY) - timedelta(days=1))
        last = max(self._wall(until), self._wall(until - DAY) + timedelta(days=1))
        found: set[int] = set()
        # It is asked what clocks without changes would show: what it makes of a change depends on where it begins.
        for wall in CronSim(self.cron or "", first):
            if wall > last:
                break
            found.update(slot for slot in self._moments(wall) if after < slot <= until)
        return sorted(found)

    def next(self, after: int) -> int:
        """The first slot later than `after`."""
        reach = 3600
        while not (found := self.slots(after, after + reach)):
            reach *= 4
        return found[0]

    def due(self, after: int, now: int) -> Due | None:
        """What to do at `now`, when all slots up to `after` have been dealt with; None if none has come since."""
        first = self.next(after)
        if first > now:
            return None
        recent = self.slots(max(after, now - round(self.catch_up)), now)
        slot = recent[-1] if recent else None
        missed = first if first != slot else None
        return Due(slot, missed, now if slot is None else slot)

    def show(self, slot: int) -> str:
        """A slot for a person, on the schedule's own clocks: `2026-03-01 03:00:00+01:00`."""
        return datetime.fromtimestamp(slot, ZoneInfo(self.timezone)).isoformat(sep=" ")

    def _wall(self, moment: int) -> datetime:
        """What the clocks show at that moment."""
        return datetime.fromtimestamp(moment, ZoneInfo(self.timezone)).replace(tzinfo=None)

    def _moments(self, wall: datetime) -> Sequence[int]:
        """The slots that a cron expression makes of a time that clocks show, or skip, or show twice."""
        minute, hour = (self.cron or "").split()[:2]
        fixed = not minute.startswith("*") and not hour.startswith("*")
        early, late = self._both(wall)
        if early > late and not fixed:  # skipped
            return ()
        while early > late:
            wall += timedelta(minutes=1)
            early, late = self._both(wall)
        return (early,) if fixed or early == late else (early, late)

    def _both(self, wall: datetime) -> tuple[int, int]:
        """The moments that the clocks show this, by the offset of before and of after a change of clocks.

        They are the same but around a change: the first is the later one where this is never shown (PEP 495).
        """
        zone = ZoneInfo(self.timezone)
        before, after = (wall.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
        return round(before), round(after)

    @field_validator("timezone")
    @classmethod
    def _known(cls, timezone: str) -> str:
        known = available_timezones()
        if timezone not in known:
            raise ValueError(f"{timezone!r} is not a time zone{near_miss(timezone, sorted(known))}")
        return timezone

    @field_validator("do")
    @classmethod
    def _valid(cls, do: dict[str, JsonValue]) -> dict[str, JsonValue]:
        try:
            parse_spec(json.dumps(do))
        except InvalidSpec as error:
            raise ValueError(error.detail) from None
        return do

    @model_validator(mode="after")
    def _one_timing(self) -> Schedule:
        if (self.cron is None) == (self.every is None):
            raise ValueError("write either `cron` or `every`")
        if self.every is not None and "timezone" in self.model_fields_set:
            raise ValueError("timezone: it goes with `cron` only")
        return self


class _File(Model):
    schedules: list[Schedule]


_FORM: Form[Schedule] = Form(_File, ScheduleError)


def load(path: Path) -> list[Schedule]:
    """The schedules of a file, or of all `*.yaml` files of a folder.

    Raises:
        ScheduleError: a file is wrong; every mistake is named with its line.
    """
    return _FORM.load(path)


def show_moment(slot: int) -> str:
    """A slot as programs read it: `2026-03-01T02:00:00Z`."""
    return datetime.fromtimestamp(slot, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _show_whole(seconds: int) -> str:
    """A span in whole seconds, exactly: `1h30m`."""
    text = ""
    for size, unit in ((DAY, "d"), (3600, "h"), (60, "m"), (1, "s")):
        count, seconds = divmod(seconds, size)
        text += f"{count}{unit}" if count else ""
    return text
