from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from dockbus import Cleanup, Scan
from dockbus.errors import ScheduleError
from dockbus_producer.schedules import Due, Schedule, load, show_moment

ROOT = Path(__file__).parents[2]
DAY = 86400
SPRING, AUTUMN = "2026-03-29", "2026-10-25"
"""The days on which the clocks of Europe change, at 01:00 UTC: 02:00 to 03:00, and 03:00 to 02:00."""


def schedule(**fields: object) -> Schedule:
    return Schedule.model_validate({"name": "s", "do": {"kind": "cleanup"}} | fields)


def berlin(cron: str, **fields: object) -> Schedule:
    return schedule(cron=cron, timezone="Europe/Berlin", **fields)


def utc(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def shown(one: Schedule, after: str, until: str) -> list[str]:
    """Slots between two moments in UTC, on the schedule's own clocks, without year and seconds."""
    return [
        re.sub(r"^\d+-|(:00)(?=[+-])", "", one.show(slot))
        for slot in one.slots(utc(after), utc(until))
    ]


# -- slots ---------------------------------------------------------------------------------------------


def test_a_cron_expression_goes_by_the_clocks_of_its_zone() -> None:
    assert shown(berlin("30 3 * * *"), "2026-01-01", "2026-01-03") == [
        "01-01 03:30+01:00",
        "01-02 03:30+01:00",
    ]
    assert shown(schedule(cron="30 3 * * *"), "2026-07-01", "2026-07-02") == ["07-01 03:30+00:00"]
    assert shown(berlin("0 9 * * mon-fri"), "2026-07-03", "2026-07-07") == [
        "07-03 09:00+02:00",
        "07-06 09:00+02:00",
    ]


@pytest.mark.parametrize(
    ("every", "after", "expected"),
    [
        ("15m", "2026-01-01 00:00", ["00:15", "00:30", "00:45", "01:00"]),
        ("15m", "2026-01-01 00:14:59", ["00:15", "00:30", "00:45", "01:00"]),
        ("40m", "2026-01-01 00:01", ["00:40"]),
        ("1d", "2025-12-31 12:00", ["00:00"]),
    ],
)
def test_intervals_are_counted_from_1970_and_from_no_start(
    every: str, after: str, expected: list[str]
) -> None:
    found = schedule(every=every).slots(utc(after), utc("2026-01-01 01:00"))
    assert [show_moment(slot)[11:16] for slot in found] == expected
    assert all(slot % round(float(schedule(every=every).every or 0)) == 0 for slot in found)


def test_slots_are_after_the_one_moment_and_up_to_the_other() -> None:
    for one in (schedule(every="1h"), schedule(cron="0 * * * *")):
        assert list(one.slots(utc("2026-01-01 01:00"), utc("2026-01-01 03:00"))) == [
            utc("2026-01-01 02:00"),
            utc("2026-01-01 03:00"),
        ]
        assert not one.slots(utc("2026-01-01 01:00"), utc("2026-01-01 01:59:59"))
        assert not one.slots(utc("2026-01-01 03:00"), utc("2026-01-01 01:00"))


@pytest.mark.parametrize(
    ("cron", "now", "expected"),
    [
        ("* * * * *", "2026-01-01 00:00", "2026-01-01T00:01:00Z"),
        ("0 3 * * *", "2026-01-01 03:00", "2026-01-02T03:00:00Z"),
        ("0 0 1 1 *", "2026-01-01 00:00", "2027-01-01T00:00:00Z"),
        ("0 0 29 2 *", "2024-02-29 00:00", "2028-02-29T00:00:00Z"),
        ("0 0 L * *", "2026-02-01 00:00", "2026-02-28T00:00:00Z"),
        ("0 0 * * mon#1", "2026-02-03 00:00", "2026-03-02T00:00:00Z"),
    ],
)
def test_the_next_slot_is_found_however_far_off(cron: str, now: str, expected: str) -> None:
    assert show_moment(schedule(cron=cron).next(utc(now))) == expected


# -- where the clocks change ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("30 2 * * *", ["03:00+02:00"]),  # it is 03:00 when 02:30 would be
        ("0,30 2 * * *", ["03:00+02:00"]),  # both would be: one slot, and not two at once
        ("0 3 * * *", ["03:00+02:00"]),
        ("0 2,3 * * *", ["03:00+02:00"]),
        ("5 2,3 * * *", ["03:00+02:00", "03:05+02:00"]),
        ("30 1-3 * * *", ["01:30+01:00", "03:00+02:00", "03:30+02:00"]),
        ("30 * * * *", ["00:30+01:00", "01:30+01:00", "03:30+02:00", "04:30+02:00"]),
        ("*/20 2 * * *", []),
        ("0 */2 * * *", ["04:00+02:00"]),
        ("59 1 * * *", ["01:59+01:00"]),
    ],
)
def test_clocks_go_forward(cron: str, expected: list[str]) -> None:
    found = shown(berlin(cron), "2026-03-28 23:00", f"{SPRING} 02:59")
    assert found == [f"03-29 {time}" for time in expected]


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("30 2 * * *", ["02:30+02:00"]),  # the first time only
        ("0 3 * * *", ["03:00+01:00"]),
        ("0 2,3 * * *", ["02:00+02:00", "03:00+01:00"]),
        ("30 1-3 * * *", ["01:30+02:00", "02:30+02:00", "03:30+01:00"]),
        ("30 * * * *", ["00:30+02:00", "01:30+02:00", "02:30+02:00", "02:30+01:00", "03:30+01:00"]),
        ("*/30 2 * * *", ["02:00+02:00", "02:30+02:00", "02:00+01:00", "02:30+01:00"]),
        ("0 */2 * * *", ["02:00+02:00", "02:00+01:00"]),
    ],
)
def test_clocks_go_back(cron: str, expected: list[str]) -> None:
    found = shown(berlin(cron), "2026-10-24 22:00", f"{AUTUMN} 02:59")
    assert found == [f"10-25 {time}" for time in expected]


