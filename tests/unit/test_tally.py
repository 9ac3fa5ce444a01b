"""How samples are written into the tally and read out of it."""

from __future__ import annotations

import pytest

from dockbus.tally import Reading, observation, parse, parse_exemplars, sample


@pytest.mark.parametrize(
    "value", ["plain", "", 'quo"te', "back\\slash", "line\nbreak", "\\n", 'a,b="c"', "ä €"]
)
def test_a_sample_is_read_as_it_was_written(value: str) -> None:
    field = sample("dockbus_runs_total", image=value, exit_code="0")

    found = parse({field.encode(): b"3"})

    assert found == {"dockbus_runs_total": [Reading({"image": value, "exit_code": "0"}, 3.0)]}


def test_a_sample_without_labels_is_only_a_name() -> None:
    assert sample("dockbus_x_total") == "dockbus_x_total"
    assert parse({b"dockbus_x_total": b"1.5"}) == {"dockbus_x_total": [Reading({}, 1.5)]}


@pytest.mark.parametrize(
    ("value", "le"), [(0.0, "0.1"), (0.1, "0.1"), (0.1001, "1"), (7.0, "+Inf")]
)
def test_a_value_falls_into_one_bucket(value: float, le: str) -> None:
    counts = observation("dockbus_wait_seconds", value, ("0.1", "1"), kind="run")

    assert counts == {
        sample("dockbus_wait_seconds_bucket", kind="run", le=le): 1.0,
        sample("dockbus_wait_seconds_sum", kind="run"): value,
    }


def test_what_is_no_sample_is_passed_over() -> None:
    raw = {b"0 what": b"1", b"dockbus_a_total": b"many", b"\xff{": b"1", b"dockbus_b_total": b"2"}

    assert parse(raw) == {"dockbus_b_total": [Reading({}, 2.0)]}
    assert parse_exemplars({b"b": b"job", b"c": b"job 1 x"}) == {}
