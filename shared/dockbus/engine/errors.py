"""What can go wrong with an Engine, as our own errors; the one place where it is decided what may be retried.

The Engine folds registry faults into HTTP 500, so the words of its message decide where its status
code does not. The table was read off real Engines (20.10 and 26.1) and a real registry.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from contextlib import contextmanager
from http.client import HTTPException

import docker.errors
import requests
import urllib3

from dockbus.errors import DockbusError


class EngineError(DockbusError):
    """The Docker Engine refused or failed."""


class EngineUnavailable(EngineError):
    """The Docker Engine does not answer.

    Start it (`systemctl status docker` says how it is), or point DOCKBUS_ENGINE_HOST (or DOCKER_HOST) at one that runs;
    `dockbus doctor` shows what it finds.
    """

    retryable = True


class EngineForbidden(EngineUnavailable):
    """This user may not open the Docker Engine's socket.

    Make it a member of the group that owns the socket (`sudo usermod --append --groups docker USER`, then log in anew).
    Whoever may open it is root on the machine, so leave its mode as it is.
    """


class EngineTimeout(EngineError):
    """The Docker Engine took too long to answer.

    See what keeps its machine busy. Where nothing does, and `docker info` hangs too, the Engine has locked up, and only a restart
    of it helps: `systemctl restart docker`.
    """

    retryable = True


class EngineRejected(EngineError):
    """The Docker Engine does not accept this request."""


class EngineConflict(EngineError):
    """The request conflicts with what the Docker Engine has."""


class EngineFault(EngineError):
    """The Docker Engine failed inside."""

    retryable = True


class ContainerNotFound(EngineError):
    """There is no such container on this Engine."""


class ExecNotFound(EngineError):
    """There is no such command in a container of this Engine, or no longer."""


class SignalNotChosen(EngineError):
    """Engines before Docker 23 stop a container with its own signal only.

    Leave `signal` out, or make the container with the right `stop_signal`.
    """


class ImageNotFound(EngineError):
    """There is no such image.

    Check the spelling of its name and tag, and that the registry has it for this platform.
    """


class CommandNotFound(EngineError):
    """The container has no such program.

    Check `command` and `entrypoint` against what the image holds.
    """


class EngineDiskFull(EngineError):
    """The Docker Engine's disk is full.

    Make room (`dockbus cleanup --unused-images --unused-for 7d` removes what nobody uses), then order the job again:
    `dockbus replay ID`.
    """


class RegistryError(EngineError):
    """The registry did not give the image, or did not take it."""

    retryable = True


class RegistryDenied(RegistryError):
    """The registry does not let this Engine have the image.

    Check that the name is right, and the credentials: those that the job names, those of the file
    DOCKBUS_REGISTRY_PATH, or those of `docker login` on the worker's machine.
    """

    retryable = False


class RegistryRateLimited(RegistryError):
    """The registry allows no more pulls for the moment.

    Wait, give it credentials that may pull more, or set up a mirror in the file DOCKBUS_REGISTRY_PATH.
    """

    pause = 60.0


class RegistryUnavailable(RegistryError):
    """The registry does not answer.

    Check that it runs and that the Engine's machine reaches it by this name.
    """


class RegistryStalled(RegistryError):
    """The registry has sent nothing new for too long.

    Check the network between it and the Engine; DOCKBUS_REGISTRY_STALL says how long is too long.
    """


class RegistryUntrusted(RegistryError):
    """The Docker Engine does not trust the registry's TLS certificate.

    Put the certificate of its authority in `/etc/docker/certs.d/HOST:PORT/ca.crt` on the Engine's machine. A registry
    without TLS has to stand in `insecure-registries` of the Engine's `daemon.json`.
    """

    retryable = False


class ImageCorrupt(RegistryError):
    """What the registry sent is not what the image's manifest says.

    Where it comes again, the registry's copy is damaged: push the image anew.
    """


# First match wins; None matches any status.
_TABLE: tuple[tuple[int | None, str, type[EngineError]], ...] = (
    (None, r"no space left on device", EngineDiskFull),
    (None, r"toomanyrequests|rate limit|too many requests|HTTP 429", RegistryRateLimited),
    (
        None,
        r"no basic auth credentials|unauthorized|(?<!permission )denied|authentication required"
        r"|HTTP 40[13] response|403 Forbidden|insufficient_scope",
        RegistryDenied,
    ),
    (
        None,
        r"x509: |server gave HTTP response to HTTPS client|tls: (bad|failed|first|unknown)",
        RegistryUntrusted,
    ),
    (
        None,
        r"(layer|manifest|config) verification failed|unexpected commit (digest|size)|unknown blob",
        ImageCorrupt,
    ),
    (
        None,
        r"executable file not found|no such file or directory.*exec|exec:.*no such file|exec: .*permission denied",
        CommandNotFound,
    ),
    (
        None,
        r"manifest unknown|manifest for .* not found|no such image|repository .* not found|no matching manifest"
        r"|failed to resolve reference .* not found|no match for platform|does not match the specified platform",
        ImageNotFound,
    ),
    (None, r"no such container|multiple ids found", ContainerNotFound),
    (404, r"no such exec instance", ExecNotFound),
    (
        None,
        r"unexpected HTTP status: 5|HTTP 5\d\d response|: 5\d\d (Internal|Bad|Service|Gateway)"
        r"|connection refused|connection reset|no such host|server misbehaving|no route to host"
        r"|network is unreachable|HTTP request to an HTTPS server|i/o timeout|TLS handshake|\bEOF\b|request canceled",
        RegistryUnavailable,
    ),
    (404, r"not found.*(image|manifest)|(image|manifest).*not found", ImageNotFound),
    (404, r"", EngineRejected),
    (409, r"marked for removal|removal of container .* in progress", ContainerNotFound),
    (409, r"", EngineConflict),
    (None, r"port is already allocated|address already in use", EngineConflict),
    (400, r"", EngineRejected),
    (
        None,
        r"could not find bridge|invalid reference format|unable to find (user|group)|is not a directory"
        # What a container cannot be started with here, today or tomorrow.
        r"|not in a separate kernel namespace|unable to apply caps|failed to initialize logging driver"
        r"|error gathering device information|is not a (shared|slave|shared or slave) mount",
        EngineRejected,
    ),
)


def classify(status: int | None, text: str) -> EngineError:
    """The error that an Engine's answer stands for: its HTTP status (None inside a stream) and its words."""
    for code, pattern, error in _TABLE:
        if code in (None, status) and re.search(pattern, text, re.IGNORECASE):
            return error(text.strip())
    return EngineFault(text.strip())


