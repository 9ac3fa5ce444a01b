"""What a registry's refusals are taken for, in the words of real Engines, and how long the next attempt waits."""

from __future__ import annotations

import random

import pytest

from dockbus.engine import (
    EngineDiskFull,
    EngineError,
    ImageCorrupt,
    ImageNotFound,
    RegistryDenied,
    RegistryRateLimited,
    RegistryUnavailable,
    RegistryUntrusted,
)
from dockbus.engine.errors import classify
from dockbus.records import Failure
from dockbus.retries import RetryPolicy
from dockbus_workers.outcome import judge


@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        (401, "unauthorized: authentication required", RegistryDenied),
        (
            500,
            "error parsing HTTP 400 response body: invalid character 'C' looking for beginning of value: "
            '"Client sent an HTTP request to an HTTPS server.\\n"',
            RegistryUnavailable,
        ),
        (
            500,
            "error parsing HTTP 403 response body: invalid character '<' looking for beginning of value",
            RegistryDenied,
        ),
        (
            500,
            "unexpected status from HEAD request to http://127.0.0.1:5000/v2/x/manifests/1: 403 Forbidden",
            RegistryDenied,
        ),
        (429, "toomanyrequests: You have reached your pull rate limit.", RegistryRateLimited),
        (
            500,
            "unexpected status from HEAD request to http://127.0.0.1:5000/v2/x/manifests/1: 429 Too Many Requests",
            RegistryRateLimited,
        ),
        (
            None,
            "error pulling image configuration: download failed after attempts=6: "
            "received unexpected HTTP status: 502 Bad Gateway",
            RegistryUnavailable,
        ),
        (
            500,
            "unexpected status from HEAD request to http://127.0.0.1:5000/v2/x/manifests/1: 503 Service Unavailable",
            RegistryUnavailable,
        ),
        (
            500,
            "error parsing HTTP 504 response body: invalid character '<' looking for beginning of value",
            RegistryUnavailable,
        ),
        (None, "read tcp 10.0.0.1:40->10.0.0.2:443: connection reset by peer", RegistryUnavailable),
        (500, "dial tcp: lookup registry.example: server misbehaving", RegistryUnavailable),
        (500, "net/http: TLS handshake timeout", RegistryUnavailable),
        (
            500,
            'Get "https://registry.example/v2/": x509: certificate signed by unknown authority',
            RegistryUntrusted,
        ),
        (
            500,
            "tls: failed to verify certificate: x509: certificate has expired or is not yet valid",
            RegistryUntrusted,
        ),
        (500, "http: server gave HTTP response to HTTPS client", RegistryUntrusted),
        (None, "filesystem layer verification failed for digest sha256:22", ImageCorrupt),
        (None, "manifest verification failed for digest sha256:22", ImageCorrupt),
        (
            None,
            'failed commit on ref "layer-sha256:22": unexpected commit digest sha256:33, expected sha256:22',
            ImageCorrupt,
        ),
        (None, "download failed after attempts=1: unknown blob", ImageCorrupt),
        (
            None,
            "failed to register layer: Error processing tar file(exit status 1): write /x: no space left on device",
            EngineDiskFull,
        ),
        (
            404,
            'failed to resolve reference "127.0.0.1:5000/x:2": 127.0.0.1:5000/x:2: not found',
            ImageNotFound,
        ),
        (404, "no match for platform in manifest: not found", ImageNotFound),
    ],
)
def test_words_and_status_decide(status: int | None, words: str, kind: type[EngineError]) -> None:
    error = classify(status, words)

    assert type(error) is kind
    assert error.retryable is (kind in (ImageCorrupt, RegistryRateLimited, RegistryUnavailable))


@pytest.mark.parametrize(
    "kind",
    [EngineDiskFull, ImageCorrupt, RegistryDenied, RegistryRateLimited, RegistryUntrusted],
)
def test_each_says_what_to_do(kind: type[EngineError]) -> None:
    assert kind("x").advice


def test_after_a_rate_limit_the_next_attempt_waits_long_but_no_longer_than_the_policy_allows() -> (
    None
):
    random.seed(1)
    error = RegistryRateLimited("x")

    def pause(policy: RetryPolicy) -> float:
        return judge(error, Failure.of(error), 1, policy).pause

    pauses = [pause(RetryPolicy(base=4)) for _ in range(100)]
    assert 60 <= min(pauses) < max(pauses) <= 64
    assert pause(RetryPolicy(base=4, cap=1)) == 1
    assert judge(RegistryUnavailable("x"), Failure.of(error), 1, RetryPolicy(base=4)).pause <= 4
