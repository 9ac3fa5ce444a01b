"""How metrics are served: formats, who may scrape, how many at a time, and what a broken collector takes with it."""

from __future__ import annotations

import contextlib
import gzip
import shutil
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import Counter, Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from pydantic import SecretStr

from dockbus import exposition
from dockbus.errors import SettingsError
from dockbus.exposition import SCRAPES, listening, own_metrics
from dockbus.families import Family
from dockbus.settings import MetricsSettings
from waiting import wait_for

ROWS = Family("test_rows_total", "counter", "Rows.", ("table",))
TIMES = Family("test_seconds", "histogram", "Seconds.")
OPEN = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}


class Fixed(Collector):
    """Gives what it was made with; an exception in it is raised."""

    def __init__(self, *families: Metric | Exception) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for family in self._families:
            if isinstance(family, Exception):
                raise family
            yield family


class Waiting(Collector):
    """Holds each scrape until it is told to let go."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go = threading.Event()

    def collect(self) -> Iterator[Metric]:
        self.begun.release()
        assert self.go.wait(30)
        yield rows(1.0)


def rows(value: float) -> Metric:
    return ROWS.of((value, {"table": 'a"b\\c\nd'}))


@contextlib.contextmanager
def served(
    *collectors: Collector,
    collect: Callable[[float], list[Collector]] | None = None,
    trouble: Callable[[], str] = str,
    **settings: Any,
) -> Generator[str]:
    chosen = MetricsSettings(**settings)
    with listening(
        chosen, 0, "numbers of a test", collect or (lambda _: list(collectors)), trouble
    ) as bound:
        thread = threading.Thread(target=bound.serve_forever, args=[0.02])
        thread.start()
        scheme = "https" if chosen.cert_path else "http"
        try:
            yield f"{scheme}://127.0.0.1:{bound.server_port}"
        finally:
            bound.shutdown()
            thread.join()


def get(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url, headers=headers, timeout=30, trust_env=False)


def values(answer: httpx.Response) -> dict[str, float]:
    assert answer.status_code == 200
    return {s.name: s.value for family in parse_text(answer.text) for s in family.samples}


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/", 200, "numbers of a test"),
        ("/healthz", 200, "ok"),
        ("/readyz", 200, "ok"),
        ("/metrics/x", 404, "see /metrics"),
        ("/metrics?name=1", 200, "test_rows_total"),
    ],
)
def test_paths(path: str, status: int, text: str) -> None:
    with served(Fixed(rows(3.0))) as url:
        answer = get(url + path)

    assert (answer.status_code, text in answer.text) == (status, True)


def test_ready_is_what_can_be_of_use_and_alive_is_what_answers() -> None:
    troubles = ["the Engine does not answer"]
    with served(trouble=lambda: "".join(troubles), token=SecretStr("hush")) as url:
        unready, alive = get(f"{url}/readyz"), get(f"{url}/healthz")
        troubles.clear()
        ready = get(f"{url}/readyz")

    assert (unready.status_code, unready.text) == (503, "the Engine does not answer\n")
    assert (alive.status_code, alive.text) == (200, "ok\n")
    assert (ready.status_code, ready.text) == (200, "ok\n")


def test_it_is_only_to_be_read() -> None:
    with served(Fixed(rows(3.0))) as url:
        posted = httpx.post(f"{url}/metrics", trust_env=False)
        head = httpx.head(f"{url}/metrics", trust_env=False)

    assert (posted.status_code, posted.headers["allow"]) == (405, "GET, HEAD")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) > 0


def test_text_and_openmetrics_plain_and_compressed() -> None:
    times = TIMES.metric()
    TIMES.add(times, 1.0, {"le": "5.0"}, suffix="_bucket", exemplar=Exemplar({"job_id": "j1"}, 2.0))
    TIMES.add(times, 1.0, {"le": "+Inf"}, suffix="_bucket")
    TIMES.add(times, 1.0, suffix="_count")
    TIMES.add(times, 2.0, suffix="_sum")
    with served(Fixed(rows(3.0), times)) as url:
        plain, opened = get(f"{url}/metrics"), get(f"{url}/metrics", **OPEN)
        with httpx.stream(
            "GET", f"{url}/metrics", headers={"Accept-Encoding": "gzip"}, trust_env=False
        ) as packed:
            raw = b"".join(packed.iter_raw())

    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert values(plain)["test_rows_total"] == 3
    assert "job_id" not in plain.text
    assert opened.headers["content-type"].startswith("application/openmetrics-text")
    parse: Any = openmetrics.text_string_to_metric_families  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    samples = [sample for family in parse(opened.text) for sample in family.samples]
    assert next(s for s in samples if s.exemplar).exemplar.labels == {"job_id": "j1"}
    assert next(s for s in samples if s.name == "test_rows_total").labels == {"table": 'a"b\\c\nd'}
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(raw) == plain.content


def test_no_series_say_when_a_counter_was_made() -> None:
    counter = Counter("test_direct", "Direct.", registry=None)
    counter.inc()

    class Direct(Collector):
        def collect(self) -> Iterator[Metric]:
            yield from counter.collect()

    with served(Direct()) as url:
        assert set(values(get(f"{url}/metrics"))) == {"test_direct_total"}
        assert "_created" not in get(f"{url}/metrics", **OPEN).text


def test_a_collector_that_fails_takes_only_what_it_had_not_given(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, last = Family("test_a", "gauge", "A."), Family("test_z", "gauge", "Z.")
    broken = Fixed(first.of(1.0), ValueError("broken"), rows(1.0))

    with served(broken, Fixed(last.of(2.0))) as url:
        found = values(get(f"{url}/metrics"))

    assert found == {"test_a": 1, "test_z": 2}
    assert "Fixed has failed" in caplog.text


def test_a_family_that_cannot_be_written_takes_no_other(caplog: pytest.LogCaptureFixture) -> None:
    good, bad = Family("test_good", "gauge", "Good."), Family("test_bad", "gauge", "Bad.")
    wrong: Any = "no number"

    with served(Fixed(bad.of(wrong), good.of(1.0))) as url:
        assert values(get(f"{url}/metrics")) == {"test_good": 1}
        assert "test_good 1.0" in get(f"{url}/metrics", **OPEN).text

    assert "test_bad cannot be written" in caplog.text


def test_a_scrape_needs_the_token_where_there_is_one() -> None:
    with served(Fixed(rows(3.0)), token=SecretStr("s3cret")) as url:
        refused = [
            get(f"{url}/metrics"),
            get(f"{url}/metrics", Authorization="Bearer other"),
            get(f"{url}/metrics", Authorization="Bearer s3cret2"),
            get(f"{url}/metrics", Authorization="s3cret"),
        ]
        allowed = get(f"{url}/metrics", Authorization="Bearer s3cret")
        healthy = get(f"{url}/healthz")

    assert {answer.status_code for answer in refused} == {401}
    assert all(answer.headers["www-authenticate"] == "Bearer" for answer in refused)
    assert not any("test_rows" in answer.text or "s3cret" in answer.text for answer in refused)
    assert (allowed.status_code, healthy.status_code) == (200, 200)


def test_one_scrape_too_many_is_told_to_come_again_and_health_is_not_kept_waiting() -> None:
    waiting = Waiting()
    with served(waiting) as url, ThreadPoolExecutor(SCRAPES) as pool:
        held = [pool.submit(get, f"{url}/metrics") for _ in range(SCRAPES)]
        for _ in held:
            assert waiting.begun.acquire(timeout=30)
        refused, healthy = get(f"{url}/metrics"), get(f"{url}/healthz")
        waiting.go.set()
        answers = [future.result(30) for future in held]
        wait_for(lambda: get(f"{url}/metrics").status_code == 200, what="a place to be free")

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert healthy.status_code == 200
    assert {answer.status_code for answer in answers} == {200}


def test_a_client_that_leaves_frees_its_place() -> None:
    waiting = Waiting()
    with served(waiting) as url:
        port = int(url.rpartition(":")[2])
        for _ in range(SCRAPES):
            with socket.create_connection(("127.0.0.1", port)) as leaving:
                leaving.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                assert waiting.begun.acquire(timeout=30)
                # With a reset, so that the answer cannot be written.
                leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert get(f"{url}/metrics").status_code == 503
        waiting.go.set()
        wait_for(lambda: get(f"{url}/metrics").status_code == 200, what="a place to be free")


@pytest.mark.parametrize(
    ("said", "budget"), [("8", 7.5), ("0.5", 0.25), ("nan", 9.5), ("-1", 9.5), ("x", 9.5)]
)
def test_collecting_may_take_what_the_client_waits_less_a_margin(said: str, budget: float) -> None:
    given: list[float] = []

    def collect(seconds: float) -> list[Collector]:
        given.append(seconds)
        return []

    with served(collect=collect) as url:
        get(f"{url}/metrics", **{"X-Prometheus-Scrape-Timeout-Seconds": said})

    assert given == [budget]


def test_a_client_that_says_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition.Handler, "timeout", 0.2)
    with served(Fixed(rows(1.0))) as url:
        port = int(url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as silent:
            silent.settimeout(10)
            silent.sendall(b"GET /metrics")
            assert silent.recv(100) == b""
        assert get(f"{url}/metrics").status_code == 200


def test_an_address_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port: int = other.getsockname()[1]
        chosen = MetricsSettings(own_port=port)
        with pytest.raises(SettingsError, match=f"127.0.0.1:{port}"), own_metrics(chosen, "x"):
            pass


def test_a_process_serves_its_own_only_if_told_where() -> None:
    with own_metrics(MetricsSettings(), "x", Fixed(ValueError())):
        pass  # nothing listens, nothing is asked
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    chosen = MetricsSettings(own_port=port)
    with own_metrics(chosen, "x", Fixed(rows(2.0)), trouble=lambda: "it is stopping"):
        found = values(get(f"http://127.0.0.1:{port}/metrics"))
        unready = get(f"http://127.0.0.1:{port}/readyz")
    assert found["test_rows_total"] == 2
    assert found["process_resident_memory_bytes"] > 1e6
    assert (unready.status_code, unready.text) == (503, "it is stopping\n")
    with pytest.raises(httpx.ConnectError):
        get(f"http://127.0.0.1:{port}/metrics")


def test_ipv6_is_listened_on() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with listening(MetricsSettings(host="::1"), 0, "x", lambda _: []) as bound:
        assert bound.socket.getsockname()[0] == "::1"
        assert exposition.address(MetricsSettings(host="::1"), bound) == (
            f"http://[::1]:{bound.server_port}/metrics"
        )


# -- TLS ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two that sign themselves, `server` and `client`, each in a folder of its own."""
    if not shutil.which("openssl"):
        pytest.skip("there is no program 'openssl'")
    made = tmp_path_factory.mktemp("certificates")
    for name in ("server", "client"):
        (made / name).mkdir()
        command = [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", f"/CN={name}"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(made / name / "key.pem"), "-out", str(made / name / "cert.pem")),
        ]
        subprocess.run(command, check=True, capture_output=True)
    return made


