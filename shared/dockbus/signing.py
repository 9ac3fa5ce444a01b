"""A job's signature, and the order that it vouches for.

A job is kept as RQ keeps it: a hash whose `data` is the zlib-compressed JSON of a call. RQ's own workers
import the name in it and unpickle where they are let. Here nothing is imported, unpickled or called by
name: the data is an `Order` or it is refused. Whoever can write to Redis gains nothing by that, except to
lose what is there.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import ValidationError

from dockbus.errors import InvalidSpec, JobExpired, JobRefused, JobTooNew
from dockbus.ids import JobId
from dockbus.jobs import explain
from dockbus.orders import SCHEMA, Order

MAX_BYTES = 1024 * 1024
"""Most bytes a job's data may unpack to."""

_FOREIGN = (
    "success_callback_name",
    "failure_callback_name",
    "stopped_callback_name",
    "webhooks",
    "rate_limit_key",
    "repeats_left",
    "group_id",
    "meta",
)
"""Fields of RQ's that dockbus never writes: some other worker would act on them. A job with one was not made here."""


def pack(order: Order, expires: int) -> bytes:
    """The data of a job: RQ's call of the kind with the spec, and how, as keyword arguments. It says by which schema.

    Args:
        order: what to do.
        expires: the second of the epoch after which no attempt may begin.

    Raises:
        InvalidSpec: it is too large.
    """
    spec = order.spec.model_dump_json()
    terms = order.model_dump_json(exclude={"spec"}, exclude_defaults=True)
    how = f'{{"expires":{expires},"schema":{SCHEMA}' + ("}" if terms == "{}" else f",{terms[1:]}")
    data = f'["{order.spec.kind}",null,[{spec}],{how}]'.encode()
    if len(data) > MAX_BYTES:
        raise InvalidSpec(f"it takes {len(data)} bytes; a job may have {MAX_BYTES}")
    return data


def sign(key: bytes, job: JobId, data: bytes) -> str:
    """The signature of a job: HMAC-SHA256 over its ID and its data."""
    return hmac.new(key, job.encode() + b"\0" + data, hashlib.sha256).hexdigest()


def verify(keys: Sequence[bytes], job: JobId, fields: Mapping[str, bytes]) -> Order:
    """The order in a job's record.

    Args:
        keys: the bus's keys; any of them may have signed it.
        job: whose record it is said to be.
        fields: the record, as it is in Redis.

    Raises:
        JobRefused: no holder of a key wrote this for this job.
        JobTooNew: one did, by a newer schema, and this version does not know all of it.
    """
    order, _ = _opened(keys, job, fields)
    return order


def admit(keys: Sequence[bytes], job: JobId, fields: Mapping[str, bytes]) -> Order:
    """The order in a job's record, if it may still be begun.

    Raises:
        JobRefused: no holder of a key wrote this for this job.
        JobTooNew: one did, by a newer schema, and this version does not know all of it.
        JobExpired: its time is over.
    """
    try:
        order, expires = _opened(keys, job, fields)
    except JobTooNew as error:
        if time.time() > error.expires:
            raise JobExpired(job) from None
        raise
    if time.time() > expires:
        raise JobExpired(job)
    return order


def _opened(keys: Sequence[bytes], job: JobId, fields: Mapping[str, bytes]) -> tuple[Order, float]:
    planted = [name for name in _FOREIGN if fields.get(name)]
    if planted:
        raise JobRefused(f"it carries {', '.join(planted)}, which dockbus never sets")
    try:
        unpack = zlib.decompressobj()
        data = unpack.decompress(fields["data"], MAX_BYTES)
        signature = fields.get("sig", b"").decode("ascii")
    except (KeyError, zlib.error, UnicodeDecodeError) as error:
        raise JobRefused(f"its data cannot be read ({error})") from None
    if unpack.unconsumed_tail:
        raise JobRefused(f"its data is larger than {MAX_BYTES} bytes")
    if not any(hmac.compare_digest(sign(key, job, data), signature) for key in keys):
        raise JobRefused("its signature does not match" if signature else "it is not signed")
    return _order(data)


def _order(data: bytes) -> tuple[Order, float]:
    schema, expires = 1, 0.0
    try:  # signed, but perhaps by another version of dockbus
        kind, _, (spec,), how = cast("list[Any]", json.loads(data))
        expires = float(how.pop("expires"))
        schema = int(how.pop("schema", 1))
        order = Order.model_validate_json(json.dumps({"spec": spec, **how}))
    except ValidationError as error:
        if schema > SCHEMA:
            why = f"its schema is {schema} and this version knows {SCHEMA}: {explain(error)}"
            raise JobTooNew(why, expires=expires) from None
        raise JobRefused(f"this version cannot read it ({explain(error)})") from None
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise JobRefused(f"this version cannot read it ({error})") from None
    if order.spec.kind != kind:
        raise JobRefused(f"it calls {kind!r} with a spec of kind {order.spec.kind.value!r}")
    return order, expires
