"""Which containers nobody needs any more."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dockbus.engine import Container
from dockbus.ids import JobId
from dockbus.jobs import LABEL_ENGINE, LABEL_REMOVE, Kind
from dockbus.records import JobRecord, JobState
from dockbus_workers.orphans import GRACE, is_orphan, is_stray

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LONG_AGO = NOW - timedelta(seconds=GRACE + 1)
JUST_NOW = NOW - timedelta(seconds=GRACE - 1)


def container(*, remove: str = "true", created: datetime = LONG_AGO, engine: str = "") -> Container:
    raw = {
        "Id": "c" * 64,
        "Names": ["/dockbus-1"],
        "Image": "x",
        "ImageID": "sha256:1",
        "State": "exited",
        "Status": "",
        "Labels": {LABEL_REMOVE: remove, **({LABEL_ENGINE: engine} if engine else {})},
        "Created": created.timestamp(),
    }
    return replace(Container.parse_listed(raw), created=created)


def record(state: JobState, ended: datetime | None = LONG_AGO) -> JobRecord:
    return JobRecord(
        id=JobId("1"),
        kind=Kind.RUN,
        state=state,
        queue="run",
        spec=None,
        created=LONG_AGO,
        ended=ended,
    )


@pytest.mark.parametrize("state", [state for state in JobState if not state.ended])
def test_the_container_of_a_job_that_goes_on_is_left_alone(state: JobState) -> None:
    assert not is_orphan(container(), record(state, ended=None), NOW)
    assert not is_orphan(container(remove="false"), record(state, ended=None), NOW)


@pytest.mark.parametrize("state", [state for state in JobState if state.ended])
def test_the_container_of_a_job_that_has_ended_goes_after_a_while(state: JobState) -> None:
    assert is_orphan(container(), record(state), NOW)
    assert not is_orphan(container(), record(state, ended=JUST_NOW), NOW)


@pytest.mark.parametrize(
    ("state", "goes"),
    [
        (JobState.SUCCEEDED, False),
        (JobState.FAILED, True),
        (JobState.DEAD, True),
        (JobState.CANCELED, True),
    ],
)
def test_a_container_that_was_to_stay_stays_if_its_job_succeeded(
    state: JobState, goes: bool
) -> None:
    assert is_orphan(container(remove="false"), record(state), NOW) == goes


def test_where_the_job_is_no_longer_kept_the_containers_own_age_counts() -> None:
    assert is_orphan(container(), None, NOW)
    assert not is_orphan(container(created=JUST_NOW), None, NOW)
    assert not is_orphan(container(remove="false"), None, NOW)


@pytest.mark.parametrize(
    ("made_on", "now_on", "stray"),
    [
        ("a", "b", True),
        ("a", "a", False),  # its job is here
        ("a", None, False),  # it is queued, and may come back
        ("", "b", False),  # made by a dockbus that did not say where
        ("b", "b", False),  # here is b by another name, for a while
        ("old", "a", False),  # a was called so when it was made
    ],
)
def test_a_container_is_a_stray_where_its_job_has_begun_anew_on_another_engine(
    made_on: str, now_on: str | None, *, stray: bool
) -> None:
    job = record(JobState.STARTED, ended=None).model_copy(update={"engine": now_on})

    assert is_stray(container(engine=made_on, remove="false"), job, "a") == stray


def test_a_container_whose_job_is_no_longer_kept_is_no_stray() -> None:
    assert not is_stray(container(engine="a"), None, "b")