@pytest.mark.parametrize("day", [SPRING, AUTUMN])
def test_what_comes_every_15_minutes_always_does(day: str) -> None:
    begin = utc(day) - DAY
    found = berlin("*/15 * * * *").slots(begin, begin + 3 * DAY)
    assert list(found) == list(schedule(every="15m").slots(begin, begin + 3 * DAY))


@pytest.mark.parametrize("day", [SPRING, AUTUMN])
def test_intervals_do_not_know_of_clocks(day: str) -> None:
    assert len(schedule(every="1h").slots(utc(day), utc(day) + DAY)) == 24


CHANGES = {
    "Europe/Berlin": [SPRING, AUTUMN],
    "Australia/Lord_Howe": ["2026-04-04", "2026-10-03"],  # by half an hour
    "America/Havana": ["2026-03-08", "2026-11-01"],  # at midnight
    "Asia/Beirut": ["2026-03-28", "2026-10-24"],  # at midnight, of the day before in UTC
}


@pytest.mark.parametrize("zone", CHANGES)
@pytest.mark.parametrize("cron", ["* * * * *", "*/20 0-3 * * *", "7 */2 * * sun", "*/7 * 29 * *"])
def test_what_goes_by_the_wall_comes_whenever_the_wall_says_so(zone: str, cron: str) -> None:
    one = schedule(cron=cron, timezone=zone)
    never = schedule(cron=cron)  # in UTC clocks show each time once
    for day in CHANGES[zone]:
        begin, end = utc(day) - DAY, utc(day) + 2 * DAY
        on_a_plain_clock = set(never.slots(begin - DAY, end + DAY))
        expected = [
            moment
            for moment in range(begin + 60, end + 1, 60)
            if utc(str(wall(moment, zone))) in on_a_plain_clock
        ]
        assert list(one.slots(begin, end)) == expected


@pytest.mark.parametrize("zone", CHANGES)
@pytest.mark.parametrize("cron", ["* * * * *", "30 0,1,2 * * *", "15 2 29 * *", "0 */2 * * *"])
def test_slots_do_not_depend_on_where_one_begins_to_look(zone: str, cron: str) -> None:
    one = schedule(cron=cron, timezone=zone)
    for day in CHANGES[zone]:
        begin, end = utc(day) - DAY, utc(day) + 2 * DAY
        cuts = range(begin, end, 2400)
        pieces = [slot for cut in cuts for slot in one.slots(cut, min(cut + 2400, end))]
        assert pieces == list(one.slots(begin, end))
        assert pieces == sorted(set(pieces))


def wall(moment: int, zone: str) -> datetime:
    return datetime.fromtimestamp(moment, ZoneInfo(zone)).replace(tzinfo=None)


# -- what is due ---------------------------------------------------------------------------------------

NIGHTLY = schedule(cron="0 3 * * *")
NOON = utc("2026-01-10 12:00")


