"""Signatures as Standard Webhooks has them: HMAC-SHA256 over id, time and body. Pure.

They let a receiver tell who sent a request, that it is whole, and that it is no old one sent again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from dockbus.events import Event
from dockbus.secrets import SecretNotFound

PREFIX = "whsec_"
SHORTEST = 16
"""Bytes that a key must have."""


def message_id(event: Event) -> str:
    """The same for every attempt to deliver an event, and for no other event."""
    identity = f"{len(event.source)} {event.source} {event.id}".encode()
    return f"msg_{hashlib.sha256(identity).hexdigest()[:32]}"


def key_of(name: str, secret: str) -> bytes:
    """The key in the secret of that name: what follows `whsec_` is base64, anything else is taken as it stands.

    Raises:
        SecretNotFound: it is no key.
    """
    text = secret.strip()
    try:
        key = (
            base64.b64decode(text.removeprefix(PREFIX), validate=True)
            if text.startswith(PREFIX)
            else text.encode()
        )
    except binascii.Error:
        raise SecretNotFound(f"{name!r}: what follows {PREFIX} is not base64") from None
    if len(key) < SHORTEST:
        raise SecretNotFound(
            f"{name!r}: a key to sign with needs {SHORTEST} bytes, and it has {len(key)}"
        )
    return key


def sign(key: bytes, message: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a signed request."""
    signed = f"{message}.{timestamp}.".encode() + body
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return {"webhook-signature": f"v1,{base64.b64encode(digest).decode()}"}
