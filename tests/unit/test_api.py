from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dockbus import Bus, DockbusError, InvalidSpec, Kind, Order
from dockbus.jobs import parse_spec
from dockbus.orders import Terms
from dockbus_producer.api.app import create_app
from dockbus_producer.api.job_request import EXAMPLES, BatchRequest, JobRequest, ReplayRequest
from dockbus_producer.api.problems import STATUS
from serving import TOKEN, bus_settings


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    with Bus(bus_settings(f"unix://{tmp_path}/absent.sock", tmp_path)) as bus:
        return create_app(bus, TOKEN).openapi()


def test_the_description_lists_every_route(document: dict[str, Any]) -> None:
    assert {path: set(operations) for path, operations in document["paths"].items()} == {
        "/healthz": {"get"},
        "/readyz": {"get"},
        "/v1/jobs": {"get", "post"},
        "/v1/jobs/batch": {"post"},
        "/v1/jobs/{job_id}": {"get"},
        "/v1/jobs/{job_id}/cancel": {"post"},
        "/v1/jobs/{job_id}/replay": {"post"},
        "/v1/jobs/{job_id}/logs": {"get"},
        "/v1/jobs/{job_id}/artefacts": {"get"},
        "/v1/jobs/{job_id}/artefacts/{name}": {"get"},
        "/v1/blobs": {"post"},
        "/v1/events": {"get"},
        "/v1/events/history": {"get"},
        "/v1/containers": {"get"},
        "/v1/containers/{container}": {"get"},
        "/v1/containers/{container}/health": {"get"},
        "/v1/containers/{container}/stats": {"get"},
        "/v1/stats": {"get"},
        "/v1/stats/stream": {"get"},
        "/v1/images": {"get"},
        "/v1/engines": {"get"},
        "/v1/queues": {"get"},
    }


def test_the_description_points_at_nothing_that_is_not_there(document: dict[str, Any]) -> None:
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert names <= set(document["components"]["schemas"])
    assert {"JobRequest", "BatchRequest", "ReplayRequest", "Accepted", "RetryPolicy"} <= names
    assert {"JobRecord", "Terms", "Problem", "Event", "LogLine", "Run", "RunResult"} <= names


def test_each_route_of_v1_asks_for_the_token_and_describes_its_answers(
    document: dict[str, Any],
) -> None:
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["description"]
            assert ("security" in operation) == path.startswith("/v1/")
            answers = operation["responses"]
            assert ("401" in answers) == path.startswith("/v1/")
            for status, response in answers.items():
                problem = "application/problem+json" in response["content"]
                assert problem == (int(status) >= 400), (path, status)


def test_each_kind_has_an_example_that_is_valid(document: dict[str, Any]) -> None:
    body = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]
    assert body["examples"].keys() == set(Kind)
    for kind, example in body["examples"].items():
        assert JobRequest.model_validate_json(json.dumps(example["value"]))
        assert parse_spec(json.dumps(example["value"]["spec"])).kind == kind


def test_every_other_body_has_examples_that_are_valid(document: dict[str, Any]) -> None:
    for path, model in (("batch", BatchRequest), ("{job_id}/replay", ReplayRequest)):
        request = document["paths"][f"/v1/jobs/{path}"]["post"]["requestBody"]
        examples = request["content"]["application/json"]["examples"]
        assert examples
        for example in examples.values():
            assert model.model_validate_json(json.dumps(example["value"]))


def test_a_job_request_takes_every_term_of_an_order(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["JobRequest"]["properties"].keys() == Order.model_fields.keys()
    assert schemas["JobRequest"]["required"] == ["spec"]
    assert schemas["Terms"]["properties"].keys() == Terms.model_fields.keys()
    assert all(field["description"] for field in schemas["JobRequest"]["properties"].values())


def test_an_example_is_what_the_description_says_it_is(document: dict[str, Any]) -> None:
    properties = document["components"]["schemas"]["JobRequest"]["properties"]
    for example in EXAMPLES.values():
        assert example["value"].keys() <= properties.keys()
    assert {"type": "string"} in properties["delay"]["anyOf"]  # "1h"


@pytest.mark.parametrize("error", STATUS)
def test_a_problem_has_a_title_and_a_code(error: type[DockbusError]) -> None:
    assert error().title.endswith(".")
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", error().code)


def test_a_misspelt_field_is_told_with_what_was_meant() -> None:
    with pytest.raises(InvalidSpec, match=r"imgae: no such field, did you mean 'image'\?"):
        parse_spec('{"kind": "run", "imgae": "busybox"}')