def test_nothing_is_due_before_its_time() -> None:
    slot = utc("2026-01-10 03:00")
    assert NIGHTLY.due(slot, slot + DAY - 1) is None
    assert NIGHTLY.due(slot - 1, slot) == Due(slot=slot, missed=None, settled=slot)
    assert NIGHTLY.due(slot + DAY, slot) is None


def test_of_all_that_were_missed_only_the_newest_is_made_up_for() -> None:
    quarterly = schedule(every="15m", catch_up="1h")
    long_ago = NOON - 7 * DAY
    assert quarterly.due(NOON - 3600, NOON) == Due(NOON, NOON - 2700, NOON)
    assert quarterly.due(long_ago, NOON + 60) == Due(NOON, long_ago + 900, NOON)


def test_what_was_missed_longer_ago_than_catch_up_stays_missed() -> None:
    slot, before = utc("2026-01-10 03:00"), utc("2026-01-09 12:00")
    in_time = schedule(cron="0 3 * * *", catch_up="9h1s")
    assert in_time.due(before, NOON) == Due(slot, None, slot)
    too_late = schedule(cron="0 3 * * *", catch_up="9h")
    assert too_late.due(before, NOON) == Due(None, slot, NOON)
    assert too_late.due(NOON, NOON + 60) is None
    assert NIGHTLY.due(before, slot + 3599) == Due(slot, None, slot)
    assert NIGHTLY.due(before, slot + 3600) == Due(None, slot, slot + 3600)


# -- files ---------------------------------------------------------------------------------------------


def test_the_examples_are_valid() -> None:
    scan, clean, update = load(ROOT / "examples" / "schedules")
    assert scan.spec == Scan(image="shop/web:1")
    assert (scan.every, scan.timeout, scan.priority) == (3600, 600, "normal")
    assert clean.spec == Cleanup(images="unused", unused_for=7 * DAY, keep_last=2, older_than=DAY)
    assert update.spec == Scan(database="update")
    assert (clean.cron, clean.timezone, clean.catch_up) == ("0 3 * * *", "Europe/Berlin", DAY / 2)


