"""Named secrets, as the host gives them: one file each, as Docker, systemd and Kubernetes mount them.

Jobs and files hold a secret's name only, so neither Redis nor any record or log has the secret itself.
"""

from __future__ import annotations

from pathlib import Path

from dockbus.errors import DockbusError

LARGEST = 500 * 1024
"""Bytes; the most that Docker gives a secret."""


class SecretNotFound(DockbusError):
    """The secret is not there.

    Put it in a file of that name in the folder DOCKBUS_SECRETS_DIR of whoever needs it: of every worker that may carry
    out the job, or of `dockbus watch`.
    """


def read_secret(folder: str, name: str) -> str:
    """The secret of that name, without the line end that editors add.

    Raises:
        SecretNotFound: there is no such file, or it cannot be a secret.
    """
    if not folder:
        raise SecretNotFound(f"{name!r}: DOCKBUS_SECRETS_DIR is not set")
    file = Path(folder) / name
    try:
        if file.stat().st_size > LARGEST:
            raise SecretNotFound(f"{name!r} has more than {LARGEST} bytes")
        return file.read_bytes().decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise SecretNotFound(f"{name!r} is not text") from None
    except OSError as error:
        raise SecretNotFound(f"{name!r}: {error.strerror}") from None
