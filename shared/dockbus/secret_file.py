"""A secret that a machine makes for itself: in a file, on first use, whoever comes first."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from dockbus.errors import SettingsError


def secret_file(file: Path) -> str:
    """The secret in `file`; made there, readable by its owner only, when there is none.

    Raises:
        SettingsError: it cannot be read or made, or is empty.
    """
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not file.exists():
            # Linked into place whole, so that two first starts agree and no reader sees half a secret.
            with tempfile.NamedTemporaryFile("w", dir=file.parent) as draft:
                draft.write(secrets.token_hex(32))
                draft.flush()
                with contextlib.suppress(FileExistsError):
                    os.link(draft.name, file)
        secret = file.read_text().strip()
    except OSError as error:
        raise SettingsError(f"cannot keep a secret in {file}: {error.strerror}") from error
    if not secret:  # it would let everybody in
        raise SettingsError(f"{file} is empty; remove it to have a new secret made")
    return secret
