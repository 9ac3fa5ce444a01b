"""When a job is tried again, and after how long."""

from __future__ import annotations

import random

import pytest
from pydantic import ValidationError

from dockbus import RetryPolicy
from dockbus.engine import EngineUnavailable, ImageNotFound
from dockbus.errors import JobCanceled, JobTimeout, WorkerLost
from dockbus.records import Failure
from dockbus_workers.outcome import judge


@pytest.mark.parametrize(
    ("attempt", "longest"), [(1, 2.0), (2, 4.0), (3, 8.0), (6, 60.0), (100, 60.0), (10**6, 60.0)]
)
def test_a_pause_is_anywhere_up_to_a_bound_that_doubles(attempt: int, longest: float) -> None:
    random.seed(attempt)
    policy = RetryPolicy(base=2.0, cap=60.0)

    pauses = [policy.pause(attempt) for _ in range(500)]

    assert 0 <= min(pauses) < longest / 20
    assert longest * 0.95 < max(pauses) <= longest


@pytest.mark.parametrize(
    "wrong", [{"max": -1}, {"base": -1.0}, {"cap": float("inf")}, {"tries": 3}]
)
def test_a_policy_is_strict(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        RetryPolicy.model_validate(wrong)


@pytest.mark.parametrize(
    ("error", "attempt", "how"),
    [
        (EngineUnavailable("x"), 1, "retry"),
        (EngineUnavailable("x"), 2, "retry"),
        (EngineUnavailable("x"), 3, "dead"),
        (ZeroDivisionError("a bug"), 2, "retry"),
        (ZeroDivisionError("a bug"), 3, "dead"),
        (ImageNotFound("x"), 1, "failed"),
        (JobTimeout("x"), 1, "failed"),
        (WorkerLost("x"), 1, "dead"),
        (JobCanceled("x"), 3, "canceled"),
    ],
)
def test_what_an_error_means_for_its_job(error: Exception, attempt: int, how: str) -> None:
    outcome = judge(error, Failure.of(error), attempt, RetryPolicy(max=2, base=1.0))

    assert outcome.how == how
    assert (outcome.pause > 0) == (how == "retry")
    if how != "canceled":
        assert Failure.model_validate_json(outcome.value).code == Failure.of(error).code


def test_a_bug_keeps_its_traceback_and_a_users_error_has_none() -> None:
    def broken() -> None:
        raise ZeroDivisionError("x" * 10_000)

    with pytest.raises(ZeroDivisionError) as caught:
        broken()
    bug = Failure.of(caught.value)

    assert len(bug.traceback) == 4000
    assert "ZeroDivisionError" in Failure.of(ZeroDivisionError("y")).traceback
    assert Failure.of(JobTimeout("x")).traceback == ""
