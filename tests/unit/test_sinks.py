"""Sinks: what a file may say and what it means, what answers mean, signatures; all without Redis and network."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from dockbus import Event
from dockbus.secrets import SecretNotFound
from dockbus_producer.sinks import Sink, SinkError, load
from dockbus_producer.sinks.delivery import LONGEST_WAIT, Meaning, judge
from dockbus_producer.sinks.signature import key_of, message_id, sign

DIE = Event(
    id="1",
    source="/engines/edge",
    type="io.dockbus.docker.container.die",
    subject="c0ffee",
    data={"exitCode": 3, "name": "web"},
)


def sink(**fields: Any) -> Sink:
    return Sink.model_validate({"name": "s", "url": "https://a.example/", "types": ["*"], **fields})


def write(folder: Path, text: str) -> Path:
    file = folder / "sinks.yaml"
    file.write_text(text)
    return file


def test_a_file_says_who_is_told_what(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
sinks:
  - name: on-call
    url: https://alerts.example/hooks?team=a
    types: [io.dockbus.docker.container.oom, io.dockbus.job.dead]
    sources: /engines/*
    when: event.data.name.startsWith("web")
    secret: on-call
    headers: {X-Team: a}
    timeout: 5s
    retry: {max: 3, cap: 1m}
  - name: near
    url: http://10.0.0.3:8080/
    types: "*"
""",
    )

    on_call, near = load(file)

    assert on_call.types == ["io.dockbus.docker.container.oom", "io.dockbus.job.dead"]
    assert on_call.sources == ["/engines/*"]
    assert (on_call.timeout, on_call.retry.max, on_call.retry.base, on_call.retry.cap) == (
        5,
        3,
        5,
        60,
    )
    assert near.types == ["*"]
    assert near.retry.max == 16


GOOD = "name: a, url: 'https://a.example/', types: '*'"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("url: 'https://a.example/', types: '*'", "name: Field required"),
        ("name: A b, url: 'https://a.example/', types: '*'", "name: String should match pattern"),
        ("name: a, types: '*'", "url: Field required"),
        ("name: a, url: 'https://a.example/'", "types: Field required"),
        ("name: a, url: 'https://a.example/', types: []", "types: Value should have at least 1"),
        ("name: a, url: ftp://a.example/, types: '*'", "begins with https:// or http://"),
        ("name: a, url: 'https:///x', types: '*'", "and a host"),
        ("name: a, url: 'https://a.example:x/', types: '*'", "is not a URL"),
        ("name: a, url: 'https://u:p@a.example/', types: '*'", "a password in it"),
        ("name: a, url: 'https://a.example/ü', types: '*'", "encode them as %XX"),
        ("name: a, url: 'https://a.example/a b', types: '*'", "encode them as %XX"),
        ("name: a, url: 'https://a.example/#x', types: '*'", "a fragment"),
        ("name: a, url: 'http://a.example/', types: '*'", "url: http:// to an address that is"),
        ("name: a, url: 'http://8.8.8.8/', types: '*'", "`insecure: true` if you mean it"),
        (f"{GOOD}, insecure: true", "certificates are always checked"),
        (f"{GOOD}, typs: b", "typs: no such field, did you mean 'types'?"),
        (f"{GOOD}, when: 'event.data.exitCode >'", "when: column"),
        (f"{GOOD}, when: 'container.name == \"x\"'", "when: 'container' is not known"),
        (f"{GOOD}, when: 'evnt.type == \"x\"'", "did you mean 'event'?"),
        (f"{GOOD}, secret: ../../etc/passwd", "secret: String should match pattern"),
        (f"{GOOD}, headers: {{Webhook-Id: x}}", "dockbus sets this header itself"),
        (f"{GOOD}, headers: {{content-type: x}}", "dockbus sets this header itself"),
        (f"{GOOD}, headers: {{'A B': x}}", "is not the name of a header"),
        (f'{GOOD}, headers: {{A: "x\\r\\nB: y"}}', "characters that a header cannot have"),
        (f"{GOOD}, headers: {{A: 1}}", "headers.A: Input should be a valid string"),
        (f"{GOOD}, timeout: soon", "'soon' is not a span of time"),
        (f"{GOOD}, timeout: 1h", "timeout: Input should be less than or equal to 120"),
        (f"{GOOD}, retry: {{max: -1}}", "retry.max: Input should be greater than or equal to 0"),
        (f"{GOOD}, retry: {{mx: 1}}", "no such field, did you mean 'max'?"),
        (f"{GOOD}}}\n- {{{GOOD}", "name: it is there twice"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_its_line(
    tmp_path: Path, entry: str, said: str
) -> None:
    file = write(tmp_path, f"sinks:\n\n- {{{entry}}}\n")

    with pytest.raises(SinkError) as caught:
        load(file)

    assert said in caught.value.detail
    assert caught.value.detail.startswith(f"{file}")
    assert "sink" in caught.value.detail


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/",
        "http://localhost/",
        "http://[::1]:80/x",
        "http://192.168.1.9/",
        "http://hooks.localhost/",
        "http://[fd00::1]/",
        "https://a.example:8443/x?y=%20z",
    ],
)
def test_plain_http_is_for_near_addresses(url: str) -> None:
    assert sink(url=url).url == url