def refusal(status: int, body: bytes) -> EngineError:
    """The error that an answer with this status stands for."""
    try:
        text = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        text = body.decode(errors="replace")
    return classify(status, text)


@contextmanager
def translated() -> Generator[None]:
    """Turn what the docker SDK and its HTTP client raise into this module's errors."""
    try:
        yield
    except docker.errors.APIError as error:
        status = error.response.status_code if error.response is not None else None
        raise classify(status, str(error.explanation or error)) from error
    except (
        requests.exceptions.ReadTimeout,
        urllib3.exceptions.ReadTimeoutError,
        TimeoutError,
    ) as error:
        raise EngineTimeout from error
    except requests.exceptions.ConnectionError as error:
        # A read that times out half way through a body comes wrapped as a connection error.
        raise (
            EngineTimeout() if "Read timed out" in str(error) else EngineUnavailable(_reason(error))
        ) from error
    except (
        requests.exceptions.RequestException,
        urllib3.exceptions.HTTPError,
        HTTPException,
        OSError,
    ) as error:
        raise EngineUnavailable(_reason(error)) from error
    except docker.errors.DockerException as error:
        raise EngineUnavailable(_reason(error)) from error


def _reason(error: BaseException) -> str:
    """The innermost cause in a few words: `[Errno 2] No such file or directory` rather than a chain of wrappers."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror and seen.errno:
            return seen.strerror
        seen = seen.__cause__ or seen.__context__
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
