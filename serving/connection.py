"""uvicorn's HTTP connection with limits on size and time of a request's head, and on the number of connections."""

from asyncio import TimerHandle, Transport
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from serving.responses import ErrorDetail, ErrorResponse

MAX_HEAD_BYTES = 65_536  # request line and headers


class ResponseTransport:
    """Writes the head of a response together with the first part of its body: one packet and one system call.

    uvicorn writes them one after the other.
    """

    def __init__(self, transport: Transport, cycle: RequestResponseCycle) -> None:
        self._transport, self._cycle = transport, cycle
        self._head: bytes | None = None  # empty once it has been written
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        if self._head is None and self._cycle.response_started:  # before: 100 Continue
            self._head = data
        elif self._head:
            head, self._head = self._head, b""
            self._transport.write(head + data)
        else:
            self._transport.write(data)

    def close(self) -> None:
        if self._head:
            self.write(b"")  # a response without a body: its application has failed
        self._transport.close()


class Connection(HttpToolsProtocol):
    # Set per process: see `server.py`.
    head_seconds = 10.0  # for the whole head to arrive
    max_connections = 1000

    _without_request: ClassVar["dict[Connection, None]"] = {}  # the one that has waited longest is first

    _unfinished = 0  # bytes of an incomplete head, chunk header or trailer
    _timer: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # same signature as uvicorn's
        super().connection_made(transport)
        self._start_timer()
        if len(self.connections) > self.max_connections and self._without_request:
            # Silent connections must not shut out others: file descriptors are limited.
            next(iter(self._without_request)).transport.close()
        self._without_request[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._without_request.pop(self, None)
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unfinished += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._unfinished > MAX_HEAD_BYTES:
            self._reject(431, "header", f"more than {MAX_HEAD_BYTES} bytes")
        elif self.cycle is None or self.cycle.response_complete:
            self._start_timer()

    def on_headers_complete(self) -> None:
        # The received bytes may be a small head and the start of its body.
        if self._unfinished > MAX_HEAD_BYTES and self._head_bytes() > MAX_HEAD_BYTES:
            raise ValueError("head too large")  # the parser stops and calls `send_400_response`
        self._unfinished = 0
        self._without_request.pop(self, None)
        self._stop_timer()
        self.scope["has_left"] = self.transport.is_closing  # type: ignore[typeddict-unknown-key]  # an extra of ours
        super().on_headers_complete()
        if self.cycle is not None and self.scope["method"] != "HEAD":  # whose response is a head alone
            self.cycle.transport = ResponseTransport(self.transport, self.cycle)  # type: ignore[assignment]  # all that the cycle uses

    def on_body(self, body: bytes) -> None:
        self._unfinished = 0
        super().on_body(body)

    def on_chunk_complete(self) -> None:
        self._unfinished = 0

    def on_message_complete(self) -> None:
        self._unfinished = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._without_request[self] = None
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's signature
        """Called by uvicorn if its parser fails."""
        if self._unfinished > MAX_HEAD_BYTES:
            self._reject(431, "header", f"more than {MAX_HEAD_BYTES} bytes")
        else:
            self._reject(400, "request", "is not HTTP/1.1")

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.head_seconds, self._on_timeout)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timeout(self) -> None:
        if self._unfinished:
            self._reject(408, "header", "was not received in time")
        else:
            self.transport.close()

    def _reject(self, status: int, place: str, reason: str) -> None:
        self.logger.warning("rejected an incomplete request: %d, %s %s", status, place, reason)
        body = (
            ErrorResponse(detail=(ErrorDetail(place=place, reason=reason),)).model_dump_json(exclude_none=True).encode()
        )
        head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()