def test_plain_http_to_anywhere_has_to_be_meant() -> None:
    assert sink(url="http://a.example/", insecure=True).insecure


@pytest.mark.parametrize(
    ("wanted", "match"),
    [
        ({}, True),
        ({"types": ["io.dockbus.job.*"]}, False),
        ({"sources": ["/engines/local"]}, False),
        ({"subjects": ["c0*"]}, True),
        ({"when": "event.data.exitCode == 3"}, True),
        ({"when": "event.data.exitCode == 0"}, False),
        ({"when": "event.data.nothing == 0"}, False),
        ({"when": "timestamp(event.time) <= now"}, True),
    ],
)
def test_a_sink_wants_what_matches_in_every_respect(wanted: dict[str, Any], match: bool) -> None:
    assert sink(**wanted).match(DIE) is match


def test_a_sink_never_hears_of_its_own_failures_but_of_others() -> None:
    failed = Event(source="/dockbus/sinks", type="io.dockbus.sink.failed", subject="s")

    assert not sink().match(failed)
    assert sink(name="other").match(failed)


@pytest.mark.parametrize(
    ("status", "retry_after", "meaning", "wait"),
    [
        (200, "", Meaning.DELIVERED, 0),
        (204, "5", Meaning.DELIVERED, 0),
        (301, "", Meaning.FAILED, 0),
        (400, "", Meaning.REFUSED, 0),
        (401, "", Meaning.REFUSED, 0),
        (404, "60", Meaning.REFUSED, 0),
        (408, "", Meaning.FAILED, 0),
        (410, "", Meaning.GONE, 0),
        (429, "7", Meaning.FAILED, 7),
        (503, "999999999", Meaning.FAILED, LONGEST_WAIT),
        (503, "-5", Meaning.FAILED, 0),
        (503, "soon", Meaning.FAILED, 0),
        (503, "Wed, 21 Oct 2015 07:28:00 GMT", Meaning.FAILED, 0),
        (500, "", Meaning.FAILED, 0),
        (599, "", Meaning.FAILED, 0),
        (103, "", Meaning.FAILED, 0),
    ],
)
def test_what_an_answer_means(status: int, retry_after: str, meaning: Meaning, wait: float) -> None:
    answer = judge(status, b"", retry_after)

    assert answer.meaning is meaning
    assert answer.wait == wait


def test_a_receiver_may_name_the_time_to_come_again() -> None:
    in_an_hour = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)

    assert judge(429, b"", in_an_hour).wait == pytest.approx(3600, abs=60)


def test_what_a_refusal_says_is_told_on_one_line_without_tricks() -> None:
    answer = judge(400, b"no\r\nsuch \x1b[2J\xff hook" + b"x" * 1000)

    assert answer.cause.startswith("HTTP 400: no such [2J\N{REPLACEMENT CHARACTER} hookxxx")
    assert len(answer.cause) < 250


def test_a_signature_is_that_of_the_published_example() -> None:
    """The example in the documentation of Standard Webhooks' libraries."""
    key = key_of("s", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

    signed = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')

    assert signed == {"webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="}


def test_a_secret_is_text_or_base64(tmp_path: Path) -> None:
    key = b"0123456789abcdef\xff\x00"

    assert key_of("s", f"whsec_{base64.b64encode(key).decode()}\n") == key
    assert key_of("s", "a password that is long") == b"a password that is long"


@pytest.mark.parametrize(
    "secret", ["", "short", "whsec_", "whsec_c2hvcnQ=", "whsec_not base64!!!!!!!"]
)
def test_what_is_no_key_is_refused(secret: str) -> None:
    with pytest.raises(SecretNotFound, match="'s': "):
        key_of("s", secret)


def test_a_message_id_belongs_to_one_event() -> None:
    other = DIE.model_copy(update={"source": "/engines/local"})
    one, two = (
        DIE.model_copy(update={"source": source, "id": name})
        for source, name in (("/a ", "b"), ("/a", " b"))
    )

    assert message_id(DIE) == message_id(DIE.model_copy(update={"data": {}}))
    assert len({message_id(DIE), message_id(other), message_id(one), message_id(two)}) == 4
    assert message_id(DIE).startswith("msg_")


def test_the_documentation_shows_sinks_that_are_valid(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "events.md"
    blocks = re.findall(r"^```yaml\n(sinks:.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)

    assert blocks
    assert all(load(write(tmp_path, block)) for block in blocks)