def client(certificates: Path, *, shows: str = "") -> httpx.Client:
    trusted = ssl.create_default_context(cafile=str(certificates / "server" / "cert.pem"))
    if shows:
        folder = certificates / shows
        trusted.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return httpx.Client(verify=trusted, trust_env=False, timeout=10)


def test_tls_and_a_silent_client_holds_up_nobody(certificates: Path) -> None:
    with (
        served(Fixed(rows(3.0)), cert_path=str(certificates / "server")) as url,
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))),
        client(certificates) as trusting,
    ):
        assert values(trusting.get(f"{url}/metrics"))["test_rows_total"] == 3
        with pytest.raises(httpx.ConnectError):
            get(f"{url}/metrics")  # does not trust it


def test_with_an_authority_a_scrape_must_show_its_certificate(
    certificates: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "both"
    shutil.copytree(certificates / "server", folder)
    shutil.copy(certificates / "client" / "cert.pem", folder / "ca.pem")

    with served(Fixed(rows(3.0)), cert_path=str(folder)) as url:
        with client(certificates, shows="client") as known:
            assert values(known.get(f"{url}/metrics"))["test_rows_total"] == 3
        for shows in ("", "server"):
            with client(certificates, shows=shows) as unknown, pytest.raises(httpx.TransportError):
                unknown.get(f"{url}/metrics")


def test_a_certificate_that_is_not_there_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(SettingsError, match=r"DOCKBUS_METRICS_CERT_PATH: .*No such file"),
        listening(MetricsSettings(cert_path=str(tmp_path)), 0, "x", lambda _: []),
    ):
        pass
