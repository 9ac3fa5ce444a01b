"""The policy of a worker, from its YAML file and its settings. It needs PyYAML, which an extra brings."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from dockbus import strict_yaml
from dockbus.policy.errors import PolicyError
from dockbus.policy.models import Policy
from dockbus.settings import PolicyLevel, PolicySettings


def load(file: Path, level: PolicyLevel = "baseline") -> Policy:
    """The policy in a file, whose level is `level` where it names none.

    Raises:
        PolicyError: the file is wrong; every mistake is named with its line.
    """
    node, data = strict_yaml.read(file, PolicyError)
    if not isinstance(data, dict):
        raise PolicyError(f"{file}:1: it must hold fields, such as `level: baseline`")
    try:
        return Policy.model_validate({"level": level} | data)
    except ValidationError as error:
        wrong = [
            f"{file}:{strict_yaml.line_of(node, item)}: "
            f"{'.'.join(map(str, item['loc']))}: {strict_yaml.explain(item, Policy)}"
            for item in error.errors()
        ]
        raise PolicyError("; ".join(wrong)) from None


def policy_of(settings: PolicySettings) -> Policy:
    """The policy that the settings name.

    Raises:
        PolicyError: its file is wrong.
    """
    if settings.path:
        return load(Path(settings.path), settings.level)
    return Policy(level=settings.level)
