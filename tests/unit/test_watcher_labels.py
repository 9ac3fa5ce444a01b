"""Labels as a model: what they mean, and what is said of those that mean nothing."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import AfterValidator, ConfigDict, Field

from dockbus import InvalidLabels, LabelModel
from dockbus.units import Bytes, Seconds


def lowered(text: str) -> str:
    if " " in text:
        raise ValueError("a host name has no spaces")
    return text.lower()


class Route(LabelModel):
    domain: Annotated[str, AfterValidator(lowered)]
    port: int = Field(ge=1, le=65535)
    description: str = ""


def read(**labels: str) -> Route:
    return Route.from_labels({f"web.{name}": value for name, value in labels.items()}, "web")


@pytest.mark.parametrize("prefix", ["web", "kakuremichi", "com.example.web"])
def test_the_labels_below_a_prefix_make_up_the_model(prefix: str) -> None:
    labels = {
        f"{prefix}.enabled": "true",
        f"{prefix}.domain": "Shop.Example",
        f"{prefix}.port": "8080",
        f"{prefix}.description": "the shop",
    }

    route = Route.from_labels(labels, prefix, besides=[f"{prefix}.enabled"])

    assert route == Route(domain="shop.example", port=8080, description="the shop")


def test_what_is_optional_may_be_left_out() -> None:
    assert read(domain="a.example", port="1").description == ""


def test_labels_outside_the_prefix_are_no_matter() -> None:
    foreign = {
        "web": "x",
        "webs.port": "x",
        "other.domain": "b",
        "web.domain": "a",
        "web.port": "1",
    }

    assert Route.from_labels(foreign, "web") == Route(domain="a", port=1)


@pytest.mark.parametrize(("text", "port"), [("1", 1), ("65535", 65535), (" 80 ", 80), ("+80", 80)])
def test_a_port_is_read_from_text(text: str, port: int) -> None:
    assert read(domain="a", port=text).port == port


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"port": "80"}, "web.domain is missing"),
        ({"domain": "", "port": "80"}, "web.domain is missing"),
        ({"domain": " \t", "port": "80"}, "web.domain is missing"),
        ({"domain": "a"}, "web.port is missing"),
        ({"domain": "a", "port": ""}, "web.port is missing"),
        ({"domain": "a", "port": "abc"}, "web.port='abc': Input should be a valid integer"),
        ({"domain": "a", "port": "80.5"}, "web.port='80.5': Input should be a valid integer"),
        ({"domain": "a", "port": "0"}, "web.port='0': Input should be greater than or equal to 1"),
        ({"domain": "a", "port": "70000"}, "web.port='70000': Input should be less than"),
        ({"domain": "a", "port": "-1"}, "web.port='-1': Input should be greater than"),
        ({"domain": "a", "port": "9" * 5000}, "web.port='99999"),
        ({"domain": "a b", "port": "80"}, "web.domain='a b': a host name has no spaces"),
        ({"domain": "a", "prot": "80"}, "web.prot is not known, did you mean 'port'?"),
        ({"domain": "a", "port": "80", "": "x"}, "web. is not known"),
        ({"domain": "a", "port": "80", "port.x": "x"}, "web.port.x is not known"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(labels: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidLabels) as raised:
        read(**labels)

    assert said in raised.value.detail
    assert len(raised.value.detail) < 300


def test_everything_that_is_wrong_is_named() -> None:
    with pytest.raises(InvalidLabels) as raised:
        read(port="x", colour="red")

    assert raised.value.detail.count("; ") == 2
    assert all(name in raised.value.detail for name in ("web.domain", "web.port", "web.colour"))


FORGED = "1\n2026-01-01 ERROR all is lost \x1b[31m"


@pytest.mark.parametrize("labels", [{"port": FORGED}, {"port": "1", FORGED: "x"}], ids=str)
def test_a_label_cannot_forge_a_line_of_the_log(labels: dict[str, str]) -> None:
    with pytest.raises(InvalidLabels, match="all is lost") as raised:
        read(domain="a", **labels)

    assert raised.value.detail.isprintable()


def test_labels_without_number_make_no_message_without_end() -> None:
    with pytest.raises(InvalidLabels) as raised:
        read(domain="a", port="1", **{f"l{number}" * 1000: "x" for number in range(1000)})

    assert len(raised.value.detail) < 1000


def test_fields_of_other_types_are_read_from_text() -> None:
    class Limits(LabelModel):
        memory: Bytes
        timeout: Seconds = 10.0
        strict: bool = False
        level: Literal["low", "high"] = "low"
        strip_prefix: str = Field(default="", alias="strip-prefix")

    labels = {"x.memory": "64m", "x.timeout": "1m30s", "x.strict": "true", "x.level": "high"}

    assert Limits.from_labels({**labels, "x.strip-prefix": "/api"}, "x") == Limits.model_validate(
        {"memory": 64 << 20, "timeout": 90, "strict": True, "level": "high", "strip-prefix": "/api"}
    )


def test_a_misspelt_alias_is_guessed_too() -> None:
    class Path(LabelModel):
        strip: str = Field(default="", alias="strip-prefix")

    with pytest.raises(InvalidLabels, match="did you mean 'strip-prefix'"):
        Path.from_labels({"x.strip-prefx": "/"}, "x")


def test_a_model_may_let_other_labels_pass() -> None:
    class Lax(LabelModel):
        model_config = ConfigDict(extra="ignore")
        port: int

    assert Lax.from_labels({"x.port": "1", "x.later": "2"}, "x").port == 1
