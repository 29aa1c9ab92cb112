"""Limits of a connection before the body: size and time of the head; errors at the start of the service."""

import json
import shlex
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ontime.settings import Settings
from serving import keys
from serving.connection import MAX_HEAD_BYTES, ResponseTransport
from tests.service import MORNING, Service, running
from tests.serving.test_serving import run_service

pytestmark = pytest.mark.slow

PIECE = b"x" * 1_000_000


@pytest.fixture
def service(settings: Settings) -> Iterator[Service]:
    with running(settings, ONTIME_REQUEST_SECONDS="0.5") as started:
        yield started
        started.stop()


def response_to(service: Service, parts: Sequence[bytes]) -> bytes:
    """The first response after everything was sent, or as much as the service accepts."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as caller:
        with suppress(ConnectionError):
            for part in parts:
                caller.sendall(part)
        return caller.recv(65_536)


def memory_mb(service: Service) -> float:
    lines = Path(f"/proc/{service.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


START = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"POST /v1/predictions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
TOO_LARGE: dict[str, list[bytes]] = {
    "one header": [START, b"X-A: ", *[PIECE] * 20, b"\r\n\r\n"],
    "many headers": [START, *[b"".join(b"a%d: b\r\n" % n for n in range(50_000))] * 4, b"\r\n"],
    "the address": [b"GET /", PIECE, b" HTTP/1.1\r\nHost: x\r\n\r\n"],
    "the query": [b"GET /v1/entities?day=", PIECE, b" HTTP/1.1\r\nHost: x\r\n\r\n"],
    "just above the limit": [START, b"X-A: ", b"x" * MAX_HEAD_BYTES, b"\r\n\r\n"],
    "headers after the body": [CHUNKED, b"2\r\n{}\r\n0\r\nA: ", *[PIECE] * 20, b"\r\n\r\n"],
    "a word about a chunk": [CHUNKED, b"2;a=", *[PIECE] * 20, b"\r\n{}\r\n0\r\n\r\n"],
}


@pytest.mark.parametrize("what", TOO_LARGE)
def test_a_head_that_is_too_large_is_rejected_without_using_memory(what: str, service: Service) -> None:
    before = memory_mb(service)

    with suppress(ConnectionError):  # the service may close the connection while the client is sending
        status, _, body = response_to(service, TOO_LARGE[what]).partition(b"\r\n")
        assert status == b"HTTP/1.1 431 Request Header Fields Too Large"
        problem = json.loads(body.partition(b"\r\n\r\n")[2])["detail"][0]
        assert problem == {"place": "header", "reason": "more than 65536 bytes"}

    assert memory_mb(service) < before + 10
    assert service.get("/health/live") == {"status": "alive"}


def test_a_head_just_below_the_limit_is_accepted(service: Service) -> None:
    head = START + b"X-A: " + b"x" * (MAX_HEAD_BYTES - 200) + b"\r\n\r\n"

    assert response_to(service, [head]).startswith(b"HTTP/1.1 200")


def test_a_long_body_is_accepted_with_its_head_or_in_small_chunks(service: Service) -> None:
    body = json.dumps([MORNING] * 1000).encode()
    head = b"POST /v1/predictions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body[:100_000].ljust(100_000))

    assert response_to(service, [head + body]).startswith(b"HTTP/1.1 200")
    assert response_to(service, [CHUNKED + chunks + b"0\r\n\r\n"]).startswith(
        b"HTTP/1.1 422"
    )  # half a list, read to its end


SLOW = {
    "a head that never ends": (b"", b"GET / HTTP/1.1\r\nHost: x\r\n", b"HTTP/1.1 408 Request Timeout"),
    "nothing": (b"", b"", b""),
    "a second head that never ends": (START + b"\r\n", b"GET /", b"HTTP/1.1 408 Request Timeout"),
}


@pytest.mark.parametrize("what", SLOW)
def test_an_unfinished_head_is_rejected(what: str, service: Service) -> None:
    first, second, line = SLOW[what]

    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as caller:
        caller.sendall(first)
        while first and not caller.recv(65_536).endswith(b'{"status":"alive"}'):
            pass
        caller.sendall(second)
        answer = caller.recv(65_536)

        assert answer.partition(b"\r\n")[0] == line
        assert caller.recv(65_536) == b""


def test_silent_connections_shut_nobody_out(settings: Settings) -> None:
    """More than the process may have open: the ones that have waited longest are closed for the others."""
    limited = f"ulimit -n 256; exec {shlex.quote(sys.executable)} -m serving"
    service = Service(settings, command=["bash", "-c", limited]).wait_until_ready()
    with ExitStack() as silent:
        for number in range(400):
            caller = silent.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=30))
            caller.sendall(b"GET / HTTP/1.1\r\nHost:" if number % 2 else b"")
        started = [service.post("/v1/predictions", MORNING) for _ in range(5)]
        service.stop()

    assert len(started) == 5


def test_a_request_that_is_not_http_has_the_usual_error_body(service: Service) -> None:
    answer = response_to(service, [b"\x16\x03\x01 hello\r\n\r\n"])

    assert answer.startswith(b"HTTP/1.1 400")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["detail"][0]["place"] == "request"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_in_use_is_reported_first(workers: str, settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        completed = run_service(settings, ONTIME_PORT=str(port), ONTIME_WORKERS=workers)

    assert (completed.returncode, completed.stdout) == (1, "")
    assert completed.stderr == (
        f"serve: ONTIME_PORT={port}: 127.0.0.1:{port} is in use by another process; "
        f"try: ONTIME_PORT={port + 1} make serve\n"
    )
    assert list(settings.spool.glob("*")) == []


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid"])  # reserved by RFC 5737 and RFC 2606
def test_a_host_that_is_not_this_machine_is_named(host: str, workers: str, settings: Settings) -> None:
    path = settings.releases.parent / "keys.json"
    keys.add(path, "desk", ["predict"])

    completed = run_service(settings, ONTIME_HOST=host, ONTIME_API_KEYS=str(path), ONTIME_WORKERS=workers)

    assert (completed.returncode, completed.stdout) == (1, "")
    assert (
        completed.stderr == f"serve: ONTIME_HOST={host} is not an address of this machine; try: ONTIME_HOST=127.0.0.1\n"
    )


class Recorder:
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close(self) -> None:
        self.written.append(b"closed")

    def is_closing(self) -> bool:
        return False


@pytest.fixture
def joined() -> tuple[ResponseTransport, Recorder, SimpleNamespace]:
    recorder, cycle = Recorder(), SimpleNamespace(response_started=False)
    return ResponseTransport(cast("Any", recorder), cast("Any", cycle)), recorder, cycle


def test_the_head_of_a_response_is_written_with_the_start_of_its_body(
    joined: tuple[ResponseTransport, Recorder, SimpleNamespace],
) -> None:
    transport, recorder, cycle = joined

    transport.write(b"100 Continue ")  # as soon as the body is awaited, or the client never sends it
    assert recorder.written == [b"100 Continue "]
    cycle.response_started = True
    for part in (b"head ", b"first ", b"second "):
        transport.write(part)
    transport.close()

    assert recorder.written == [b"100 Continue ", b"head first ", b"second ", b"closed"]


def test_a_head_without_a_body_is_written_before_the_connection_closes(
    joined: tuple[ResponseTransport, Recorder, SimpleNamespace],
) -> None:
    transport, recorder, cycle = joined
    cycle.response_started = True

    transport.write(b"head ")
    transport.close()

    assert recorder.written == [b"head ", b"closed"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_connection_that_stays_open_gets_every_response(method: str, service: Service) -> None:
    request = f"{method} /health/live HTTP/1.1\r\nHost: x\r\n\r\n".encode()

    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as caller:
        for _ in range(3):
            caller.sendall(request)
            answer = caller.recv(65_536)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert answer.endswith(b'{"status":"alive"}' if method == "GET" else b"\r\n\r\n")


def test_a_client_that_waits_for_permission_gets_it_before_it_sends_its_body(service: Service) -> None:
    head = b"POST /v1/predictions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"

    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as caller:
        caller.sendall(head)
        assert caller.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        caller.sendall(b"{}")
        assert caller.recv(65_536).startswith(b"HTTP/1.1 422 ")