def test_the_schedules_that_the_documentation_shows_are_valid(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "schedules.md").read_text()
    blocks = re.findall(r"^```yaml\n(schedules:.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert blocks
    for number, block in enumerate(blocks):
        (tmp_path / f"{number}.yaml").write_text(block)
    assert load(tmp_path)


def test_the_timing_changes_only_with_the_slots() -> None:
    assert berlin(" 0  3 * * * ").timing == berlin("0 3 * * *").timing
    assert berlin("0 3 * * *").timing != schedule(cron="0 3 * * *").timing
    assert schedule(every="60m").timing == schedule(every=3600).timing
    assert schedule(every="1h", catch_up="2h", priority="high").timing == "every 3600s"


def test_words_for_people() -> None:
    assert schedule(every=93784).words == "every 1d2h3m4s"
    assert schedule(every="90m").words == "every 1h30m"
    assert berlin("0 3 * * *").words == "0 3 * * * Europe/Berlin (At 03:00 every day)"


MISTAKES = {
    "unknown key": (
        "schedules:\n- name: x\n  every: 1h\n  timezon: UTC\n  do: {kind: cleanup}\n",
        "4: schedule 'x': timezon: no such field, did you mean 'timezone'?",
    ),
    "unknown key above": (
        "schedule: []\n",
        "1: schedules: Field required; 1: schedule: no such field, did you mean 'schedules'?",
    ),
    "unknown zone": (
        "schedules:\n- name: x\n  cron: 0 3 * * *\n  timezone: Europe/Berln\n  do: {kind: cleanup}\n",
        "4: schedule 'x': timezone: 'Europe/Berln' is not a time zone, did you mean 'Europe/Berlin'?",
    ),
    "a path for a zone": (
        "schedules:\n- name: x\n  cron: 0 3 * * *\n  timezone: ../passwd\n  do: {kind: cleanup}\n",
        "4: schedule 'x': timezone: '../passwd' is not a time zone",
    ),
    "no timing": (
        "schedules:\n- name: x\n  do: {kind: cleanup}\n",
        "2: schedule 'x': write either `cron` or `every`",
    ),
    "two timings": (
        "schedules:\n- name: x\n  cron: 0 3 * * *\n  every: 1h\n  do: {kind: cleanup}\n",
        "2: schedule 'x': write either `cron` or `every`",
    ),
    "zone of an interval": (
        "schedules:\n- name: x\n  every: 1h\n  timezone: UTC\n  do: {kind: cleanup}\n",
        "4: schedule 'x': timezone: it goes with `cron` only",
    ),
    "fields": (
        "schedules:\n- name: x\n  cron: 0 0 3 * * *\n  do: {kind: cleanup}\n",
        "3: schedule 'x': cron: '0 0 3 * * *' has 6 fields; write five: minute, hour, day of the month, month, day of the week",
    ),
    "bad field": (
        "schedules:\n- name: x\n  cron: 0 24 * * *\n  do: {kind: cleanup}\n",
        "3: schedule 'x': cron: '0 24 * * *': bad hour",
    ),
    "never": (
        "schedules:\n- name: x\n  cron: 0 0 */20 * 1L\n  do: {kind: cleanup}\n",
        "3: schedule 'x': cron: '0 0 */20 * 1L' never comes",
    ),
    "interval in parts": (
        "schedules:\n- name: x\n  every: 1500ms\n  do: {kind: cleanup}\n",
        "3: schedule 'x': every: 1.5 s is not a whole number of seconds",
    ),
    "no interval": (
        "schedules:\n- name: x\n  every: 0s\n  do: {kind: cleanup}\n",
        "3: schedule 'x': every: Input should be greater than or equal to 1",
    ),
    "bad span": (
        "schedules:\n- name: x\n  every: hourly\n  do: {kind: cleanup}\n",
        "3: schedule 'x': every: 'hourly' is not a span of time; write seconds, or numbers with s, m, h or d, such as '1h30m'",
    ),
    "endless": (
        "schedules:\n- name: x\n  every: .inf\n  do: {kind: cleanup}\n",
        "3: schedule 'x': every: Input should be a finite number",
    ),
    "catches up with nothing": (
        "schedules:\n- name: x\n  every: 1h\n  catch_up: 0\n  do: {kind: cleanup}\n",
        "4: schedule 'x': catch_up: Input should be greater than or equal to 10",
    ),
    "bad spec": (
        "schedules:\n- name: x\n  every: 1h\n  do:\n    kind: scan\n    imag: a\n",
        "6: schedule 'x': do: imag: no such field, did you mean 'image'?",
    ),
    "no job": (
        "schedules:\n- name: x\n  every: 1h\n",
        "2: schedule 'x': do: Field required",
    ),
    "no Engine's name": (
        "schedules:\n- name: x\n  every: 1h\n  engine: A B\n  do: {kind: cleanup}\n",
        "4: schedule 'x': engine: String should match pattern '^[a-z0-9][a-z0-9-]{0,62}$'",
    ),
    "unknown priority": (
        "schedules:\n- name: x\n  every: 1h\n  priority: urgent\n  do: {kind: cleanup}\n",
        "4: schedule 'x': priority: Input should be 'normal' or 'high'",
    ),
    "name twice": (
        "schedules:\n- {name: x, every: 1h, do: {kind: cleanup}}\n- {name: x, every: 2h, do: {kind: cleanup}}\n",
        " schedule 'x': name: it is there twice",
    ),
    "key twice": (
        "schedules:\n- name: x\n  every: 1h\n  every: 2h\n  do: {kind: cleanup}\n",
        "4: 'every' is there twice",
    ),
    "a star without quotes": (
        "schedules:\n- name: x\n  cron: */5 * * * *\n",
        "3: not YAML: expected alphabetic or numeric character, but found '/'",
    ),
    "a list": (
        "- name: x\n",
        "1: it must begin with `schedules:` and a list of schedules below that",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, mistake: str) -> None:
    text, expected = MISTAKES[mistake]
    file = tmp_path / "s.yaml"
    file.write_text(text)
    with pytest.raises(ScheduleError) as caught:
        load(file)
    assert caught.value.detail.replace(f"{file}:", "") == expected


def test_a_rare_expression_is_found_quickly_enough_to_be_checked() -> None:
    rare = schedule(cron="0 0 29 2 */7")  # leap days that are Sundays
    first = datetime.fromtimestamp(rare.next(utc("2026-01-01")), UTC)
    assert first == datetime(2032, 2, 29, tzinfo=UTC)
    assert datetime.fromtimestamp(rare.next(int(first.timestamp())), UTC) - first == timedelta(
        days=28 * 365 + 7
    )
