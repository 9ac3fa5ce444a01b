"""What workers tell each other through Redis and rely on: sealed with the bus's key.

Whoever can write to Redis but has no key can take such a word away, and can neither make one nor move it to another key.
"""

from __future__ import annotations

import hashlib
import hmac

from dockbus_workers.context import JobContext

_LENGTH = 64


def seal(ctx: JobContext, key: str, text: bytes) -> bytes:
    """What to keep in Redis under `key`."""
    return _sign(ctx.settings.bus_key(), key, text) + text


def unseal(ctx: JobContext, key: str, kept: object) -> bytes | None:
    """What a worker has put under `key`; None where what is there is nothing, or is not from one."""
    if not isinstance(kept, bytes):
        return None
    signature, text = kept[:_LENGTH], kept[_LENGTH:]
    known = (_sign(secret, key, text) for secret in ctx.settings.bus_keys())
    return text if any(hmac.compare_digest(one, signature) for one in known) else None


def _sign(secret: bytes, key: str, text: bytes) -> bytes:
    return hmac.new(secret, key.encode() + b"\0" + text, hashlib.sha256).hexdigest().encode()
