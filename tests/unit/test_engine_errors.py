"""Which of our errors an Engine's words stand for, and whether the job may be tried again.

The words are those of real Engines (20.10 and 26.1) and a real registry.
"""

from __future__ import annotations

import docker.errors
import pytest
import requests
import urllib3

from dockbus.engine import (
    CommandNotFound,
    ContainerNotFound,
    EngineConflict,
    EngineError,
    EngineFault,
    EngineRejected,
    EngineTimeout,
    EngineUnavailable,
    ImageNotFound,
    RegistryDenied,
    RegistryRateLimited,
    RegistryUnavailable,
)
from dockbus.engine.errors import classify, translated

AGAIN = (EngineUnavailable, EngineTimeout, EngineFault, RegistryRateLimited, RegistryUnavailable)
"""What may pass by itself; everything else would fail in the same way."""


@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        # a registry's faults come as 500, or inside a stream without any status
        (500, 'Head "http://127.0.0.1:5000/v2/x": no basic auth credentials', RegistryDenied),
        (500, "unauthorized: authentication required", RegistryDenied),
        (None, "denied: requested access to the resource is denied", RegistryDenied),
        (404, "pull access denied for x, repository does not exist", RegistryDenied),
        (500, "toomanyrequests: You have reached your pull rate limit.", RegistryRateLimited),
        (500, "received unexpected HTTP status: 503 Service Unavailable", RegistryUnavailable),
        (500, "received unexpected HTTP status: 500 Internal Server Error", RegistryUnavailable),
        (500, "dial tcp 127.0.0.1:1: connect: connection refused", RegistryUnavailable),
        (500, "dial tcp: lookup nosuch.invalid: no such host", RegistryUnavailable),
        (500, "dial tcp 10.0.0.1:443: i/o timeout", RegistryUnavailable),
        (500, "net/http: TLS handshake timeout", RegistryUnavailable),
        (None, "unexpected EOF", RegistryUnavailable),
        (
            500,
            "net/http: request canceled while waiting for connection (Client.Timeout exceeded)",
            RegistryUnavailable,
        ),
        (404, "manifest for x:nosuch not found: manifest unknown: manifest unknown", ImageNotFound),
        (None, "manifest unknown", ImageNotFound),
        (404, "no such image: x: No such image: x:latest", ImageNotFound),
        (None, "no matching manifest for linux/s390x in the manifest list entries", ImageNotFound),
        (404, "repository x not found: does not exist", ImageNotFound),
        # the Engine's own
        (404, "No such container: abc", ContainerNotFound),
        (404, "network nosuch not found", EngineRejected),
        (404, "page not found", EngineRejected),
        (400, "invalid reference format", EngineRejected),
        (500, "could not find bridge docker0: no such network interface", EngineRejected),
        (
            400,
            "the working directory 'x/y' is invalid, it needs to be an absolute path",
            EngineRejected,
        ),
        (500, "unable to find user nosuch: no matching entries in passwd file", EngineRejected),
        (500, "Cannot mkdir: /etc/passwd is not a directory", EngineRejected),
        (
            409,
            'Conflict. The container name "/x" is already in use by container "y". You have to remove',
            EngineConflict,
        ),
        (409, "removal of container x is already in progress", ContainerNotFound),
        (
            409,
            "can not get logs from container which is dead or marked for removal",
            ContainerNotFound,
        ),
        (400, 'exec: "nosuch": executable file not found in $PATH: unknown', CommandNotFound),
        (400, 'exec: "/x/y": stat /x/y: no such file or directory: unknown', CommandNotFound),
        (500, "something nobody has seen before", EngineFault),
        (None, "", EngineFault),
        (418, "a teapot", EngineFault),
    ],
)
def test_words_and_status_decide(status: int | None, words: str, kind: type[EngineError]) -> None:
    error = classify(status, f" {words}\n")

    assert type(error) is kind
    assert error.detail == words
    assert error.retryable is (kind in AGAIN)


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (requests.exceptions.ReadTimeout(), EngineTimeout),
        (urllib3.exceptions.ReadTimeoutError(None, "", "Read timed out."), EngineTimeout),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        (requests.exceptions.ConnectionError("Read timed out. (read timeout=1)"), EngineTimeout),
        (requests.exceptions.ConnectionError("refused"), EngineUnavailable),
        (requests.exceptions.ChunkedEncodingError("broken"), EngineUnavailable),
        (urllib3.exceptions.ProtocolError("broken"), EngineUnavailable),
        (docker.errors.DockerException("Error while fetching server API"), EngineUnavailable),
        (docker.errors.TLSParameterError("certs"), EngineUnavailable),
        (ConnectionResetError(104, "Connection reset by peer"), EngineUnavailable),
        (docker.errors.APIError("no answer"), EngineFault),
    ],
)
def test_what_the_client_raises_becomes_an_error_of_ours(
    raised: Exception, kind: type[EngineError]
) -> None:
    with pytest.raises(EngineError) as caught, translated():
        raise raised

    assert type(caught.value) is kind
    assert caught.value.retryable
    assert caught.value.__cause__ is raised


def test_a_bug_of_ours_stays_one() -> None:
    with pytest.raises(KeyError), translated():
        raise KeyError("State")


def test_the_innermost_cause_is_told_in_a_few_words() -> None:
    try:
        try:
            raise FileNotFoundError(2, "No such file or directory")
        except OSError as error:
            raise requests.exceptions.ConnectionError("('Connection aborted.', ...)") from error
    except requests.exceptions.ConnectionError as error:
        chain = error

    with pytest.raises(EngineUnavailable) as caught, translated():
        raise chain

    assert caught.value.detail == "No such file or directory"
