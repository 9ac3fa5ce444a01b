"""Orders of other versions: those from before are understood, those of later ones are left to others."""

from __future__ import annotations

import base64
import json
import time
import zlib
from pathlib import Path
from typing import Any

import pytest

from dockbus import Cleanup, Order
from dockbus.errors import JobExpired, JobRefused, JobTooNew
from dockbus.ids import JobId
from dockbus.jobs import Kind
from dockbus.orders import SCHEMA
from dockbus.signing import admit, pack, sign, verify

DATA = Path(__file__).parent.parent / "data"
KEPT: dict[str, Any] = json.loads((DATA / "orders-before.json").read_text())
"""Jobs as they were kept before orders told their schema, one of each kind, and what they were ordered to do."""
KEY = b"k"
JOB = JobId("j")
FAR = 4_102_444_800


def record(data: bytes) -> dict[str, bytes]:
    return {"data": zlib.compress(data), "sig": sign(KEY, JOB, data).encode()}


def later(expires: int = FAR, schema: object = SCHEMA + 1, **unknown: object) -> dict[str, bytes]:
    """An order with what this version does not know."""
    how = {"expires": expires, "schema": schema, **unknown}
    spec = json.loads(Cleanup(dry_run=True).model_dump_json())
    return record(json.dumps(["cleanup", None, [spec], how]).encode())


@pytest.mark.parametrize("job", KEPT["jobs"], ids=lambda job: job["id"])
def test_an_order_from_before_is_what_it_was(job: dict[str, Any]) -> None:
    fields = {
        "data": base64.b64decode(job["fields"]["data"]),
        "sig": job["fields"]["sig"].encode(),
    }

    order = admit([KEPT["key"].encode()], JobId(job["id"]), fields)

    asked = Order.model_validate_json(json.dumps(job["order"]))
    assert {name: getattr(order.spec, name) for name in job["order"]["spec"]} == {
        name: getattr(asked.spec, name) for name in job["order"]["spec"]
    }
    assert order.model_dump(exclude={"spec"}) == asked.model_dump(exclude={"spec"})


def test_there_is_one_of_each_kind_from_before() -> None:
    assert [job["order"]["spec"]["kind"] for job in KEPT["jobs"]] == [kind.value for kind in Kind]


def test_an_order_tells_its_schema() -> None:
    _, _, _, how = json.loads(pack(Order(spec=Cleanup(), delay=5.0), FAR))

    assert how == {"expires": FAR, "schema": SCHEMA, "delay": 5.0}


def test_what_a_later_schema_adds_is_left_to_others() -> None:
    with pytest.raises(JobTooNew) as caught:
        admit([KEY], JOB, later(gpu_of="nobody"))

    assert f"schema is {SCHEMA + 1} and this version knows {SCHEMA}" in caught.value.detail
    assert "gpu_of" in caught.value.detail
    assert caught.value.code == "job-too-new"


def test_an_order_of_a_later_schema_without_anything_new_is_understood() -> None:
    assert verify([KEY], JOB, later()) == Order(spec=Cleanup(dry_run=True))


def test_an_order_that_nobody_knew_in_time_has_expired() -> None:
    with pytest.raises(JobExpired):
        admit([KEY], JOB, later(expires=round(time.time()) - 1, gpu_of="nobody"))


@pytest.mark.parametrize("schema", [SCHEMA, 1, 0, -1, "x", None, [], 1e999])
def test_what_no_schema_explains_is_refused(schema: object) -> None:
    with pytest.raises(JobRefused) as caught:
        admit([KEY], JOB, later(schema=schema, gpu_of="nobody"))

    assert caught.value.code == "job-refused"


def test_without_the_key_no_schema_helps() -> None:
    with pytest.raises(JobRefused) as caught:
        admit([b"other"], JOB, later(gpu_of="nobody"))

    assert caught.value.code == "job-refused"


def test_a_field_that_is_added_raises_the_schema() -> None:
    known = json.loads((DATA / "schema.json").read_text())

    assert known == {"schema": SCHEMA, "fields": fields()}, (
        "Orders have other fields: raise SCHEMA in shared/dockbus/orders.py, unless no release has had this one, and run "
        "`python tests/unit/test_orders.py > tests/data/schema.json`"
    )


def fields() -> dict[str, list[str]]:
    """The fields of an order and of all that it consists of."""
    schema = Order.model_json_schema()
    models = {"Order": schema, **schema["$defs"]}
    return {
        name: sorted(model["properties"])
        for name, model in sorted(models.items())
        if "properties" in model
    }


if __name__ == "__main__":
    print(json.dumps({"schema": SCHEMA, "fields": fields()}, indent=1))
