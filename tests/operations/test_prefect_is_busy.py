"""`make orchestrate` retries requests while Prefect's server is busy."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.error import HTTPError

import pytest

from pipelines.operations.orchestrate import call_api


@contextmanager
def responding(*codes: int) -> Iterator[tuple[str, list[bytes]]]:
    """A server that responds with these codes in turn. Yields its address and the bodies that it received."""
    left, bodies = list(codes), []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(left.pop(0))
            self.end_headers()
            self.wfile.write(b'{"id": "7"}')

        def log_message(self, *_: object) -> None:
            """Silent, to keep the output of the tests clean."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", bodies
        finally:
            server.shutdown()
            thread.join()


WAITS = (0.01, 0.01)


def test_a_busy_server_is_retried() -> None:
    with responding(503, 503, 200) as (api, bodies):
        assert call_api(api, "/runs", {"name": "a"}, WAITS) == {"id": "7"}

    assert bodies == [b'{"name": "a"}'] * 3


@pytest.mark.parametrize(("codes", "requests"), [((503, 503, 503), 3), ((404,), 1), ((500,), 1)])
def test_other_errors_and_a_server_that_stays_busy_raise(codes: tuple[int, ...], requests: int) -> None:
    with responding(*codes) as (api, bodies), pytest.raises(HTTPError) as raised:
        call_api(api, "/runs", {}, WAITS)

    assert raised.value.code == codes[-1]
    assert len(bodies) == requests
