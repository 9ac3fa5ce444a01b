"""Rule files: where rules come from."""

from __future__ import annotations

from pathlib import Path

from dockbus.errors import RuleError
from dockbus.strict_yaml import Model
from dockbus_producer.rules.model import Rule
from dockbus_producer.yaml_files import Form


class _File(Model):
    rules: list[Rule]


_FORM: Form[Rule] = Form(_File, RuleError)


def load(path: Path) -> list[Rule]:
    """The rules of a file, or of all `*.yaml` files of a folder.

    Raises:
        RuleError: a file is wrong; every mistake is named with its line.
    """
    return _FORM.load(path)
