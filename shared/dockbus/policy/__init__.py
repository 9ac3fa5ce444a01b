"""Policy: what jobs may ask of an Engine. Secure unless somebody says otherwise.

A policy is data (`models`), its rules are a table (`rules`), and its verdict a pure function (`verdict`).
`dockbus.policy.loading` reads it from YAML; the worker asks before it does anything for a job.
"""

from dockbus.policy.errors import PolicyError, PolicyRefused
from dockbus.policy.models import Actions, Allow, BindMount, Images, Limits, Policy, Violation
from dockbus.policy.rules import LEVELS, RULES, Rule
from dockbus.policy.verdict import target_violations, unenforced, violations

__all__ = [
    "LEVELS",
    "RULES",
    "Actions",
    "Allow",
    "BindMount",
    "Images",
    "Limits",
    "Policy",
    "PolicyError",
    "PolicyRefused",
    "Rule",
    "Violation",
    "target_violations",
    "unenforced",
    "violations",
]
