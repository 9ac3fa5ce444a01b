"""When an Engine counts as lost."""

from __future__ import annotations

from dockbus_workers.presence import BLINK, Absences


def test_an_engine_is_lost_when_its_name_was_free_for_long_enough_at_every_look() -> None:
    absences = Absences(after=20)

    assert absences.lost(["a"], now=100) == []
    assert absences.lost(["a", "b"], now=110) == []
    assert absences.lost(["a", "b"], now=120) == ["a"]
    assert absences.lost(["a", "b"], now=130) == ["a", "b"]


def test_one_that_was_back_between_is_missed_anew() -> None:
    absences = Absences(after=20)
    for now in (100, 110):
        absences.lost(["a"], now)

    assert absences.lost([], now=115) == []
    assert absences.lost(["a"], now=125) == []
    assert absences.lost(["a"], now=135) == []
    assert absences.lost(["a"], now=145) == ["a"]


def test_who_could_not_look_for_a_while_begins_anew() -> None:
    """As after an outage of Redis, in which all names have become free."""
    absences = Absences(after=20)
    absences.lost(["a"], now=100)

    assert absences.lost(["a"], now=100 + BLINK + 10) == []
    assert absences.lost(["a"], now=100 + BLINK + 20) == []
    assert absences.lost(["a"], now=100 + BLINK + 30) == ["a"]
