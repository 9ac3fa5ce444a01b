"""What users read when something goes wrong: one line that says what, in which case, and what to do."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import pytest

import dockbus
import dockbus_producer
import dockbus_workers
from dockbus.errors import DockbusError, JobNotFound, RedisUnavailable, near_miss
from dockbus.records import Failure


def modules() -> Iterator[ModuleType]:
    for package in (dockbus, dockbus_producer, dockbus_workers):
        yield package
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                yield importlib.import_module(found.name)


def subclasses(kind: type[DockbusError]) -> Iterator[type[DockbusError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from subclasses(child)


def test_every_module_says_what_it_is_for() -> None:
    assert [module.__name__ for module in modules() if not inspect.getdoc(module)] == []


def test_every_error_has_a_title_of_its_own_and_a_code() -> None:
    list(modules())
    kinds = list(dict.fromkeys(subclasses(DockbusError)))
    codes = [kind("").code for kind in kinds]

    assert len(kinds) > 25
    assert sorted(codes) == sorted(set(codes))
    for kind in kinds:
        assert "__doc__" in vars(kind), f"{kind} has no docstring"
        title = kind.__doc__ and kind("x").title if "__init__" not in vars(kind) else kind.__doc__
        assert str(title).splitlines()[0].endswith("."), kind
        assert "\n" not in str(kind("a detail")), kind


def test_an_error_is_title_detail_and_advice_in_one_line() -> None:
    error = JobNotFound("abc")

    assert error.code == "job-not-found"
    assert str(error) == (
        "There is no such job: abc. Finished jobs are kept for a limited time "
        "(DOCKBUS_BUS_RESULT_TTL); `dockbus jobs` lists those that are."
    )
    assert str(JobNotFound("abc.")) == str(error)
    assert str(JobNotFound()).startswith("There is no such job. Finished")


def test_a_failure_tells_what_the_error_told() -> None:
    error = RedisUnavailable("gone")

    assert str(Failure.of(error)) == str(error)
    assert Failure.of(error).code == "redis-unavailable"


def test_what_nobody_foresaw_is_called_a_bug_in_one_line() -> None:
    failure = Failure.of(ValueError("first\nsecond\n\n  third"))

    assert failure.code == "bug"
    assert "ValueError: first" in str(failure)
    assert "\n" not in str(failure)


@pytest.mark.parametrize(
    ("word", "guess"),
    [("imgae", ", did you mean 'image'?"), ("zzz", ""), ("", "")],
)
def test_a_typo_is_guessed_or_left_alone(word: str, guess: str) -> None:
    assert near_miss(word, ["image", "command", "env"]) == guess
