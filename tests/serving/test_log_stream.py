"""The log's stream keeps what fits into memory, and counts what does not."""

import os

import pytest

from serving import log_stream, metrics
from serving.log_stream import LogStream
from tests.service import wait_for


def dropped() -> float:
    return float(metrics.LOG_LINES_DROPPED._value.get())


def test_lines_arrive_in_order() -> None:
    reader, writer = os.pipe()
    stream = LogStream(writer)

    for number in range(100):
        stream.write(f"{number}\n")
    stream._end()

    assert os.read(reader, 65_536).decode().split() == [str(number) for number in range(100)]


def test_what_does_not_fit_is_dropped_counted_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_stream, "MAX_WAITING_LINES", 10)
    reader, writer = os.pipe()
    stream, before = LogStream(writer), dropped()
    os.set_blocking(reader, False)

    for _ in range(20_000):  # more than a pipe takes
        stream.write("x" * 100 + "\n")
    lost = dropped() - before

    def last_lines() -> bytes:
        while True:
            try:
                part = os.read(reader, 65_536)
            except BlockingIOError:
                return seen[-1]
            seen.append(part)

    seen = [b""]
    wait_for(lambda: b"lines of the log were dropped" in last_lines())
    assert lost > 15_000


def test_a_reader_that_is_gone_stops_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream, before = LogStream(writer), dropped()

    stream.write("nobody reads this\n")

    wait_for(lambda: dropped() == before + 1)
