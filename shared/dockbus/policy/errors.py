"""What can be wrong with a policy, and with a job in its eyes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from dockbus.errors import DockbusError
from dockbus.policy.models import Violation

NAMED = 50
"""Violations that a refusal names at most: it is kept in Redis."""


class PolicyError(DockbusError):
    """The policy file is wrong, so no job is taken.

    Correct the named lines; `dockbus policy FILE` checks a file without running anything.
    """


class PolicyRefused(DockbusError):
    """The worker's policy refuses the job, so nothing of it was done.

    Change what is named, or ask whoever runs the worker to allow it in the policy (DOCKBUS_POLICY_PATH).
    """

    @classmethod
    def of(cls, violations: Iterable[Violation]) -> Self:
        """The refusal of a job that breaks these rules; of very many, the first are named."""
        words = [str(violation) for violation in violations]
        more = [f"and {len(words) - NAMED} more"] if len(words) > NAMED else []
        return cls("; ".join([*words[:NAMED], *more]))
